"""WeMath testmini: 1740 multiple-choice questions, 525 multi-step problems with their sub-steps (arXiv:2407.01284).

Layouts: We-Math/We-Math (testmini) and VLMEvalKit's WeMath.tsv. `ID` says which problem a question belongs to, `key`
its place there: 2steps_1, 2steps_2, 2steps_multi; 3steps_1, 3steps_2, 3steps_3, 3steps_multi.

Official protocol (We-Math's string matching; no judge): what follows the last "Answer", without the characters `>`,
`<`, `:` and `.`, must begin with a capital letter A to H. Oddities: any word will do, so "Because" is B and "Answer: A
bird" is A; "**B**", "(B)" and "\\boxed{B}" are nothing; without the word "Answer" the response's first letter counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from verl_vaopd.answers.choice import options_in_text
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, ImagePart, Judge, Verdict, field, is_present
from verl_vaopd.evaluation.benchmarks.choices import score_by_rule
from verl_vaopd.evaluation.benchmarks.options import gold_doubt, gold_letter, option_columns
from verl_vaopd.evaluation.shares import accuracy, percent

_HINT = (
    "Now, we require you to solve a multiple-choice math question. Please briefly describe your thought process and "
    "provide the final answer(option)."
)
_REQUIREMENT = (
    "Regarding the format, please answer following the template below, and be sure to include two <> symbols:\n"
    "<Thought process>: <<your thought process>> <Answer>: <<your option>>"
)
_IGNORED = str.maketrans(dict.fromkeys("><:.", None))
_SUBSTEPS = {"2steps": ("1", "2"), "3steps": ("1", "2", "3")}
_MULTI = "multi"


class WeMath(Benchmark):
    """See the module."""

    name = "wemath"
    title = "WeMath"
    paper_average = "Math avg"
    hub_id = "We-Math/We-Math"
    tsv = "WeMath"
    splits = ("testmini",)
    headline = "mean"
    explained_by = ("strict", "loose")

    def prompt(self, fields: Fields) -> str:
        """We-Math's own prompt, with the template for the answer that its official parser looks for."""
        hint = fields["hint"] if is_present(fields.get("hint")) else _HINT
        question = str(field(fields, "question")).replace(_REQUIREMENT, "").strip()
        if is_present(fields.get("option")):
            options = str(fields["option"])
        else:
            options = "; ".join(f"{letter}. {text}" for letter, text in option_columns(fields).items())
        return f"{hint}\nQuestion: {question}\nOption: {options}\n{_REQUIREMENT}"

    def question_id(self, fields: Fields, number: int) -> str:
        """Problem and place in it."""
        return f"{_problem(fields)}/{field(fields, 'key')}"

    def cluster(self, fields: Fields, images: Sequence[ImagePart]) -> str:
        """The multi-step problem."""
        return _problem(fields)

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The letter of the final answer."""
        options = _options(fields)
        return score_by_rule(response, options, gold_letter(field(fields, "answer"), options))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        answer = response.rpartition("Answer")[2].strip().translate(_IGNORED).strip()
        letter = answer[0] if answer[:1] in tuple("ABCDEFGH") else None
        return Verdict(letter, float(letter == gold_letter(field(fields, "answer"), _options(fields))))

    def doubt(self, fields: Fields) -> str | None:
        """A letter that is none of the options'."""
        return gold_doubt(field(fields, "answer"), _options(fields))

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Strict and loose score and their mean; what became of the problems; accuracy by number of steps.

        A problem has m, the multi-step question right, and its sub-steps right or wrong:

            IG  insufficient generalisation: all sub-steps right, not m
            IK  insufficient knowledge: a sub-step wrong, not m
            CM  complete mastery: m and all sub-steps right (strict), m and any right (loose)
            RM  rote memorisation: m and any sub-step wrong (strict), m and all wrong (loose)
            score = 1 - IG / 2 - RM - IK

        all as shares of the problems with a hit for every question; `incomplete` is the share of the others. (The
        official tables give RM as a share of CM and RM.)
        """
        problems = _problems(rows)
        complete = [hits for hits in problems.values() if hits is not None]
        all_right = [all(right for role, right in hits.items() if role != _MULTI) for hits in complete]
        all_wrong = [not any(right for role, right in hits.items() if role != _MULTI) for hits in complete]
        multi = [hits[_MULTI] for hits in complete]
        outcomes = list(zip(multi, all_right, all_wrong, strict=True))
        shares = {
            "IK": percent(not m and not right for m, right, _ in outcomes),
            "IG": percent(not m and right for m, right, _ in outcomes),
            "CM_strict": percent(m and right for m, right, _ in outcomes),
            "RM_strict": percent(m and not right for m, right, _ in outcomes),
            "CM_loose": percent(m and not wrong for m, _, wrong in outcomes),
            "RM_loose": percent(m and wrong for m, _, wrong in outcomes),
        }
        strict, loose = (100.0 - 0.5 * shares["IG"] - shares["IK"] - shares[f"RM_{how}"] for how in ("strict", "loose"))
        return {
            "mean": (strict + loose) / 2,
            "strict": strict,
            "loose": loose,
            **shares,
            "one_step": accuracy([row for row in rows if not row["key"].endswith(_MULTI)]),
            "two_step": accuracy([row for row in rows if row["key"] == "2steps_multi"]),
            "three_step": accuracy([row for row in rows if row["key"] == "3steps_multi"]),
            "incomplete": percent(hits is None for hits in problems.values()),
        }


def _options(fields: Fields) -> dict[str, str]:
    return option_columns(fields) or options_in_text(str(field(fields, "option")))


def _problem(fields: Fields) -> str:
    return str(field(fields, "ID", "id"))


def _problems(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, bool] | None]:
    """Of every problem, which of its questions are right; None if one of them is missing or has no hit."""
    hits: dict[str, dict[str, float | None]] = {}
    steps: dict[str, str] = {}
    for row in rows:
        problem, (prefix, _, role) = _problem(row), str(field(row, "key")).partition("_")
        if prefix not in _SUBSTEPS or role not in (*_SUBSTEPS[prefix], _MULTI):
            raise ValueError(f"key: got {row['key']!r}, expected one such as 2steps_1 or 3steps_multi")
        if role in hits.setdefault(problem, {}):
            raise ValueError(f"rows: got {row['key']} of {problem} twice, expected one pass; split them by sample")
        hits[problem][role] = row["hit"]
        steps[problem] = prefix
    return {
        problem: {role: bool(hit) for role, hit in of_problem.items()}
        if None not in of_problem.values() and len(of_problem) == len(_SUBSTEPS[steps[problem]]) + 1
        else None
        for problem, of_problem in hits.items()
    }

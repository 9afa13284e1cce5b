"""MathVerse testmini: 788 problems in five versions with less and less text, 3940 questions (arXiv:2403.14624).

Layouts: AI4Math/MathVerse (testmini), VLMEvalKit's MathVerse_MINI TSVs, and the sample of the benchmark's site, which
says its version in `metadata` and lists `choices` beside the question. Of the published answers to 436
multiple-choice problems 10 are no bare letter: "(C)", the text of a choice, or two letters on two lines. One of the
other problems has its value there twice.

Official protocol (the two steps of MathVerse's repository): a judge extracts the answer, then compares it with the
published one, unless the two texts are equal. Without a judge nothing can be scored. Oddity: the second judge sees the
question without its figure. (The paper whose tables are compared here speaks of a rule evaluator: see `rule`.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from verl_vaopd.answers.choice import LETTERS, options_in_text, parse_choice
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, ask, field, is_present, one_of
from verl_vaopd.evaluation.benchmarks.choices import score_by_rule
from verl_vaopd.evaluation.benchmarks.free_form import score_free_form
from verl_vaopd.evaluation.benchmarks.options import published_options
from verl_vaopd.evaluation.formats.values import as_mapping
from verl_vaopd.evaluation.shares import accuracy, accuracy_by

TEXT_ONLY = "Text Only"
_CHOICE = ("multi-choice", "multi_choice")
_KINDS = (*_CHOICE, "free-form", "free_form")
_NUM_LETTERS_UNLISTED = 4


class MathVerse(Benchmark):
    """See the module."""

    name = "mathverse"
    title = "MathVerse"
    paper_average = "Math avg"
    hub_id = "AI4Math/MathVerse"
    tsv = "MathVerse_MINI"
    splits = ("testmini",)
    cluster_fields = ("problem_index",)  # of all its versions
    needs_image = True  # the five versions with a figure

    def prompt(self, fields: Fields) -> str:
        """`query_wo`, which the leaderboard's scores are for; `question` where that is missing, with the choices."""
        question = str(field(fields, "query_wo", "question"))
        if not is_present(fields.get("choices")):
            return question
        return "\n".join([question.rstrip(), "Choices:", *(f"{key}:{text}" for key, text in _options(fields).items())])

    def question_id(self, fields: Fields, number: int) -> str:
        """The published sample index."""
        return str(field(fields, "sample_index", "index", "pid"))

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The letter of the final answer, or its value."""
        gold = "; ".join(dict.fromkeys(str(field(fields, "answer")).split("\n")))
        if one_of(fields, _KINDS, "question_type") in _CHOICE:
            options = _options(fields) or dict.fromkeys(LETTERS[:_NUM_LETTERS_UNLISTED], "")
            letter = parse_choice(gold, options)
            if letter is not None:
                return score_by_rule(response, options, letter)
        return score_free_form(response, [gold])

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the module."""
        extraction = ask(judge, extraction_prompt(response))
        if extraction is None:
            return Verdict(None, None)
        gold = str(field(fields, "answer")).strip()
        if extraction == gold:
            return Verdict(extraction, 1.0)
        question = str(field(fields, "question_for_eval", "question"))
        reply = ask(judge, comparison_prompt(question, gold, extraction))
        return Verdict(extraction, {"0": 0.0, "1": 1.0}.get(reply or ""))

    def metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Accuracy over the five versions, and of each; text-only questions stand apart."""
        five = [row for row in rows if _version(row) != TEXT_ONLY]
        return {"accuracy": accuracy(five), **accuracy_by(rows, _version)}


def _version(fields: Fields) -> str:
    return str(field({**as_mapping(fields.get("metadata")), **fields}, "problem_version"))


def _options(fields: Fields) -> dict[str, str]:
    return published_options(fields) or options_in_text(str(field(fields, "question_for_eval", "question", "query_wo")))


def extraction_prompt(response: str) -> str:
    """Ask a judge for the answer that a response gives."""
    return (
        "Below is a model's response to a mathematics question. Copy out its final answer: the letter of a choice, a "
        "value with its unit, an expression, an interval, all values if there are several. Do not solve or correct "
        "anything. If the response gives no answer, reply null. Reply with the answer alone.\n\n"
        f"<response>\n{response}\n</response>\n\nFinal answer:"
    )


def comparison_prompt(question: str, gold: str, extraction: str) -> str:
    """Ask a judge whether two answers to a question agree."""
    return (
        "Below are a mathematics question, its correct answer, and a model's answer. Do the two answers agree? Of a "
        "multiple-choice question they must name the same choice, by its letter or by its content. Otherwise they must "
        "mean the same, in whatever form: 0.5 m is 50 cm. Everything that the correct answer states must be there.\n"
        "Reply with one digit alone: 1 if they agree, 0 if they do not.\n\n"
        f"<question>\n{question}\n</question>\n<correct>\n{gold}\n</correct>\n<answer>\n{extraction}\n</answer>\n\nDigit:"
    )

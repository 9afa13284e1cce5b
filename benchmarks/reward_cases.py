"""What three public rules say to the cases of tests/answers/reward_cases.yaml, beside what is right and what ours says.

    python -m benchmarks.reward_cases

Asks the installed versions (`pip install verl-vaopd[eval]`), each answer within limits, writes their verdicts to
tests/answers/reward_verdicts.json, and prints the table of docs/evaluation.md.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from verl_vaopd.answers.free_form import boxed_answer, is_right
from verl_vaopd.limited_process import LimitedProcess, LimitExceededError, Limits

FOLDER = Path(__file__).parents[1] / "tests" / "answers"
CASES, VERDICTS = FOLDER / "reward_cases.yaml", FOLDER / "reward_verdicts.json"
RULES = {"verl's geo3k": "by_verl", "mathruler": "by_mathruler", "math-verify": "by_math_verify"}
"""Name of a rule, and the function here that asks it."""
LIMITS = Limits(max_seconds=5, max_memory_mb=1024)


@dataclass(frozen=True)
class Case:
    """One response and what is right."""

    kind: str
    response: str
    gold: str
    right: bool
    why: str
    question: str = ""

    @property
    def ours(self) -> bool:
        return is_right(self.response, self.gold, self.question)


@functools.cache
def cases() -> list[Case]:
    """All of the file, in its order."""
    return [Case(kind, **case) for kind, of_kind in yaml.safe_load(CASES.read_text()).items() for case in of_kind]


def by_verl(response: str, gold: str) -> bool:
    """verl's reward of Geometry3K on the whole response, without its tenth for the form."""
    # By its file: importing verl takes ten seconds.
    (root,) = importlib.util.find_spec("verl").submodule_search_locations
    spec = importlib.util.spec_from_file_location("geo3k", Path(root) / "utils" / "reward_score" / "geo3k.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return bool(module.acc_reward(response, gold))


def by_mathruler(response: str, gold: str) -> bool:
    """mathruler's comparison alone, of the box that ours finds."""
    from mathruler.grader import grade_answer

    answer = boxed_answer(response)
    return answer is not None and bool(grade_answer(answer, gold))


def by_math_verify(response: str, gold: str) -> bool:
    """math-verify's defaults on the whole response, the gold in a box, as verl gives it; without its own limits, which
    are of the clock on the wall."""
    from math_verify import parse, verify

    found, wanted = (parse(text, parsing_timeout=None) for text in (response, f"\\boxed{{{gold}}}"))
    return bool(verify(wanted, found, timeout_seconds=None))


def verdicts(rule: str) -> Iterator[bool | None]:
    """Of an installed rule on every case; None where it went past a limit."""
    with LimitedProcess(__spec__.name, RULES[rule], LIMITS) as asked:
        for case in cases():
            try:
                yield asked.call(response=case.response, gold=case.gold)
            except LimitExceededError:
                yield None


def table(recorded: dict[str, list[bool | None]]) -> str:
    """For every kind of cases, how many each rule judges right."""
    found = {"this package": [case.ours for case in cases()], **recorded}
    kinds = dict.fromkeys(case.kind for case in cases())
    lines = ["| kind | cases | " + " | ".join(found) + " |", "|---|" + "---|" * (1 + len(found))]
    for kind in [*kinds, None]:
        places = [place for place, case in enumerate(cases()) if kind in (case.kind, None)]
        agree = [sum(said[place] is cases()[place].right for place in places) for said in found.values()]
        lines.append(f"| {kind or 'all'} | {len(places)} | " + " | ".join(map(str, agree)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Ask, write, print."""
    found = {rule: list(verdicts(rule)) for rule in RULES}
    VERDICTS.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    for rule, said in found.items():
        print(f"\n{rule} differs from what is right:")
        for case, verdict in zip(cases(), said, strict=True):
            if verdict is not case.right:
                print(f"  {case.kind}: {verdict} for {case.response!r}, gold {case.gold!r}: {case.why}")


if __name__ == "__main__":
    main()

"""What the multiple-choice benchmarks have in common: options and prompt as published, and the two ways to score."""

import random
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from verl_vaopd.answers.choice import chosen_letter
from verl_vaopd.evaluation.benchmark import Benchmark, Fields, Judge, Verdict, ask, field
from verl_vaopd.evaluation.benchmarks.vlmevalkit import NO_OPTION, infer_option


@dataclass(frozen=True)
class ChoiceBenchmark(Benchmark):
    """Multiple choice whose official protocol is VLMEvalKit's, with a judge for what it does not find, if there is one.

    Args:
        random_fallback: guess where the judge names no option, as VLMEvalKit does; else the response stays unscored.
    """

    random_fallback: bool = False

    @abstractmethod
    def options(self, fields: Fields) -> dict[str, str]:
        """Texts by letter."""

    @abstractmethod
    def gold(self, fields: Fields) -> str:
        """The right letter."""

    def prompt(self, fields: Fields) -> str:
        """VLMEvalKit's."""
        return choice_prompt(str(field(fields, "question")), self.options(fields))

    def rule(self, fields: Fields, response: str) -> Verdict:
        """The letter of the final answer."""
        return score_by_rule(response, self.options(fields), self.gold(fields), str(field(fields, "question")))

    def official(self, fields: Fields, response: str, judge: Judge | None, seed: int) -> Verdict:
        """See the class."""
        question = str(field(fields, "question"))
        rng = fallback_rng(seed, question, response) if self.random_fallback else None
        return score_like_vlmevalkit(response, self.options(fields), self.gold(fields), question, judge, rng)


def choice_prompt(question: str, options: Mapping[str, str], hint: str | None = None) -> str:
    """VLMEvalKit's prompt for multiple choice, and for open questions where there are no options."""
    lines = [f"Hint: {hint}"] if hint else []
    lines.append(f"Question: {question}")
    if options:
        lines += ["Options:", *(f"{letter}. {text}" for letter, text in options.items())]
        lines.append("Please select the correct answer from the options above. ")
    return "\n".join(lines) + "\n"


def score_by_rule(response: str, options: Mapping[str, str], gold: str, question: str = "") -> Verdict:
    """Whether the response ends up with the gold letter, by the protocol `rule`."""
    letter = chosen_letter(response, options, question)
    return Verdict(letter, float(letter == gold))


def score_like_vlmevalkit(
    response: str, options: Mapping[str, str], gold: str, question: str, judge: Judge | None, rng: random.Random | None
) -> Verdict:
    """The option that VLMEvalKit would find; see vlmevalkit.py for how.

    Where it finds none, a judge is asked if there is one; without, the response is wrong, as under its policy of exact
    matching. A reply that names no option either makes it guess, also the answer "none"; here that needs `rng`.
    """
    letter = infer_option(response, options)
    if letter is None:
        if judge is None:
            return Verdict(None, 0.0)
        reply = ask(judge, match_prompt(question, options, response))
        if reply is None:
            return Verdict(None, None)
        letter = infer_option(reply, options)
        if letter is None:
            if rng is None:
                return Verdict(None, None)
            letter = rng.choice([*options, NO_OPTION])
    return Verdict(None if letter == NO_OPTION else letter, float(letter == gold))


def match_prompt(question: str, options: Mapping[str, str], response: str) -> str:
    """Ask a judge which option a response means."""
    listed = "\n".join(f"{letter}. {text}" for letter, text in options.items())
    return (
        "A model was asked a multiple-choice question. Say which of the options its response settles on, judging by "
        "meaning and not by whether it is true.\n"
        f"Reply with one capital letter and nothing else: the letter of that option, or {NO_OPTION} if the response "
        "settles on none of them.\n\n"
        f"<question>\n{question}\n</question>\n<options>\n{listed}\n</options>\n<response>\n{response}\n</response>\n\n"
        "Letter:"
    )


def fallback_rng(seed: int, question: str, response: str) -> random.Random:
    """Where a parser guesses: the same guess for the same seed, question and response, in whatever order."""
    return random.Random(ascii((seed, question, response)))

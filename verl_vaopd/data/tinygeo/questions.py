"""Questions about a figure and their reference responses.

Every response opens with what can be seen coarsely (colour, kind, outline), reads the labels the question needs, does
the arithmetic digit by digit and ends with one \\boxed{...}. Each sentence has several paraphrases. Two sets of
character spans travel with a response: `reads`, digits copied from a label of the image for the first time, and
`coarse`, words that name a property which pixelation leaves standing at least in part.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verl_vaopd.data.tinygeo.figures import MAX_LENGTH, Figure, corner_names
from verl_vaopd.files import read_yaml

PAIR_TYPES = ("sum", "difference", "comparison")  # these need two labels
QUESTION_TYPES = (*PAIR_TYPES, "missing")
_READ, _COARSE, _END = "\ue000", "\ue001", "\ue002"  # marks around spans while a response is put together
_MARKED = re.compile(f"([{_READ}{_COARSE}])([^{_END}]*){_END}")


@dataclass(frozen=True)
class Wording:
    """How a user asks: `{preamble} {question} {instruction}`; questions by type."""

    preamble: str
    questions: Mapping[str, Sequence[str]]
    instruction: str


_TEXTS = read_yaml(Path(__file__).with_name("wording.yaml"))
PLAIN, OUT_OF_DOMAIN = Wording(**_TEXTS["plain"]), Wording(**_TEXTS["out_of_domain"])
_SENTENCES = _TEXTS["response"]


@dataclass(frozen=True)
class Question:
    """A question about a figure.

    Attributes:
        type: one of QUESTION_TYPES.
        sides: the sides whose labels the answer needs, in the order in which a response reads them.
        total: the length given in the text of a "missing" question, else None.
        text: the question as asked, without preamble.
        answer: what belongs in the box.
    """

    type: str
    sides: tuple[str, ...]
    total: int | None
    text: str
    answer: int


@dataclass(frozen=True)
class Response:
    """A reference response; `reads` and `coarse` are (start, end) character spans of `text`."""

    text: str
    reads: tuple[tuple[int, int], ...]
    coarse: tuple[tuple[int, int], ...]


def ask(
    rng: random.Random, figure: Figure, type_: str, sides: tuple[str, ...] | None = None, wording: Wording = PLAIN
) -> Question:
    """Word a question of the given type about `sides`: two of them, one for "missing"; drawn from `rng` if None.

    Raises:
        ValueError: if the type is unknown, or a "missing" question leaves no room for a two-digit total.
    """
    if type_ not in QUESTION_TYPES:
        raise ValueError(f"unknown tinygeo question type {type_!r}; expected one of {', '.join(QUESTION_TYPES)}")
    if sides is None:
        sides = tuple(rng.sample(figure.sides, 1 if type_ == "missing" else 2))
    lengths, total = [figure.length(side) for side in sides], None
    if type_ == "missing":
        if lengths[0] == MAX_LENGTH:
            raise ValueError(f"side {sides[0]} is {MAX_LENGTH} long, expected less for a missing-value question")
        total = rng.randint(lengths[0] + 1, MAX_LENGTH)
        answer = total - lengths[0]
    else:
        answer = {"sum": sum(lengths), "difference": max(lengths) - min(lengths), "comparison": max(lengths)}[type_]
    text = rng.choice(wording.questions[type_]).format(p=sides[0], q=sides[-1], total=total)
    return Question(type_, sides, total, text, answer)


def ask_any(rng: random.Random, figure: Figure, wording: Wording = PLAIN) -> Question:
    """A question of a random type."""
    type_ = rng.choice(QUESTION_TYPES)
    shorter = [side for side in figure.sides if figure.length(side) < MAX_LENGTH]
    return ask(rng, figure, type_, (rng.choice(shorter),) if type_ == "missing" else None, wording)


def prompt_text(question: Question, wording: Wording = PLAIN) -> str:
    """What the user says beside the image."""
    return f"{wording.preamble} {question.text} {wording.instruction}"


def prompt_text_with_lengths(rng: random.Random, figure: Figure, question: Question, wording: Wording = PLAIN) -> str:
    """The same with every label given in words, in random order: answering then needs no reading."""
    return f"{wording.preamble} {given_lengths(rng, figure)} {question.text} {wording.instruction}"


def respond(rng: random.Random, figure: Figure, question: Question) -> Response:
    """A reference response in one of its many wordings."""
    names = _names(question)
    corners = corner_names(figure.kind)
    coarse = {name: f"{_COARSE}{getattr(figure, name)}{_END}" for name in ("color", "kind", "line")}
    sentences = [
        rng.choice(_SENTENCES["openers"]).format(**coarse),
        rng.choice(_SENTENCES["corners"]).format(
            num=len(corners), corners=", ".join(corners[:-1]) + " and " + corners[-1]
        ),
        rng.choice(_SENTENCES["goals"][question.type]).format(**names),
    ]
    sentences.append(rng.choice(_SENTENCES["needed"]))
    sentences += _reads(rng, figure, question)
    if question.type == "comparison":  # its arithmetic is short
        sentences.append(rng.choice(_SENTENCES["units"]))
    sentences.append(rng.choice(_SENTENCES["plans"][question.type]).format(**names))
    sentences += _work(figure, question)
    sentences.append(rng.choice(_SENTENCES["closers"][question.type]).format(**names))
    sentences.append(rng.choice(_SENTENCES["finals"]).format(**names))
    return _unmark(" ".join(sentences))


# Short exercises for training; they are no part of the data set.
READ_PROMPT = "Read the labels of all sides."


def read_response(rng: random.Random, figure: Figure) -> str:
    """Every label, in random order."""
    return ", ".join(f"{side} = {figure.length(side)}" for side in rng.sample(figure.sides, len(figure.sides)))


def brief_response(rng: random.Random, figure: Figure, question: Question) -> str:
    """Only what must be thought: the goal, the labels needed, the arithmetic and the box."""
    goal, final = (
        rng.choice(texts).format(**_names(question))
        for texts in (_SENTENCES["goals"][question.type], _SENTENCES["finals"])
    )
    return _unmark(" ".join([goal, *_reads(rng, figure, question), *_work(figure, question), final])).text


def given_lengths(rng: random.Random, figure: Figure) -> str:
    """Every label in words, in random order."""
    return f"Given: {read_response(rng, figure)}."


def _names(question: Question) -> dict[str, object]:
    return {"p": question.sides[0], "q": question.sides[-1], "total": question.total, "answer": question.answer}


def _reads(rng: random.Random, figure: Figure, question: Question) -> list[str]:
    return [
        rng.choice(_SENTENCES["reads"]).format(side=side, length=f"{_READ}{figure.length(side)}{_END}")
        for side in question.sides
    ]


def _unmark(marked: str) -> Response:
    """Strip the marks and turn them into spans."""
    text, end = "", 0
    spans: dict[str, list[tuple[int, int]]] = {_READ: [], _COARSE: []}
    for match in _MARKED.finditer(marked):
        text += marked[end : match.start()]
        spans[match[1]].append((len(text), len(text) + len(match[2])))
        text += match[2]
        end = match.end()
    return Response(text + marked[end:], tuple(spans[_READ]), tuple(spans[_COARSE]))


def _work(figure: Figure, question: Question) -> list[str]:
    """The arithmetic, as sentences."""
    lengths = [figure.length(side) for side in question.sides]
    if question.type == "comparison":
        return [_compare(question.sides, lengths)]
    if question.type == "difference":
        return [_compare(question.sides, lengths), _subtract(max(lengths), min(lengths))]
    if question.total is not None:  # a missing length
        return [_subtract(question.total, lengths[0])]
    return [_add(*lengths)]


def _compare(sides: tuple[str, ...], lengths: list[int]) -> str:
    (a_tens, a_ones), (b_tens, b_ones) = (divmod(length, 10) for length in lengths)
    longer = sides[0] if lengths[0] > lengths[1] else sides[1]
    if a_tens != b_tens:
        return f"Tens: {a_tens} and {b_tens}, so {longer} is longer."
    return f"Tens: {a_tens} and {b_tens}, equal. Ones: {a_ones} and {b_ones}, so {longer} is longer."


def _add(a: int, b: int) -> str:
    ones, tens = a % 10 + b % 10, a // 10 + b // 10
    carry = f", plus 1 is {tens + 1}" if ones >= 10 else ""
    return (
        f"Add {a} and {b}. Ones: {a % 10} + {b % 10} = {ones}. "
        f"Tens: {a // 10} + {b // 10} = {tens}{carry}. This gives {a + b}."
    )


def _subtract(a: int, b: int) -> str:
    borrow = 10 if a % 10 < b % 10 else 0
    tens = a // 10 - b // 10
    borrowed = f", minus 1 is {tens - 1}" if borrow else ""
    return (
        f"Subtract {b} from {a}. Ones: {a % 10 + borrow} - {b % 10} = {a % 10 + borrow - b % 10}. "
        f"Tens: {a // 10} - {b // 10} = {tens}{borrowed}. This gives {a - b}."
    )

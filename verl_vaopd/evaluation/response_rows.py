"""A row that holds a response made elsewhere: what it must say, and what was probably meant where it does not."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

_LIKE_RESPONSE = ("response", "prediction", "output", "pred", "completion", "generat", "model_answer", "reply")
_LIKE_ID = ("pid", "id", "index", "sample_index", "question_id", "qid", "uid", "key")


def response_of(fields: Mapping[str, Any]) -> str | None:
    """The response; None: a sample that failed.

    Raises:
        ValueError: there is none, or something else than a text.
    """
    if "response" not in fields:
        meant = _named_like(fields, _LIKE_RESPONSE)
        raise ValueError(f"response: got none, expected a text, or null{_rename(meant, 'response')}")
    response = fields["response"]
    if isinstance(response, list):
        raise ValueError(
            f"response: got a list of {len(response)}, expected a text, or null; write a row for each, told apart by "
            "`sample`"
        )
    if not (response is None or isinstance(response, str)):
        raise ValueError(f"response: got {response!r}, expected a text, or null")
    return response


def question_of(fields: Mapping[str, Any]) -> str:
    """The id of the question. Raises ValueError if there is none."""
    question = fields.get("question")
    if isinstance(question, bool) or not isinstance(question, str | int) or question == "":
        meant = [name for name in _LIKE_ID if name in fields]
        got = repr(question) if "question" in fields else "none"
        raise ValueError(f"question: got {got}, expected the id of a question{_rename(meant, 'question')}")
    return str(question)


def number_of(fields: Mapping[str, Any], name: str) -> int | None:
    """A whole number from 0; None where the row has none. Raises ValueError for anything else."""
    value = fields.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{name}: got {value!r}, expected a number from 0")
    return value


def unknown_question(fields: Mapping[str, Any], benchmark: str, known: Iterable[str]) -> str:
    """What to say of a row whose question is none of those that are known."""
    ids = list(known)
    got = question_of(fields)
    closest = get_close_matches(got, ids, n=1, cutoff=0.0)[0]
    in_row = [name for name in _LIKE_ID if str(fields.get(name)) in set(ids)]
    shown = got if len(got) <= 80 else f"{got[:80]}..."
    return (
        f"question: got {shown!r}, expected the id of a question of {benchmark}; the closest is {closest!r}"
        f"{_rename(in_row, 'question')}; `vaopd eval questions {benchmark}` prints them"
    )


def _named_like(fields: Mapping[str, Any], parts: Iterable[str]) -> list[str]:
    """The columns of texts whose names have one of these parts in them, by the order of the parts; last `text`."""
    texts = [name for name, value in fields.items() if value is None or isinstance(value, str)]
    alike = [name for part in parts for name in texts if part in name.lower()]
    return list(dict.fromkeys([*alike, *(name for name in texts if name.lower() == "text")]))


def _rename(names: list[str], wanted: str) -> str:
    return f"; `{names[0]}` looks like it: rename it to `{wanted}`" if names else ""

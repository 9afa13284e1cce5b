"""Yes or no, by the protocol `rule`.

An answer that begins with the word and a pause is that word; otherwise it must contain only one of the two. So "Yes,
there is no cat" is yes, "There is no cat" is no, "No cat? Yes.", "Yes and no" and "I cannot tell" are neither.
"""

import re

from verl_vaopd.answers.normalise import normalise_text
from verl_vaopd.answers.response import last_line, marked_answers, strip_thinking

_FIRST = re.compile(r"^\W{0,8}(yes|no)(?=\W{0,3}$|\s?[,.;:!–—-])")
_WORD = re.compile(r"\b(yes|no)\b")


def said_yes_or_no(response: str) -> str | None:
    """Of the final answer where one is marked, else of the whole response, else of its last line.

    Returns: "Yes", "No", or None for neither.
    """
    text = strip_thinking(response)
    marked = [reading for readings in marked_answers(text) for reading in readings]
    for candidate in [*marked, text, last_line(text)]:
        said = parse_yes_no(candidate)
        if said:
            return said
    return None


def parse_yes_no(answer: str) -> str | None:
    """The same of an answer."""
    first = _FIRST.match(normalise_text(answer.lstrip().partition("\n")[0]))
    found = {first[1]} if first else set(_WORD.findall(normalise_text(answer)))
    return found.pop().capitalize() if len(found) == 1 else None

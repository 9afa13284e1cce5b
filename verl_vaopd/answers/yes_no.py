"""Yes or no, by the protocol `rule`.

An answer that begins with the word and a pause is that word; otherwise it must contain only one of the two. So "Yes,
there is no cat" is yes, "There is no cat" is no, "No cat? Yes.", "Yes and no", "Oslo: no. Rome: yes." and "I cannot
tell" are neither. Where neither word is said, the question's own words are an answer: to "Is the cat black?", "The cat
is black." is yes, "The cat is not black." is no, "The cat is dark." is neither.
"""

import re

from verl_vaopd.answers.closing import closing
from verl_vaopd.answers.normalise import normalise_text
from verl_vaopd.answers.response import final_text, last_line, marked_answers

_FIRST = re.compile(r"^\W{0,8}(yes|no)(?=\W{0,3}$|\s?[,.;:!–—-])")
_LAST = re.compile(
    r"^\W{0,8}(?:so|therefore|thus|hence|the answer is|it is)?\W{0,3}(?:yes|no)(?=\W{0,3}$|\s?[,.;:!–—-])",
    re.IGNORECASE,
)
_WORD = re.compile(r"\b(yes|no)\b")
_LEAD = re.compile(
    r"^(?:based on|in|from|according to|looking at) (?:the|this) (?:\w+ )?"
    r"(?:image|picture|figure|graph|chart|table|map|photo|information)(?: provided)?,? "
)
_TOKEN = re.compile(r"[^\W_]+")
# A question has its verb in front. Everything else must come in the same order: "more A than B" is not "more B than A".
_VERBS = frozenset(
    (
        *("is", "are", "was", "were", "be", "has", "have", "had", "do", "does", "did", "would", "will", "can", "could"),
        *("there", "the", "a", "an", "this", "these", "that", "which", "actually", "indeed"),
    )
)
_REASON = re.compile(r", (?:as|because|since|while|where)\b.*$")


def said_yes_or_no(response: str, question: str = "") -> str | None:
    """Of the final answer where one is marked, else of the whole response, else of its last line.

    Args:
        response: as the model wrote it.
        question: its text, if it is known.
    Returns: "Yes", "No", or None for neither.
    """
    text = final_text(response)
    marked = [reading for readings in marked_answers(text) for reading in readings]
    line = last_line(text)
    for candidate in [*marked, text, *([line] if _LAST.match(line) else [])]:
        said = parse_yes_no(candidate)
        if said:
            return said
    return None if marked else _said_again(question, closing(text).first)


def parse_yes_no(answer: str) -> str | None:
    """The same of an answer."""
    first = _FIRST.match(normalise_text(answer.lstrip().partition("\n")[0]))
    found = {first[1]} if first else set(_WORD.findall(normalise_text(answer)))
    return found.pop().capitalize() if len(found) == 1 else None


def _said_again(question: str, sentence: str) -> str | None:
    """Whether a sentence says what the question asks about, or denies it, in the question's own words."""
    asked, said = _words(question), _words(sentence)
    if not asked or "not" in asked:
        return None
    if said == asked:
        return "Yes"
    return "No" if said.count("not") == 1 and [word for word in said if word != "not"] == asked else None


def _words(sentence: str) -> list[str]:
    text = _REASON.sub("", _LEAD.sub("", normalise_text(sentence))).replace("n't ", " not ")
    return [word for word in _TOKEN.findall(text) if word not in _VERBS]

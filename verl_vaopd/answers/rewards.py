"""Answers in a box: finding them, and whether they are the right ones. data/scoring.py says whose rule is which."""

import re

# A box opens, an escaped character (which opens and closes nothing), or any brace.
_BRACES = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{|\\.|[{}]", re.DOTALL)


def boxes(text: str) -> list[str]:
    """The contents of all balanced \\boxed{...} that are not inside another one, in order. Linear in the text.

    A box that never closes does not count, but a balanced one inside it does. \\fbox is a box too.
    """
    open_braces: list[int | None] = []  # where a box's content starts; None for another brace
    closed = []
    for brace in _BRACES.finditer(text):
        token = brace.group()
        if token == "{":
            open_braces.append(None)
        elif token[-1] == "{" and len(token) > 2:
            open_braces.append(brace.end())
        elif token == "}" and open_braces and (start := open_braces.pop()) is not None:
            closed.append((start, brace.start()))
    found, end = [], -1
    for start, stop in sorted(closed):
        if start > end:
            found.append(text[start:stop])
            end = stop
    return found


def extract_boxed(text: str) -> str | None:
    """The content of the last balanced \\boxed{...}, or None."""
    found = boxes(text)
    return found[-1] if found else None


def well_formed(text: str) -> bool:
    """Whether the text holds exactly one \\boxed, balanced and with content.

    A decoded text no longer shows whether it ended by itself: check the end token on the ids.
    """
    found = boxes(text)
    return text.count("\\boxed") == 1 and len(found) == 1 and bool(found[0].strip())


def exact_match(solution: str, ground_truth: str) -> bool:
    """Whether the last box holds the ground truth, white space aside."""
    answer = extract_boxed(solution)
    return answer is not None and _normalized(answer) == _normalized(ground_truth)


def _normalized(answer: str) -> str:
    return " ".join(answer.split())

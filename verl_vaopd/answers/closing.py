"""The sentences in which a response that marks no answer may state it.

... 3 + 4 = 7. Therefore, there are 7 of them. I hope this helps!    "Therefore, there are 7 of them."
B. mouse, and a line later: The hawk eats mice.                      "B. mouse", a direct answer before its reasons

Everything here takes time linear in the length of the response, whatever it holds.
"""

import re
from itertools import pairwise, takewhile
from typing import NamedTuple

END_TOKENS = (
    "</s>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<eos>",
    "<end_of_turn>",
)
"""Of the common chat models, as they stand in a response that was decoded with its special tokens."""

_BREAK = re.compile(r"(?<=[.!?])[\"'”)\]*_]{0,4}\s+|(?<=[。！？])[\"”）*]{0,4}|\s{0,9}\n\s*")
# What ends in a full stop and goes on: "B. 11", "No. 5", the number of a list's line.
_GOES_ON = re.compile(
    r"(?:(?<![A-Za-z'’])[A-J]|\b(?:No|Fig|Eq|approx|ca|vs|e\.g|i\.e|Dr|Mr|Mrs|Ms|St|cf|resp|sq)|^\W{0,4}\d{1,2})\.$"
)
_COURTESY = re.compile(
    r"\W{0,4}(?:i hope|hope (?:this|that|it)|(?:please |just )?(?:let me know|feel free|ask me)"
    r"|do you (?:have|want|need)|is there anything|if you (?:have|need|would|want|'d|’d)|would you like|thank(?:s| you)"
    r"|i(?:'m|’m| am) (?:happy|glad)|happy to help|have a (?:great|nice|good)|you(?:'re|’re| are) welcome|good luck"
    r"|希望|如果[您你]|如有)",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^\W{0,4}(?:sure|okay|ok|certainly|of course|i (?:can )?(?:see|understand)|here (?:is|are)|we refer to|let'?s"
    r"|let me)\b",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"^\W{0,4}(?:\d{1,2}[.)] )?(?:(?:and |so,? )?(?:therefore|thus|hence|consequently|accordingly|in conclusion"
    r"|to conclude|in summary|overall|finally|as a result|so(?= |,|:)|we (?:can )?conclude)|所以|因此|综上|故)",
    re.IGNORECASE,
)
# What takes back what stands before it, and what may do so, or narrows it down.
_RETRACTS = re.compile(
    r"^\W{0,4}actually\b|\b(?:wait|mistake|incorrect|wrong|not sure|i thought|on second thought|apologi[sz]e"
    r"|correction)\b",
    re.IGNORECASE,
)
_RESTRICTS = re.compile(
    r"\b(?:(?:of|among|out of) (?:those|these|them)|however|but|none of the|unfortunately)\b|但是|然而|不过",
    re.IGNORECASE,
)
_ITEM = re.compile(r"^(?:[*•+-]\s|\(?\d{1,2}[.)]\s|[^|]*\|)")
_MAX_SENTENCES = 4  # of a direct answer with its reasons; what is longer begins with what is given
_MAX_COURTESIES = 6
_MAX_READ = 4000  # characters at either end of the response


class Closing(NamedTuple):
    """The sentences that may state the answer of a response that marks none."""

    last: str
    """The last sentence; empty if there is none."""
    conclusion: str
    """The last sentence that begins like a conclusion ("Therefore, ..."); empty if none, or one that is taken back."""
    first: str
    """The first sentence after any preamble ("Sure!"); empty if what follows takes it back."""
    first_is_direct: bool
    """Whether the first sentence is a direct answer: reasons may follow, but no derivation and no "However"."""


def strip_end_tokens(text: str) -> str:
    """The text without the end tokens that it ends with."""
    end = len(text)
    while token := next((token for token in END_TOKENS if text.endswith(token, 0, _without_space(text, end))), ""):
        end = _without_space(text, end) - len(token)
    return text[:end]


def has_end_token(text: str) -> bool:
    """Whether a response ends with an end token that its decoding has left there."""
    return text.endswith(END_TOKENS, 0, _without_space(text, len(text)))


def _without_space(text: str, end: int) -> int:
    while end and text[end - 1].isspace():
        end -= 1
    return end


def strip_courtesies(text: str) -> str:
    """The text without the friendly sentences that it ends with."""
    end = len(text.rstrip())
    starts = [0, *(match.end() for match in _BREAK.finditer(text)), len(text)]
    begins = [start for start, stop in pairwise(starts) if text[start:stop].strip()]
    courtesies = list(takewhile(lambda start: _COURTESY.match(text, start), reversed(begins[1:])))[:_MAX_COURTESIES]
    return text[: courtesies[-1]].rstrip() if courtesies else text[:end]


def sentences(text: str) -> list[str]:
    """The sentences of a text, a line being one at least; what holds no letter and no digit is none."""
    found: list[str] = []
    joins = False
    position = 0
    for match in [*_BREAK.finditer(text), None]:
        piece = text[position : match.start() if match else len(text)].strip()
        position = match.end() if match else position
        if any(map(str.isalnum, piece)):
            found[len(found) - joins :] = [f"{found[-1]} {piece}" if joins else piece]
            joins = match is not None and "\n" not in match[0] and _GOES_ON.search(piece) is not None
    return found


def is_item(sentence: str) -> bool:
    """Whether a sentence is an item of a list or a row of a table, which concludes nothing by being the last."""
    return _ITEM.match(sentence) is not None


def closing(text: str) -> Closing:
    """The sentences of a text without thinking and courtesies in which it may state its answer."""
    if len(text) <= 2 * _MAX_READ:
        parts = sentences(text)
    else:
        parts = [*sentences(text[:_MAX_READ])[:-1], "...", *sentences(text[-_MAX_READ:])[1:]]
    if not parts:
        return Closing("", "", "", False)
    begin = next((index for index, part in enumerate(parts) if not _PREAMBLE.match(part)), len(parts) - 1)
    retracted = [_RETRACTS.search(part) is not None for part in parts]
    doubted = [doubt or _RESTRICTS.search(part) is not None for doubt, part in zip(retracted, parts, strict=True)]
    conclusions = [index for index, part in enumerate(parts) if _CONCLUDES.match(part)]
    conclusion = parts[conclusions[-1]] if conclusions and not any(doubted[conclusions[-1] + 1 :]) else ""
    is_short = len(parts) - begin <= _MAX_SENTENCES or "**" in parts[begin]
    return Closing(
        last=parts[-1],
        conclusion=conclusion,
        first="" if any(retracted[begin + 1 :]) else parts[begin],
        first_is_direct=is_short and not any(doubted[begin + 1 :]),
    )

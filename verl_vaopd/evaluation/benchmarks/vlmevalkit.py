"""How VLMEvalKit finds the option in a response, for the protocol `official` of AI2D and MMStar (commit e8e78f0).

First as a letter that stands alone, then as the text of exactly one option. Known oddities, all reproduced:

- The letter must be among the last four words, so "B is right, because of its shape" is only found by text; but only
  one letter may occur at all, so an "A" that is an article hides a "B".
- A think-block is read like anything else. Brackets around a letter are dropped, "\\boxed" before them is not: in
  "\\boxed{B}" the letter stands alone, in "\\boxed{\\text{B}}" too.
- Four refusals, word for word, and a letter Z that stands alone, count as the answer "none of them". The message that
  its own client leaves for a failed call names no letter, whatever stands around it.
- "answer is X" is looked for last, in any case and only for A to D; the first one counts.
- An option's text counts wherever it occurs, also inside a word ("1" in "10"), but not in a response more than twice as
  long as all options together.
"""

import re
from collections.abc import Mapping

NO_OPTION = "Z"

_FAILED_CALL = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_NUM_LAST_WORDS = 4
_ANSWER_IS = re.compile(r"answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


def infer_option(response: str, options: Mapping[str, str]) -> str | None:
    """The letter of an option, NO_OPTION for "none of them", or None if neither can be told."""
    return _by_letter(response, options) or _by_text(response.lower(), options)


def _by_letter(response: str, options: Mapping[str, str]) -> str | None:
    if _FAILED_CALL in response:
        return None
    if any(refusal in response for refusal in _REFUSALS):
        return NO_OPTION
    words = response.translate(_SEPARATORS).split()
    named = [letter for letter in options if letter in words]
    if len(named) == 1 and words.index(named[0]) >= len(words) - _NUM_LAST_WORDS:
        return named[0]
    if not named and NO_OPTION in words:
        return NO_OPTION
    stated = _ANSWER_IS.search(response)
    return stated[1].upper() if stated and stated[1].upper() in options else None


def _by_text(response: str, options: Mapping[str, str]) -> str | None:
    if len(response) > 2 * sum(map(len, options.values())):
        return None
    named = [letter for letter, text in options.items() if text.lower() in response]
    return named[0] if len(named) == 1 else None

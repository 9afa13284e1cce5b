"""Which option of a multiple-choice question a response chose; two options, or none of them, is no choice.

B   (B)   B.   **B**   \\text{(B)}   Option B   B. 45°   B because ...      the letter
45°   45° (B)   No, it is not.                                             the text of exactly one option
... so the length is option B.   ... which corresponds to (B).             the letter that the last line ends with
... so the angle is 45°.   Option B is the best.                           see option_in_sentence.py
ABC   A or B   A bird                                                      nothing
"""

import re
from collections.abc import Mapping

from verl_vaopd.answers.closing import closing, is_item
from verl_vaopd.answers.equality import answers_equal, list_items
from verl_vaopd.answers.normalise import normalise_maths, normalise_text
from verl_vaopd.answers.option_in_sentence import Named, option_in_sentence
from verl_vaopd.answers.response import final_text, marked_answers
from verl_vaopd.answers.yes_no import said_yes_or_no

LETTERS = "ABCDEFGHIJ"

_MAX_ANSWER = 600  # characters; longer is no choice
_LABEL = re.compile(
    r"^(?:选项\s?|(?:the )?(?:correct )?(?:options?|choices?|answers?)(?: is)?[ :]{1,2})"
    r"(?=\W{0,2}[A-Ja-j](?![A-Za-z]))",
    re.IGNORECASE,
)
_LETTER = re.compile(r"^[(\[{]?\s?([A-Ja-j])\s?[)\]}]?[\s.:,;]{0,2}$")
_LETTER_AND_TEXT = re.compile(
    r"^(?:[(\[]\s?([A-J])\s?[)\]][.:]?|([A-J])\s?[.:)、,]|([A-J])(?=\s))\s{0,3}(\S.*)$", re.DOTALL
)
_LETTER_THEN_BRACKETS = re.compile(r"^([A-J])\s?\(([^()]{1,200})\)$")
_TEXT_AND_LETTER = re.compile(r"^(\S.*?)\s?\((?:option |choice )?([A-J])\)$", re.DOTALL | re.IGNORECASE)
_REASON = re.compile(r"^(?:because|since|as|which|for|due to|is (?:the )?(?:correct|right)|[-–—(])", re.IGNORECASE)
# What a first sentence says of its subject, before the reasons for it.
_ASSERTS = re.compile(
    r"\b(?:is|are|was|were|be|been|by|as|called|named|represents?|depicts?|belongs? to|that"
    r"|would|will|may|might|should)\b",
    re.IGNORECASE,
)
_ANSWER_WORD = re.compile(r"^(true|false)(?=[.,!]|$)", re.IGNORECASE)
# "(F) is the same as the picture"
_TELLS = re.compile(
    r"^(?:is|are|was|were|has|have|does|shows?|represents?|describes?|can|cannot|would|will|means)\b", re.IGNORECASE
)
# "(B) 11 (C) 13", "B. 11; C. 13"
_LATER_LETTER = re.compile(r"[(\[][A-J][)\]]|[;,]\s?[A-J][.:)]")
_SECOND_LETTER = re.compile(r"^\W{0,3}(?:and|or|&|/|,)?\W{0,3}[A-J](?:\W|$)")
# "option C is correct", "(C) is right", "C is the correct answer"; not "angle A is right"
_VERDICT = re.compile(
    r"(?:(?:option|choice|answer) \(?([A-J])\)?|\(([A-J])\)) is (?:the )?(?:correct|right)"
    r"|(?<!\w)([A-J]) is the (?:correct|right) (?:answer|option|choice)",
    re.IGNORECASE,
)
# The end of the last line. A bare letter may be a point of the figure, and without a full stop more was to come.
_CONCLUSION = re.compile(
    r"\b(?:is|be|to|matches|choose|select|pick)[ :]{1,2}(?:the )?(?:(?:option|choice) \(?([A-J])\)?|\(([A-J])\))[.!]$",
    re.IGNORECASE,
)
_OPTIONS_LABEL = re.compile(r"(?:choice|option)s?\s{0,2}:", re.IGNORECASE)


def chosen_letter(response: str, options: Mapping[str, str], question: str = "") -> str | None:
    """The letter of the option that a response ends up with, by the protocol `rule`; None if it names none.

    Args:
        response: as the model wrote it, thinking included.
        options: text by letter; texts may be empty where only the letters are known.
        question: its text, which a response may say again instead of "yes"; see yes_no.py.
    """
    text = _without_listing(final_text(response))
    marked = marked_answers(text)
    last = text.rstrip().rpartition("\n")[2]
    for line, *sentence in [*marked, [last]]:
        letter = parse_choice(line, options)
        # The sentence "B" of the line "B. 60°" would hide that its text is another option's.
        if letter is None and sentence and not _LETTER.match(normalise_maths(sentence[0])):
            letter = parse_choice(sentence[0], options)
        if letter:
            return letter
    verdicts = [match[1] or match[2] or match[3] for match in _VERDICT.finditer(text)]
    if verdicts:
        return verdicts[-1] if verdicts[-1] in options else None
    conclusion = _CONCLUSION.search(last.replace("*", "").rstrip())
    if conclusion:
        letter = (conclusion[1] or conclusion[2]).upper()
        return letter if letter in options else None
    words = {normalise_text(option): letter for letter, option in options.items()}
    if words.keys() == {"yes", "no"}:
        return words.get((said_yes_or_no(response, question) or "").lower())
    return None if marked else _concluded(text, options)


def _without_listing(text: str) -> str:
    """The text without the lines at its end that say the options again."""
    lines = text.split("\n")
    letters = ""
    for index in range(len(lines) - 1, -1, -1):
        match = _LETTER_AND_TEXT.match(normalise_maths(lines[index][:_MAX_ANSWER]))
        if match is None and lines[index].strip():
            return "\n".join(lines[: index + 1]) if len(letters) > 1 and letters in LETTERS else text
        letters = (match[1] or match[2] or "" if match else "") + letters
    return "" if len(letters) > 1 and letters in LETTERS else text


def _concluded(text: str, options: Mapping[str, str]) -> str | None:
    """The option that a response which marks no answer settles on; None if its sentences disagree."""
    end = closing(text)
    opening = text.lstrip().partition("\n")[0]
    first = _opening_choice(opening, options) or option_in_sentence(end.first, options)
    last = None if is_item(end.last) else option_in_sentence(end.last, options, explains=end.last != end.first)
    conclusion = option_in_sentence(end.conclusion, options)
    said = [named for named in (conclusion, last) if named]
    is_direct = (
        end.first_is_direct and not (said or end.conclusion) and (end.last == end.first or _ASSERTS.search(end.first))
    )
    if first and not any(named.by_letter for named in said) and (first.by_letter or is_direct):
        said = [first]
    letters = {named.letter for named in said}
    return letters.pop() if len(letters) == 1 else None


def _opening_choice(line: str, options: Mapping[str, str]) -> Named | None:
    """The choice that a first line is by itself, before its reasons."""
    if len(line) > _MAX_ANSWER:
        return None
    text = normalise_maths(line)
    word = _ANSWER_WORD.match(text)
    if word:
        letters = [letter for letter, option in options.items() if normalise_text(option) == word[1].lower()]
        return Named(letters[0], by_letter=True) if letters else None
    texts = [letter for letter, option in options.items() if normalise_text(option) == normalise_text(line)]
    is_choice = _LETTER.match(text) or _LETTER_AND_TEXT.match(text) or len(texts) == 1
    letter = parse_choice(line, options) if is_choice else None
    return Named(letter, by_letter=True) if letter else None


def parse_choice(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer is; None if it is none, or more than one.

    Args:
        answer: nothing around it: the content of a box, what stands after an answer mark.
        options: as chosen_letter.
    """
    if len(answer) > _MAX_ANSWER:
        return None
    text = _LABEL.sub("", normalise_maths(answer))
    alone = _LETTER.match(text)
    if alone and not (alone[1].islower() and text in options.values()):
        return alone[1].upper() if alone[1].upper() in options else _with_text(text, options)
    both = _LETTER_AND_TEXT.match(text)
    if both:
        letter, rest = both[1] or both[2] or both[3], both[4]
        if letter in options and _agrees(letter, rest, options, has_mark=not both[3]):
            return letter
    bracketed = _LETTER_THEN_BRACKETS.match(text)
    if bracketed:
        letter = bracketed[1]
        return letter if letter in options and _agrees(letter, bracketed[2], options, has_mark=True) else None
    reversed_ = _TEXT_AND_LETTER.match(text)
    if reversed_ and _with_text(reversed_[1], options) == reversed_[2]:
        return reversed_[2]
    return _with_text(text, options)


def options_in_text(text: str) -> dict[str, str]:
    """Options that a question's text lists as "A. ...; B. ..." or "(A) ...", or behind a colon; empty if it lists none.

    They are those after the last label "Choices:" or "Options:", if there is one.
    """
    labels = list(_OPTIONS_LABEL.finditer(text))
    text = text[labels[-1].end() :] if labels else text
    marks: list[re.Match[str]] = []
    for letter in LETTERS:
        mark = re.compile(rf"(?:^|(?<=[\s;,.。；，]))\(?{letter}\s?[.:)、：．]").search(
            text, marks[-1].end() if marks else 0
        )
        if mark is None:
            break
        marks.append(mark)
    if len(marks) < 2:
        return {}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {
        letter: text[mark.end() : end].strip(" \t\n;,；，")
        for letter, mark, end in zip(LETTERS, marks, ends, strict=False)
    }


def letters_of(texts: list[str]) -> dict[str, str]:
    """Options by letter, of a published list."""
    return dict(zip(LETTERS, map(str, texts), strict=False))


def _agrees(letter: str, rest: str, options: Mapping[str, str], has_mark: bool) -> bool:
    """Whether what follows a letter leaves it the choice: its own text, a reason, but no other letter or option."""
    if _with_text(rest, {letter: options[letter]}):
        return True
    others = {other: text for other, text in options.items() if other != letter}
    if _SECOND_LETTER.match(rest) or _with_text(rest, others):
        return False
    if _REASON.match(rest):
        return True
    if _TELLS.match(rest):
        return False
    return has_mark and not _LATER_LETTER.search(rest)


def _with_text(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option with this text, first by its words, then by its value; of equal options the first."""
    words = normalise_text(answer)
    if not words:
        return None
    found = [letter for letter, text in options.items() if normalise_text(text) == words]
    if not found:
        found = [letter for letter, text in options.items() if answers_equal(answer, text)]
    if len(found) > 1:  # "3, 4" and "4, 3" are equal lists, but two options
        found = [letter for letter in found if _same_order(answer, options[letter])] or found
    return found[0] if found and len({options[letter] for letter in found}) == 1 else None


def _same_order(answer: str, text: str) -> bool:
    said, wanted = list_items(answer), list_items(text)
    return len(said) == len(wanted) and all(map(answers_equal, said, wanted))

"""The options of a published row and its right letter, in all the ways in which rows have them."""

import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from verl_vaopd.answers.choice import LETTERS, options_in_text
from verl_vaopd.evaluation.benchmark import Fields, is_present
from verl_vaopd.evaluation.formats.values import as_list, as_mapping

_NAMES = ("index2ans", "options", "choices")
_BRACKETS = " ()[].:"
_TEXT = (str, int, float)


def published_options(fields: Fields) -> dict[str, str]:
    """The options of a row by letter; empty if it has none, or an empty list.

    They are those of `index2ans` (as in MMMU's own output files), `options` or `choices`: a list, a mapping by letter,
    or a text that lists them; else the columns A, B, ... that hold something.

    Raises:
        ValueError: something else, or letters alone (`all_choices`).
    """
    for name in _NAMES:
        if is_present(fields.get(name)):
            return _options(name, fields[name])
    options = option_columns(fields)
    if not options and is_present(fields.get("all_choices")):
        raise ValueError(
            f"all_choices: got {fields['all_choices']!r}, letters without their texts; expected `index2ans` beside "
            "them, or `options`"
        )
    return options


def option_columns(fields: Fields) -> dict[str, str]:
    """The options of a VLMEvalKit row: columns named A, B, ... that hold something."""
    return {letter: str(fields[letter]) for letter in LETTERS if is_present(fields.get(letter))}


def gold_letter(answer: object, options: Mapping[str, str]) -> str:
    """The letter of a published answer: a letter in either case, bare or in brackets, else that of the one option whose
    text it is. An answer that is neither is given back as it is: no response has it."""
    text = str(answer).strip()
    if text in options:
        return text
    with_text = [letter for letter, option in options.items() if option == text]
    bare = text.strip(_BRACKETS).upper()
    return with_text[0] if len(with_text) == 1 else bare if bare in options else text


def gold_doubt(answer: object, options: Mapping[str, str]) -> str | None:
    """What is wrong with a published answer that is none of the options; None if it is one."""
    if not options or gold_letter(answer, options) in options:
        return None
    return f"answer: got {answer!r}, expected one of {', '.join(options)}"


def _options(name: str, value: Any) -> dict[str, str]:
    options = {str(letter).strip().upper(): text for letter, text in as_mapping(value).items() if is_present(text)}
    if not options:
        items = as_list(value)
        items = items[0] if len(items) == 1 and isinstance(items[0], list) else items  # MMMU-Pro has such a row
        if items == [value] and isinstance(value, str):
            options = options_in_text(value) or {"": value}
        else:
            options = {ascii_uppercase[number : number + 1]: text for number, text in enumerate(items)}
    if not options.keys() <= set(ascii_uppercase) or not all(isinstance(text, _TEXT) for text in options.values()):
        raise ValueError(
            f"{name}: got {value!r}, expected a list of up to {len(ascii_uppercase)} texts, or an object by letter "
            'such as {"A": "red", "B": "blue"}'
        )
    return _without_labels({letter: str(options[letter]) for letter in sorted(options)})


def _without_labels(options: dict[str, str]) -> dict[str, str]:
    """The texts; where every one begins with its own letter ("A. red", "(B) blue"), without it."""
    labels = {letter: re.match(rf"\s*\(?{letter}\s?[.:)：、]\s*", text) for letter, text in options.items()}
    if not all(labels.values()):
        return options
    return {letter: options[letter][label.end() :] for letter, label in labels.items() if label}

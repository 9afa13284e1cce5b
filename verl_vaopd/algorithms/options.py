"""What something can be told: a dataclass whose fields carry default, range or choices, unit and meaning.

Each stands beside the function that uses it and is the only home of its defaults. The configuration is made of these
dataclasses, its checks loop over them, and the tables of docs/configuration.md come from them. Nothing here imports
torch, so that a mistake in a configuration is told within a second. The dataclasses are not frozen: OmegaConf would
make their nodes read-only.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

OptionsT = TypeVar("OptionsT")
_KEY = "option"


@dataclass(frozen=True)
class Option:
    """One option, without its default, which is the field's.

    Attributes:
        meaning: a sentence for the user.
        unit: of the number, such as nats; empty for shares and counts.
        choices: the words that are allowed; a function where they are known later. Empty: any.
        at_least, above, at_most, below: limits of a number. A number must be finite.
        nullable: None is allowed.
        example: a number to propose where the default is None, or follows another option.
    """

    meaning: str
    unit: str = ""
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    nullable: bool = False
    example: float | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are allowed; empty: any."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    @property
    def is_number(self) -> bool:
        """Whether a limit is set."""
        return any(limit is not None for limit in (self.at_least, self.above, self.at_most, self.below))

    def allows(self, value: Any) -> bool:
        """Whether the option can have this value, whose type is right."""
        if value is None:
            return self.nullable
        if self.words:
            return value in self.words
        if not self.is_number:
            return True
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    @property
    def expected(self) -> str:
        """What is allowed, in words: `more than 0, at most 1`, `one of a, b`."""
        if self.words:
            return f"one of {', '.join((*(['null'] if self.nullable else []), *self.words))}"
        unit = f" {self.unit}" if self.unit else ""
        if (self.at_least, self.at_most) == (0, 1):
            text = f"between 0 and 1{unit}"
        else:
            low = f"at least {self.at_least:g}{unit}" if self.at_least is not None else ""
            low = f"more than {self.above:g}{unit}" if self.above is not None else low
            high = f"at most {self.at_most:g}" if self.at_most is not None else ""
            high = f"less than {self.below:g}" if self.below is not None else high
            text = ", ".join(limit for limit in (low, high) if limit)
        return f"{text}, or null" if self.nullable and text else text

    def instead_of(self, value: Any, default: Any) -> Any:
        """A value that is allowed: the word that `value` is part of or most like, else the default or the example."""
        part_of = [word for word in self.words if str(value) in word]
        close = part_of or difflib.get_close_matches(str(value), self.words, n=1)
        return close[0] if close else self.example if default is None else default


def option(default: Any, meaning: str, **limits: Any) -> Any:
    """A dataclass field with an Option, whose limits are given by name; None as default makes it nullable."""
    metadata = {_KEY: Option(meaning, **{"nullable": default is None} | limits)}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def options_of(cls: Any) -> Iterator[tuple[str, Option, Any]]:
    """Name, option and default of every field of a dataclass that has one, those of nested ones as `outer.inner`."""
    for field in dataclasses.fields(cls):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        if _KEY in field.metadata:
            yield field.name, field.metadata[_KEY], default
        elif dataclasses.is_dataclass(default):
            for name, known, _ in options_of(default):
                yield f"{field.name}.{name}", known, getattr(default, name)


def require_options(options: Any) -> None:
    """Raise ValueError that names the first value of a dataclass that its option does not allow."""
    require_values(type(options), **{name: getattr(options, name) for name, _, _ in options_of(options)})


def require_values(cls: type, **values: Any) -> None:
    """The same for some options of a dataclass, passed by name."""
    for name, known, default in options_of(cls):
        if name not in values:
            continue
        value = values[name]
        whole = type(default) is int and not isinstance(value, int)
        if whole or not known.allows(value):
            expected = f"a whole number, {known.expected}" if whole else known.expected
            raise ValueError(
                f"{name}: got {value!r}, expected {expected}; e.g. {name}={known.instead_of(value, default)!r}"
            )


def options_from(
    cls: type[OptionsT], given: Sequence[Any], named: Mapping[str, Any], order: Sequence[str] = ()
) -> OptionsT:
    """The options of a call: one instance of the dataclass, or values by name or place; checked.

    Args:
        given: an instance of cls, or values of the fields in `order`.
        named: values by name; they replace those of an instance.
    Raises:
        TypeError: an unknown name, or more values than `order` names.
        ValueError: a value out of range.
    """
    if given and isinstance(given[0], cls):
        options = dataclasses.replace(given[0], **named)  # type: ignore[type-var]  # it is a dataclass
        given = given[1:]
        order = ()
    else:
        options = cls(**dict(zip(order, given, strict=False)), **named)
    if len(given) > len(order):
        raise TypeError(f"{cls.__name__}: got {len(given)} values, expected at most {len(order)}; name them")
    require_options(options)
    return options

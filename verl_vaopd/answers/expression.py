r"""The value of a mathematical expression: exact where it is rational, else a float.

    expression := term (('+' | '-') term)*
    term       := factor (('*' | '/' | \times | \div | nothing, unless a number follows) factor)*
    factor     := ('+' | '-') factor | atom ('^' factor)? '°'?
    atom       := number | mixed number | variable | \pi | \frac argument argument | \sqrt ('[' n ']')? argument
                | function factor | '(' expression ')' | '{' expression '}'
    argument   := '{' expression '}' | '(' expression ')' | one digit, letter or command

Variables are Latin letters and Greek commands, with or without an index. They have the values that they are given, so
that two expressions which agree for several choices are equal. Length, nesting and the size of numbers are bounded.
"""

import math
import re
from collections.abc import Callable
from fractions import Fraction

Number = Fraction | float

MAX_LENGTH = 400
_MAX_DEPTH = 40
_MAX_EXPONENT = 64
_MAX_BITS = 512
_NUMBER = re.compile(r"(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d{1,3}(?![\dA-Za-z.]))?", re.ASCII)
_MIXED = re.compile(r" ?\\frac ?\{ ?(\d+) ?\} ?\{ ?(\d+) ?\}| (\d+)/(\d+)(?![\d.])", re.ASCII)
_NAME = re.compile(r"\\([A-Za-z]+)|(sqrt|pi|arcsin|arccos|arctan|sin|cos|tan|log|ln)(?![A-Za-z])|([A-Za-z])")
_INDEX = re.compile(r" ?_ ?(?:\{ ?([A-Za-z0-9]{1,4}) ?\}|([A-Za-z0-9]))")
_GREEK = frozenset(("alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "phi", "omega", "rho", "sigma", "tau"))
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "log": math.log10, "ln": math.log, "exp": math.exp,
    "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan,
}  # fmt: skip


class NotAnExpression(ValueError):
    """The text is none, or its value is undefined or too large."""


def evaluate(text: str, variable: Callable[[str], float] | None = None) -> Number:
    """The value of a normalised expression.

    Args:
        text: as normalise_maths leaves it, without a unit.
        variable: the value of each by its name; None: there must be none.
    Returns: a Fraction if only rational operations on numbers led to it, else a finite float.
    Raises:
        NotAnExpression: the text is not one, has variables without values, or its value is undefined or too large.
    """
    if not 0 < len(text) <= MAX_LENGTH:
        raise NotAnExpression(f"got {len(text)} characters, expected 1 to {MAX_LENGTH}")
    parser = _Parser(text, variable)
    try:
        value = parser.expression()
    except (ArithmeticError, ValueError) as error:
        raise NotAnExpression(str(error)) from None
    if parser.next():
        raise NotAnExpression(f"got {parser.next()!r} at {parser.position}")
    if isinstance(value, float) and not math.isfinite(value):
        raise NotAnExpression("not finite")
    return value


class _Parser:
    def __init__(self, text: str, variable: Callable[[str], float] | None) -> None:
        self.text = text
        self.variable = variable
        self.position = 0
        self.depth = 0

    def next(self) -> str:
        """The next character that is no space; empty at the end."""
        while self.text[self.position : self.position + 1] == " ":
            self.position += 1
        return self.text[self.position : self.position + 1]

    def take(self, *tokens: str) -> str:
        """The token that comes next, passed over; empty if it is none of these."""
        self.next()
        for token in tokens:
            end = self.position + len(token)
            if self.text.startswith(token, self.position):
                if token[0] == "\\" and self.text[end : end + 1].isalpha():
                    continue  # a longer command
                self.position = end
                return token
        return ""

    def expression(self) -> Number:
        value = self.term()
        while sign := self.take("+", "-"):
            value = value + self.term() if sign == "+" else value - self.term()
        return value

    def term(self) -> Number:
        value = self.factor()
        while True:
            if self.take("*", "\\times"):
                value = _bounded(value * self.factor())
            elif self.take("/", "\\div"):
                value = _bounded(value / self.factor())
            elif self.next().isalpha() or self.next() in tuple("({\\"):
                value = _bounded(value * self.factor())
            else:
                return value

    def factor(self) -> Number:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotAnExpression("too deep")
        if sign := self.take("+", "-"):
            value = self.factor() if sign == "+" else -self.factor()
        else:
            value = self.atom()
            if self.take("^"):
                value = _power(value, self.factor())
            if self.take("°"):
                value = value * (math.pi / 180)
        self.depth -= 1
        return value

    def atom(self) -> Number:
        if self.take("("):
            return self.closed(")")
        if self.take("{"):
            return self.closed("}")
        self.next()
        number = _NUMBER.match(self.text, self.position)
        if number:
            self.position = number.end()
            return self.mixed(number[0])
        name = _NAME.match(self.text, self.position)
        if name is None:
            raise NotAnExpression(f"got {self.next()!r} at {self.position}")
        self.position = name.end()
        return self.named(name[1] or name[2] or name[3], is_letter=bool(name[3]))

    def closed(self, bracket: str) -> Number:
        value = self.expression()
        if not self.take(bracket):
            raise NotAnExpression(f"got {self.next()!r} at {self.position}, expected {bracket!r}")
        return value

    def mixed(self, digits: str) -> Number:
        """A number, with the fraction that may follow a whole one: 2\\frac{1}{2} and 2 1/2 are 2.5."""
        value = Fraction(digits)
        match = _MIXED.match(self.text, self.position) if digits.isdecimal() else None
        if match:
            numerator, denominator = int(match[1] or match[3]), int(match[2] or match[4])
            if 0 < numerator < denominator:
                self.position = match.end()
                return _bounded(value + Fraction(numerator, denominator))
        return _bounded(value)

    def named(self, name: str, is_letter: bool) -> Number:
        if name == "pi":
            return math.pi
        if name == "frac":
            numerator = self.argument()
            return _bounded(numerator / self.argument())
        if name == "sqrt":
            degree = self.closed("]") if self.take("[") else Fraction(2)
            return _root(self.argument(), degree)
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](float(self.factor()))
        if self.variable is None or not (is_letter or name in _GREEK):
            raise NotAnExpression(f"got {name!r}")
        index = _INDEX.match(self.text, self.position)
        if index:
            self.position = index.end()
        return self.variable(name + ("_" + (index[1] or index[2]) if index else ""))

    def argument(self) -> Number:
        if self.take("{"):
            return self.closed("}")
        if self.take("("):
            return self.closed(")")
        if self.next().isdecimal():
            self.position += 1
            return Fraction(self.text[self.position - 1])
        return self.atom()


def _bounded(value: Number) -> Number:
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        return float(value)
    return value


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and abs(exponent) <= _MAX_EXPONENT:
        return _bounded(base ** int(exponent))
    return _real(float(base) ** float(exponent))


def _root(value: Number, degree: Number) -> Number:
    if isinstance(value, Fraction) and degree == 2 and value >= 0:
        exact = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        if exact * exact == value:
            return exact
    if value < 0 and degree == 3:
        return -(float(-value) ** (1 / 3))
    return _real(float(value) ** (1 / float(degree)))


def _real(value: float | complex) -> float:
    if isinstance(value, complex):
        raise NotAnExpression("not a real number")
    return value

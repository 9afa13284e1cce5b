"""Units of measure at the end of a quantity.

5 cm     50 mm      0.05 m                 one quantity
20 cm^2  20 sq cm   20 square centimeters  20平方厘米    another one
"""

import re
from dataclasses import dataclass
from fractions import Fraction

# dimension: scale in its base unit: spellings. Those of one or two letters are case-sensitive.
_BASE_UNITS: dict[str, dict[str, str]] = {
    "length": {
        "1": "m meter meters metre metres 米",
        "1000": "km kilometer kilometers kilometre kilometres 千米 公里",
        "1/10": "dm decimeter decimeters decimetre decimetres 分米",
        "1/100": "cm centimeter centimeters centimetre centimetres 厘米",
        "1/1000": "mm millimeter millimeters millimetre millimetres 毫米",
        "127/5000": "in inch inches",
        "381/1250": "ft foot feet",
        "1143/1250": "yd yard yards",
        "201168/125": "mi mile miles",
        "1852": "nmi nautical_mile nautical_miles 海里",
    },
    "litre": {
        "1": "l L liter liters litre litres 升",
        "1/1000": "ml mL milliliter milliliters millilitre millilitres 毫升",
    },
    "mass": {
        "1": "g gram grams 克",
        "1000": "kg kilogram kilograms 千克 公斤",
        "1/1000": "mg milligram milligrams 毫克",
    },
    "time": {
        "1": "s sec secs second seconds 秒",
        "60": "min mins minute minutes 分钟",
        "3600": "h hr hrs hour hours 小时",
        "86400": "day days 天",
    },
    "year": {"1": "year years 年"},
    "degree": {"1": "° °T deg degs degree degrees 度"},  # T: a bearing from true north
    "radian": {"1": "rad radian radians"},
    "celsius": {"1": "°C"},
    "fahrenheit": {"1": "°F"},
    "kelvin": {"1": "K kelvin kelvins"},
    "dollar": {"1": "dollar dollars USD", "1/100": "cent cents ¢"},
    "euro": {"1": "€ euro euros"},
    "yuan": {"1": "yuan 元"},
    "share": {"1/100": "% percent"},
    "unit": {"1": "unit units"},
    "count": {"1": "个 人 名 次 只 条 颗 棵 本 张 块"},
    "newton": {"1": "N newton newtons", "1000": "kN"},
    "joule": {"1": "J joule joules", "1000": "kJ"},
    "watt": {"1": "W watt watts", "1000": "kW"},
    "volt": {"1": "V volt volts", "1000": "kV", "1/1000": "mV"},
    "ampere": {"1": "A amp amps ampere amperes", "1/1000": "mA"},
    "ohm": {"1": "Ω ohm ohms", "1000": "kΩ"},
    "hertz": {"1": "Hz hertz", "1000": "kHz", "1000000": "MHz"},
    "pascal": {"1": "Pa pascal pascals", "1000": "kPa"},
    "mole": {"1": "mol mole moles"},
}
_WORDS = {
    (word if len(word) < 3 else word.lower()).replace("_", " "): (dimension, Fraction(scale))
    for dimension, scales in _BASE_UNITS.items()
    for scale, words in scales.items()
    for word in words.split()
}
_LITRE_IN_CUBIC_METRES = Fraction(1, 1000)
_WORD = "|".join(sorted(map(re.escape, _WORDS), key=len, reverse=True))
_EXPONENT = r"(?:\s?\^\s?\{?([23])\}?|([23])|\s(squared|cubed))?"
_UNIT = re.compile(
    rf"(?:^|(?<=[\d\s)}}°]))(?:(square|sq|cubic|cu)\.?\s|(平方|立方))?({_WORD}){_EXPONENT}"
    rf"(?:\s?(?:/|per)\s?({_WORD}){_EXPONENT})?$",
    re.IGNORECASE,
)
_POWERS = {
    "square": 2,
    "sq": 2,
    "squared": 2,
    "cubic": 3,
    "cu": 3,
    "cubed": 3,
    "平方": 2,
    "立方": 3,
    "2": 2,
    "3": 3,
    None: 1,
    "": 1,
}


@dataclass(frozen=True)
class Unit:
    """A unit as a multiple of the base unit of its dimension."""

    scale: Fraction
    dimension: tuple[tuple[str, int], ...]


def split_unit(text: str) -> tuple[str, Unit | None]:
    """What stands before the unit at the end of a normalised quantity, and the unit; (text, None) if there is none."""
    match = _UNIT.search(text)
    if match is None:
        return text, None
    before, before_chinese, word, *exponents, per, per_caret, per_plain, per_word = match.groups()
    power = max(
        _POWERS[before and before.lower()], _POWERS[before_chinese], *(_POWERS[e and e.lower()] for e in exponents)
    )
    unit = _unit(word, power)
    if per and unit:
        below = _unit(per, max(_POWERS[e and e.lower()] for e in (per_caret, per_plain, per_word)))
        unit = below and Unit(unit.scale / below.scale, (*unit.dimension, ("per", 0), *below.dimension))
    return (text[: match.start()].strip(), unit) if unit else (text, None)


def _unit(word: str, power: int) -> Unit | None:
    known = _WORDS.get(word) or (_WORDS.get(word.lower()) if len(word) > 2 else None)
    if known is None:
        return None
    dimension, scale = known
    if dimension == "unit":
        return Unit(Fraction(1), (("unit", 1),))  # units of length, area or volume of a drawing without a scale
    if dimension == "litre":
        return Unit(scale * _LITRE_IN_CUBIC_METRES, (("length", 3),)) if power == 1 else None
    return Unit(scale**power, ((dimension, power),))

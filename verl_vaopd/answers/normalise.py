r"""One spelling for what can be spelled in many ways: LaTeX, unicode signs, markdown, thousands separators.

\dfrac{1}{2}, ½        \frac{1}{2}
45^{\circ}, 45\degree  45°
−3, –3, ‐3             -3
5\,\text{cm}           5 cm
1,234,567              1234567
"""

import re
import unicodedata

_WIDE = {wide: wide - 0xFEE0 for wide in range(ord("！"), ord("～") + 1)}
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−–—‒―‐‑﹣－", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("×⋅·∗", r"\times "),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("’‘′", "'"),
        **dict.fromkeys("“”", '"'),
        "√": r"\sqrt ",
        "π": r"\pi ",
        "θ": r"\theta ",
        "α": r"\alpha ",
        "β": r"\beta ",
        "∞": r"\infty ",
        "±": r"\pm ",
        "∠": r"\angle ",
        "△": r"\triangle ",
        "∪": r"\cup ", "∩": r"\cap ", "∥": r"\parallel ", "⊥": r"\perp ", "∈": r"\in ",
        "º": "°",
        "˚": "°",
        "掳": "°",  # its UTF-8 read as GBK, as in two answers of MathVerse
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "≈": "~",
        "℃": "°C",
        "₀": "_0", "₁": "_1", "₂": "_2", "₃": "_3", "₄": "_4",
        "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
        "⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}",
        "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}",
    }
)  # fmt: skip
_THIN_SEPARATOR = re.compile(r"(?<=\d)(?:[\u2009\u202f]|\\,)(?=\d{3}(?!\d))")  # 1 234 567
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_ROOT_OF_NUMBER = re.compile(r"\\sqrt +(\d+(?:\.\d+)?)")
_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|mbox|emph|boldsymbol|bm|boxed|fbox)"
    r"\s{0,2}\{([^{}]*)\}"
)
_REPLACED = [
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\\[dtc]frac", r"\\frac"),
        (r"\\(?:left|right|bigl|bigr|Bigl|Bigr|big|Big)(?![A-Za-z])\s{0,2}\.?", ""),
        (r"\\(?:displaystyle|textstyle|limits|quad|qquad|nonumber)(?![A-Za-z])|\\[,;:!> ]|~(?=[A-Za-z])", " "),
        (r"\\(?:rm|bf|it|sf|tt)(?![A-Za-z])", " "),
        (r"\s{0,2}\^\s{0,2}(?:\{\s{0,2}\\(?:circ|degree)\s{0,2}\}|\\(?:circ|degree))|\\degree|\\textdegree", "°"),
        (r"°\s{1,3}T(?![A-Za-z])", "°T"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\leq(?![A-Za-z])", r"\\le"),
        (r"\\geq(?![A-Za-z])", r"\\ge"),
        (r"\\neq(?![A-Za-z])", r"\\ne"),
        (r"\\(?:cdot|ast)(?![A-Za-z])", r"\\times"),
        (r"\\(?:approx|simeq)(?![A-Za-z])", "~"),
        (r"\\(?:\[|\]|\(|\))|\${1,2}|\\(?=[%$&#])", " "),
        (r"\s+", " "),
    )
]
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:(?:,|\{,\})\d{3})+(?![\d,])", re.ASCII)
_MAX_NESTING = 4  # of \text{...} in \text{...}
_POWER = re.compile(r"(?:(?<=[\d)])|(?<=\b[A-Za-z]))\*\*(?=[\d(])")  # as in Python; any other ** is bold face
_MARKDOWN = re.compile(r"\*{2,3}|`+|<{2,}|>{2,}")
_QUOTES = " \t\n'\"*"
_TAGGED = re.compile(r"<([^<>]*)>")


def normalise_maths(text: str) -> str:
    """A mathematical expression or a quantity in the one spelling of the module's table; no value changes.

    Wrappers like \\text{} lose their braces and keep their content; math delimiters and bold face go.
    """
    text = _THIN_SEPARATOR.sub("", fold_wide(text)).translate(_SIGNS)
    text = _SUPERSCRIPT.sub(lambda match: "^{" + match[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _MARKDOWN.sub("", _POWER.sub("^", text))
    for _ in range(_MAX_NESTING):
        text, num_found = _WRAPPER.subn(r" \1 ", text)
        if not num_found:
            break
    for pattern, by in _REPLACED:
        text = pattern.sub(by, text)
    text = _ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", text)
    text = text.strip(_QUOTES).removesuffix(".").removesuffix("。").strip(_QUOTES)
    tagged = _TAGGED.fullmatch(text)
    return tagged[1].strip(_QUOTES) if tagged else text


def join_thousands(text: str) -> str:
    """Normalised text without the commas between groups of three digits."""
    return _THOUSANDS.sub(lambda match: match[0].replace("{,}", "").replace(",", ""), text)


def normalise_text(text: str) -> str:
    """Words for comparison: case, width of characters, markup, quotes, outer punctuation and spacing do not matter."""
    text = unicodedata.normalize("NFKC", normalise_maths(text)).casefold()
    return " ".join(text.split()).strip(" .,;:!?'\"")


def fold_wide(text: str) -> str:
    """Full-width ASCII, as Chinese and Japanese texts have it, to plain; NFKC would also lift exponents to the line."""
    return text.translate(_WIDE)

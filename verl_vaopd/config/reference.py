"""Every key of ours with its default, what is allowed and what it means, from the options themselves.

`python -m verl_vaopd.config.reference > docs/configuration.md`; `vaopd options` prints the same as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from verl_vaopd.algorithms.options import options_of
from verl_vaopd.algorithms.weightings import WEIGHTINGS
from verl_vaopd.config.following import RULES
from verl_vaopd.config.renamed import MASK, MOVED
from verl_vaopd.config.schema import SECTIONS, WEIGHTING

HEAD = """# Configuration

Our own keys; verl's are verl's. A default marked "follows" gives way to what you set elsewhere, so that it never
contradicts it. `vaopd options WORD` prints these lines; `vaopd train --cfg job` prints what a command resolves to.
"""


@dataclass(frozen=True)
class Line:
    """One key, in words."""

    key: str
    default: str
    allowed: str
    meaning: str


def lines() -> Iterator[tuple[str, str, list[Line]]]:
    """Section, what it is, and its keys. A weighting is a section of its own: `weighting=NAME` chooses it."""
    sections = {section: (section, cls) for section, cls in SECTIONS.items()}
    sections |= {f"{WEIGHTING}={name}": (WEIGHTING, cls) for name, cls in WEIGHTINGS.items()}
    for title, (section, cls) in sections.items():
        found = [
            Line(f"{section}.{name}", _default(f"{section}.{name}", default), known.expected, known.meaning)
            for name, known, default in options_of(cls)
        ]
        yield title, (cls.__doc__ or "").split("\n")[0], found


def as_text(word: str = "") -> str:
    """All keys with this word in them, and how each is set."""
    return "\n".join(
        f"{line.key}={line.default}" + (f"  ({line.allowed})" if line.allowed else "") + f"\n    {line.meaning}"
        for title, _, found in lines()
        for line in found
        if word in f"{title} {line.key}"
    )


def as_markdown() -> str:
    """docs/configuration.md."""
    parts = [HEAD]
    for title, what, found in lines():
        parts += [f"## `{title}`", "", what, ""]
        if found:
            parts += ["| key | default | allowed | meaning |", "|---|---|---|---|"]
            cells = ([f"`{line.key}`", f"`{line.default}`", line.allowed, line.meaning] for line in found)
            parts += ["| " + " | ".join(cell.replace("|", "&#124;") for cell in row) + " |" for row in cells]
            parts += [""]
    former = [*(f"`{old}` is now `{new}`" for old, new in MOVED.items()), f"`{MASK}=WHICH` is now `weighting=masked"]
    former[-1] += " weighting.which=WHICH`"
    parts += ["## Former names, which stay valid", "", *(f"- {line}" for line in former)]
    return "\n".join(parts).rstrip()


def _default(key: str, default: Any) -> str:
    if default == MISSING:
        return "(by recipe)"
    if isinstance(default, str) and default.startswith("${vaopd_"):
        return "(follows)"
    words = {None: "null", True: "true", False: "false"}
    text = words[default] if default is None or isinstance(default, bool) else repr(default).strip("'")
    return f"{text} (follows)" if key in RULES else text


if __name__ == "__main__":
    print(as_markdown())

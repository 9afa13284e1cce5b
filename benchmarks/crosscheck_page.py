"""Write docs/crosscheck.md from the recorded cross-checks.

    python -m benchmarks.crosscheck_page

A recording is the outcomes.jsonl of `vaopd eval crosscheck --backend NAME --python FILE --out DIR`, kept as
tests/data/crosscheck/NAME.jsonl.
"""

from __future__ import annotations

from pathlib import Path

from verl_vaopd.evaluation.crosscheck.backends import BACKENDS
from verl_vaopd.evaluation.crosscheck.outcomes import read_outcomes
from verl_vaopd.evaluation.crosscheck.report import page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "crosscheck.md"
RECORDED = ROOT / "tests" / "data" / "crosscheck"


def make() -> str:
    """The page's text."""
    return page({backend: read_outcomes(RECORDED / f"{name}.jsonl") for name, backend in BACKENDS.items()})


if __name__ == "__main__":
    PAGE.write_text(make(), encoding="utf-8")
    print(f"written to {PAGE}")

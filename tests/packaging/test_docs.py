"""Documentation that is made from code is current, and links in it lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from verl_vaopd.config import reference
from verl_vaopd.runs import metric_names

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_metrics_page_is_current() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metric_names.as_markdown() + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_configuration_page_is_current() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference.as_markdown() + "\n"

from pathlib import Path

import pytest

from bench import page
from tests.bench.figures import a_run

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_figures_replace_what_an_earlier_run_wrote_and_nothing_else() -> None:
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    once = page.with_figures(text, a_run())
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "- caddy: skipped, not installed" in once
    assert page.with_figures(once, a_run()) == once


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no marks"):
        page.with_figures("text", a_run())


def test_the_documentation_has_the_marks_and_names_the_charts() -> None:
    text = (DOCS / "performance.md").read_text()
    assert page.with_figures(text, a_run()) != text
    assert "(cpu-by-tunnels.svg)" in text
    assert "(cpu-by-proxy.svg)" in text

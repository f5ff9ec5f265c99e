"""docs/reasons.md against the closed lists: every word there, none besides, each explained in the same three parts.

And the table of docs/tls.md: everything that a handshake can fail with has its row.
"""

import re
from pathlib import Path

import pytest

from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "reasons.md").read_text("utf-8")
PARTS = ["**Means:**", "**Usual causes:**", "**What to do:**"]


def chapter(title: str) -> dict[str, str]:
    """The entries of one chapter, from heading to text with every run of white space as one space."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    entries = re.split(r"^### (.*)\n", text, flags=re.MULTILINE)[1:]
    headings, bodies = entries[::2], entries[1::2]
    assert len(set(headings)) == len(headings), "a heading stands there twice"
    return {heading: " ".join(body.split()) for heading, body in zip(headings, bodies, strict=True)}


REASONS = chapter("Reasons")
OUTCOMES = chapter("Outcomes")


def test_every_reason_is_documented_with_its_status_and_in_order() -> None:
    assert list(REASONS) == [f"`{reason.word}` ({reason.status})" for reason in Reason]


def test_every_outcome_is_documented_in_order() -> None:
    assert list(OUTCOMES) == [f"`{outcome.value}`" for outcome in Outcome]


@pytest.mark.parametrize("entry", [*REASONS.values(), *OUTCOMES.values()], ids=[*REASONS, *OUTCOMES])
def test_an_entry_says_what_it_means_what_causes_it_and_what_to_do(entry: str) -> None:
    assert entry.startswith(PARTS[0])
    assert [entry.count(part) for part in PARTS] == [1, 1, 1]
    explained = re.split("|".join(re.escape(part) for part in PARTS), entry)[1:]
    assert all(len(text.strip(" .")) > 3 for text in explained)


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    links = set(re.findall(r"\]\(#([^)]*)\)", PAGE))
    # As common renderers make anchors of headings: lower case, punctuation dropped, spaces to hyphens.
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert links
    assert links <= anchors


def test_every_reason_about_tls_has_a_row_in_the_table_for_operators() -> None:
    (text,) = re.findall(r"^## What the log says\n(.*?)(?=^## )", (DOCS / "tls.md").read_text("utf-8"), re.M | re.S)
    first_cells = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| [")]
    rows = [word for cell in first_cells for word in re.findall(r"\[`([a-z-]+)`\]", cell)]
    about_tls = {reason.word for reason in Reason if not reason.status}
    about_tls |= {Reason.UPSTREAM_TLS.word, Reason.UPSTREAM_CERTIFICATE.word, Reason.PLAIN_HTTP.word}
    about_tls |= {reason.word for reason in Reason if reason.word.startswith("proxy-")}
    assert sorted(rows) == sorted(about_tls)

"""The demo's page: what the test of a browser relies on, and what keeps it safe and alone."""

import re
from html.parser import HTMLParser

import pytest

from wsrelay.control.demo_page import Page, load

PAGE = load()
TEXT = PAGE.html.decode("utf-8")


Element = tuple[str, dict[str, str | None]]


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))


@pytest.fixture
def elements() -> list[Element]:
    parser = Elements()
    parser.feed(TEXT)
    return parser.all


def test_every_part_of_the_page_has_its_id_once(elements: list[Element]) -> None:
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert {"state", "head", "text", "send", "log"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_id_that_the_script_asks_for_is_there(elements: list[Element]) -> None:
    ids = {attributes.get("id") for _, attributes in elements}
    asked = set(re.findall(r'byId\("([^"]+)"\)', TEXT))
    assert asked
    assert asked <= ids


def test_the_page_loads_nothing_from_anywhere(elements: list[Element]) -> None:
    linked = [
        attributes.get(name) for _, attributes in elements for name in ("src", "href", "action") if name in attributes
    ]
    assert linked == ["data:,"]
    assert not re.search(r"@import|url\(|https?://", TEXT)


def test_the_page_works_on_a_phone_and_in_both_colour_schemes(
    elements: list[Element],
) -> None:
    meta = {attributes.get("name"): attributes.get("content") for tag, attributes in elements if tag == "meta"}
    assert meta["viewport"] == "width=device-width, initial-scale=1"
    assert meta["color-scheme"] == "light dark"
    assert "prefers-color-scheme: dark" in TEXT


def test_data_never_becomes_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", TEXT)


def test_nothing_in_the_page_needs_more_than_its_policy_allows(
    elements: list[Element],
) -> None:
    # The policy names whole script and style elements; attributes would be refused by the browser.
    names = [name for _, attributes in elements for name in attributes]
    assert [name for name in names if name.startswith("on") or name == "style"] == []
    assert [tag for tag, _ in elements].count("script") == 1
    assert [tag for tag, _ in elements].count("style") == 1


def test_the_policy_names_the_script_and_style_by_hash() -> None:
    # Known answers: printf '%s' 'a()' | openssl dgst -sha256 -binary | base64
    policy = Page(b"<style>p{}</style><script>a()</script>").policy.decode()
    assert "default-src 'none';" in policy
    assert "script-src 'sha256-qVpDBgj7bpq5hMAcGp3AOc79J3Y1Z4HvySTwKrWDoy4=';" in policy
    assert "style-src 'sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y=';" in policy
    assert "unsafe" not in policy


def test_the_policy_follows_the_page() -> None:
    changed = Page(PAGE.html.replace(b'"use strict"', b'"use  strict"'))
    assert changed.policy != PAGE.policy

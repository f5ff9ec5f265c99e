"""The demo in a real browser: a person opens the page, types, and sees the echo and what the relay has added."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.e2e.browser import Tab, chromium
from tests.harness import in_reactor
from wsrelay.control.demo import DemoService, Ports

pytestmark = pytest.mark.e2e

OPEN = "document.querySelector('#state').dataset.state === 'open'"
CLOSED = "document.querySelector('#state').dataset.state === 'closed' && document.querySelector('#state').textContent"
# The head is there once the upstream has sent it.
HEAD = "document.querySelector('#head').children.length && document.querySelector('#head').textContent"
MARKED = "[...document.querySelectorAll('#head mark')].map((each) => each.textContent).join()"


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def demo() -> Iterator[list[int]]:
    """The demo's ports: http, https, layer 4."""
    service = DemoService(reactor, Ports(0, 0, 0), say=lambda text: None)  # type: ignore[arg-type]  # a module, to mypy
    in_reactor(service.privilegedStartService)
    in_reactor(service.startService)
    assert service.relay is not None
    try:
        yield [int(listening.name.rpartition(":")[2]) for listening in service.relay.listening]
    finally:
        in_reactor(service.relay.live.end_all)
        in_reactor(service.stopService)


def echo(tab: Tab, text: str) -> None:
    """Type, click, and wait for the echo."""
    tab.type("#text", text)
    tab.click("#send")
    assert tab.when("document.querySelector('#log li .said')?.textContent") == text


def test_the_page_works_over_https(tab: Tab, demo: list[int]) -> None:
    tab.open(f"https://localhost:{demo[1]}/")
    tab.when(OPEN)
    echo(tab, "hello")
    head = tab.when(
        "document.querySelector('#head').textContent.includes('Host') && document.querySelector('#head').textContent"
    )
    assert "X-Real-IP: 127.0.0.1\n" in head
    assert "X-Forwarded-Proto: https\n" in head
    assert "Upgrade: websocket\n" in head
    assert tab.when(MARKED).count("X-") == 4
    if shot := os.environ.get("WSRELAY_SCREENSHOT"):
        tab.screenshot(Path(shot))
    assert tab.complaints == []


def test_the_page_works_over_http(tab: Tab, demo: list[int]) -> None:
    tab.open(f"http://localhost:{demo[0]}/")
    tab.when(OPEN)
    echo(tab, "<b>not bold</b>")
    assert "X-Forwarded-Proto: http\n" in tab.when(HEAD)
    assert tab.complaints == []


def test_the_page_says_that_layer_4_adds_nothing(tab: Tab, demo: list[int]) -> None:
    tab.open(f"http://localhost:{demo[2]}/")
    tab.when(OPEN)
    echo(tab, "unread")
    assert "X-" not in tab.when(HEAD)
    assert tab.when("!document.querySelector('#unread').hidden && document.querySelector('#legend').hidden")
    assert tab.complaints == []


def test_the_page_tells_of_the_end_and_connects_again(tab: Tab, demo: list[int]) -> None:
    tab.open(f"https://localhost:{demo[1]}/")
    tab.when(OPEN)
    tab.when("(socket.close(4000, 'enough'), true)")
    assert tab.when(
        "document.querySelector('#state').dataset.state === 'closed' && document.querySelector('#state').textContent"
    )
    tab.click("#again")
    tab.when(OPEN)
    echo(tab, "again")

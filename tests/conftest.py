"""The reactor in its thread, and the rule that a logged traceback fails the test that caused it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from twisted.internet import reactor
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from tests.harness import PATIENCE_SECONDS, RawServer, Relay, in_reactor, raw_server

# No test depends on time being short; hypothesis has 200 ms for an example, and a busy machine takes them.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _reactor() -> Iterator[None]:
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)  # type: ignore[attr-defined]  # a module, to mypy
    thread.start()
    yield
    reactor.callFromThread(reactor.stop)  # type: ignore[attr-defined]  # as above
    thread.join(PATIENCE_SECONDS)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[LogEvent]]:
    """What Twisted's log got during the test; a traceback or a critical event in it fails the test.

    A test that provokes one on purpose removes it from the list.
    """
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
    bad = [event for event in events if "log_failure" in event or event.get("log_level") is LogLevel.critical]
    assert not bad, "\n".join(str(event.get("log_failure", event)) for event in bad)


@pytest.fixture
def upstream() -> Iterator[RawServer]:
    """An upstream that the test plays by hand."""
    with raw_server() as server:
        yield server


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Callable[..., Relay]]:
    """Start a relay from a configuration text; all are stopped after the test, and none keeps a session."""
    relays: list[Relay] = []

    def start(text: str, over: Any = reactor) -> Relay:
        folder = tmp_path / f"relay{len(relays)}"
        folder.mkdir()
        relays.append(Relay(text, folder, over))
        return relays[-1]

    yield start
    for each in relays:
        each.dispose()
        assert in_reactor(lambda relay: len(relay.service.live), each) == 0

"""A stream, its far end, and a clock that only the test moves: what the tests of streams play with."""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.contracts.peers import Peer, a_turn
from tests.harness import in_reactor
from wsrelay.core.outcomes import Loss, Side
from wsrelay.core.refusal import Lost
from wsrelay.net.legs import Leg
from wsrelay.net.stream import Stream

MUCH = bytes(range(256)) * 4096


class Line:
    """A reader for `read`: one line."""

    def __init__(self) -> None:
        self._have = b""
        self.rest = b""

    def feed(self, data: bytes) -> bytes | None:
        line, end, self.rest = (self._have + data).partition(b"\n")
        self._have += data
        return line if end else None


@attrs.define
class Rig:
    """A stream, its far end, and a clock that only the test moves."""

    leg: Leg
    peer: Peer
    stream: Stream
    clock: Clock

    def wait(self, what: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine on the reactor's thread and wait for its result."""
        return in_reactor(lambda: Deferred.fromCoroutine(what()))  # type: ignore[arg-type]  # a coroutine it is

    def begin(self, what: Callable[[], Awaitable[Any]]) -> "Waiting":
        """Begin a coroutine."""
        return Waiting(in_reactor(lambda: [Deferred.fromCoroutine(what())])[0])  # type: ignore[arg-type]  # as above

    def pass_time(self, seconds: float) -> None:
        in_reactor(self.clock.advance, seconds)

    def fill(self) -> int:
        """Write until the leg is full; how much was written."""
        written = 0
        while not self.leg.full:
            in_reactor(self.stream.write, MUCH[:65536])
            written += 65536
        return written


@attrs.define
class Waiting:
    """A coroutine that was begun."""

    deferred: "Deferred[Any]"

    @property
    def done(self) -> bool:
        a_turn()
        return bool(self.deferred.called)

    def result(self) -> Any:
        return in_reactor(lambda: self.deferred)


def rig_of(made: tuple[Leg, Peer]) -> Rig:
    leg, peer = made
    return Rig(leg, peer, Stream(leg, Side.CLIENT), Clock())


def lost(rig: Rig, what: Callable[[], Awaitable[Any]]) -> Loss | None:
    with pytest.raises(Lost) as caught:
        rig.wait(what)
    assert caught.value.side is Side.CLIENT
    return caught.value.loss

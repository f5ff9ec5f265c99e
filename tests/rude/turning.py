"""A whole relay in the test's own thread: its reactor turns when the test says so, and its time passes by hand.

Nothing of ours is replaced. The reactor is Twisted's own epoll reactor, which nobody runs: each turn is asked for.
"""

import collections
import functools
import time
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock

from tests.harness import PATIENCE_SECONDS, TURNS
from tests.rude.far_end import small
from wsrelay.config.settings import Settings
from wsrelay.control.service import RelayService
from wsrelay.core.outcomes import Outcome
from wsrelay.net.legs import Leg
from wsrelay.net.record import ExchangeFacts, Observer, SessionRecord, TunnelFacts


@functools.cache
def turned() -> EPollReactor:
    """One for the process: it keeps an epoll and a pipe, and is as good as new between two uses."""
    return EPollReactor()


class TurnedReactor:
    """Twisted's epoll reactor, turned by hand, with a time that stands still until it is moved."""

    def __init__(self) -> None:
        self._reactor = turned()
        self._clock = Clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def seconds(self) -> float:
        return float(self._clock.seconds())

    def callLater(self, seconds: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As the reactor's; "in the next turn" stays what it is."""
        return (self._clock if seconds else self._reactor).callLater(seconds, call, *args, **kwargs)

    def turn(self, times: int = TURNS) -> None:
        """So many turns without waiting for anything."""
        for _ in range(times):
            self._reactor.iterate(0)

    def passes(self, seconds: float) -> None:
        """So much time passes at once."""
        self._clock.advance(seconds)
        self.turn()

    @property
    def timers(self) -> int:
        """How many calls wait for a time to come."""
        return len(self._clock.getDelayedCalls())

    @property
    def legs(self) -> list[Leg]:
        """Every connection of the relay that it reads from or waits to write to."""
        return [one for one in {*self.getReaders(), *self.getWriters()} if isinstance(one, Leg)]


@attrs.define
class Told:
    """What an observer was told of one client's session, in order."""

    words: list[str] = attrs.field(factory=list)
    record: SessionRecord | None = None
    outcome: Outcome | None = None


class Listener:
    """An observer that writes down what it is told, by the client's address: each client has one of its own."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}

    def _note(self, word: str, record: SessionRecord) -> None:
        told = self.told.setdefault(record.client.rpartition(":")[0], Told())
        assert told.record in (None, record), "two sessions of one client"
        told.record = record
        told.words.append(word)

    def secured(self, record: SessionRecord) -> None:
        assert record.outcome is None

    def exchanged(self, record: SessionRecord, facts: ExchangeFacts) -> None:
        assert facts.request_bytes >= 0 <= facts.response_bytes
        self._note(f"exchanged {facts.status}", record)

    def tunnel_opened(self, record: SessionRecord) -> None:
        assert record.outcome is None
        self._note("opened", record)

    def tunnel_ended(self, record: SessionRecord, facts: TunnelFacts) -> None:
        assert record.outcome is not None
        self._note("closed", record)

    def session_failed(self, record: SessionRecord) -> None:
        assert record.outcome is not None
        self._note("failed", record)


class Counting:
    """An observer that only counts."""

    def __init__(self) -> None:
        self.told: collections.Counter[str] = collections.Counter()

    def secured(self, record: SessionRecord) -> None:
        self.told["secured"] += 1

    def exchanged(self, record: SessionRecord, facts: ExchangeFacts) -> None:
        self.told[f"exchanged {facts.status}"] += 1

    def tunnel_opened(self, record: SessionRecord) -> None:
        self.told["opened"] += 1

    def tunnel_ended(self, record: SessionRecord, facts: TunnelFacts) -> None:
        self.told["closed"] += 1

    def session_failed(self, record: SessionRecord) -> None:
        self.told["failed"] += 1


class TurnedRelay:
    """A relay from `settings`, started in the calling thread; time passes by hand for all but a native pump."""

    def __init__(self, settings: Settings, observer: Observer, *, narrow: bool = True) -> None:
        """`narrow` keeps the kernel's buffers small, so that they are full soon."""
        self.reactor = TurnedReactor()
        # Not `startService`: that would take the signals of the test run.
        self._service = RelayService(settings, self.reactor)  # type: ignore[arg-type]  # by delegation
        self._service.privilegedStartService()
        self.live = self._service.live
        for listening in self._service.listening:
            if narrow:
                small(listening._socket)  # which its connections inherit
            listening.site = attrs.evolve(listening.site, observer=observer)
            listening.start()
        self._site = self._service.listening[0].site
        self._site.pumps.open()
        self._site.handshakes.open()
        self.drained = False

    def port(self, index: int) -> int:
        return int(self._service.listening[index].name.rpartition(":")[2])

    @property
    def admitted(self) -> int:
        """How many addresses count as being in."""
        return len(self._site.admission._inside)

    def rest(self) -> None:
        """Turn until no session is left, or nobody is patient any more; threads of C may need a moment."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while len(self.live) and time.monotonic() < give_up:
            self.reactor.iterate(0.01)
        assert len(self.live) == 0, "sessions that do not end"
        self.reactor.turn()

    def drain(self, seconds: float) -> None:
        """Stop as the service does."""
        self.drained = True
        for listening in self._service.listening:
            listening.stop()
        self.live.drain(seconds)

    def shut(self) -> None:
        """The end of the service, once no session is left."""
        if not self.drained:
            self.drain(1)
        self._site.pumps.shut()
        self._site.handshakes.shut()

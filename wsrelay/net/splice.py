"""The handoff, the pump's interface, and the pump that runs on the reactor. Knows nothing of HTTP.

Two legs, two directions; layer 7 after its 101 and layer 4 use the same. Per chunk there is one call in, one call
out and two additions: no coroutine, no log, no timer. Time limits are found by one sweep over all tunnels.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from wsrelay.core.outcomes import Loss, Outcome, Side
from wsrelay.net.legs import Leg

# Time limits are minutes; being a second late costs nothing, and a sweep over 9,000 tunnels a few milliseconds.
SWEEP_SECONDS = 1.0


@attrs.frozen
class Handoff:
    """What ends a session's HTTP life (or its dialing, at layer 4): two legs, and the bytes already read.

    The pump owns both legs from `start` on. Times are seconds; 0 means no limit.
    """

    client: Leg
    upstream: Leg
    answer: bytes
    """What the client gets before anything else: the 101; empty at layer 4. Not counted."""
    to_client: bytes
    """What the upstream has sent behind its 101."""
    to_upstream: bytes
    """What the client sent before the tunnel began."""
    idle: float
    """No byte in either direction for so long ends the tunnel."""
    write_stall: float
    """Bytes wait for a leg and none moves for so long."""
    linger: float
    """After one side's end, silence of the other for so long."""


@attrs.frozen
class Counts:
    """A tunnel in numbers, at one moment. Bytes count what was read from the one leg for the other."""

    to_upstream: int
    to_client: int
    silent_to_upstream: float
    """Seconds since the last byte from the client."""
    silent_to_client: float
    """Seconds since the last byte from the upstream."""
    paused_client: float
    """Seconds in which the client was not read, because the upstream did not take its bytes."""
    paused_upstream: float
    """The same the other way round."""
    first_end: Side | None
    """Who ended first, if anyone has."""


class Pump(Protocol):
    """What moves one tunnel's bytes."""

    done: Deferred[Outcome]
    """Fires once, on the reactor thread, when both legs are closed."""

    def stop(self, why: Outcome) -> None:
        """End the tunnel now, with FIN to both; `done` fires with `why`. Nothing happens if it has ended."""

    def counts(self) -> Counts:
        """The numbers now; the last ones once it has ended."""


class PumpFactory(Protocol):
    """What starts pumps; one for a process."""

    name: str
    """What the log calls it."""

    def start(self, handoff: Handoff) -> Pump:
        """Own both legs and move bytes until the tunnel's end."""

    def open(self) -> None:
        """Called once before the first `start`, on the reactor thread, after any fork."""

    def shut(self) -> None:
        """Called once when no tunnel is left."""


class ReactorPumpFactory:
    """Pumps on the reactor thread, in pure Python, on every platform."""

    name = "reactor"

    def __init__(self, clock: IReactorTime, sweep_seconds: float = SWEEP_SECONDS) -> None:
        """Time limits are kept to within `sweep_seconds`."""
        self._clock = clock
        self._sweep_seconds = sweep_seconds
        self._tunnels: set[_ReactorPump] = set()
        self._sweep = LoopingCall(self._look)
        self._sweep.clock = clock

    def open(self) -> None:
        """Begin to look after time limits."""
        self._swept = self._sweep.start(self._sweep_seconds, now=False)

    def shut(self) -> None:
        """Stop looking after time limits."""
        if self._sweep.running:
            self._sweep.stop()

    def start(self, handoff: Handoff) -> Pump:
        """Own both legs and move bytes until the tunnel's end."""
        pump = _ReactorPump(handoff, self._clock.seconds, self._tunnels.discard)
        self._tunnels.add(pump)
        pump.start(handoff)
        return pump

    def _look(self) -> None:
        now = self._clock.seconds()
        for pump in tuple(self._tunnels):
            pump.look(now)


class _Direction:
    """One way through the tunnel: receives from `source`, writes to `sink`.

    The receiver of its source leg, so that no call has to ask which leg it came from.
    """

    __slots__ = ("_pump", "_seconds", "_seen", "_seen_at", "count", "moved_at", "paused", "paused_at", "side", "sink",
                 "source")  # fmt: skip

    def __init__(self, pump: "_ReactorPump", side: Side, source: Leg, sink: Leg, seconds: Callable[[], float]) -> None:
        self._pump = pump
        self._seconds = seconds
        self.side = side
        self.source = source
        self.sink = sink
        self.count = 0
        self.moved_at = self._seen_at = seconds()
        self._seen = -1
        self.paused = 0.0
        self.paused_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether the source has ended and the sink has been told."""
        return self.source.ended and self.sink.finished

    def received(self, data: bytes) -> None:
        """The hot path: count, pass on, and pause the source while the sink is full."""
        self.count += len(data)
        self.moved_at = self._seconds()
        self.sink.write(data)
        if self.sink.full:
            self.source.pause()
            self.paused_at = self.moved_at

    def ended(self) -> None:
        self._pump.ended(self)

    def lost(self, loss: Loss) -> None:
        self._pump.lost(self, loss)

    def drained(self) -> None:
        """What waited for our *source* has been sent, so the other direction may go on."""
        self._pump.drained(self)

    def secured(self, first: bytes) -> None:
        raise AssertionError("a handshake inside a tunnel")

    def begin(self) -> None:
        """Read, unless the first bytes have already filled the sink."""
        if self.paused_at is None:
            self.source.resume()

    def go_on(self) -> None:
        """The sink is empty again."""
        if self.paused_at is not None:
            self.paused += self._seconds() - self.paused_at
            self.paused_at = None
            self.source.resume()

    def paused_seconds(self, now: float) -> float:
        """How long the source has been kept waiting, up to now."""
        return self.paused + (now - self.paused_at if self.paused_at is not None else 0.0)

    def stalled_seconds(self, now: float) -> float:
        """How long bytes have waited for the sink without any leaving, as far as sweeps have seen."""
        held_back = self.sink.held_back if self.sink.waiting or self.source.closed else 0
        left = self.sink.moved - held_back
        if not (self.sink.waiting or held_back) or left != self._seen:
            self._seen = left
            self._seen_at = now
        return now - self._seen_at

    def silent_seconds(self, now: float) -> float:
        """How long no byte has moved this way: none came, and none left of those that wait."""
        return now - (max(self.moved_at, self._seen_at) if self.sink.waiting else self.moved_at)


class _ReactorPump:
    """One tunnel. Both legs are its own; it ends by closing both and firing `done`."""

    __slots__ = ("_first_end", "_forget", "_handoff", "_lost", "_outcome", "_over_at", "_seconds", "_since",
                 "_to_client", "_to_upstream", "done")  # fmt: skip

    def __init__(
        self, handoff: Handoff, seconds: Callable[[], float], forget: Callable[["_ReactorPump"], None]
    ) -> None:
        self.done: Deferred[Outcome] = Deferred()
        self._handoff = attrs.evolve(handoff, answer=b"", to_client=b"", to_upstream=b"")
        self._seconds = seconds
        self._forget = forget
        client, upstream = handoff.client, handoff.upstream
        self._to_upstream = _Direction(self, Side.CLIENT, client, upstream, seconds)
        self._to_client = _Direction(self, Side.UPSTREAM, upstream, client, seconds)
        client.receiver = self._to_upstream
        upstream.receiver = self._to_client
        self._first_end: Side | None = None
        self._lost: _Direction | None = None
        self._outcome: Outcome | None = None
        # When the silence of an open side began anew, not with a byte: at the other's end, or when what waited is sent.
        self._since = seconds()
        self._over_at: float | None = None

    def start(self, handoff: Handoff) -> None:
        """Write what was read before, pass on an end that was seen before, then read."""
        handoff.client.write(handoff.answer)
        for direction, data in ((self._to_client, handoff.to_client), (self._to_upstream, handoff.to_upstream)):
            if data:
                direction.received(data)
        for direction in (self._to_upstream, self._to_client):
            if direction.source.ended:
                self.ended(direction)
            else:
                direction.begin()

    def stop(self, why: Outcome) -> None:
        """End the tunnel now, with FIN to both."""
        if self._over_at is None:
            if self._lost is None:
                self._handoff.client.finish()
                self._handoff.upstream.finish()
            self._end(why)

    def counts(self) -> Counts:
        """The numbers now."""
        now = self._seconds() if self._over_at is None else self._over_at
        return Counts(
            to_upstream=self._to_upstream.count,
            to_client=self._to_client.count,
            silent_to_upstream=now - self._to_upstream.moved_at,
            silent_to_client=now - self._to_client.moved_at,
            paused_client=self._to_upstream.paused_seconds(now),
            paused_upstream=self._to_client.paused_seconds(now),
            first_end=self._first_end,
        )

    # What the directions tell.

    def ended(self, direction: _Direction) -> None:
        """One side's end goes to the other; the other direction goes on (half-close)."""
        if self._first_end is None:
            self._first_end = direction.side
            self._since = self._seconds()
        direction.sink.finish()
        self._end_if_over()

    def lost(self, direction: _Direction, loss: Loss) -> None:
        """One leg is gone: the other gets what was read for it, then a RST, so that nothing looks complete."""
        if self._lost is None:
            self._lost = direction
            self._outcome = Outcome.of_loss(direction.side, loss)
        direction.sink.pause()
        self._end_if_delivered(direction.sink)

    def drained(self, direction: _Direction) -> None:
        """`direction.source` has sent what waited for it."""
        if self._lost is not None:
            self._end_if_delivered(direction.source)
            return
        self._since = self._seconds()
        other = self._to_client if direction is self._to_upstream else self._to_upstream
        other.go_on()
        self._end_if_over()

    def look(self, now: float) -> None:
        """Check the time limits."""
        for direction in (self._to_upstream, self._to_client):
            stalled = direction.stalled_seconds(now)
            if 0 < self._handoff.write_stall <= stalled:
                sink_side = Side.UPSTREAM if direction.side is Side.CLIENT else Side.CLIENT
                self._end(Outcome.of_loss(sink_side, Loss.STALLED))
                return
        if self._lost is not None:
            self._end_if_delivered(self._lost.sink)
        elif self._first_end is not None:
            self._look_after_end(now)
        silent = min(self._to_upstream.silent_seconds(now), self._to_client.silent_seconds(now), now - self._since)
        if 0 < self._handoff.idle <= silent:
            self.stop(Outcome.IDLE)

    def _look_after_end(self, now: float) -> None:
        open_way = self._to_client if self._first_end is Side.CLIENT else self._to_upstream
        if open_way.sink.waiting or open_way.source.waiting:
            return  # one of the two is slow to read, which is a matter of write_stall
        if 0 < self._handoff.linger <= now - max(self._since, open_way.moved_at):
            self._end(Outcome.lingered(open_way.side))

    def _end_if_delivered(self, left: Leg) -> None:
        """After a loss: what was read for the leg that is left has gone out, and a RST cannot drop it any more."""
        if not (left.waiting or left.held_back):
            assert self._outcome is not None
            self._end(self._outcome)

    def _end_if_over(self) -> None:
        if self._to_upstream.over and self._to_client.over and self._first_end is not None:
            self._end(Outcome.closed_by(self._first_end))

    def _end(self, outcome: Outcome) -> None:
        """End with `outcome`, unless a loss has decided already."""
        if self._over_at is not None:
            return
        self._over_at = self._seconds()
        self._forget(self)
        for leg in (self._handoff.client, self._handoff.upstream):
            if leg.finished:
                leg.close()
            else:
                leg.abort()
        self.done.callback(self._outcome or outcome)

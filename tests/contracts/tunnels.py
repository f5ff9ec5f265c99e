"""Tunnels on real sockets for the contract that every pump keeps, and the list of those pumps."""

import fcntl
import os
import queue
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.contracts.peers import (
    SETTLED_TURNS,
    End,
    Peer,
    Recorder,
    a_turn,
    capacity,
    plain_leg,
    secure,
    tcp_pair,
    tls_leg,
)
from tests.harness import PATIENCE_SECONDS, in_reactor
from wsrelay.core.outcomes import Outcome, Side
from wsrelay.net import takeover
from wsrelay.net.legs import Leg
from wsrelay.net.splice import Counts, Handoff, Pump, PumpFactory, ReactorPumpFactory

# What the relay may hold of one direction in its own memory, whatever the two ends do.
MOST_HELD = 256 * 1024


# Questions to Linux about the bytes that a socket has taken to send (linux/sockios.h).
SENT_OR_NOT, NOT_SENT = 0x5411, 0x894B


class Pumps(Protocol):
    """A kind of pump under test: its factory, on a clock that only the test moves."""

    factory: PumpFactory

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the pumps; what is due by then has happened when this returns."""

    def settle(self) -> None:
        """Return when the pumps have done what was there to do."""

    def idle_calls(self) -> int:
        """How many calls wait for a time to come, while no tunnel lives."""


class ReactorPumps:
    """The pump in pure Python."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.factory: PumpFactory = ReactorPumpFactory(self._clock, sweep_seconds=1.0)

    def pass_time(self, seconds: float) -> None:
        """In steps, so that each sweep is due at its own time."""
        steps = max(1, round(seconds / 0.5))
        for _ in range(steps):
            self._clock.advance(seconds / steps)

    def settle(self) -> None:
        """All is done: this is the reactor's thread."""

    def idle_calls(self) -> int:
        return len(self._clock.getDelayedCalls())


class NativePumps:
    """The pump in C."""

    def __init__(self) -> None:
        from wsrelay.pump.native import NativePumpFactory

        self._now = 1.0
        functions = takeover.functions()
        self._native = NativePumpFactory(reactor, takeover.take, functions, threads=2, sweep_seconds=1.0)  # type: ignore[arg-type]  # a module, to mypy
        self.factory: PumpFactory = self._native

    def pass_time(self, seconds: float) -> None:
        """In steps, so that each limit is looked at in its own time."""
        steps = max(1, round(seconds / 0.5))
        for _ in range(steps):
            self._now += seconds / steps
            self.settle()

    def settle(self) -> None:
        self._native.hold_time(self._now)

    def idle_calls(self) -> int:
        return 0


# A further pump joins here, with one line.
PUMPS: list[type[Pumps]] = [ReactorPumps, NativePumps]


@attrs.frozen
class Legs:
    """Which of a tunnel's two legs are under TLS."""

    client: bool
    upstream: bool

    def __str__(self) -> str:
        return f"{'tls' if self.client else 'plain'}-{'tls' if self.upstream else 'plain'}"

    def of(self, side: Side) -> bool:
        """Whether this side is under TLS."""
        return self.client if side is Side.CLIENT else self.upstream


LEGS = [Legs(False, False), Legs(True, False), Legs(False, True), Legs(True, True)]


def other(side: Side) -> Side:
    return Side.UPSTREAM if side is Side.CLIENT else Side.CLIENT


class Tunnel:
    """One tunnel: two legs of the relay, the far end of each, and the pump between once it was started."""

    def __init__(self, pumps: Pumps, legs: Legs, buffers: int) -> None:
        self._pumps = pumps
        self._legs: dict[Side, Leg] = {}
        self._peers: dict[Side, Peer] = {}
        for side in Side:
            self._legs[side], self._peers[side] = _connect(tls=legs.of(side), buffers=buffers)
        # Pumps may take them from the legs, but use no others.
        self._descriptors = {side: leg.fileno() for side, leg in self._legs.items()}
        self._inodes = {os.fstat(leg.fileno()).st_ino for leg in self._legs.values()}
        near = [socket.socket(fileno=os.dup(leg.fileno())) for leg in self._legs.values()]
        self.capacity = capacity(*near, *(peer.socket for peer in self._peers.values()))
        for each in near:
            each.close()
        self._pump: Pump | None = None
        self._outcomes: queue.Queue[Outcome] = queue.Queue()

    @property
    def client(self) -> Peer:
        return self._peers[Side.CLIENT]

    @property
    def upstream(self) -> Peer:
        return self._peers[Side.UPSTREAM]

    def peer(self, side: Side) -> Peer:
        """The far end of this side's leg."""
        return self._peers[side]

    def leg(self, side: Side) -> Leg:
        """The relay's end; the pump's own from `start` on."""
        return self._legs[side]

    def see_end(self, side: Side) -> None:
        """Let the relay see this side's end before the handoff."""
        leg = self._legs[side]
        recorder = leg.receiver = Recorder()
        self._peers[side].finish()
        in_reactor(leg.resume)
        assert recorder.next() == ("ended", None)

    def start(self, **given: Any) -> "Tunnel":
        """The handoff, without limits of time and early bytes unless they are given."""
        in_reactor(self.start_now, **given)
        in_reactor(self._pumps.settle)  # so that no time passes before it has begun
        return self

    def start_now(self, **given: Any) -> Pump:
        """The same, on the reactor's thread already."""
        nothing = {"answer": b"", "to_client": b"", "to_upstream": b"", "idle": 0.0, "write_stall": 0.0, "linger": 0.0}
        legs = {side.value: leg for side, leg in self._legs.items()}
        pump = self._pump = self._pumps.factory.start(Handoff(**legs, **(nothing | given)))
        pump.done.addCallback(self._outcomes.put)
        return pump

    def stop(self, why: Outcome = Outcome.DRAINED) -> None:
        """Tell the pump to stop."""
        assert self._pump is not None
        in_reactor(self._pump.stop, why)

    def counts(self) -> Counts:
        """The pump's counts now."""
        assert self._pump is not None
        in_reactor(self._pumps.settle)
        counts: Counts = in_reactor(self._pump.counts)
        return counts

    def outcome(self) -> Outcome:
        """Wait for the outcome."""
        return self._outcomes.get(timeout=PATIENCE_SECONDS)

    def outcome_within(self, seconds: int) -> Outcome:
        """Let so much time pass, but no more than is needed, and take the outcome.

        For tunnels that were stuffed: what the kernel still moves now and then may begin a limit anew.
        """
        for _ in range(seconds):
            if self._outcomes.empty():
                self.pass_time(1)
        return self.outcome()

    def lives(self) -> bool:
        """Whether there is no outcome, after all that has happened so far."""
        in_reactor(self._pumps.settle)
        a_turn()
        return self._outcomes.empty()

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the pumps."""
        in_reactor(self._pumps.pass_time, seconds)

    def rest(self, side: Side) -> tuple[bytes, End]:
        """Everything this side gets to the end, and which kind of end it was; meanwhile time passes."""
        return self._peers[side].rest(meanwhile=lambda: self.pass_time(0.5))

    def is_paused(self, side: Side) -> bool:
        """Whether this side is not read at present: the seconds of it grow as time passes, by next to nothing."""
        name = f"paused_{side.value}"
        before = getattr(self.counts(), name)
        self.pass_time(0.001)
        return bool(getattr(self.counts(), name) > before)

    def stuff(self, side: Side, data: bytes) -> int:
        """Send from this side to a reader that has stopped, until the relay takes no more; how much was sent."""
        peer, sent, settled = self._peers[side], 0, 0
        give_up = time.monotonic() + PATIENCE_SECONDS
        while sent < len(data) and settled < SETTLED_TURNS:
            assert time.monotonic() < give_up, "the relay takes nothing, and does not say that it has paused this side"
            # A writable socket has room for a whole record of this size, so that none is left half sent.
            taken = peer.try_send(data[sent : sent + 4096]) if peer.writable() else 0
            sent += taken
            still = not taken and self.is_paused(side) and not self.on_the_way_to(other(side))
            settled = settled + 1 if still else 0
        return sent

    def on_the_way_to(self, side: Side) -> int:
        """Bytes that the relay's kernel has sent to this side and that are not acknowledged: it may send them again."""
        descriptor, reader = self._descriptors[side], self._peers[side].socket
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return _queued(descriptor, SENT_OR_NOT) - _queued(descriptor, NOT_SENT)

    def dispose(self) -> None:
        """End what still lives; then nothing of it may be left anywhere."""
        if self._pump is not None:
            in_reactor(self._pump.stop, Outcome.DRAINED)
            if not self._pump.done.called:
                self.outcome()
        else:
            for leg in self._legs.values():
                in_reactor(leg.close)
        a_turn()
        for peer in self._peers.values():
            peer.close()
            assert peer.held == b"", "a peer got more than the test knows of"
        assert self._outcomes.qsize() <= 1
        assert not self._inodes & set(_open_sockets()), "a socket of the tunnel is still open"
        left = in_reactor(lambda: {*reactor.getReaders(), *reactor.getWriters()})  # type: ignore[attr-defined]
        assert not left & set(self._legs.values()), "the reactor still looks after a leg of the tunnel"


class Connect(Protocol):
    """Makes a tunnel's legs and their far ends; `buffers` is asked of all four sockets."""

    def __call__(self, buffers: int = 0) -> Tunnel: ...


def _queued(descriptor: int, question: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, question, bytes(4)), sys.byteorder)


def _connect(*, tls: bool, buffers: int) -> tuple[Leg, Peer]:
    if not tls:
        return plain_leg(buffers)
    leg, peer = tls_leg(tcp_pair(buffers))
    secure(leg, peer)
    return leg, peer


def _open_sockets() -> Iterator[int]:
    for name in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(name)
        except FileNotFoundError:  # the descriptor of this very listing
            continue
        if target.startswith("socket:["):
            yield int(target[8:-1])

"""Random schedules through every pump, against a model of what a tunnel is: two streams, two ends, one outcome."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.contracts.peers import SMALL, End, Peer, TlsPeer, a_turn
from tests.contracts.tunnels import LEGS, PUMPS, Legs, Pumps, Tunnel, other
from tests.harness import PATIENCE_SECONDS, in_reactor
from wsrelay.core.outcomes import Loss, Outcome, Side

# What each side sends, by its place in the stream; the two differ at every place of the same number.
MARKED = {side: b"".join(bytes([value, *number.to_bytes(3, "big")]) for number in range(1 << 17))
          for value, side in enumerate(Side)}  # fmt: skip

# A writable socket has room for a whole TLS record of this size, so that none is left half sent.
RECORD = 4096


@contextlib.contextmanager
def perhaps_too_late(far: "Far") -> Iterator[None]:
    """The relay may have reset this connection before; what that leaves in OpenSSL's queue is nobody else's error."""
    try:
        yield
    except (OSError, SSL.Error):
        far.too_late = True
        Binding.lib.ERR_clear_error()


@attrs.frozen
class Send:
    side: Side
    count: int


@attrs.frozen
class Read:
    side: Side
    count: int


@attrs.frozen
class Finish:
    side: Side


@attrs.frozen
class Reset:
    side: Side


@attrs.frozen
class Truncate:
    side: Side


@attrs.frozen
class Wait:
    seconds: float


@attrs.frozen
class Stop:
    pass


Step = Send | Read | Finish | Reset | Truncate | Wait | Stop

SIDES = st.sampled_from(Side)
COUNTS = st.sampled_from([1, 5, 1000, 16_384, 65_536, 65_537, 200_000])
MOVES = st.one_of(
    st.builds(Send, SIDES, COUNTS), st.builds(Read, SIDES, COUNTS), st.builds(Wait, st.sampled_from([0.5, 2]))
)
ENDS = st.one_of(st.builds(Finish, SIDES), st.builds(Reset, SIDES), st.builds(Truncate, SIDES), st.builds(Stop))
SCHEDULES = st.lists(st.one_of(MOVES, MOVES, MOVES, ENDS), min_size=1, max_size=14)


@attrs.define
class Far:
    """One side as the model sees it."""

    peer: Peer
    sent: int = 0
    got: bytes = b""
    end: End | None = None
    """How its connection ended for it."""
    finished: bool = False
    truncated: bool = False
    reset: bool = False
    too_late: bool = False
    """Whether it has tried to write to a connection that the relay had reset: there is no clear word for it then."""

    @property
    def silent(self) -> bool:
        """Whether it sends no more."""
        return self.finished or self.truncated or self.reset


class Playing:
    """One schedule on one tunnel."""

    def __init__(self, pumps: Pumps, legs: Legs, buffers: int) -> None:
        self.tunnel = Tunnel(pumps, legs, buffers)
        self.far = {side: Far(self.tunnel.peer(side)) for side in Side}
        self.stopped = False
        self.tunnel.start()

    def step(self, step: Step) -> None:
        match step:
            case Send(side, count):
                self._send(side, count)
            case Read(side, count):
                self._read(side, count)
            case Finish(side):
                self._finish(side)
            case Truncate(side):
                self._truncate(side)
            case Reset(side) if not self.far[side].reset:
                self.far[side].reset = True
                self.far[side].peer.reset()
            case Wait(seconds):
                self.tunnel.pass_time(seconds)
            case Stop():
                self.stopped = True
                self.tunnel.stop()

    def _send(self, side: Side, count: int) -> None:
        far = self.far[side]
        rest = min(count, len(MARKED[side]) - far.sent)
        if far.silent or far.end:
            return
        with perhaps_too_late(far):
            while rest and far.peer.writable():
                taken = far.peer.try_send(MARKED[side][far.sent : far.sent + min(rest, RECORD)])
                far.sent += taken
                rest -= taken
                if not taken:
                    break

    def _read(self, side: Side, count: int) -> None:
        far, most = self.far[side], len(self.far[side].got) + count
        while not (far.reset or far.end) and len(far.got) < most:
            a_turn()
            if not self._read_some(far):
                break

    def _read_some(self, far: Far) -> bool:
        try:
            data = far.peer.try_read()
        except ConnectionResetError:
            far.end = End.RESET
        except SSL.Error:
            # A fatal alert goes to whoever cuts its stream off, if the relay can still send one.
            if not (far.truncated or far.too_late):
                raise
            far.end = End.RESET
        except EOFError as end:
            far.end = End.TRUNCATED if type(end) is not EOFError else End.ORDERLY
            if far.too_late:  # the failed write has had the RST's error for itself
                far.end = End.RESET
        else:
            far.got += data or b""
            return bool(data)
        return False

    def _finish(self, side: Side) -> None:
        far = self.far[side]
        if not far.silent:
            far.finished = True
            with perhaps_too_late(far):
                far.peer.finish()

    def _truncate(self, side: Side) -> None:
        far = self.far[side]
        if not far.silent and isinstance(far.peer, TlsPeer):
            far.truncated = True
            with perhaps_too_late(far):
                far.peer.truncate()

    def conclude(self) -> Outcome:
        """Read everything, and finish what is still open, one after the other; the outcome."""
        for side in sorted(Side, key=lambda side: not self.far[side].silent):
            self._finish(side)
            self._drain(other(side))
        return self.tunnel.outcome_within(5)

    def _drain(self, side: Side) -> None:
        far = self.far[side]
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not (far.end or far.reset):
            assert time.monotonic() < give_up, "no end came"
            if not self._read_some(far):
                self.tunnel.pass_time(0.5)

    @property
    def lossless(self) -> bool:
        """Whether every byte must have arrived."""
        return not self.stopped and not any(far.reset or far.truncated for far in self.far.values())

    def check(self, outcome: Outcome) -> None:
        counts = self.tunnel.counts()
        count = {Side.CLIENT: counts.to_upstream, Side.UPSTREAM: counts.to_client}
        for side, far in self.far.items():
            reader = self.far[other(side)]
            assert reader.got == MARKED[side][: len(reader.got)], "not what was sent, in order"
            assert len(reader.got) <= count[side] <= far.sent
            if reader.end is End.ORDERLY and not self.stopped:
                assert far.finished or self.may_answer_with_fin(side), "an end that nobody has sent"
                assert len(reader.got) == far.sent, "an end before the last byte"
            if self.lossless:
                assert reader.end is End.ORDERLY
                assert count[side] == far.sent
        assert outcome in self.possible()
        if outcome in (Outcome.CLIENT_CLOSED, Outcome.UPSTREAM_CLOSED):
            assert counts.first_end is not None
            assert outcome is Outcome.closed_by(counts.first_end)
        assert self.tunnel.lives(), "a second outcome"

    def may_answer_with_fin(self, side: Side) -> bool:
        """Whether a plain FIN of this side may be its answer to our close_notify, as browsers' is."""
        return self.far[side].truncated and self.far[other(side)].finished

    def possible(self) -> set[Outcome]:
        """Those that what was done can lead to."""
        found = {Outcome.DRAINED} if self.stopped else set()
        for side, far in self.far.items():
            found |= {Outcome.of_loss(side, Loss.RESET)} if far.reset else set()
            found |= {Outcome.of_loss(side, Loss.TRUNCATED)} if far.truncated else set()
        if all(far.finished or self.may_answer_with_fin(side) for side, far in self.far.items()):
            found |= {Outcome.CLIENT_CLOSED, Outcome.UPSTREAM_CLOSED}
        return found


def play(pumps: Pumps, legs: Legs, buffers: int, schedule: list[Step]) -> dict[str, Any] | None:
    """Play it and check it; what every pump must agree on, if there is such a thing."""
    playing = Playing(pumps, legs, buffers)
    try:
        for step in schedule:
            playing.step(step)
        outcome = playing.conclude()
        playing.check(outcome)
    finally:
        playing.tunnel.dispose()
    if not playing.lossless:
        return None
    # Of two ends on their way at once, either may be seen first.
    asked = len([step for step in schedule if isinstance(step, Finish)])
    return {"ends": {side: far.end for side, far in playing.far.items()}, "outcome": outcome if asked < 2 else None}


@pytest.fixture(scope="module")
def all_pumps() -> Iterator[list[Pumps]]:
    made: list[Pumps] = [in_reactor(kind) for kind in PUMPS]
    for pumps in made:
        in_reactor(pumps.factory.open)
        in_reactor(pumps.settle)
    yield made
    for pumps in made:
        in_reactor(pumps.factory.shut)


def check_schedule(all_pumps: list[Pumps], legs: Legs, buffers: int, schedule: list[Step]) -> None:
    agreed = [play(pumps, legs, buffers, schedule) for pumps in all_pumps]
    if all(each is not None and each["outcome"] is not None for each in agreed):
        assert all(each == agreed[0] for each in agreed), "the pumps do not agree"


KINDS = pytest.mark.parametrize("kind", LEGS, ids=str)
ANY = given(buffers=st.sampled_from([0, SMALL]), schedule=SCHEDULES)
UNHURRIED = (HealthCheck.too_slow, HealthCheck.data_too_large)


@KINDS
@settings(max_examples=250, deadline=None, suppress_health_check=UNHURRIED)
@ANY
def test_any_schedule_keeps_the_contract(
    all_pumps: list[Pumps], kind: Legs, buffers: int, schedule: list[Step]
) -> None:
    check_schedule(all_pumps, kind, buffers, schedule)


@pytest.mark.long
@KINDS
@settings(max_examples=4000, deadline=None, suppress_health_check=UNHURRIED)
@ANY
def test_thousands_of_schedules_keep_the_contract(
    all_pumps: list[Pumps], kind: Legs, buffers: int, schedule: list[Step]
) -> None:
    check_schedule(all_pumps, kind, buffers, schedule)

"""What is special to the pump on the reactor; what every pump does stands in tests/contracts."""

import queue
import sys
from collections.abc import Callable, Iterator

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.contracts.peers import (
    SETTLED_TURNS,
    SMALL,
    End,
    TlsPeer,
    a_turn,
    clog,
    closing,
    plain_leg,
    secure,
    tls_leg,
    unix_pair,
)
from tests.contracts.tunnels import Legs, ReactorPumps, Tunnel, other
from tests.harness import PATIENCE_SECONDS, in_reactor
from wsrelay.core.outcomes import Loss, Outcome, Side
from wsrelay.net.legs import FULL_BYTES, READ_BYTES, Leg
from wsrelay.net.splice import Handoff, ReactorPumpFactory

SIDES = pytest.mark.parametrize("side", Side)
PLAIN = Legs(False, False)

MARKED = b"".join(number.to_bytes(4, "big") for number in range(1 << 18))


def start(factory: ReactorPumpFactory, client: Leg, upstream: Leg, **limits: float) -> "Deferred[Outcome]":
    """Start a pump without early bytes, and with these limits only."""
    no_limits = {"idle": 0.0, "write_stall": 0.0, "linger": 0.0}
    handoff = Handoff(client, upstream, answer=b"", to_client=b"", to_upstream=b"", **(no_limits | limits))
    return factory.start(handoff).done


class Connect:
    """Makes tunnels of one factory."""

    def __init__(self) -> None:
        self.pumps: ReactorPumps = in_reactor(ReactorPumps)
        in_reactor(self.pumps.factory.open)
        self.tunnels: list[Tunnel] = []

    def __call__(self, buffers: int = 0, legs: Legs = PLAIN) -> Tunnel:
        self.tunnels.append(Tunnel(self.pumps, legs, buffers))
        return self.tunnels[-1]


@pytest.fixture
def connect() -> Iterator[Connect]:
    made = Connect()
    yield made
    for tunnel in made.tunnels:
        tunnel.dispose()
    in_reactor(made.pumps.factory.shut)


@pytest.mark.parametrize("legs", [PLAIN, Legs(True, True)], ids=str)
@SIDES
def test_a_stopped_reader_costs_at_most_one_full_buffer_and_one_read(connect: Connect, legs: Legs, side: Side) -> None:
    tunnel = connect(SMALL, legs).start(answer=b"101;")
    tunnel.stuff(side, MARKED)
    assert 0 < tunnel.leg(other(side)).waiting < FULL_BYTES + READ_BYTES
    assert tunnel.leg(side).waiting == 0


def test_one_call_to_come_serves_all_tunnels_and_none_is_left_after_shut() -> None:
    clock = Clock()

    def play() -> tuple[int, int]:
        factory = ReactorPumpFactory(clock)
        factory.shut()  # before it was opened: nothing
        factory.open()
        open_calls = len(clock.getDelayedCalls())
        factory.shut()
        factory.shut()
        return open_calls, len(clock.getDelayedCalls())

    assert in_reactor(play) == (1, 0)


def test_limits_are_looked_at_as_often_as_the_factory_was_told(connect: Connect) -> None:
    clock = Clock()
    factory = ReactorPumpFactory(clock, sweep_seconds=0.25)
    in_reactor(factory.open)
    tunnel = connect()
    outcomes: list[Outcome] = []

    def begin() -> None:
        done = start(factory, tunnel.leg(Side.CLIENT), tunnel.leg(Side.UPSTREAM), idle=1.0)
        done.addCallback(outcomes.append)
        for _ in range(3):
            clock.advance(0.25)

    in_reactor(begin)
    assert outcomes == []
    in_reactor(clock.advance, 0.25)
    assert outcomes == [Outcome.IDLE]
    in_reactor(factory.shut)


def test_a_pump_does_not_keep_the_early_bytes(connect: Connect) -> None:
    early = bytes(range(200))
    before = sys.getrefcount(early)
    tunnel = connect().start(to_client=early)
    assert tunnel.client.read(200) == early
    assert sys.getrefcount(early) == before


def test_an_ended_pump_is_forgotten_by_its_factory(connect: Connect) -> None:
    tunnel = connect().start()
    tunnel.stop()
    assert tunnel.outcome() is Outcome.DRAINED
    assert not connect.pumps.factory._tunnels  # type: ignore[attr-defined]  # nothing public shows it


@SIDES
def test_a_limit_that_ends_one_tunnel_in_a_sweep_leaves_the_others(connect: Connect, side: Side) -> None:
    ends, stays = connect().start(idle=10), connect().start(idle=10)
    ends.pass_time(8)  # their clock is the same
    stays.peer(side).send(b"x")
    assert stays.peer(other(side)).read(1) == b"x"
    ends.pass_time(4)
    assert ends.outcome() is Outcome.IDLE
    assert stays.lives()


# A little waits: the reader is slow, and yet the sender is not paused, so that the relay sees the sender's end.


def send_until(tunnel: Tunnel, side: Side, enough: Callable[[Leg], bool]) -> int:
    """Send from this side until the relay keeps `enough` for the other one, for good; how many bytes were sent."""
    sent = settled = 0
    while settled < SETTLED_TURNS:
        if not in_reactor(enough, tunnel.leg(other(side))):
            tunnel.peer(side).send(MARKED[sent : sent + 1024])
            sent += 1024
            while getattr(tunnel.counts(), f"to_{other(side).value}") < sent:
                pass
            settled = 0
        settled = 0 if tunnel.on_the_way_to(other(side)) else settled + 1
    assert not tunnel.is_paused(side)
    return sent


def send_until_some_waits(tunnel: Tunnel, side: Side) -> int:
    """Send until bytes wait in our memory."""
    return send_until(tunnel, side, lambda leg: leg.waiting > FULL_BYTES // 2)


def send_until_some_is_held_back(tunnel: Tunnel, side: Side) -> int:
    """Send until the kernel holds bytes back, and we none."""
    sent = send_until(tunnel, side, lambda leg: leg.held_back > 2048)
    assert not tunnel.leg(other(side)).waiting
    return sent


@SIDES
def test_silence_begins_when_what_waited_is_sent(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(idle=60)
    sent = send_until_some_waits(tunnel, side)
    tunnel.pass_time(50)
    assert tunnel.peer(other(side)).read(sent) == MARKED[:sent]
    while tunnel.leg(other(side)).waiting:
        a_turn()
    a_turn()
    tunnel.pass_time(55)
    assert tunnel.lives()
    tunnel.pass_time(7)
    assert tunnel.outcome() is Outcome.IDLE


@SIDES
def test_silence_begins_when_some_of_what_waits_is_sent(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(idle=60)
    send_until_some_waits(tunnel, side)
    tunnel.pass_time(50)
    moved = tunnel.leg(other(side)).moved
    while tunnel.leg(other(side)).moved == moved:
        assert tunnel.peer(other(side)).socket.recv(4096)
        a_turn()
    assert tunnel.leg(other(side)).waiting
    tunnel.pass_time(55)
    assert tunnel.lives()
    assert tunnel.outcome_within(60) is Outcome.IDLE


@SIDES
def test_a_side_lingers_from_when_it_has_been_told_of_the_end(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(linger=30)
    sent = send_until_some_waits(tunnel, other(side))
    tunnel.peer(other(side)).finish()
    while not tunnel.leg(other(side)).ended:
        a_turn()
    tunnel.pass_time(100)
    assert tunnel.lives()
    assert tunnel.peer(side).rest() == (MARKED[:sent], End.ORDERLY)
    a_turn()
    tunnel.pass_time(28)
    assert tunnel.lives()
    tunnel.pass_time(4)
    assert tunnel.outcome() is Outcome.lingered(side)


@SIDES
def test_a_side_that_has_ended_too_does_not_linger_while_its_bytes_wait(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(linger=30)
    tunnel.peer(other(side)).finish()
    assert tunnel.peer(side).rest() == (b"", End.ORDERLY)
    sent = send_until_some_waits(tunnel, side)
    tunnel.peer(side).finish()
    while not tunnel.leg(side).ended:
        a_turn()
    tunnel.pass_time(100)
    assert tunnel.lives()
    assert tunnel.peer(other(side)).rest() == (MARKED[:sent], End.ORDERLY)
    assert tunnel.outcome() is Outcome.closed_by(other(side))


@SIDES
def test_a_side_whose_bytes_wait_for_a_slow_reader_does_not_linger(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(linger=30)
    tunnel.peer(other(side)).finish()
    assert tunnel.peer(side).rest() == (b"", End.ORDERLY)
    sent = send_until_some_waits(tunnel, side)
    tunnel.pass_time(100)
    assert tunnel.lives()
    assert tunnel.peer(other(side)).read(sent) == MARKED[:sent]
    while tunnel.leg(other(side)).waiting:
        a_turn()
    a_turn()
    tunnel.pass_time(28)
    assert tunnel.lives()
    tunnel.pass_time(4)
    assert tunnel.outcome() is Outcome.lingered(side)


# After a loss, while the other side still gets what was read for it.


@attrs.frozen
class Losing:
    """A tunnel whose client is lost while the upstream reads nothing, and how many bytes the client has sent."""

    tunnel: Tunnel
    sent: int


@pytest.fixture(params=[send_until_some_waits, send_until_some_is_held_back], ids=["by us", "by the kernel"])
def losing(request: pytest.FixtureRequest, connect: Connect) -> Losing:
    """Bytes are kept for the upstream."""
    tunnel = connect(SMALL, Legs(True, False)).start(write_stall=60, idle=3600)
    sent = request.param(tunnel, Side.CLIENT)
    lose(tunnel)
    assert tunnel.lives()
    return Losing(tunnel, sent)


def lose(tunnel: Tunnel) -> None:
    """Truncate the client's TLS."""
    assert isinstance(tunnel.client, TlsPeer)
    tunnel.client.truncate()
    while not tunnel.leg(Side.CLIENT).closed:
        a_turn()


def test_the_reader_gets_it_all_and_then_the_reset(losing: Losing) -> None:
    assert losing.tunnel.rest(Side.UPSTREAM) == (MARKED[: losing.sent], End.RESET)
    assert losing.tunnel.outcome() is Outcome.CLIENT_TRUNCATED


def test_a_reader_that_takes_nothing_is_given_up_and_the_outcome_is_the_loss(losing: Losing) -> None:
    losing.tunnel.pass_time(58)
    assert losing.tunnel.lives()
    assert losing.tunnel.outcome_within(60) is Outcome.CLIENT_TRUNCATED
    assert losing.tunnel.upstream.rest()[1] is End.RESET


def test_the_side_that_is_left_is_not_read_any_more(losing: Losing) -> None:
    losing.tunnel.upstream.send(b"to nobody")
    losing.tunnel.upstream.finish()
    assert losing.tunnel.lives()
    assert losing.tunnel.counts().to_client == 0
    assert losing.tunnel.rest(Side.UPSTREAM)[1] is End.RESET
    assert losing.tunnel.outcome() is Outcome.CLIENT_TRUNCATED


def test_a_stop_then_is_no_orderly_end_and_the_outcome_is_the_loss(losing: Losing) -> None:
    losing.tunnel.stop(Outcome.DRAINED)
    assert losing.tunnel.outcome() is Outcome.CLIENT_TRUNCATED
    assert losing.tunnel.upstream.rest()[1] is End.RESET


def test_the_loss_of_the_other_side_too_ends_it_and_the_outcome_is_the_first(losing: Losing) -> None:
    losing.tunnel.upstream.reset()
    assert losing.tunnel.outcome_within(60) is Outcome.CLIENT_TRUNCATED


@pytest.mark.parametrize("keep", [send_until_some_waits, send_until_some_is_held_back])
def test_idle_ends_it_where_stalls_have_no_limit(connect: Connect, keep: Callable[[Tunnel, Side], int]) -> None:
    tunnel = connect(SMALL, Legs(True, False)).start(idle=60)
    keep(tunnel, Side.CLIENT)
    lose(tunnel)
    assert tunnel.outcome_within(120) is Outcome.CLIENT_TRUNCATED
    assert tunnel.upstream.rest()[1] is End.RESET


# A leg's end that has to wait.


def test_a_client_that_never_takes_our_close_notify_is_a_stall() -> None:
    """Both sides have ended and no byte waits, but the kernel has no room for the end itself."""
    clock, outcomes = Clock(), queue.Queue[Outcome]()
    factory = ReactorPumpFactory(clock)
    (client, client_peer), (upstream, upstream_peer) = tls_leg(unix_pair()), plain_leg()
    secure(client, client_peer)

    def begin() -> None:
        start(factory, client, upstream, write_stall=60, linger=30).addCallback(outcomes.put)

    with closing(client, client_peer), closing(upstream, upstream_peer):
        in_reactor(factory.open)
        in_reactor(begin)
        clog(client._socket)
        upstream_peer.finish()
        client_peer.finish()
        assert upstream_peer.rest() == (b"", End.ORDERLY)
        while not (client.ended and upstream.ended):
            a_turn()
        for _ in range(59):
            in_reactor(clock.advance, 1)
        assert outcomes.empty()
        in_reactor(clock.advance, 2)
        assert outcomes.get(timeout=PATIENCE_SECONDS) is Outcome.of_loss(Side.CLIENT, Loss.STALLED)
        in_reactor(factory.shut)

"""What every pump does with bytes: all of them, in order, counted, and few of them held."""

import pytest
from OpenSSL import SSL

from tests.contracts.peers import SMALL, End, TlsPeer, both_ways
from tests.contracts.tunnels import MOST_HELD, Connect, Legs, other
from wsrelay.core.outcomes import Outcome, Side
from wsrelay.net.legs import Leg

SIDES = pytest.mark.parametrize("side", Side)

# Each four bytes are a number of their own, so that a byte lost, doubled or moved is seen.
MARKED = b"".join(number.to_bytes(4, "big") for number in range(1 << 20))
BACKWARDS = MARKED[::-1]


@SIDES
def test_bytes_arrive_in_order_and_as_they_were_sent(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    for number in range(50):
        message = b"%d," % number * (number + 1)
        tunnel.peer(side).send(message)
        assert tunnel.peer(other(side)).read(len(message)) == message


def test_the_two_directions_are_not_mixed(connect: Connect) -> None:
    tunnel = connect().start()
    tunnel.client.send(b"to upstream")
    tunnel.upstream.send(b"to client")
    assert tunnel.client.read(9) == b"to client"
    assert tunnel.upstream.read(11) == b"to upstream"


def test_the_client_gets_the_answer_then_early_bytes_then_live_ones(connect: Connect) -> None:
    tunnel = connect()
    tunnel.upstream.send(b"live")
    tunnel.start(answer=b"101;", to_client=b"early;")
    assert tunnel.client.read(14) == b"101;early;live"


def test_the_upstream_gets_early_bytes_then_live_ones_and_nothing_of_the_answer(connect: Connect) -> None:
    tunnel = connect()
    tunnel.client.send(b"live")
    tunnel.start(answer=b"101;", to_upstream=b"early;")
    assert tunnel.upstream.read(10) == b"early;live"


def test_early_bytes_count_and_the_answer_does_not(connect: Connect) -> None:
    tunnel = connect().start(answer=b"101;", to_client=b"early;", to_upstream=b"earlier;")
    tunnel.client.send(b"live")
    assert tunnel.upstream.read(12) == b"earlier;live"
    assert tunnel.client.read(10) == b"101;early;"
    assert (tunnel.counts().to_client, tunnel.counts().to_upstream) == (6, 12)


def test_more_early_bytes_than_the_kernel_takes_stay_in_order_before_live_ones(connect: Connect) -> None:
    early = MARKED[: 128 * 1024]
    for side in Side:
        tunnel = connect(SMALL)
        tunnel.peer(other(side)).send(b"live")
        tunnel.start(answer=b"101;", **{f"to_{side.value}": early})
        expected = (b"101;" if side is Side.CLIENT else b"") + early + b"live"
        assert tunnel.peer(side).read(len(expected)) == expected


@SIDES
def test_bytes_that_openssl_holds_already_at_the_handoff_are_not_forgotten(
    connect: Connect, legs: Legs, side: Side
) -> None:
    """They raise no event: a pump that waits for one waits for ever."""
    tunnel = connect()
    leg, peer = tunnel.leg(side), tunnel.peer(side)
    peer.send(b"first,second")
    early = b""
    while legs.of(side) and not early:
        early = _first_of_a_record(leg)
    tunnel.start(**{f"to_{other(side).value}": early})
    assert tunnel.peer(other(side)).read(12) == b"first,second"


def _first_of_a_record(leg: Leg) -> bytes:
    try:
        return bytes(leg._tls.recv(6))  # type: ignore[attr-defined]  # what a leg's own read never leaves behind
    except SSL.WantReadError:
        return b""


@SIDES
def test_a_reader_that_stops_pauses_the_sender_and_little_is_held(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start()
    sent = tunnel.stuff(side, MARKED)
    assert sent < len(MARKED), "the relay has taken everything"
    assert not tunnel.is_paused(other(side))
    assert sent <= MOST_HELD + tunnel.capacity
    taken = getattr(tunnel.counts(), f"to_{other(side).value}")
    assert taken <= MOST_HELD + tunnel.capacity


@SIDES
def test_a_reader_that_goes_on_gets_every_byte(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start()
    sent = tunnel.stuff(side, MARKED)
    reader = tunnel.peer(other(side))
    assert reader.read(sent) == MARKED[:sent]
    rest = MARKED[sent : 1 << 20]
    assert both_ways(tunnel.peer(side), reader, rest, b"") == (rest, b"")
    assert not tunnel.is_paused(side)


@SIDES
def test_a_stopped_direction_does_not_stop_the_other(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start()
    tunnel.stuff(side, MARKED)
    for number in range(100):
        message = b"%d" % number * 100
        tunnel.peer(other(side)).send(message)
        assert tunnel.peer(side).read(len(message)) == message


def test_megabytes_both_ways_at_once_arrive_byte_for_byte(connect: Connect) -> None:
    tunnel = connect().start()
    assert both_ways(tunnel.client, tunnel.upstream, MARKED, BACKWARDS) == (MARKED, BACKWARDS)
    counts = tunnel.counts()
    assert (counts.to_upstream, counts.to_client) == (len(MARKED), len(BACKWARDS))


def test_small_kernel_buffers_change_nothing_but_the_speed(connect: Connect) -> None:
    tunnel = connect(SMALL).start()
    forth, back = MARKED[: 1 << 20], BACKWARDS[: 1 << 20]
    assert both_ways(tunnel.client, tunnel.upstream, forth, back) == (forth, back)


def test_tunnels_do_not_meet(connect: Connect) -> None:
    tunnels = [connect().start() for _ in range(10)]
    for number, tunnel in enumerate(tunnels):
        tunnel.client.send(b"client %d" % number)
        tunnel.upstream.send(b"upstream %d" % number)
    for number, tunnel in reversed(list(enumerate(tunnels))):
        assert tunnel.client.read(10) == b"upstream %d" % number
        assert tunnel.upstream.read(8) == b"client %d" % number


@SIDES
def test_silence_is_counted_from_the_last_byte_of_each_side(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    tunnel.pass_time(5)
    tunnel.peer(side).send(b"x")
    tunnel.peer(other(side)).read(1)
    tunnel.pass_time(2)
    counts = tunnel.counts()
    silent = {Side.CLIENT: counts.silent_to_upstream, Side.UPSTREAM: counts.silent_to_client}
    assert silent[side] == pytest.approx(2)
    assert silent[other(side)] == pytest.approx(7)


@SIDES
def test_the_seconds_in_which_a_side_was_not_read_are_counted(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start()
    sent = tunnel.stuff(side, MARKED)
    before = tunnel.counts()
    tunnel.pass_time(3)
    after = tunnel.counts()
    name, opposite = f"paused_{side.value}", f"paused_{other(side).value}"
    assert getattr(after, name) - getattr(before, name) == pytest.approx(3)
    assert getattr(after, opposite) == 0
    tunnel.peer(other(side)).read(sent)
    paused = getattr(tunnel.counts(), name)
    tunnel.pass_time(5)
    assert getattr(tunnel.counts(), name) == pytest.approx(paused)


def test_the_counts_of_a_tunnel_that_has_ended_are_its_last_ones(connect: Connect) -> None:
    tunnel = connect().start()
    tunnel.client.send(b"abc")
    tunnel.upstream.read(3)
    tunnel.pass_time(4)
    tunnel.client.finish()
    assert tunnel.upstream.rest() == (b"", End.ORDERLY)
    tunnel.upstream.finish()
    assert tunnel.outcome() is Outcome.CLIENT_CLOSED
    last = tunnel.counts()
    tunnel.pass_time(100)
    assert tunnel.counts() == last
    assert (last.to_upstream, last.to_client, last.first_end) == (3, 0, Side.CLIENT)
    assert last.silent_to_upstream == pytest.approx(4)


def test_a_tls_peer_gets_records_that_it_can_read_at_once(connect: Connect, legs: Legs) -> None:
    """One byte each: nothing waits until a record or a buffer is full."""
    tunnel = connect().start()
    for side in Side:
        for number in range(20):
            tunnel.peer(other(side)).send(bytes([number]))
            assert tunnel.peer(side).read(1) == bytes([number])
        assert isinstance(tunnel.peer(side), TlsPeer) is legs.of(side)

"""How every pump ends a tunnel: half-close, reset, truncation, stop; one outcome, and nothing left behind.

What is left behind (descriptors, readers and writers of the reactor, calls to come) is looked at after every test.
"""

import pytest

from tests.contracts.peers import SMALL, End, TlsPeer, a_turn
from tests.contracts.tunnels import LEGS, Connect, Tunnel, other
from tests.harness import in_reactor
from wsrelay.core.outcomes import Loss, Outcome, Side

SIDES = pytest.mark.parametrize("side", Side)

MARKED = b"".join(number.to_bytes(4, "big") for number in range(1 << 18))

# Much more than one read, so that a loss may come with bytes still waiting for the other side.
MUCH = MARKED[: 512 * 1024]


def of_loss(side: Side, loss: Loss) -> Outcome:
    return Outcome.of_loss(side, loss)


def tls_peer(tunnel: Tunnel, side: Side) -> TlsPeer:
    peer = tunnel.peer(side)
    assert isinstance(peer, TlsPeer)
    return peer


TLS_SIDES = pytest.mark.parametrize(
    ("legs", "side"), [(legs, side) for legs in LEGS for side in Side if legs.of(side)], ids=str
)


# Half-close.


@SIDES
def test_an_end_is_passed_on_and_the_other_direction_goes_on(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    one, far = tunnel.peer(side), tunnel.peer(other(side))
    one.send(b"last words")
    one.finish()
    assert far.rest() == (b"last words", End.ORDERLY)
    assert tunnel.lives()
    assert tunnel.counts().first_end is side
    for number in range(20):
        far.send(b"%d," % number * 1000)
        assert one.read(len(b"%d," % number) * 1000) == b"%d," % number * 1000
    far.send(MUCH)
    far.finish()
    assert one.rest() == (MUCH, End.ORDERLY)
    assert tunnel.outcome() is Outcome.closed_by(side)
    assert tunnel.counts().first_end is side


@SIDES
def test_an_end_comes_after_every_byte_however_slow_the_reader(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start()
    one, far = tunnel.peer(side), tunnel.peer(other(side))
    sent = tunnel.stuff(side, MARKED)
    far.send(b"back")
    assert one.read(4) == b"back"
    one.finish()
    assert far.rest() == (MARKED[:sent], End.ORDERLY)
    far.finish()
    assert one.rest() == (b"", End.ORDERLY)
    assert tunnel.outcome() is Outcome.closed_by(side)


@SIDES
def test_an_end_that_was_seen_before_the_handoff_is_passed_on(connect: Connect, side: Side) -> None:
    tunnel = connect()
    tunnel.see_end(side)
    tunnel.start(to_upstream=b"to upstream", to_client=b"to client")
    assert tunnel.peer(other(side)).rest() == (b"to upstream" if side is Side.CLIENT else b"to client", End.ORDERLY)
    early = b"to client" if side is Side.CLIENT else b"to upstream"
    assert tunnel.peer(side).read(len(early)) == early
    tunnel.peer(other(side)).send(b"more")
    tunnel.peer(other(side)).finish()
    assert tunnel.peer(side).rest() == (b"more", End.ORDERLY)
    assert tunnel.outcome() is Outcome.closed_by(side)


def test_two_ends_that_were_seen_before_the_handoff_end_the_tunnel(connect: Connect) -> None:
    tunnel = connect()
    tunnel.see_end(Side.UPSTREAM)
    tunnel.see_end(Side.CLIENT)
    tunnel.start(answer=b"101;", to_client=b"to client", to_upstream=b"to upstream")
    assert tunnel.upstream.rest() == (b"to upstream", End.ORDERLY)
    assert tunnel.client.rest() == (b"101;to client", End.ORDERLY)
    assert tunnel.outcome() in (Outcome.CLIENT_CLOSED, Outcome.UPSTREAM_CLOSED)


def test_ends_of_both_sides_at_once_are_one_outcome(connect: Connect) -> None:
    tunnel = connect()
    tunnel.client.finish()
    tunnel.upstream.finish()
    tunnel.start()
    assert tunnel.upstream.rest() == (b"", End.ORDERLY)
    assert tunnel.client.rest() == (b"", End.ORDERLY)
    assert tunnel.outcome() in (Outcome.CLIENT_CLOSED, Outcome.UPSTREAM_CLOSED)


# Reset.


@SIDES
def test_a_reset_is_passed_on_as_a_reset(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    tunnel.peer(side).send(b"x")
    assert tunnel.peer(other(side)).read(1) == b"x"
    tunnel.peer(side).reset()
    assert tunnel.peer(other(side)).rest() == (b"", End.RESET)
    assert tunnel.outcome() is of_loss(side, Loss.RESET)


@SIDES
def test_a_reset_at_once_after_the_handoff_is_a_reset(connect: Connect, side: Side) -> None:
    tunnel = connect()
    tunnel.peer(side).reset()
    tunnel.start(answer=b"101;", to_client=b"early", to_upstream=b"early")
    data, end = tunnel.peer(other(side)).rest()
    assert end is End.RESET
    assert data in (b"", b"early" if side is Side.CLIENT else b"101;early")
    assert tunnel.outcome() is of_loss(side, Loss.RESET)


@SIDES
def test_what_was_sent_before_a_reset_is_passed_on_before_it(connect: Connect, side: Side) -> None:
    """The kernel keeps it readable, and a close frame with its reason may be in it."""
    tunnel = connect()
    tunnel.peer(side).send(b"goodbye")
    tunnel.peer(side).reset()
    tunnel.start()
    assert tunnel.peer(other(side)).rest() == (b"goodbye", End.RESET)
    assert tunnel.outcome() is of_loss(side, Loss.RESET)


@SIDES
def test_a_reset_after_the_own_end_is_no_orderly_end(connect: Connect, side: Side) -> None:
    """FIN, then RST because of what still comes: a client that closed without reading."""
    tunnel = connect().start()
    one, far = tunnel.peer(side), tunnel.peer(other(side))
    one.finish()
    assert far.rest() == (b"", End.ORDERLY)
    one.reset()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012  # until the relay has noticed
        while True:
            far.send(b"to nobody")
            a_turn()
    assert tunnel.outcome() is of_loss(side, Loss.RESET)


@SIDES
def test_a_reset_of_a_side_that_is_written_to_is_noticed(connect: Connect, side: Side) -> None:
    """The relay does not read the far side then, and waits to write to this one."""
    tunnel = connect(SMALL).start()
    tunnel.stuff(other(side), MARKED)
    tunnel.peer(side).reset()
    assert tunnel.outcome() is of_loss(side, Loss.RESET)
    assert tunnel.peer(other(side)).rest() == (b"", End.RESET)


@SIDES
def test_both_sides_reset_at_once_are_one_outcome(connect: Connect, side: Side) -> None:
    tunnel = connect().start()

    def die() -> None:
        tunnel.peer(side).reset()
        tunnel.peer(other(side)).reset()

    in_reactor(die)
    assert tunnel.outcome() in (Outcome.CLIENT_RESET, Outcome.UPSTREAM_RESET)
    assert tunnel.lives()  # no second one


@SIDES
def test_an_end_and_a_reset_at_once_are_one_outcome(connect: Connect, side: Side) -> None:
    tunnel = connect().start()

    def die() -> None:
        tunnel.peer(side).finish()
        tunnel.peer(other(side)).reset()

    in_reactor(die)
    assert tunnel.outcome() is of_loss(other(side), Loss.RESET)
    assert tunnel.lives()  # no second one


# What TLS adds.


@TLS_SIDES
def test_fin_without_close_notify_is_a_truncation(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    peer = tls_peer(tunnel, side)
    peer.send(b"half a mess")
    peer.truncate()
    assert tunnel.peer(other(side)).rest() == (b"half a mess", End.RESET)
    assert tunnel.outcome() is of_loss(side, Loss.TRUNCATED)


@TLS_SIDES
def test_a_record_that_does_not_decrypt_is_a_tls_error(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    peer = tls_peer(tunnel, side)
    peer.send(b"good")
    peer.send_garbage()
    assert tunnel.peer(other(side)).rest() == (b"good", End.RESET)
    assert tunnel.outcome() is of_loss(side, Loss.TLS)


@TLS_SIDES
def test_a_slow_reader_gets_all_that_was_read_before_the_loss_then_the_reset(connect: Connect, side: Side) -> None:
    """Bytes wait in the relay and in both kernels when the other side is lost."""
    tunnel = connect(SMALL).start()
    sent = tunnel.stuff(side, MARKED)
    tls_peer(tunnel, side).truncate()
    assert tunnel.rest(other(side)) == (MARKED[:sent], End.RESET)
    assert tunnel.outcome() is of_loss(side, Loss.TRUNCATED)


@TLS_SIDES
def test_a_tcp_end_after_close_notify_changes_nothing(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    one, far = tls_peer(tunnel, side), tunnel.peer(other(side))
    one.finish()
    one.truncate()
    assert far.rest() == (b"", End.ORDERLY)
    far.send(b"still here")
    far.finish()
    assert one.rest() == (b"still here", End.ORDERLY)
    assert tunnel.outcome() is Outcome.closed_by(side)


@TLS_SIDES
def test_a_plain_fin_that_answers_close_notify_is_an_orderly_end(connect: Connect, side: Side) -> None:
    """As browsers do: what is cut off there is nothing."""
    tunnel = connect().start()
    tunnel.peer(other(side)).finish()
    assert tunnel.peer(side).rest() == (b"", End.ORDERLY)
    tls_peer(tunnel, side).truncate()
    assert tunnel.peer(other(side)).rest() == (b"", End.ORDERLY)
    assert tunnel.outcome() is Outcome.closed_by(other(side))


# Loss with bytes waiting.


def lose_with_bytes_waiting(tunnel: Tunnel, side: Side) -> int:
    """Have `side` lost, by a reset, while its bytes wait for a far side that does not read; how many were sent."""
    sent = tunnel.stuff(side, MARKED)
    tunnel.peer(side).reset()
    return sent


@SIDES
def test_after_a_loss_the_reader_gets_a_reset_and_never_an_end(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start()
    sent = lose_with_bytes_waiting(tunnel, side)
    data, end = tunnel.rest(other(side))
    assert end is End.RESET
    assert data == MARKED[: len(data)]
    assert len(data) <= sent
    assert tunnel.outcome() is of_loss(side, Loss.RESET)


# Stop.


def test_stop_ends_both_in_order_with_the_given_outcome(connect: Connect) -> None:
    tunnel = connect().start()
    tunnel.client.send(b"x")
    assert tunnel.upstream.read(1) == b"x"
    tunnel.stop(Outcome.DRAINED)
    assert tunnel.outcome() is Outcome.DRAINED
    assert tunnel.client.rest() == (b"", End.ORDERLY)
    assert tunnel.upstream.rest() == (b"", End.ORDERLY)


@SIDES
def test_stop_does_not_make_an_unfinished_stream_look_finished(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start()
    sent = tunnel.stuff(side, MARKED)
    tunnel.stop()
    assert tunnel.outcome() is Outcome.DRAINED
    data, end = tunnel.peer(other(side)).rest()
    assert end is End.RESET
    assert len(data) < sent
    assert tunnel.peer(side).rest()[0] == b""


def test_stop_at_once_after_the_handoff_is_an_end(connect: Connect) -> None:
    tunnel = connect()

    def start_and_stop() -> None:
        tunnel.start_now(answer=b"101;", to_upstream=b"early").stop(Outcome.DRAINED)

    in_reactor(start_and_stop)
    assert tunnel.outcome() is Outcome.DRAINED
    assert tunnel.client.rest() == (b"101;", End.ORDERLY)
    assert tunnel.upstream.rest() == (b"early", End.ORDERLY)


@SIDES
def test_stop_after_the_end_changes_nothing(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    tunnel.peer(side).reset()
    assert tunnel.outcome() is of_loss(side, Loss.RESET)
    tunnel.stop()
    tunnel.stop()
    assert tunnel.lives()  # no second outcome


def test_stop_twice_is_one_outcome_the_first(connect: Connect) -> None:
    tunnel = connect().start()
    tunnel.stop(Outcome.IDLE)
    tunnel.stop(Outcome.DRAINED)
    assert tunnel.outcome() is Outcome.IDLE
    assert tunnel.lives()  # no second one


def test_stop_from_within_the_outcomes_callback_changes_nothing(connect: Connect) -> None:
    tunnel = connect()

    def start() -> None:
        pump = tunnel.start_now()

        def again(outcome: None) -> None:
            pump.stop(Outcome.DRAINED)

        pump.done.addCallback(again)

    in_reactor(start)
    tunnel.client.reset()
    assert tunnel.outcome() is Outcome.CLIENT_RESET
    assert tunnel.lives()


def test_stop_in_the_turn_in_which_a_leg_dies_is_one_outcome(connect: Connect) -> None:
    tunnel = connect().start()

    def die_and_stop() -> None:
        tunnel.client.reset()
        assert tunnel._pump is not None
        tunnel._pump.stop(Outcome.DRAINED)

    in_reactor(die_and_stop)
    # A pump with threads of its own may have seen the reset first.
    assert tunnel.outcome() in (Outcome.DRAINED, Outcome.CLIENT_RESET)
    assert tunnel.lives()


@SIDES
def test_stop_after_a_half_close_is_the_given_outcome(connect: Connect, side: Side) -> None:
    tunnel = connect().start()
    tunnel.peer(side).finish()
    assert tunnel.peer(other(side)).rest() == (b"", End.ORDERLY)
    tunnel.stop(Outcome.DRAINED)
    assert tunnel.outcome() is Outcome.DRAINED
    assert tunnel.peer(side).rest() == (b"", End.ORDERLY)


def test_a_tunnel_that_ends_at_its_start_leaves_nothing(connect: Connect) -> None:
    tunnel = connect()
    tunnel.see_end(Side.CLIENT)
    tunnel.see_end(Side.UPSTREAM)
    tunnel.start()
    assert tunnel.outcome() in (Outcome.CLIENT_CLOSED, Outcome.UPSTREAM_CLOSED)
    assert in_reactor(lambda: tunnel.leg(Side.CLIENT).fileno()) == -1

"""The limits of time that every pump keeps, on a clock that only the test moves; within one second each."""

import pytest

from tests.contracts.peers import SMALL, End
from tests.contracts.tunnels import Connect, Tunnel, other
from tests.harness import in_reactor
from wsrelay.core.outcomes import Loss, Outcome, Side

SIDES = pytest.mark.parametrize("side", Side)

MARKED = b"".join(number.to_bytes(4, "big") for number in range(1 << 18))

# So much may a limit be kept late: the pump looks once a second.
LATE = 2


def say(tunnel: Tunnel, side: Side) -> None:
    """One byte from this side, seen at the other."""
    tunnel.peer(side).send(b"x")
    assert tunnel.peer(other(side)).read(1) == b"x"


# Idle.


def test_silence_both_ways_ends_the_tunnel_in_order(connect: Connect) -> None:
    tunnel = connect().start(idle=60)
    tunnel.pass_time(59)
    assert tunnel.lives()
    tunnel.pass_time(LATE)
    assert tunnel.outcome() is Outcome.IDLE
    assert tunnel.client.rest() == (b"", End.ORDERLY)
    assert tunnel.upstream.rest() == (b"", End.ORDERLY)


@SIDES
def test_a_byte_of_either_side_is_no_silence(connect: Connect, side: Side) -> None:
    tunnel = connect().start(idle=60)
    for _ in range(3):
        tunnel.pass_time(50)
        say(tunnel, side)
    tunnel.pass_time(58)
    assert tunnel.lives()
    tunnel.pass_time(LATE + 1)
    assert tunnel.outcome() is Outcome.IDLE


@SIDES
def test_bytes_that_a_slow_reader_takes_are_no_silence(connect: Connect, side: Side) -> None:
    """Nothing comes in, since the relay reads no more; but bytes move, out of its memory."""
    tunnel = connect(SMALL).start(idle=60)
    sent = tunnel.stuff(side, MARKED)
    reader, taken = tunnel.peer(other(side)), 0
    tunnel.pass_time(50)
    while taken < sent:
        taken += len(reader.read(min(40_960, sent - taken)))
    assert tunnel.lives()
    tunnel.pass_time(50)
    assert tunnel.lives()
    assert tunnel.outcome_within(60 + LATE) is Outcome.IDLE


@SIDES
def test_a_tunnel_in_which_nothing_moves_is_idle_even_if_bytes_wait(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(idle=60)
    tunnel.stuff(side, MARKED)
    tunnel.pass_time(58)
    assert tunnel.lives()
    assert tunnel.outcome_within(60 + LATE) is Outcome.IDLE


def test_zero_means_no_limit(connect: Connect) -> None:
    tunnel = connect(SMALL).start(idle=0, write_stall=0, linger=0)
    tunnel.pass_time(1_000)
    tunnel.stuff(Side.CLIENT, MARKED)
    tunnel.pass_time(1_000)
    tunnel.upstream.finish()
    assert tunnel.client.rest() == (b"", End.ORDERLY)
    tunnel.pass_time(1_000)
    assert tunnel.lives()


# Stalled writes.


@SIDES
def test_a_reader_that_takes_nothing_is_given_up(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(write_stall=60)
    tunnel.stuff(other(side), MARKED)
    tunnel.pass_time(58)
    assert tunnel.lives()
    assert tunnel.outcome_within(60 + LATE) is Outcome.of_loss(side, Loss.STALLED)
    assert tunnel.peer(side).rest()[1] is End.RESET
    assert tunnel.peer(other(side)).rest() == (b"", End.RESET)


@SIDES
def test_a_reader_that_takes_something_is_not_given_up(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(write_stall=60)
    sent = tunnel.stuff(other(side), MARKED)
    for _ in range(3):
        tunnel.pass_time(50)
        taken = tunnel.peer(side).read(sent)
        assert len(taken) == sent
        sent = tunnel.stuff(other(side), MARKED)
    tunnel.pass_time(50)
    assert tunnel.lives()
    assert tunnel.outcome_within(60 + LATE) is Outcome.of_loss(side, Loss.STALLED)


@SIDES
def test_silence_before_bytes_wait_is_no_stall(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(write_stall=60)
    tunnel.pass_time(1000)
    tunnel.stuff(other(side), MARKED)
    tunnel.pass_time(55)
    assert tunnel.lives()


@SIDES
def test_a_reader_that_never_takes_what_a_lost_side_sent_is_given_up(connect: Connect, side: Side) -> None:
    """The outcome stays that of the loss."""
    tunnel = connect(SMALL).start(write_stall=60)
    early = tunnel.stuff(side, MARKED)
    assert early
    tunnel.peer(side).reset()
    # A side that is not read is found lost only when something is written to it, or its reader goes on.
    assert tunnel.outcome_within(120 + LATE) in (
        Outcome.of_loss(side, Loss.RESET),
        Outcome.of_loss(other(side), Loss.STALLED),
    )
    assert tunnel.peer(other(side)).rest()[1] is End.RESET


# Linger.


@SIDES
def test_silence_of_one_side_after_the_others_end_ends_the_tunnel(connect: Connect, side: Side) -> None:
    tunnel = connect().start(linger=30)
    tunnel.pass_time(100)
    tunnel.peer(other(side)).finish()
    assert tunnel.peer(side).rest() == (b"", End.ORDERLY)
    tunnel.pass_time(29)
    assert tunnel.lives()
    tunnel.pass_time(LATE)
    assert tunnel.outcome() is Outcome.lingered(side)
    assert tunnel.peer(other(side)).rest() == (b"", End.RESET)


@SIDES
def test_every_byte_of_the_lingering_side_begins_the_limit_anew(connect: Connect, side: Side) -> None:
    tunnel = connect().start(linger=30)
    tunnel.peer(other(side)).finish()
    assert tunnel.peer(side).rest() == (b"", End.ORDERLY)
    for _ in range(5):
        tunnel.pass_time(28)
        say(tunnel, side)
    tunnel.pass_time(28)
    assert tunnel.lives()
    tunnel.pass_time(2 + LATE)
    assert tunnel.outcome() is Outcome.lingered(side)


@SIDES
def test_a_side_that_has_not_been_told_of_the_end_does_not_linger(connect: Connect, side: Side) -> None:
    """Bytes wait before that end: how long they may is the stall's matter."""
    tunnel = connect(SMALL).start(linger=30, write_stall=300)
    sent = tunnel.stuff(other(side), MARKED)
    tunnel.peer(other(side)).finish()
    tunnel.pass_time(100)
    assert tunnel.lives()
    assert tunnel.peer(side).rest() == (MARKED[:sent], End.ORDERLY)
    tunnel.pass_time(28)
    assert tunnel.lives()
    assert tunnel.outcome_within(60 + LATE) is Outcome.lingered(side)


@SIDES
def test_a_side_that_is_not_read_because_the_other_is_slow_does_not_linger(connect: Connect, side: Side) -> None:
    tunnel = connect(SMALL).start(linger=30, write_stall=300)
    tunnel.peer(other(side)).finish()
    assert tunnel.peer(side).rest() == (b"", End.ORDERLY)
    sent = tunnel.stuff(side, MARKED)
    tunnel.pass_time(100)
    assert tunnel.lives()
    assert tunnel.peer(other(side)).read(sent) == MARKED[:sent]
    tunnel.pass_time(28)
    assert tunnel.lives()


@SIDES
def test_idle_ends_what_lingers_without_a_limit_of_its_own(connect: Connect, side: Side) -> None:
    tunnel = connect().start(idle=60, linger=0)
    tunnel.peer(side).finish()
    assert tunnel.peer(other(side)).rest() == (b"", End.ORDERLY)
    tunnel.pass_time(60 + LATE)
    assert tunnel.outcome() is Outcome.IDLE


@SIDES
def test_a_limit_that_is_reached_after_the_tunnels_end_changes_nothing(connect: Connect, side: Side) -> None:
    tunnel = connect().start(idle=60, write_stall=60, linger=60)
    tunnel.peer(side).reset()
    assert tunnel.outcome() is Outcome.of_loss(side, Loss.RESET)
    tunnel.pass_time(1000)
    assert tunnel.lives()  # no second outcome


def test_two_tunnels_that_stop_each_other_when_they_end_have_one_outcome_each(connect: Connect) -> None:
    """Both are due at the same look at the clock, and the first one's end is the second one's, before its turn."""
    one, two = connect(), connect()

    def start() -> None:
        pumps = [each.start_now(linger=30) for each in (one, two)]
        for pump, partner in zip(pumps, reversed(pumps), strict=True):
            pump.done.addCallback(lambda _, partner=partner: partner.stop(Outcome.DRAINED))

    in_reactor(start)
    for each in (one, two):
        each.client.finish()
        assert each.upstream.rest() == (b"", End.ORDERLY)
    one.pass_time(30 + LATE)
    outcomes = {one.outcome(), two.outcome()}
    assert Outcome.UPSTREAM_LINGERED in outcomes
    # A pump with threads of its own may have ended both before it told of one.
    assert outcomes <= {Outcome.UPSTREAM_LINGERED, Outcome.DRAINED}
    assert one.lives()  # no further outcome
    assert two.lives()

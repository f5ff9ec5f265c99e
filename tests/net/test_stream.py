"""A leg read with `await`: what is held, who is woken, backpressure both ways, and how every wait can end."""

from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError

from tests.contracts.peers import SMALL, End, a_turn, closing, plain_leg, watched
from tests.harness import in_reactor
from tests.net.rigs import MUCH, Line, Rig, lost, rig_of
from wsrelay.core.outcomes import Loss
from wsrelay.core.refusal import Lost
from wsrelay.net.legs import FULL_BYTES, READ_BYTES
from wsrelay.net.stream import HELD_BYTES


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = rig_of(plain_leg(SMALL))
    with closing(made.leg, made.peer):
        yield made


# Reading.


def test_reading_starts_with_the_first_wait(rig: Rig) -> None:
    rig.peer.send(b"x")
    a_turn()
    assert watched(rig.leg) == (False, False)
    assert not rig.stream.held
    assert rig.wait(rig.stream.some) == b"x"


def test_some_gives_all_that_is_held_and_then_the_end_again_and_again(rig: Rig) -> None:
    rig.peer.send(b"one")
    assert rig.wait(rig.stream.some) == b"one"
    rig.peer.send(b"two")
    while not rig.stream.held:
        a_turn()
    rig.peer.finish()
    while not rig.leg.ended:
        a_turn()
    assert rig.wait(rig.stream.some) == b"two"
    assert rig.wait(rig.stream.some) == b""
    assert rig.wait(rig.stream.some) == b""


def test_a_head_that_comes_in_pieces_is_read_and_the_rest_stays(rig: Rig) -> None:
    reading = rig.begin(lambda: rig.stream.read(Line()))
    for piece in (b"a he", b"ad", b"\nrest"):
        assert not reading.done
        rig.peer.send(piece)
    assert reading.result() == b"a head"
    assert rig.stream.held
    rig.peer.send(b" of it\n")
    assert rig.wait(lambda: rig.stream.read(Line())) == b"rest of it"


def test_an_end_instead_of_a_head_is_none(rig: Rig) -> None:
    rig.peer.send(b"half a he")
    rig.peer.finish()
    assert rig.wait(lambda: rig.stream.read(Line())) is None


def test_unread_bytes_come_before_the_others(rig: Rig) -> None:
    rig.peer.send(b"later")
    in_reactor(rig.stream.watch)
    while not rig.stream.held:
        a_turn()
    in_reactor(rig.stream.unread, b"first, ")
    in_reactor(rig.stream.unread, b"")
    assert rig.wait(rig.stream.some) == b"first, later"


def test_what_nobody_reads_is_held_up_to_a_bound_and_then_the_sender_waits(rig: Rig) -> None:
    in_reactor(rig.stream.watch)
    sent = 0
    while watched(rig.leg)[0] or rig.peer.writable():
        sent += rig.peer.try_send(MUCH[sent : sent + 4096])
        assert sent < len(MUCH), "everything was taken"
    held = rig.wait(rig.stream.some)
    assert HELD_BYTES <= len(held) < HELD_BYTES + READ_BYTES
    while len(held) < sent:
        held += rig.wait(rig.stream.some)
    assert held == MUCH[:sent]


def test_bytes_that_come_one_by_one_are_held_in_few_pieces_and_in_order(rig: Rig) -> None:
    sent = bytes(range(256)) * 4
    for byte in sent:
        in_reactor(rig.stream.received, bytes([byte]))
        assert len(rig.stream._pieces) <= 65
    assert in_reactor(rig.stream.take) == sent


def test_watching_with_a_full_hold_does_not_read_on(rig: Rig) -> None:
    in_reactor(rig.stream.unread, bytes(HELD_BYTES))
    in_reactor(rig.stream.watch)
    assert watched(rig.leg) == (False, False)


# Ends and losses.


def test_a_loss_ends_the_wait_and_every_later_one(rig: Rig) -> None:
    reading = rig.begin(rig.stream.some)
    assert not reading.done
    rig.peer.reset()
    with pytest.raises(Lost) as caught:
        reading.result()
    assert caught.value.loss is Loss.RESET
    assert lost(rig, rig.stream.some) is Loss.RESET


def test_a_loss_that_nobody_waits_for_is_told(rig: Rig) -> None:
    told: list[Exception] = []
    rig.stream.when_gone = told.append
    in_reactor(rig.stream.watch)
    rig.peer.reset()
    while not rig.leg.closed:
        a_turn()
    a_turn()
    assert [error.loss for error in told if isinstance(error, Lost)] == [Loss.RESET]
    assert lost(rig, rig.stream.some) is Loss.RESET


def test_a_loss_that_somebody_waits_for_is_not_told_twice(rig: Rig) -> None:
    rig.stream.when_gone = lambda error: pytest.fail(str(error))
    reading = rig.begin(rig.stream.some)
    rig.peer.reset()
    with pytest.raises(Lost):
        reading.result()


def test_an_end_that_nobody_waits_for_is_told_where_it_matters(rig: Rig) -> None:
    told: list[Exception] = []
    rig.stream.when_ended = told.append
    in_reactor(rig.stream.watch)
    rig.peer.finish()
    while not rig.leg.ended:
        a_turn()
    a_turn()
    assert [(type(error), error.loss) for error in told if isinstance(error, Lost)] == [(Lost, None)]


def test_fail_ends_the_wait_and_every_later_one(rig: Rig) -> None:
    reading = rig.begin(rig.stream.some)
    in_reactor(rig.stream.fail, KeyError("why"))
    with pytest.raises(KeyError, match="why"):
        reading.result()
    with pytest.raises(KeyError, match="why"):
        rig.wait(rig.stream.some)


def test_bytes_that_are_held_are_given_before_a_failure(rig: Rig) -> None:
    in_reactor(rig.stream.unread, b"x")
    in_reactor(rig.stream.fail, KeyError("why"))
    assert rig.wait(rig.stream.some) == b"x"


def test_a_wait_that_is_cancelled_takes_nothing_from_the_next(rig: Rig) -> None:
    reading = rig.begin(rig.stream.some)
    in_reactor(reading.deferred.cancel)
    with pytest.raises(CancelledError):
        reading.result()
    rig.peer.send(b"x")
    assert rig.wait(rig.stream.some) == b"x"


@pytest.mark.parametrize("spoil", ["held", "ended", "lost", "failed", "closed"])
def test_a_connection_is_used_again_only_while_it_is_alive_and_silent(rig: Rig, spoil: str) -> None:
    assert rig.stream.reusable
    in_reactor(rig.stream.watch)
    if spoil == "held":
        rig.peer.send(b"x")
    elif spoil == "ended":
        rig.peer.finish()
    elif spoil == "lost":
        rig.peer.reset()
    elif spoil == "failed":
        in_reactor(rig.stream.fail, KeyError())
    else:
        in_reactor(rig.leg.close)
    while not (rig.stream.held or rig.leg.ended or rig.leg.closed or spoil == "failed"):
        a_turn()
    assert not rig.stream.reusable


# Writing.


def test_there_is_room_at_once_until_the_leg_is_full(rig: Rig) -> None:
    in_reactor(rig.stream.write, b"x")
    assert rig.begin(lambda: rig.stream.room(rig.clock, 10)).done
    written = rig.fill()
    room = rig.begin(lambda: rig.stream.room(rig.clock, 10))
    assert not room.done
    assert rig.leg.waiting >= FULL_BYTES
    rig.peer.read(written + 1)
    assert room.result() is None
    assert rig.clock.getDelayedCalls() == []


def test_flushed_waits_for_less_than_a_full_leg_too(rig: Rig) -> None:
    assert rig.begin(lambda: rig.stream.flushed(rig.clock, 10)).done
    written = rig.fill()
    flushed = rig.begin(lambda: rig.stream.flushed(rig.clock, 10))
    assert not flushed.done
    rig.peer.read(written)
    assert flushed.result() is None
    assert rig.leg.waiting == 0


def test_a_reader_that_takes_nothing_is_a_stall_and_one_that_takes_something_is_not(rig: Rig) -> None:
    written = rig.fill()
    flushed = rig.begin(lambda: rig.stream.flushed(rig.clock, 10))
    rig.pass_time(9)
    moved = rig.leg.moved
    taken = 0
    while rig.leg.moved == moved:
        taken += len(rig.peer.try_read() or b"")
    rig.pass_time(2)
    assert not flushed.done
    rig.pass_time(10)
    with pytest.raises(Lost) as caught:
        flushed.result()
    assert caught.value.loss is Loss.STALLED
    assert taken < written


def test_our_end_is_sent_behind_everything_and_waited_for(rig: Rig) -> None:
    written = rig.fill()
    finishing = rig.begin(lambda: rig.stream.finish(rig.clock, 10))
    assert not finishing.done
    data, end = rig.peer.rest()
    assert (len(data), end) == (written, End.ORDERLY)
    assert finishing.result() is None
    assert not rig.leg.closed


def test_a_failure_that_wakes_two_may_have_the_first_cancel_the_second(rig: Rig) -> None:
    """A session that ends stops its upload."""
    rig.fill()
    room = rig.begin(lambda: rig.stream.room(rig.clock, 10))
    reading = rig.begin(rig.stream.some)

    def fail() -> None:
        reading.deferred.addErrback(lambda _: room.deferred.cancel())
        rig.stream.fail(KeyError("why"))

    in_reactor(fail)
    with pytest.raises(CancelledError):
        room.result()
    assert rig.clock.getDelayedCalls() == []


def test_a_loss_ends_the_wait_for_room(rig: Rig) -> None:
    rig.fill()
    room = rig.begin(lambda: rig.stream.room(rig.clock, 10))
    rig.peer.reset()
    with pytest.raises(Lost) as caught:
        room.result()
    assert caught.value.loss is Loss.RESET
    assert rig.clock.getDelayedCalls() == []


def test_a_wait_for_room_that_is_cancelled_leaves_nothing(rig: Rig) -> None:
    rig.fill()
    room = rig.begin(lambda: rig.stream.room(rig.clock, 10))
    in_reactor(room.deferred.cancel)
    with pytest.raises(CancelledError):
        room.result()
    assert rig.clock.getDelayedCalls() == []

"""How a look at a connection's first bytes ends before it has seen enough, and that it leaves nothing behind."""

import queue
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from tests.contracts.peers import a_turn, tcp_pair, unix_pair
from tests.harness import PATIENCE_SECONDS, in_reactor
from tests.net.looks import NEXT_LOOK_SECONDS, WHOLE, Begin, Look, Pair, looks, needs
from wsrelay.core.outcomes import Loss
from wsrelay.net.deadlines import Deadline
from wsrelay.net.legs import READ_BYTES, Leg

KINDS = pytest.mark.parametrize("pair", [tcp_pair, unix_pair], ids=["tcp", "unix"])


@pytest.fixture
def begin() -> Iterator[Begin]:
    with looks() as start:
        yield start


# The other end ends.


@KINDS
@pytest.mark.parametrize("before", [True, False], ids=["before the look", "during it"])
@pytest.mark.parametrize("there", [0, 1, 100])
def test_an_end_before_all_is_there_ends_the_look(begin: Begin, pair: Pair, there: int, before: bool) -> None:
    look = begin(first=WHOLE[:there], ended=before, pair=pair)
    if not before:
        assert not look.is_done
        look.far.shutdown(socket.SHUT_WR)
        a_turn()
        look.over.passes(NEXT_LOOK_SECONDS)
    assert look.lost() is None
    assert look.peek.heard is bool(there)
    assert look.unread() == WHOLE[:there]


@pytest.mark.parametrize("there", [0, 1, 100])
def test_a_reset_before_all_is_there_ends_the_look(begin: Begin, there: int) -> None:
    look = begin(first=WHOLE[:there])
    assert not look.is_done
    look.reset()
    assert look.lost() in (Loss.RESET, None)
    assert look.peek.heard is bool(there)


@pytest.mark.parametrize("there", [0, 1, 100])
def test_a_reset_before_the_first_look_ends_it(begin: Begin, there: int) -> None:
    def was_reset() -> tuple[socket.socket, socket.socket]:
        ours, far = tcp_pair()
        far.sendall(WHOLE[:there])
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        return ours, socket.socket()

    look = begin(pair=was_reset)
    assert look.lost() in (Loss.RESET, None)


@KINDS
@pytest.mark.parametrize("there", [0, 100, 600])
def test_an_end_right_behind_all_of_it_is_no_end_of_the_look(begin: Begin, pair: Pair, there: int) -> None:
    look = begin(first=WHOLE[:there], ended=there == len(WHOLE), pair=pair)
    if there < len(WHOLE):
        look.far.sendall(WHOLE[there:])
        look.far.shutdown(socket.SHUT_WR)
        a_turn()
        look.over.passes(NEXT_LOOK_SECONDS)
    assert look.result() == "seen 600"
    assert look.unread() == WHOLE


@KINDS
def test_the_rest_may_come_with_an_end_while_the_beginning_is_looked_at(begin: Begin, pair: Pair) -> None:
    """A client that sends two segments and its end: all of it may come between our look and the one for an end."""
    ends = pair()

    def read(data: bytes) -> str | int:
        if len(data) == 100:
            ends[1].sendall(WHOLE[100:])
            ends[1].shutdown(socket.SHUT_WR)
        return needs(len(WHOLE))(data)

    look = begin(read, first=WHOLE[:100], pair=lambda: ends)
    a_turn()
    look.over.passes(NEXT_LOOK_SECONDS)
    assert look.result() == "seen 600"


# It is given up.


@KINDS
@pytest.mark.parametrize("there", [0, 1, 100])
@pytest.mark.parametrize("how", ["fail", "cancel"])
def test_one_that_is_given_up_leaves_nothing_behind(begin: Begin, pair: Pair, there: int, how: str) -> None:
    look = begin(first=WHOLE[:there], pair=pair)
    assert not look.is_done
    error = RuntimeError("enough")
    if how == "fail":
        in_reactor(look.peek.fail, error)
        assert look.result() is error
    else:
        in_reactor(look.peek.done.cancel)
        assert isinstance(look.result(), CancelledError)
    assert look.left_nothing()
    looks = list(look.looks)
    look.far.sendall(WHOLE[there:])
    a_turn()
    look.over.passes(1)
    assert (look.looks, look.is_done) == (looks, False)
    assert look.unread() == WHOLE


@KINDS
def test_whoever_reads_after_it_is_woken_by_one_byte(begin: Begin, pair: Pair) -> None:
    """A mark that it had left on the socket would make a leg wait for 600 bytes."""
    look = begin(first=WHOLE[:100], pair=pair)
    in_reactor(look.peek.fail, RuntimeError("enough"))
    look.result()
    assert len(look.unread()) == 100
    got: queue.Queue[bytes] = queue.Queue()
    leg = Leg(look.ours, reactor, "far")  # type: ignore[arg-type]  # a module, to mypy
    leg.receiver = _Taker(got)
    in_reactor(leg.resume)
    look.far.send(b"x")
    assert got.get(timeout=PATIENCE_SECONDS) == b"x"
    in_reactor(leg.pause)


class _Taker:
    """A leg's receiver that takes bytes and expects nothing else."""

    def __init__(self, got: "queue.Queue[bytes]") -> None:
        self._got = got

    def received(self, data: bytes) -> None:
        assert 0 < len(data) <= READ_BYTES
        self._got.put(data)

    def ended(self) -> None:
        raise AssertionError

    def lost(self, loss: Loss) -> None:
        raise AssertionError

    def drained(self) -> None:
        raise AssertionError

    def secured(self, first: bytes) -> None:
        raise AssertionError


@KINDS
@pytest.mark.parametrize("there", [0, 1, 100])
def test_a_limit_of_time_ends_it_and_only_in_time(begin: Begin, pair: Pair, there: int) -> None:
    look = begin(first=WHOLE[:there], pair=pair)
    late = TimeoutError("late")
    limit = Deadline(look.over, 10, look.peek.fail, lambda: late)  # type: ignore[arg-type]  # stands in for a clock
    in_reactor(limit.start)
    for _ in range(99):
        look.over.passes(0.1)
    assert not look.is_done
    look.over.passes(0.2)
    assert look.result() is late


# Events that are none of its own.


def readable(look: Look) -> None:
    look.peek.doRead()


def done(look: Look) -> None:
    look.over.removeReader(look.peek)  # as Twisted does before it says so
    look.peek.connectionLost(Failure(ConnectionDone("old")))


def lost(look: Look) -> None:
    look.over.removeReader(look.peek)
    look.peek.connectionLost(Failure(ConnectionLost("old")))


@KINDS
@pytest.mark.parametrize("event", [readable, done, lost], ids=lambda event: event.__name__)
@pytest.mark.parametrize("there", [0, 1, 100])
def test_an_old_event_ends_nothing_and_makes_it_miss_nothing(
    begin: Begin, pair: Pair, there: int, event: Callable[[Look], None]
) -> None:
    """It is that of a descriptor which was closed in this turn, and whose number is ours now."""
    look = begin(first=WHOLE[:there], pair=pair)
    if pair is tcp_pair or not there:  # otherwise it waits for time alone
        in_reactor(event, look)
    assert not look.is_done
    look.far.sendall(WHOLE[there:])
    a_turn()
    look.over.passes(NEXT_LOOK_SECONDS)
    assert look.result() == "seen 600"
    assert len(look.looks) <= 3


@pytest.mark.parametrize("event", [readable, done, lost], ids=lambda event: event.__name__)
def test_an_event_after_its_end_is_nobodys(begin: Begin, event: Callable[[Look], None]) -> None:
    look = begin(first=WHOLE)
    assert look.result() == "seen 600"
    in_reactor(event, look)
    assert not look.is_done
    assert look.looks == [600]


def test_urgent_data_makes_looks_rare(begin: Begin) -> None:
    """Peeking stops at its mark, and the kernel calls the socket readable all the same: a look sees nothing new."""
    look = begin(first=WHOLE[:5])
    look.far.send(b"!", socket.MSG_OOB)
    look.far.sendall(WHOLE[5:])
    a_turn()
    for _ in range(1000):
        look.over.passes(NEXT_LOOK_SECONDS)
    assert not look.is_done
    # 10, 20, 40 … 1,000 ms, and then one a second.
    assert len(look.looks) < 30
    in_reactor(look.peek.done.cancel)
    assert isinstance(look.result(), CancelledError)

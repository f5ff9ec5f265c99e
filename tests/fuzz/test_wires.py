"""The connection in memory behaves as a TCP connection of this system does, and the reactor as it should."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.python.failure import Failure

from fuzz.wires import Turns, Wire
from tests.contracts.peers import Peer, tcp_pair
from wsrelay.core.outcomes import Loss
from wsrelay.net.legs import Leg

RST = b"\x01\0\0\0\0\0\0\0"


@attrs.define
class Ends:
    """Both ends of a connection: ours as a leg uses it, and what the far one does and sees."""

    ours: Any
    put: Callable[[bytes], object]
    end: Callable[[], object]
    reset: Callable[[], object]
    seen: Callable[[], tuple[bytes, str]]


def in_memory() -> Ends:
    wire = Wire()

    def seen() -> tuple[bytes, str]:
        return bytes(wire.got), "reset" if wire.aborted else "end" if wire.ended else "open"

    return Ends(wire, wire.put, wire.end, wire.reset, seen)


def over_tcp() -> Ends:
    ours, far = tcp_pair()
    peer = Peer(far)

    def seen() -> tuple[bytes, str]:
        data = b""
        try:
            while (piece := peer.try_read()) is not None:
                data += piece
        except EOFError:
            return data, "end"
        except ConnectionResetError:
            return data, "reset"
        return data, "open"

    return Ends(ours, peer.send, peer.finish, peer.reset, seen)


@pytest.fixture(params=[in_memory, over_tcp], ids=["in-memory", "tcp"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made = request.param()
    yield made
    made.ours.close()
    with contextlib.suppress(OSError):  # a test has done so already
        made.reset()


def test_bytes_pass_both_ways_and_may_be_read_in_parts(ends: Ends) -> None:
    ends.put(b"abc")
    assert (ends.ours.recv(2), ends.ours.recv(9)) == (b"ab", b"c")
    assert ends.ours.send(b"xyz") == 3
    assert ends.seen() == (b"xyz", "open")


def test_nothing_to_read_is_no_end(ends: Ends) -> None:
    with pytest.raises(BlockingIOError):
        ends.ours.recv(1)


def test_an_end_comes_behind_the_bytes_and_leaves_the_other_way_open(ends: Ends) -> None:
    ends.put(b"last")
    ends.end()
    assert [ends.ours.recv(9) for _ in range(3)] == [b"last", b"", b""]
    assert ends.ours.send(b"still") == 5
    ends.ours.shutdown(socket.SHUT_WR)
    assert ends.seen() == (b"still", "end")


def test_a_reset_is_told_once_and_behind_what_came_before(ends: Ends) -> None:
    ends.put(b"last")
    ends.reset()
    assert ends.ours.recv(9) == b"last"
    with pytest.raises(ConnectionResetError):
        ends.ours.recv(9)
    assert ends.ours.recv(9) == b""
    with pytest.raises(BrokenPipeError):
        ends.ours.send(b"x")
    with pytest.raises(OSError, match="."):
        ends.ours.shutdown(socket.SHUT_WR)


def test_a_close_is_an_end(ends: Ends) -> None:
    ends.ours.send(b"x")
    ends.ours.close()
    assert ends.seen() == (b"x", "end")
    assert ends.ours.fileno() == -1


def test_a_close_over_unread_bytes_is_a_reset(ends: Ends) -> None:
    ends.put(b"unread")
    ends.ours.close()
    assert ends.seen()[1] == "reset"


def test_a_close_without_lingering_is_a_reset(ends: Ends) -> None:
    ends.ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    ends.ours.close()
    assert ends.seen()[1] == "reset"


def test_a_closed_socket_is_of_no_use(ends: Ends) -> None:
    ends.ours.close()
    for use in (lambda: ends.ours.recv(1), lambda: ends.ours.send(b"x"), lambda: ends.ours.shutdown(1)):
        with pytest.raises(OSError, match="."):
            use()


def test_a_far_end_takes_only_what_it_has_room_for() -> None:
    wire = Wire()
    wire.room = 3
    assert wire.send(b"abcd") == 3
    assert not wire.writable
    with pytest.raises(BlockingIOError):
        wire.send(b"d")
    wire.room = None
    assert wire.send(b"d") == 1
    assert bytes(wire.got) == b"abcd"


class Heard:
    """A receiver that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def received(self, data: bytes) -> None:
        self.told.append(data)

    def ended(self) -> None:
        self.told.append("ended")

    def lost(self, loss: Loss) -> None:
        self.told.append(loss)

    def drained(self) -> None:
        self.told.append("drained")

    def secured(self, first: bytes) -> None:
        raise AssertionError("no TLS here")


def leg_on(wire: Wire, turns: Turns) -> tuple[Leg, Heard]:
    leg = Leg(wire, turns, "far")  # type: ignore[arg-type]  # all that a leg needs
    heard = leg.receiver = Heard()
    return leg, heard


def test_a_leg_hears_what_its_far_end_does() -> None:
    wire, turns = Wire(), Turns()
    leg, heard = leg_on(wire, turns)
    leg.resume()
    wire.put(b"abc")
    turns.settle()
    wire.end()
    turns.settle()
    assert heard.told == [b"abc", "ended"]
    assert not turns.readers


def test_a_paused_leg_that_waits_to_write_hears_of_a_reset() -> None:
    wire, turns = Wire(), Turns()
    leg, heard = leg_on(wire, turns)
    wire.room = 1
    leg.write(b"abc")
    wire.reset()
    turns.settle()
    assert heard.told == [Loss.RESET]
    assert not turns.writers


def test_an_old_event_is_told_from_a_hang_up() -> None:
    """The leg asks the kernel, by the descriptor that the wire shows."""
    wire, turns = Wire(), Turns()
    leg, heard = leg_on(wire, turns)
    from twisted.internet.error import ConnectionLost

    leg.connectionLost(Failure(ConnectionLost()))
    assert (heard.told, leg.closed) == ([], False)
    wire.reset()
    leg.connectionLost(Failure(ConnectionLost()))
    assert (heard.told, leg.closed) == ([Loss.RESET], True)


def test_time_stands_still_until_it_is_moved() -> None:
    turns = Turns()
    called: list[str] = []
    turns.callLater(0, called.append, "soon")
    turns.callLater(5, called.append, "later")
    turns.settle()
    assert (called, turns.timers, turns.seconds()) == (["soon"], 1, 0.0)
    turns.passes(5)
    assert (called, turns.timers, turns.seconds()) == (["soon", "later"], 0, 5.0)


def test_whoever_never_takes_what_is_there_spins() -> None:
    class Idle:
        def __init__(self) -> None:
            self._socket = Wire()

        def doRead(self) -> None:
            pass

    turns, idle = Turns(), Idle()
    idle._socket.put(b"x")
    turns.addReader(idle)
    with pytest.raises(AssertionError, match="spins"):
        turns.settle()

"""How a plain leg ends: in order, with a reset, by its receiver's hand, and never by an event that was not its own."""

import os
import socket
from collections.abc import Iterator

import pytest
from twisted.internet import reactor
from twisted.python.failure import Failure

from tests.contracts.peers import SMALL, End, Peer, Recorder, a_turn, closing, plain_leg, tcp_pair, watched
from tests.harness import in_reactor
from tests.net.links import Closer, Link, fill, plain_link
from wsrelay.core.outcomes import Loss
from wsrelay.net.legs import Leg


@pytest.fixture
def link() -> Iterator[Link]:
    made = plain_link()
    with closing(made.leg, made.peer):
        yield made


@pytest.fixture
def narrow() -> Iterator[Link]:
    """A link whose kernel buffers are full soon."""
    made = plain_link(SMALL)
    with closing(made.leg, made.peer):
        yield made


# The own end.


def test_our_end_is_sent_at_once_when_nothing_waits_and_reading_goes_on(link: Link) -> None:
    link.call("resume")
    link.call("finish")
    assert link.leg.finished
    assert link.peer.rest() == (b"", End.ORDERLY)
    link.peer.send(b"still here")
    assert link.told.next() == ("received", b"still here")


def test_our_end_comes_after_what_waits_and_nothing_after_it(narrow: Link) -> None:
    written = fill(narrow)
    narrow.call("finish")
    narrow.call("write", b"too late")
    narrow.call("finish")
    assert not narrow.leg.finished
    data, end = narrow.peer.rest()
    assert (len(data), end) == (written, End.ORDERLY)
    assert narrow.told.next() == ("drained", None)
    assert narrow.leg.finished
    assert narrow.told.nothing_more()


def test_an_end_that_cannot_be_sent_is_no_end(link: Link) -> None:
    def finish() -> None:
        link.peer.reset()
        link.leg.finish()

    in_reactor(finish)
    assert not link.leg.finished
    assert link.told.next() == ("lost", Loss.RESET)


# Closing.


def test_close_sends_an_end_and_abort_a_reset(link: Link) -> None:
    link.call("close")
    assert link.peer.rest() == (b"", End.ORDERLY)
    another = plain_link()
    with closing(another.leg, another.peer):
        another.call("abort")
        assert another.peer.rest() == (b"", End.RESET)


def test_close_with_unsent_bytes_is_a_reset_so_that_a_part_is_not_taken_for_the_whole(narrow: Link) -> None:
    fill(narrow)
    narrow.call("close")
    assert narrow.peer.rest()[1] is End.RESET


def test_abort_after_our_own_end_is_still_a_reset(link: Link) -> None:
    link.call("finish")
    link.call("abort")
    assert link.peer.rest()[1] is End.ORDERLY  # that came first, and was true
    with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012  # the first may go into the void
        link.peer.send(b"x")
        link.peer.send(b"x")


def test_abort_of_a_unix_leg_is_a_close() -> None:
    ours, far = socket.socketpair(socket.AF_UNIX)
    ours.setblocking(False)
    leg, peer = Leg(ours, reactor, "unix:"), Peer(far)  # type: ignore[arg-type]  # a module, to mypy
    with closing(leg, peer):
        in_reactor(leg.abort)
        assert peer.rest() == (b"", End.ORDERLY)


def test_a_closed_leg_does_nothing_and_tells_nothing(narrow: Link) -> None:
    fill(narrow)
    narrow.call("resume")
    narrow.call("close")
    assert narrow.leg.closed
    assert narrow.leg.fileno() == -1
    for name in ("resume", "pause", "finish", "close", "abort", "doWrite"):
        narrow.call(name)
    narrow.call("write", b"x")
    narrow.call("connectionLost", Failure(ConnectionResetError()))
    assert (narrow.leg.waiting, narrow.leg.held_back) == (0, 0)
    assert watched(narrow.leg) == (False, False)
    assert narrow.told.nothing_more()


def readable_and_writable(link: Link, written: int) -> None:
    """Make a leg, whose bytes wait, ready for both in one turn of the reactor."""

    def both() -> None:
        link.leg.resume()
        link.peer.read(written - link.leg.waiting)
        link.peer.send(b"x")

    in_reactor(both)


@pytest.mark.parametrize("finishing", [False, True])
def test_a_leg_that_is_closed_by_its_receiver_is_not_written_to_in_the_same_event(
    narrow: Link, finishing: bool
) -> None:
    told = narrow.leg.receiver = Closer(narrow.leg)
    written = fill(narrow)
    if finishing:
        narrow.call("finish")
    readable_and_writable(narrow, written)
    assert told.next() == ("received", b"x")
    assert told.nothing_more()
    assert narrow.leg.problem == ""


def test_an_old_event_of_a_descriptors_number_does_not_end_its_next_owner() -> None:
    """Two legs are due in one turn; the first one's receiver closes the second, and a new one gets its number."""
    first, second = plain_link(), plain_link(SMALL)
    fill(second)
    accepted, far = tcp_pair()
    new: list[Link] = []

    class Replacer(Recorder):
        def received(self, data: bytes) -> None:
            number = second.leg.fileno()
            second.leg.close()
            os.dup2(accepted.fileno(), number, inheritable=False)
            leg = Leg(socket.socket(fileno=number), reactor, "far")  # type: ignore[arg-type]  # a module, to mypy
            new.append(Link(leg, Peer(far), Recorder()))
            leg.receiver = new[0].told
            new[0].leg.resume()
            super().received(data)

    told = first.leg.receiver = Replacer()

    def both_due() -> None:
        first.leg.resume()
        first.peer.send(b"x")
        second.peer.reset()

    in_reactor(both_due)
    assert told.next() == ("received", b"x")
    with closing(first.leg, first.peer), closing(new[0].leg, new[0].peer):
        a_turn()
        new[0].peer.send(b"hello")
        assert new[0].told.next() == ("received", b"hello")
    accepted.close()


def test_bytes_without_a_receiver_are_a_bug() -> None:
    leg, peer = plain_leg()
    with closing(leg, peer), pytest.raises(AssertionError, match="bytes for nobody"):
        leg.receiver.received(b"x")

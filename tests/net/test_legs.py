"""A plain leg on real sockets: what it tells, what it keeps, and when the reactor looks after it."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest
from twisted.internet import reactor

from tests.contracts.peers import SMALL, End, Peer, Recorder, a_turn, closing, watched
from tests.harness import in_reactor
from tests.net.links import MUCH, Link, fill, plain_link
from wsrelay.core.outcomes import Loss
from wsrelay.net.legs import FULL_BYTES, READ_BYTES, Leg


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


# Reading.


def test_a_new_leg_is_paused(link: Link) -> None:
    link.peer.send(b"x")
    assert link.told.nothing_more()
    assert watched(link.leg) == (False, False)


def test_a_resumed_leg_tells_what_came_before_and_after(link: Link) -> None:
    link.peer.send(b"before")
    link.call("resume")
    assert link.told.next() == ("received", b"before")
    link.peer.send(b"after")
    assert link.told.next() == ("received", b"after")


def test_a_paused_leg_reads_nothing_until_it_is_resumed(link: Link) -> None:
    link.call("resume")
    link.call("pause")
    link.call("pause")
    link.peer.send(b"x")
    assert link.told.nothing_more()
    assert watched(link.leg) == (False, False)
    link.call("resume")
    assert link.told.next() == ("received", b"x")


def test_one_read_is_bounded(link: Link) -> None:
    link.peer.send(MUCH[: 2 * READ_BYTES])
    link.call("resume")
    have = b""
    while len(have) < 2 * READ_BYTES:
        what, data = link.told.next()
        assert what == "received"
        assert len(data) <= READ_BYTES
        have += data
    assert have == MUCH[: 2 * READ_BYTES]


def test_an_end_is_told_once_after_the_bytes_and_leaves_the_reactor(link: Link) -> None:
    link.peer.send(b"last")
    link.peer.finish()
    link.call("resume")
    assert link.told.next() == ("received", b"last")
    assert link.told.next() == ("ended", None)
    assert link.leg.ended
    assert not link.leg.closed
    link.call("resume")
    assert watched(link.leg) == (False, False)
    assert link.told.nothing_more()


def test_bytes_can_be_written_after_the_other_sides_end(link: Link) -> None:
    link.peer.finish()
    link.call("resume")
    assert link.told.next() == ("ended", None)
    link.call("write", b"answer")
    link.call("finish")
    assert link.peer.rest() == (b"answer", End.ORDERLY)


def test_a_reset_is_a_loss_that_says_why_and_closes_the_leg(link: Link) -> None:
    link.call("resume")
    link.peer.reset()
    assert link.told.next() == ("lost", Loss.RESET)
    assert link.leg.closed
    assert os.strerror(errno.ECONNRESET) in link.leg.problem
    assert link.told.nothing_more()


def test_a_reset_is_seen_by_a_paused_leg_with_bytes_to_write(narrow: Link) -> None:
    fill(narrow)
    narrow.peer.reset()
    assert narrow.told.next() == ("lost", Loss.RESET)
    assert narrow.leg.problem
    assert narrow.leg.waiting == 0


def test_a_bug_of_the_receiver_is_a_loss_and_not_a_busy_loop(link: Link, logged: list[object]) -> None:
    class Broken(Recorder):
        def received(self, data: bytes) -> None:
            raise ZeroDivisionError

    told = link.leg.receiver = Broken()
    link.call("resume")
    link.peer.send(b"x")
    assert told.next() == ("lost", Loss.BUG)
    a_turn()
    logged.clear()


# Writing.


def test_a_write_goes_out_at_once_without_the_reactor(link: Link) -> None:
    def write() -> tuple[int, int, bool]:
        link.leg.write(b"small")
        return link.leg.moved, link.leg.waiting, link.leg in reactor.getWriters()  # type: ignore[attr-defined]

    assert in_reactor(write) == (5, 0, False)
    assert link.peer.read(5) == b"small"
    assert link.told.nothing_more()  # `drained` is for bytes that had to wait


def test_bytes_that_wait_go_out_in_order_and_drained_is_told_once(narrow: Link) -> None:
    written = fill(narrow)
    assert watched(narrow.leg) == (False, True)
    assert narrow.leg.moved + narrow.leg.waiting == written
    narrow.call("write", b"tail")
    assert narrow.peer.read(written + 4) == MUCH[:65536] * (written // 65536) + b"tail"
    assert narrow.told.next() == ("drained", None)
    assert narrow.leg.waiting == 0
    assert narrow.leg.moved == written + 4
    assert watched(narrow.leg) == (False, False)
    assert narrow.told.nothing_more()


def test_a_leg_is_full_from_the_bound_on(narrow: Link) -> None:
    while narrow.leg.waiting < FULL_BYTES:
        assert not narrow.leg.full
        narrow.call("write", MUCH[:4096])
    assert narrow.leg.full


def test_what_the_kernel_holds_back_for_a_slow_reader_is_known(narrow: Link) -> None:
    assert narrow.leg.held_back == 0
    written = fill(narrow)
    assert 0 < in_reactor(lambda: narrow.leg.held_back) <= written
    narrow.peer.read(written)
    assert narrow.told.next() == ("drained", None)
    assert in_reactor(lambda: narrow.leg.held_back) == 0


def test_a_unix_leg_holds_nothing_back() -> None:
    ours, far = socket.socketpair(socket.AF_UNIX)
    ours.setblocking(False)
    leg = Leg(ours, reactor, "unix:")  # type: ignore[arg-type]  # a module, to mypy
    with closing(leg, Peer(far)):
        in_reactor(leg.write, MUCH)
        assert leg.waiting > 0
        assert leg.held_back == 0


def test_a_failed_write_is_told_in_the_next_turn_and_once(link: Link) -> None:
    def write() -> bool:
        link.peer.reset()
        link.leg.write(b"x")
        link.leg.write(b"y")
        assert link.leg.waiting == 0
        return link.told._told.empty()

    assert in_reactor(write)
    assert link.told.next() == ("lost", Loss.RESET)
    assert link.leg.problem
    assert link.told.nothing_more()


def test_what_the_other_side_said_before_it_closed_is_read_after_a_failed_write(link: Link) -> None:
    """An upstream that answers 413 and closes while the body is still on its way."""

    def write() -> None:
        link.peer.send(b"413 and why")
        link.peer.reset()
        link.leg.resume()
        link.leg.write(b"more of the body")

    in_reactor(write)
    assert link.told.next() == ("received", b"413 and why")
    assert link.told.next() == ("lost", Loss.RESET)


def test_a_paused_leg_reads_no_last_words(link: Link) -> None:
    def write() -> None:
        link.peer.send(b"413 and why")
        link.peer.reset()
        link.leg.write(b"more of the body")

    in_reactor(write)
    assert link.told.next() == ("lost", Loss.RESET)

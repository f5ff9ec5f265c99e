"""A leg under TLS on real sockets: handshake, bytes, ends and memory, each duty with its test (DESIGN 6)."""

import errno
import gc
import os
import weakref
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from tests.contracts.peers import (
    SMALL,
    End,
    Recorder,
    a_turn,
    clog,
    closing,
    secure,
    tcp_pair,
    unclog,
    unix_pair,
    watched,
)
from tests.harness import in_reactor
from tests.net.links import MUCH, Closer, Link, tls_link
from wsrelay.core.outcomes import Loss
from wsrelay.net import tls_leg as module
from wsrelay.net.tls_leg import RECORD_BYTES, TlsLeg


@pytest.fixture(params=[SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    made = tls_link(version=request.param)
    with closing(made.leg, made.peer):
        yield made


@pytest.fixture
def narrow() -> Iterator[Link]:
    """A link whose kernel buffers are full soon."""
    made = tls_link(tcp_pair(SMALL))
    with closing(made.leg, made.peer):
        yield made


@pytest.fixture
def raw() -> Iterator[Link]:
    """A link before its handshake."""
    made = tls_link(handshake=False)
    with closing(made.leg, made.peer):
        yield made


@pytest.fixture
def local() -> Iterator[Link]:
    """A link over UNIX sockets, before its handshake."""
    made = tls_link(unix_pair(), handshake=False)
    with closing(made.leg, made.peer):
        yield made


# The handshake.


@pytest.mark.parametrize(("version", "name"), [(SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")])
def test_a_handshake_is_told_once_and_leaves_the_leg_paused(version: int, name: str) -> None:
    link = tls_link(version=version, handshake=False)
    with closing(link.leg, link.peer):
        link.call("secure")
        link.peer.shake_hands()
        assert link.told.next() == ("secured", None)
        assert link.leg.version == name
        link.peer.send(b"first")
        assert link.told.nothing_more()
        assert watched(link.leg) == (False, False)
        link.call("resume")
        assert link.told.next() == ("received", b"first")


def test_a_handshake_that_has_to_wait_for_room_is_completed_when_there_is_some(local: Link) -> None:
    with pytest.raises(SSL.WantReadError):
        local.peer.tls.do_handshake()
    clogged = clog(local.socket)
    local.call("secure")
    assert watched(local.leg) == (False, True)  # bytes that could be read would only make the reactor spin
    assert local.told.nothing_more()

    unclog(local.peer.socket, clogged)
    a_turn()
    assert watched(local.leg) == (True, False)
    local.peer.shake_hands()
    assert local.told.next() == ("secured", None)
    local.peer.send(b"x")
    local.call("resume")
    assert local.told.next() == ("received", b"x")


FAILURES: list[tuple[Callable[[Link], object], Loss, str]] = [
    (lambda link: link.peer.socket.send(b"get / HTTP/1.1\r\n\r\n"), Loss.TLS, "wrong version number"),
    (lambda link: link.peer.socket.send(b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff"), Loss.TLS, ""),
    (lambda link: link.peer.truncate(), Loss.TRUNCATED, "ended during the handshake"),
    (lambda link: link.peer.reset(), Loss.RESET, "reset by peer"),
]


@pytest.mark.parametrize(("fail", "loss", "text"), FAILURES, ids=["lower case", "nonsense", "end", "reset"])
def test_a_handshake_that_fails_is_a_loss_that_says_why(
    raw: Link, fail: Callable[[Link], object], loss: Loss, text: str
) -> None:
    raw.call("secure")
    fail(raw)
    assert raw.told.next() == ("lost", loss)
    assert raw.leg.closed
    assert raw.leg.problem
    assert text in raw.leg.problem
    assert raw.told.nothing_more()


def test_http_without_tls_is_a_loss_and_leaves_a_plain_leg_that_has_taken_nothing(raw: Link) -> None:
    raw.call("secure")
    raw.peer.socket.send(b"GET ")
    assert raw.told.next() == ("lost", Loss.TLS)
    assert raw.leg.closed
    assert isinstance(raw.leg, TlsLeg)
    plain = raw.leg.plain
    assert plain is not None
    heard = plain.receiver = Recorder()
    in_reactor(plain.resume)
    assert heard.next() == ("received", b"GET ")
    in_reactor(plain.write, b"no")
    in_reactor(plain.finish)
    assert raw.peer.socket.recv(3) == b"no"
    assert raw.peer.socket.recv(1) == b""
    in_reactor(plain.close)


# Reading.


def test_bytes_arrive_in_order_and_whole(link: Link) -> None:
    link.call("resume")
    link.peer.send(MUCH)
    assert link.told.bytes_of(len(MUCH)) == MUCH


def test_bytes_that_openssl_holds_after_a_bounded_read_are_delivered(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No event will tell of them: one record, read in sixteenths, four of them a turn."""
    monkeypatch.setattr(module, "RECORD_BYTES", 1024)
    monkeypatch.setattr(module, "READ_BYTES", 4096)
    link.peer.send(MUCH[:RECORD_BYTES])
    link.call("resume")
    for number in range(4):
        assert link.told.next() == ("received", MUCH[number * 4096 : (number + 1) * 4096])
    assert link.told.nothing_more()


def test_bytes_that_openssl_holds_are_delivered_after_a_resume_and_not_before(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_BYTES", 1024)
    monkeypatch.setattr(module, "READ_BYTES", 1024)

    class Pausing(Recorder):
        def received(self, data: bytes) -> None:
            link.leg.pause()
            super().received(data)

    told = link.leg.receiver = Pausing()
    link.peer.send(MUCH[:2048])
    link.call("resume")
    assert told.next() == ("received", MUCH[:1024])
    assert told.nothing_more()
    link.call("resume")
    assert told.next() == ("received", MUCH[1024:2048])
    assert told.nothing_more()


def test_held_bytes_are_not_delivered_to_a_leg_that_was_paused_or_closed_meanwhile(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_BYTES", 1024)
    monkeypatch.setattr(module, "READ_BYTES", 1024)
    link.peer.send(MUCH[:4096])

    def read_once_and_pause() -> None:
        link.leg.resume()
        link.leg.doRead()
        link.leg.pause()

    in_reactor(read_once_and_pause)
    assert link.told.next() == ("received", MUCH[:1024])
    assert link.told.nothing_more()

    def resume_and_close() -> None:
        link.leg.resume()
        link.leg.close()

    in_reactor(resume_and_close)
    assert link.told.nothing_more()


# Ends.


def test_close_notify_is_an_end_and_writing_goes_on(link: Link) -> None:
    link.call("resume")
    link.peer.send(b"last")
    link.peer.finish()
    assert link.told.bytes_until("ended") == (b"last", None)
    assert link.leg.ended
    assert watched(link.leg) == (False, False)
    link.call("write", b"answer")
    link.call("finish")
    assert link.peer.rest() == (b"answer", End.ORDERLY)


def test_our_end_is_close_notify_without_fin_and_reading_goes_on(link: Link) -> None:
    link.call("resume")
    link.call("finish")
    assert link.leg.finished
    assert link.peer.rest() == (b"", End.ORDERLY)
    with pytest.raises(BlockingIOError):
        link.peer.socket.recv(1)  # TCP is still open
    link.peer.send(b"still here")
    assert link.told.next() == ("received", b"still here")


def test_an_end_without_close_notify_is_a_truncation(link: Link) -> None:
    link.call("resume")
    link.peer.send(b"half")
    link.peer.truncate()
    assert link.told.bytes_until("lost") == (b"half", Loss.TRUNCATED)
    assert link.leg.problem == "the connection ended without close_notify"


def test_a_plain_fin_that_answers_our_close_notify_is_an_end(link: Link) -> None:
    """As browsers do."""
    link.call("resume")
    link.call("finish")
    link.peer.send(b"last")
    link.peer.truncate()
    assert link.told.bytes_until("ended") == (b"last", None)
    assert link.leg.ended


def test_a_record_that_does_not_decrypt_is_a_tls_error(link: Link) -> None:
    link.call("resume")
    link.peer.send(b"good")
    link.peer.send_garbage()
    assert link.told.bytes_until("lost") == (b"good", Loss.TLS)
    assert "bad record mac" in link.leg.problem


def test_a_reset_is_a_reset(link: Link) -> None:
    link.call("resume")
    link.peer.reset()
    assert link.told.next() == ("lost", Loss.RESET)
    assert link.leg.problem == os.strerror(errno.ECONNRESET)


def test_close_without_finish_is_a_truncation_for_the_other_side(link: Link) -> None:
    link.call("close")
    assert link.peer.rest() == (b"", End.TRUNCATED)


# Writing.


def test_a_write_goes_out_at_once(link: Link) -> None:
    link.call("write", b"small")
    assert (link.leg.moved, link.leg.waiting) == (5, 0)
    assert link.peer.read(5) == b"small"
    assert watched(link.leg) == (False, False)


def test_bytes_that_wait_go_out_in_order_and_drained_is_told_once(narrow: Link) -> None:
    narrow.call("write", MUCH)
    assert narrow.leg.waiting
    assert narrow.leg.waiting + narrow.leg.moved == len(MUCH)
    assert watched(narrow.leg) == (False, True)
    narrow.call("write", b"tail")
    assert narrow.peer.read(len(MUCH) + 4) == MUCH + b"tail"
    assert narrow.told.next() == ("drained", None)
    assert narrow.leg.moved == len(MUCH) + 4
    assert watched(narrow.leg) == (False, False)
    assert narrow.told.nothing_more()


def test_our_end_comes_after_what_waits(narrow: Link) -> None:
    narrow.call("write", MUCH)
    narrow.call("finish")
    assert not narrow.leg.finished
    assert narrow.peer.rest() == (MUCH, End.ORDERLY)
    assert narrow.told.next() == ("drained", None)
    assert narrow.leg.finished


def test_a_close_notify_that_has_to_wait_for_room_counts_as_waiting_and_is_sent_later(local: Link) -> None:
    secure(local.leg, local.peer)
    told = local.leg.receiver = Recorder()
    assert local.peer.try_read() is None  # the session tickets are out of the way
    clogged = clog(local.socket)
    local.call("finish")
    assert not local.leg.finished
    assert local.leg.waiting == 1
    assert watched(local.leg) == (False, True)
    assert told.nothing_more()
    unclog(local.peer.socket, clogged)
    assert local.peer.rest() == (b"", End.ORDERLY)
    assert told.next() == ("drained", None)
    assert told.nothing_more()
    assert local.leg.finished
    assert local.leg.waiting == 0
    assert watched(local.leg) == (False, False)


def test_a_failed_write_is_a_reset_told_in_the_next_turn_and_leaves_no_error_for_other_connections(link: Link) -> None:
    """OpenSSL's queue of errors belongs to the thread, and before 4.0 it asks that queue how a read went."""

    def write() -> int:
        link.leg.resume()
        link.peer.reset()
        link.leg.write(b"x")
        assert link.told._told.empty()
        return int(Binding.lib.ERR_peek_error())

    assert in_reactor(write) == 0
    assert link.told.next() == ("lost", Loss.RESET)
    assert link.leg.problem == os.strerror(errno.ECONNRESET)


def test_an_end_that_cannot_be_sent_is_no_end(link: Link) -> None:
    def finish() -> None:
        link.peer.reset()
        link.leg.finish()

    in_reactor(finish)
    assert not link.leg.finished
    assert link.told.next() == ("lost", Loss.RESET)


def test_a_leg_that_is_closed_by_its_receiver_is_not_written_to_in_the_same_event(narrow: Link) -> None:
    told = narrow.leg.receiver = Closer(narrow.leg)
    narrow.call("write", MUCH)
    narrow.call("finish")

    def both() -> None:
        narrow.leg.resume()
        while narrow.peer.try_read():
            pass
        narrow.peer.send(b"x")

    in_reactor(both)
    assert told.next() == ("received", b"x")
    assert told.nothing_more()


# Memory.


@pytest.mark.parametrize("end", ["close", "abort"])
def test_openssls_memory_goes_with_the_close_and_not_with_the_leg(link: Link, end: str) -> None:
    connection = weakref.ref(link.leg._tls)
    gc.collect()
    gc.disable()
    try:
        link.call(end)
        assert connection() is None
    finally:
        gc.enable()


def test_openssls_memory_goes_when_a_handshake_fails(raw: Link) -> None:
    connection = weakref.ref(raw.leg._tls)
    raw.call("secure")
    raw.peer.socket.send(b"get / HTTP/1.1\r\n\r\n")
    assert raw.told.next()[0] == "lost"
    assert raw.told.nothing_more()
    assert connection() is None

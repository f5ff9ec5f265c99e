"""What OpenSSL may want of a leg between reading and writing.

TLS 1.3 does not do most of it to us, and we refuse what does it in 1.2; so it is a connection of ours that plays it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from OpenSSL import SSL
from twisted.internet import reactor

from tests.contracts.peers import (
    Peer,
    Recorder,
    closing,
    server_side,
    tcp_pair,
)
from tests.harness import in_reactor
from tests.net.links import MUCH
from wsrelay.net.handshakes import ReactorHandshakes
from wsrelay.net.tls_leg import RECORD_BYTES, TlsLeg


class Scripted:
    """Stands in for OpenSSL's connection: does what the test says, and writes down what was asked."""

    def __init__(self) -> None:
        self.reads: list[bytes | SSL.Error] = []
        self.writes: list[int | SSL.Error] = []
        self.shutdowns: list[SSL.Error] = []
        self.asked: list[tuple[str, Any]] = []
        self.held = 0

    def pending(self) -> int:
        return self.held

    def recv(self, count: int) -> bytes:
        self.asked.append(("recv", count))
        step = self.reads.pop(0) if self.reads else SSL.WantReadError()
        if isinstance(step, SSL.Error):
            raise step
        return step

    def shutdown(self) -> bool:
        self.asked.append(("shutdown", None))
        if self.shutdowns:
            raise self.shutdowns.pop(0)
        return False

    def send(self, data: bytes) -> int:
        self.asked.append(("send", data))
        step = self.writes.pop(0) if self.writes else len(data)
        if isinstance(step, SSL.Error):
            raise step
        return step


@attrs.frozen
class Play:
    leg: TlsLeg
    tls: Scripted
    told: Recorder
    peer: Peer

    def watched(self) -> tuple[bool, bool]:
        readers, writers = reactor.getReaders(), reactor.getWriters()  # type: ignore[attr-defined]  # a module, to mypy
        return self.leg in readers, self.leg in writers


@pytest.fixture
def play() -> Iterator[Play]:
    """A leg past its handshake, above a connection that follows a script. For use on the reactor's thread."""
    ours, far = tcp_pair()
    leg = TlsLeg(ours, reactor, "far", server_side(ours), ReactorHandshakes(reactor).as_server)  # type: ignore[arg-type]  # a module, to mypy
    tls, told = Scripted(), Recorder()
    leg._tls = tls  # type: ignore[assignment]  # as above
    leg.receiver = told
    with closing(leg, Peer(far)):
        yield Play(leg, tls, told, Peer(far))


def on_reactor(test: Callable[[Play], None]) -> Callable[[Play], None]:
    """Run a test's whole body in one turn of the reactor, so that the script is the only thing that happens."""

    def run(play: Play) -> None:
        in_reactor(test, play)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_reactor
def test_a_read_that_wants_to_write_waits_for_that_and_then_reads(play: Play) -> None:
    play.tls.reads = [SSL.WantWriteError(), b"data"]
    play.leg.resume()
    play.leg.doRead()
    assert play.watched() == (False, True)  # readability would only spin
    play.leg.doWrite()
    assert play.told.next() == ("received", b"data")
    assert play.watched() == (True, False)


@on_reactor
def test_a_read_that_wants_to_write_does_not_deliver_to_a_leg_that_was_paused(play: Play) -> None:
    play.tls.reads = [SSL.WantWriteError(), b"data"]
    play.leg.resume()
    play.leg.doRead()
    play.leg.pause()
    play.leg.doWrite()
    assert play.told._told.empty()
    assert play.watched() == (False, False)
    play.leg.resume()
    play.leg.doRead()
    assert play.told.next() == ("received", b"data")


@on_reactor
def test_a_write_that_wants_to_read_waits_for_that_even_while_paused(play: Play) -> None:
    play.tls.writes = [SSL.WantReadError(), 4]
    play.leg.write(b"data")
    assert play.leg.waiting == 4
    play.leg.doWrite()
    assert play.watched() == (True, False)  # writability would only spin
    play.leg.doRead()
    assert play.leg.waiting == 0
    assert play.told.next() == ("drained", None)
    assert play.told._told.empty()
    assert play.watched() == (False, False)


@on_reactor
def test_a_write_that_wants_to_read_and_then_to_write_is_not_forgotten(play: Play) -> None:
    play.tls.writes = [SSL.WantReadError(), SSL.WantWriteError(), 4]
    play.leg.write(b"data")
    play.leg.doWrite()
    play.leg.doRead()
    assert play.watched() == (False, True)
    play.leg.doWrite()
    assert play.told.next() == ("drained", None)
    assert play.watched() == (False, False)


@on_reactor
def test_a_pause_while_a_write_wants_to_read_delivers_nothing(play: Play) -> None:
    play.leg.resume()
    play.tls.writes = [SSL.WantReadError(), SSL.WantReadError(), 4]
    play.leg.write(b"data")
    play.leg.pause()
    assert play.watched()[0]
    play.tls.reads = [b"not yet"]
    play.leg.doRead()
    assert play.told._told.empty()
    assert play.watched()[0]
    play.leg.doRead()
    assert play.told.next() == ("drained", None)
    assert play.watched() == (False, False)
    play.leg.resume()
    play.leg.doRead()
    assert play.told.next() == ("received", b"not yet")


@on_reactor
def test_a_close_while_a_write_wants_to_read_leaves_the_reactor(play: Play) -> None:
    play.tls.writes = [SSL.WantReadError()]
    play.leg.write(b"data")
    play.leg.doWrite()
    play.leg.pause()
    play.leg.close()
    assert play.watched() == (False, False)


@on_reactor
def test_drained_is_told_when_the_close_notify_behind_the_last_bytes_is_sent_too(play: Play) -> None:
    play.tls.writes = [SSL.WantWriteError(), 4]
    play.tls.shutdowns = [SSL.WantWriteError()]
    play.leg.write(b"data")
    play.leg.finish()
    play.leg.doWrite()
    assert play.told._told.empty()
    assert (play.leg.waiting, play.watched()) == (1, (False, True))
    play.leg.doWrite()
    assert play.told.next() == ("drained", None)
    assert (play.leg.waiting, play.watched()) == (0, (False, False))


@on_reactor
def test_after_a_failed_write_no_end_is_sent(play: Play) -> None:
    play.tls.writes = [SSL.Error([("SSL routines", "", "bad things")])]
    play.leg.write(b"data")
    play.leg.finish()
    assert not play.leg.finished
    assert play.tls.asked == [("send", b"data")]
    assert play.leg.problem == "bad things"


@on_reactor
def test_reads_and_writes_are_of_one_record_at_most_and_one_turn_is_bounded(play: Play) -> None:
    play.tls.reads = [bytes(RECORD_BYTES)] * 10
    play.leg.resume()
    play.leg.doRead()
    assert play.tls.asked == [("recv", 16 * 1024)] * 4
    assert play.told.next() == ("received", bytes(64 * 1024))
    play.tls.asked.clear()
    play.leg.write(MUCH[:50_000])
    assert [len(data) for _, data in play.tls.asked] == [16_384, 16_384, 16_384, 848]
    assert b"".join(data for _, data in play.tls.asked) == MUCH[:50_000]


@on_reactor
def test_a_write_that_has_to_wait_is_tried_again_with_the_same_bytes_first(play: Play) -> None:
    play.tls.writes = [SSL.WantWriteError(), 10, 10]
    play.leg.write(b"0123456789")
    play.leg.write(b"abcdefghij")
    play.leg.doWrite()
    asked = [data for _, data in play.tls.asked]
    assert asked[0] == b"0123456789"
    assert asked[1].startswith(b"0123456789")
    assert play.leg.waiting == 0
    assert play.leg.moved == 20


@on_reactor
def test_an_end_that_comes_with_bytes_is_told_after_them(play: Play) -> None:
    play.tls.reads = [bytes(RECORD_BYTES), SSL.ZeroReturnError()]
    play.leg.resume()
    play.leg.doRead()
    assert play.told.next() == ("received", bytes(RECORD_BYTES))
    assert play.told.next() == ("ended", None)


@on_reactor
def test_a_write_after_the_other_ends_close_notify_that_fails_says_so(play: Play) -> None:
    play.tls.writes = [SSL.ZeroReturnError()]
    play.leg.write(b"x")
    assert "close_notify" in play.leg.problem

"""A stream's first and last steps: the TLS handshake, the farewell, and the handoff."""

from collections.abc import Iterator

import pytest

from tests.contracts.peers import SMALL, End, TlsPeer, a_turn, closing, plain_leg, tcp_pair, tls_leg, watched
from tests.harness import in_reactor
from tests.net.rigs import Line, Rig, lost, rig_of
from wsrelay.core.outcomes import Loss


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = rig_of(plain_leg(SMALL))
    with closing(made.leg, made.peer):
        yield made


# The handshake.


def test_a_handshake_is_waited_for() -> None:
    rig = rig_of(tls_leg(tcp_pair()))
    with closing(rig.leg, rig.peer):
        shaking = rig.begin(lambda: rig.stream.handshake(rig.leg))  # type: ignore[arg-type]  # a TlsLeg
        assert not shaking.done
        assert isinstance(rig.peer, TlsPeer)
        rig.peer.shake_hands()
        assert shaking.result() is None
        rig.peer.send(b"x")
        assert rig.wait(rig.stream.some) == b"x"


def test_a_handshake_that_fails_is_a_loss() -> None:
    rig = rig_of(tls_leg(tcp_pair()))
    with closing(rig.leg, rig.peer):
        rig.peer.socket.send(b"get / HTTP/1.1\r\n\r\n")
        assert lost(rig, lambda: rig.stream.handshake(rig.leg)) is Loss.TLS  # type: ignore[arg-type]  # a TlsLeg


# The end.


def test_a_farewell_sends_all_and_our_end_and_reads_what_comes_until_the_other_end(rig: Rig) -> None:
    """A close with unread bytes would send a RST, which may overtake the answer (RFC 9112 9.6)."""
    in_reactor(rig.stream.write, b"answer")
    rig.peer.send(b"more of a body that nobody wants")
    farewell = rig.begin(lambda: rig.stream.farewell(rig.clock, 10, 10))
    assert rig.peer.rest() == (b"answer", End.ORDERLY)
    assert not farewell.done
    rig.peer.send(b"and more")
    assert not farewell.done
    rig.peer.finish()
    assert farewell.result() is None
    assert rig.leg.closed
    assert rig.clock.getDelayedCalls() == []


def test_a_farewell_ends_when_its_time_is_up(rig: Rig) -> None:
    farewell = rig.begin(lambda: rig.stream.farewell(rig.clock, 10, 10))
    rig.peer.send(b"on and on")
    rig.pass_time(9)
    assert not farewell.done
    rig.peer.send(b"on and on")
    rig.pass_time(1)
    assert farewell.result() is None
    assert rig.leg.closed


def test_a_farewell_to_one_who_reads_nothing_ends_when_its_time_is_up(rig: Rig) -> None:
    rig.fill()
    farewell = rig.begin(lambda: rig.stream.farewell(rig.clock, 10, 10))
    rig.pass_time(9)
    assert not farewell.done
    rig.pass_time(1)
    assert farewell.result() is None
    assert rig.leg.closed


def test_a_farewell_to_one_who_has_left_is_short(rig: Rig) -> None:
    in_reactor(rig.stream.watch)
    rig.peer.reset()
    while not rig.leg.closed:
        a_turn()
    assert rig.wait(lambda: rig.stream.farewell(rig.clock, 10, 10)) is None


def test_a_farewell_after_a_failure_still_lets_the_answer_be_read(rig: Rig) -> None:
    in_reactor(rig.stream.fail, KeyError("a deadline"))
    in_reactor(rig.stream.write, b"408")
    farewell = rig.begin(lambda: rig.stream.farewell(rig.clock, 10, 10))
    assert rig.peer.rest() == (b"408", End.ORDERLY)
    assert not farewell.done
    rig.peer.finish()
    assert farewell.result() is None


def test_release_gives_the_leg_paused_and_every_byte_not_taken(rig: Rig) -> None:
    rig.stream.when_gone = rig.stream.when_ended = lambda error: pytest.fail(str(error))
    rig.peer.send(b"a head\nearly ")
    assert rig.wait(lambda: rig.stream.read(Line())) == b"a head"
    rig.peer.send(b"bytes")
    in_reactor(rig.stream.watch)
    rig.peer.send(b"!")
    while rig.stream.held < len(b"early bytes!"):
        a_turn()
    leg, early = in_reactor(rig.stream.release)
    assert leg is rig.leg
    assert early == b"early bytes!"
    assert watched(rig.leg) == (False, False)
    assert not rig.stream.held
    assert in_reactor(rig.stream.release)[1] == b""
    assert (rig.stream.when_gone, rig.stream.when_ended) == (None, None)


def test_a_farewell_waits_for_a_slow_reader_as_long_as_something_moves(rig: Rig) -> None:
    """The last of an answer is the client's, however long after `linger` it has taken it."""
    rig.fill()
    farewell = rig.begin(lambda: rig.stream.farewell(rig.clock, 10, 1))
    moved = rig.leg.moved
    while rig.leg.moved == moved:
        rig.peer.socket.recv(65536)
        a_turn()
    rig.pass_time(10)
    assert not farewell.done
    rig.pass_time(10)
    assert farewell.result() is None

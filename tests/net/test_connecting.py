"""One connection attempt: done at once where that can be, waited for where not."""

import errno
import os
import socket
import sys

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.contracts.peers import a_turn, tcp_pair
from tests.harness import HandTime, in_reactor
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net.connecting import Place, _Attempt, _begin, connect


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the other end may answer later")
def test_a_connect_on_this_machine_is_done_without_a_turn_of_the_reactor(upstream):
    connecting, connected = _begin(Place(socket.AF_INET, upstream.listening.getsockname(), ""))
    with connecting:
        assert connected
        assert connecting.getpeername() == upstream.listening.getsockname()


def test_a_connect_that_is_not_done_at_once_is_waited_for(full):
    connecting, connected = _begin(Place(socket.AF_INET, full.listening.getsockname(), ""))
    with connecting:
        assert not connected


@pytest.fixture
def leaves_nothing():
    """No descriptor stays open, and none in the reactor."""

    def found():
        return sorted(os.listdir("/proc/self/fd"), key=int), in_reactor(lambda: len(reactor.getWriters()))

    before = found()
    yield
    assert found() == before


def place(address):
    host, _, port = address.rpartition(":")
    return Place(socket.AF_INET, (host, int(port)), address)


def connected(over, where, seconds=5):
    """Begin; what will hold the socket."""
    return in_reactor(lambda: [Deferred.fromCoroutine(connect(where, over, seconds))])[0]


def refused(deferred):
    with pytest.raises(Refusal) as caught:
        in_reactor(lambda: deferred)
    return caught.value


def test_what_is_connected_never_blocks_and_is_no_childs(upstream):
    with in_reactor(lambda: connected_now(upstream)) as made:
        assert made.getpeername() == upstream.listening.getsockname()
        assert not made.getblocking()
        assert not made.get_inheritable()


def connected_now(upstream):
    return Deferred.fromCoroutine(connect(place(upstream.address), reactor, 5))


def test_who_is_not_there_refuses(nobody, leaves_nothing):
    assert refused(connected(HandTime(), place(nobody))).reason is Reason.UPSTREAM_REFUSED


@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (Place(socket.AF_UNIX, "/nowhere/at/all.sock", ""), Reason.UPSTREAM_REFUSED),
        (Place(socket.AF_UNIX, "x" * 200, ""), Reason.UPSTREAM_UNREACHABLE),
        (Place(socket.AF_INET, ("255.255.255.255", 80), ""), Reason.UPSTREAM_UNREACHABLE),
    ],
)
def test_where_nobody_can_be_is_told_from_where_nobody_is(where, reason):
    assert refused(connected(HandTime(), where)).reason is reason


def test_one_that_is_not_answered_in_time_is_given_up(full, leaves_nothing):
    over = HandTime()
    waiting = connected(over, place(full.address), 5)
    over.passes(4.9)
    assert not waiting.called
    over.passes(0.2)
    error = refused(waiting)
    assert (error.reason, over.timers) == (Reason.UPSTREAM_CONNECT_TIMEOUT, 0)
    assert "within 5 seconds" in error.detail


def test_one_that_nobody_wants_any_more_is_given_up(full, leaves_nothing):
    over = HandTime()
    waiting = connected(over, place(full.address))
    in_reactor(waiting.cancel)
    with pytest.raises(CancelledError):
        in_reactor(lambda: waiting)
    assert over.timers == 0


def test_without_descriptors_it_is_our_own_lack(monkeypatch, nobody):
    def none_left(*given):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", none_left)
    with pytest.raises(Refusal) as caught:
        _begin(place(nobody))
    assert caught.value.reason is Reason.NO_DESCRIPTORS


# Events.


@pytest.mark.parametrize("event", ["doRead", "doWrite", "connectionLost"])
def test_an_old_event_ends_nothing_and_makes_it_miss_nothing(full, event):
    """It is that of a descriptor which was closed in this turn, and whose number is ours now."""
    connecting, _ = _begin(place(full.address))
    attempt = in_reactor(_Attempt, reactor, connecting)

    def old():
        if event == "connectionLost":
            reactor.removeWriter(attempt)  # as Twisted does before it says so
            attempt.connectionLost(Failure(ConnectionLost()))
        else:
            getattr(attempt, event)()

    in_reactor(old)
    a_turn()
    assert not attempt.done.called
    assert in_reactor(lambda: attempt in reactor.getWriters())
    in_reactor(attempt.done.cancel)
    with pytest.raises(CancelledError):
        in_reactor(lambda: attempt.done)
    assert (attempt.fileno(), attempt.logPrefix()) == (-1, "dial")


def test_a_hang_up_without_an_error_is_a_refusal_too():
    """As of a server that accepts and resets before we have looked."""
    ours, far = tcp_pair()
    attempt = in_reactor(lambda: made_and_hung_up(ours))
    assert refused(attempt.done).reason is Reason.UPSTREAM_REFUSED
    assert ours.fileno() == -1
    far.close()


def made_and_hung_up(ours):
    attempt = _Attempt(reactor, ours)
    reactor.removeWriter(attempt)
    attempt.connectionLost(Failure(ConnectionLost()))
    return attempt


@pytest.mark.parametrize("seen_by", ["doWrite", "connectionLost"])
def test_an_error_is_told_whoever_sees_it_first(nobody, seen_by):
    connecting = socket.socket()
    connecting.setblocking(False)
    connecting.connect_ex(place(nobody).name)

    def begin():
        attempt = _Attempt(reactor, connecting)
        given = [Failure(ConnectionLost())] if seen_by == "connectionLost" else []
        getattr(attempt, seen_by)(*given)
        return [attempt]

    (attempt,) = in_reactor(begin)
    assert refused(attempt.done).reason is Reason.UPSTREAM_REFUSED
    assert connecting.fileno() == -1

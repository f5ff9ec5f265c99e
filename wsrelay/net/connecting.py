"""One connection attempt to one address, without blocking. Knows nothing of groups, names or TLS."""

import errno
import os
import select
import socket
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net import sockets
from wsrelay.net.deadlines import Deadline
from wsrelay.net.legs import Reactor

# What a second `connect` answers; Linux says 0 where POSIX has EISCONN.
_CONNECTED = frozenset({0, errno.EISCONN})
_CONNECTING = frozenset({errno.EINPROGRESS, errno.EALREADY})


@attrs.frozen
class Place:
    """Where a server may be reached."""

    family: int
    name: Any
    """As its family wants it for `connect`."""
    text: str
    """For logs."""


async def connect(place: Place, reactor: Reactor, seconds: float) -> socket.socket:
    """A connected, non-blocking socket.

    Raises:
        Refusal: UPSTREAM_REFUSED, UPSTREAM_UNREACHABLE, UPSTREAM_CONNECT_TIMEOUT or NO_DESCRIPTORS.
    """
    connecting, connected = _begin(place)
    if not connected:
        attempt = _Attempt(reactor, connecting)
        with Deadline(reactor, seconds, attempt.fail, partial(late, seconds)):
            await attempt.done
    return connecting


def late(seconds: float) -> Refusal:
    """What is said when a connection, with all that belongs to it, was not made in time."""
    return Refusal(Reason.UPSTREAM_CONNECT_TIMEOUT, f"no connection to the upstream within {seconds:g} seconds")


def _begin(place: Place) -> tuple[socket.socket, bool]:
    """Begin a non-blocking connect; the socket, and whether it is connected already.

    Raises:
        Refusal: The connect has failed at once.
    """
    try:
        connecting = socket.socket(place.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise _refusal(error.errno or 0) from None
    try:
        number = connecting.connect_ex(place.name)
        if number == errno.EINPROGRESS:
            # On this machine the other end answers inside the first call, which says so only when asked again. That
            # saves a turn of the reactor, a timer and five system calls, and costs one elsewhere.
            number = connecting.connect_ex(place.name)
    except OSError as error:  # a name the family cannot hold, such as a UNIX path of 200 bytes
        number = error.errno or errno.EINVAL
    if number in _CONNECTED:
        return connecting, True
    if number in _CONNECTING:
        return connecting, False
    connecting.close()
    raise _refusal(number)


@implementer(IWriteDescriptor)
class _Attempt:
    """A connect that goes on. `done` fires, or fails with a Refusal; cancelling it closes the socket."""

    def __init__(self, reactor: Reactor, connecting: socket.socket) -> None:
        self._reactor = reactor
        self._socket = connecting
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        reactor.addWriter(self)

    def fail(self, error: Exception) -> None:
        """Give up with `error`."""
        self._close()
        self.done.errback(error)

    def doWrite(self) -> None:
        """The connect has ended, one way or the other."""
        if not self._has_settled():
            return
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self.fail(_refusal(number))
        else:
            self._reactor.removeWriter(self)
            self.done.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw the error before `doWrite` did."""
        if not self._has_settled():
            self._reactor.addWriter(self)
            return
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.fail(_refusal(number or errno.ECONNRESET))

    def doRead(self) -> None:
        """An old event, as in `_has_settled`: reading is never asked for."""

    def _has_settled(self) -> bool:
        """Whether the event is this socket's own, and not that of one closed in the same turn with its number."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(0))

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Constant: Twisted asks before every event."""
        return "dial"

    def _close(self) -> None:
        self._reactor.removeWriter(self)
        self._socket.close()


def _refusal(number: int) -> Refusal:
    text = os.strerror(number).lower()
    if number in sockets.EXHAUSTED:
        return Refusal(Reason.NO_DESCRIPTORS, f"no connection to the upstream can be made now: {text}")
    if number in (errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET):
        return Refusal(Reason.UPSTREAM_REFUSED, "the upstream refused the connection; is its service running?")
    if number == errno.ETIMEDOUT:
        return Refusal(Reason.UPSTREAM_CONNECT_TIMEOUT, "the upstream did not answer the connection attempt")
    return Refusal(Reason.UPSTREAM_UNREACHABLE, f"the upstream cannot be reached: {text}")

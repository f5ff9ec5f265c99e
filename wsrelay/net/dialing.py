"""From the name of an upstream group to a connected leg: servers in turn, names resolved now, each with a deadline.

Nothing has been sent when an attempt fails, so the next server may be tried for any request.
"""

import errno
import ipaddress
import os
import select
import socket
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.config.settings import ServerAddress, TcpAddress, UnixAddress, Upstream
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net import sockets
from wsrelay.net.deadlines import Deadline
from wsrelay.net.legs import Leg, Reactor

# A name with more addresses than this is a round-robin pool; the first eight are enough to find a living one, and
# bound the wait of a client to eight times `connect` a server.
_MOST_ADDRESSES = 8

# What a second `connect` answers; Linux says 0 where POSIX has EISCONN.
_CONNECTED = frozenset({0, errno.EISCONN})
_CONNECTING = frozenset({errno.EINPROGRESS, errno.EALREADY})


@attrs.frozen
class _Place:
    """Where a server may be reached."""

    family: int
    name: Any
    """As its family wants it for `connect`."""
    text: str
    """For logs."""


@attrs.frozen
class _Server:
    """One server of a group."""

    address: ServerAddress
    known: _Place | None
    """None for a host name, which is resolved at each connect."""


class Dialer:
    """Connects to upstream groups; one for a Site. Counts turns, so that each group's servers are taken in order."""

    def __init__(
        self,
        reactor: Reactor,
        upstreams: tuple[Upstream, ...],
        unacknowledged_seconds: float = sockets.UNACKNOWLEDGED_SECONDS,
    ) -> None:
        """Nothing is resolved or connected before `connect`. The last argument is for `sockets.tune`."""
        self._reactor = reactor
        self._unacknowledged_seconds = unacknowledged_seconds
        self._servers = {
            upstream.name: tuple(_Server(address, _known(address)) for address in upstream.servers)
            for upstream in upstreams
        }
        self._turns = dict.fromkeys(self._servers, 0)

    async def connect(self, group: str, seconds: float) -> tuple[Leg, ServerAddress]:
        """Connect to the next server of `group`, or to any after it that answers.

        Args:
            group: The name of a configured upstream group.
            seconds: The limit for one address, and for the question which addresses a name has.

        Returns:
            A paused leg, and the server that it leads to, as the configuration names it.

        Raises:
            Refusal: UPSTREAM_NAME, UPSTREAM_REFUSED, UPSTREAM_UNREACHABLE, UPSTREAM_CONNECT_TIMEOUT or
                NO_DESCRIPTORS, with what happened at each server in `__notes__` for the log.
        """
        servers = self._servers[group]
        turn = self._turns[group]
        self._turns[group] = (turn + 1) % len(servers)
        notes: list[str] = []
        refusal: Refusal | None = None
        for server in servers[turn:] + servers[:turn]:
            try:
                places = (server.known,) if server.known else await self._resolve(server.address, seconds)
            except Refusal as this:
                refusal = this
                notes.append(f"{server.address}: {this.detail}")
                continue
            for place in places:
                try:
                    return await self._connect_one(place, seconds), server.address
                except Refusal as this:
                    refusal = this
                    notes.append(f"{place.text}: {this.detail}")
        assert refusal is not None, "a group has at least one server, and a name at least one address"
        refusal.add_note("; ".join(notes))
        raise refusal

    async def _resolve(self, server: ServerAddress, seconds: float) -> list[_Place]:
        """The places of a host name, in the order of the resolver (RFC 6724)."""
        assert isinstance(server, TcpAddress), "a UNIX socket's place is known"
        resolution = _Resolution()
        # The system's resolver has no limit of its own that we could know.
        with Deadline(self._reactor, seconds, resolution.done.errback, partial(_name_late, seconds)):
            self._reactor.nameResolver.resolveHostName(resolution, server.host, server.port)
            found = await resolution.done
        if not found:
            raise Refusal(Reason.UPSTREAM_NAME, "the upstream's name cannot be resolved")
        return found[:_MOST_ADDRESSES]

    async def _connect_one(self, place: _Place, seconds: float) -> Leg:
        connecting, connected = _begin(place)
        if not connected:
            attempt = _Attempt(self._reactor, connecting)
            with Deadline(self._reactor, seconds, attempt.fail, partial(_connect_late, seconds)):
                await attempt.done
        sockets.tune(connecting, self._unacknowledged_seconds)
        return Leg(connecting, self._reactor, place.text)


def _begin(place: _Place) -> tuple[socket.socket, bool]:
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


@implementer(IResolutionReceiver)
class _Resolution:
    """Collects the addresses of one name."""

    def __init__(self) -> None:
        self.done: Deferred[list[_Place]] = Deferred()
        self._found: list[_Place] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing to do: a name is resolved once for an attempt, and the answer awaited."""

    def addressResolved(self, address: IAddress) -> None:
        """One more address."""
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET  # type: ignore[attr-defined]  # IPv4/IPv6Address
        self._found.append(_place(family, (address.host, address.port)))  # type: ignore[attr-defined]  # as above

    def resolutionComplete(self) -> None:
        """All addresses are known; none is a name that does not exist. Nobody waits any more if it took too long."""
        if not self.done.called:
            self.done.callback(self._found)


def _known(server: ServerAddress) -> _Place | None:
    """The place of a server that is configured by its address."""
    if isinstance(server, UnixAddress):
        return _Place(socket.AF_UNIX, server.path, str(server))
    try:
        version = ipaddress.ip_address(server.host).version
    except ValueError:
        return None
    return _place(socket.AF_INET6 if version == 6 else socket.AF_INET, (server.host, server.port))


def _place(family: int, name: tuple[str, int]) -> _Place:
    return _Place(family, name, sockets.text_of(family, name))


def _name_late(seconds: float) -> Refusal:
    return Refusal(Reason.UPSTREAM_NAME, f"the upstream's name was not resolved within {seconds:g} seconds")


def _connect_late(seconds: float) -> Refusal:
    return Refusal(Reason.UPSTREAM_CONNECT_TIMEOUT, f"no connection to the upstream within {seconds:g} seconds")


def _refusal(number: int) -> Refusal:
    text = os.strerror(number).lower()
    if number in sockets.EXHAUSTED:
        return Refusal(Reason.NO_DESCRIPTORS, f"no connection to the upstream can be made now: {text}")
    if number in (errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET):
        return Refusal(Reason.UPSTREAM_REFUSED, "the upstream refused the connection; is its service running?")
    if number == errno.ETIMEDOUT:
        return Refusal(Reason.UPSTREAM_CONNECT_TIMEOUT, "the upstream did not answer the connection attempt")
    return Refusal(Reason.UPSTREAM_UNREACHABLE, f"the upstream cannot be reached: {text}")

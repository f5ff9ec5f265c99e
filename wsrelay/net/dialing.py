"""From the name of an upstream group to a connection: servers in turn, names resolved now, TLS, each with a deadline.

Nothing of a request has been sent when an attempt fails, so the next server may be tried for any.
"""

import ipaddress
import socket
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from wsrelay.config.settings import ServerAddress, TcpAddress, UnixAddress, Upstream
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net import connecting, sockets
from wsrelay.net.connecting import Place
from wsrelay.net.deadlines import Deadline
from wsrelay.net.legs import Leg, Reactor
from wsrelay.net.stream import Stream
from wsrelay.net.upstream_tls import SecureUpstream

# A name with more addresses than this is a round-robin pool; the first eight are enough to find a living one, and
# bound the wait of a client to eight times `connect` a server.
_MOST_ADDRESSES = 8


@attrs.frozen
class _Server:
    """One server of a group."""

    address: ServerAddress
    known: Place | None
    """None for a host name, which is resolved at each connect."""


@attrs.frozen
class _Group:
    """One upstream group."""

    servers: tuple[_Server, ...]
    send_proxy: int
    """Version of the PROXY line that every connection begins with; 0 = none."""


class Dialer:
    """Connects to upstream groups; one for a Site. Counts turns, so that each group's servers are taken in order."""

    def __init__(
        self,
        reactor: Reactor,
        upstreams: tuple[Upstream, ...],
        unacknowledged_seconds: float = sockets.UNACKNOWLEDGED_SECONDS,
        secure: Mapping[str, SecureUpstream] = MappingProxyType({}),
    ) -> None:
        """Nothing is resolved or connected before `connect`.

        Args:
            reactor: Waits and resolves.
            upstreams: The groups.
            unacknowledged_seconds: For `sockets.tune`.
            secure: How to speak TLS to the groups that want it, by their names.
        """
        self._reactor = reactor
        self._unacknowledged_seconds = unacknowledged_seconds
        self._groups = {
            upstream.name: _Group(
                tuple(_Server(address, _known(address)) for address in upstream.servers), upstream.send_proxy
            )
            for upstream in upstreams
        }
        self._secure = dict(secure)
        self._turns = dict.fromkeys(self._groups, 0)

    def renew(self, group: str, secure: SecureUpstream) -> None:
        """Secure the next connections to a group in another way: its certificates have changed."""
        self._secure[group] = secure

    def proxy_version(self, group: str) -> int:
        """The version of the PROXY line that connections to a group begin with; 0 = none."""
        return self._groups[group].send_proxy

    async def connect(self, group: str, seconds: float, first: bytes = b"") -> tuple[Stream, ServerAddress]:
        """Connect to the next server of `group`, or to any after it that answers.

        Args:
            group: The name of a configured upstream group.
            seconds: The limit for one address, TLS included, and for the question which addresses a name has.
            first: What goes before everything else, TLS included: a PROXY line.

        Returns:
            A connection, and the server that it leads to, as the configuration names it.

        Raises:
            Refusal: UPSTREAM_NAME, UPSTREAM_REFUSED, UPSTREAM_UNREACHABLE, UPSTREAM_CONNECT_TIMEOUT, UPSTREAM_TLS,
                UPSTREAM_CERTIFICATE or NO_DESCRIPTORS, with what happened at each server in `__notes__` for the log.
        """
        servers = self._groups[group].servers
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
                    return await self._connect_one(group, server.address, place, seconds, first), server.address
                except Refusal as this:
                    refusal = this
                    notes.append(f"{place.text}: {'; '.join(getattr(this, '__notes__', ())) or this.detail}")
        assert refusal is not None, "a group has at least one server, and a name at least one address"
        refusal.__notes__ = ["; ".join(notes)]
        raise refusal

    def remember(self, group: str, server: ServerAddress, stream: Stream) -> None:
        """The upstream has spoken on a connection: the next one may go on from its TLS session."""
        if (secure := self._secure.get(group)) is not None:
            secure.remember(stream, server)

    async def _resolve(self, server: ServerAddress, seconds: float) -> list[Place]:
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

    async def _connect_one(
        self, group: str, server: ServerAddress, place: Place, seconds: float, first: bytes
    ) -> Stream:
        secure = self._secure.get(group)
        by = self._reactor.seconds() + seconds if secure is not None else 0.0
        connected = await connecting.connect(place, self._reactor, seconds)
        sockets.tune(connected, self._unacknowledged_seconds)
        stream = Stream(Leg(connected, self._reactor, place.text), Side.UPSTREAM)
        if first:
            stream.write(first)
        if secure is not None:
            await secure.secure(stream, server, self._reactor, by, seconds)
        return stream


@implementer(IResolutionReceiver)
class _Resolution:
    """Collects the addresses of one name."""

    def __init__(self) -> None:
        self.done: Deferred[list[Place]] = Deferred()
        self._found: list[Place] = []

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


def _known(server: ServerAddress) -> Place | None:
    """The place of a server that is configured by its address."""
    if isinstance(server, UnixAddress):
        return Place(socket.AF_UNIX, server.path, str(server))
    try:
        version = ipaddress.ip_address(server.host).version
    except ValueError:
        return None
    return _place(socket.AF_INET6 if version == 6 else socket.AF_INET, (server.host, server.port))


def _place(family: int, name: tuple[str, int]) -> Place:
    return Place(family, name, sockets.text_of(family, name))


def _name_late(seconds: float) -> Refusal:
    return Refusal(Reason.UPSTREAM_NAME, f"the upstream's name was not resolved within {seconds:g} seconds")

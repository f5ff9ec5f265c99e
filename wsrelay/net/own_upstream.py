"""The one upstream connection that belongs to a client connection.

No other client ever uses it, so that responses cannot be mixed between clients; and it is used again only while it
is silent after a cleanly framed response (DESIGN 7).
"""

from collections.abc import Callable

from wsrelay.config.settings import ServerAddress
from wsrelay.core import proxyline
from wsrelay.core.proxyline import ProxyLine
from wsrelay.net.dialing import Dialer
from wsrelay.net.stream import Stream


class OwnUpstream:
    """At most one upstream connection, kept between the exchanges of one client.

    Attributes:
        stream: The connection, while there is one.
        server: The server it leads to, as the configuration names it; None before the first.
    """

    __slots__ = ("_dialer", "_group", "_idle", "_introduce", "_introduced", "server", "stream")

    def __init__(self, dialer: Dialer, introduce: Callable[[], ProxyLine]) -> None:
        """Nothing is connected yet.

        Args:
            dialer: Connects.
            introduce: Says who the client is, for groups that want a PROXY line. Behind a proxy that speaks for many
                clients it says so of the latest request.
        """
        self._dialer = dialer
        self._introduce = introduce
        self._introduced = b""
        self._group = ""
        self._idle = False
        self.server: ServerAddress | None = None
        self.stream: Stream | None = None

    def kept(self, group: str) -> Stream | None:
        """The connection of an earlier exchange, if it leads to `group`, for the same client, and may be used again."""
        stream = self.stream
        if stream is None or self._group != group or not stream.reusable:
            return None
        if self._introduced and self._introduced != self._introduction(group):
            return None
        stream.when_gone = stream.when_ended = None
        self._idle = False
        return stream

    def complete(self, *, reusable: bool) -> None:
        """An exchange is over and nothing of it is owed: keep the connection for another, or close it.

        One that is kept is closed as soon as the upstream ends it.
        """
        self._idle = True
        self.remember()
        if reusable and self.stream is not None and self.stream.reusable:
            self.stream.when_gone = self.stream.when_ended = lambda _: self.drop()
            self.stream.watch()
        else:
            self.drop()

    async def connect(self, group: str, seconds: float) -> Stream:
        """A new connection to `group`; an earlier one is closed.

        Raises:
            Refusal: As `Dialer.connect`.
        """
        self.drop()
        self._introduced = self._introduction(group)
        self.stream, self.server = await self._dialer.connect(group, seconds, self._introduced)
        self._group = group
        return self.stream

    def _introduction(self, group: str) -> bytes:
        version = self._dialer.proxy_version(group)
        return proxyline.write(version, self._introduce()) if version else b""

    def drop(self) -> None:
        """Close the connection: between exchanges with FIN, inside one with RST."""
        if self.stream is not None:
            if self._idle:
                # Under TLS an end without close_notify is a fault, and spoils the session for the next connection.
                self.stream.leg.finish()
                self.stream.leg.close()
            else:
                self.stream.leg.abort()
            self.give_up()

    def remember(self) -> None:
        """Keep the TLS session for the next connection: the upstream has answered on this one."""
        if self.stream is not None and self.server is not None:
            self._dialer.remember(self._group, self.server, self.stream)

    def give_up(self) -> None:
        """Forget the connection: its leg has been handed to a pump."""
        self.stream = None
        self._idle = False

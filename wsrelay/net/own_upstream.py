"""The one upstream connection that belongs to a client connection.

No other client ever uses it, so that responses cannot be mixed between clients; and it is used again only while it
is silent after a cleanly framed response (DESIGN 7).
"""

from wsrelay.config.settings import ServerAddress
from wsrelay.core.outcomes import Side
from wsrelay.net.dialing import Dialer
from wsrelay.net.stream import Stream


class OwnUpstream:
    """At most one upstream connection, kept between the exchanges of one client.

    Attributes:
        stream: The connection, while there is one.
        server: The server it leads to, as the configuration names it; None before the first.
    """

    __slots__ = ("_dialer", "_group", "_idle", "server", "stream")

    def __init__(self, dialer: Dialer) -> None:
        """Nothing is connected yet."""
        self._dialer = dialer
        self._group = ""
        self._idle = False
        self.server: ServerAddress | None = None
        self.stream: Stream | None = None

    def kept(self, group: str) -> Stream | None:
        """The connection of an earlier exchange, if it leads to `group` and may be used again."""
        stream = self.stream
        if stream is None or self._group != group or not stream.reusable:
            return None
        stream.when_gone = stream.when_ended = None
        self._idle = False
        return stream

    def complete(self, *, reusable: bool) -> None:
        """An exchange is over and nothing of it is owed: keep the connection for another, or close it.

        One that is kept is closed as soon as the upstream ends it.
        """
        self._idle = True
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
        leg, self.server = await self._dialer.connect(group, seconds)
        self._group = group
        self.stream = Stream(leg, Side.UPSTREAM)
        return self.stream

    def drop(self) -> None:
        """Close the connection: between exchanges with FIN, inside one with RST."""
        if self.stream is not None:
            if self._idle:
                self.stream.leg.close()
            else:
                self.stream.leg.abort()
            self.give_up()

    def give_up(self) -> None:
        """Forget the connection: its leg has been handed to a pump."""
        self.stream = None
        self._idle = False

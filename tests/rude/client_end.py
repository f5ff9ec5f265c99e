"""A client of the state machine: what it asks, and a judge of everything that it gets.

h11 reads the answers. Each has to be whole, to belong to the next request, and to be the upstream's own to it, or one
of the relay's that this request could deserve; or the connection is cut in a way that nobody takes for an end.
"""

import socket
from typing import TYPE_CHECKING

import h11

from tests.rude.asked import Asked
from tests.rude.board import Board
from tests.rude.far_end import FarEnd
from tests.rude.said import Said

if TYPE_CHECKING:
    from tests.rude.server_end import ServerEnd

# Answers of the relay's own to a request that is right and complete, by its route.
BY_ROUTE = {
    "gone": {"upstream-refused"},
    "hole": {"upstream-connect-timeout"},
    "app": {"upstream-closed", "upstream-timeout"},
    "own": set(),
    "": set(),
}
# Heads of that size do occur.
MOST_HEAD = 100_000
MOST_INTERIM = 16


class ClientEnd(FarEnd):
    """One client of layer 7, or of layer 4 where `raw`.

    Attributes:
        asked: All that it has asked, in order.
        answered: How many of them have their whole answer.
        last: Whether it was told that the answer it got, or gets, is the last one.
        late: Whether time passed while it did not read: then its request may have crossed with the relay's end.
        server: The other end of its tunnel, once there is one.
    """

    def __init__(self, connected: socket.socket, number: int, *, raw: bool) -> None:
        super().__init__(connected)
        self.address: str = connected.getsockname()[0]
        self.number = number
        self.raw = raw
        self.asked: list[Asked] = []
        self.answered = 0
        self.last = False
        self.late = False
        self.server: ServerEnd | None = None
        self._at = 0
        self._held = b""
        self._reading: h11.Connection | None = None
        self._answer: Said | None = None
        self._content = 0
        self._interims: list[Said] = []
        if raw:
            self.unsent = b"%d." % number

    @property
    def awaits(self) -> bool:
        """Whether it has asked something that is not answered yet."""
        return self.answered < len(self.asked)

    @property
    def current(self) -> Asked | None:
        """The first request that is not answered, if it has begun."""
        if self.answered < len(self.asked) and self.asked[self.answered].begin < self.sent:
            return self.asked[self.answered]
        return None

    def ask(self, asked: Asked) -> None:
        asked.begin = self.sent + len(self.unsent)
        self.asked.append(asked)
        self.unsent += asked.data

    def time_passes(self) -> None:
        """Note what the relay may hold against it from now on."""
        if self.gone:
            return
        self.late = self.late or not self.reads
        arrived = self.sent - self.in_flight
        for asked in self.asked[self.answered :]:
            asked.late = asked.late or arrived < asked.end
            asked.headless = asked.headless or self.sent < asked.begin + asked.head_size

    def look(self, board: Board) -> None:
        """Read what is there and judge it."""
        if self.gone or self.end or not self.reads:
            return
        data = self.take()
        if self.raw and self.server is None:
            data = self._find_server(data, board)
        if self.raw or self.server is not None:
            self._judge_tunnel(data)
        else:
            self._judge(data, board)
        if self.end == "end":
            self._judge_end(board)

    # Layer 4, and what comes behind a 101.

    def _find_server(self, data: bytes, board: Board) -> bytes:
        """The first words of an upstream say which one it is."""
        self._held += data
        name, dot, _ = self._held.partition(b".")
        if not dot:
            return b""
        self.server = next(one for one in board.servers if one.raw and one.number == int(name))
        return self._held

    def _judge_tunnel(self, data: bytes) -> None:
        if data:
            assert self.server is not None
            sent = self.server.stream[self._at : self._at + len(data)]
            assert data == sent, "the client gets other bytes than the upstream has sent"
            self._at += len(data)

    # Layer 7.

    def _judge(self, data: bytes, board: Board) -> None:
        while data:
            if self._reading is None:
                self._reading = self._begin()
            self._reading.receive_data(data)
            data = b""
            while self._reading and (event := self._reading.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                trailing = self._reading.trailing_data[0]
                self._take(event, board)
                if self.server is not None:
                    self._judge_tunnel(trailing)
                    return
                if self._reading is None:
                    data = trailing
        if self.end == "end" and self._reading is not None:
            self._reading.receive_data(b"")
            # For a body without a length this is its end; h11 raises for every other.
            while self._reading is not None:
                self._take(self._reading.next_event(), board)

    def _begin(self) -> h11.Connection:
        asked = self.current
        assert asked is not None, "an answer without a request"
        assert not self.last, "bytes behind the last answer"
        reading = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        fields = [(b"Host", b"x")]
        if asked.upgrade:
            fields += [(b"Upgrade", b"websocket"), (b"Connection", b"upgrade")]
        method = b"GET" if asked.headless else asked.method
        reading.send(h11.Request(method=method, target=b"/", headers=fields))
        reading.send(h11.EndOfMessage())
        self._interims = []
        return reading

    def _take(self, event: object, board: Board) -> None:
        asked = self.current
        assert asked is not None
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            self._take_switch(event, asked, board)
        elif isinstance(event, h11.InformationalResponse):
            self._take_interim(event, asked, board)
        elif isinstance(event, h11.Response):
            self._take_head(event, asked, board)
        elif isinstance(event, h11.Data):
            self._take_content(bytes(event.data), board)
        elif isinstance(event, h11.EndOfMessage):
            self._take_end(board)
        else:
            raise AssertionError(f"unexpected: {event!r}")

    def _take_switch(self, event: h11.InformationalResponse, asked: Asked, board: Board) -> None:
        assert asked.upgrade, "a 101 that nobody has asked for"
        assert dict(event.headers)[b"sec-websocket-accept"] == b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="
        said, server = next(one for one in board.answers_to(asked) if one[0].switches)
        assert said.is_sent(server.sent), "a 101 that the upstream has not said"
        self.server = server
        self._at = said.begin + len(said.data)
        self.answered += 1

    def _take_interim(self, event: h11.InformationalResponse, asked: Asked, board: Board) -> None:
        assert asked.minor == 1, "an interim answer for HTTP/1.0"
        said, server = board.said[dict(event.headers)[b"x-tag"]]
        assert said.asked is asked, "an interim answer to another request"
        assert said.status == event.status_code
        assert said.is_sent(server.sent)
        assert not self._interims or self._interims[-1].begin < said.begin, "interim answers twice or out of order"
        self._interims.append(said)
        assert len(self._interims) <= MOST_INTERIM

    def _take_head(self, event: h11.Response, asked: Asked, board: Board) -> None:
        fields = dict(event.headers)
        self.last = b"close" in fields.get(b"connection", b"")
        self._content = 0
        self._answer = None
        reason = fields.get(b"x-wsrelay-reason", b"").decode()
        if reason:
            assert reason in self._deserved(asked, board), f"{reason} for {asked.data[:80]!r}"
            assert self.last, "a refusal that is not the last answer"
        elif asked.route == "own":
            assert event.status_code == 200
        else:
            assert not asked.deserves or not asked.whole, f"an answer to {asked.data[:80]!r}"
            said, _ = board.said[fields[b"x-tag"]]
            assert said.asked is asked, "the answer to another request"
            assert not said.reasons, "an answer that is none"
            assert said.status == event.status_code
            self._answer = said
        assert self.last or not asked.upgrade, "a declined upgrade that keeps the connection"
        assert self.last or (asked.whole and self.sent >= asked.end), "kept behind a body that is not complete"

    def _deserved(self, asked: Asked, board: Board) -> set[str]:
        """The reasons for which this request may be refused."""
        deserved = set(asked.deserves)
        if not asked.deserves or not asked.whole:
            deserved |= BY_ROUTE[asked.route]
        answers = [said for said, _ in board.answers_to(asked)]
        for said in answers:
            deserved |= said.reasons | said.perhaps
        if asked.late:
            deserved |= {"head-timeout", "body-timeout"}
        if sum(said.interim for said in answers) > MOST_INTERIM:
            deserved.add("upstream-bad-head")
        return deserved

    def _take_content(self, content: bytes, board: Board) -> None:
        said = self._answer
        if said is not None:
            _, server = board.said[said.tag]
            at, self._content = self._content, self._content + len(content)
            assert content == said.content[at : self._content], "other content than the upstream has sent"
            assert self._content <= said.content_sent(server.sent), "content that the upstream has not sent"

    def _take_end(self, board: Board) -> None:
        said = self._answer
        if said is not None:
            _, server = board.said[said.tag]
            if said.until_close:
                assert server.finished, "an answer until the end looks complete without that end"
                whole = said.content_sent(server.sent)
            else:
                assert said.is_sent(server.sent), "an answer that is not complete looks complete"
                whole = len(said.content)
            assert self._content == whole, "an answer that was cut looks complete"
        self._reading = self._answer = None
        self.answered += 1

    def _judge_end(self, board: Board) -> None:
        """An orderly end: nothing was owed any more."""
        if self.server is not None:
            assert board.hurried or self.server.finished, "an end that nobody has sent"
            assert board.hurried or self._at == self.server.sent, "an end before the last bytes"
        if self.raw or self.server is not None:
            return
        assert self._reading is None, "an orderly end inside an answer"
        asked = self.current
        if not (asked is None or asked.late or self.last or self.late or board.draining or self.finished):
            assert self.sent < asked.end, "an orderly end instead of an answer"

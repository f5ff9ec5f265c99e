"""An upstream of the state machine: what it says, and a judge of everything that reaches it.

Each request has to be the right rewrite of what one client has sent, of one client only and in its order; nothing
may follow an upgrade before its 101; and nothing that was cut may look complete.
"""

import socket

import h11

from tests.rude.asked import Asked
from tests.rude.board import Board
from tests.rude.client_end import ClientEnd
from tests.rude.far_end import FarEnd
from tests.rude.said import Said


class ServerEnd(FarEnd):
    """One connection to the upstream, of layer 7, or of layer 4 where `raw`.

    Attributes:
        client: Whose it is, once that is known.
        asked: The requests that have arrived, in order.
        said: All that it was told to say, in order.
    """

    def __init__(self, connected: socket.socket, number: int, *, raw: bool) -> None:
        super().__init__(connected)
        self.number = number
        self.raw = raw
        self.client: ClientEnd | None = None
        self.asked: list[Asked] = []
        self.said: list[Said] = []
        self._rest = b""
        self._reading: h11.Connection | None = None
        self._content = 0
        # Where in the client's stream the tunnel's next byte is; -1 before there is one.
        self._at = -1
        if raw:
            self.unsent = b"%d." % number

    @property
    def owed(self) -> Asked | None:
        """The request that waits for its final answer."""
        finals = [said for said in self.said if said.asked is not None and not said.interim]
        return self.asked[len(finals)] if len(finals) < len(self.asked) else None

    @property
    def switched(self) -> bool:
        """Whether it has said the 101 that opens a tunnel, to its last byte."""
        return bool(self.said) and self.said[-1].switches and self.said[-1].is_sent(self.sent)

    def say(self, said: Said) -> None:
        said.begin = self.sent + len(self.unsent)
        self.said.append(said)
        self.unsent += said.data

    def look(self, board: Board) -> None:
        """Read what is there and judge it."""
        if self.gone or self.end or not self.reads:
            return
        self._rest += self.take()
        if self.raw and self.client is None:
            self._find_client(board)
        if self.switched and self._at < 0:
            self._at = self.asked[-1].end
        while self._rest and self._judge(board):
            pass
        if self.end == "end":
            self._judge_end(board)

    def _find_client(self, board: Board) -> None:
        """The first words of a client say which one it is."""
        name, dot, _ = self._rest.partition(b".")
        if dot:
            self.client = board.clients[int(name)]
            self._at = 0

    def _judge(self, board: Board) -> bool:
        """Judge the next part of what has come; whether there may be another."""
        if self._at >= 0:
            self._judge_tunnel()
        elif self.raw:
            return False
        elif self._reading is not None:
            self._judge_body()
        else:
            assert not (self.asked and self.asked[-1].upgrade), "bytes of the client before a right 101"
            return self._judge_head(board)
        return True

    def _judge_tunnel(self) -> None:
        assert self.client is not None
        data, self._rest = self._rest, b""
        sent = self.client.stream[self._at : self._at + len(data)]
        assert data == sent, "the upstream gets other bytes than the client has sent"
        self._at += len(data)

    def _judge_head(self, board: Board) -> bool:
        line, end, _ = self._rest.partition(b"\r\n")
        if not end:
            return False
        client, asked = board.asked_in(line)
        if len(self._rest) < len(asked.goes_up):
            assert asked.goes_up.startswith(self._rest)
            return False
        head, self._rest = self._rest[: len(asked.goes_up)], self._rest[len(asked.goes_up) :]
        assert head == asked.goes_up
        self._check_turn(client, asked, board)
        self.client = client
        self.asked.append(asked)
        if not asked.upgrade:
            self._reading = h11.Connection(h11.SERVER)
            self._reading.receive_data(head)
            assert isinstance(self._reading.next_event(), h11.Request)
            self._content = 0
            self._judge_body()
        return True

    def _check_turn(self, client: ClientEnd, asked: Asked, board: Board) -> None:
        """May this request come now, and on this connection?"""
        assert asked.head_size <= client.sent - asked.begin, "a head that the client has not sent"
        assert not asked.deserves or not asked.whole, "a request that should have been refused"
        assert self.client in (None, client), "two clients on one connection"
        assert not self.asked or not asked.upgrade, "an upgrade on a used connection"
        finals = [said for said in self.said if not said.interim]
        assert len(finals) == len(self.asked), "a request before the answer to the one before it"
        assert not any(said.spoils for said in finals), "a request on a connection that is of no use any more"
        assert all(said.is_sent(self.sent) for said in finals)
        if self.finished:
            return  # It was hung up on, and reads late what another server may have had since.
        place = client.asked.index(asked)
        for other in board.servers:
            for before in other.asked:
                if other.client is client and before is not asked:
                    assert client.asked.index(before) < place, "requests out of order"
            if asked in other.asked:
                assert asked.repeatable, "a request twice"
                assert other.asked.index(asked) > 0, "repeated after a new connection"
                assert not [one for one in other.said if one.asked is asked and one.begin < other.sent]
                assert other.finished or other.gone

    def _judge_body(self) -> None:
        assert self._reading is not None
        assert self.client is not None
        asked = self.asked[-1]
        if self._rest:  # to h11, no bytes are an end
            self._reading.receive_data(self._rest)
            self._rest = b""
        while (event := self._reading.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Data):
                at, self._content = self._content, self._content + len(event.data)
                assert bytes(event.data) == asked.content[at : self._content], "other content than the client's"
                assert self._content <= asked.content_sent(self.client.sent)
                continue
            assert isinstance(event, h11.EndOfMessage)
            assert asked.whole, "a body that the client has broken looks complete"
            assert self.client.sent >= asked.end, "a body that the client has not sent to its end looks complete"
            assert self._content == len(asked.content)
            assert tuple(event.headers) == asked.trailers
            self._rest = self._reading.trailing_data[0]
            self._reading = None
            break

    def _judge_end(self, board: Board) -> None:
        """An orderly end: nothing that was cut may look complete, and nothing was owed by us."""
        if self._at >= 0:
            assert self.client is not None
            assert board.hurried or self.client.finished, "an end that nobody has sent"
            assert board.hurried or not self.client.cut, "an end that was cut looks like one"
            assert board.hurried or self._at == self.client.sent, "an end before the last bytes"
        elif not self.raw:
            assert self._reading is None, "a request that was cut ends in order"
            assert not self._rest
            finals = [said for said in self.said if said.asked is not None and not said.interim]
            complete = [said for said in finals if said.is_sent(self.sent) or (said.until_close and self.finished)]
            assert len(complete) == len(self.asked), "an orderly end instead of a reset, with an answer owed"

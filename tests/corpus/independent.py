"""What an independent parser (h11) makes of the bytes on either side of the relay. Uses nothing of wsrelay.

h11 forgives what an edge must not send: a lone LF, a folded line, both framings at once. So each head is looked at a
second time, strictly, and what is wrong with it is a fault as well.
"""

import re
from collections.abc import Iterator, Sequence

import attrs
import h11

# A head larger than this is none that the corpus lets through.
_MOST = 1 << 20

# RFC 9112 3, 4 and 5 without any of their allowances. Servers leave out an empty
# reason phrase with its space.
_FIELDS = rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*(?:[\t -~\x80-\xff]*[!-~\x80-\xff])?[ \t]*\r\n)*\r\n"
_REQUEST = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r\n" + _FIELDS)
_ANSWER = re.compile(rb"HTTP/1\.1 [1-9][0-9]{2}(?: [\t -~\x80-\xff]*)?\r\n" + _FIELDS)

Fields = tuple[tuple[bytes, bytes], ...]


@attrs.frozen
class Arrived:
    """A request that has reached an upstream; `complete` if its body has too."""

    group: str
    method: bytes
    target: bytes
    fields: Fields
    body: bytes = b""
    trailers: Fields = ()
    complete: bool = False
    version: bytes = b"1.1"

    def values(self, name: bytes) -> tuple[bytes, ...]:
        """The values of a field, by its name in lower case."""
        return tuple(value for found, value in self.fields if found == name)


@attrs.frozen
class Answer:
    """An answer that the client got; `complete` if its body came to the end that its framing says."""

    status: int
    fields: Fields
    body: bytes = b""
    complete: bool = False

    def value(self, name: bytes) -> bytes | None:
        """The first value of a field, by its name in lower case."""
        return next((value for found, value in self.fields if found == name), None)


def fields_of(head: bytes) -> Fields:
    """The fields as they stand in a head; h11 shows two equal lengths as one, and a coding in lower case."""
    split = [line.partition(b":") for line in head.split(b"\r\n")[1:-2]]
    return tuple((name.lower(), value.strip(b" \t")) for name, _, value in split)


def strict_faults(head: bytes, whole: re.Pattern[bytes]) -> Iterator[str]:
    """What h11 forgives in a head and some other parser does not, or reads in another way."""
    if not whole.fullmatch(head):
        yield f"a head is not written strictly: {head[:200]!r}"
        return
    fields = fields_of(head)
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if lengths and codings:
        yield f"both Content-Length and Transfer-Encoding: {head[:200]!r}"
    if len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]{1,18}", value) for value in lengths):
        yield f"Content-Length is {lengths}"
    if codings not in ([], [b"chunked"]):
        yield f"Transfer-Encoding is {codings}"
    hosts = [value for name, value in fields if name == b"host"]
    if whole is _REQUEST and len(hosts) != 1:
        yield f"there are {len(hosts)} Host fields"


class _Messages:
    """One connection's bytes in one direction, message by message."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.raw = b""
        """What came after the last message, once the connection speaks no HTTP any more."""
        self.switched = False
        self._total = 0
        self._began = 0
        self._bytes = bytearray()
        self._connection: h11.Connection | None = None

    def feed(self, data: bytes) -> None:
        """Take more bytes."""
        self._bytes += data
        if self.switched:
            self.raw += data
        elif data and not self.faults:
            self._parse(data)

    def end(self) -> None:
        """The other side has sent its end."""
        if self._connection is not None and not self.switched and not self.faults:
            self._parse(b"")

    def _begin(self) -> h11.Connection:
        raise NotImplementedError

    def _event(self, event: object) -> bool:
        """Take note of an event; True where the message has ended."""
        raise NotImplementedError

    def _parse(self, data: bytes) -> None:
        end = not data
        while data or end:
            if self._connection is None:
                self._connection = self._begin()
            try:
                self._connection.receive_data(data)
                rest = self._events(self._connection)
            except h11.ProtocolError as error:
                self._failed(error, end=end)
                return
            if rest is None:
                return
            # One connection object a message: its own state machine stays out of the way.
            self._connection, data, end = None, rest, False
            self._began = len(self._bytes) - len(rest)
            if self.switched:
                self.raw = rest
                return

    def _events(self, connection: h11.Connection) -> bytes | None:
        """Read what can be read; the bytes behind the message if it has ended."""
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.ConnectionClosed):
                return b""
            if self._event(event):
                return bytes(connection.trailing_data[0])
        return None

    def _failed(self, error: h11.ProtocolError, *, end: bool) -> None:
        self.faults.append(f"h11: {error}; it read {bytes(self._bytes[self._began :][:200])!r}")

    def _head(self, connection: h11.Connection) -> bytes:
        """The bytes of the head that has just been read."""
        return bytes(self._bytes[self._began : len(self._bytes) - len(connection.trailing_data[0])])


class Requests(_Messages):
    """The requests on one connection to an upstream. After a 101 it is told `switch`.

    Attributes:
        arrived: Those that came, the last one perhaps incomplete.
        starts: At which byte of the connection each of them begins.
    """

    def __init__(self, group: str) -> None:
        super().__init__()
        self.arrived: list[Arrived] = []
        self.starts: list[int] = []
        self._group = group

    def switch(self, rest: bytes) -> None:
        """From here on it is no HTTP."""
        self.switched, self.raw = True, rest

    def _begin(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)

    def _failed(self, error: h11.ProtocolError, *, end: bool) -> None:
        # A request that its client never finished is cut short by a RST; that is no fault, and not a complete request.
        if not end:
            super()._failed(error, end=end)

    def _event(self, event: object) -> bool:
        assert self._connection is not None
        if isinstance(event, h11.Request):
            head = self._head(self._connection)
            self.faults += strict_faults(head, _REQUEST)
            self.starts.append(self._began)
            version = bytes(event.http_version)
            self.arrived.append(Arrived(self._group, event.method, event.target, fields_of(head), version=version))
        elif isinstance(event, h11.Data):
            self._evolve(body=self.arrived[-1].body + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._evolve(complete=True, trailers=tuple(event.headers))
            return True
        return False

    def _evolve(self, **changes: object) -> None:
        self.arrived[-1] = attrs.evolve(self.arrived[-1], **changes)


class Answers(_Messages):
    """The answers that one client gets.

    Attributes:
        finals: Those that end a request, a 101 included; the last one perhaps incomplete.
        interims: The statuses of the others.
    """

    def __init__(self, requests: Sequence[tuple[bytes, int]], switch: int | None) -> None:
        """Of each request its method and minor version; `switch` is the place of the one that asks for an upgrade."""
        super().__init__()
        self.finals: list[Answer] = []
        self.interims: list[int] = []
        self._requests = requests
        self._switch = switch

    def completed(self, status: int) -> bool:
        """Whether an answer with this status has completely come."""
        return status in self.interims or any(each.complete and each.status == status for each in self.finals)

    @property
    def complete(self) -> int:
        """How many final answers have completely come."""
        return sum(each.complete for each in self.finals)

    def _request(self) -> tuple[bytes, int]:
        place = len(self.finals)
        return self._requests[place] if place < len(self._requests) else (b"GET", 1)

    def _begin(self) -> h11.Connection:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST)
        fields = [(b"Host", b"a")]
        if len(self.finals) == self._switch:
            fields += [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
        connection.send(h11.Request(method=self._request()[0], target=b"/", headers=fields))
        connection.send(h11.EndOfMessage())
        return connection

    def _event(self, event: object) -> bool:
        assert self._connection is not None
        if isinstance(event, h11.InformationalResponse | h11.Response):
            self._answer(event, self._connection)
            return event.status_code == 101
        if isinstance(event, h11.Data):
            self.finals[-1] = attrs.evolve(self.finals[-1], body=self.finals[-1].body + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self.finals[-1] = attrs.evolve(self.finals[-1], complete=True)
            return True
        return False

    def _answer(self, event: h11.InformationalResponse | h11.Response, connection: h11.Connection) -> None:
        head = self._head(connection)
        fields = fields_of(head)
        self.faults += strict_faults(head, _ANSWER)
        self._began = len(self._bytes) - len(connection.trailing_data[0])
        old = not self._request()[1]
        if old and (isinstance(event, h11.InformationalResponse) or any(n == b"transfer-encoding" for n, _ in fields)):
            self.faults.append(f"a client of HTTP/1.0 got {event.status_code} with {fields}")
        if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
            self.interims.append(event.status_code)
            return
        self.finals.append(Answer(event.status_code, fields, complete=event.status_code == 101))
        self.switched = event.status_code == 101

    def _failed(self, error: h11.ProtocolError, *, end: bool) -> None:
        # An answer that is cut short is seen as one that is not complete; the case says whether that is right.
        if not end or not self.finals or self.finals[-1].complete:
            super()._failed(error, end=end)

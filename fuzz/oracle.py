"""What h11, a parser that is not ours, reads in the same bytes. A `h11.RemoteProtocolError` from here is a find.

Where h11 differs by design: it does not ignore the empty line before a request (RFC 9112 2.2), it keeps an
absolute-form target whole, it writes the value of Transfer-Encoding in lower case, and it judges Content-Length and
Transfer-Encoding in a trailer section, which we read and drop. That it accepts more than we do (lone LF, obs-fold,
control characters, repeated equal lengths, a blank after a chunk's size) is seen nowhere here: only what we accept, or
write, is shown to it.
"""

from typing import Any

import attrs
import h11

# Larger than any input, so that no bound of h11's is met.
_BOUND = 1 << 20


@attrs.frozen
class Message:
    """One message as h11 has read it."""

    head: Any
    """A Request, Response or InformationalResponse."""
    content: bytes
    trailers: tuple[tuple[bytes, bytes], ...]
    complete: bool
    rest: bytes
    """What follows a complete message."""

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """Its fields, names as they came."""
        return fields_of(self.head)

    @property
    def framing(self) -> object:
        """Its framing as h11 read it from the fields: "chunked", a length, or None."""
        fields = dict(self.head.headers)
        if b"transfer-encoding" in fields:
            return "chunked"
        return int(fields[b"content-length"]) if b"content-length" in fields else None


def fields_of(event: Any) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of an event, names as they came."""
    return tuple(event.headers.raw_items())


def as_h11(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Fields of ours as h11 would give them."""
    return tuple((name, value.lower() if name.lower() == b"transfer-encoding" else value) for name, value in fields)


def request(data: bytes, *, ended: bool = False) -> Message | None:
    """The first request in these bytes; None where its head is not complete."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_BOUND)
    return _message(connection, data.removeprefix(b"\r\n"), ended)


def response(method: bytes, data: bytes, *, ended: bool = False) -> Message | None:
    """The first answer to `method` in these bytes, an interim one too; None where its head is not complete."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_BOUND)
    # A request that allows every answer, a switch of protocols included.
    fields = [("Host", "h"), ("Upgrade", "websocket"), ("Connection", "upgrade")]
    connection.send(h11.Request(method=method, target="/", headers=fields))
    connection.send(h11.EndOfMessage())
    return _message(connection, data, ended)


def _message(connection: h11.Connection, data: bytes, ended: bool) -> Message | None:
    if not data:  # to h11 no bytes are an end
        return None
    connection.receive_data(data)
    head = connection.next_event()
    if head is h11.NEED_DATA:
        return None
    assert isinstance(head, h11.Request | h11.Response | h11.InformationalResponse), head
    message = Message(head, b"", (), complete=isinstance(head, h11.InformationalResponse), rest=b"")
    if message.complete:
        return attrs.evolve(message, rest=_rest(connection))
    content = []
    event: Any = None
    while not isinstance(event, h11.EndOfMessage):
        event = connection.next_event()
        if isinstance(event, h11.Data):
            content.append(bytes(event.data))
        elif ended and event is h11.NEED_DATA and message.framing is None:
            # Only here an end is one of the message (RFC 9112 6.3, its last rule); elsewhere h11 would be right to
            # complain, and it is for the target to say whether that is a fault.
            connection.receive_data(b"")
            ended = False
        elif event in (h11.NEED_DATA, h11.PAUSED):
            return attrs.evolve(message, content=b"".join(content))
    trailers = fields_of(event)
    return Message(head, b"".join(content), trailers, complete=True, rest=_rest(connection))


def _rest(connection: h11.Connection) -> bytes:
    return bytes(connection.trailing_data[0])

"""HTTP/1.1 as the load and its upstream speak it: heads and bodies, read to the byte and written piece by piece.

Of its own, so that the relay is not checked by its own parser. It insists on what it needs and knows no more.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import attrs

from soak.marks import Marks, Running
from soak.plans import BRISK, Body, Framing, Reading
from soak.wires import READ_BYTES, End, Wire

_MOST_HEAD = 64 * 1024


class Ended(Exception):
    """The connection ended inside a message."""


class Nonsense(Exception):
    """What arrived is not HTTP as it should be; the text says what is wrong."""


@attrs.frozen
class Head:
    """A start line and its fields, names in lower case; of those that come twice both values, with a comma."""

    start: str
    fields: Mapping[str, str]

    @property
    def status(self) -> int:
        """Of an answer.

        Raises:
            Nonsense: It has none.
        """
        return _number(self.start.partition(" ")[2][:3])

    @property
    def closes(self) -> bool:
        """Whether it says that the connection ends."""
        return "close" in self.fields.get("connection", "").lower()


class Inlet:
    """A wire, read with what has been read too far put back."""

    def __init__(self, wire: Wire, reading: Reading = BRISK) -> None:
        self._wire = wire
        self._held = b""
        self._slow_until = 0.0
        self.reading = reading

    def take_held(self) -> bytes:
        """What has been read and not been used."""
        held, self._held = self._held, b""
        return held

    def be(self, reading: Reading) -> None:
        """Read like this from now on."""
        self.reading, self._slow_until = reading, 0.0

    async def some(self, most: int = READ_BYTES) -> bytes:
        """The next bytes; none at an end of any kind."""
        if self._held:
            data, self._held = self._held[:most], self._held[most:]
            return data
        data = await self._wire.read(min(most, self.reading.piece))
        if self.reading.pause:
            self._slow_until = self._slow_until or time.monotonic() + self.reading.slow_for
            if time.monotonic() < self._slow_until:
                await asyncio.sleep(self.reading.pause)
        return data

    async def head(self) -> Head | None:
        """The next head; None where the connection ends instead.

        Raises:
            Ended: It ends inside the head.
            Nonsense: This is none.
        """
        data = await self._until(b"\r\n\r\n", _MOST_HEAD)
        if data is None:
            return None
        start, *lines = data[:-4].decode("latin-1").split("\r\n")
        fields: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise Nonsense(f"a line that is no field: {line[:80]!r}")
            name = name.lower()
            fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
        return Head(start, fields)

    async def _until(self, mark: bytes, most: int) -> bytes | None:
        data = b""
        while (at := data.find(mark)) < 0:
            if len(data) > most:
                raise Nonsense(f"no end after {most} bytes: {data[:80]!r}")
            more = await self.some()
            if not more:
                if data:
                    raise Ended(f"inside {data[-80:]!r}")
                return None
            data += more
        at += len(mark)
        self._held = data[at:] + self._held
        return data[:at]

    async def body(self, framing: Framing, count: int) -> AsyncIterator[bytes]:
        """A body's content, piece by piece.

        Raises:
            Ended: The connection ends before the body does.
            Nonsense: Its chunks are none.
        """
        if framing is Framing.LENGTH:
            async for piece in self._exactly(count):
                yield piece
        elif framing is Framing.CHUNKED:
            while size := await self._chunk_size():
                async for piece in self._exactly(size):
                    yield piece
                if await self._line() != b"":
                    raise Nonsense("a chunk that is longer than it says")
            while await self._line():
                pass
        elif framing is Framing.CLOSE:
            while piece := await self.some():
                yield piece
            if self._wire.end is not End.ORDERLY:
                raise Ended("inside a body that ends with the connection")

    async def _exactly(self, count: int) -> AsyncIterator[bytes]:
        while count:
            piece = await self.some(count)
            if not piece:
                raise Ended(f"{count} bytes before the end of the body or the chunk")
            count -= len(piece)
            yield piece

    async def _chunk_size(self) -> int:
        line = await self._line()
        try:
            return int(line.partition(b";")[0], 16)
        except ValueError:
            raise Nonsense(f"no chunk size: {line[:80]!r}") from None

    async def _line(self) -> bytes:
        line = await self._until(b"\r\n", 4096)
        if line is None:
            raise Ended("between two lines of a chunked body")
        return line[:-2]


def framing_of(head: Head, *, request: bool, bodiless: bool = False) -> tuple[Framing, int]:
    """How the body behind a head is delimited, and its length where that is known (RFC 9112 6.3).

    Args:
        head: The head.
        request: A request's, where nothing said means no body; in an answer it lasts until the end.
        bodiless: The answer to HEAD, a 204, a 304.

    Raises:
        Nonsense: It contradicts itself.
    """
    if bodiless:
        return Framing.NONE, 0
    if "transfer-encoding" in head.fields:
        if head.fields["transfer-encoding"].lower() != "chunked" or "content-length" in head.fields:
            raise Nonsense(f"framing of {dict(head.fields)}")
        return Framing.CHUNKED, 0
    if "content-length" in head.fields:
        return Framing.LENGTH, _number(head.fields["content-length"])
    return (Framing.NONE if request else Framing.CLOSE), 0


def _number(text: str) -> int:
    if not text.isdecimal():
        raise Nonsense(f"no number: {text!r}")
    return int(text)


def framing_line(body: Body) -> str:
    """The field that says how a body is delimited; none where that is the connection's end."""
    if body.framing is Framing.LENGTH:
        return f"Content-Length: {body.count}\r\n"
    return "Transfer-Encoding: chunked\r\n" if body.framing is Framing.CHUNKED else ""


async def send_body(wire: Wire, body: Body, marks: Marks, sent: Running, most: int | None = None) -> None:
    """Send a body's bytes, or the first `most` of them, and then not its end.

    Raises:
        Gone, Stuck: As the wire.
    """
    if body.framing is Framing.NONE:
        return
    left = body.count if most is None else min(most, body.count)
    while left:
        piece = marks.take(min(left, body.piece))
        left -= len(piece)
        sent.add(piece)
        chunked = body.framing is Framing.CHUNKED
        await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if body.pause:
            await asyncio.sleep(body.pause)
    if body.framing is Framing.CHUNKED and most is None:
        await wire.send(b"0\r\n\r\n")


async def trickle(wire: Wire, data: bytes, pieces: int) -> None:
    """Send a head in so many pieces, with time between them for each to arrive alone."""
    size = -(-len(data) // pieces)
    for start in range(0, len(data), size):
        if start:
            await asyncio.sleep(0.002)
        await wire.send(data[start : start + size])

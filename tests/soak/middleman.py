"""Somebody between the load and the relay who does what a relay must never do: for tests of what checks it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import attrs

from soak.rounds import Ports

Mischief = Callable[[int, bytes], bytes]
"""What becomes of a piece that begins at an offset of its direction."""


class EndHere(Exception):
    """The piece, up to here, is the last one; an end in order follows."""

    def __init__(self, last: bytes) -> None:
        super().__init__()
        self.last = last


def harmless(_: int, data: bytes) -> bytes:
    return data


def at(place: int, change: Callable[[bytes], bytes], width: int = 1) -> Mischief:
    """Mischief with the `width` bytes at one place, wherever pieces begin and end."""
    held = b""

    def do(offset: int, data: bytes) -> bytes:
        nonlocal held
        start = offset - len(held)
        data, held = held + data, b""
        inside = place - start
        if not 0 <= inside < len(data):
            return data
        if inside + width > len(data):
            held = data[inside:]
            return data[:inside]
        return data[:inside] + change(data[inside : inside + width]) + data[inside + width :]

    return do


def changed(place: int) -> Mischief:
    return at(place, lambda byte: bytes([byte[0] ^ 0x20]))


def dropped(place: int) -> Mischief:
    return at(place, lambda _: b"")


def doubled(place: int) -> Mischief:
    return at(place, lambda byte: byte + byte)


def swapped(place: int) -> Mischief:
    """With the byte after it; the two must differ."""
    return at(place, lambda pair: pair[::-1], width=2)


def ended(place: int) -> Mischief:
    def do(offset: int, data: bytes) -> bytes:
        if offset + len(data) > place:
            raise EndHere(data[: place - offset])
        return data

    return do


def repeated(offset: int, data: bytes) -> bytes:
    """The first piece comes twice."""
    return data if offset else data + data


@attrs.define
class Middleman:
    """A TCP proxy that keeps the client's address."""

    up: Mischief = harmless
    down: Mischief = harmless
    cross_after: int | None = None
    """The first two connections change places, on the way up, after so many bytes of each."""
    _to_relay: list[asyncio.StreamWriter] = attrs.field(factory=list)
    _both: asyncio.Event = attrs.field(factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    @contextlib.asynccontextmanager
    async def between(self, ports: Ports) -> AsyncIterator[Ports]:
        """Stand before each of these ports."""
        servers = {
            port: await asyncio.start_server(self._for(number), "127.0.0.1", 0) for port, number in ports.items()
        }
        try:
            yield {port: server.sockets[0].getsockname()[1] for port, server in servers.items()}
        finally:
            for server in servers.values():
                server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _for(self, relay: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(reader, writer, relay))
            self._tasks.add(task)

        return connected

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, relay: int) -> None:
        source = writer.get_extra_info("peername")[0]
        from_relay, to_relay = await asyncio.open_connection("127.0.0.1", relay, local_addr=(source, 0))
        number = len(self._to_relay)
        self._to_relay.append(to_relay)
        if number == 1:
            self._both.set()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, to_relay, self.up, number))
                group.create_task(self._pass(from_relay, writer, self.down, None))
        except* ConnectionError:
            # What was reset on one side is reset on the other: an end in order would be mischief.
            for each in (writer, to_relay):
                each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            for each in (writer, to_relay):
                each.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mischief: Mischief, crossing: int | None
    ) -> None:
        offset = 0
        while data := await reader.read(65536):
            if self.cross_after is not None and crossing is not None:
                before = data[: max(0, self.cross_after - offset)]
                writer.write(before)
                if len(before) < len(data):
                    await self._both.wait()
                    self._to_relay[1 - crossing].write(data[len(before) :])
            else:
                try:
                    writer.write(mischief(offset, data))
                except EndHere as here:
                    writer.write(here.last)
                    break
            offset += len(data)
            await writer.drain()
        writer.write_eof()

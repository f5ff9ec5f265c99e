"""A connection on a socket of its own, awaited; every kind of end is told apart, and can be made. Knows no protocol.

asyncio's own streams hide a half-close under TLS and read ahead of a slow reader, so this is done on the socket.
"""

import asyncio
import enum
import socket
import struct
import time
from collections.abc import Awaitable
from typing import TypeVar

PATIENCE = 120.0
"""Seconds of standing still after which something is lost: no pause of a plan is a tenth of it, and a busy machine
may make ten times as much of one."""

READ_BYTES = 64 * 1024
_TURN_SECONDS = 0.005
"""A connection that finds its socket ready each time goes on for so long, then others have their turn."""
_RST_ON_CLOSE = struct.pack("ii", 1, 0)

Done = TypeVar("Done")


class End(enum.Enum):
    """How the other side's bytes ended."""

    ORDERLY = "orderly"
    """FIN; under TLS close_notify."""
    RESET = "reset"
    TRUNCATED = "truncated"
    """Under TLS: FIN without close_notify."""
    BROKEN = "broken"
    """Under TLS: a record that does not decrypt, an alert."""


class How(enum.Enum):
    """How an own connection is cut on purpose."""

    RESET = "reset"
    LEAVE = "leave"
    """Closed as a program does that exits: FIN, or RST where unread bytes wait."""
    TRUNCATE = "truncate"
    """Under TLS: FIN without close_notify; otherwise a reset."""


class Gone(Exception):
    """The other side has gone: what was sent will not arrive."""


class Stuck(Exception):
    """Nothing has moved for `PATIENCE` seconds."""


async def patiently(wait: Awaitable[Done], patience: float, doing: str) -> Done:
    """Await, but not for ever.

    Raises:
        Stuck: It took longer than `patience`.
    """
    try:
        async with asyncio.timeout(patience):
            return await wait
    except TimeoutError:
        raise Stuck(f"nothing moved for {patience:g} s while {doing}") from None


class Wire:
    """One TCP connection. One task may read while another one writes.

    Attributes:
        end: How the other side's bytes ended; None while they go on.
        secure: Whether it is under TLS.
        patience: Seconds for which nothing may move while something is awaited; None for ever.
    """

    secure = False

    def __init__(self, connected: socket.socket, patience: float = PATIENCE) -> None:
        """Take over a connected socket."""
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connected
        self.end: End | None = None
        self.patience: float | None = patience
        self._failed = False
        self._moved_at = self._turn_began = time.monotonic()

    async def read(self, most: int = READ_BYTES) -> bytes:
        """Wait for bytes; none once the other side has ended, and `end` says how.

        Raises:
            Stuck: None came for too long.
        """
        if self.end is not None:
            return b""
        return await self._receive(most)

    async def _receive(self, most: int) -> bytes:
        try:
            try:
                await self._take_turns()
                data = self.socket.recv(most)
            except BlockingIOError:
                waiting = asyncio.get_running_loop().sock_recv(self.socket, most)
                data = await self._wait(waiting, "reading")
        except OSError:
            self.end = End.RESET
            return b""
        self._moved_at = time.monotonic()
        if not data:
            # A failed send has taken the error away, and the kernel shows what is left as an end.
            self.end = End.RESET if self._failed else End.ORDERLY
        return data

    async def _take_turns(self) -> None:
        """Let the others go on, now and then: who finds its socket ready each time would never wait."""
        if time.monotonic() - self._turn_began > _TURN_SECONDS:
            await asyncio.sleep(0)
            self._turn_began = time.monotonic()

    async def _wait(self, waiting: Awaitable[Done], doing: str) -> Done:
        """Wait, as long as now and then something moves, this way or the other."""
        loop, since, patience = asyncio.get_running_loop(), time.monotonic(), self.patience
        looking: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal looking
            still = time.monotonic() - max(self._moved_at, since)
            if patience and still < patience:
                looking = loop.call_later(patience - still, look)
            else:
                limit.reschedule(loop.time())

        if patience:
            looking = loop.call_later(patience, look)
        try:
            async with asyncio.timeout(None) as limit:
                done = await waiting
        except TimeoutError:
            raise Stuck(f"nothing moved for {patience:g} s while {doing}") from None
        finally:
            if looking is not None:
                looking.cancel()
        self._turn_began = time.monotonic()
        return done

    async def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            Gone: The connection is lost.
            Stuck: Nobody took it for too long.
        """
        await self._deliver(data)

    async def _deliver(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                try:
                    await self._take_turns()
                    rest = rest[self.socket.send(rest) :]
                    self._moved_at = time.monotonic()
                except BlockingIOError:
                    # Piece by piece, so that patience is about standing still, not about a slow reader.
                    piece, rest = rest[:READ_BYTES], rest[READ_BYTES:]
                    waiting = asyncio.get_running_loop().sock_sendall(self.socket, piece)
                    await self._wait(waiting, "sending")
            except OSError as error:
                self._failed = True
                raise Gone(str(error)) from None

    async def finish(self) -> None:
        """Send an orderly end; reading goes on.

        Raises:
            Gone: The connection is lost.
        """
        self._shut()

    def _shut(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._failed = True
            raise Gone(str(error)) from None

    def sever(self, how: How) -> None:
        """Cut it. Nobody may be reading or writing; after TRUNCATE reading may go on."""
        if how is How.TRUNCATE:
            self._truncate()
        else:
            if how is How.RESET:
                self._reset()
            self.socket.close()

    def _reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)

    def _truncate(self) -> None:
        self._reset()
        self.socket.close()

    def close(self) -> None:
        """Close at once, whatever waits."""
        self.socket.close()

    def has_bytes(self) -> bool:
        """Whether bytes have arrived that nobody has read."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        except OSError:
            self._failed = True  # the error is told once; what is read next looks like an end in order
            return False

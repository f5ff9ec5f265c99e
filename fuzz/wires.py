"""Connections and a reactor in memory, so that a whole session runs in a millisecond and the same way each time.

A `Wire` is what a `Leg` needs of a connected TCP socket: it takes as many bytes as its far end has room for, keeps
what was read of a connection that is reset, and tells FIN from RST. `Turns` is what a session needs of the reactor,
with a time that stands still until it is moved. The legs between the two are the relay's own.
"""

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

# Descriptors for those who ask the kernel whether a connection has hung up: one that has, and one that has not.
_QUIET, _OPEN = socket.socketpair()
_HUNG_UP, _GONE = socket.socketpair()
_GONE.close()

# More turns than any input of 4 KiB can need, were it read byte by byte: whoever needs more spins.
_MOST_TURNS = 20_000


class Wire:
    """The relay's end of a connection, and through `send`, `end`, `reset` and `room` the far end too.

    Attributes:
        sent: What the far end has sent so far.
        got: What the far end has received.
        room: How many bytes the far end takes, None for any number.
        ended: Whether the far end has seen FIN.
        aborted: Whether it has seen RST.
        closed: Whether the relay has closed its socket.
        deaf: Whether the far end has sent RST.
        heard: For each of its sends, where in `sent` it begins, and how much the far end had received by then.
        narrow: Whether its room was ever bounded.
    """

    family = socket.AF_INET

    def __init__(self) -> None:
        self.sent = bytearray()
        self.got = bytearray()
        self.heard: list[tuple[int, int]] = []
        self.narrow = False
        self._room: int | None = None
        self.ended = False
        self.aborted = False
        self.closed = False
        self.deaf = False
        self._unread = bytearray()
        self._far_ended = False
        self._end_told = False
        self._error_told = False
        self._lingers = True

    @property
    def room(self) -> int | None:
        """How many more bytes the far end takes."""
        return self._room

    @room.setter
    def room(self, count: int | None) -> None:
        self._room = count
        self.narrow = self.narrow or count is not None

    # The far end's.

    def put(self, data: bytes) -> None:
        """The far end sends, unless it has ended."""
        if not (self._far_ended or self.deaf):
            self.heard.append((len(self.sent), len(self.got)))
            self.sent += data
            if self.closed:
                self.aborted = True
            else:
                self._unread += data

    def end(self) -> None:
        """The far end sends FIN."""
        self._far_ended = True

    def reset(self) -> None:
        """The far end sends RST."""
        self.deaf = True

    @property
    def finished(self) -> bool:
        """Whether the far end has ended in order, and no RST has come before that was seen."""
        return self._far_ended and (self._end_told or not self.deaf)

    # What a reactor sees.

    @property
    def readable(self) -> bool:
        """Whether `recv` has something to tell."""
        return bool(self._unread) or self._far_ended or self.deaf

    @property
    def writable(self) -> bool:
        """Whether `send` has something to tell."""
        return self.deaf or self.room is None or self.room > 0

    # The socket's.

    def recv(self, count: int) -> bytes:
        """As of a non-blocking socket. What came before a RST can still be read, as on Linux."""
        self._check_open()
        if self._unread:
            data = bytes(self._unread[:count])
            del self._unread[:count]
            return data
        if self.deaf and not self._error_told:
            self._error_told = True
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        if self._far_ended or self.deaf:
            self._end_told = self._end_told or not self.deaf
            return b""
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        """As of a non-blocking socket."""
        self._check_open()
        if self.deaf:
            raise BrokenPipeError(errno.EPIPE, "reset")
        assert not self.ended, "bytes after our own end"
        assert data, "a send of nothing"
        taken = len(data) if self.room is None else min(self.room, len(data))
        if not taken:
            raise BlockingIOError
        if self.room is not None:
            self._room = self.room - taken
        self.got += data[:taken]
        return taken

    def shutdown(self, how: int) -> None:
        """FIN."""
        self._check_open()
        assert how == socket.SHUT_WR
        if self.deaf:
            raise OSError(errno.ENOTCONN, "reset")
        self.ended = True

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """SO_LINGER with no time is the only one that a leg sets: close with RST."""
        self._check_open()
        self._lingers = not (level == socket.SOL_SOCKET and option == socket.SO_LINGER)

    def close(self) -> None:
        """FIN, or RST where that was asked for, and where something is left unread, as on Linux."""
        if self.closed:
            return
        self.closed = True
        if self.deaf:
            return
        if self._unread or not self._lingers:
            self.aborted = True
        else:
            self.ended = True

    def fileno(self) -> int:
        """A real descriptor in the same state."""
        if self.closed:
            return -1
        return (_HUNG_UP if self.deaf else _QUIET).fileno()

    def _check_open(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "closed")


class Turns:
    """A reactor without a kernel. Readiness is level-triggered, and one descriptor has one event a turn."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._soon = Clock()
        self.readers: dict[Any, None] = {}
        self.writers: dict[Any, None] = {}

    def seconds(self) -> float:
        """The time, which only `passes` moves."""
        return float(self.clock.seconds())

    def callLater(self, seconds: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """In the next turn, or when so much time has passed."""
        return (self.clock if seconds else self._soon).callLater(seconds, call, *args, **kwargs)

    def addReader(self, reader: Any) -> None:
        """Look for what it can read."""
        self.readers[reader] = None

    def addWriter(self, writer: Any) -> None:
        """Look for room to write."""
        self.writers[writer] = None

    def removeReader(self, reader: Any) -> None:
        """Look no more."""
        self.readers.pop(reader, None)

    def removeWriter(self, writer: Any) -> None:
        """Look no more."""
        self.writers.pop(writer, None)

    @property
    def timers(self) -> int:
        """How many calls wait for anything."""
        return len(self.clock.getDelayedCalls()) + len(self._soon.getDelayedCalls())

    def passes(self, seconds: float) -> None:
        """So much time at once."""
        self.clock.advance(seconds)

    def settle(self) -> None:
        """Turn until nothing happens any more."""
        for _ in range(_MOST_TURNS):
            if not self._turn():
                return
        raise AssertionError("the reactor spins")

    def _turn(self) -> bool:
        happened = bool(self._soon.getDelayedCalls())
        self._soon.advance(0)
        for leg in list({**self.readers, **self.writers}):
            wire = leg._socket
            reads = leg in self.readers and wire.readable
            writes = leg in self.writers and wire.writable
            if not (reads or writes) or wire.closed:
                continue
            happened = True
            if wire.deaf and not reads:
                # What Twisted makes of a hang-up on a descriptor that is not being read.
                self.removeWriter(leg)
                leg.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]  # Twisted has no types here
                continue
            if reads:
                leg.doRead()
            if writes:
                leg.doWrite()
        return happened

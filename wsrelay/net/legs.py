"""A leg: one connected, non-blocking socket on the reactor, plain or under TLS. Knows nothing of what the bytes mean.

Only this file and `stream` touch half-close, abort and the quirks of TLS. A leg implements Twisted's descriptor
interface directly: `abstract.FileDescriptor` brings a second write buffer, producers and a dictionary per object,
and none of them is wanted here. `write` tries the socket at once, which saves two epoll_ctl calls and a reactor turn
for almost every message.

Whoever pauses a leg resumes it. A paused leg with nothing to write is not in epoll at all, so that a lost connection
goes unseen until then: every paused step has a deadline of its own.
"""

import fcntl
import select
import socket
import struct
import sys
from typing import Protocol

import attrs
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IReactorFDSet,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTime,
    IReadWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.core.outcomes import Loss

# 64 KiB: what Twisted's own transports read, and a default pipe holds; four TLS records.
READ_BYTES = 64 * 1024

# A leg whose write buffer has reached this is full: whoever feeds it pauses until `drained`. With one more read on
# top, a stopped reader costs at most 128 KiB a direction in our memory (the bar is 256 KiB).
FULL_BYTES = 64 * 1024

# After a failed write the kernel may still hold what the other end said before it closed (an early 413 and its
# reason). It is read before the leg counts as lost, at most so many times.
_LAST_READS = 4

_RST_ON_CLOSE = struct.pack("ii", 1, 0)

# Of what the kernel has taken, how much it has not sent even once (linux/sockios.h).
_SIOCOUTQNSD = 0x894B


class Reactor(IReactorFDSet, IReactorTime, IReactorFromThreads, IReactorPluggableNameResolver):
    """What this room needs of the reactor: descriptors, time, a way in for signal handlers, names."""


class Receiver(Protocol):
    """Who is told what a leg does. Called on the reactor thread, never from inside `Leg.write`."""

    def received(self, data: bytes) -> None:
        """Bytes arrived, in order, at least one."""

    def ended(self) -> None:
        """The other end has finished writing (FIN, or close_notify under TLS); ours may go on."""

    def lost(self, loss: Loss) -> None:
        """The connection is gone and the leg is closed. Called once at most, and nothing is called after it."""

    def drained(self) -> None:
        """The write buffer is empty, and our own end has been sent if `finish` was asked for."""

    def secured(self, first: bytes) -> None:
        """The TLS handshake is done, and `first` came right behind it. Never called for a plain leg."""


@attrs.frozen
class Taken:
    """A leg's connection without the leg: what a pump outside Python owns."""

    descriptor: int
    """Open and non-blocking."""
    unsent: bytes
    """What was written to the leg and the kernel has not taken; under TLS it has to go through `ssl` first."""
    ended: bool
    """Whether the other end has finished writing."""
    ssl: int = 0
    """The address of an `SSL` of OpenSSL after its handshake; 0 without TLS."""


class _Nobody:
    """Receives for a leg that nobody has taken yet, or that was closed."""

    def received(self, data: bytes) -> None:
        raise AssertionError("bytes for nobody: a leg was resumed without a receiver")

    def ended(self) -> None:
        return None

    def lost(self, loss: Loss) -> None:
        return None

    def drained(self) -> None:
        return None

    def secured(self, first: bytes) -> None:
        return None


NOBODY = _Nobody()


@implementer(IReadWriteDescriptor)
class Leg:
    """One TCP or UNIX stream connection. Starts paused.

    Attributes:
        receiver: Who is told; set it before `resume`.
        address: Whom it is connected to, for logs.
        moved: Bytes that the kernel has taken so far; a stall is when `waiting` is not 0 and this stands still.
        ended: Whether the other end has finished writing.
        closed: Whether the socket is closed; then every method does nothing.
        problem: What exactly went wrong, for logs; empty while nothing did.
    """

    __slots__ = (
        "_failed",
        "_finishing",
        "_out",
        "_reactor",
        "_reading",
        "_shut",
        "_socket",
        "address",
        "closed",
        "ended",
        "moved",
        "problem",
        "receiver",
    )

    def __init__(self, connected: socket.socket, reactor: Reactor, address: str) -> None:
        """Take over a connected, non-blocking socket; the leg closes it."""
        self._socket = connected
        self._reactor = reactor
        self.address = address
        self.receiver: Receiver = NOBODY
        self._out = bytearray()
        self._reading = False
        self._finishing = False
        self._shut = False
        self._failed = False
        self.moved = 0
        self.ended = False
        self.closed = False
        self.problem = ""

    @property
    def waiting(self) -> int:
        """Bytes written but not yet taken by the kernel."""
        return len(self._out)

    @property
    def held_back(self) -> int:
        """Bytes that the kernel has taken and not sent, for a slow reader; `abort` drops them.

        0 for a reader that is gone, and on platforms that do not tell.
        """
        if self.closed or sys.platform != "linux" or self._hung_up():
            return 0
        try:
            return int.from_bytes(fcntl.ioctl(self._socket, _SIOCOUTQNSD, bytes(4)), sys.byteorder)
        except OSError:  # a UNIX socket, whose bytes are at the other end at once
            return 0

    @property
    def full(self) -> bool:
        """Whether whoever feeds this leg should pause until `drained`."""
        return len(self._out) >= FULL_BYTES

    @property
    def finished(self) -> bool:
        """Whether our end, asked for with `finish`, has been sent."""
        return self._shut

    @property
    def connected(self) -> socket.socket:
        """The socket, for who looks at its first bytes while this leg is paused, or asks for its addresses."""
        return self._socket

    @property
    def connection(self) -> SSL.Connection | None:
        """OpenSSL's side of it, for who takes the leg over; None without TLS."""
        return None

    def resume(self) -> None:
        """Read, until `pause` or the other side's end."""
        if not (self._reading or self.ended or self.closed):
            self._reading = True
            self._reactor.addReader(self)

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until the socket takes them. Dropped once the leg is closed or finishing."""
        if self.closed or self._finishing or self._failed or not data:
            return
        if self._out:
            self._out += data
            return
        taken = self._send(data)
        if taken < len(data) and not self._failed:
            self._out += memoryview(data)[taken:]
            self._reactor.addWriter(self)

    def finish(self) -> None:
        """Send our end (FIN, or close_notify) once everything written before has been sent. Reading goes on."""
        if self.closed or self._finishing or self._failed:
            return
        self._finishing = True
        if not self._out:
            self._shut_down()

    def close(self) -> None:
        """Close at once. The kernel sends FIN, or RST where unread bytes wait.

        Where unsent bytes are dropped it is a RST too: FIN would make the part that was sent look like the whole.
        """
        if self.closed:
            return
        if self._out:
            self._reset_at_close()
        self.pause()
        self._reactor.removeWriter(self)
        self.closed = True
        self.receiver = NOBODY
        self._out = bytearray()
        self._socket.close()

    def abort(self) -> None:
        """Close at once with RST, so that the other end cannot take what it got for something complete."""
        if not self.closed:
            self._reset_at_close()
            self.close()

    def _reset_at_close(self) -> None:
        if self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)

    def detach(self) -> "Taken":
        """Leave the reactor and give up the socket as it is. The leg is closed from here on."""
        unsent, self._out = bytes(self._out), bytearray()
        return Taken(self.hand_over().detach(), unsent, self.ended)

    def hand_over(self) -> socket.socket:
        """Leave the reactor for another leg on the same socket. This one is closed, with nothing left to send."""
        assert not self._out, "a leg is handed over with bytes that it has not sent"
        self.pause()
        self._reactor.removeWriter(self)
        self.closed = True
        self.receiver = NOBODY
        return self._socket

    # What the reactor calls.

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Constant: Twisted asks before every event."""
        return "leg"

    def doRead(self) -> None:
        """Take what has arrived, at most `READ_BYTES`."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(Loss.RESET, str(error))
            return
        if data:
            self.receiver.received(data)
        else:
            self._end()

    def doWrite(self) -> None:
        """Send more of what waits."""
        if self.closed or self._failed:
            return  # since the `doRead` of this very event
        if self._out:
            taken = self._send(self._out)
            if self._failed:
                return
            del self._out[:taken]
            if self._out:
                return
        self._reactor.removeWriter(self)
        if self._finishing:
            self._shut_down()
            if not self._shut:
                return
        self.receiver.drained()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error or hang-up on a descriptor that was not reading, or caught a bug of ours."""
        if isinstance(reason.value, ConnectionDone | ConnectionLost) and not (self.closed or self._hung_up()):
            # An old event: of a descriptor that was closed in this turn, and whose number has become ours since.
            if self._reading:
                self._reactor.addReader(self)
            if self._out:
                self._reactor.addWriter(self)
            return
        loss = Loss.RESET if isinstance(reason.value, ConnectionDone | ConnectionLost) else Loss.BUG
        self._lose(loss, reason.getErrorMessage())

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    # How bytes and ends pass; TLS does these differently.

    def _send(self, data: bytes | bytearray) -> int:
        try:
            taken = self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(str(error))
            return 0
        self.moved += taken
        return taken

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:  # reset since: what we wrote may not have arrived, so this is no end
            self._fail(str(error))
        else:
            self._shut = True

    def _end(self) -> None:
        if self._failed:
            self._lose(Loss.RESET, self.problem)
            return
        self.pause()
        self.ended = True
        self.receiver.ended()

    def _fail(self, problem: str) -> None:
        """Writing failed: the receiver hears of it in the next turn, never from inside its own `write`."""
        if not self._failed:
            self._failed = True
            self.problem = problem
            self._out = bytearray()
            self._reactor.removeWriter(self)
            self._reactor.callLater(0, self._lose_after_last_words)

    def _lose_after_last_words(self) -> None:
        for _ in range(_LAST_READS):
            if self.closed or not self._reading:
                break
            self.doRead()
        self._lose(Loss.RESET, self.problem)

    def _lose(self, loss: Loss, problem: str) -> None:
        if not self.closed:
            if self._failed:  # then whatever reading says is only what follows from it
                loss, problem = Loss.RESET, self.problem
            self.problem = problem
            receiver = self.receiver
            self.close()
            receiver.lost(loss)

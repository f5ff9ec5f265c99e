"""A far end of a connection of the relay, played without waiting: it sends what is taken and reads what is there."""

import contextlib
import fcntl
import select
import socket
import struct
import sys
import termios

from tests.rude.carriers import Carrier, PlainCarrier

# What a far end's kernel buffers are asked to hold, so that they are full soon. The kernel doubles it.
SMALL = 16 * 1024
# As on a wire: the kernel's buffers at the relay's end grow with the size of a segment, which is 64 KiB on loopback.
SEGMENT = 1460


class FarEnd:
    """One connected socket.

    Attributes:
        unsent: What it has been told to send and the kernel has not taken.
        stream: All that the kernel has taken.
        reads: Whether it reads at present.
        finished: Whether it has sent its end.
        cut: Whether that end looks like none, as it does inside a record of TLS.
        left: Whether it has left with a reset.
        gone: Whether it has left, or found the connection reset.
        end: How the relay ended, as far as it has seen that: "", "end" or "reset".
        counts: Whether the relay has to notice what it says: its first byte came before the relay's end.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket = connected
        self.carrier: Carrier = PlainCarrier(connected)
        self.unsent = b""
        self.stream = bytearray()
        self.reads = True
        self.finished = False
        self.cut = False
        self.left = False
        self.gone = False
        self.end = ""
        self.counts = False

    @property
    def speaks(self) -> bool:
        """Whether it may still send, as far as it is to blame. So the next step never hangs on the kernel's pace."""
        return not (self.finished or self.left)

    @property
    def sent(self) -> int:
        return len(self.stream)

    @property
    def in_flight(self) -> int:
        """Bytes that may not have arrived: with small buffers, the kernel's own timers move some of them."""
        waiting = int.from_bytes(fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return waiting + self.carrier.unsent

    @property
    def was_let_go(self) -> bool:
        """Whether the relay's end is there, read or not."""
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    def send(self, most: int) -> int:
        """Send up to so many bytes of what waits; how many the kernel took."""
        if self.gone:
            return 0
        try:
            taken = self.carrier.send(self.unsent[:most])
        except OSError:
            self._saw_reset()
            return 0
        self.stream += self.unsent[:taken]
        self.unsent = self.unsent[taken:]
        return taken

    def take(self) -> bytes:
        """All that is there by now; an end is noted."""
        pieces = []
        while not (self.gone or self.end):
            try:
                data = self.carrier.recv()
            except BlockingIOError:
                break
            except OSError:
                self._saw_reset()
                break
            if not data:
                self.end = "end"
            pieces.append(data)
        return b"".join(pieces)

    def finish(self) -> None:
        """Send the end, behind what was sent; what waits is never sent."""
        self.send(0)  # what is on its way may have arrived
        self.finished, self.unsent = True, b""
        with contextlib.suppress(OSError):  # reset by now
            self.cut = not self.carrier.finish()

    def reset(self) -> None:
        """Leave with a reset."""
        self.left = self.gone = True
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Leave, if it has not left: with a reset, so that the kernel keeps nothing for a minute."""
        if self.socket.fileno() != -1:
            self.reset()

    def _saw_reset(self) -> None:
        self.gone, self.end = True, self.end or "reset"


def small(made: socket.socket) -> socket.socket:
    """With small kernel buffers; of one that listens, its connections inherit them."""
    for name in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        made.setsockopt(socket.SOL_SOCKET, name, SMALL)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    # Whatever the system prefers: this one sends at once what the window allows, with no timer for its pace.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    return made

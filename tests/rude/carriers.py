"""What carries a far end's bytes: the socket itself, or TLS in memory over it. Nothing waits."""

import contextlib
import functools
import socket
from collections.abc import Callable
from typing import Protocol

from OpenSSL import SSL

# The most that one TLS record carries (RFC 8446 5.1).
RECORD_BYTES = 16 * 1024


class Carrier(Protocol):
    """One connection, as its far end uses it."""

    unsent: int
    """Bytes of the carrier's own that the kernel has not taken."""

    def send(self, data: bytes) -> int:
        """Send what goes now; how many bytes are on their way, those of an earlier call included.

        Raises:
            OSError: The connection is gone.
        """

    def recv(self) -> bytes:
        """What is there; b"" for an orderly end.

        Raises:
            BlockingIOError: Nothing is.
            OSError: The connection is gone, or was cut.
        """

    def finish(self) -> bool:
        """Send our end; whether it is one that says so: under TLS a record may be half sent."""


class PlainCarrier:
    """The socket itself."""

    unsent = 0

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def recv(self) -> bytes:
        return self._socket.recv(65536)

    def finish(self) -> bool:
        self._socket.shutdown(socket.SHUT_WR)
        return True


class TlsCarrier:
    """TLS as a client. One record at a time is on its way, so that what has been sent is known to the byte."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._tls = SSL.Connection(_context(), None)
        self._tls.set_connect_state()
        self._out = b""
        self._pending = 0
        self._cut = False

    @property
    def unsent(self) -> int:
        return len(self._out)

    def shake_hands(self, turn: Callable[[], None]) -> None:
        """The whole handshake; the relay turns in between."""
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                turn()
                self._tls.bio_write(self._socket.recv(65536))
            else:
                self._flush()
                turn()
                return

    def send(self, data: bytes) -> int:
        if not self._out and data:
            self._pending = self._tls.send(data[:RECORD_BYTES])
        self._flush()
        if self._out:
            return 0
        sent, self._pending = self._pending, 0
        return sent

    def recv(self) -> bytes:
        while True:
            try:
                return self._tls.recv(65536)
            except SSL.WantReadError:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionResetError("FIN without close_notify") from None
                self._tls.bio_write(data)
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error:
                if not self._cut:
                    raise
                # Whose record ends in its middle is told so by an alert, behind whatever else it was told.
                raise ConnectionResetError("an alert for a record cut off") from None

    def finish(self) -> bool:
        if not self._out:
            self._tls.shutdown()
            self._flush()
        if self._out:
            self._socket.shutdown(socket.SHUT_WR)
            self._cut = True
        return not self._out

    def _flush(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self._out += self._tls.bio_read(65536)
        with contextlib.suppress(BlockingIOError):
            self._out = self._out[self._socket.send(self._out) :] if self._out else b""


@functools.cache
def _context() -> SSL.Context:
    """Verifies nothing: whose certificate it is, is not the question here."""
    return SSL.Context(SSL.TLS_CLIENT_METHOD)

"""The client of a case, plain or under TLS, and how it plays its pieces. Knows addresses, not whose they are."""

import re
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from OpenSSL import SSL

from tests.corpus.cases import Case
from tests.corpus.independent import Answers
from tests.corpus.pieces import End, Reset, Send, Wait
from tests.wires import PATIENCE_SECONDS

# Sent both ways through a tunnel. Nothing in it is HTTP or a frame.
MARK = b"\x00marked: \xff both ways\r\n\r\n"

AFTER_REQUEST = b"GET /after HTTP/1.1\r\nHost: app.example\r\n\r\n"

# 127.0.0.2 is in trusted_proxies.
SOURCES = {"client": "127.0.0.1", "proxy": "127.0.0.2"}

# A relay that closes does so in a few turns of its reactor after its answer; a pause is eight of them.
_PAUSES = 50

_REQUEST_LINE = re.compile(rb"(?:^|\n)([A-Z]+) [^\r\n]* HTTP/1\.([01])\r?\n")


class Connected(Protocol):
    """A client's connection; blocking, with a limit on every wait."""

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError where the other side is gone."""

    def receive(self) -> bytes:
        """Some bytes, none at the end. Raises ConnectionError for a RST, TimeoutError when nothing comes."""

    def ready(self) -> bool:
        """Whether `receive` would return at once."""

    def finish(self) -> None:
        """Send our end; reading goes on."""

    def reset(self) -> None:
        """Send RST."""

    def close(self) -> None:
        """Close."""


class Plain:
    """A client without TLS."""

    def __init__(self, address: tuple[str, int], source: str, patience: float = PATIENCE_SECONDS) -> None:
        self._socket = socket.create_connection(address, patience, (source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        return self._socket.recv(65536)

    def ready(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def finish(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


class Secure:
    """A client under TLS. It is pyOpenSSL's, for Python's `ssl` cannot end one direction alone."""

    def __init__(self, address: tuple[str, int], source: str, authority: Path) -> None:
        self._socket = socket.create_connection(address, PATIENCE_SECONDS, (source, 0))
        # A limit of Python's would make the socket non-blocking, which OpenSSL would see.
        self._socket.settimeout(None)
        limit = struct.pack("ll", int(PATIENCE_SECONDS), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(authority))
        context.set_verify(SSL.VERIFY_PEER)
        self._tls = SSL.Connection(context, self._socket)
        self._tls.set_tlsext_host_name(b"localhost")
        self._tls.set_connect_state()
        self._tls.do_handshake()

    def send(self, data: bytes) -> None:
        try:
            self._tls.sendall(data)
        except SSL.Error as error:
            raise BrokenPipeError(str(error)) from error

    def receive(self) -> bytes:
        try:
            return self._tls.recv(65536)
        except SSL.ZeroReturnError:
            return b""
        except SSL.WantReadError:
            raise TimeoutError("nothing came under TLS") from None
        except SSL.Error as error:
            raise ConnectionResetError(str(error)) from error

    def ready(self) -> bool:
        return self._tls.pending() > 0 or bool(select.select([self._socket], [], [], 0)[0])

    def finish(self) -> None:
        try:
            self._tls.shutdown()
        except SSL.Error as error:
            raise BrokenPipeError(str(error)) from error

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


def guessed_requests(case: Case) -> list[tuple[bytes, int]]:
    """Method and minor version of the requests that are answered: those that look like some, and what the case says."""
    found = [(match[1], int(match[2])) for match in _REQUEST_LINE.finditer(case.sent)]
    if case.methods is None:
        return found
    minors = [minor for _, minor in found] + [1] * len(case.methods)
    return [(method.encode("ascii"), minor) for method, minor in zip(case.methods, minors, strict=False)]


class Client:
    """One client connection that plays a case.

    Attributes:
        answers: What h11 makes of what it got.
        received: What it got, as bytes.
        asked_after: How many answers and bytes had come before the request for `/after`.
        end: How the other side ended: `fin`, `reset`, or `open` while it has not.
    """

    def __init__(self, case: Case, connected: Connected, pause: Callable[[], None]) -> None:
        """`pause` returns when the relay has taken what was sent before."""
        self.answers = Answers(guessed_requests(case), case.status.index(101) if 101 in case.status else None)
        self.received = b""
        self.end = "open"
        self.asked_after: tuple[int, int] | tuple[None, None] = (None, None)
        self._case = case
        self._connected = connected
        self._pause = pause
        self._finished = False
        self._gone = False

    def play(self) -> None:
        """Everything that the case has the client do."""
        before: object = None
        for piece in self._case.send:
            if isinstance(piece, Send) and isinstance(before, Send):
                self._pause()
            match piece:
                case Send(data):
                    self._send(data)
                case Wait(status):
                    self._read_until(lambda status=status: self.answers.completed(status))
                case End():
                    self.finish()
                case Reset():
                    self._pause()
                    self._connected.reset()
                    self._gone = True
            before = piece

    def read_expected(self) -> None:
        """Read until there are as many answers as the case states."""
        self._read_until(lambda: self.answers.complete >= len(self._case.status))

    def read_to_end(self) -> None:
        """Read until the other side ends, or has answered more than it was asked."""
        self._read_until(lambda: len(self.answers.finals) > len(self._case.status) + (self._case.closes is False))

    def read_to_close(self) -> None:
        """Read until the other side ends by itself; it stays `open` if it does not within many pauses."""
        for _ in range(_PAUSES):
            while self._connected.ready() and self.end == "open":
                self._read_some()
            if self.end != "open":
                return
            self._pause()

    def ask_after(self) -> tuple[int, ...]:
        """One more request; the statuses that come for it."""
        before = len(self.answers.finals)
        self.asked_after = (before, len(self.received))
        self._send(AFTER_REQUEST)
        self._read_until(lambda: self.answers.complete > before)
        return tuple(each.status for each in self.answers.finals[before:])

    def send_mark(self) -> None:
        """Send the marked message through the tunnel, and wait until it comes back."""
        self._send(MARK)
        self._read_until(lambda: self.answers.raw.endswith(MARK))

    def finish(self) -> None:
        """Half-close."""
        if not self._finished and not self._gone:
            self._finished = True
            try:
                self._connected.finish()
            except OSError:
                self._gone = True

    def close(self) -> None:
        """Close, whatever state it is in."""
        self._connected.close()

    def _send(self, data: bytes) -> None:
        # A relay that has refused and closed need not take the rest.
        if not self._gone:
            try:
                self._connected.send(data)
            except (BrokenPipeError, ConnectionResetError):
                self._gone = True

    def _read_until(self, enough: Callable[[], bool]) -> None:
        while self.end == "open" and not enough():
            self._read_some()

    def _read_some(self) -> None:
        try:
            data = self._connected.receive()
        except TimeoutError:
            self.answers.faults.append(f"nothing more came; the client has {self.received[-300:]!r}")
            self.end = "stuck"
        except OSError:
            self.end = "reset"
        else:
            if not data:
                self.end = "fin"
                self.answers.end()
            self.received += data
            self.answers.feed(data)

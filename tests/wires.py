"""Sockets that a test plays by hand: blocking, one call after the other, with a limit on every wait."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread

# How long a test waits for what must come. Nothing is measured with it.
PATIENCE_SECONDS = 20.0

# Turns of the reactor in which everything that is on its way arrives: accept, read, connect, write, and some more.
TURNS = 8


def in_reactor(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call something on the reactor's thread and wait for its result, a Deferred's too."""
    return blockingCallFromThread(reactor, call, *args, **kwargs)


class Wire:
    """One end of a connection, played by hand: blocking, with a limit on every wait."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(PATIENCE_SECONDS)
        self.socket = connected
        self._held = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_until(self, mark: bytes) -> bytes:
        """Bytes up to and with `mark`; what follows is kept for the next read."""
        while mark not in self._held:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(f"the connection ended after {self._held!r}, before {mark!r}")
            self._held += data
        end = self._held.index(mark) + len(mark)
        found, self._held = self._held[:end], self._held[end:]
        return found

    def read_head(self) -> bytes:
        """A request or response head, with its blank line."""
        return self.read_until(b"\r\n\r\n")

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        pieces, have = [self._held], len(self._held)
        while have < count:
            data = self.socket.recv(min(65536, count - have))
            if not data:
                raise EOFError(f"the connection ended after {have} of {count} bytes")
            pieces.append(data)
            have += len(data)
        data = b"".join(pieces)
        self._held = data[count:]
        return data[:count]

    def read_chunks(self) -> bytes:
        """The content of a chunked body, without trailers; its framing has to be without fault."""
        pieces = []
        while size := int(self.read_until(b"\r\n"), 16):
            pieces.append(self.read(size))
            assert self.read(2) == b"\r\n"
        assert self.read(2) == b"\r\n"
        return b"".join(pieces)

    def read_all(self) -> bytes:
        """Everything up to the other side's orderly end. Raises ConnectionResetError for a RST."""
        pieces = [self._held]
        self._held = b""
        while data := self.socket.recv(65536):
            pieces.append(data)
        return b"".join(pieces)

    def arrived(self) -> bytes:
        """What has come by now, without waiting; `b""` for an end too."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self._held += self.socket.recv(65536)
        self.socket.settimeout(PATIENCE_SECONDS)
        data, self._held = self._held, b""
        return data

    def ending(self) -> bytes:
        """Wait for the end, orderly or not; what came before it."""
        pieces = [self._held]
        self._held = b""
        with contextlib.suppress(ConnectionResetError):
            while data := self.socket.recv(65536):
                pieces.append(data)
        return b"".join(pieces)

    def send_until_full(self, data: bytes) -> int:
        """Send until nothing moves any more, neither here nor in the reactor; how much was taken."""
        sent, idle = 0, 0
        self.socket.setblocking(False)
        while idle < TURNS and sent < len(data):
            try:
                sent += self.socket.send(data[sent : sent + 65536])
                idle = 0
            except BlockingIOError:
                in_reactor(lambda: None)
                idle += 1
        self.socket.settimeout(PATIENCE_SECONDS)
        return sent

    def send_aside(self, data: bytes) -> threading.Thread:
        """Send in a thread of its own, for more than buffers hold; errors end it, and the test sees what is missing."""

        def send() -> None:
            with contextlib.suppress(OSError):
                self.socket.sendall(data)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        return thread

    def echo_aside(self, count: int) -> threading.Thread:
        """Send back so many bytes as they come, in a thread of its own; errors end it."""

        def echo() -> None:
            left = count
            with contextlib.suppress(OSError):
                while left and (data := self.socket.recv(65536)):
                    self.socket.sendall(data)
                    left -= len(data)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        return thread

    def finish(self) -> None:
        """Send FIN; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def was_reset(self) -> bool:
        """Wait for the end; True for a RST, False for an orderly end."""
        try:
            self.read_all()
        except ConnectionResetError:
            return True
        return False


class RawServer:
    """An upstream that a test plays by hand."""

    def __init__(self, family: int = socket.AF_INET, name: Any = ("127.0.0.1", 0), backlog: int = 128) -> None:
        self.listening = socket.socket(family, socket.SOCK_STREAM)
        self.listening.bind(name)
        self.listening.listen(backlog)
        self.listening.settimeout(PATIENCE_SECONDS)
        self.accepted: list[Wire] = []

    @property
    def address(self) -> str:
        """As a configuration names it."""
        name = self.listening.getsockname()
        return f"unix:{name}" if isinstance(name, str) else f"127.0.0.1:{name[1]}"

    def accept(self) -> Wire:
        connected, _ = self.listening.accept()
        self.accepted.append(Wire(connected))
        return self.accepted[-1]

    def nobody_came(self) -> bool:
        """Whether no connection is waiting to be accepted right now."""
        self.listening.setblocking(False)
        try:
            connected, _ = self.listening.accept()
        except BlockingIOError:
            return True
        finally:
            self.listening.settimeout(PATIENCE_SECONDS)
        connected.close()
        return False

    def close(self) -> None:
        self.listening.close()
        for wire in self.accepted:
            wire.close()


@contextlib.contextmanager
def raw_server(**how: Any) -> Iterator[RawServer]:
    """A `RawServer` for a block."""
    server = RawServer(**how)
    try:
        yield server
    finally:
        server.close()

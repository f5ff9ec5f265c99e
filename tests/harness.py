"""What tests play with: a relay on real sockets, and with `wires` client and upstream, played by hand.

The reactor runs in a thread of its own, so a test is a straight script: connect, send, accept, read, compare. Every
blocking call has a generous limit, which only a failing test reaches.
"""

import fcntl
import gc
import json
import os
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.wires import PATIENCE_SECONDS, TURNS, RawServer, Wire, in_reactor, raw_server
from wsrelay.config import load
from wsrelay.control.service import RelayService
from wsrelay.net.legs import Leg
from wsrelay.net.stream import Stream

__all__ = [
    "PATIENCE_SECONDS",
    "SWITCHED",
    "TURNS",
    "UPGRADE",
    "HandTime",
    "RawServer",
    "Relay",
    "Wire",
    "http",
    "in_reactor",
    "raw_server",
]

UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n\r\n"
)


class HandTime:
    """The reactor, with a time that stands still until a test moves it; so any limit of time is met at once."""

    def __init__(self) -> None:
        self._clock = Clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        return float(self._clock.seconds())

    def callLater(self, seconds: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As the reactor's; "in the next turn" stays what it is."""
        return (self._clock if seconds else reactor).callLater(seconds, call, *args, **kwargs)  # type: ignore[attr-defined]  # a module, to mypy

    def passes(self, seconds: float) -> None:
        """So much time passes at once, on the reactor's thread."""
        in_reactor(self._clock.advance, seconds)

    @property
    def timers(self) -> int:
        """How many calls wait for a time to come."""
        return len(in_reactor(self._clock.getDelayedCalls))


class Relay:
    """A whole relay from a configuration text, in this process. Its access log is read line by line as it comes."""

    def __init__(self, text: str, folder: Path, over: Any = reactor) -> None:
        """Start it. `[relay]` must not be in the text; put its keys above the first table: they are moved there.

        `over` is what it takes for the reactor: a `HandTime`, where the test moves the time.
        """
        fifo = folder / "access.fifo"
        os.mkfifo(fifo)
        self._pipe = os.open(fifo, os.O_RDWR)
        # The relay drops lines for a slow reader, and on a busy machine the thread below is one.
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
        file = folder / "wsrelay.toml"
        file.write_text(f'[relay]\naccess_log = "{fifo}"\naccess_log_format = "json"\n{text}')
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reading = threading.Thread(target=self._read_log, daemon=True)
        self._reading.start()
        self._clients: list[Wire] = []
        self._stopped = False
        try:
            self.service = RelayService(load.read(file).settings, over)
            in_reactor(self.service.privilegedStartService)
            in_reactor(self.service.startService)
        except BaseException:
            self._end_reading()
            raise

    def _read_log(self) -> None:
        with os.fdopen(self._pipe, "rb", buffering=0) as pipe:
            held = b""
            while data := pipe.read(65536):
                held += data
                *lines, held = held.split(b"\n")
                for line in lines:
                    if line == b"stop":
                        return
                    self._lines.put(json.loads(line))

    def _end_reading(self) -> None:
        if self._reading.is_alive():
            os.write(self._pipe, b"stop\n")
            self._reading.join(PATIENCE_SECONDS)

    def port(self, index: int = 0) -> int:
        """The port of the listener at this place in the file."""
        return int(self.service.listening[index].name.rpartition(":")[2])

    def connect(self, index: int = 0, source: str = "127.0.0.1") -> Wire:
        """A plain client at an address of its own: all of 127.0.0.0/8 is loopback."""
        place = ("127.0.0.1", self.port(index))
        return self._keep(socket.create_connection(place, PATIENCE_SECONDS, source_address=(source, 0)))

    def connect_unix(self, path: str) -> Wire:
        """A plain client on a UNIX socket."""
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(path)
        return self._keep(connected)

    def connect_tls(self, context: ssl.SSLContext, index: int = 0, name: str | None = "localhost", **how: Any) -> Wire:
        """A TLS client."""
        plain = socket.create_connection(("127.0.0.1", self.port(index)), PATIENCE_SECONDS)
        return self._keep(context.wrap_socket(plain, server_hostname=name, **how))

    def _keep(self, connected: socket.socket) -> Wire:
        self._clients.append(Wire(connected))
        return self._clients[-1]

    def forget_clients(self) -> None:
        """The clients so far are closed and not needed any more."""
        self._clients.clear()

    def line(self, **wanted: Any) -> dict[str, Any]:
        """Wait for the next access-log line with these values; lines before it are dropped."""
        while True:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
            if all(line.get(key) == value for key, value in wanted.items()):
                return line

    def next_line(self) -> dict[str, Any]:
        """Wait for the next access-log line, whatever it is."""
        return self._lines.get(timeout=PATIENCE_SECONDS)

    def settle(self) -> None:
        """Let the reactor take whatever has been sent to it: an accept, a read, and what follows from it.

        What is in a socket when this begins is read before it ends, since each call comes in a turn of its own.
        """
        for _ in range(TURNS):
            in_reactor(lambda: None)

    def lines(self) -> list[dict[str, Any]]:
        """All access-log lines that are left, once the relay is stopped."""
        assert self._stopped
        self._end_reading()
        return [self._lines.get() for _ in range(self._lines.qsize())]

    @property
    def sessions(self) -> int:
        """How many sessions live."""
        return int(in_reactor(lambda: len(self.service.live)))

    @property
    def unsent(self) -> int:
        """Bytes that wait for slow readers; quicker to find than all that is `buffered`."""
        legs = in_reactor(lambda: [one.waiting for one in reactor.getWriters() if isinstance(one, Leg)])  # type: ignore[attr-defined]  # a module, to mypy
        return sum(legs)

    @property
    def buffered(self) -> int:
        """Bytes that all open legs of this process keep for a slow reader, and all streams for a busy one."""

        def count() -> int:
            found = gc.get_objects()
            legs = sum(one.waiting for one in found if isinstance(one, Leg) and not one.closed)
            return legs + sum(one.held for one in found if isinstance(one, Stream) and not one.leg.closed)

        return int(in_reactor(count))

    def stop(self) -> None:
        """Stop the service as SIGTERM does, and wait for its end."""
        if not self._stopped:
            self._stopped = True
            in_reactor(self.service.stopService)

    def dispose(self) -> None:
        """Close the clients, end what is left, stop."""
        for client in self._clients:
            client.close()
        in_reactor(self.service.live.end_all)
        self.stop()
        self._end_reading()


def http(upstream: RawServer, more: str = "", route: str = "", listen: str = "") -> str:
    """A configuration: one plain http listener, one upstream, one route for everything. `more` comes before them."""
    return f"""{more}
[[listen]]
address = "127.0.0.1:0"
{listen}
[[upstream]]
name = "app"
servers = ["{upstream.address}"]
[[route]]
path = "/"
upstream = "app"
{route}
"""

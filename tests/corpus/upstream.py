"""The scripted upstreams: one thread, real sockets. They record every byte, and play what the case says.

Nothing of wsrelay is used here.
"""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

from tests.corpus.playing import Connection, Reached
from tests.corpus.scripts import Script
from tests.wires import PATIENCE_SECONDS

GROUPS = ("app", "admin", "tenant")


class ScriptedUpstreams:
    """The three groups, each with a listening socket, all played by one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._listening = {group: socket.create_server(("127.0.0.1", 0), backlog=128) for group in GROUPS}
        for group, listening in self._listening.items():
            listening.setblocking(False)
            self._selector.register(listening, selectors.EVENT_READ, group)
        self._bell, self._ringer = socket.socketpair()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._script = Script()
        self._connections: list[Connection] = []
        self._collecting = False
        self._collected = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def ports(self) -> dict[str, int]:
        """The port of each group."""
        return {group: int(listening.getsockname()[1]) for group, listening in self._listening.items()}

    def play(self, script: Script) -> None:
        """From now on: this."""
        with self._lock:
            self._script = script

    def collect(self) -> tuple[Reached, ...]:
        """What has reached the upstreams since the last time, once all connections have ended; they are forgotten."""
        self._collected.clear()
        self._collecting = True
        self._ring()
        ended = self._collected.wait(PATIENCE_SECONDS)
        self._collecting = False
        assert ended, "a connection to an upstream is still open"
        with self._lock:
            connections, self._connections = self._connections, []
        return tuple(each.reached() for each in connections)

    def end_all(self) -> None:
        """End all connections: who keeps them for others need not end them by himself."""
        with self._lock:
            for each in self._connections:
                self._unregister(each)
                each.close()

    def seen(self) -> int:
        """How many bytes have come since the last `collect`."""
        with self._lock:
            return sum(len(each.reached().received) for each in self._connections)

    def close(self) -> None:
        """End the thread; all sockets are closed."""
        self._ended = True
        self._ring()
        self._thread.join(PATIENCE_SECONDS)
        for each in (*self._listening.values(), self._bell, self._ringer, self._selector):
            each.close()

    def _ring(self) -> None:
        self._ringer.send(b"!")

    def _run(self) -> None:
        while not self._ended:
            events = self._selector.select()
            with self._lock:
                for key, mask in events:
                    self._step(key, mask)
                if self._collecting and not any(each.open for each in self._connections) and not self._accept_all():
                    self._collecting = False
                    self._collected.set()

    def _step(self, key: selectors.SelectorKey, mask: int) -> None:
        if key.fileobj is self._bell:
            self._bell.recv(64)
        elif isinstance(key.data, str):
            self._accept_all()
        else:
            connection: Connection = key.data
            if not connection.open:  # an earlier event of the same turn
                return
            if mask & selectors.EVENT_READ:
                connection.readable()
            if connection.open and mask & selectors.EVENT_WRITE:
                connection.writable()
            self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        if connection.open:
            writing = selectors.EVENT_WRITE if connection.wants_to_write else 0
            self._selector.modify(connection.socket, selectors.EVENT_READ | writing, connection)
        else:
            self._unregister(connection)

    def _unregister(self, connection: Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)

    def _accept_all(self) -> bool:
        """Take all who wait; whether there was one."""
        found = False
        for group, listening in self._listening.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    connected, _ = listening.accept()
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection = Connection(connected, group, self._script)
                    self._connections.append(connection)
                    self._selector.register(connected, selectors.EVENT_READ, connection)
                    found = True
        return found


@contextlib.contextmanager
def scripted_upstreams() -> Iterator[ScriptedUpstreams]:
    """`ScriptedUpstreams` for a block."""
    upstreams = ScriptedUpstreams()
    try:
        yield upstreams
    finally:
        upstreams.close()

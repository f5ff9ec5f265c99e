"""One look at a connection's first bytes, its far end, and a time that only the test moves."""

import contextlib
import queue
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import reactor
from twisted.python.failure import Failure

from tests.contracts.peers import a_turn, tcp_pair
from tests.harness import PATIENCE_SECONDS, HandTime, in_reactor
from wsrelay.core.outcomes import Loss, Side
from wsrelay.core.refusal import Lost
from wsrelay.net.peek import Peek

Reader = Callable[[bytes], str | int]
Pair = Callable[[], tuple[socket.socket, socket.socket]]

WHOLE = bytes(range(200)) * 3
# The pause where the kernel cannot wait for a number of bytes.
NEXT_LOOK_SECONDS = 0.01
# The longest one, while nothing more comes.
LAST_LOOKS_SECONDS = 1.0


def needs(*sizes: int) -> Reader:
    """Asks for so many bytes, then for more, and is content with the last of these."""
    return lambda data: next((size for size in sizes if size > len(data)), f"seen {sizes[-1]}")


class Look:
    """One look under way at our end of a connection; the test has the far end."""

    def __init__(self, ours: socket.socket, far: socket.socket, over: HandTime, read: Reader, most: int) -> None:
        self.ours, self.far, self.over = ours, far, over
        far.settimeout(PATIENCE_SECONDS)
        self._read = read
        self.looks: list[int] = []
        """How many bytes there were each time that the reader was asked."""
        self._told: queue.Queue[object] = queue.Queue()
        self.peek: Peek[str] = in_reactor(self._begin, most)

    def _begin(self, most: int) -> Peek[str]:
        peek = Peek(self.over, self.ours, self._counted, most)  # type: ignore[arg-type]  # stands in for a reactor
        peek.done.addBoth(self._told.put)
        return peek

    def _counted(self, data: bytes) -> str | int:
        self.looks.append(len(data))
        return self._read(data)

    @property
    def is_done(self) -> bool:
        """Whether it is over, once the reactor has taken what was sent to it."""
        a_turn()
        return not self._told.empty()

    def result(self) -> object:
        """Wait for its end: what was seen, or the error."""
        told = self._told.get(timeout=PATIENCE_SECONDS)
        return told.value if isinstance(told, Failure) else told

    def lost(self) -> Loss | None:
        """It has ended with the loss of the client; how."""
        error = self.result()
        assert isinstance(error, Lost)
        assert error.side is Side.CLIENT
        return error.loss

    def reset(self) -> None:
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()

    @property
    def watches(self) -> bool:
        """Whether the reactor looks at our end for anybody, or at this look."""
        return bool(in_reactor(lambda: [one for one in _every() if one is self.peek or one.fileno() == self._number]))

    @property
    def _number(self) -> int:
        return self.ours.fileno()

    @property
    def least(self) -> int:
        """From how many bytes on the kernel calls our end readable."""
        return self.ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    def left_nothing(self) -> bool:
        """No descriptor in the reactor, no timer, no mark on the socket, and the socket is open."""
        return (self.watches, self.over.timers, self.least) == (False, 0, 1) and self._number >= 0

    def unread(self) -> bytes:
        """What is in the socket for whoever reads next."""
        with contextlib.suppress(BlockingIOError):
            return self.ours.recv(1 << 20)
        return b""


def _every() -> list[Any]:
    return [*reactor.getReaders(), *reactor.getWriters()]  # type: ignore[attr-defined]  # a module, to mypy


Begin = Callable[..., Look]


@contextlib.contextmanager
def looks() -> Iterator[Begin]:
    """Begin any number of them; nothing of any may be left behind."""
    made: list[Look] = []

    def start(
        read: Reader | None = None,
        *,
        first: bytes = b"",
        ended: bool = False,
        most: int = 4096,
        pair: Pair = tcp_pair,
    ) -> Look:
        """`first`, and an end, are there before the look begins."""
        ours, far = pair()
        if first:
            far.sendall(first)
        if ended:
            far.shutdown(socket.SHUT_WR)
        made.append(Look(ours, far, HandTime(), read or needs(len(WHOLE)), most))
        return made[-1]

    yield start
    found = [look.left_nothing() for look in made]
    for look in made:
        look.ours.close()
        look.far.close()
    assert all(found)

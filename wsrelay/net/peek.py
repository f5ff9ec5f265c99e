"""What a connection begins with, looked at and not taken: a PROXY line, a ClientHello. Knows neither.

Bytes that we read would be lost to OpenSSL, and to the upstream that a connection is passed on to; hence MSG_PEEK.
"""

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.core.outcomes import Loss, Side
from wsrelay.core.refusal import Lost, Refusal
from wsrelay.net.legs import Reactor

Seen = TypeVar("Seen")

# Where the kernel cannot wait for so many bytes (UNIX sockets; behind a byte of urgent data), the next look is after
# this long, which no person notices; while nothing more comes, after twice as long each time, up to the second one.
_NEXT_LOOK_SECONDS = 0.01
_LAST_LOOKS_SECONDS = 1.0

# POLLRDHUP is Linux's: elsewhere an end is noticed with the limit of time.
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


@implementer(IReadDescriptor)
class Peek(Generic[Seen]):
    """A look at a client's first bytes, until they make sense or cannot.

    Attributes:
        done: Fires with what `read` made of them, or fails with its Refusal, or with Lost. Cancelling it ends the look.
            The connection stays open in any case, with every byte in it.
        heard: Whether any byte has come.
    """

    def __init__(
        self, reactor: Reactor, connected: socket.socket, read: Callable[[bytes], Seen | int], most: int
    ) -> None:
        """Look, now and until `done`.

        Args:
            reactor: Nobody else may wait for the socket on it meanwhile.
            connected: Non-blocking.
            read: Gets all bytes so far; answers how many it needs at least where these are too few, or raises Refusal.
            most: The most that `read` ever needs.
        """
        self._reactor = reactor
        self._socket = connected
        self._read = read
        self._most = most
        self._needed = 1
        self._had = 0
        self._pause = _NEXT_LOOK_SECONDS
        self._later: IDelayedCall | None = None
        self.heard = False
        self.done: Deferred[Seen] = Deferred(lambda _: self._leave())
        self._look()

    def fail(self, error: Exception) -> None:
        """Give up with `error`."""
        self._leave()
        self.done.errback(error)

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Constant: Twisted asks before every event."""
        return "peek"

    def doRead(self) -> None:
        """There is more to see, or the other end has ended."""
        if not self.done.called:
            self._look()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error or hang-up, and has taken us out of epoll: the next look says which."""
        if not self.done.called:
            self._look()

    def _look(self) -> None:
        self._later = None
        try:
            data = self._socket.recv(self._most, socket.MSG_PEEK)
        except BlockingIOError:
            self._reactor.addReader(self)
            return
        except OSError:
            self.fail(Lost(Side.CLIENT, Loss.RESET))
            return
        self.heard = self.heard or bool(data)
        try:
            seen = self._read(data) if data else self._needed
        except Refusal as refusal:
            self.fail(refusal)
            return
        if isinstance(seen, int):
            self._wait_for(seen, len(data))
        else:
            self._leave()
            self.done.callback(seen)

    def _wait_for(self, needed: int, have: int) -> None:
        if self._has_gone():
            # What there is is all there will be; but some of it may have come since we looked.
            self._look_again(have)
        elif needed == self._needed and have:
            # Woken for too few: the kernel cannot wait for more, or is short of memory. It would wake us all the time.
            self._reactor.removeReader(self)
            self._pause = min(2 * self._pause, _LAST_LOOKS_SECONDS) if have == self._had else _NEXT_LOOK_SECONDS
            self._had = have
            self._later = self._reactor.callLater(self._pause, self._look)
        else:
            self._needed = needed
            # Readable means from now on: so many bytes. Bytes that are only looked at stay, and would wake us for ever.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, needed)
            self._reactor.addReader(self)

    def _look_again(self, have: int) -> None:
        with suppress(OSError):
            if len(self._socket.recv(self._most, socket.MSG_PEEK)) > have:
                self._look()
                return
        self.fail(Lost(Side.CLIENT, None))

    def _has_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, _GONE)
        return bool(poll.poll(0))

    def _leave(self) -> None:
        self._reactor.removeReader(self)
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._needed > 1:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

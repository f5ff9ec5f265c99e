"""TLS handshakes, up to the first bytes behind them: the interface, and the way on the reactor thread.

A connection is under its handshake before it is a leg's to read and write. Knows nothing of certificates.
"""

import os
import socket
from collections.abc import Callable
from typing import Protocol

import attrs
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from twisted.internet.interfaces import IReactorFDSet, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.core.outcomes import Loss


@attrs.frozen
class Shaken:
    """How a handshake ended."""

    heard: bool
    """Whether any byte has come; without one the other end was only looking whether the port is open."""
    first: bytes = b""
    """What has come right behind it, decrypted; perhaps not all."""
    loss: Loss | None = None
    """None if the connection is secured."""
    problem: str = ""
    """What went wrong, for logs."""
    ended: bool = False
    """Whether the other end has said its end right behind it."""
    plain: bool = False
    """Whether it has begun with a letter, as HTTP without TLS does. Nothing of it has been taken off the socket."""


PLAIN = Shaken(heard=True, loss=Loss.TLS, problem="what came is not TLS", plain=True)
"""How every one ends whose first byte is a capital letter, as a method's. Records of TLS begin with a byte below 32."""


class Handshake(Protocol):
    """One under way."""

    def give_up(self) -> None:
        """Close the connection, as soon as nobody uses it; `done` is not called any more."""


class Begin(Protocol):
    """How a handshake is begun: as a server or as a client."""

    def __call__(
        self, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> Handshake:
        """Do one. Until `done`, called once on the reactor thread and not before this returns, both are its own."""


class Handshakes(Protocol):
    """What does handshakes; one for a process."""

    def prepare(self, context: SSL.Context, *, http: bool) -> None:
        """Called for each context of a server before it is used; `http` where it answers ALPN with `http/1.1`."""

    def as_server(
        self, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> Handshake:
        """Begin one that the other end begins."""

    def as_client(
        self, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> Handshake:
        """Begin one with our own ClientHello."""

    def open(self) -> None:
        """Called once before the first handshake, on the reactor thread, after any fork."""

    def shut(self) -> None:
        """Called once when no session is left."""


class ReactorHandshakes:
    """Handshakes on the reactor thread, on every platform."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._reactor = reactor

    def open(self) -> None:
        """Nothing to do."""

    def shut(self) -> None:
        """Nothing to do: one that was given up is closed at once."""

    def prepare(self, context: SSL.Context, *, http: bool) -> None:
        """Nothing to do: the context's own callbacks serve."""

    def as_server(
        self, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> Handshake:
        """Wait for the client's first bytes, then go on as they come."""
        handshake = _ReactorHandshake(self._reactor, connection, connected, done)
        self._reactor.addReader(handshake)
        return handshake

    def as_client(
        self, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> Handshake:
        """Send our ClientHello in the next turn, then go on as bytes come."""
        handshake = _ReactorHandshake(self._reactor, connection, connected, done)
        handshake.speaks_first()
        return handshake


@implementer(IReadWriteDescriptor)
class _ReactorHandshake:
    __slots__ = ("_connected", "_connection", "_done", "_heard", "_reactor")

    def __init__(
        self,
        reactor: IReactorFDSet,
        connection: SSL.Connection,
        connected: socket.socket,
        done: Callable[[Shaken], None],
    ) -> None:
        self._reactor = reactor
        self._connection = connection
        self._connected = connected
        self._done: Callable[[Shaken], None] | None = done
        self._heard = False

    def speaks_first(self) -> None:
        """Begin with bytes of ours. Whatever comes is an answer to them, and never HTTP without TLS from a client."""
        self._heard = True
        self._reactor.addWriter(self)

    def give_up(self) -> None:
        """Close the connection."""
        self._leave_reactor()
        self._done = None
        self._connected.close()

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._connected.fileno()

    def logPrefix(self) -> str:
        """Constant: Twisted asks before every event."""
        return "handshake"

    def doRead(self) -> None:
        """The socket is readable, or so an old event of another one says: then nothing comes of it."""
        if self._done is None:
            return
        if not self._heard:
            try:
                first = self._connected.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(Shaken(False, b"", Loss.RESET, str(error)))
                return
            self._heard = bool(first)
            if first.isupper():
                self._end(PLAIN)
                return
        self._go_on()

    def doWrite(self) -> None:
        """The socket is writable, which the handshake was waiting for."""
        if self._done is not None:
            self._go_on()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error or hang-up: the next step says which. It has taken us out of epoll."""
        if self._done is not None:
            self._go_on()

    def _go_on(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._reactor.addReader(self)
            self._reactor.removeWriter(self)
        except SSL.WantWriteError:
            # Bytes that wait to be read would make the reactor spin.
            self._reactor.removeReader(self)
            self._reactor.addWriter(self)
        except SSL.Error as error:
            self._end(Shaken(self._heard, b"", *loss_of(error, "during the handshake")))
        else:
            self._end(Shaken(self._heard))

    def _end(self, shaken: Shaken) -> None:
        self._leave_reactor()
        done, self._done = self._done, None
        assert done is not None
        done(shaken)

    def _leave_reactor(self) -> None:
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)


def loss_of(error: SSL.Error, when: str = "without close_notify") -> tuple[Loss, str]:
    """What an error of OpenSSL means for the connection, and in words."""
    if isinstance(error, SSL.SysCallError):
        # pyOpenSSL leaves a failed write's error in the queue of the thread, where OpenSSL before 4.0 takes it for the
        # next connection's.
        Binding.lib.ERR_clear_error()
        number = error.args[0]
        return (Loss.TRUNCATED, f"the connection ended {when}") if number == -1 else (Loss.RESET, os.strerror(number))
    if isinstance(error, SSL.ZeroReturnError):
        return Loss.RESET, "the other end takes nothing after its own close_notify"
    reasons = [entry[2] for entry in error.args[0]] if error.args else []
    return Loss.TLS, "; ".join(reasons) or "unknown TLS error"

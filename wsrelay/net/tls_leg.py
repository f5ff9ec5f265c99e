"""A leg under TLS: OpenSSL on the socket itself. Knows nothing of certificates; `tls` makes the contexts.

OpenSSL between us and the socket brings duties that a plain leg has not, each with its test: bytes that it has
already decrypted raise no event; a read may have to write first and a write to read first; an end without
close_notify is a truncation (RFC 8446 6.1), not an end.
"""

import socket

from OpenSSL import SSL
from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

from wsrelay.core.outcomes import Loss
from wsrelay.net import takeover
from wsrelay.net.handshakes import Begin, Handshake, Shaken, loss_of
from wsrelay.net.legs import NOBODY, READ_BYTES, Leg, Reactor

# The most that one TLS record carries (RFC 8446 5.1), and so what one SSL_read gives and one SSL_write takes.
RECORD_BYTES = 16 * 1024

MISTRUSTED = "certificate verify failed"
"""What OpenSSL says where the other end's certificate is the cause; `problem` then says why behind it."""


@implementer(IReadWriteDescriptor)
class TlsLeg(Leg):
    """One TLS connection. `secure` begins the handshake; `receiver.secured` tells of its end.

    Attributes:
        heard: Whether any byte has come; without one the other end was only looking whether the port is open.
        greeted: Whether a whole ClientHello has come.
        server_name: What it says by SNI, in lower case; empty if nothing.
        plain: The same connection without TLS, where HTTP without it has come; then this leg is lost.
    """

    __slots__ = (
        "_again",
        "_begin",
        "_read_wants_write",
        "_shaking",
        "_tls",
        "_write_wants_read",
        "greeted",
        "heard",
        "plain",
        "server_name",
    )

    def __init__(
        self, connected: socket.socket, reactor: Reactor, address: str, connection: SSL.Connection, secure: Begin
    ) -> None:
        """Take over a connected, non-blocking socket.

        Args:
            connected: The socket.
            reactor: As for any leg.
            address: As for any leg.
            connection: OpenSSL's side of it, before its handshake.
            secure: Does that: a method of `Handshakes`.
        """
        super().__init__(connected, reactor, address)
        self._tls = connection
        takeover.read_no_further(connection)
        self._begin = secure
        self._shaking: Handshake | None = None
        self.heard = self.greeted = False
        self.server_name = ""
        self.plain: Leg | None = None
        self._read_wants_write = False
        self._write_wants_read = False
        self._again = False

    @property
    def version(self) -> str:
        """The protocol agreed on, such as `TLSv1.3`."""
        return self._tls.get_protocol_version_name()

    @property
    def waiting(self) -> int:
        """Bytes written but not yet taken by the kernel; 1 while only our close_notify is not."""
        return len(self._out) or int(self._finishing and not (self._shut or self.closed))

    def secure(self) -> None:
        """Begin the handshake; the receiver hears `secured` or `lost`. Until then only `close` and `abort` are allowed.

        OpenSSL's side may be in another thread's hands meanwhile.
        """
        self._shaking = self._begin(self._tls, self._socket, self._shaken)

    def resume(self) -> None:
        """Read; what OpenSSL holds already is delivered in the next turn, since no event will tell of it."""
        super().resume()
        if self._reading and self._tls.pending():
            self._read_again()

    def pause(self) -> None:
        """Read no more; a write that waits for bytes of the other end still gets them."""
        if self._write_wants_read:
            self._reading = False
        else:
            super().pause()

    def close(self) -> None:
        """Close at once. OpenSSL's memory (about 22 kB) goes now, not when the last reference does."""
        if self._shaking is not None:
            self._shaking.give_up()
            self._shaking, self.closed, self.receiver = None, True, NOBODY
            del self._tls
        elif not self.closed:
            self._write_wants_read = False
            self._reactor.removeReader(self)
            super().close()
            del self._tls

    @property
    def connection(self) -> SSL.Connection:
        """OpenSSL's side of it, for who takes the leg over; gone once the leg is closed."""
        return self._tls

    def hand_over(self) -> socket.socket:
        """As a plain leg's. OpenSSL's side must have been taken before: it goes with the last reference to it."""
        self._write_wants_read = False
        self._reactor.removeReader(self)
        connected = super().hand_over()
        del self._tls
        return connected

    def doRead(self) -> None:
        """The socket is readable, which may be what a write was waiting for."""
        if self._write_wants_read:
            self._write_wants_read = False
            self._continue_writing()
        if self._reading and not self.closed:
            self._read()
        elif not self.closed:
            self._leave_reactor_if_paused()

    def doWrite(self) -> None:
        """The socket is writable, which may be what a read was waiting for."""
        if self._read_wants_write:
            self._read_wants_write = False
            if self._reading:
                self._reactor.addReader(self)
                self._read()
        if not self.closed:
            self._continue_writing()

    def _shaken(self, shaken: Shaken) -> None:
        self._shaking = None
        self.heard = shaken.heard
        self.ended = shaken.ended
        self.server_name = (self._tls.get_servername() or b"").decode("latin-1").lower().removesuffix(".")
        if shaken.plain:
            self._go_on_without_tls(shaken.problem)
        elif shaken.loss is not None:
            self.greeted = self._tls.client_random() is not None
            why = takeover.mistrust(self._tls) if shaken.problem.endswith(MISTRUSTED) else ""
            self._lose(shaken.loss, f"{shaken.problem}: {why}" if why else shaken.problem)
        else:
            self.greeted = True
            self.receiver.secured(shaken.first)

    def _go_on_without_tls(self, problem: str) -> None:
        receiver, self.problem = self.receiver, problem
        self.plain = Leg(self.hand_over(), self._reactor, self.address)
        receiver.lost(Loss.TLS)

    def _read(self) -> None:
        """Deliver at most `READ_BYTES` as one piece, so that the other leg writes once."""
        pieces: list[bytes] = []
        stop: SSL.Error | None = None
        for _ in range(READ_BYTES // RECORD_BYTES):
            try:
                pieces.append(self._tls.recv(RECORD_BYTES))
            except SSL.Error as error:
                stop = error
                break
            if len(pieces[-1]) < RECORD_BYTES and not self._tls.pending():
                break  # the reactor tells if there is more; asking for it would cost an exception for each message
        if pieces:
            self.receiver.received(b"".join(pieces) if len(pieces) > 1 else pieces[0])
        if self.closed:
            return
        if stop is None:
            if self._reading and self._tls.pending():
                self._read_again()
        elif isinstance(stop, SSL.WantWriteError):
            self._read_wants_write = True
            self._reactor.removeReader(self)  # bytes that wait to be read would make it spin
            self._reactor.addWriter(self)
        elif isinstance(stop, SSL.ZeroReturnError):
            self._end()
        elif not isinstance(stop, SSL.WantReadError):
            loss, problem = loss_of(stop)
            if loss is Loss.TRUNCATED and self._shut:
                # We have said our end, and browsers answer that with a plain FIN. What is cut off is nothing.
                self._end()
            else:
                self._lose(loss, problem)

    def _read_again(self) -> None:
        if not self._again:
            self._again = True
            self._reactor.callLater(0, self._read_held)

    def _read_held(self) -> None:
        self._again = False
        if self._reading and not self.closed:
            self._read()

    def _send(self, data: bytes | bytearray) -> int:
        """Send record by record until all is taken or OpenSSL has to wait."""
        assert self._shaking is None, "written to during its handshake"
        taken = 0
        while taken < len(data):
            try:
                # A copy of at most one record: OpenSSL wants the same bytes again after a wait, and gets them,
                # since they stay at the front of the buffer.
                count = self._tls.send(bytes(data[taken : taken + RECORD_BYTES]))
            except SSL.WantWriteError:
                self._reactor.addWriter(self)
                break
            except SSL.WantReadError:
                self._write_wants_read = True
                self._reactor.addReader(self)
                break
            except SSL.Error as error:
                self._fail(loss_of(error)[1])
                break
            taken += count
            self.moved += count
        return taken

    def _continue_writing(self) -> None:
        if self._write_wants_read:
            # Only readability helps now; a writable socket would make the reactor spin.
            self._reactor.removeWriter(self)
        elif self._out or (self._finishing and not self._shut):
            super().doWrite()
        elif not self._read_wants_write:
            self._reactor.removeWriter(self)

    def _leave_reactor_if_paused(self) -> None:
        if not self._write_wants_read:
            self._reactor.removeReader(self)

    def _shut_down(self) -> None:
        """Send close_notify; the TCP connection stays until both have (RFC 8446 6.1)."""
        assert self._shaking is None, "ended during its handshake"
        try:
            self._tls.shutdown()
        except SSL.WantWriteError:
            self._reactor.addWriter(self)
            return
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            problem = loss_of(error)[1]
            # Who has said its end and is gone needs none from us (RFC 8446 6.1).
            if not self.ended:
                self._fail(problem)
                return
        self._shut = True

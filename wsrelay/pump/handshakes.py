"""TLS handshakes on threads of C: the Python side. As `net.handshakes` wants it, over the C in `pump.h`."""

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IReactorFDSet

from wsrelay.core.outcomes import Loss
from wsrelay.net.handshakes import PLAIN, Handshake, Shaken
from wsrelay.pump._native import ffi, lib
from wsrelay.pump.bell import Bell, tls_calls

# Where OpenSSL's own words do not say what an operator can look for.
_EXPLAINED = {"no application protocol": "the client offers no http/1.1 by ALPN"}


class NativeHandshakes:
    """Handshakes on threads that hold no GIL."""

    def __init__(
        self,
        reactor: IReactorFDSet,
        address_of: Callable[[SSL.Connection], int],
        text_of: Callable[[int], str],
        choose_protocol: Callable[[SSL.Context, int], None],
        take_name: Callable[[SSL.Context, int], None],
        functions: Mapping[str, int],
        threads: int,
    ) -> None:
        """Nothing is started before `open`.

        Args:
            reactor: On whose thread ends are told.
            address_of: The address of a connection's `SSL`.
            text_of: What an error of the TLS library says.
            choose_protocol: Has a context's ALPN answered by the C function at an address.
            take_name: The same for a client's server name.
            functions: The addresses of the TLS library's functions, by their names in `struct tls_calls`.
            threads: At least one.
        """
        self._reactor = reactor
        self._address_of = address_of
        self._text_of = text_of
        self._choose_protocol = choose_protocol
        self._take_name = take_name
        self._functions = functions
        self._threads = threads
        self._handshakes: Any = ffi.NULL
        self._end = ffi.new("struct handshake_end *")
        self._under_way: dict[int, _NativeHandshake] = {}

    def open(self) -> None:
        """Start the threads.

        Raises:
            OSError: The system has no more threads or descriptors.
        """
        made = ffi.new("struct handshakes **")
        error = lib.handshakes_new(made, self._threads, tls_calls(self._functions))
        if error:
            raise OSError(error, os.strerror(error), "threads for TLS handshakes")
        self._handshakes = made[0]
        self._bell = Bell(self._reactor, lib.handshakes_descriptor(self._handshakes), self._told)

    def shut(self) -> None:
        """End the threads; what was given up and not yet told of is closed."""
        if self._handshakes != ffi.NULL:
            self._bell.take_down()
            lib.handshakes_free(self._handshakes)
            self._handshakes = ffi.NULL
            for each in self._under_way.values():
                each.connected.close()
            self._under_way.clear()

    def prepare(self, context: SSL.Context, *, http: bool) -> None:
        """Have names and ALPN answered in C: Python would have to wait for the GIL."""
        self._take_name(context, int(ffi.cast("uintptr_t", lib.pump_take_any_name())))
        if http:
            self._choose_protocol(context, int(ffi.cast("uintptr_t", lib.pump_choose_http())))

    def as_server(
        self, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> Handshake:
        """Give it to a thread, until its end."""
        return self._begin(connection, connected, done, speaks_first=False)

    def as_client(
        self, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> Handshake:
        """Give it to a thread, until its end."""
        return self._begin(connection, connected, done, speaks_first=True)

    def _begin(
        self,
        connection: SSL.Connection,
        connected: socket.socket,
        done: Callable[[Shaken], None],
        *,
        speaks_first: bool,
    ) -> Handshake:
        assert self._handshakes != ffi.NULL, "begun after the end"
        ssl = ffi.cast("void *", self._address_of(connection))
        handshake = lib.handshake_start(self._handshakes, connected.fileno(), ssl, speaks_first)
        if handshake == ffi.NULL:
            raise MemoryError("no memory for a handshake")
        begun = _NativeHandshake(handshake, connection, connected, done)
        self._under_way[int(ffi.cast("uintptr_t", handshake))] = begun
        return begun

    def _told(self) -> None:
        end = self._end
        # The last session's end may be what the service has waited for to `shut`.
        while self._handshakes != ffi.NULL and lib.handshakes_next_end(self._handshakes, end):
            begun = self._under_way.pop(int(ffi.cast("uintptr_t", end.handshake)))
            begun.let_go()
            try:
                shaken = self._shaken(end)
            finally:
                lib.handshake_forget(end.handshake)
            begun.end(shaken)

    def _shaken(self, end: Any) -> Shaken:
        heard, how = bool(end.heard), end.how
        if how == lib.HANDSHAKE_DONE:
            first = bytes(ffi.buffer(end.first, end.first_bytes)) if end.first_bytes else b""
            return Shaken(heard, first, ended=bool(end.ended))
        if how == lib.HANDSHAKE_PLAIN:
            return PLAIN
        if how == lib.HANDSHAKE_LOST:
            return Shaken(heard, b"", Loss.RESET, os.strerror(end.system_error))
        if how == lib.HANDSHAKE_REFUSED:
            text = self._text_of(end.error)
            return Shaken(heard, b"", Loss.TLS, _EXPLAINED.get(text, text))
        return Shaken(heard, b"", Loss.TRUNCATED, "the connection ended during the handshake")


class _NativeHandshake:
    """One under way. Keeps what the thread uses alive until the thread has said that it does not."""

    __slots__ = ("_connection", "_done", "_handshake", "connected")

    def __init__(
        self, handshake: Any, connection: SSL.Connection, connected: socket.socket, done: Callable[[Shaken], None]
    ) -> None:
        self._handshake: Any = handshake
        self._connection = connection
        self._done: Callable[[Shaken], None] | None = done
        self.connected = connected

    def give_up(self) -> None:
        """Close the connection as soon as the thread has let go of it."""
        self._done = None
        if self._handshake is None:
            self.connected.close()
        else:
            lib.handshake_stop(self._handshake)

    def let_go(self) -> None:
        """The thread uses nothing any more, and its own memory is about to be freed."""
        self._handshake = None

    def end(self, shaken: Shaken) -> None:
        """What the thread has told."""
        done, self._done = self._done, None
        if done is None:
            self.connected.close()
        else:
            done(shaken)

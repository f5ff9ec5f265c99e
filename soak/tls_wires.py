"""A connection under TLS, as a client. OpenSSL works on memory here, so that both directions stay apart to the end."""

import asyncio
import contextlib
import socket

from OpenSSL import SSL

from soak.wires import PATIENCE, READ_BYTES, End, Gone, Wire


class TlsWire(Wire):
    """One connection under TLS, as a client. `shake_hands` comes first.

    Attributes:
        bare: Whether its orderly end is close_notify alone, as many libraries do it, or FIN comes behind it, as with
            browsers.
    """

    secure = True

    def __init__(
        self, connected: socket.socket, context: SSL.Context, session: SSL.Session | None, patience: float = PATIENCE
    ) -> None:
        """Begin with an earlier session, where there is one."""
        super().__init__(connected, patience)
        self.bare = False
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        self._tls.set_tlsext_host_name(b"localhost")
        if session is not None:
            self._tls.set_session(session)
        self._flushing = asyncio.Lock()

    @property
    def session(self) -> SSL.Session | None:
        """What a later connection may resume."""
        return self._tls.get_session()

    async def shake_hands(self) -> None:
        """The TLS handshake.

        Raises:
            Gone: It failed.
            Stuck: It took too long.
        """
        while True:
            try:
                self._tls.do_handshake()
                break
            except SSL.WantReadError:
                await self._flush()
                self._tls.bio_write(await self._some_of_the_handshake())
            except SSL.Error as error:
                raise Gone(f"the TLS handshake failed: {error}") from None
        await self._flush()

    async def _some_of_the_handshake(self) -> bytes:
        data = await self._receive(READ_BYTES)
        if not data:
            raise Gone("the connection ended inside the TLS handshake")
        return data

    async def read(self, most: int = READ_BYTES) -> bytes:
        """As a plain one's."""
        while self.end is None:
            try:
                return self._tls.recv(most)
            except SSL.WantReadError:
                data = await self._receive(READ_BYTES)
                if data:
                    self._tls.bio_write(data)
                elif self.end is End.ORDERLY:
                    self.end = End.TRUNCATED
            except SSL.ZeroReturnError:
                self.end = End.ORDERLY
            except SSL.Error:
                self.end = End.BROKEN
        return b""

    async def send(self, data: bytes) -> None:
        """As a plain one's."""
        rest = memoryview(data)
        while rest:
            piece, rest = rest[:READ_BYTES], rest[READ_BYTES:]
            try:
                self._tls.sendall(piece)
            except SSL.Error as error:
                raise Gone(f"TLS: {error}") from None
            await self._flush()

    async def finish(self) -> None:
        """Send close_notify; reading goes on."""
        try:
            self._tls.shutdown()
        except SSL.Error as error:
            raise Gone(f"TLS: {error}") from None
        await self._flush()
        if not self.bare:
            with contextlib.suppress(Gone):  # our end has been said, and that counts
                self._shut()

    def _truncate(self) -> None:
        with contextlib.suppress(Gone):
            self._shut()

    async def _flush(self) -> None:
        async with self._flushing:
            while True:
                try:
                    data = self._tls.bio_read(READ_BYTES)
                except SSL.WantReadError:
                    return
                await self._deliver(data)

"""Two wires that are connected with each other, for tests of what reads and writes them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from OpenSSL import SSL

from soak.tls_wires import TlsWire
from soak.wires import Wire

PATIENCE = 30.0


class ServerWire(TlsWire):
    """The server's end, which the soak itself has no use for."""

    def __init__(self, connected: socket.socket, context: SSL.Context) -> None:
        super().__init__(connected, context, None, PATIENCE)
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    return one, other


@contextlib.asynccontextmanager
async def plain_pair(patience: float = PATIENCE) -> AsyncIterator[tuple[Wire, Wire]]:
    one, other = (Wire(each, patience) for each in tcp_pair())
    try:
        yield one, other
    finally:
        one.close()
        other.close()


@contextlib.asynccontextmanager
async def tls_pair(client: SSL.Context, server: SSL.Context) -> AsyncIterator[tuple[TlsWire, TlsWire]]:
    one, other = tcp_pair()
    wires = TlsWire(one, client, None, PATIENCE), ServerWire(other, server)
    try:
        await asyncio.gather(*(wire.shake_hands() for wire in wires))
        yield wires
    finally:
        for wire in wires:
            wire.close()

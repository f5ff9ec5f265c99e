"""The `websockets` package under TLS, each end on one thread.

Its blocking interface reads and writes one SSLSocket from two threads, which OpenSSL does not allow: about one
connection in a hundred hangs or breaks under load, with nginx as with us. So its asyncio interface is used here, and
the client looks like the blocking one.
"""

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Response

from tests.harness import PATIENCE_SECONDS

T = TypeVar("T")


class TlsClient:
    """A client whose methods wait. Between calls nothing moves."""

    def __init__(self, url: str, trust: ssl.SSLContext, **how: Any) -> None:
        self._loop = asyncio.new_event_loop()
        if "source_address" in how:
            how["local_addr"] = how.pop("source_address")
        try:
            self._connection = self._run(self._open(url, ssl=trust, **how))
        except BaseException:
            self._loop.close()
            raise

    @staticmethod
    async def _open(url: str, **how: Any) -> ClientConnection:
        connecting = connect(url, **how)
        return await connecting.__aenter__()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(work, PATIENCE_SECONDS))

    @property
    def response(self) -> Response | None:
        return self._connection.response

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    @property
    def close_code(self) -> int | None:
        return self._connection.close_code

    def send(self, message: str | bytes | Iterable[str]) -> None:
        self._run(self._connection.send(message))

    def recv(self, timeout: float | None = None) -> str | bytes:
        return self._run(self._connection.recv())

    def recv_streaming(self) -> list[str | bytes]:
        async def pieces() -> list[str | bytes]:
            return [piece async for piece in self._connection.recv_streaming()]

        return self._run(pieces())

    def ping_and_wait(self, data: bytes) -> bool:
        async def both_ways() -> bool:
            await (await self._connection.ping(data))
            return True

        return self._run(both_ways())

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._run(self._connection.close(code, reason))

    def __enter__(self) -> "TlsClient":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        finally:
            self._loop.close()


async def answer(connection: ServerConnection) -> None:
    """As `peers.answer`."""
    assert connection.request is not None
    if connection.request.path.startswith("/head"):
        await connection.send(json.dumps([*connection.request.headers.raw_items()]))
    async for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await connection.close(int(code), reason)
        elif message == "in pieces":
            await connection.send(["a", "", "b" * 70_000, "c"])
        else:
            await connection.send(message)


@contextlib.contextmanager
def serving_tls(**how: Any) -> Iterator[int]:
    """Run the echo server for a block; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Any:
        return await serve(answer, "127.0.0.1", 0, **how)

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE_SECONDS)
    try:
        yield next(iter(server.sockets)).getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(PATIENCE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_SECONDS)
        loop.close()

"""Where clients connect, what they connect to, and how other programs are found and run."""

import contextlib
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from websockets.exceptions import NegotiationError
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from tests.e2e.websockets_tls import TlsClient
from tests.harness import PATIENCE_SECONDS

NODE = Path(__file__).parent / "node"
MOST_BYTES = 2 * 1024 * 1024


@attrs.frozen
class Upstream:
    """An upstream that speaks the same protocol with and without TLS."""

    plain: int
    secure: int


@attrs.frozen
class Edge:
    """Where clients connect."""

    way: str
    port: int
    trust: ssl.SSLContext | None
    """For clients; None without TLS."""
    root: Path
    """What they trust, as PEM."""

    @property
    def reads_heads(self) -> bool:
        """Whether a relay on the way understands HTTP."""
        return not self.way.startswith("layer 4")

    def url(self, scheme: str, path: str = "/") -> str:
        """`ws` becomes wss, and `http` https, where there is TLS."""
        return f"{scheme}{'s' if self.trust else ''}://localhost:{self.port}{path}"


WAYS = ("plain", "tls", "layer 4 plain", "layer 4 with our tls", "layer 4 passing tls", "two relays")


def configuration(port: int, listen: str, before: str = "", route: bool = True) -> str:
    """A relay with one listener in front of `port`."""
    text = f'{before}\n[[upstream]]\nname = "app"\nservers = ["127.0.0.1:{port}"]\n'
    text += f'[[listen]]\naddress = "127.0.0.1:0"\n{listen}\n'
    return text + ('[[route]]\npath = "/"\nupstream = "app"\n' if route else "")


# The `websockets` package as upstream.


def answer(connection: ServerConnection) -> None:
    """Tell the request's fields where asked to, then echo; `close CODE REASON` closes."""
    assert connection.request is not None
    if connection.request.path.startswith("/head"):
        connection.send(json.dumps([*connection.request.headers.raw_items()]))
    for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            connection.close(int(code), reason)
        elif message == "in pieces":
            connection.send(iter(["a", "", "b" * 70_000, "c"]))
        else:
            connection.send(message)


@contextlib.contextmanager
def serving(server: Server) -> Iterator[int]:
    """Run a `websockets` server for a block; its port."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join(PATIENCE_SECONDS)


def choose(connection: object, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The second of two protocols that we know, the first, none without an offer; an unknown one is declined."""
    known = [Subprotocol(name) for name in ("chat.v2", "chat.v1") if name in offered]
    if offered and not known:
        raise NegotiationError("none of these")
    return known[0] if known else None


def echo_server() -> Server:
    return serve(answer, "127.0.0.1", 0, select_subprotocol=choose, max_size=MOST_BYTES)


class PlainClient(ClientConnection):
    """The blocking client of `websockets`."""

    def ping_and_wait(self, data: bytes) -> bool:
        return self.ping(data).wait(PATIENCE_SECONDS)


def open_websocket(edge: Edge, path: str = "/", **how: Any) -> PlainClient | TlsClient:
    """A client of the `websockets` package, to be used as a context."""
    how = {"max_size": MOST_BYTES, "open_timeout": PATIENCE_SECONDS, **how}
    if edge.trust is not None:
        return TlsClient(edge.url("ws", path), edge.trust, **how)
    opened = connect(edge.url("ws", path), create_connection=PlainClient, **how)
    return cast(PlainClient, opened)


def needed(name: str, package: str) -> str:
    """The path of a program, or a skip that says what to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed; on Debian and Ubuntu: apt install {package}")
    return found


def run_node(node: str, script: str, *arguments: str, root: Path) -> dict[str, object]:
    """Run a script of tests/e2e/node to its end; the JSON that it prints."""
    done = subprocess.run(
        [node, str(NODE / script), *arguments],
        env={"NODE_EXTRA_CA_CERTS": str(root)}, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told

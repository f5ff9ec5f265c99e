"""HTTP and WebSocket peers other than `websockets`: uvicorn as upstream, wsproto and curl as clients."""

import hashlib
import json
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import pytest
import uvicorn
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from tests.e2e.peers import WAYS, Edge, Upstream, needed, open_websocket
from tests.harness import PATIENCE_SECONDS

pytestmark = pytest.mark.e2e

Start = Callable[[str, Upstream], Edge]
Message = MutableMapping[str, Any]

TERMINATED = [way for way in WAYS if way != "layer 4 passing tls"]
READING = ["plain", "tls", "two relays"]


async def application(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Tell what arrived: of a request its scheme, client and body; of a WebSocket every message."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{scope['scheme']} {message['text']}"})
        return
    digest, length = hashlib.sha256(), 0
    while True:
        message = await receive()
        digest.update(message["body"])
        length += len(message["body"])
        if not message.get("more_body"):
            break
    told = {"scheme": scope["scheme"], "client": scope["client"][0], "sha256": digest.hexdigest(), "length": length}
    told["path"] = scope["raw_path"].decode()
    # No Content-Length, so that the answer comes in chunks.
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-served-by", b"uvicorn")]})
    await send({"type": "http.response.body", "body": json.dumps(told).encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"\n"})


@pytest.fixture(scope="module")
def asgi() -> Iterator[Upstream]:
    """An ASGI application in uvicorn, which believes the relay's forwarded fields."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            application, lifespan="off", log_level="warning", ws="wsproto", forwarded_allow_ips="127.0.0.1"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Upstream(listening.getsockname()[1], 0)
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


def curl(edge: Edge, path: str, *arguments: str) -> tuple[str, str]:
    """What curl prints: the head, and the body."""
    command = [needed("curl", "curl"), "-sS", "-i", "--http1.1", "--cacert", str(edge.root)]
    done = subprocess.run(
        [*command, *arguments, edge.url("http", path)], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    head, _, content = done.stdout.rpartition("\n\n")
    return head, content


@pytest.mark.parametrize("way", TERMINATED)
def test_curl_gets_an_answer_of_uvicorn(edge: Start, asgi: Upstream, way: str) -> None:
    through = edge(way, asgi)
    head, content = curl(through, "/a%20b?c=d")
    assert head.startswith("HTTP/1.1 200 ")
    assert "x-served-by: uvicorn" in head
    told = json.loads(content)
    assert (told["path"], told["length"]) == ("/a%20b", 0)
    # An application behind layer 4 cannot know better.
    assert told["scheme"] == ("https" if through.trust and through.reads_heads else "http")


@pytest.mark.parametrize("way", READING)
@pytest.mark.parametrize("chunked", [False, True])
def test_curl_uploads_a_body(edge: Start, asgi: Upstream, way: str, chunked: bool, tmp_path: Any) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "body").write_bytes(content)
    more = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    _, told = curl(edge(way, asgi), "/", "--data-binary", f"@{tmp_path}/body", *more)
    assert json.loads(told)["sha256"] == hashlib.sha256(content).hexdigest()


def test_curl_reuses_its_connection(edge: Start, asgi: Upstream) -> None:
    through = edge("tls", asgi)
    url = through.url("http")
    command = [needed("curl", "curl"), "-sS", "--http1.1", "--cacert", str(through.root), "-w", "%{num_connects}\n"]
    done = subprocess.run([*command, url, url, url], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["1", "0", "0"]


@pytest.mark.parametrize("way", TERMINATED)
def test_a_websocket_of_uvicorn_is_reached(edge: Start, asgi: Upstream, way: str) -> None:
    through = edge(way, asgi)
    with open_websocket(through) as client:
        client.send("hello")
        expected = "wss" if through.trust and through.reads_heads else "ws"
        assert client.recv(PATIENCE_SECONDS) == f"{expected} hello"


class WsprotoClient:
    """wsproto, which has no sockets of its own."""

    def __init__(self, edge: Edge) -> None:
        plain = socket.create_connection(("localhost", edge.port), PATIENCE_SECONDS)
        self.socket = edge.trust.wrap_socket(plain, server_hostname="localhost") if edge.trust else plain
        self._websocket = WSConnection(ConnectionType.CLIENT)
        self._events: Iterator[Event] = iter(())
        self.send(Request(host="localhost", target="/", extensions=[PerMessageDeflate()]))

    def send(self, event: Event) -> None:
        self.socket.sendall(self._websocket.send(event))

    def event(self) -> Event:
        while (event := next(self._events, None)) is None:
            data = self.socket.recv(65536)
            self._websocket.receive_data(data or None)
            self._events = self._websocket.events()
        return event


@pytest.mark.parametrize("way", WAYS)
def test_wsproto_is_served(edge: Start, echo: Upstream, way: str) -> None:
    client = WsprotoClient(edge(way, echo))
    with client.socket:
        accepted = client.event()
        assert isinstance(accepted, AcceptConnection)
        assert [type(each) for each in accepted.extensions] == [PerMessageDeflate]
        client.send(TextMessage(data="one ", message_finished=False))
        client.send(Ping(payload=b"between"))
        client.send(TextMessage(data="two"))
        assert client.event() == Pong(payload=b"between")
        assert client.event() == TextMessage(data="one two")
        client.send(BytesMessage(data=b"\x00" * 1000))
        assert client.event() == BytesMessage(data=bytearray(1000))
        client.send(CloseConnection(code=4003, reason="enough"))
        closed = client.event()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 4003

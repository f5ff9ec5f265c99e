"""Node's `ws` and `socket.io`, on every way through the relay."""

import json
from collections.abc import Callable

import pytest

from tests.e2e.peers import NODE, WAYS, Edge, Upstream, open_websocket, run_node
from tests.harness import PATIENCE_SECONDS
from tests.running import Running

pytestmark = pytest.mark.e2e

Start = Callable[[str, Upstream], Edge]
Program = Callable[..., Running]

# Those that need TLS of the upstream itself are for `test_websockets`.
TERMINATED = [way for way in WAYS if way != "layer 4 passing tls"]


def upstream(program: Program, node: str, script: str) -> Upstream:
    port = int(program(node, str(NODE / script)).line(r"^port (\d+)$")[1])
    return Upstream(port, 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_ws_client_is_served(edge: Start, echo: Upstream, node: str, way: str) -> None:
    through = edge(way, echo)
    saw = run_node(node, "ws-client.js", through.url("ws"), root=through.root)
    assert "permessage-deflate" in str(saw.pop("extensions"))
    assert saw == {
        "text": "h\u00e9llo", "binary": True, "pieces": "one two", "pong": "p", "code": 4002, "reason": "bye"
    }  # fmt: skip


@pytest.mark.parametrize("way", ["plain", "two relays"])
def test_a_ws_server_is_reached(edge: Start, program: Program, node: str, way: str) -> None:
    through = edge(way, upstream(program, node, "ws-server.js"))
    with open_websocket(through) as client:
        client.send(b"\x00\xff" * 40_000)
        assert client.recv(PATIENCE_SECONDS) == b"\x00\xff" * 40_000
        client.send("head")
        fields = json.loads(client.recv(PATIENCE_SECONDS))
    assert fields["x-forwarded-proto"] == ("https" if through.trust else "http")
    assert (fields["connection"], fields["upgrade"]) == ("upgrade", "websocket")


def test_ws_speaks_with_ws(edge: Start, program: Program, node: str) -> None:
    through = edge("tls", upstream(program, node, "ws-server.js"))
    saw = run_node(node, "ws-client.js", through.url("ws"), root=through.root)
    assert (saw["binary"], saw["code"]) == (True, 4002)


@pytest.mark.parametrize("way", TERMINATED)
def test_socket_io_begins_with_polling_and_changes_to_websocket(
    edge: Start, program: Program, node: str, way: str
) -> None:
    through = edge(way, upstream(program, node, "socketio-server.js"))
    saw = run_node(node, "socketio-client.js", through.url("http"), root=through.root)
    assert saw == {
        "began": "polling", "first": "first", "transport": "websocket", "large": 200_000, "bytes": [1, 2, 3]
    }  # fmt: skip

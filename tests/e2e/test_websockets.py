"""The `websockets` package talks to itself, on every way through the relay."""

import json
import random
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from tests.e2e.peers import WAYS, Edge, Upstream, open_websocket
from tests.harness import PATIENCE_SECONDS

pytestmark = pytest.mark.e2e

Start = Callable[[str, Upstream], Edge]


@pytest.fixture(params=WAYS)
def through(request: pytest.FixtureRequest, edge: Start, echo: Upstream) -> Edge:
    return edge(request.param, echo)


def test_text_and_binary_come_back(through: Edge) -> None:
    with open_websocket(through) as client:
        for message in (
            "hello",
            "",
            "\u4f60\u597d \U0001f600",
            b"",
            bytes(range(256)),
            "x" * 125,
            "x" * 126,
            b"y" * 65_536,
        ):
            client.send(message)
            assert client.recv(PATIENCE_SECONDS) == message


def test_a_ping_is_answered_by_the_other_end(through: Edge) -> None:
    with open_websocket(through) as client:
        assert client.ping_and_wait(b"are you there")


def test_fragments_stay_one_message(through: Edge) -> None:
    with open_websocket(through) as client:
        client.send(iter(["one ", "", "two ", "three" * 20_000]))
        assert client.recv(PATIENCE_SECONDS) == "one two " + "three" * 20_000
        client.send("in pieces")
        assert "".join(client.recv_streaming()) == "a" + "b" * 70_000 + "c"


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_1_mib_come_back_whole(through: Edge, compression: str | None) -> None:
    noise = random.Random(7).randbytes(1024 * 1024)
    with open_websocket(through, compression=compression) as client:
        assert client.response is not None
        assert ("permessage-deflate" in client.response.headers.get("Sec-WebSocket-Extensions", "")) is bool(
            compression
        )
        for message in (noise, b"a" * 1024 * 1024, noise[::-1]):
            client.send(message)
            assert client.recv(PATIENCE_SECONDS) == message


def test_a_subprotocol_is_agreed_on(through: Edge) -> None:
    with open_websocket(through, subprotocols=["chat.v1", "chat.v3"]) as client:
        assert client.subprotocol == "chat.v1"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
def test_the_servers_close_code_and_reason_arrive(through: Edge, code: int) -> None:
    with open_websocket(through) as client:
        client.send(f"close {code} sorry, \u00fcbrigens")
        with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as closed:
            client.recv(PATIENCE_SECONDS)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "sorry, \u00fcbrigens")


def test_the_clients_close_code_is_answered(through: Edge) -> None:
    with open_websocket(through) as client:
        client.close(4001, "enough")
    assert client.close_code == 4001


def test_custom_fields_arrive_and_the_relay_adds_its_own(through: Edge) -> None:
    sent = {"X-Custom": "  a  b ", "Authorization": "Bearer t", "Cookie": "a=b; c=d"}
    # Another address than the inner relay's client has, so that the two can be told apart.
    with open_websocket(through, "/head?token=x", additional_headers=sent, source_address=("127.0.0.2", 0)) as client:
        got = {name.lower(): value for name, value in json.loads(client.recv(PATIENCE_SECONDS))}
    assert (got["x-custom"], got["authorization"], got["cookie"]) == ("a  b", "Bearer t", "a=b; c=d")
    assert got["host"] == f"localhost:{through.port}"
    added = {name: value for name, value in got.items() if name.startswith("x-") and name != "x-custom"}
    if not through.reads_heads:
        assert added == {}
        return
    scheme = "https" if through.trust else "http"
    forwarded = "127.0.0.2, 127.0.0.1" if through.way == "two relays" else "127.0.0.2"
    assert added == {
        "x-real-ip": "127.0.0.2",
        "x-forwarded-for": forwarded,
        "x-forwarded-proto": scheme,
        "x-forwarded-host": f"localhost:{through.port}",
    }


def test_the_upstreams_own_no_reaches_the_client(through: Edge) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_websocket(through, subprotocols=["unknown"])
    assert refused.value.response.status_code == 400
    assert b"none of these" in refused.value.response.body
    assert "X-Wsrelay-Reason" not in refused.value.response.headers

"""The demo's echo upstream, with wsproto as the client."""

import json

import attrs
import pytest
from twisted.internet.testing import StringTransport
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason

from wsrelay.control.demo_page import Page
from wsrelay.control.demo_upstream import EchoFactory, EchoUpstream

PAGE = Page(b"<!doctype html><p>the page")


@attrs.define
class Talk:
    """One connection to the upstream: `say` gives it bytes, `heard` takes what it answered so far."""

    upstream: EchoUpstream = attrs.Factory(lambda: EchoFactory(PAGE).buildProtocol(None))
    transport: StringTransport = attrs.Factory(StringTransport)

    def __attrs_post_init__(self) -> None:
        self.upstream.makeConnection(self.transport)

    def say(self, data: bytes) -> None:
        self.upstream.dataReceived(data)

    def heard(self) -> bytes:
        said = self.transport.value()
        self.transport.clear()
        return said


@attrs.define
class WebSocket:
    """A WebSocket client on a `Talk`."""

    talk: Talk = attrs.Factory(Talk)
    client: WSConnection = attrs.Factory(lambda: WSConnection(ConnectionType.CLIENT))

    def send(self, event: Event) -> list[Event]:
        self.talk.say(self.client.send(event))
        return self.events()

    def events(self) -> list[Event]:
        self.client.receive_data(self.talk.heard())
        return list(self.client.events())


def get(target: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: demo", *fields, b"", b""])


def body(response: bytes) -> bytes:
    """The body of the one response that this is, by its own Content-Length."""
    head, _, rest = response.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(rest) in head.split(b"\r\n")
    return rest


def opened(**request: object) -> WebSocket:
    """A WebSocket that is open, its first message read."""
    socket = WebSocket()
    accepted, _ = socket.send(Request(host="demo", target="/wss", **request))  # type: ignore[arg-type]  # forwarded
    assert isinstance(accepted, AcceptConnection)
    return socket


def test_the_page_is_at_the_root_with_its_policy() -> None:
    talk = Talk()
    talk.say(get(b"/?x=1"))
    response = talk.heard()
    assert response.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/html")
    assert b"\r\nContent-Security-Policy: " + PAGE.policy + b"\r\n" in response
    assert body(response) == PAGE.html


def test_the_head_is_shown_as_received_byte_for_byte() -> None:
    talk = Talk()
    request = get(b"/head", b"X-Odd-CASE:  two spaces", b"Cookie: a=b", b"X-Latin: \xe9")
    talk.say(request)
    assert body(talk.heard()) == request


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_a_request_in_pieces_is_the_same_request(cut: int) -> None:
    talk = Talk()
    request = get(b"/head", b"X-Some: thing")
    for start in range(0, len(request), cut):
        assert talk.heard() == b""
        talk.say(request[start : start + cut])
    assert body(talk.heard()) == request


def test_requests_on_one_connection_are_answered_in_order() -> None:
    talk = Talk()
    first, second = get(b"/head", b"X-Number: 1"), get(b"/head", b"X-Number: 2")
    talk.say(first + second[:10])
    assert body(talk.heard()) == first
    talk.say(second[10:])
    assert body(talk.heard()) == second
    assert not talk.transport.disconnecting


def test_any_other_path_gets_a_line_of_text() -> None:
    talk = Talk()
    talk.say(get(b"/elsewhere"))
    assert body(talk.heard()).startswith(b"GET /elsewhere reached the demo's upstream")


def test_a_body_is_read_and_counted_and_the_connection_goes_on() -> None:
    talk = Talk()
    talk.say(b"POST /up HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    assert talk.heard() == b""
    talk.say(b"lo\r\n0\r\n\r\n")
    assert b"with 5 bytes of body" in body(talk.heard())
    talk.say(get(b"/"))
    assert body(talk.heard()) == PAGE.html


def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    talk = Talk()
    talk.say(b"PUT /up HTTP/1.1\r\nHost: demo\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert talk.heard() == b"HTTP/1.1 100 Continue\r\n\r\n"
    talk.say(b"hi")
    assert b"with 2 bytes of body" in body(talk.heard())


def test_an_answer_to_head_has_a_length_and_no_body() -> None:
    talk = Talk()
    talk.say(b"HEAD / HTTP/1.1\r\nHost: demo\r\n\r\n")
    response = talk.heard()
    assert b"Content-Length: %d\r\n" % len(PAGE.html) in response
    assert response.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_head",
    [b"GET /head HTTP/1.0\r\n\r\n", get(b"/head", b"Connection: close")],
    ids=["HTTP/1.0", "Connection: close"],
)
def test_a_client_that_wants_one_answer_gets_it_and_the_end(request_head: bytes) -> None:
    talk = Talk()
    talk.say(request_head + get(b"/"))
    assert body(talk.heard()) == request_head
    assert talk.transport.disconnecting


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (get(b"/", b"X-Long: " + b"x" * 70_000), b"431"),
        (b"POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", b"400"),
        (get(b"/wss", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 12"), b"426"),
    ],
)
def test_what_is_not_a_proper_request_is_refused_and_the_connection_ends(sent: bytes, status: bytes) -> None:
    talk = Talk()
    talk.say(sent)
    talk.say(b"and more")
    assert talk.heard().startswith(b"HTTP/1.1 " + status)
    assert talk.transport.disconnecting


def test_the_first_message_of_a_websocket_is_the_request_head_as_received() -> None:
    socket = WebSocket()
    request = socket.client.send(Request(host="demo", target="/any/path?q=1"))
    socket.talk.say(request)
    accepted, first = socket.events()
    assert isinstance(accepted, AcceptConnection)
    assert isinstance(first, TextMessage)
    assert json.loads(first.data) == {"head": request.decode("latin-1")}


def test_text_and_binary_come_back_as_they_were() -> None:
    socket = opened()
    assert socket.send(TextMessage("grüße")) == [TextMessage("grüße")]
    assert socket.send(BytesMessage(b"\x00\xff")) == [BytesMessage(b"\x00\xff")]


def test_frames_that_came_with_the_request_are_echoed() -> None:
    offered = WSConnection(ConnectionType.CLIENT)
    request = offered.send(Request(host="demo", target="/"))
    early = opened().client.send(TextMessage("early"))
    socket = WebSocket(client=offered)
    socket.talk.say(request + early)
    assert socket.events()[-1] == TextMessage("early")


def test_a_message_in_fragments_comes_back_in_fragments() -> None:
    socket = opened()
    assert socket.send(TextMessage("one ", message_finished=False)) == [TextMessage("one ", message_finished=False)]
    assert socket.send(TextMessage("two")) == [TextMessage("two")]


def test_a_large_message_comes_back_whole() -> None:
    socket = opened()
    large = bytes(range(256)) * 4096
    sent = socket.client.send(BytesMessage(large))
    for start in range(0, len(sent), 65536):
        socket.talk.say(sent[start : start + 65536])
    pieces = socket.events()
    assert all(isinstance(piece, Message) for piece in pieces)
    assert b"".join(bytes(piece.data) for piece in pieces) == large
    assert [piece.message_finished for piece in pieces].count(True) == 1
    assert pieces[-1].message_finished


def test_a_ping_is_answered() -> None:
    assert opened().send(Ping(b"42")) == [Pong(b"42")]


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (CloseConnection(1000, "bye"), CloseConnection(1000, "bye")),
        (CloseConnection(CloseReason.NO_STATUS_RCVD), CloseConnection(CloseReason.NO_STATUS_RCVD)),
    ],
)
def test_a_close_is_answered_and_the_connection_ends(sent: CloseConnection, answered: CloseConnection) -> None:
    socket = opened()
    (close,) = socket.send(sent)
    assert isinstance(close, CloseConnection)
    assert (close.code, close.reason or "") == (answered.code, answered.reason or "")
    assert socket.talk.transport.disconnecting


def test_bytes_after_the_close_are_dropped() -> None:
    socket = opened()
    socket.send(CloseConnection(1000))
    socket.talk.say(b"\x81\x00")
    assert socket.talk.heard() == b""


@pytest.mark.parametrize(
    ("frame", "code"), [(b"\x81\x01a", 1002), (b"\xff\x80\0\0\0\0", 1002), (b"\x81\x81\0\0\0\0\xff", 1007)]
)
def test_a_broken_frame_is_answered_with_its_close_code(frame: bytes, code: int) -> None:
    socket = opened()
    socket.talk.say(frame)
    (close,) = socket.events()
    assert isinstance(close, CloseConnection)
    assert close.code == code
    assert socket.talk.transport.disconnecting


def test_the_first_offered_subprotocol_is_chosen() -> None:
    socket = WebSocket()
    accepted, _ = socket.send(Request(host="demo", target="/", subprotocols=["mqtt", "Chat"]))
    assert accepted == AcceptConnection(subprotocol="mqtt")


def shown(origin: str) -> str:
    """The head that a page of `origin` is shown, its request having credentials."""
    socket = WebSocket()
    headers = [(b"Origin", origin.encode()), (b"COOKIE", b"id=secret"), (b"Authorization", b"Basic secret")]
    _, first = socket.send(Request(host="demo", target="/", extra_headers=headers))
    assert isinstance(first, TextMessage)
    return str(json.loads(first.data)["head"])


@pytest.mark.parametrize("origin", ["https://demo", "http://DEMO"])
def test_a_page_of_the_same_origin_sees_the_whole_head(origin: str) -> None:
    assert shown(origin).count("secret") == 2


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://demo:9999", "https://demo.evil.example"])
def test_a_page_of_another_origin_sees_no_credentials(origin: str) -> None:
    head = shown(origin)
    assert "secret" not in head
    assert head.count("(hidden from a page of another origin)") == 2
    assert f"Origin: {origin}\r\n" in head or f"origin: {origin}\r\n" in head


def test_nothing_is_read_or_answered_while_the_transport_is_full() -> None:
    talk = Talk()
    talk.transport.producer.pauseProducing()
    assert talk.transport.producerState == "paused"
    talk.say(get(b"/") * 2)
    assert talk.heard() == b""
    talk.transport.producer.resumeProducing()
    assert talk.transport.producerState == "producing"
    assert talk.heard().count(PAGE.html) == 2


def test_requests_that_wait_are_answered_one_by_one_as_the_transport_takes_them() -> None:
    talk = Talk()
    write = talk.transport.write

    def write_and_be_full(data: bytes) -> None:
        write(data)
        talk.transport.producer.pauseProducing()

    talk.transport.write = write_and_be_full
    talk.say(get(b"/") * 3)
    assert talk.heard().count(PAGE.html) == 1
    talk.transport.producer.resumeProducing()
    assert talk.heard().count(PAGE.html) == 1


def test_a_lost_connection_does_not_end_the_upstream_twice() -> None:
    talk = Talk()
    talk.transport.producer.stopProducing()
    assert not talk.transport.disconnecting

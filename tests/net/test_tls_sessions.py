"""TLS handshakes with the whole relay: in pieces, too slow, broken off, and no handshakes at all."""

import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.harness import HandTime, RawServer, Relay
from tests.tls import Authority, HandPlayed, front, only, strict, tunnel, versions

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
BIG = 16 * 1024 * 1024


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls_front(relay: Callable[..., Relay], authority: Authority, upstream: RawServer) -> Callable[..., Relay]:
    """Start a relay with TLS in front of `upstream`; arguments are those of `relay`, behind the text."""
    return partial(relay, front(authority, upstream))


@pytest.mark.parametrize("version", versions())
def test_a_handshake_may_come_byte_by_byte(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer, version: ssl.TLSVersion
) -> None:
    client = tls_front().connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(data: bytes) -> None:
        for number in range(len(data)):
            client.send(data[number : number + 1])

    played = HandPlayed(client, only(authority, version))
    played.send_rest(GET, send)
    far = upstream.accept()
    assert b"\r\nX-Forwarded-Proto: https\r\n" in far.read_head()
    far.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere")
    assert played.read(b"here").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_request_in_the_same_segment_as_the_end_of_the_handshake_is_served(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    """OpenSSL holds such bytes already when the handshake is done, and no event tells of them."""
    client = tls_front().connect()
    played = HandPlayed(client, only(authority, ssl.TLSVersion.TLSv1_3))
    held: list[bytes] = []
    client.send(played.step())
    played.listen()
    played.send_rest(GET, held.append)
    client.send(b"".join(held))
    far = upstream.accept()
    assert far.read_head().startswith(b"GET / ")


@pytest.mark.parametrize("sent", [0, 1, 100], ids=["nothing", "one byte", "part of a ClientHello"])
def test_a_handshake_has_a_deadline(tls_front: Callable[..., Relay], authority: Authority, sent: int) -> None:
    time = HandTime()
    server = tls_front(over=time)
    client = server.connect()
    hello = HandPlayed(client, authority.trusting()).step()
    client.send(hello[:sent])
    server.settle()
    time.passes(9.9)
    client.send(hello[sent : sent + 1])  # what still comes does not move the deadline
    server.settle()
    assert server.sessions == 1
    time.passes(0.2)
    line = server.line(event="failed")
    assert (line["outcome"], line["detail"]) == ("tls-timeout", "the handshake was not done in 10 seconds")
    assert client.was_reset()
    assert server.sessions == 0


def test_the_deadline_of_the_handshake_ends_with_it(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    time = HandTime()
    server = tls_front(over=time)
    client = strict(server, authority)
    far = tunnel(client, upstream)
    time.passes(11)
    client.send(b"x")
    assert far.read(1) == b"x"


@pytest.mark.parametrize(
    "garbage",
    [
        b"ssh-2.0-OpenSSH_9.2p1\r\n",
        b"\x00" * 64,
        b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000,
        b"\x80\x2e\x01\x00\x02",
    ],
    ids=["ssh in lower case", "zeros", "an endless record", "SSL 2"],
)
def test_what_is_not_tls_ends_that_session_and_no_other(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer, garbage: bytes
) -> None:
    server = tls_front()
    client = strict(server, authority)
    far = tunnel(client, upstream)
    stranger = server.connect()
    try:
        stranger.send(garbage)
        stranger.finish()
        stranger.was_reset()
    except OSError:
        pass  # the relay had closed before everything was sent
    assert server.line(event="failed")["outcome"] == "tls-failed"
    client.send(b"still here")
    assert far.read(10) == b"still here"
    assert server.sessions == 1


@pytest.mark.parametrize("sent", [GET, b"OPTIONS / HTTP/1.1\r\n", b"G"])
def test_who_forgot_the_s_is_told_in_words(tls_front: Callable[..., Relay], sent: bytes) -> None:
    server = tls_front()
    client = server.connect()
    client.send(sent)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Wsrelay-Reason: plain-http\r\n" in answer
    assert b"https:// or wss://" in answer
    client.close()
    line = server.line(event="exchange")
    assert (line["status"], line["reason"], line["tls"], line["upstream"]) == (400, "plain-http", None, None)


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_a_client_that_leaves_without_a_byte_was_only_looking(
    tls_front: Callable[..., Relay], authority: Authority, how: str
) -> None:
    """Health checks do so every few seconds: no line for them."""
    server = tls_front()
    getattr(server.connect(), how)()
    strict(server, authority).send(b"GET / HTTP/1.0\r\n\x00")
    assert server.next_line()["event"] == "exchange"


@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize("step", ["in the ClientHello", "after the relay's answer", "in its own last message"])
@pytest.mark.parametrize("version", versions())
def test_a_client_may_leave_at_any_step_of_the_handshake(
    tls_front: Callable[..., Relay], authority: Authority, step: str, how: str, version: ssl.TLSVersion
) -> None:
    server = tls_front()
    client = server.connect()
    played = HandPlayed(client, only(authority, version))
    hello = played.step()
    if step == "in the ClientHello":
        client.send(hello[:100])
    else:
        client.send(hello)
        played.listen()
    if step == "in its own last message":
        last = played.step()
        while not last:
            played.listen()
            last = played.step()
        client.send(last[:20])
    getattr(client, how)()
    line = server.line(event="failed")
    assert line["outcome"] == "tls-failed"

    assert line["detail"]
    assert server.sessions == 0


def test_a_fatal_alert_of_the_client_is_named_in_the_log(
    tls_front: Callable[..., Relay], authority: Authority, tmp_path: Path
) -> None:
    """A client that does not trust the certificate is the failure that operators meet most."""
    server = tls_front()
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect_tls(ssl.create_default_context())
    assert "unknown ca" in server.line(outcome="tls-failed")["detail"]

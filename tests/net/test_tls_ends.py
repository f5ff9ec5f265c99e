"""The ends of TLS connections, in order and not, and many bytes through them."""

import contextlib
import hashlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer, Relay, Wire
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
def test_an_orderly_end_of_a_tunnel_is_a_close_notify_both_ways(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer, version: ssl.TLSVersion
) -> None:
    server = tls_front()
    client = server.connect_tls(only(authority, version), suppress_ragged_eofs=False)
    far = tunnel(client, upstream)
    far.send(b"last words")
    far.finish()
    assert client.read_all() == b"last words"
    client.send(b"mine")
    client.socket.unwrap()  # type: ignore[attr-defined]  # an SSLSocket here
    assert far.read_all() == b"mine"
    assert server.line(event="close")["outcome"] == "upstream-closed"


def test_a_clients_close_notify_ends_one_direction_only(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    server = tls_front()
    plain = server.connect()
    played = HandPlayed(plain, authority.trusting())
    played.send_rest(UPGRADE, plain.send)
    far = upstream.accept()
    far.read_head()
    far.send(SWITCHED)
    played.read(b"\r\n\r\n")
    plain.send(played.end())
    assert far.read_all() == b""
    far.send(b"the other way is open")
    far.close()
    assert server.line(event="close")["outcome"] == "client-closed"


def test_an_answer_that_ends_the_connection_ends_with_close_notify(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    client = strict(tls_front(), authority)
    client.send(b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n")
    far = upstream.accept()
    far.read_head()
    far.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    far.close()
    assert client.read_all().endswith(b"until the end")


def test_an_upstream_that_breaks_off_is_not_passed_on_as_an_orderly_end(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    server = tls_front()
    client = strict(server, authority)
    far = tunnel(client, upstream)
    far.send(b"half of it")
    assert client.read(10) == b"half of it"
    far.reset()
    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
        client.read_all()
    assert server.line(event="close")["outcome"] == "upstream-reset"


@pytest.mark.parametrize(("how", "outcome"), [("finish", "client-truncated"), ("reset", "client-reset")])
def test_a_tunnel_that_ends_without_close_notify_has_an_outcome_of_its_own(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer, how: str, outcome: str
) -> None:
    server = tls_front()
    client = strict(server, authority)
    far = tunnel(client, upstream)
    client.send(b"x")
    assert far.read(1) == b"x"
    getattr(client, how)()
    assert far.was_reset()
    assert server.line(event="close")["outcome"] == outcome


def test_a_request_body_that_is_cut_off_does_not_look_complete_to_the_upstream(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    server = tls_front()
    client = strict(server, authority)
    client.send(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 100\r\n\r\nhalf")
    far = upstream.accept()
    far.read_head()
    assert far.read(4) == b"half"
    client.finish()
    assert far.was_reset()
    server.line(event="exchange", status=0)
    assert server.sessions == 0


def test_a_record_that_does_not_decrypt_ends_the_tunnel(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    server = tls_front()
    client = strict(server, authority)
    far = tunnel(client, upstream)
    with socket.socket(fileno=client.socket.detach()) as bare:
        bare.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
        assert far.was_reset()
    assert server.line(event="close")["outcome"] == "client-tls-error"


def test_a_slow_reader_gets_a_big_body_whole(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    block = bytes(range(256)) * 4096
    client = strict(tls_front(), authority)
    # Small, so that the relay has to wait; with very few KiB the kernel probes the window at a snail's pace.
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.send(GET)
    far = upstream.accept()
    far.read_head()
    far.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
    sending = threading.Thread(target=lambda: [far.send(block) for _ in range(BIG // len(block))], daemon=True)
    sending.start()
    client.read_head()
    digest = hashlib.sha256()
    left = BIG
    while left:
        data = client.read(min(left, 5000))
        digest.update(data)
        left -= len(data)
    sending.join(PATIENCE_SECONDS)
    assert digest.digest() == hashlib.sha256(block * (BIG // len(block))).digest()


def send_and_read(client: Wire, data: bytes, count: int) -> bytes:
    """Send and read at once, on one thread: an SSLSocket is not made for two."""
    tls = client.socket
    tls.setblocking(False)
    sent, got = memoryview(data), bytearray()
    while sent or len(got) < count:
        readable, writable, _ = select.select([tls], [tls] if sent else [], [], PATIENCE_SECONDS)
        assert readable or writable, f"nothing moved after {len(got)} bytes, with {len(sent)} to be sent"
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if sent:
                # The same bytes again after a wait, as OpenSSL wants it.
                sent = sent[tls.send(sent[:16384]) :]
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while len(got) < count:
                got += tls.recv(65536)
    return bytes(got)


def test_a_tunnel_carries_much_both_ways_at_once(
    tls_front: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    content = bytes(range(256)) * (BIG // 256)
    client = strict(tls_front(), authority)
    far = tunnel(client, upstream)
    up: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: up.append(far.read(BIG)), daemon=True),
        threading.Thread(target=far.send, args=(content,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    down = send_and_read(client, content, BIG)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    # Not compared by pytest, whose explanation of a difference of 16 MiB takes minutes.
    assert (down == content, up == [content]) == (True, True)

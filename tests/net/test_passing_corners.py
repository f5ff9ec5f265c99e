"""Where looking at a ClientHello meets something else: UNIX sockets, PROXY lines, resets that are quicker than we are.

Public test files, driven through an equivalent configuration: nginx-tests ssl_proxy_protocol.t and h2_ssl_proxy_
protocol.t, for a PROXY line before TLS. The others are named in test_passing.py.
"""

import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.harness import Relay, in_reactor
from tests.net import hellos
from tests.net.passing import ALONE, HTTP, PUMPS, TERMINATED, UNTOUCHED, Ground, ground_of
from tests.tls import Client, context

MODES = pytest.mark.parametrize(
    "mode", [UNTOUCHED, TERMINATED, ALONE, HTTP], ids=["untouched", "terminated", "alone", "http"]
)
HELLO = hellos.hello(b"site.example.com", (b"h2",))
PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n"
PROXIED = "accept_proxy = true\n"
TRUSTED = 'trusted_proxies = ["127.0.0.1"]'


@pytest.fixture
def ground(relay: Callable[..., Relay], tmp_path: Path) -> Iterator[Ground]:
    with ground_of(relay, tmp_path) as made:
        yield made


# UNIX sockets, where the kernel cannot be told how many bytes to wait for.


@pytest.fixture
def path() -> Iterator[str]:
    """Short enough for a UNIX socket, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="wsrelay-") as folder:
        yield f"{folder}/relay.sock"


@PUMPS
@MODES
def test_a_hello_may_come_in_pieces_over_a_unix_socket(ground: Ground, path: str, mode: str, pump: str) -> None:
    running = ground.open(mode, pump=pump, address=f"unix:{path}")
    client = running.connect_unix(path)
    for piece in (HELLO[:1], HELLO[1:7], HELLO[7:60], HELLO[60:]):
        client.send(piece)
        running.settle()
    far = ground["site"].accept()
    assert far.read(len(HELLO)) == HELLO
    for number in range(3):
        client.send(bytes([number]))
        assert far.read(1) == bytes([number])


def test_half_a_hello_over_a_unix_socket_costs_next_to_nothing(ground: Ground, path: str) -> None:
    running = ground.open(UNTOUCHED, address=f"unix:{path}")
    client = running.connect_unix(path)
    client.send(HELLO[:60])
    running.settle()
    began = time.process_time()
    in_reactor(deferLater, reactor, 0.5, lambda: None)
    assert time.process_time() - began < 0.2
    client.finish()
    assert running.line(event="failed")["reason"] == "tls-ended-early"


# A PROXY line first.


@PUMPS
@MODES
@pytest.mark.parametrize("cut", [None, 1, 20, len(PROXY), len(PROXY) + 1, len(PROXY) + 50])
def test_a_proxy_line_is_taken_off_and_the_hello_behind_it_is_not(
    ground: Ground, mode: str, pump: str, cut: int | None
) -> None:
    running = ground.open(mode + PROXIED, pump=pump, general=TRUSTED)
    client = running.connect()
    sent = PROXY + HELLO + b"early data"
    client.send(sent[:cut])
    if cut:
        running.settle()
        client.send(sent[cut:])
    far = ground["site"].accept()
    assert far.read(len(HELLO) + 10) == HELLO + b"early data"
    client.finish()
    assert far.read_all() == b""
    opened = running.line(event="open")
    assert (opened["real_ip"], opened["sni"], opened["route"]) == ("192.0.2.7", "site.example.com", "site")


@PUMPS
def test_tls_that_ends_here_may_come_behind_a_proxy_line(ground: Ground, pump: str) -> None:
    running = ground.open(HTTP + PROXIED, pump=pump, general=TRUSTED)
    wire = running.connect()
    client, hello = hellos.of_openssl("localhost", (b"http/1.1",))
    wire.send(PROXY + hello)
    while not client.get_finished():
        wire.send(hellos.step(client, wire.socket.recv(65536)))
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wire.send(client.bio_read(65536))
    head = ground["rest"].accept().read_head()
    assert b"\r\nX-Real-IP: 192.0.2.7\r\n" in head
    assert b"\r\nX-Forwarded-Proto: https\r\n" in head


@pytest.mark.parametrize("mode", [UNTOUCHED, HTTP], ids=["untouched", "http"])
def test_a_hello_without_the_proxy_line_reaches_nobody(ground: Ground, mode: str) -> None:
    running = ground.open(mode + PROXIED, general=TRUSTED)
    client = running.connect()
    client.send(HELLO)
    client.ending()
    assert running.line(event="failed")["reason"] == "proxy-header"
    ground.nobody_else_came()


# Who is gone before anybody looks.


@MODES
@pytest.mark.parametrize(
    "sent",
    [b"", b"\x16", HELLO[:60], HELLO, hellos.hello(b"nobody.test"), b"ssh", b"GET / HTTP/1.1\r\n\r\n", bytes(30_000)],
    ids=["nothing", "a byte", "half", "whole", "nobody's", "ssh", "http", "much"],
)
def test_a_reset_that_has_come_before_the_first_look_is_no_bug(ground: Ground, mode: str, sent: bytes) -> None:
    """Bytes can still be looked at then, and nothing can be sent any more."""
    running = ground.open(mode)

    def come_and_go() -> None:
        with socket.create_connection(("127.0.0.1", running.port())) as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for _ in range(3):
        in_reactor(come_and_go)
        running.settle()
    while running.sessions:
        running.settle()
    if sent[:1] == b"\x16" and len(sent) == 60:
        assert running.line(event="failed")["reason"] == "tls-ended-early"
    if mode is not HTTP:
        # Whole or not at all: a reset may take with it what had come before.
        assert all(far in (b"", sent) for far in arrived(ground))


def arrived(ground: Ground) -> list[bytes]:
    """What upstreams have got, of those whose client is gone."""
    found = []
    for group in ("site", "chat", "rest"):
        server = ground[group]
        server.listening.setblocking(False)
        try:
            while True:
                far = server.accept()
                found.append(far.ending())
        except BlockingIOError:
            server.listening.settimeout(20)
    return found


# What is between the hello and its answer.


@PUMPS
@pytest.mark.parametrize("mode", [HTTP, TERMINATED], ids=["http", "layer 4"])
def test_an_end_between_two_hellos_is_behind_the_hello(ground: Ground, pump: str, mode: str) -> None:
    """RFC 8446 4.1.4: the first one has no share of a group that the relay takes, so the relay asks for another."""
    running = ground.open(mode, pump=pump)
    wire = running.connect()
    wire.send(hellos.without_share(b"localhost"))
    answer = wire.socket.recv(65536)
    assert answer[0] == 22, "no HelloRetryRequest came"
    assert answer[5] == 2
    wire.finish()
    line = running.line(event="failed")
    assert (line["reason"], line["sni"]) == ("tls-ended", "localhost")


def test_a_client_that_is_served_leaves_no_trace_of_the_look(ground: Ground) -> None:
    running = ground.open(HTTP)
    for _ in range(3):
        client = Client(running.port(), context(alpn=(b"http/1.1",)), "localhost")
        client.tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        far = ground["rest"].accept()
        far.read_head()
        far.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert client.tls.recv(65536)
        client.close()
    ground.nobody_else_came()

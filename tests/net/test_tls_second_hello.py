"""The second ClientHello, behind HelloRetryRequest: what was chosen by the first one stays (RFC 8446 4.1.2)."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

from tests.harness import PATIENCE_SECONDS, RawServer, Relay
from tests.tls import Authority, context

FIRST_WRONG_GROUP = b"P-521:X25519"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def shake_hands(connected: socket.socket, name: str, then: str) -> SSL.Connection:
    """A handshake whose second hello says another name; pyOpenSSL's own check of it is nobody's business here."""
    how = context(version=SSL.TLS1_3_VERSION)
    assert _openssl.lib.SSL_CTX_set1_curves_list(how._context, FIRST_WRONG_GROUP) == 1
    connection = SSL.Connection(how, None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(name.encode())
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        else:
            break
        with contextlib.suppress(SSL.WantReadError):
            connected.sendall(connection.bio_read(65536))
        connection.bio_write(connected.recv(65536))
        connection.set_tlsext_host_name(then.encode())
    connected.sendall(connection.bio_read(65536))
    return connection


@pytest.mark.parametrize("pump", ["reactor", "native"])
def test_a_name_that_only_the_second_hello_says_lets_nobody_in(
    relay: Callable[..., Relay], upstream: RawServer, authority: Authority, pump: str
) -> None:
    """It would be in the log, and in the PROXY line of an upstream, though `unknown_sni` has never seen it."""
    running = relay(
        f'pump = "{pump}"\n[[listen]]\naddress = "127.0.0.1:0"\ntls = [{authority.issue("a.example").toml}]\n'
        f'unknown_sni = "reject"\n[[upstream]]\nname = "app"\nservers = ["{upstream.address}"]\nsend_proxy = 2\n'
        '[[route]]\npath = "/"\nupstream = "app"\n'
    )
    client = running.connect()
    client.socket.settimeout(PATIENCE_SECONDS)
    shake_hands(client.socket, "a.example", "admin.internal")
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"], line["sni"]) == ("tls-failed", "client-hello", "a.example")
    assert upstream.nobody_came()


def test_a_second_hello_that_says_the_same_is_served(relay: Callable[..., Relay], authority: Authority) -> None:
    running = relay(
        f'[[listen]]\naddress = "127.0.0.1:0"\ntls = [{authority.issue("a.example").toml}]\nunknown_sni = "reject"\n'
        '[[route]]\npath = "/"\nrespond = { body = "here" }\n'
    )
    client = running.connect()
    client.socket.settimeout(PATIENCE_SECONDS)
    connection = shake_hands(client.socket, "a.example", "a.example")
    connection.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    client.socket.sendall(connection.bio_read(65536))
    assert running.line(event="exchange")["sni"] == "a.example"

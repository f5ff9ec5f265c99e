"""Certificates of listeners, read at the start and again while a relay runs (`credentials`): who gets which, and when.

When files count as changed is `renewal`'s business, and its tests'. Upstreams are in test_credentials_upstream.py.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.control.renewed import copied, listening, opened, put
from tests.harness import RawServer, Relay, http
from tests.tls import Authority, Client, Issued, context, tunnel

Start = Callable[..., Relay]
PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


# A renewed certificate.


@PUMPS
@VERSIONS
def test_new_handshakes_get_the_renewed_certificate_and_open_connections_go_on(
    relay: Start, authority: Authority, old: Issued, pump: str, version: int
) -> None:
    running = opened(relay, listening(old, pump=pump))
    client = Client(running.relay.port(), context(version=version))
    client.tls.sendall(GET)
    new = authority.issue("localhost")
    put(new, old)
    running.looks(1)
    assert running.shown() == old.sent[0]
    running.looks(1)
    assert running.shown() == new.sent[0] != old.sent[0]
    assert running.failing == {}
    assert client.chain[0] == old.sent[0]
    assert client.get().count(b"here") == 2
    client.close()


@PUMPS
def test_a_tunnel_does_not_notice(relay: Start, authority: Authority, upstream: RawServer, pump: str) -> None:
    issued = authority.issue("localhost")
    text = f'pump = "{pump}"\n' + http(upstream, listen=f"tls = [{issued.toml}]")
    running = opened(relay, text)
    client = running.relay.connect_tls(authority.trusting())
    far = tunnel(client, upstream)
    new = authority.issue("localhost")
    put(new, issued)
    running.looks()
    assert running.shown() == new.sent[0]
    client.send(b"hello")
    assert far.read(5) == b"hello"
    far.send(b"there")
    assert client.read(5) == b"there"


def test_a_handshake_that_is_under_way_ends_with_the_certificate_that_it_began_with(
    relay: Start, authority: Authority, old: Issued
) -> None:
    running = opened(relay, listening(old))
    wire = running.relay.connect()
    client = SSL.Connection(context(), None)
    client.set_connect_state()
    first = out(client)
    wire.send(first[:100])
    running.relay.settle()
    put(authority.issue("localhost"), old)
    running.looks()
    wire.send(first[100:])
    while not client.get_peer_cert_chain(as_cryptography=True):
        client.bio_write(wire.socket.recv(65536))
        wire.send(out(client))
    (leaf, *_) = client.get_peer_cert_chain(as_cryptography=True) or ()
    assert leaf.public_bytes(Encoding.DER) == old.sent[0]


def out(client: SSL.Connection) -> bytes:
    """Go on; what is to be sent then."""
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    try:
        return client.bio_read(65536)
    except SSL.WantReadError:
        return b""


def test_only_the_listener_whose_files_have_changed_is_renewed(
    relay: Start, authority: Authority, old: Issued, tmp_path: Path
) -> None:
    other = copied(old, tmp_path / "other")
    more = f'[[listen]]\nname = "other"\naddress = "127.0.0.1:0"\ntls = [{other.toml}]'
    running = opened(relay, listening(old, more=more))
    new = authority.issue("localhost")
    put(new, other)
    running.looks()
    assert (running.shown(index=0), running.shown(index=1)) == (old.sent[0], new.sent[0])


def test_of_several_certificates_the_one_that_changes_is_renewed(
    relay: Start, authority: Authority, old: Issued
) -> None:
    second = authority.issue("www.example.com")
    running = opened(relay, listening(old, second))
    new = authority.issue("www.example.com", "example.com")
    put(new, second)
    running.looks()
    shown = [running.shown(name) for name in ("localhost", "www.example.com", "example.com", "nobody.example")]
    assert shown == [old.sent[0], new.sent[0], new.sent[0], old.sent[0]]


@PUMPS
def test_the_listener_stays_what_it_was_in_everything_else(
    relay: Start, authority: Authority, old: Issued, pump: str
) -> None:
    """Versions, suites, the protocol by ALPN and unknown names are the operator's, not the certificate's."""
    listen = 'tls_min = "1.3"\nunknown_sni = "reject"\nhsts = "1h"'
    running = opened(relay, listening(old, pump=pump, listen=listen))
    new = authority.issue("localhost")
    put(new, old)
    running.looks()
    assert running.shown() == new.sent[0]
    with pytest.raises(SSL.Error):
        running.shown(how=context(version=SSL.TLS1_2_VERSION))
    with pytest.raises(SSL.Error):
        running.shown("nobody.example")
    with pytest.raises(SSL.Error):
        running.shown(how=context(alpn=(b"h2",)))
    client = Client(running.relay.port(), context(alpn=(b"h2", b"http/1.1")))
    assert client.tls.get_alpn_proto_negotiated() == b"http/1.1"
    assert b"Strict-Transport-Security: max-age=3600" in client.get()
    client.close()


@PUMPS
def test_at_layer_4_certificates_are_renewed_too(
    relay: Start, authority: Authority, old: Issued, upstream: RawServer, pump: str
) -> None:
    text = f"""
pump = "{pump}"
[[listen]]
name = "public"
address = "127.0.0.1:0"
mode = "tcp"
upstream = "app"
tls = [{old.toml}]
[[upstream]]
name = "app"
servers = ["{upstream.address}"]
"""
    running = opened(relay, text)
    new = authority.issue("localhost")
    put(new, old)
    running.looks()
    assert running.shown(how=context(alpn=(b"h2",))) == new.sent[0]


# Ticket keys.


@PUMPS
@VERSIONS
def test_after_a_day_a_session_of_before_is_not_resumed(relay: Start, old: Issued, pump: str, version: int) -> None:
    """Its keys are as old as the context, and whoever learns them can read what was recorded."""
    running = opened(relay, listening(old, pump=pump))
    how = context(version=version)
    # All are kept: OpenSSL forgets the session of a connection that goes without a close_notify of ours.
    clients = [Client(running.relay.port(), how)]
    clients[0].get()

    def resumes() -> bool:
        clients.append(Client(running.relay.port(), how, session=clients[0].tls.get_session()))
        assert clients[-1].get().endswith(b"here")
        return clients[-1].reused

    assert resumes()
    running.over.passes(24 * 3600 - 60)
    running.looks(1)
    assert resumes()
    running.over.passes(120)
    running.looks(1)
    assert not resumes()
    assert running.shown() == old.sent[0]
    for client in clients:
        client.close()


@VERSIONS
def test_a_session_of_the_old_certificate_is_not_resumed_under_the_new_one(
    relay: Start, authority: Authority, old: Issued, version: int
) -> None:
    running = opened(relay, listening(old))
    how = context(version=version)
    first = Client(running.relay.port(), how)
    first.get()
    put(authority.issue("localhost"), old)
    running.looks()
    again = Client(running.relay.port(), how, session=first.tls.get_session())
    assert not again.reused
    assert again.get().endswith(b"here")
    first.close()
    again.close()

"""What stands before HTTP (`arrival`), step by step on one connection: what is taken off it, and what is known then.

Whole relays are in test_proxy_in*.py, test_passing*.py and test_tls*.py; how it fails is in test_arrival_not.py.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from tests.contracts.peers import TlsPeer, unix_pair
from tests.harness import RawServer, Relay, in_reactor
from tests.net import hellos, identities
from tests.net.arriving import HOST, PORT, Come, coming
from tests.proxylines import ALPN, AUTHORITY, SSL_CIPHER, SSL_CN, SSL_VERSION, local, ssl_tlv, tlv, v1, v2
from tests.tls import Authority, context
from wsrelay.core.proxyline import Endpoint, Secure
from wsrelay.net.tls_leg import TlsLeg

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROXIED = "accept_proxy = true"
FROM_ANYWHERE = 'trusted_proxies = ["0.0.0.0/0", "::/0", "unix:"]'


@pytest.fixture
def come(relay: Callable[..., Relay]) -> Iterator[Come]:
    with coming(relay) as begin:
        yield begin


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def listener(upstream: RawServer, listen: str = "", more: str = "") -> str:
    """A listener; `more` are keys of `[relay]`."""
    text = f'{more}\n[[listen]]\nname = "public"\naddress = "127.0.0.1:0"\n{listen}\n'
    text += f'[[upstream]]\nname = "app"\nservers = ["{upstream.address}"]\n'
    return text if 'mode = "tcp"' in listen else text + '[[route]]\npath = "/"\nupstream = "app"\n'


def tls(authority: Authority, *names: str) -> str:
    return f"tls = [{authority.issue(*(names or ('localhost',))).toml}]"


# Nothing stands before it.


def test_where_nothing_stands_before_http_nothing_is_waited_for_or_looked_at(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream))
    arrived = one.here()
    assert (arrived.facts.address, arrived.facts.secure, arrived.passed_to) == (HOST, False, None)
    assert (one.record.real_ip, one.record.tls, one.record.sni) == (HOST, "", "")
    assert not one.watched
    one.far.send(GET)
    assert one.unread() == GET


# A PROXY line.


@pytest.mark.parametrize("line", [v1("203.0.113.9"), v2(source="203.0.113.9")], ids=["1", "2"])
@pytest.mark.parametrize("pieces", [1, 5])
def test_the_line_is_taken_off_and_not_a_byte_behind_it(
    come: Come, upstream: RawServer, line: bytes, pieces: int
) -> None:
    whole, one = line + GET, come(listener(upstream, PROXIED, FROM_ANYWHERE))
    assert not one.is_here
    for number in range(pieces):
        begin, end = len(whole) * number // pieces, len(whole) * (number + 1) // pieces
        one.far.send(whole[begin:end])
        assert one.is_here is (end >= len(line))
    arrived = one.here()
    assert (arrived.facts.address, one.record.real_ip) == ("203.0.113.9",) * 2
    assert (arrived.facts.secure, arrived.passed_to, one.least) == (False, None, 1)
    assert one.unread() == GET


def test_a_line_that_names_nobody_leaves_the_connection_its_address_and_nobody_who_is_believed(
    come: Come, upstream: RawServer
) -> None:
    for line in (local(), b"PROXY UNKNOWN\r\n"):
        facts = come(listener(upstream, PROXIED, FROM_ANYWHERE), line).here().facts
        assert (facts.address, facts.trusted) == (HOST, False)
    assert come(listener(upstream, PROXIED, FROM_ANYWHERE), v1()).here().facts.trusted


def test_what_the_line_says_of_tls_counts_where_it_did_not_end_here(come: Come, upstream: RawServer) -> None:
    said = v2(tlv(AUTHORITY, b"WWW.Example.com"), ssl_tlv(tlv(SSL_VERSION, b"TLSv1.3")))
    one = come(listener(upstream, PROXIED, FROM_ANYWHERE), said)
    assert one.here().facts.secure
    assert (one.record.sni, one.record.tls) == ("www.example.com", "")


# Passed on.

PASSING = 'mode = "tcp"\nsni = { "site.example.com" = "app" }\nalpn = { "h2" = "app" }'


@pytest.mark.parametrize("line", [b"", v2(tlv(AUTHORITY, b"other.example"), ssl_tlv())], ids=["alone", "behind a line"])
def test_what_is_passed_on_is_untouched(come: Come, upstream: RawServer, line: bytes) -> None:
    hello = hellos.hello(b"site.example.com", (b"http/1.1",))
    text = listener(upstream, PASSING + ("\naccept_proxy = true" if line else ""), FROM_ANYWHERE)
    one = come(text, line + hello + b"behind it")
    arrived = one.here()
    assert (arrived.passed_to, one.record.tls, one.record.sni) == ("app", "", "site.example.com")
    assert one.unread() == hello + b"behind it"
    assert (one.watched, one.least, one.over.timers) == (False, 1, one.timers)


def test_a_hello_that_names_nobody_leaves_the_name_that_the_line_has_told(come: Come, upstream: RawServer) -> None:
    text = listener(upstream, f"{PASSING}\n{PROXIED}", FROM_ANYWHERE)
    one = come(text, v2(tlv(AUTHORITY, b"told.example")) + hellos.hello(None, (b"h2",)))
    assert (one.here().passed_to, one.record.sni) == ("app", "told.example")


# TLS of ours.


@PUMPS
def test_tls_that_ends_here_is_told_of_once_with_what_was_agreed_on(
    come: Come, upstream: RawServer, authority: Authority, pump: str
) -> None:
    one = come(listener(upstream, tls(authority), f'pump = "{pump}"'))
    assert not one.is_here
    peer = one.tls("LocalHost", version=SSL.TLS1_2_VERSION)
    arrived = one.here()
    assert (arrived.facts.secure, arrived.passed_to) == (True, None)
    assert (one.record.tls, one.record.sni, one.record.resumed) == ("TLSv1.2", "localhost", False)
    assert isinstance(one.stream.leg, TlsLeg)
    assert (one.site.observer.done, one.site.observer.failed) == (1, {})  # type: ignore[attr-defined]  # TlsCounts
    peer.send(GET)
    assert in_reactor(lambda: _deferred(one.stream.some())) == GET


def _deferred(waiting: object) -> object:
    return Deferred.fromCoroutine(waiting)  # type: ignore[arg-type]  # a coroutine it is


@PUMPS
def test_a_line_a_hello_and_a_handshake_follow_one_another(
    come: Come, upstream: RawServer, authority: Authority, pump: str
) -> None:
    several = f"tls = [{authority.issue('localhost').toml}, {authority.issue('other.example').toml}]"
    text = listener(upstream, f"{several}\n{PROXIED}", f'pump = "{pump}"\n{FROM_ANYWHERE}')
    one = come(text, v2(tlv(AUTHORITY, b"told.example"), source="203.0.113.9"))
    assert not one.is_here
    peer = one.tls("other.example")
    (leaf, *_) = peer.tls.get_peer_cert_chain(as_cryptography=True) or ()
    assert "other.example" in str(leaf.extensions)
    arrived = one.here()
    assert (arrived.facts.address, arrived.facts.secure) == ("203.0.113.9", True)
    assert (one.record.sni, one.record.tls) == ("other.example", "TLSv1.3")


# A client's certificate.


def test_what_the_certificate_says_stands_beside_what_only_we_may_say(
    come: Come, upstream: RawServer, authority: Authority, tmp_path: Path
) -> None:
    root = identities.authority("Clients Root")
    (file := tmp_path / "clients.pem").write_bytes(root.pem)
    listen = f'{tls(authority)}\nclient_ca = "{file}"\nclient_certificate = "request"\n'
    listen += 'client_headers = { X-Client-Subject = "subject", Client-Cert = "certificate" }'
    for shown in (identities.client(root), None):
        one = come(listener(upstream, listen))
        peer = TlsPeer(one.far.socket)
        how = context()
        if shown is not None:
            chain, key = shown.write(tmp_path)
            how.use_certificate_chain_file(str(chain))
            how.use_privatekey_file(str(key))
        peer.tls = SSL.Connection(how, one.far.socket)
        peer.tls.set_connect_state()
        peer.shake_hands()
        facts = one.here().facts
        assert [line.partition(b":")[0] for line in facts.certified] == (
            [b"X-Client-Subject", b"Client-Cert"] if shown else []
        )
        # RFC 9440 4: the chain is believed where the certificate is.
        assert {b"x-client-subject", b"client-cert", b"client-cert-chain"} <= facts.reserved


# What upstreams are told.


def test_a_client_is_introduced_with_both_ends_of_its_connection(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream))
    one.here()
    said = in_reactor(one.arrival.introduction)
    host, port = one.ours.getsockname()
    assert (said.source, said.destination) == (Endpoint(HOST, PORT), Endpoint(host, port))
    assert (said.authority, said.protocol, said.secure) == ("", b"", None)


def test_a_client_that_only_a_field_has_named_has_no_port(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream))
    one.here()
    one.record.real_ip = "198.51.100.7"
    assert in_reactor(one.arrival.introduction).source == Endpoint("198.51.100.7", 0)


def test_a_client_on_a_unix_socket_has_no_ends(come: Come, upstream: RawServer) -> None:
    one = come(listener(upstream), pair=unix_pair, address="unix:")
    assert one.here().facts.address == "unix:"
    said = in_reactor(one.arrival.introduction)
    assert (said.source, said.destination) == (None, None)


def test_whom_a_line_has_named_is_introduced_as_it_was(come: Come, upstream: RawServer) -> None:
    secure = ssl_tlv(tlv(SSL_VERSION, b"TLSv1.2"), tlv(SSL_CIPHER, b"X"), tlv(SSL_CN, b"alice"), client=7, verify=0)
    line = v2(tlv(ALPN, b"h2"), tlv(AUTHORITY, b"a.example"), secure, source="203.0.113.9", ports=(1, 2))
    one = come(listener(upstream, PROXIED, FROM_ANYWHERE), line)
    one.here()
    said = in_reactor(one.arrival.introduction)
    assert (said.source, said.destination) == (Endpoint("203.0.113.9", 1), Endpoint("192.0.2.2", 2))
    assert (said.authority, said.protocol) == ("a.example", b"h2")
    assert said.secure == Secure("TLSv1.2", "X", "alice", verified=True)


@pytest.mark.parametrize("offered", [(b"http/1.1",), ()])
def test_our_own_tls_is_introduced_before_that_of_the_line(
    come: Come, upstream: RawServer, authority: Authority, offered: tuple[bytes, ...]
) -> None:
    line = v2(tlv(ALPN, b"h2"), tlv(AUTHORITY, b"told.example"), ssl_tlv(tlv(SSL_VERSION, b"TLSv1.1")))
    one = come(listener(upstream, f"{tls(authority)}\n{PROXIED}", FROM_ANYWHERE), line)
    peer = TlsPeer(one.far.socket)
    peer.tls = SSL.Connection(context(alpn=offered), one.far.socket)
    peer.tls.set_tlsext_host_name(b"localhost")
    peer.tls.set_connect_state()
    peer.shake_hands()
    one.here()
    said = in_reactor(one.arrival.introduction)
    assert said.secure == Secure("TLSv1.3", peer.tls.get_cipher_name() or "", "", verified=False)
    # What the line says of a protocol was agreed on in another handshake.
    assert (said.authority, said.protocol) == ("localhost", offered[0] if offered else b"")

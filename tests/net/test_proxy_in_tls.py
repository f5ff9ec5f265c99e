"""PROXY lines before TLS that ends here: the line is taken to the byte, and OpenSSL finds its ClientHello whole."""

import ssl
from pathlib import Path

import pytest

from tests.harness import SWITCHED, UPGRADE, HandTime, RawServer, Relay
from tests.net.proxied import FORGED, GET, OK, OTHER, PROXY, Start, arrived, edge, layer4, named, part, told
from tests.proxylines import SOURCE, local, ssl_tlv, tlv, v1, v2
from tests.tls import Authority, HandPlayed, only, versions

LINES = [
    (v1(), SOURCE),
    (v1("2001:Db8::1", "2001:Db8::2"), "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", PROXY),
    (b"PROXY UNKNOWN 1 2 3 4 5 6\r\n", PROXY),
    (v2(tlv(0x02, b"localhost"), tlv(0x01, b"h2")), SOURCE),
    (local(), PROXY),
]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def https(upstream: RawServer, authority: Authority, more: str = "", listen: str = "") -> str:
    return edge(upstream, more, f"tls = [ {authority.issue('localhost').toml} ]\n{listen}")


def secure(address: str) -> dict[bytes, bytes]:
    return {**named(address), b"x-forwarded-proto": b"https"}


@pytest.mark.parametrize("version", versions(), ids=lambda version: version.name)
@pytest.mark.parametrize("cut", ["one segment", "two segments", "byte by byte"])
@pytest.mark.parametrize(("line", "address"), LINES)
def test_handshake_follows_the_line_however_both_are_cut(
    relay: Start,
    upstream: RawServer,
    authority: Authority,
    line: bytes,
    address: str,
    cut: str,
    version: ssl.TLSVersion,
) -> None:
    running = relay(https(upstream, authority))
    client = running.connect()
    played = HandPlayed(client, only(authority, version))
    hello = played.step()
    pieces = {
        "one segment": [line + hello],
        "two segments": [line, hello],
        "byte by byte": [bytes([byte]) for byte in line + hello[:20]] + [hello[20:]],
    }[cut]
    for piece in pieces:
        client.send(piece)
        running.settle()
    played.listen()
    played.send_rest(FORGED, client.send)
    assert part(arrived(upstream.accept()), secure(address)) == secure(address)
    assert played.read(b"ok").endswith(OK[-6:])
    logged = running.next_line()
    assert (logged["real_ip"], logged["tls"]) == (address, version.name.replace("v1_", "v1."))


def test_cut_inside_and_behind_the_line_is_no_difference(
    relay: Start, upstream: RawServer, authority: Authority
) -> None:
    running = relay(https(upstream, authority))
    for cut in range(1, len(v1()) + 8):
        client = running.connect()
        played = HandPlayed(client, authority.trusting())
        data = v1() + played.step()
        client.send(data[:cut])
        running.settle()
        client.send(data[cut:])
        played.listen()
        played.send_rest(GET, client.send)
        assert arrived(upstream.accept())[b"x-real-ip"] == SOURCE.encode()
        client.close()


def test_line_inside_tls_is_no_line(relay: Start, upstream: RawServer, authority: Authority) -> None:
    running = relay(https(upstream, authority))
    client = running.connect()
    played = HandPlayed(client, authority.trusting())
    client.send(v1() + played.step())
    played.listen()
    played.send_rest(v1(OTHER) + GET, client.send)
    assert b"X-Wsrelay-Reason: malformed-head\r\n" in played.read(b"\n")
    assert running.next_line()["real_ip"] == SOURCE
    assert upstream.nobody_came()


def test_tls_is_tls_whatever_the_line_says_of_the_proxys_own_client(
    relay: Start, upstream: RawServer, authority: Authority
) -> None:
    running = relay(https(upstream, authority))
    client = running.connect()
    played = HandPlayed(client, authority.trusting())
    client.send(v2(ssl_tlv(client=0)) + played.step())
    played.listen()
    played.send_rest(GET, client.send)
    assert arrived(upstream.accept())[b"x-forwarded-proto"] == b"https"


def test_plain_http_behind_the_line_is_answered_readably(
    relay: Start, upstream: RawServer, authority: Authority
) -> None:
    running = relay(https(upstream, authority))
    client = running.connect()
    client.send(v1() + GET)
    assert b"X-Wsrelay-Reason: plain-http\r\n" in client.ending()
    assert running.next_line()["reason"] == "plain-http"
    assert upstream.nobody_came()


def test_handshake_has_its_own_time_after_the_line(relay: Start, upstream: RawServer, authority: Authority) -> None:
    over = HandTime()
    running = relay(https(upstream, authority), over)
    client = running.connect()
    running.settle()
    over.passes(9)
    client.send(v1())
    running.settle()
    over.passes(9)
    assert running.sessions == 1
    over.passes(2)
    assert client.ending() == b""
    line = running.next_line()
    assert (line["event"], line["outcome"]) == ("failed", "tls-timeout")
    assert line["real_ip"] in (SOURCE, None)


def test_client_whose_handshake_fails_is_known(relay: Start, upstream: RawServer, authority: Authority) -> None:
    running = relay(https(upstream, authority))
    client = running.connect()
    client.send(v1())
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(client.socket, server_hostname="localhost")
    line = running.next_line()
    assert (line["event"], line["reason"], line["real_ip"]) == ("failed", "tls-unknown-ca", SOURCE)


@pytest.mark.parametrize("end", ["ends", "reset"])
def test_proxy_that_sends_its_line_and_leaves_is_a_probe(
    relay: Start, upstream: RawServer, authority: Authority, end: str
) -> None:
    running = relay(https(upstream, authority))
    client = running.connect()
    client.send(local())
    running.settle()
    if end == "reset":
        client.reset()
    else:
        client.finish()
        client.ending()
    while running.sessions:
        pass
    running.stop()
    assert running.lines() == []


def test_denied_address_is_not_shaken_hands_with(relay: Start, upstream: RawServer, authority: Authority) -> None:
    running = relay(https(upstream, authority, listen='deny = ["192.0.2.0/24"]'))
    client = running.connect()
    played = HandPlayed(client, authority.trusting())
    client.send(v1() + played.step())
    assert client.ending() == b""
    assert running.next_line()["reason"] == "address-denied"


def test_websocket_over_tls_behind_the_line(relay: Start, upstream: RawServer, authority: Authority) -> None:
    running = relay(https(upstream, authority))
    client = running.connect()
    played = HandPlayed(client, authority.trusting())
    client.send(v1() + played.step())
    played.listen()
    played.send_rest(UPGRADE, client.send)
    server = upstream.accept()
    assert part(told(server.read_head()), secure(SOURCE)) == secure(SOURCE)
    server.send(SWITCHED + b"hello")
    assert played.read(b"hello").startswith(b"HTTP/1.1 101 ")
    assert running.next_line()["real_ip"] == SOURCE


# The same at layer 4.


def greeted(running: Relay, authority: Authority, upstream: RawServer, line: bytes) -> None:
    """TLS ends at the relay, behind the line; bytes cross."""
    client = running.connect()
    played = HandPlayed(client, authority.trusting())
    client.send(line + played.step())
    played.listen()
    played.send_rest(b"hello", client.send)
    server = upstream.accept()
    assert server.read(5) == b"hello"
    server.send(b"220 welcome")
    assert played.read(b"welcome") == b"220 welcome"


@pytest.mark.parametrize(("line", "address"), LINES)
def test_tls_that_ends_here_at_layer_4(
    relay: Start, upstream: RawServer, authority: Authority, line: bytes, address: str
) -> None:
    running = relay(layer4(upstream, listen=f"tls = [ {authority.issue('localhost').toml} ]\n"))
    greeted(running, authority, upstream, line)
    logged = running.next_line()
    assert (logged["event"], logged["real_ip"], logged["tls"]) == ("open", address, "TLSv1.3")

"""Connections that are passed on by what their ClientHello says, over real sockets and played by hand.

Public test files, driven through an equivalent configuration:
- nginx-tests stream_ssl_preread.t: by name, no name, not a handshake and a hello that lies about its length (nginx
  sends both to the default upstream, we refuse them as client-hello), a hello over the bound, the next server of a
  group gets the same bytes, SSL 3.0 in the record's header, a name that two records share; stream_ssl_preread_alpn.t;
  stream_ssl_preread_protocol.t: hellos of every version pass, that of SSL 2 does not.
- nginx-tests stream_ssl_reject_handshake.t, ssl_reject_handshake.t: a listener that has nothing for a name.
- haproxy reg-tests/checks/tcp-check-client-hello.vtc: by name and ALPN, as far as it chooses by them.
Not applicable: nginx-tests stream_ssl_realip.t (no such directive); what haproxy's file chooses by cipher list, key
share or signature algorithms, which nobody configures here.
How connections of this kind end, what they cost, and those that never say enough: test_passing_ends.py.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer, Relay, Wire
from tests.net import hellos
from tests.net.passing import ALONE, HTTP, PUMPS, TERMINATED, UNTOUCHED, Ground, ground_of
from tests.tls import Client, context, reasons

# Who gets a connection, by the name and the protocols of its ClientHello.
CHOICES = [
    (b"site.example.com", (), "site"),
    (b"SITE.Example.COM", (), "site"),
    (b"site.example.com.", (), "site"),
    (b"www.example.com", (), "chat"),
    (b"xn--bcher-kva.example.com", (), "chat"),
    (b"under_score.example.com", (), "chat"),
    (b"a.b.example.com", (), "rest"),
    (b"example.com", (), "rest"),
    (b"site.example.com.evil.test", (), "rest"),
    (b"xsite.example.org", (), "rest"),
    (None, (), "rest"),
    (b"127.0.0.1", (), "rest"),
    (b"::1", (), "rest"),
    (b"com", (), "rest"),
    (None, (b"h2",), "site"),
    (b"other.test", (b"h2", b"http/1.1"), "site"),
    (b"other.test", (b"http/1.1", b"h2"), "site"),
    (b"other.test", (b"acme-tls/1",), "chat"),
    # The order of the configuration counts, not the client's.
    (b"other.test", (b"acme-tls/1", b"h2"), "site"),
    (b"other.test", (b"http/1.1",), "rest"),
    # RFC 7301 3.2: protocols are compared byte by byte.
    (b"other.test", (b"H2",), "rest"),
    (b"other.test", (b"h2c", b"h", b"h22"), "rest"),
    # A name counts before a protocol.
    (b"www.example.com", (b"h2",), "chat"),
    (b"site.example.com", (b"acme-tls/1",), "site"),
]


@pytest.fixture
def ground(relay: Callable[..., Relay], tmp_path: Path) -> Iterator[Ground]:
    with ground_of(relay, tmp_path) as made:
        yield made


def crosses_untouched(client: Wire, far: Wire, sent: bytes) -> None:
    """What was sent has arrived, bytes go both ways, one by one too, and so do both ends."""
    assert far.read(len(sent)) == sent
    for number in range(3):
        client.send(bytes([number]))
        assert far.read(1) == bytes([number])
        far.send(bytes([number]))
        assert client.read(1) == bytes([number])
    client.finish()
    assert far.read_all() == b""
    far.send(b"last")
    far.finish()
    assert client.read_all() == b"last"


@PUMPS
@pytest.mark.parametrize(("name", "protocols", "expected"), CHOICES)
def test_who_gets_a_connection(
    ground: Ground, pump: str, name: bytes | None, protocols: tuple[bytes, ...], expected: str
) -> None:
    running = ground.open(UNTOUCHED, pump=pump)
    client = running.connect()
    sent = hellos.hello(name, protocols)
    client.send(sent)
    crosses_untouched(client, ground[expected].accept(), sent)
    ground.nobody_else_came()
    opened = running.line(event="open")
    assert (opened["route"], opened["upstream"]) == (expected, ground[expected].address)
    assert opened["tls"] is None
    assert running.line(event="close")["outcome"] == "client-closed"


@pytest.mark.parametrize(("name", "logged"), [(b"WWW.Example.com.", "www.example.com"), (None, None)])
def test_the_log_names_the_server_that_the_client_asked_for(
    ground: Ground, name: bytes | None, logged: str | None
) -> None:
    running = ground.open(UNTOUCHED)
    running.connect().send(hellos.hello(name))
    assert running.line(event="open")["sni"] == logged


# Split anywhere.


@pytest.mark.parametrize("mode", [UNTOUCHED, HTTP], ids=["layer 4", "beside http"])
def test_a_hello_may_come_in_two_pieces_cut_anywhere(ground: Ground, mode: str) -> None:
    running = ground.open(mode)
    sent = hellos.hello(b"www.example.com")
    for cut in range(1, len(sent)):
        client = running.connect()
        client.send(sent[:cut])
        running.settle()
        assert ground["chat"].nobody_came()
        client.send(sent[cut:])
        far = ground["chat"].accept()
        assert far.read(len(sent)) == sent
        # What waits for the rest of a hello must not make single bytes wait afterwards.
        client.send(b"x")
        assert far.read(1) == b"x"
        client.close()
        far.close()
    running.forget_clients()
    ground.nobody_else_came()


@PUMPS
def test_a_hello_may_come_byte_by_byte(ground: Ground, pump: str) -> None:
    """A post-quantum key share makes it larger than one segment of a common network."""
    running = ground.open(UNTOUCHED, pump=pump)
    _, sent = hellos.of_openssl("www.example.com", (b"http/1.1",))
    assert len(sent) > 1460
    client = running.connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(len(sent)):
        client.send(sent[number : number + 1])
    crosses_untouched(client, ground["chat"].accept(), sent)
    ground.nobody_else_came()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100])
def test_a_hello_may_come_in_many_records(ground: Ground, size: int) -> None:
    """The name, too, may begin in one record and end in the next."""
    running = ground.open(UNTOUCHED)
    client = running.connect()
    sent = hellos.hello(b"www.example.com", (b"h2",), size=size)
    client.send(sent)
    crosses_untouched(client, ground["chat"].accept(), sent)
    ground.nobody_else_came()


def test_records_of_one_byte_may_come_byte_by_byte(ground: Ground) -> None:
    running = ground.open(UNTOUCHED)
    client = running.connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent = hellos.hello(None, (b"h2",), size=1)
    for number in range(len(sent)):
        client.send(sent[number : number + 1])
    crosses_untouched(client, ground["site"].accept(), sent)


@pytest.mark.parametrize("name_at", ["first", "last"])
def test_a_hello_with_much_in_it_is_understood(ground: Ground, name_at: str) -> None:
    """Three kB: two post-quantum shares, or a ticket that carries a client's certificate."""
    name, much = hellos.server_name(b"www.example.com"), hellos.extension(51, bytes(3000))
    order = (name, much) if name_at == "first" else (much, name)
    sent = hellos.records(hellos.message(*order))
    running = ground.open(UNTOUCHED)
    client = running.connect()
    client.send(sent)
    crosses_untouched(client, ground["chat"].accept(), sent)


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x03\x03"])
def test_hellos_of_all_versions_are_passed_on(ground: Ground, version: bytes) -> None:
    """Whoever speaks TLS 1.0 still is the upstream's matter, where the TLS is."""
    sent = hellos.records(hellos.message(hellos.server_name(b"www.example.com"), version=version), version=b"\x03\x00")
    running = ground.open(UNTOUCHED)
    client = running.connect()
    client.send(sent)
    crosses_untouched(client, ground["chat"].accept(), sent)


def test_a_hello_without_extensions_names_nobody(ground: Ground) -> None:
    """As TLS 1.0 had them, and as they still may be (RFC 5246 7.4.1.2)."""
    body = hellos.message()[4:-2]
    sent = hellos.records(b"\x01" + hellos.counted(body, 3))
    client = ground.open(UNTOUCHED).connect()
    client.send(sent)
    crosses_untouched(client, ground["rest"].accept(), sent)


# What comes with the hello, and around it.


@PUMPS
def test_what_stands_behind_the_hello_in_the_same_segment_passes_too(ground: Ground, pump: str) -> None:
    """Early data of TLS 1.3: much of it, and none is lost, doubled or moved before the hello."""
    early = bytes(range(256)) * 40
    sent = hellos.hello(b"site.example.com") + b"\x17\x03\x03" + hellos.counted(early, 2)
    running = ground.open(UNTOUCHED, pump=pump)
    client = running.connect()
    client.send(sent)
    crosses_untouched(client, ground["site"].accept(), sent)


@PUMPS
@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in two pieces"])
def test_an_end_right_behind_a_complete_hello_passes_with_it(ground: Ground, pump: str, whole: bool) -> None:
    running = ground.open(UNTOUCHED, pump=pump)
    client = running.connect()
    sent = hellos.hello(b"site.example.com")
    cut = 0 if whole else 20
    client.send(sent[:cut])
    if cut:
        running.settle()
    client.send(sent[cut:])
    client.finish()
    far = ground["site"].accept()
    assert far.read_all() == sent
    far.send(b"an answer all the same")
    far.finish()
    assert client.read_all() == b"an answer all the same"
    assert running.line(event="close")["outcome"] == "client-closed"


def test_the_next_server_of_the_group_gets_the_same_bytes(ground: Ground, nobody: str) -> None:
    running = ground.open(UNTOUCHED, before={"site": nobody})
    client = running.connect()
    sent = hellos.hello(b"site.example.com")
    client.send(sent)
    crosses_untouched(client, ground["site"].accept(), sent)


def served(server: RawServer, how: ssl.SSLContext) -> threading.Thread:
    """One TLS connection at this upstream: what comes is sent back, with the protocol before it."""

    def serve() -> None:
        with how.wrap_socket(server.accept().socket, server_side=True) as far:
            while data := far.recv(65536):
                far.sendall(str(far.selected_alpn_protocol()).encode() + b":" + data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@PUMPS
@pytest.mark.parametrize("mode", [UNTOUCHED, TERMINATED, HTTP], ids=["layer 4", "beside tls", "beside http"])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_the_handshake_is_between_the_client_and_the_upstream(
    ground: Ground, pump: str, mode: str, version: int
) -> None:
    issued = ground.authority.issue("site.example.com")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(issued.chain, issued.key)
    theirs.set_alpn_protocols(["h2"])
    running = ground.open(mode, pump=pump)
    serving = served(ground["site"], theirs)
    client = Client(running.port(), context(alpn=(b"h2",), version=version), "site.example.com")
    assert client.chain == issued.sent
    client.tls.sendall(b"secret")
    assert client.tls.recv(100) == b"h2:secret"
    client.tls.shutdown()
    client.close()
    serving.join(PATIENCE_SECONDS)
    assert not serving.is_alive()
    assert running.line(event="open")["tls"] is None


# Beside TLS that ends here.


@PUMPS
@pytest.mark.parametrize("pieces", [1, 2, 3], ids=["at once", "in two pieces", "byte by byte"])
def test_who_is_not_passed_on_is_served_here_over_tls(ground: Ground, pump: str, pieces: int) -> None:
    """Small messages, too, must come at once, however the hello came."""
    running = ground.open(HTTP, pump=pump)
    wire = running.connect()
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client, sent = hellos.of_openssl("localhost", (b"http/1.1",))
    cuts = {1: [], 2: [200], 3: list(range(1, len(sent)))}[pieces]
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        wire.send(sent[start:end])
        if pieces == 2:
            running.settle()
    while not client.get_finished():
        wire.send(hellos.step(client, wire.socket.recv(65536)))
    client.send(UPGRADE)
    wire.send(client.bio_read(65536))
    far = ground["rest"].accept()
    assert b"\r\nX-Forwarded-Proto: https\r\n" in far.read_head()
    far.send(SWITCHED)
    for number in range(3):
        client.send(bytes([number]))
        wire.send(client.bio_read(65536))
        assert far.read(1) == bytes([number])
    opened = running.line(event="open")
    assert (opened["tls"], opened["sni"]) == ("TLSv1.3", "localhost")
    ground.nobody_else_came()


@PUMPS
def test_at_layer_4_the_bytes_of_tls_that_ends_here_go_to_the_upstream(ground: Ground, pump: str) -> None:
    running = ground.open(TERMINATED, pump=pump)
    client = Client(running.port(), context(), "localhost")
    client.tls.sendall(b"in the clear")
    assert ground["rest"].accept().read(12) == b"in the clear"
    client.close()
    ground.nobody_else_came()


@pytest.mark.parametrize("mode", [HTTP, TERMINATED], ids=["http", "layer 4"])
@pytest.mark.parametrize("name", [None, "localhost", "unknown.test"])
def test_names_of_nobody_get_the_certificate_of_the_relay(ground: Ground, mode: str, name: str | None) -> None:
    running = ground.open(mode)
    client = Client(running.port(), context(), name)
    assert client.chain == ground.issued.sent
    client.close()


@pytest.mark.parametrize("name", [b"site.example.com", b"www.example.com"])
def test_names_that_are_passed_on_are_not_unknown(ground: Ground, name: bytes) -> None:
    running = ground.open(HTTP + 'unknown_sni = "reject"\n')
    sent = hellos.hello(name)
    running.connect().send(sent)
    far = ground["site" if name.startswith(b"site") else "chat"].accept()
    assert far.read(len(sent)) == sent
    with pytest.raises(SSL.Error, check=lambda error: "unrecognized name" in reasons(error)):
        Client(running.port(), context(), "unknown.test")
    assert running.line(event="failed")["reason"] == "unknown-sni"


def test_who_has_forgotten_the_s_is_told_so_in_words(ground: Ground) -> None:
    running = ground.open(HTTP)
    client = running.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: site.example.com\r\n\r\n")
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Wsrelay-Reason: plain-http\r\n" in answer
    assert running.line(event="exchange")["reason"] == "plain-http"
    ground.nobody_else_came()


def test_one_letter_of_plain_http_is_enough_to_be_told(ground: Ground) -> None:
    client = ground.open(HTTP).connect()
    client.send(b"P")
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    ground.nobody_else_came()


# Nothing for this name.


@pytest.mark.parametrize("name", [b"other.test", b"example.com", b"a.b.example.com", None])
@pytest.mark.parametrize("extra", [b"", b"and more behind it"], ids=["alone", "more"])
def test_a_name_without_a_group_gets_the_alert_for_it_and_an_orderly_end(
    ground: Ground, name: bytes | None, extra: bytes
) -> None:
    running = ground.open(ALONE)
    client = running.connect()
    client.send(hellos.hello(name, (b"http/1.1",)) + extra)
    alert = client.read_all()
    assert (alert[:2], alert[3:]) == (b"\x15\x03", b"\x00\x02" + hellos.UNRECOGNIZED_NAME)
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("tls-failed", "unknown-sni")
    assert line["sni"] == (name and name.decode())
    ground.nobody_else_came()


def test_a_listener_with_nothing_but_names_passes_those_that_it_has(ground: Ground) -> None:
    running = ground.open(ALONE)
    client = running.connect()
    sent = hellos.hello(b"site.example.com")
    client.send(sent)
    crosses_untouched(client, ground["site"].accept(), sent)

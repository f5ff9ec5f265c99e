"""Tunnels whose upstream is under TLS, on both pumps, at layer 7 and 4: every byte, every end, and new keys between."""

import os
import re
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from OpenSSL import SSL

from tests.contracts.peers import End, Peer, TlsPeer, both_ways
from tests.harness import SWITCHED, UPGRADE, RawServer, Relay, Wire, raw_server
from tests.net.tls_upstreams import (
    LOCAL,
    MIDDLE,
    STRANGER,
    TLS_1_2,
    TLS_1_3,
    VERSIONS,
    FarServer,
    arrived,
    configuration,
    leaf,
    named,
    read_head,
    secured,
    serving,
    trusting,
)
from tests.rude.tls_by_hand import Forger13
from tests.tls import Authority
from wsrelay.control import pumps

Start = Callable[..., Relay]

MUCH = bytes(range(256)) * (4 * 4096)
TLS = pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
CARRIERS = pytest.mark.parametrize("carrier", ["plain", "tls"], ids=["a plain client", "a TLS client"])


@pytest.fixture(params=["native", "reactor"])
def pump(request: pytest.FixtureRequest) -> str:
    if request.param == "native" and (why := pumps.missing()):
        pytest.skip(why)
    return str(request.param)


@attrs.frozen
class Edge:
    """A relay in front of a TLS upstream."""

    running: Relay
    upstream: RawServer
    secure: bool
    layer4: bool

    def client(self) -> Peer:
        connected = self.running.connect().socket
        if not self.secure:
            return Peer(connected)
        client = TlsPeer(connected)
        client.shake_hands()
        return client

    def tunnel(self, version: int | None = None, context: SSL.Context | None = None) -> tuple[Peer, FarServer]:
        """Both ends of a tunnel."""
        client = self.client()
        if not self.layer4:
            client.send(UPGRADE)
        far = secured(self.upstream, context or serving(version=version))
        if not self.layer4:
            assert b"\r\nUpgrade: websocket\r\n" in far.read_head()
            far.send(SWITCHED)
            assert read_head(client).startswith(b"HTTP/1.1 101 ")
        return client, far

    def outcome(self) -> str:
        return str(self.running.line(event="close")["outcome"])


@pytest.fixture
def edge(relay: Start, upstream: RawServer, tmp_path: Path, pump: str) -> Callable[..., Edge]:
    """Start one."""

    def start(carrier: str = "plain", *, layer4: bool = False) -> Edge:
        listen = 'mode = "tcp"\nupstream = "app"\n' if layer4 else ""
        if carrier == "tls":
            listen += f"tls = [{Authority(tmp_path).issue('localhost').toml}]"
        text = configuration([named(upstream)], trusting(tmp_path), before=f'pump = "{pump}"', listen=listen)
        return Edge(relay(text), upstream, carrier == "tls", layer4)

    return start


LAYERS = pytest.mark.parametrize("layer4", [False, True], ids=["layer 7", "layer 4"])


@LAYERS
@CARRIERS
@TLS
def test_bulk_goes_both_ways_and_each_way_ends_by_itself(
    edge: Callable[..., Edge], carrier: str, version: int, layer4: bool
) -> None:
    there = edge(carrier, layer4=layer4)
    client, far = there.tunnel(version)
    assert both_ways(client, far, MUCH, MUCH[::-1]) == (MUCH, MUCH[::-1])
    client.finish()
    assert far.rest() == (b"", End.ORDERLY)
    assert both_ways(client, far, b"", MUCH) == (b"", MUCH)
    far.finish()
    assert client.rest() == (b"", End.ORDERLY)
    assert there.outcome() == "client-closed"


@CARRIERS
@TLS
def test_an_upstream_may_end_first_and_still_hear_everything(
    edge: Callable[..., Edge], carrier: str, version: int
) -> None:
    there = edge(carrier)
    client, far = there.tunnel(version)
    far.send(b"last words")
    far.finish()
    assert client.rest() == (b"last words", End.ORDERLY)
    assert both_ways(client, far, MUCH, b"") == (MUCH, b"")
    client.finish()
    assert far.rest() == (b"", End.ORDERLY)
    assert there.outcome() == "upstream-closed"


@CARRIERS
@TLS
@pytest.mark.parametrize(
    ("how", "outcome"),
    [("truncate", "upstream-truncated"), ("reset", "upstream-reset"), ("send_garbage", "upstream-tls-error")],
)
def test_an_upstream_that_breaks_off_is_not_passed_on_as_an_orderly_end(
    edge: Callable[..., Edge], carrier: str, version: int, how: str, outcome: str
) -> None:
    there = edge(carrier)
    client, far = there.tunnel(version)
    far.send(b"a part")
    assert client.read(6) == b"a part"
    getattr(far, how)()
    assert client.rest()[1] is not End.ORDERLY
    assert there.outcome() == outcome


@pytest.mark.parametrize("family", ["TCP", "UNIX"])
@TLS
def test_an_upstream_that_closes_all_behind_its_close_notify_has_closed_in_order(
    relay: Start, tmp_path: Path, pump: str, version: int, family: str
) -> None:
    """As nginx and HAProxy do: nobody is there any more for our own close_notify, which is no loss (RFC 8446 6.1)."""
    # pytest's own folders have paths too long for a UNIX socket.
    with tempfile.TemporaryDirectory(prefix="wsrelay-") as folder:
        place = {} if family == "TCP" else {"family": socket.AF_UNIX, "name": f"{folder}/app.sock"}
        with raw_server(**place) as server:
            parts = f'server_name = "localhost", {trusting(tmp_path)}'
            running = relay(configuration([server.address], parts, before=f'pump = "{pump}"'))
            there = Edge(running, server, secure=False, layer4=False)
            client, far = there.tunnel(version)
            far.finish()
            far.close()
            assert client.rest() == (b"", End.ORDERLY)
            client.finish()
            assert there.outcome() == "upstream-closed"


@CARRIERS
def test_a_client_that_breaks_off_is_no_close_notify_for_the_upstream(edge: Callable[..., Edge], carrier: str) -> None:
    there = edge(carrier)
    client, far = there.tunnel()
    client.reset()
    assert far.rest()[1] is not End.ORDERLY
    assert there.outcome() == "client-reset"


@LAYERS
def test_what_the_upstream_says_right_behind_its_handshake_or_101_reaches_the_client(
    edge: Callable[..., Edge], layer4: bool
) -> None:
    """Such bytes are decrypted before the pump has the connection, and no event tells of them."""
    there = edge(layer4=layer4)
    client = there.client()
    if not layer4:
        client.send(UPGRADE + b"early")
    far = secured(there.upstream, serving())
    if not layer4:
        far.read_head()
    far.send(b"" if layer4 else SWITCHED)
    far.send(MUCH[:40_000])
    if not layer4:
        read_head(client)
        assert far.read(5) == b"early"
    assert client.read(40_000) == MUCH[:40_000]


def test_a_declined_upgrade_is_answered_with_the_upstreams_own_words(edge: Callable[..., Edge]) -> None:
    there = edge()
    client = there.client()
    client.send(UPGRADE)
    far = secured(there.upstream, serving())
    far.read_head()
    far.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    assert client.rest()[0].startswith(b"HTTP/1.1 403 ")
    assert far.rest()[0] == b""


# What TLS itself may say in the middle.


@attrs.frozen
class Keyed:
    """An upstream whose records a test forges, from its handshake on (TLS 1.3)."""

    wire: Wire
    forger: Forger13

    def send(self, record: bytes) -> None:
        os.write(self.wire.socket.fileno(), record)


def keyed(connected: Wire, folder: Path) -> Keyed:
    """Do the handshake, and take over the upstream's own direction."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # so that the forger's first record is the first of all
    (folder / "both.pem").write_bytes(LOCAL.pem + MIDDLE.pem + LOCAL.key_pem)
    context.load_cert_chain(folder / "both.pem")
    context.keylog_filename = str(folder / "keys")
    secure = context.wrap_socket(connected.socket, server_side=True)
    secret = re.search(r"SERVER_TRAFFIC_SECRET_0 \w+ (\w+)", (folder / "keys").read_text())
    cipher = secure.cipher()
    assert secret is not None
    assert cipher is not None
    forger = Forger13(SHA384() if "SHA384" in cipher[0] else SHA256(), bytes.fromhex(secret[1]))
    connected.socket = secure  # which is now what the server closes after the test
    return Keyed(connected, forger)


@pytest.mark.parametrize("wants_one", [False, True])
def test_an_upstream_may_change_its_keys_in_a_tunnel(
    edge: Callable[..., Edge], tmp_path: Path, wants_one: bool
) -> None:
    there = edge()
    client = there.client()
    client.send(UPGRADE)
    far = keyed(there.upstream.accept(), tmp_path)
    far.wire.read_head()
    far.send(far.forger.record(SWITCHED))
    read_head(client)
    for number in range(3):
        far.send(far.forger.key_update(wants_one=wants_one) + far.forger.record(b"new keys"))
        assert client.read(8) == b"new keys"
        client.send(b"%d answered" % number)
        assert far.wire.read(10) == b"%d answered" % number


def test_an_upstream_may_change_its_keys_between_two_exchanges(edge: Callable[..., Edge], tmp_path: Path) -> None:
    """A record without data is not a byte that nobody asked for: the connection is used again."""
    there = edge()
    client = there.client()
    request, answer = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    client.send(request)
    far = keyed(there.upstream.accept(), tmp_path)
    for _ in range(3):
        far.wire.read_head()
        far.send(far.forger.record(answer))
        assert client.read(len(answer)) == answer
        far.send(far.forger.key_update(wants_one=True))
        there.running.settle()
        client.send(request)
    far.wire.read_head()
    assert there.upstream.nobody_came()


def test_an_upstream_that_asks_for_a_renegotiation_is_told_no_and_nothing_else_changes(
    edge: Callable[..., Edge],
) -> None:
    there = edge()
    client, far = there.tunnel(TLS_1_2)
    assert far.tls.renegotiate()
    far.tls.do_handshake()  # sends the HelloRequest
    far.send(b"said behind it")
    assert client.read(14) == b"said behind it"
    with pytest.raises(SSL.Error) as caught:
        far.rest()
    assert "no renegotiation" in str(caught.value)


# Layer 4.


@pytest.mark.parametrize("version", [TLS_1_3])
def test_a_layer_4_client_of_an_upstream_that_is_not_believed_is_let_go(
    edge: Callable[..., Edge], version: int
) -> None:
    there = edge(layer4=True)
    client = there.client()
    client.send(b"secret")
    context = serving(leaf("localhost", by=STRANGER), version=version)
    assert arrived(there.upstream, context).heard() == b""
    assert client.rest()[0] == b""
    line = there.running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("upstream-unreached", "upstream-certificate")
    assert there.upstream.address in line["detail"]


def test_a_layer_4_client_of_an_upstream_without_tls_is_let_go(edge: Callable[..., Edge]) -> None:
    there = edge(layer4=True)
    client = there.client()
    client.send(b"secret")
    far = there.upstream.accept()
    assert far.socket.recv(65536).startswith(b"\x16\x03")
    far.send(b"220 mail.example ready\r\n")
    assert client.rest()[0] == b""
    assert b"secret" not in far.ending()
    line = there.running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("upstream-unreached", "upstream-tls")


# The PROXY line.


@pytest.mark.parametrize("layer4", [False, True], ids=["layer 7", "layer 4"])
def test_the_proxy_line_goes_before_tls(
    relay: Start, upstream: RawServer, tmp_path: Path, pump: str, layer4: bool
) -> None:
    listen = 'mode = "tcp"\nupstream = "app"\n' if layer4 else ""
    text = configuration(
        [named(upstream)], trusting(tmp_path), before=f'pump = "{pump}"', listen=listen, more="send_proxy = 1"
    )
    running = relay(text)
    client = running.connect()
    if not layer4:
        client.send(UPGRADE)
    far = upstream.accept()
    line = b""
    while not line.endswith(b"\r\n"):
        line += far.socket.recv(1)
    source = client.socket.getsockname()
    assert line == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (source[1], running.port())
    secure = FarServer(far.socket, serving())
    secure.shake_hands()
    if not layer4:
        secure.read_head()
        secure.send(SWITCHED)
        client.read_head()
    client.send(b"through")
    assert secure.read(7) == b"through"

"""PROXY lines that go out beside TLS: before an upstream's TLS; and what they say of the client's (PROXY 2.2.6)."""

import ssl
import threading
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer, Relay, Wire
from tests.net import identities
from tests.net.proxied import EXPECTING, GET, OK, TRUSTING, Start, arrived, told
from tests.proxylines import ALPN, AUTHORITY, SOURCE, SSL_CIPHER, SSL_CN, SSL_VERSION, Line, read_line, tlv, v1, v2
from tests.tls import Authority, HandPlayed, only, versions

MODES = ["http", "tcp"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sending(
    upstream: RawServer, *, mode: str = "http", version: int = 2, more: str = "", listen: str = "", up: str = ""
) -> str:
    """One listener whose upstream gets PROXY lines."""
    where = 'upstream = "app"' if mode == "tcp" else ""
    route = '[[route]]\npath = "/"\nupstream = "app"' if mode == "http" else ""
    return f"""{more}
[[listen]]
address = "127.0.0.1:0"
mode = "{mode}"
{where}
{listen}
[[upstream]]
name = "app"
servers = ["{upstream.address}"]
send_proxy = {version}
{up}
{route}
"""


def ours(authority: Authority, *names: str) -> str:
    return f"tls = [ {authority.issue(*(names or ('localhost',))).toml} ]\n"


def addressed(line: Line, running: Relay, client: Wire) -> bool:
    """Whether it is about this client, who has connected to us."""
    host, port = client.socket.getsockname()
    ends = (line.source, line.destination, line.ports)
    return ends == (host, "127.0.0.1", (port, running.port()))


# TLS that ends here.


@pytest.mark.parametrize("version", versions(), ids=lambda version: version.name)
@pytest.mark.parametrize("mode", MODES)
def test_name_protocol_and_tls_of_the_client_are_told(
    relay: Start, upstream: RawServer, authority: Authority, mode: str, version: ssl.TLSVersion
) -> None:
    running = relay(sending(upstream, mode=mode, listen=ours(authority)))
    context = only(authority, version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = running.connect_tls(context)
    client.send(GET)
    server = upstream.accept()
    line = read_line(server)
    assert addressed(line, running, client)
    assert line.tlvs[AUTHORITY] == b"localhost"
    # At layer 4 nobody here knows what will be spoken, so no protocol is agreed on.
    assert line.tlvs.get(ALPN) == (b"http/1.1" if mode == "http" else None)
    assert line.ssl is not None
    # No certificate of the client's: `verify` is zero for a good one only (2.2.6).
    assert line.ssl.client == 1
    assert line.ssl.verify != 0
    assert isinstance(client.socket, ssl.SSLSocket)
    cipher = client.socket.cipher()
    assert cipher is not None
    spoken = version.name.replace("v1_", "v1.").encode()
    assert line.ssl.inside == {SSL_VERSION: spoken, SSL_CIPHER: cipher[0].encode()}
    assert server.read(len(GET) - 2).startswith(b"GET / HTTP/1.1\r\nHost: example.com\r\n")


@pytest.mark.parametrize("mode", MODES)
def test_client_that_names_nobody_and_offers_no_protocol_has_no_tlv_for_either(
    relay: Start, upstream: RawServer, authority: Authority, mode: str
) -> None:
    running = relay(sending(upstream, mode=mode, listen=ours(authority)))
    context = authority.trusting()
    context.check_hostname = False
    running.connect_tls(context, name=None).send(GET)
    line = read_line(upstream.accept())
    assert AUTHORITY not in line.tlvs
    assert ALPN not in line.tlvs
    assert line.ssl is not None


def test_version_1_says_addresses_only(relay: Start, upstream: RawServer, authority: Authority) -> None:
    running = relay(sending(upstream, version=1, listen=ours(authority)))
    client = running.connect_tls(authority.trusting())
    client.send(GET)
    server = upstream.accept()
    line = read_line(server)
    assert addressed(line, running, client)
    assert line.tlvs == {}
    assert arrived(server)[b"x-forwarded-proto"] == b"https"


@pytest.mark.parametrize("mode", MODES)
def test_name_is_lower_case_as_routes_see_it(
    relay: Start, upstream: RawServer, authority: Authority, mode: str
) -> None:
    running = relay(sending(upstream, mode=mode, listen=ours(authority, "app.example.com")))
    context = authority.trusting()
    context.check_hostname = False
    running.connect_tls(context, name="App.Example.COM").send(GET)
    assert read_line(upstream.accept()).tlvs[AUTHORITY].lower() == b"app.example.com"


@pytest.mark.parametrize("mode", MODES)
def test_certificate_of_the_client_that_was_verified_is_named(
    relay: Start, upstream: RawServer, authority: Authority, tmp_path: Path, mode: str
) -> None:
    root = identities.authority("clients of the tests")
    shown = identities.client(root, identities.named(organization_name="Example", common_name="Jürgen's phone"))
    (tmp_path / "clients.pem").write_bytes(root.pem)
    listen = f'{ours(authority)}client_ca = "{tmp_path}/clients.pem"\nclient_certificate = "request"\n'
    running = relay(sending(upstream, mode=mode, listen=listen))
    context = authority.trusting()
    running.connect_tls(context).send(GET)
    without = read_line(upstream.accept()).ssl
    assert without is not None
    assert (without.client, without.verify != 0) == (1, True)
    assert SSL_CN not in without.inside
    chain, key = shown.write(tmp_path)
    context.load_cert_chain(chain, key)
    running.connect_tls(context).send(GET)
    told_of = read_line(upstream.accept()).ssl
    assert told_of is not None
    assert told_of.client & 1
    assert told_of.client & 6
    assert told_of.verify == 0
    assert told_of.inside[SSL_CN] == "Jürgen's phone".encode()


def test_our_own_tls_counts_and_not_that_of_a_line_before_it(
    relay: Start, upstream: RawServer, authority: Authority
) -> None:
    running = relay(sending(upstream, more=TRUSTING, listen=EXPECTING + ours(authority)))
    client = running.connect()
    played = HandPlayed(client, authority.trusting())
    client.send(v2(tlv(AUTHORITY, b"elsewhere.example")) + played.step())
    played.listen()
    played.send_rest(GET, client.send)
    line = read_line(upstream.accept())
    assert (line.source, line.ports) == (SOURCE, (123, 5678))
    assert line.tlvs[AUTHORITY] == b"localhost"
    assert line.ssl is not None
    assert line.ssl.inside[SSL_VERSION] == b"TLSv1.3"


# TLS that is passed on.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by", ['sni = { "localhost" = "app" }', 'alpn = { "h2" = "app" }'], ids=["sni", "alpn"])
def test_connection_that_is_passed_on_by_its_hello_has_a_line_before_it(
    relay: Start, upstream: RawServer, authority: Authority, mode: str, by: str
) -> None:
    """Its TLS is the upstream's, which sees for itself: there is no TLV about it, but the name."""
    listen = f"{by}\n{ours(authority)}"
    running = relay(sending(upstream, mode=mode, listen=listen))
    client = running.connect()
    context = authority.trusting()
    context.set_alpn_protocols(["h2"])
    hello = HandPlayed(client, context).step()
    client.send(hello)
    server = upstream.accept()
    line = read_line(server)
    assert addressed(line, running, client)
    assert line.tlvs[AUTHORITY] == b"localhost"
    assert line.ssl is None
    assert server.read(len(hello)) == hello
    client.finish()
    assert server.read_all() == b""


def test_line_in_hello_and_line_out(relay: Start, upstream: RawServer, authority: Authority) -> None:
    listen = f'{EXPECTING}sni = {{ "localhost" = "app" }}\n'
    running = relay(sending(upstream, mode="tcp", version=1, more=TRUSTING, listen=listen))
    client = running.connect()
    hello = HandPlayed(client, authority.trusting()).step()
    client.send(v1() + hello)
    server = upstream.accept()
    assert server.read(len(v1())) == v1()
    assert server.read(len(hello)) == hello


# TLS towards the upstream.


class Far:
    """An upstream that reads a PROXY line, then ends TLS, then answers one request, in a thread of its own."""

    def __init__(self, upstream: RawServer, authority: Authority) -> None:
        issued = authority.issue("localhost")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(issued.chain, issued.key)
        self._upstream = upstream
        self.lines: list[Line] = []
        self.heads: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        # One byte at a time, so that nothing of the ClientHello is taken.
        plain = self._upstream.accept()
        self.lines.append(read_line(OneByOne(plain)))
        with self._context.wrap_socket(plain.socket, server_side=True) as secured:
            wire = Wire(secured)
            head = wire.read_head()
            self.heads.append(head)
            if b"Upgrade" in head:
                wire.send(SWITCHED)
                wire.send(wire.read(4))
            else:
                wire.send(OK)
            wire.ending()

    def done(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


class OneByOne(Wire):
    """Reads no byte more than it was asked for."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire.socket)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            byte = self.socket.recv(1)
            assert byte
            data += byte
        return data

    def read_until(self, mark: bytes) -> bytes:
        data = b""
        while not data.endswith(mark):
            data += self.read(1)
        return data


def secured(authority: Authority, tmp_path: Path) -> str:
    """The upstream's `tls`."""
    authority.root.cert_pem.write_to_path(str(tmp_path / "root.pem"))
    return f'tls = {{ server_name = "localhost", ca = "{tmp_path}/root.pem" }}'


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("request_", [GET, UPGRADE], ids=["exchange", "tunnel"])
def test_line_comes_before_the_upstreams_tls_at_layer_7(
    relay: Start, upstream: RawServer, authority: Authority, tmp_path: Path, version: int, request_: bytes
) -> None:
    far = Far(upstream, authority)
    running = relay(sending(upstream, version=version, up=secured(authority, tmp_path)))
    client = running.connect()
    client.send(request_)
    if request_ is UPGRADE:
        client.send(b"ping")
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        assert client.read(4) == b"ping"
    else:
        assert client.read(len(OK)) == OK
    assert addressed(far.lines[0], running, client)
    assert told(far.heads[0])[b"x-forwarded-proto"] == b"http"
    client.close()
    far.done()


@pytest.mark.parametrize("version", [1, 2])
def test_line_comes_before_the_upstreams_tls_at_layer_4(
    relay: Start, upstream: RawServer, authority: Authority, tmp_path: Path, version: int
) -> None:
    far = Far(upstream, authority)
    running = relay(sending(upstream, mode="tcp", version=version, up=secured(authority, tmp_path)))
    client = running.connect()
    client.send(GET)
    assert client.read(len(OK)) == OK
    assert addressed(far.lines[0], running, client)
    assert far.heads == [GET]
    client.close()
    far.done()


def test_upstreams_tls_is_not_the_clients(
    relay: Start, upstream: RawServer, authority: Authority, tmp_path: Path
) -> None:
    far = Far(upstream, authority)
    client = relay(sending(upstream, up=secured(authority, tmp_path))).connect()
    client.send(GET)
    assert client.read(len(OK)) == OK
    assert far.lines[0].tlvs == {}
    client.close()
    far.done()

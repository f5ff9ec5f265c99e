"""PROXY lines that go out, layer 7: before the first byte of every upstream connection, and true for all that follows.

Public test files whose cases stand here, in test_proxy_out_layer4.py and in test_proxy_out_tls.py (`test_proxy_in`
has the others):

    nginx-tests stream_proxy_protocol.t, stream_proxy_protocol_ipv6.t    test_proxy_out_layer4.py
    nginx-tests stream_proxy_protocol_ssl.t                              test_proxy_out_tls.py
    nginx-tests stream_realip.t, stream_realip_hostname.t, stream_ssl_realip.t
        who is believed (trusted, or not) and what the log and the upstream are told: test_proxy_in_layer4.py,
        test_proxy_in_tls.py, test_proxy_in_broken.py; "payload" and lines in and out: test_proxy_out_layer4.py
    haproxy reg-tests connection/cli_src_dst.vtc (li1 to li3)            addresses of the line in, by version 1 and 2
    haproxy reg-tests connection/http_reuse_conn_hash.vtc (sender-proxy) one client's connection for one client only
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer, Relay, Wire, http, in_reactor, raw_server
from tests.net.proxied import EXPECTING, GET, LAST, OK, OTHER, PROXY, TRUSTING, Start, arrived, told
from tests.proxylines import SOURCE, Line, local, read_line, ssl_tlv, tlv, v1, v2

VERSIONS = [1, 2]


def sending(upstream: RawServer, version: int, more: str = "", listen: str = "") -> str:
    """A listener of mode http; its upstream gets PROXY lines."""
    text = http(upstream, more, listen=listen)
    return text.replace('name = "app"\n', f'name = "app"\nsend_proxy = {version}\n', 1)


def of(address: str, request: bytes = GET) -> bytes:
    """The request of another client, as a trusted proxy in front sends it."""
    return request.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {address}\r\n\r\n".encode())


def name_of(client: Wire) -> tuple[str, int]:
    host, port = client.socket.getsockname()[:2]
    return host, port


def direct(running: Relay, client: Wire, version: int) -> Line:
    """What has to be said of a client that has connected to us itself."""
    host, port = name_of(client)
    return Line(version, 1, host, "127.0.0.1", (port, running.port()))


@pytest.mark.parametrize("version", VERSIONS)
def test_line_comes_before_the_request(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version))
    client = running.connect(source="127.0.0.9")
    client.send(GET)
    server = upstream.accept()
    assert read_line(server) == direct(running, client, version)
    assert arrived(server)[b"x-forwarded-for"] == b"127.0.0.9"
    assert client.read(len(OK)) == OK


def test_line_of_version_1_is_this_text(relay: Start, upstream: RawServer) -> None:
    running = relay(sending(upstream, 1))
    client = running.connect()
    client.send(GET)
    expected = b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nGET / HTTP/1.1\r\n" % (name_of(client)[1], running.port())
    assert upstream.accept().read(len(expected)) == expected


def test_without_send_proxy_there_is_no_line(relay: Start, upstream: RawServer) -> None:
    running = relay(http(upstream, TRUSTING, listen=EXPECTING))
    client = running.connect()
    client.send(v1() + GET)
    assert upstream.accept().read(16) == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_one_line_is_for_all_requests_of_the_connection(relay: Start, upstream: RawServer, version: int) -> None:
    client = relay(sending(upstream, version)).connect()
    client.send(GET)
    server = upstream.accept()
    read_line(server)
    for _ in range(3):
        assert server.read(16) == b"GET / HTTP/1.1\r\n"
        arrived(server)
        assert client.read(len(OK)) == OK
        client.send(GET)
    assert upstream.nobody_came()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_connection_begins_with_its_own_line(relay: Start, upstream: RawServer, version: int) -> None:
    """Also the one that a request is repeated on because the kept one had been closed meanwhile."""
    running = relay(sending(upstream, version))
    client = running.connect()
    client.send(GET)
    first = upstream.accept()
    expected = read_line(first)
    arrived(first)
    client.read(len(OK))
    client.send(GET)
    first.read_head()
    first.reset()
    second = upstream.accept()
    assert read_line(second) == expected == direct(running, client, version)
    arrived(second)
    assert client.read(len(OK)) == OK


@pytest.mark.parametrize("version", VERSIONS)
def test_next_server_gets_the_line_where_the_first_is_down(
    relay: Start, upstream: RawServer, nobody: str, version: int
) -> None:
    text = sending(upstream, version).replace("servers = [", f'servers = ["{nobody}", ')
    running = relay(text)
    client = running.connect()
    client.send(GET)
    server = upstream.accept()
    assert read_line(server) == direct(running, client, version)
    arrived(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_upgrade_and_tunnel_have_one_line_before_them(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version))
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    assert read_line(server) == direct(running, client, version)
    assert server.read(20) == b"GET /chat HTTP/1.1\r\n"
    server.read_head()
    server.send(SWITCHED)
    client.read_head()
    client.send(b"up")
    assert server.read(2) == b"up"
    client.finish()
    assert server.read_all() == b""


# One upstream connection is for one client: many clients behind a trusted proxy that keeps its connection to us.


@pytest.mark.parametrize("version", VERSIONS)
def test_kept_connection_is_not_used_for_another_client(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version, TRUSTING))
    client = running.connect()
    for address in (SOURCE, OTHER, SOURCE, "2001:db8::1", PROXY):
        client.send(of(address))
        server = upstream.accept()
        line = read_line(server)
        # Nobody knows the port of a client that is known by a field alone.
        assert (line.source, line.ports[0]) == (address, name_of(client)[1] if address == PROXY else 0)
        assert (line.destination, line.ports[1]) == ("127.0.0.1", running.port())
        assert arrived(server)[b"x-real-ip"] == address.encode()
        assert client.read(len(OK)) == OK
        server.socket.settimeout(PATIENCE_SECONDS)
    for server in upstream.accepted[:-1]:
        assert server.read_all() == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_in_a_row_of_one_client_share_a_connection(relay: Start, upstream: RawServer, version: int) -> None:
    client = relay(sending(upstream, version, TRUSTING)).connect()
    client.send(of(SOURCE) + of(SOURCE) + of(f"203.0.113.5, {SOURCE}") + of(OTHER, LAST))
    first = upstream.accept()
    assert read_line(first).source == SOURCE
    for _ in range(3):
        assert arrived(first)[b"x-real-ip"] == SOURCE.encode()
    second = upstream.accept()
    assert read_line(second).source == OTHER
    assert arrived(second)[b"x-real-ip"] == OTHER.encode()
    assert first.read_all() == b""
    assert client.read_all().count(b" 200 OK") == 4


def test_without_send_proxy_clients_behind_a_proxy_share_its_connection(relay: Start, upstream: RawServer) -> None:
    client = relay(http(upstream, TRUSTING)).connect()
    client.send(of(SOURCE) + of(OTHER))
    server = upstream.accept()
    assert [arrived(server)[b"x-real-ip"] for _ in range(2)] == [SOURCE.encode(), OTHER.encode()]


@pytest.mark.parametrize("version", VERSIONS)
def test_upgrade_of_another_client_gets_a_line_of_its_own(relay: Start, upstream: RawServer, version: int) -> None:
    client = relay(sending(upstream, version, TRUSTING)).connect()
    client.send(of(SOURCE))
    server = upstream.accept()
    read_line(server)
    arrived(server)
    client.read(len(OK))
    client.send(of(OTHER, UPGRADE))
    second = upstream.accept()
    assert read_line(second).source == OTHER
    assert told(second.read_head())[b"x-real-ip"] == OTHER.encode()
    second.send(SWITCHED)
    assert client.read_head().startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_untrusted_client_says_of_itself_is_in_no_line(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version))
    client = running.connect()
    client.send(of(SOURCE))
    assert read_line(upstream.accept()) == direct(running, client, version)


# In and out.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("come", [v1(), v2()], ids=["from 1", "from 2"])
def test_addresses_of_the_line_that_came_go_on(relay: Start, upstream: RawServer, version: int, come: bytes) -> None:
    running = relay(sending(upstream, version, TRUSTING, EXPECTING))
    client = running.connect()
    client.send(come + GET)
    assert read_line(upstream.accept()) == Line(version, 1, SOURCE, "192.0.2.2", (123, 5678))


@pytest.mark.parametrize("version", VERSIONS)
def test_client_behind_a_trusted_proxy_that_a_line_names_is_the_source(
    relay: Start, upstream: RawServer, version: int
) -> None:
    """Two proxies in front: the first one adds X-Forwarded-For, the second one a line about the first."""
    running = relay(sending(upstream, version, f'trusted_proxies = ["{PROXY}", "{SOURCE}"]\n', EXPECTING))
    client = running.connect()
    client.send(v1() + of(OTHER) + of("203.0.113.5"))
    for address in (OTHER, "203.0.113.5"):
        server = upstream.accept()
        assert read_line(server) == Line(version, 1, address, "192.0.2.2", (0, 5678))
        assert arrived(server)[b"x-real-ip"] == address.encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_ipv6_addresses_of_the_line_that_came_go_on(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version, TRUSTING, EXPECTING))
    client = running.connect()
    client.send(v1("2001:Db8::1", "2001:Db8::2") + GET)
    assert read_line(upstream.accept()) == Line(version, 1, "2001:db8::1", "2001:db8::2", (123, 5678))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("come", [b"PROXY UNKNOWN\r\n", local(), v2(command=0)], ids=["unknown", "local", "addresses"])
def test_line_without_an_address_becomes_one_about_the_connection(
    relay: Start, upstream: RawServer, version: int, come: bytes
) -> None:
    running = relay(sending(upstream, version, TRUSTING, EXPECTING))
    client = running.connect()
    client.send(come + of(OTHER))
    assert read_line(upstream.accept()) == direct(running, client, version)


def test_tlvs_that_came_go_on_in_version_2(relay: Start, upstream: RawServer) -> None:
    running = relay(sending(upstream, 2, TRUSTING, EXPECTING))
    client = running.connect()
    inside = (tlv(0x21, b"TLSv1.2"), tlv(0x22, b"app.example"), tlv(0x23, b"ECDHE-RSA-AES128-GCM-SHA256"))
    client.send(v2(tlv(0x01, b"http/1.1"), tlv(0x02, b"a.example"), ssl_tlv(*inside, client=7, verify=0)) + GET)
    line = read_line(upstream.accept())
    assert (line.tlvs[0x01], line.tlvs[0x02]) == (b"http/1.1", b"a.example")
    assert line.ssl is not None
    assert (line.ssl.client & 1, line.ssl.verify) == (1, 0)
    assert line.ssl.inside == {0x21: b"TLSv1.2", 0x22: b"app.example", 0x23: b"ECDHE-RSA-AES128-GCM-SHA256"}


def test_client_without_tls_has_no_tlv_about_it(relay: Start, upstream: RawServer) -> None:
    client = relay(sending(upstream, 2)).connect()
    client.send(GET)
    assert read_line(upstream.accept()).tlvs == {}


# Other sockets.


@pytest.fixture
def unix_upstream(tmp_path: Path) -> Iterator[RawServer]:
    with raw_server(family=socket.AF_UNIX, name=str(tmp_path / "app")) as server:
        yield server


@pytest.mark.parametrize("version", VERSIONS)
def test_upstream_on_a_unix_socket_gets_the_clients_addresses(
    relay: Start, unix_upstream: RawServer, version: int
) -> None:
    running = relay(sending(unix_upstream, version))
    client = running.connect()
    client.send(GET)
    server = unix_upstream.accept()
    assert read_line(server) == direct(running, client, version)
    arrived(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_client_on_a_unix_socket_has_no_address(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    running = relay(sending(upstream, version).replace("127.0.0.1:0", f"unix:{tmp_path}/in", 1))
    running.connect_unix(f"{tmp_path}/in").send(GET)
    server = upstream.accept()
    line = read_line(server)
    assert (line.source, line.destination, line.ports) == ("", "", (0, 0))
    assert arrived(server)[b"x-real-ip"] == b"unix:"


@pytest.mark.parametrize("version", VERSIONS)
def test_ipv6_client(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version).replace('"127.0.0.1:0"', '"[::1]:0"', 1))
    with socket.create_connection(("::1", running.port()), PATIENCE_SECONDS) as connected:
        connected.sendall(GET)
        expected = Line(version, 1, "::1", "::1", (connected.getsockname()[1], running.port()))
        assert read_line(upstream.accept()) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_client_that_has_left_already_is_no_bug(relay: Start, upstream: RawServer, version: int) -> None:
    """Its connection has no other end any more that could be asked for its name."""
    running = relay(sending(upstream, version, TRUSTING, EXPECTING))

    def come_and_go() -> None:
        client = running.connect()
        client.send(local() + GET)
        client.reset()

    in_reactor(come_and_go)  # which accepts nobody meanwhile
    running.settle()
    while running.sessions:
        pass
    running.stop()
    assert all(line.get("outcome") in ("client-left", "silent", None) for line in running.lines())

"""PROXY lines that real proxies read: nginx and HAProxy behind the relay; and relays in a row.

`test_proxy_protocol` has those in front, and says which public test files' cases stand here.
"""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect as open_websocket

from tests.e2e.peers import Upstream, configuration
from tests.e2e.proxies import CLIENT, Proxies
from tests.harness import PATIENCE_SECONDS, RawServer, Relay, Wire
from tests.net.proxied import EXPECTING, GET, LAST, OTHER, PROXY, TRUSTING, arrived
from tests.proxylines import SOURCE, local, read_line, v1, v2
from tests.tls import Authority

pytestmark = pytest.mark.e2e

Start = Callable[..., Relay]

VERSIONS = [1, 2]

# What both answer: who the client is, where it went, and what else they know of it.
NGINX = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port $remote_addr"
HAPROXY = "%[src] %[src_port] %[dst] %[dst_port] <%[fc_pp_authority]> %[ssl_fc] %[fc_rcvd_proxy]"


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.dispose()


def sending(port: int, version: int, mode: str = "http", listen: str = "", up: str = "", more: str = "") -> str:
    """A relay whose upstream is at this port and gets PROXY lines."""
    tcp = 'mode = "tcp"\nupstream = "app"\n' if mode == "tcp" else ""
    text = configuration(port, tcp + listen, more, route=mode == "http")
    return text.replace('name = "app"', f'name = "app"\nsend_proxy = {version}\n{up}', 1)


def nginx_web(more: str = "", files: str = "") -> str:
    return f"""
    server {{
        listen 127.0.0.1:PORT0 proxy_protocol{more};
        {files}
        set_real_ip_from 127.0.0.1;
        real_ip_header proxy_protocol;
        keepalive_timeout 60s;
        location / {{ return 200 "{NGINX} $scheme $http_x_real_ip"; }}
    }}
    """


def nginx_stream(more: str = "") -> str:
    return f"""
    server {{
        listen 127.0.0.1:PORT0 proxy_protocol{more};
        set_real_ip_from 127.0.0.1;
        return "{NGINX}";
    }}
    """


def haproxy_web(bind: str = "") -> str:
    return f"""
frontend behind
    mode http
    bind fd@FD0 accept-proxy {bind}
    http-request return status 200 content-type text/plain lf-string "{HAPROXY} %[hdr(x-real-ip)]"
"""


def ask(client: Wire, request: bytes = LAST) -> list[str]:
    """The words of the answer, which ends the connection."""
    client.send(request)
    head, _, content = client.read_all().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return content.decode().split(" ")


def ends(running: Relay, client: Wire) -> list[str]:
    """What has to be known of a client that has connected to the relay itself."""
    host, port = client.socket.getsockname()[:2]
    return [host, str(port), "127.0.0.1", str(running.port())]


@pytest.mark.parametrize("version", VERSIONS)
def test_nginx_behind_knows_the_client(relay: Start, proxies: Proxies, version: int) -> None:
    (port,) = proxies.nginx(nginx_web())
    running = relay(sending(port, version))
    client = proxies.connect(running.port())
    expected = ends(running, client)
    assert ask(client) == [*expected, CLIENT, "http", CLIENT]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("line", "addresses"),
    [
        (v1(), (SOURCE, "192.0.2.2")),
        (v2(), (SOURCE, "192.0.2.2")),
        (v1("2001:Db8::1", "2001:Db8::2"), ("2001:db8::1", "2001:db8::2")),
        (v2(source="2001:db8::1", destination="2001:db8::2"), ("2001:db8::1", "2001:db8::2")),
    ],
)
def test_nginx_and_haproxy_behind_know_whom_a_proxy_in_front_has_named(
    relay: Start, proxies: Proxies, version: int, line: bytes, addresses: tuple[str, str]
) -> None:
    (nginx,), (_, (haproxy,)) = proxies.nginx(nginx_web()), proxies.haproxy(haproxy_web())
    source, destination = addresses
    for port, behind in ((nginx, [source, "http", source]), (haproxy, ["<>", "0", "1", source])):
        running = relay(sending(port, version, listen=EXPECTING, more=TRUSTING))
        words = ask(running.connect(), line + LAST)
        assert words == [source, "123", destination, "5678", *behind]


@pytest.mark.parametrize("version", VERSIONS)
def test_nginx_behind_never_takes_one_client_for_another(relay: Start, proxies: Proxies, version: int) -> None:
    """Many clients behind a proxy in front that keeps its connection, and nginx keeps its own with us."""
    (port,) = proxies.nginx(nginx_web())
    client = relay(sending(port, version, more=TRUSTING)).connect()
    for address in (SOURCE, OTHER, OTHER, "2001:db8::7", SOURCE):
        client.send(GET.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {address}\r\n\r\n".encode()))
        head = client.read_head()
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        words = client.read(length).decode().split(" ")
        # Nobody knows the port of a client that is known by a field; nginx shows 0 as nothing.
        assert (words[0], words[1], words[4], words[6]) == (address, "", address, address)


@pytest.mark.parametrize("version", VERSIONS)
def test_client_on_a_unix_socket_is_somebody_unknown_to_nginx_and_haproxy(
    relay: Start, proxies: Proxies, version: int
) -> None:
    (nginx,), (_, (haproxy,)) = proxies.nginx(nginx_web()), proxies.haproxy(haproxy_web())
    for port in (nginx, haproxy):
        path = proxies.folder / f"{port}.sock"
        relay(sending(port, version).replace("127.0.0.1:0", f"unix:{path}", 1))
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(str(path))
            words = ask(Wire(connected))
        assert words[-1] == "unix:"
        assert (words[4] if port == nginx else words[0]) == PROXY


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", ["plain", "tls"])
def test_nginx_stream_behind_layer_4_knows_the_client(
    relay: Start, proxies: Proxies, authority: Authority, version: int, way: str
) -> None:
    (port,) = proxies.nginx(stream=nginx_stream())
    tls = f"tls = [ {authority.issue('localhost').toml} ]" if way == "tls" else ""
    running = relay(sending(port, version, "tcp", tls))
    client = proxies.connect(running.port(), tls=authority.trusting() if tls else None)
    expected = ends(running, client)
    assert client.read_all().decode().split(" ") == [*expected, CLIENT]


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_passed_on_to_nginx_by_name_has_the_line_before_it(
    relay: Start, proxies: Proxies, authority: Authority, version: int
) -> None:
    issued = authority.issue("localhost")
    files = f"ssl_certificate {issued.chain}; ssl_certificate_key {issued.key};"
    (port,) = proxies.nginx(nginx_web(" ssl", files))
    running = relay(sending(port, version, "tcp", 'sni = { "localhost" = "app" }'))
    client = proxies.connect(running.port(), tls=authority.trusting())
    expected = ends(running, client)
    assert ask(client) == [*expected, CLIENT, "https", ""]


def towards(authority: Authority, folder: Path) -> str:
    """The upstream's `tls`."""
    authority.root.cert_pem.write_to_path(str(folder / "up.pem"))
    return f'tls = {{ server_name = "localhost", ca = "{folder}/up.pem" }}'


@pytest.mark.parametrize("version", VERSIONS)
def test_line_comes_before_tls_to_nginx_and_haproxy(
    relay: Start, proxies: Proxies, authority: Authority, tmp_path: Path, version: int
) -> None:
    issued = authority.issue("localhost")
    both = tmp_path / "both.pem"
    both.write_bytes(issued.chain.read_bytes() + issued.key.read_bytes())
    files = f"ssl_certificate {issued.chain}; ssl_certificate_key {issued.key};"
    (nginx,) = proxies.nginx(nginx_web(" ssl", files))
    _, (haproxy,) = proxies.haproxy(haproxy_web(f"ssl crt {both}"))
    for port, behind in ((nginx, [CLIENT, "https", CLIENT]), (haproxy, ["<>", "1", "1", CLIENT])):
        for _ in range(2):  # the second time the TLS session is resumed
            running = relay(sending(port, version, up=towards(authority, tmp_path)))
            client = proxies.connect(running.port())
            expected = ends(running, client)
            assert ask(client) == [*expected, *behind]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_haproxy_behind_knows_the_client_and_the_name_it_asked_for(
    relay: Start, proxies: Proxies, authority: Authority, mode: str, version: int
) -> None:
    _, (port,) = proxies.haproxy(haproxy_web())
    running = relay(sending(port, version, mode, f"tls = [ {authority.issue('localhost').toml} ]"))
    client = proxies.connect(running.port(), tls=authority.trusting())
    expected = ends(running, client)
    words = ask(client)
    assert words[:4] == expected
    assert words[4] == ("<localhost>" if version == 2 else "<>")
    assert words[5:] == ["0", "1", CLIENT if mode == "http" else ""]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("line", [b"PROXY UNKNOWN\r\n", local()], ids=["unknown", "local"])
def test_health_check_from_in_front_is_the_front_proxys_own(
    relay: Start, proxies: Proxies, version: int, line: bytes
) -> None:
    _, (port,) = proxies.haproxy(haproxy_web())
    running = relay(sending(port, version, listen=EXPECTING, more=TRUSTING))
    client = running.connect()
    expected = ends(running, client)
    assert ask(client, line + LAST)[:4] == expected


# Relays in a row.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_relay_behind_a_relay_knows_the_client_and_its_tls(
    relay: Start, upstream: RawServer, proxies: Proxies, authority: Authority, mode: str, version: int
) -> None:
    _, _, port = upstream.address.rpartition(":")
    inner = relay(configuration(int(port), EXPECTING, TRUSTING))
    outer = relay(sending(inner.port(), version, mode, f"tls = [ {authority.issue('localhost').toml} ]"))
    client = proxies.connect(outer.port(), tls=authority.trusting())
    client.send(GET)
    fields = arrived(upstream.accept())
    assert (fields[b"x-real-ip"], fields[b"x-forwarded-for"]) == (CLIENT.encode(), CLIENT.encode())
    # Version 1 cannot say it, and what the outer one's fields say is not believed of a client that is not trusted.
    assert fields[b"x-forwarded-proto"] == (b"https" if version == 2 else b"http")
    assert inner.next_line()["real_ip"] == CLIENT


@pytest.mark.parametrize("version", VERSIONS)
def test_three_relays_in_a_row_keep_the_first_addresses(
    relay: Start, upstream: RawServer, proxies: Proxies, version: int
) -> None:
    _, _, port = upstream.address.rpartition(":")
    last = relay(sending(int(port), 2, listen=EXPECTING, more=TRUSTING))
    middle = relay(sending(last.port(), version, "tcp", EXPECTING, more=TRUSTING))
    first = relay(sending(middle.port(), version))
    client = proxies.connect(first.port())
    client.send(GET)
    server = upstream.accept()
    line = read_line(server)
    assert [line.source, str(line.ports[0]), line.destination, str(line.ports[1])] == ends(first, client)
    assert arrived(server)[b"x-forwarded-for"] == CLIENT.encode()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_websocket_crosses_two_relays_with_a_line_between_them(
    relay: Start, echo: Upstream, mode: str, version: int
) -> None:
    inner = relay(configuration(echo.plain, EXPECTING, TRUSTING))
    outer = relay(sending(inner.port(), version, mode))
    with open_websocket(f"ws://127.0.0.1:{outer.port()}/head", source_address=(CLIENT, 0)) as client:
        fields = {name.lower(): value for name, value in json.loads(client.recv(PATIENCE_SECONDS))}
        assert (fields["x-real-ip"], fields["x-forwarded-for"]) == (CLIENT, CLIENT)
        for message in ("hello", b"\x00" * 300_000):
            client.send(message)
            assert client.recv(PATIENCE_SECONDS) == message

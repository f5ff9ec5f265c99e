"""PROXY lines of real proxies: HAProxy and nginx in front of the relay.

Of HAProxy's reg-tests these stand here: connection/proxy_protocol_random_fail.vtc (TLS in front, a UNIX socket, eight
requests), proxy_protocol_send_unique_id.vtc (its TLV does no harm), server/cli_add_check_server.vtc (health checks with
and without a line), seamless-reload/abns_socket.vtc (`send-proxy-v2` over a UNIX socket; its reload is HAProxy's own).
proxy_protocol_send_generic.vtc needs HAProxy 2.9: TLVs of one's own are in tests/net/proxied.py.
proxy_protocol_send_unique_id_alpn.vtc (the line before TLS) is in test_proxy_protocol_behind.py.
`tests/net/test_proxy_in.py` has the whole list.
"""

import select
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.proxies import CLIENT, Proxies
from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer, Relay, Wire
from tests.net import identities
from tests.net.proxied import GET, PROXY, arrived, edge, layer4, told
from tests.proxylines import AUTHORITY, SOURCE, SSL_CIPHER, SSL_CN, SSL_VERSION, read_line, v1, v2
from tests.tls import Authority, Issued

pytestmark = pytest.mark.e2e

Start = Callable[..., Relay]

ALL = "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c,unique-id"
SENDING = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c", ALL]


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.dispose()


def pem(issued: Issued, folder: Path) -> Path:
    """Chain and key in one file, as HAProxy has them."""
    file = folder / f"{issued.chain.stem}-both.pem"
    file.write_bytes(issued.chain.read_bytes() + issued.key.read_bytes())
    return file


# HAProxy in front.


def in_front(port: int | str, send: str, mode: str = "tcp", bind: str = "", more: str = "") -> str:
    where = port if isinstance(port, str) else f"127.0.0.1:{port}"
    return f"""
listen front
    mode {mode}
    unique-id-format TEST-%ci
    bind fd@FD0 {bind}
    {more}
    server relay {where} {send}
"""


def next_of(upstream: RawServer) -> Wire:
    """The connection with the next request: HAProxy may go on with one of its own, or begin another."""
    while True:
        ready, _, _ = select.select(
            [upstream.listening, *(each.socket for each in upstream.accepted)], [], [], PATIENCE_SECONDS
        )
        assert ready
        if upstream.listening in ready:
            return upstream.accept()
        for wire in list(upstream.accepted):
            if wire.socket in ready:
                if wire.socket.recv(1, socket.MSG_PEEK):
                    return wire
                wire.close()
                upstream.accepted.remove(wire)


@pytest.mark.parametrize("send", SENDING)
@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_haproxy_in_front_names_the_client(
    relay: Start, upstream: RawServer, proxies: Proxies, mode: str, send: str
) -> None:
    running = relay(edge(upstream))
    _, (port,) = proxies.haproxy(in_front(running.port(), send, mode))
    for source in (CLIENT, "127.0.0.9"):
        client = proxies.connect(port, source)
        for _ in range(2):
            client.send(GET)
            fields = arrived(next_of(upstream))
            assert (fields[b"x-real-ip"], fields[b"x-forwarded-for"]) == (source.encode(), source.encode())
            assert fields[b"x-forwarded-proto"] == b"http"
            client.read_until(b"ok")
            line = running.next_line()
            assert line["real_ip"] == source
            assert line["client"].startswith(f"{PROXY}:")


@pytest.mark.parametrize("send", SENDING)
@pytest.mark.parametrize("come", [v1(), v2(), v1("2001:db8::1", "2001:db8::2")], ids=["v1", "v2", "tcp6"])
def test_addresses_that_haproxy_got_itself_reach_the_upstream_through_both(
    relay: Start, upstream: RawServer, proxies: Proxies, send: str, come: bytes
) -> None:
    text = layer4(upstream).replace('name = "app"', 'name = "app"\nsend_proxy = 2')
    running = relay(text)
    _, (port,) = proxies.haproxy(in_front(running.port(), send, bind="accept-proxy"))
    client = proxies.connect(port)
    client.send(come + b"close")
    server = upstream.accept()
    line = read_line(server)
    ends = ("2001:db8::1", "2001:db8::2") if b"TCP6" in come else (SOURCE, "192.0.2.2")
    assert (line.source, line.destination, line.ports) == (*ends, (123, 5678))
    assert server.read(5) == b"close"
    server.send(b"answer")
    assert client.read(6) == b"answer"


def test_tlvs_of_haproxy_about_its_clients_tls_are_understood_and_passed_on(
    relay: Start, upstream: RawServer, proxies: Proxies, tmp_path: Path, authority: Authority
) -> None:
    root = identities.authority("clients of the tests")
    chain, key = identities.client(root, identities.named(common_name="phone 7")).write(tmp_path)
    (tmp_path / "clients.pem").write_bytes(root.pem)
    both = pem(authority.issue("localhost"), tmp_path)
    running = relay(edge(upstream).replace('name = "app"', 'name = "app"\nsend_proxy = 2'))
    bind = f"ssl crt {both} ca-file {tmp_path}/clients.pem verify required"
    _, (port,) = proxies.haproxy(in_front(running.port(), ALL, bind=bind))
    context = authority.trusting()
    context.load_cert_chain(chain, key)
    client = proxies.connect(port, tls=context)
    client.send(GET)
    server = upstream.accept()
    line = read_line(server)
    assert line.source == CLIENT
    assert line.tlvs[AUTHORITY] == b"localhost"
    assert line.ssl is not None
    assert (line.ssl.client & 1, line.ssl.verify) == (1, 0)
    assert isinstance(client.socket, ssl.SSLSocket)
    assert line.ssl.inside[SSL_VERSION] == str(client.socket.version()).encode()
    assert line.ssl.inside[SSL_CN] == b"phone 7"
    assert line.ssl.inside[SSL_CIPHER] == (client.socket.cipher() or ("",))[0].encode()
    fields = arrived(server)
    assert (fields[b"x-forwarded-proto"], fields[b"x-real-ip"]) == (b"https", CLIENT.encode())
    client.read_until(b"ok")


def test_requests_through_haproxys_tls_and_a_unix_socket(
    relay: Start, upstream: RawServer, proxies: Proxies, tmp_path: Path, authority: Authority
) -> None:
    path = proxies.folder / "in.sock"
    text = edge(upstream, trusting='trusted_proxies = ["unix:"]\n')
    running = relay(text.replace("127.0.0.1:0", f"unix:{path}", 1))
    bind = f"ssl crt {pem(authority.issue('localhost'), tmp_path)}"
    for send in ("send-proxy", ALL):
        _, (port,) = proxies.haproxy(in_front(f"unix@{path}", send, "http", bind, "option forwardfor"))
        client = proxies.connect(port, tls=authority.trusting())
        for number in range(1, 9):
            client.send(b"POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nx=x" % number)
            server = upstream.accept() if number == 1 else upstream.accepted[-1]
            fields = arrived(server)
            assert server.read(3) == b"x=x"
            # HAProxy's own X-Forwarded-For is the client's word, since the line names a client that is not trusted.
            assert (fields[b"x-real-ip"], fields[b"x-forwarded-for"]) == (CLIENT.encode(), CLIENT.encode())
            assert fields[b"x-forwarded-proto"] == (b"https" if send == ALL else b"http")
            client.read_until(b"ok")
            line = running.line(event="exchange")
            assert (line["client"], line["real_ip"]) == ("unix:", CLIENT)


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", ALL])
def test_health_checks_of_haproxy_pass_and_have_its_own_address(
    relay: Start, upstream: RawServer, proxies: Proxies, send: str
) -> None:
    text = edge(upstream) + '[[route]]\npath = "/check"\nrespond = { status = 200, body = "ok" }\n'
    running = relay(text)
    more = "option httpchk GET /check\n    option log-health-checks"
    said, _ = proxies.haproxy(in_front(running.port(), f"{send} check inter 100ms rise 1 fall 1", "http", more=more))
    said.line(r"Health check for server front/relay succeeded, reason: Layer7 check passed, code: 200")
    line = running.line(event="exchange")
    assert (line["status"], line["real_ip"], line["target"]) == (200, PROXY, "/check")


def test_health_check_without_a_line_is_told_what_is_missing(
    relay: Start, upstream: RawServer, proxies: Proxies
) -> None:
    running = relay(edge(upstream))
    more = "option httpchk GET /check\n    option log-health-checks"
    check = f"check inter 100ms rise 1 fall 1 port {running.port()}"  # with `port` HAProxy sends no line
    said, _ = proxies.haproxy(in_front(running.port(), f"send-proxy {check}", "http", more=more))
    said.line(r"Layer7 wrong status, code: 400")
    assert running.next_line()["reason"] == "proxy-header"
    assert upstream.nobody_came()


@pytest.mark.parametrize("make", [edge, layer4])
def test_probes_of_haproxy_that_only_connect_are_nothing_for_the_log(
    relay: Start, upstream: RawServer, proxies: Proxies, make: Callable[..., str]
) -> None:
    running = relay(make(upstream))
    check = f"check inter 50ms rise 1 fall 1 port {running.port()}"
    said, _ = proxies.haproxy(in_front(running.port(), f"send-proxy {check}", more="option log-health-checks"))
    said.line(r"Health check for server front/relay succeeded, reason: Layer4 check passed")
    said.dispose()
    while running.sessions:
        pass
    running.stop()
    assert running.lines() == []
    assert upstream.nobody_came()


def test_haproxy_that_is_not_trusted_gets_nowhere(relay: Start, upstream: RawServer, proxies: Proxies) -> None:
    running = relay(edge(upstream, trusting='trusted_proxies = ["192.0.2.0/24"]\n'))
    _, (port,) = proxies.haproxy(in_front(running.port(), "send-proxy-v2"))
    client = proxies.connect(port)
    client.send(GET)
    assert client.ending() == b""
    assert running.next_line()["reason"] == "proxy-untrusted"
    assert upstream.nobody_came()


# nginx in front.


def forwarding(port: int, more: str = "") -> str:
    return f"server {{ listen 127.0.0.1:PORT0{more}; proxy_pass 127.0.0.1:{port}; proxy_protocol on; }}"


def test_nginx_in_front_names_the_client(relay: Start, upstream: RawServer, proxies: Proxies) -> None:
    running = relay(edge(upstream))
    (port,) = proxies.nginx(stream=forwarding(running.port()))
    client = proxies.connect(port)
    client.send(GET + GET)
    server = upstream.accept()
    for _ in range(2):
        fields = arrived(server)
        assert (fields[b"x-real-ip"], fields[b"x-forwarded-for"]) == (CLIENT.encode(), CLIENT.encode())
        assert running.next_line()["real_ip"] == CLIENT


def test_tls_through_nginx_ends_at_the_relay(
    relay: Start, upstream: RawServer, proxies: Proxies, authority: Authority
) -> None:
    running = relay(edge(upstream, listen=f"tls = [ {authority.issue('localhost').toml} ]"))
    (port,) = proxies.nginx(stream=forwarding(running.port()))
    client = proxies.connect(port, tls=authority.trusting())
    client.send(UPGRADE)
    server = upstream.accept()
    fields = told(server.read_head())
    assert (fields[b"x-real-ip"], fields[b"x-forwarded-proto"]) == (CLIENT.encode(), b"https")
    server.send(SWITCHED)
    client.read_head()
    client.send(b"over the tunnel")
    assert server.read(15) == b"over the tunnel"
    line = running.next_line()
    assert (line["event"], line["real_ip"], line["tls"]) == ("open", CLIENT, "TLSv1.3")


def test_tls_that_ends_at_nginx_is_not_known_of_since_version_1_cannot_say_it(
    relay: Start, upstream: RawServer, proxies: Proxies, authority: Authority
) -> None:
    running = relay(edge(upstream))
    issued = authority.issue("localhost")
    files = f"ssl_certificate {issued.chain}; ssl_certificate_key {issued.key};"
    (port,) = proxies.nginx(stream=files + forwarding(running.port(), " ssl"))
    client = proxies.connect(port, tls=authority.trusting())
    client.send(GET)
    fields = arrived(upstream.accept())
    assert (fields[b"x-real-ip"], fields[b"x-forwarded-proto"]) == (CLIENT.encode(), b"http")


def test_nginx_in_front_at_layer_4(relay: Start, upstream: RawServer, proxies: Proxies) -> None:
    running = relay(layer4(upstream))
    (port,) = proxies.nginx(stream=forwarding(running.port()))
    client = proxies.connect(port)
    client.send(b"close")
    server = upstream.accept()
    assert server.read(5) == b"close"
    server.send(b"answer")
    assert client.read(6) == b"answer"
    line = running.next_line()
    assert (line["event"], line["real_ip"]) == ("open", CLIENT)


def test_client_of_nginx_on_a_unix_socket_is_nginx_itself(relay: Start, upstream: RawServer, proxies: Proxies) -> None:
    """Nginx writes UNKNOWN then."""
    running = relay(edge(upstream))
    path = proxies.folder / "front.sock"
    proxies.nginx(stream=forwarding(running.port()).replace("127.0.0.1:PORT0", f"unix:{path}"), ports=0)
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(str(path))
        connected.sendall(GET)
        assert arrived(upstream.accept())[b"x-real-ip"] == PROXY.encode()

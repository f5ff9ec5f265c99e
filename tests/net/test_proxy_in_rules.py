"""PROXY lines that come in, layer 7: rules about addresses judge the one in the line; and sockets other than IPv4.

`test_proxy_in` says which public test files' cases stand here.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, RawServer, Wire, http
from tests.net.proxied import FORGED, GET, OTHER, PROXY, TRUSTING, Start, arrived, edge, layer4, named, part, serve
from tests.proxylines import SOURCE, local, tlv, v1, v2

# Rules about addresses.


@pytest.mark.parametrize(
    ("rule", "line", "served"),
    [
        ('deny = ["192.0.2.1"]', v1(), False),
        ('deny = ["2001:db8::/32"]', v1("2001:DB8::1", "2001:DB8::2"), False),
        ('deny = ["2001:db8::/32"]', v1(), True),
        ('allow = ["192.168.1.0/24"]', v2(source="192.168.1.101", destination="127.0.0.1"), True),
        ('allow = ["192.168.1.0/24"]', v2(), False),
        (f'deny = ["{PROXY}"]', v2(), True),
        (f'allow = ["{PROXY}"]', v2(), False),
        ('allow = ["192.0.2.0/24"]', local(), False),
        (f'allow = ["{PROXY}"]', b"PROXY UNKNOWN 192.0.2.1\r\n", True),
    ],
)
def test_listener_judges_the_address_in_the_line(
    relay: Start, upstream: RawServer, rule: str, line: bytes, served: bool
) -> None:
    running = relay(edge(upstream, listen=rule))
    if served:
        serve(running, upstream, [line + GET])
        return
    client = running.connect()
    client.send(line + GET)
    assert b" 200 " not in client.ending()
    logged = running.next_line()
    assert logged["reason"] == "address-denied"
    assert upstream.nobody_came()


def test_connections_are_counted_under_the_address_in_the_line(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream, "[limits]\nconnections_per_address = 1"))
    waiting = [running.connect() for _ in range(3)]  # no line yet: they count under nobody
    _, first = serve(running, upstream, [v1() + GET])
    serve(running, upstream, [v1(OTHER) + GET])
    for _ in range(3):
        serve(running, upstream, [local() + GET])
    waiting[0].send(v2() + GET)
    assert b" 200 " not in waiting[0].ending()
    assert running.line(reason="address-limit")["real_ip"] == SOURCE
    waiting[0].close()
    first.close()
    while running.sessions > 6:
        running.settle()
    waiting[1].send(v2() + GET)
    assert arrived(upstream.accept())[b"x-real-ip"] == SOURCE.encode()


# What the log knows.


def test_name_that_the_clients_tls_asked_for_is_in_the_log(relay: Start, upstream: RawServer) -> None:
    running = relay(edge(upstream))
    serve(running, upstream, [v2(tlv(0x02, b"App.example.com")) + GET])
    assert running.next_line()["sni"] == "app.example.com"


@pytest.mark.parametrize("name", [b"a\r\nX-Real-IP: 6.6.6.6", b"\xff\xfe", b"a b", b"\x1b[31m", b"<a>", b"a" * 256])
def test_name_that_is_none_is_neither_in_the_log_nor_in_the_request(
    relay: Start, upstream: RawServer, name: bytes
) -> None:
    running = relay(edge(upstream))
    client = running.connect()
    client.send(v2(tlv(0x02, name)) + GET)
    running.settle()
    if not upstream.nobody_came():  # it may be refused as well
        assert name not in upstream.accept().read_head()
    client.close()
    line = running.next_line()
    assert line["sni"] is None
    assert name.decode("latin-1") not in line.values()


def test_client_is_known_where_its_upstream_is_down(relay: Start, upstream: RawServer, nobody: str) -> None:
    for make, event in ((edge, "exchange"), (layer4, "failed")):
        running = relay(make(upstream).replace(upstream.address, nobody))
        client = running.connect()
        client.send(v1() + GET)
        assert b" 502 " in client.ending() or make is layer4
        line = running.next_line()
        assert (line["event"], line["reason"], line["real_ip"]) == (event, "upstream-refused", SOURCE)


# Other sockets.


@pytest.fixture
def over_ipv6(upstream: RawServer, relay: Start) -> Iterator[Wire]:
    """A client of an IPv6 listener."""
    text = edge(upstream, trusting='trusted_proxies = ["::1"]\n').replace('"127.0.0.1:0"', '"[::1]:0"')
    with socket.create_connection(("::1", relay(text).port()), PATIENCE_SECONDS) as connected:
        yield Wire(connected)


def test_ipv6_listener_takes_lines_about_ipv4_clients(over_ipv6: Wire, upstream: RawServer) -> None:
    over_ipv6.send(v1() + GET)
    assert part(arrived(upstream.accept()), named(SOURCE)) == named(SOURCE)


def test_health_check_over_ipv6_has_its_own_address(over_ipv6: Wire, upstream: RawServer) -> None:
    over_ipv6.send(local() + GET)
    assert part(arrived(upstream.accept()), named("::1")) == named("::1")


@pytest.mark.parametrize(("line", "address"), [(v1(), SOURCE), (v2(), SOURCE), (local(), "unix:")])
def test_unix_listener_takes_lines_where_unix_is_trusted(
    relay: Start, upstream: RawServer, tmp_path: Path, line: bytes, address: str
) -> None:
    text = edge(upstream, trusting='trusted_proxies = ["unix:"]\n')
    running = relay(text.replace("127.0.0.1:0", f"unix:{tmp_path}/in", 1))
    client = running.connect_unix(f"{tmp_path}/in")
    client.send(line + FORGED)
    assert part(arrived(upstream.accept()), named(address)) == named(address)
    logged = running.next_line()
    assert (logged["client"], logged["real_ip"]) == ("unix:", address)


@pytest.mark.parametrize("line", [v1(), v2()], ids=["v1", "v2"])
def test_unix_listener_takes_a_line_byte_by_byte(
    relay: Start, upstream: RawServer, tmp_path: Path, line: bytes
) -> None:
    """On a UNIX socket the kernel cannot be told how many bytes to wait for."""
    text = edge(upstream, trusting='trusted_proxies = ["unix:"]\n')
    running = relay(text.replace("127.0.0.1:0", f"unix:{tmp_path}/in", 1))
    client = running.connect_unix(f"{tmp_path}/in")
    for byte in line + GET[:5]:
        client.send(bytes([byte]))
        running.settle()
    client.send(GET[5:])
    assert part(arrived(upstream.accept()), named(SOURCE)) == named(SOURCE)


def test_listener_without_accept_proxy_takes_no_line_for_one(relay: Start, upstream: RawServer) -> None:
    running = relay(http(upstream, TRUSTING))
    client = running.connect()
    client.send(v1() + GET)
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    assert running.next_line()["reason"] == "malformed-head"
    assert upstream.nobody_came()

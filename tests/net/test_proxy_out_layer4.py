"""PROXY lines that go out, layer 4: the first bytes of the upstream connection, then the client's, untouched.

`test_proxy_out` says which public test files' cases stand here.
"""

import socket
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, HandTime, RawServer, Relay, Wire, in_reactor
from tests.net.proxied import EXPECTING, PROXY, TRUSTING, Start
from tests.proxylines import SOURCE, Line, local, read_line, tlv, v1, v2

VERSIONS = [1, 2]
MUCH = bytes(range(256)) * 4000


def sending(upstream: RawServer, version: int, more: str = "", listen: str = "") -> str:
    """A listener of mode tcp; its upstream gets PROXY lines."""
    return f"""{more}
[[listen]]
address = "127.0.0.1:0"
mode = "tcp"
upstream = "raw"
{listen}
[[upstream]]
name = "raw"
servers = ["{upstream.address}"]
{f"send_proxy = {version}" if version else ""}
"""


def direct(running: Relay, client: Wire, version: int) -> Line:
    host, port = client.socket.getsockname()
    return Line(version, 1, host, "127.0.0.1", (port, running.port()))


def test_line_of_version_1_is_this_text_and_then_come_the_clients_bytes(relay: Start, upstream: RawServer) -> None:
    running = relay(sending(upstream, 1))
    client = running.connect()
    client.send(b"close")
    port = client.socket.getsockname()[1]
    expected = b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nclose" % (port, running.port())
    assert upstream.accept().read(len(expected)) == expected


def test_without_send_proxy_there_is_none(relay: Start, upstream: RawServer) -> None:
    client = relay(sending(upstream, 0)).connect()
    client.send(b"close")
    client.finish()
    assert upstream.accept().read_all() == b"close"


@pytest.mark.parametrize("pump", ["reactor", "auto"])
@pytest.mark.parametrize("version", VERSIONS)
def test_much_crosses_both_ways_behind_the_line(relay: Start, upstream: RawServer, version: int, pump: str) -> None:
    running = relay(sending(upstream, version, f'pump = "{pump}"\n'))
    client = running.connect()
    client.send_aside(MUCH)
    server = upstream.accept()
    assert read_line(server) == direct(running, client, version)
    assert server.read(len(MUCH)) == MUCH
    server.send_aside(MUCH)
    assert client.read(len(MUCH)) == MUCH
    client.finish()
    assert server.read_all() == b""
    server.finish()
    assert client.read_all() == b""
    closed = running.line(event="close")
    assert closed["to_client"] == len(MUCH)
    assert closed["to_upstream"] == len(MUCH)


@pytest.mark.parametrize("pump", ["reactor", "auto"])
@pytest.mark.parametrize("version", VERSIONS)
def test_line_comes_although_the_client_is_silent(relay: Start, upstream: RawServer, version: int, pump: str) -> None:
    running = relay(sending(upstream, version, f'pump = "{pump}"\n'))
    client = running.connect()
    server = upstream.accept()
    assert read_line(server) == direct(running, client, version)
    server.send(b"220 ready\r\n")
    assert client.read(11) == b"220 ready\r\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_client_that_only_says_its_end_has_a_line_too(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version))
    client = running.connect()
    client.finish()
    server = upstream.accept()
    assert read_line(server) == direct(running, client, version)
    assert server.read_all() == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_line_and_early_bytes_wait_for_the_server_that_answers(
    relay: Start, upstream: RawServer, full: RawServer, version: int
) -> None:
    over = HandTime()
    running = relay(sending(upstream, version).replace("servers = [", f'servers = ["{full.address}", '), over)
    client = running.connect()
    client.send(b"early")
    running.settle()
    assert upstream.nobody_came()
    over.passes(5)
    server = upstream.accept()
    assert read_line(server) == direct(running, client, version)
    assert server.read(5) == b"early"


@pytest.mark.parametrize("version", VERSIONS)
def test_ipv6(relay: Start, upstream: RawServer, version: int) -> None:
    running = relay(sending(upstream, version).replace('"127.0.0.1:0"', '"[::1]:0"', 1))
    with socket.create_connection(("::1", running.port()), PATIENCE_SECONDS) as connected:
        connected.sendall(b"close")
        server = upstream.accept()
        expected = Line(version, 1, "::1", "::1", (connected.getsockname()[1], running.port()))
        assert read_line(server) == expected
        assert server.read(5) == b"close"


@pytest.mark.parametrize("version", VERSIONS)
def test_client_on_a_unix_socket_has_no_address(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    running = relay(sending(upstream, version).replace("127.0.0.1:0", f"unix:{tmp_path}/in", 1))
    running.connect_unix(f"{tmp_path}/in").send(b"close")
    server = upstream.accept()
    line = read_line(server)
    assert (line.version, line.source, line.destination, line.ports) == (version, "", "", (0, 0))
    assert server.read(5) == b"close"


# In and out.

LINES = [
    (v1(), Line(0, 1, SOURCE, "192.0.2.2", (123, 5678))),
    (v2(), Line(0, 1, SOURCE, "192.0.2.2", (123, 5678))),
    (v1("2001:Db8::1", "2001:Db8::2"), Line(0, 1, "2001:db8::1", "2001:db8::2", (123, 5678))),
    (v2(source="2001:db8::1", destination="2001:db8::2"), Line(0, 1, "2001:db8::1", "2001:db8::2", (123, 5678))),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN TCP4 192.0.2.1 192.0.2.2 1234 5678\r\n", None),
    (local(), None),
    (v2(command=0), None),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("come", "expected"), LINES)
def test_addresses_of_the_line_that_came_go_on_and_the_connections_own_where_it_has_none(
    relay: Start, upstream: RawServer, version: int, come: bytes, expected: Line | None
) -> None:
    running = relay(sending(upstream, version, TRUSTING, EXPECTING))
    client = running.connect()
    client.send(come + b"close")
    server = upstream.accept()
    line, wanted = read_line(server), expected or direct(running, client, version)
    assert (line.version, line.source, line.destination, line.ports) == (
        version,
        wanted.source,
        wanted.destination,
        wanted.ports,
    )
    assert server.read(5) == b"close"


@pytest.mark.parametrize("version", VERSIONS)
def test_ipv4_addresses_of_a_line_that_came_over_ipv6(relay: Start, upstream: RawServer, version: int) -> None:
    text = sending(upstream, version, TRUSTING.replace(PROXY, "::1"), EXPECTING)
    running = relay(text.replace('"127.0.0.1:0"', '"[::1]:0"', 1))
    with socket.create_connection(("::1", running.port()), PATIENCE_SECONDS) as connected:
        connected.sendall(v1() + b"close")
        server = upstream.accept()
        assert read_line(server) == Line(version, 1, SOURCE, "192.0.2.2", (123, 5678))
        assert server.read(5) == b"close"


@pytest.mark.parametrize("version", VERSIONS)
def test_two_relays_in_a_row_tell_the_second_upstream_who_the_client_is(
    relay: Start, upstream: RawServer, version: int
) -> None:
    inner = relay(sending(upstream, 2, TRUSTING, EXPECTING))
    outer = relay(sending(upstream, version).replace(upstream.address, f"127.0.0.1:{inner.port()}"))
    client = outer.connect(source="127.0.0.77")
    client.send(b"close")
    server = upstream.accept()
    assert read_line(server) == Line(2, 1, "127.0.0.77", "127.0.0.1", direct(outer, client, 2).ports)
    assert server.read(5) == b"close"
    line = inner.next_line()
    assert line["real_ip"] == "127.0.0.77"
    assert line["client"].startswith("127.0.0.1:")


def test_authority_and_protocol_of_the_line_that_came_go_on(relay: Start, upstream: RawServer) -> None:
    running = relay(sending(upstream, 2, TRUSTING, EXPECTING))
    client = running.connect()
    client.send(v2(tlv(0x01, b"mqtt"), tlv(0x02, b"a.example"), tlv(0xE0, b"not ours to pass on")))
    assert read_line(upstream.accept()).tlvs == {0x01: b"mqtt", 0x02: b"a.example"}


@pytest.mark.parametrize("version", VERSIONS)
def test_client_that_has_left_already_is_no_bug(relay: Start, upstream: RawServer, version: int) -> None:
    """Its connection has no other end any more that could be asked for its name."""
    running = relay(sending(upstream, version))
    in_reactor(lambda: running.connect().reset())  # who accepts nobody meanwhile
    running.settle()
    while running.sessions:
        pass
    running.stop()
    outcomes = {line.get("outcome") for line in running.lines()}
    assert outcomes <= {"client-left", "client-reset", "silent", None}

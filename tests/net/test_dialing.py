"""From a group's name to a connection: servers in turn, names, UNIX sockets, and what a client is told otherwise."""

import socket
from collections.abc import Iterator

import pytest
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer

from tests.harness import HandTime, Relay, Wire, http, in_reactor, raw_server

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


def group(*servers: str) -> str:
    """A configuration with these servers behind one route."""
    names = ", ".join(f'"{server}"' for server in servers)
    return f"""
[[listen]]
address = "127.0.0.1:0"
[[upstream]]
name = "app"
servers = [{names}]
[[route]]
path = "/"
upstream = "app"
"""


def asking(running: Relay) -> Wire:
    client = running.connect()
    client.send(GET)
    return client


@implementer(IHostnameResolver)
class Names:
    """A resolver that knows what the test says; None is a question that is never answered."""

    def __init__(self, addresses: list[str] | None) -> None:
        self._addresses = addresses

    def resolveHostName(self, receiver, hostName, portNumber=0, addressTypes=None, transportSemantics="TCP"):
        receiver.resolutionBegan(None)
        if self._addresses is not None:
            for address in self._addresses:
                receiver.addressResolved(IPv4Address("TCP", address, portNumber))
            receiver.resolutionComplete()
        return receiver


@pytest.fixture
def names() -> Iterator:
    """Let names mean these addresses."""
    before = []

    def mean(addresses: list[str] | None) -> None:
        before.append(in_reactor(reactor.installNameResolver, Names(addresses)))

    yield mean
    for each in reversed(before):
        in_reactor(reactor.installNameResolver, each)


def test_servers_of_a_group_are_taken_in_turn(relay):
    with raw_server() as one, raw_server() as two, raw_server() as three:
        running = relay(group(one.address, two.address, three.address))
        for server in (one, two, three, one, two):
            client = asking(running)
            wire = server.accept()
            wire.read_head()
            wire.send(OK)
            assert client.read_head().startswith(b"HTTP/1.1 200 ")
            assert running.next_line()["upstream"] == server.address


def test_next_server_is_asked_when_one_refuses(relay, upstream, nobody, tmp_path):
    running = relay(group(nobody, f"unix:{tmp_path}/nobody", upstream.address))
    for _ in range(3):
        client = asking(running)
        server = upstream.accept()
        server.read_head()
        server.send(OK)
        assert client.read_head().startswith(b"HTTP/1.1 200 ")
        assert running.next_line()["upstream"] == upstream.address


def test_next_server_is_asked_when_one_does_not_answer(relay, upstream, full):
    over = HandTime()
    running = relay(group(full.address, upstream.address), over)
    client = asking(running)
    running.settle()
    assert upstream.nobody_came()
    over.passes(5)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert client.read_head().startswith(b"HTTP/1.1 200 ")


def test_client_is_told_that_nobody_listens_and_the_log_where(relay, nobody, tmp_path):
    servers = [nobody, f"unix:{tmp_path}/nobody"]
    running = relay(group(*servers))
    answer = asking(running).read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"X-Wsrelay-Reason: upstream-refused\r\n" in answer
    line = running.next_line()
    assert all(server in line["detail"] for server in servers)
    assert all(server.encode() not in answer for server in servers), "the inside of the site is no client's affair"


def test_connect_that_takes_too_long_is_504(relay, full):
    over = HandTime()
    running = relay(group(full.address), over)
    client = asking(running)
    running.settle()
    over.passes(4)
    assert running.sessions == 1
    over.passes(1)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"X-Wsrelay-Reason: upstream-connect-timeout\r\n" in answer
    assert full.address in running.next_line()["detail"]


def test_routes_own_connect_limit_counts(relay, full):
    over = HandTime()
    running = relay(http(full, route='timeouts = { connect = "2s" }'), over)
    client = asking(running)
    running.settle()
    over.passes(2)
    assert client.read_all().startswith(b"HTTP/1.1 504 ")


def test_name_is_resolved(relay, upstream):
    running = relay(group(upstream.address.replace("127.0.0.1", "localhost")))
    client = asking(running)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert client.read_head().startswith(b"HTTP/1.1 200 ")
    assert running.next_line()["upstream"] == upstream.address


def test_every_address_of_a_name_is_tried(relay, upstream, names):
    names(["127.77.77.77", "127.0.0.1"])  # the upstream listens on the second only
    running = relay(group(upstream.address.replace("127.0.0.1", "app.internal")))
    client = asking(running)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert client.read_head().startswith(b"HTTP/1.1 200 ")
    assert running.next_line()["upstream"] == upstream.address


def test_unknown_name_is_502(relay, names):
    names([])
    running = relay(group("app.internal:80"))
    answer = asking(running).read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"X-Wsrelay-Reason: upstream-name\r\n" in answer
    assert "app.internal:80" in running.next_line()["detail"]


def test_resolver_that_does_not_answer_is_not_waited_for(relay, names):
    names(None)
    over = HandTime()
    running = relay(group("app.internal:80"), over)
    client = asking(running)
    running.settle()
    over.passes(4)
    assert running.sessions == 1
    over.passes(1)
    answer = client.read_all()
    assert b"X-Wsrelay-Reason: upstream-name\r\n" in answer
    assert "app.internal:80" in running.next_line()["detail"]


def test_unix_socket_is_a_server_too(relay, tmp_path):
    with raw_server(family=socket.AF_UNIX, name=str(tmp_path / "app.sock")) as server:
        running = relay(group(server.address))
        client = asking(running)
        wire = server.accept()
        assert b"\r\nHost: a\r\n" in wire.read_head()
        wire.send(OK)
        assert client.read_head().startswith(b"HTTP/1.1 200 ")
        assert running.next_line()["upstream"] == server.address


@pytest.mark.parametrize("there", [None, "a file"])
def test_unix_path_without_a_server_is_refused(relay, tmp_path, there):
    if there:
        (tmp_path / "app.sock").write_text(there)
    running = relay(group(f"unix:{tmp_path}/app.sock"))
    answer = asking(running).read_all()
    assert b"X-Wsrelay-Reason: upstream-refused\r\n" in answer
    assert f"unix:{tmp_path}/app.sock" in running.next_line()["detail"]


def test_address_without_a_way_there_is_unreachable(relay):
    """A TCP connect to a multicast address fails at once, on every machine."""
    running = relay(group("224.0.0.1:80"))
    answer = asking(running).read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"X-Wsrelay-Reason: upstream-unreachable\r\n" in answer

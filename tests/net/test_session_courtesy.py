"""What one session must not do to others, or to whoever has behaved: hog, deafen, wait for nobody, reset the polite."""

import os
import socket
import threading

import pytest
from twisted.internet import reactor
from twisted.python.systemd import ListenFDs

from tests.harness import SWITCHED, UPGRADE, Wire, http, in_reactor
from tests.tls import Authority, front, tunnel
from wsrelay.config.settings import TcpAddress
from wsrelay.net.connecting import Place, _Attempt, _begin
from wsrelay.net.listening import Listening, bind

OWN = b"GET /own HTTP/1.1\r\nHost: example.com\r\n\r\n"
ROUTE = """
[[route]]
path = "/own"
respond = { body = "here" }
"""
GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


def test_a_pipeline_of_requests_leaves_others_their_turn(relay, upstream):
    running = relay(http(upstream, route=ROUTE))
    greedy, modest = running.connect(), running.connect()
    for client in (greedy, modest):
        client.send(OWN)
        client.read_until(b"here")
    names = [running.next_line()["session"] for _ in range(2)]

    def both_at_once():
        greedy.send(OWN * 500)
        modest.send(OWN)

    in_reactor(both_at_once)
    greedy.read(len(b"here") * 500)
    order = [running.next_line()["session"] for _ in range(501)]
    assert order.count(names[1]) == 1
    assert order.index(names[1]) < 100


def test_a_bug_in_one_accept_does_not_deafen_the_port(relay, upstream, logged):
    site = relay(http(upstream, route=ROUTE)).service.listening[0].site
    failures = iter([True])

    def new_id():
        if next(failures, False):
            raise ZeroDivisionError
        return "second"

    listening = Listening(bind(TcpAddress("127.0.0.1", 0), ListenFDs([], [])), site, new_id)
    in_reactor(listening.start)
    try:
        port = int(listening.name.rpartition(":")[2])
        first, second = (Wire(socket.create_connection(("127.0.0.1", port))) for _ in range(2))
        second.send(OWN)
        assert second.read_until(b"here").startswith(b"HTTP/1.1 200")
        assert first.read_all() == b""
        for client in (first, second):
            client.close()
    finally:
        in_reactor(listening.stop)
    assert {event["log_failure"].type for event in logged if "log_failure" in event} == {ZeroDivisionError}
    logged.clear()


def test_a_client_that_closed_during_a_quiet_answer_is_given_up_after_linger(relay, upstream):
    running = relay(http(upstream, more="[timeouts]\nlinger = 0.2\n"))
    client = running.connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    client.read_until(b"data: 1")
    client.close()
    assert running.line(event="exchange")["outcome"] == "client-left"
    assert server.was_reset()


def test_a_half_closed_client_gets_its_answer_as_long_as_it_comes(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(GET)
    client.finish()
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    client.read_until(b"ab")
    server.send(b"cd")
    assert client.read_all() == b"cd"


def test_an_upstream_that_declined_an_upgrade_is_not_reset(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    assert client.read_head().startswith(b"HTTP/1.1 401")
    assert not server.was_reset()


def test_a_drain_does_not_wait_for_a_client_whose_answers_are_all_on_their_way(relay, upstream):
    big = 'respond = { body = "' + "x" * 60000 + '" }'
    running = relay(
        http(upstream, more="[timeouts]\ndrain = 600\n", route=ROUTE.replace('respond = { body = "here" }', big))
    )
    client = running.connect()
    client.send(OWN * 100)
    client.read_head()
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    client.read_all()
    client.close()
    stopping.join(20)
    assert not stopping.is_alive()


def test_a_goodbye_that_the_server_began_is_no_truncation_when_the_client_just_ends(relay, upstream, tmp_path):
    """As Chromium does it: our close_notify is answered with a plain FIN."""
    authority = Authority(tmp_path)
    running = relay(front(authority, upstream))
    client = running.connect_tls(authority.trusting())
    far = tunnel(client, upstream)
    far.finish()
    assert client.read_all() == b""
    client.close()
    assert not far.was_reset()
    assert running.line(event="close")["outcome"] == "upstream-closed"


@pytest.mark.parametrize("event", ["doRead", "doWrite", "connectionLost"])
def test_an_old_event_of_another_descriptor_does_not_settle_a_connect(full, event):
    """Within one turn a descriptor may be closed, and its number given to a connect, before its event is told."""
    name = full.listening.getsockname()
    connecting, _ = in_reactor(_begin, Place(socket.AF_INET, name, ""))
    attempt = in_reactor(_Attempt, reactor, connecting)
    try:
        in_reactor(getattr(attempt, event), *([None] if event == "connectionLost" else []))
        assert not attempt.done.called
        assert attempt.fileno() != -1
    finally:
        attempt.done.addErrback(lambda _: None)
        in_reactor(attempt.done.cancel)


def test_a_reader_that_only_stops_is_not_taken_for_one_that_is_gone(relay, upstream):
    """Linux counts both for TCP_USER_TIMEOUT, so that has to be longer than any write_stall."""
    running = relay(http(upstream, more="[timeouts]\nwrite_stall = 300\n"))
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    client.read_head()
    limits = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            held = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        with held:
            if held.family == socket.AF_INET and held.type == socket.SOCK_STREAM:
                limits.append(held.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    # The listener, the client's leg and the upstream's; the test's own sockets have none.
    assert limits.count(600_000) == 3

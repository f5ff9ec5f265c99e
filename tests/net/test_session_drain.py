"""The end of the service: what is under way may use the window to its end, and nothing idle is waited for."""

import socket
import threading

import pytest

from tests.harness import SWITCHED, UPGRADE, HandTime, http, in_reactor

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def stopping(running) -> threading.Thread:
    """Begin to stop; the thread ends with the service."""
    thread = threading.Thread(target=running.stop, daemon=True)
    thread.start()
    while not in_reactor(lambda: running.service.live.draining):
        pass
    return thread


def exchanging(running, upstream):
    client = running.connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    return client, server


def test_stop_ends_at_once_when_nobody_is_there(relay, upstream):
    running = relay(http(upstream), HandTime())
    port = running.port()
    running.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("served", [False, True])
def test_idle_client_is_let_go_at_once(relay, upstream, served):
    running = relay(http(upstream), HandTime())
    client = running.connect()
    if served:
        client.send(GET)
        server = upstream.accept()
        server.read_head()
        server.send(OK)
        client.read(len(OK))
    running.settle()
    running.stop()
    assert client.read_all() == b""


def test_exchange_under_way_is_finished_and_says_that_it_is_the_last(relay, upstream):
    running = relay(http(upstream), HandTime())
    client, server = exchanging(running, upstream)
    end = stopping(running)
    server.send(OK)
    assert b"\r\nConnection: close\r\n" in client.read_head()
    assert client.read_all() == b"ok"
    client.close()
    end.join(5)
    assert not end.is_alive()
    assert running.next_line()["status"] == 200


def test_head_that_has_begun_is_still_served(relay, upstream):
    running = relay(http(upstream), HandTime())
    client = running.connect()
    client.send(GET[:10])
    running.settle()
    end = stopping(running)
    client.send(GET[10:])
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert client.read_all().endswith(b"ok")
    client.close()
    end.join(5)
    assert not end.is_alive()


def test_answer_that_had_begun_is_finished_and_then_the_client_let_go(relay, upstream):
    running = relay(http(upstream), HandTime())
    client, server = exchanging(running, upstream)
    server.send(OK[:-1])
    assert b"Connection" not in client.read_head()
    end = stopping(running)
    server.send(OK[-1:])
    assert client.read_all() == b"ok"
    client.close()
    end.join(5)
    assert not end.is_alive()


def test_answer_that_the_client_has_not_read_yet_is_not_lost(relay, upstream):
    """The answer is complete for us while its end still waits for the client: no reason to cut it off."""
    running = relay(http(upstream), HandTime())
    client, server = exchanging(running, upstream)
    size = 0
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"x" * 65536
    while not running.unsent:
        server.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        size += len(piece)
        running.settle()
    server.send(b"0\r\n\r\n")
    assert running.line(event="exchange")["response_bytes"] == size
    assert running.unsent
    end = stopping(running)
    client.read_head()
    assert client.read_chunks() == b"x" * size
    assert client.read_all() == b""
    end.join(5)
    assert not end.is_alive()


def test_half_closed_client_that_reads_slowly_gets_the_whole_answer(relay, upstream):
    running = relay(http(upstream), HandTime())
    client, server = exchanging(running, upstream)
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    size, piece = 0, b"x" * 65536
    while not running.unsent:
        server.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        size += len(piece)
        running.settle()
    server.send(b"0\r\n\r\n")
    client.finish()
    running.settle()
    client.read_head()
    assert client.read_chunks() == b"x" * size
    assert client.read_all() == b""


def test_tunnel_goes_on_until_the_window_ends(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    client.read_head()
    end = stopping(running)
    over.passes(29)
    client.send(b"still")
    assert server.read(5) == b"still"
    server.send(b"here")
    assert client.read(4) == b"here"
    over.passes(1)
    assert client.read_all() == b""
    assert server.read_all() == b""
    end.join(5)
    assert not end.is_alive()
    assert running.line(event="close")["outcome"] == "drained"


def test_exchange_is_cut_off_when_the_window_ends(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client, server = exchanging(running, upstream)
    server.send(OK[:-1])
    client.read_head()
    end = stopping(running)
    over.passes(30)
    end.join(5)
    assert not end.is_alive()
    assert client.was_reset() or server.was_reset()
    assert running.next_line()["status"] == 200


def test_upgrade_that_was_under_way_may_still_open_its_tunnel(relay, upstream):
    running = relay(http(upstream), HandTime())
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    end = stopping(running)
    server.send(SWITCHED)
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    client.finish()
    server.finish()
    end.join(5)
    assert not end.is_alive()
    assert running.line(event="close")["outcome"].endswith("-closed")

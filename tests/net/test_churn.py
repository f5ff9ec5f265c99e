"""Thousands of clients come and go, a third of them rudely, and nothing is left of any of them."""

import collections
import gc
import os
import threading

from tests.harness import SWITCHED, UPGRADE, RawServer, Relay, Wire, http, in_reactor
from wsrelay.net.legs import Leg
from wsrelay.net.session import Session
from wsrelay.net.stream import Stream
from wsrelay.net.tunnel import Tunnel

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLIENTS, BATCH = 5000, 50


def served(client: Wire) -> None:
    client.send(GET + GET)
    assert client.read(2 * len(OK)) == OK * 2
    client.close()


def half_closed(client: Wire) -> None:
    client.send(GET)
    client.finish()
    assert client.read_all().endswith(b"ok")


def tunnel(client: Wire) -> None:
    client.send(UPGRADE + b"early")
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert client.read(5) == b"early"
    client.finish()
    assert client.read_all() == b""


def refused(client: Wire) -> None:
    client.send(b"BAD\r\n\r\n")
    assert client.read_all().startswith(b"HTTP/1.1 400 ")


def silent(client: Wire) -> None:
    client.finish()
    assert client.read_all() == b""


def uploaded(client: Wire) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert client.read(len(OK)) == OK
    client.finish()
    assert client.read_all() == b""


def rude_at_once(client: Wire) -> None:
    client.reset()


def rude_in_a_tunnel(client: Wire) -> None:
    client.send(UPGRADE)
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    client.send(b"x")
    client.reset()


def rude_in_a_request(client: Wire) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
    client.reset()


KINDS = (served, rude_at_once, tunnel, half_closed, rude_in_a_tunnel, refused, silent, rude_in_a_request, uploaded)


def serve(server: Wire) -> None:
    """One connection: requests are answered, a tunnel echoes, until its end or a reset."""
    try:
        while True:
            head = server.read_head()
            if b"Upgrade: websocket" in head:
                server.send(SWITCHED)
                server.echo_aside(1 << 30).join()
                server.finish()
                break
            if b"chunked" in head:
                server.read_chunks()
            elif b"Content-Length: 9" in head:
                server.read(9)
            server.send(OK)
    except (OSError, EOFError):
        pass
    finally:
        server.close()


def serve_all(upstream: RawServer) -> None:
    while True:
        try:
            server = upstream.accept()
        except OSError:
            return
        upstream.accepted.clear()
        threading.Thread(target=serve, args=(server,), daemon=True).start()


def left_over() -> dict[str, int]:
    """How many objects of a session's life there are; closed ones count as well."""

    def count() -> dict[str, int]:
        gc.collect()
        found = [type(one) for one in gc.get_objects() if isinstance(one, Session | Tunnel | Stream | Leg)]
        return {kind.__name__: found.count(kind) for kind in set(found)}

    return dict(in_reactor(count))


def batch(running: Relay, number: int) -> None:
    """Fifty clients at once: all are connected before the first one speaks."""
    clients = [running.connect() for _ in range(BATCH)]
    for index, client in enumerate(clients):
        KINDS[(number * BATCH + index) % len(KINDS)](client)
    for client in clients:
        client.close()
    running.forget_clients()


def all_gone(running: Relay, threads: int) -> None:
    """Wait until no session is left, and no thread of the upstream's."""
    while running.sessions or threading.active_count() > threads:
        running.settle()


def test_five_thousand_clients_leave_nothing_behind(relay, upstream):
    running = relay(http(upstream))
    threading.Thread(target=serve_all, args=(upstream,), daemon=True).start()
    threads = threading.active_count()
    before = left_over()
    batch(running, 0)
    all_gone(running, threads)
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(CLIENTS // BATCH):
        batch(running, number)
    all_gone(running, threads)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert left_over() == before
    running.stop()
    told = collections.Counter(line.get("outcome") or line["event"] for line in running.lines())
    each = (CLIENTS + BATCH) // len(KINDS)
    assert told["bug"] == 0
    # One line for each exchange, two for each tunnel.
    assert told["open"] == told["client-closed"] + told["client-reset"]
    assert abs(told["open"] - 2 * each) <= 2
    # A request whose client resets may be gone with the RST before it was read.
    assert 5 * each - 8 <= told["exchange"] + told["refused"] + told["declined"] <= 6 * each + 8

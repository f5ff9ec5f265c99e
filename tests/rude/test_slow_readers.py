"""Clients that read slowly, or no more: bounded memory, bounded time, and nothing that was cut looks whole."""

import ssl
import threading

import pytest

from tests.harness import SWITCHED, UPGRADE, Relay, Wire, in_reactor
from tests.rude.scene import CARRIERS, GET, HERE, PLAIN, TLS_1_2, TLS_1_3, PumpTime, Scene

PIECE = b"x" * 4096
# One read of 64 KiB on top of a full buffer of 64 KiB, on either leg, and framing.
MOST_BUFFERED = 4 * 64 * 1024 + 1024
BIG = 99_999_999
HALF = b"HTTP/1.1 %d Fine\r\nContent-Length: %d\r\n\r\n"
ENDLESS = {
    "until close": (b"HTTP/1.1 200 OK\r\n\r\n", lambda data: data, b""),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                lambda data: b"%x\r\n%b\r\n" % (len(data), data), b"0\r\n\r\n"),
}  # fmt: skip


def cut(client: Wire) -> bool:
    """Wait for the end; whether it was none that could pass for the end of an answer."""
    try:
        client.read_all()
    except (ConnectionResetError, ssl.SSLEOFError):
        return True
    return False


def answer_without_length(scene: Scene, carrier: str, kind: str) -> tuple[Relay, Wire]:
    """An answer whose end is the connection's, complete but for its last bytes, which wait for the client."""
    head, frame, end = ENDLESS[kind]
    running = scene.open(carrier)
    client = scene.client(carrier)
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    server = scene.upstream.accept()
    server.read_head()
    server.send(head)
    while not running.unsent:
        server.send(frame(PIECE))
        running.settle()
    server.send(end)
    server.finish()
    running.line(event="exchange", status=200)
    assert running.unsent
    return running, client


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("kind", ENDLESS)
def test_a_reader_that_stops_before_the_last_bytes_sees_no_orderly_end(scene, carrier, kind):
    """HTTP/1.0: the end of the connection is the end of the answer. What the client never got must not look whole."""
    running, client = answer_without_length(scene, carrier, kind)
    for _ in range(3):
        scene.over.passes(60)
    assert running.sessions == 0
    client.read_head()
    assert cut(client)


@pytest.mark.parametrize("kind", ENDLESS)
def test_the_end_of_the_service_before_the_last_bytes_is_no_orderly_end(scene, kind):
    running, client = answer_without_length(scene, PLAIN, kind)
    stopping = threading.Thread(target=running.stop, daemon=True)
    stopping.start()
    while not in_reactor(lambda: running.service.live.draining):
        pass
    scene.over.passes(30)
    stopping.join()
    client.read_head()
    assert cut(client)


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_reader_that_goes_on_in_time_gets_the_last_bytes_and_the_end(scene, kind):
    running, client = answer_without_length(scene, PLAIN, kind)
    scene.over.passes(59)
    client.read_head()
    assert len(client.read_all()) % len(PIECE) == 0
    client.close()
    while running.sessions:
        pass


@pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
def test_a_tls_reader_that_stops_is_given_up_after_write_stall(scene, upstream, carrier):
    running = scene.open(carrier)
    client = scene.client(carrier)
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(HALF % (200, BIG))
    server.send_until_full(b"x" * BIG)
    assert running.buffered <= MOST_BUFFERED
    scene.over.passes(59)
    assert running.sessions == 1
    for _ in range(2):
        scene.over.passes(60)
    assert running.line(event="exchange")["detail"] == "client stalled"
    assert server.was_reset()
    assert running.sessions == 0
    client.read_head()
    assert cut(client)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_reader_of_a_declined_upgrade_that_stops_is_given_up(scene, upstream, carrier):
    running = scene.open(carrier)
    client = scene.client(carrier)
    client.send(UPGRADE + b"early" * 9)
    server = upstream.accept()
    server.read_head()
    server.send(HALF % (403, BIG))
    server.send_until_full(b"x" * BIG)
    assert running.buffered <= MOST_BUFFERED
    for _ in range(2):
        scene.over.passes(60)
    assert running.line(event="exchange")["status"] == 403
    assert server.was_reset()
    assert running.sessions == 0


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_refusal_waits_behind_answers_that_nobody_reads_and_no_longer_than_write_stall(scene, carrier):
    big = f'[[route]]\npath = "/big"\nrespond = {{ body = "{"x" * 5000}" }}\n'
    running = scene.open(carrier, after=big)
    client = scene.client(carrier)
    request = HERE.replace(b"/here", b"/big")
    while not running.unsent:
        client.send(request * 50)
        running.settle()
    client.send(b"BAD\r\n\r\n")
    running.settle()
    assert running.sessions == 1
    assert running.buffered <= MOST_BUFFERED
    for _ in range(4):
        scene.over.passes(60)
    assert running.sessions == 0
    client.read_head()
    assert cut(client) or carrier == PLAIN


def test_a_refusal_behind_answers_is_read_by_who_goes_on_reading(scene):
    running = scene.open(after=f'[[route]]\npath = "/big"\nrespond = {{ body = "{"x" * 5000}" }}\n')
    client = scene.client()
    count = 0
    while not running.unsent:
        client.send(HERE.replace(b"/here", b"/big"))
        running.settle()
        count += 1
    client.send(b"BAD\r\n\r\n")
    running.settle()
    scene.over.passes(59)
    answers = client.read_all()
    assert answers.count(b"x" * 5000) == count
    assert b"\r\nX-Wsrelay-Reason: malformed-head\r\n" in answers


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("request_", [GET, UPGRADE], ids=["GET", "upgrade"])
def test_a_client_that_reads_no_interim_answers_is_given_up_in_bounded_memory(scene, upstream, carrier, request_):
    """16 of them, each as large as a head may be, would be half a megabyte for one client that does not read."""
    running = scene.open(carrier)
    client = scene.client(carrier)
    server = None
    # The kernel's buffers take some; the requests before fill them up.
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not running.unsent:
        server.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        running.settle()
    client.send(request_)
    server.send(b"0\r\n\r\n")
    running.settle()
    server = upstream.accept() if request_ == UPGRADE else server
    server.read_head()
    server.send_until_full((b"HTTP/1.1 103 Hints\r\nX-Fill: " + b"x" * 32_000 + b"\r\n\r\n") * 16)
    assert running.buffered <= MOST_BUFFERED
    for _ in range(4):
        scene.over.passes(60)
    assert running.sessions == 0
    assert server.was_reset()


@pytest.mark.parametrize("pump", ["reactor", "native"])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_client_that_reads_nothing_of_its_tunnel_is_given_up(scene, upstream, carrier, pump):
    running = scene.open(carrier, more=f'pump = "{pump}"\n')
    time = PumpTime(scene)
    time.hold()
    client = scene.client(carrier)
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    running.line(event="open")
    time.stuff(server)
    time.passes(30)
    assert running.sessions == 1
    for _ in range(9):
        time.passes(30)
    assert running.line(event="close")["outcome"] == "client-stalled"
    assert server.was_reset()
    assert running.sessions == 0

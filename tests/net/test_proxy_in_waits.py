"""The wait for a PROXY line, met by everything that can happen to it: it ends, once, and leaves nothing behind."""

import os
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.harness import HandTime, RawServer, Relay, Wire, in_reactor
from tests.net.proxied import GET, OK, Start, arrived, edge, layer4
from tests.proxylines import SOURCE, v1, v2
from tests.tls import Authority

# Shorter than any other limit, as in test_session_matrix.
WINDOW = '[timeouts]\ndrain = "1s"\n'


@attrs.frozen
class World:
    """A client that waits, or lets wait, at one kind of listener."""

    way: str
    over: HandTime
    running: Relay
    client: Wire
    upstream: RawServer


@pytest.fixture(params=["http", "https", "layer 4"])
def world(request: pytest.FixtureRequest, relay: Start, upstream: RawServer, tmp_path: Path) -> World:
    over = HandTime()
    tls = f"tls = [ {Authority(tmp_path).issue('localhost').toml} ]\n" if request.param == "https" else ""
    text = layer4(upstream, WINDOW) if request.param == "layer 4" else edge(upstream, WINDOW, tls)
    running = relay(text, over)
    client = running.connect()
    running.settle()
    assert running.sessions == 1
    return World(request.param, over, running, client, upstream)


def stop(world: World) -> None:
    """Begin to stop the service, and let its window pass."""
    threading.Thread(target=world.running.stop, daemon=True).start()
    while not in_reactor(lambda: world.running.service.live.draining):
        pass
    world.over.passes(1)


def leaves_nothing(world: World) -> list[dict[str, Any]]:
    """Wait for the session's end; what the log says of it."""
    while world.running.sessions:
        pass
    world.running.stop()
    told = world.running.lines()
    assert world.over.timers == 0
    assert world.upstream.nobody_came()
    return told


PIECES = {"nothing": b"", "half of v1": v1()[:11], "half of v2": v2()[:9], "all but the end": v2()[:-1]}


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_line_that_does_not_come_in_time_is_not_waited_for(world: World, piece: bytes) -> None:
    world.client.send(piece)
    world.running.settle()
    world.over.passes(9.9)
    assert world.running.sessions == 1
    world.over.passes(0.2)
    answer = world.client.ending()
    if world.way == "http":
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nX-Wsrelay-Reason: proxy-timeout\r\n" in answer
    else:
        assert answer == b""
    world.client.close()
    (line,) = leaves_nothing(world)
    event = "exchange" if world.way == "http" else "failed"
    assert (line["event"], line["reason"], line["outcome"]) == (event, "proxy-timeout", "refused")


def test_bytes_that_trickle_in_do_not_lengthen_the_wait(world: World) -> None:
    for byte in v1()[:10]:
        world.client.send(bytes([byte]))
        world.running.settle()
        world.over.passes(1)
    assert b"proxy-timeout" in world.client.ending() or world.way != "http"
    world.client.close()
    (line,) = leaves_nothing(world)
    assert line["reason"] == "proxy-timeout"


@pytest.mark.parametrize("how", ["reset", "ends"])
@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_client_that_leaves_before_its_line_leaves_nothing_behind(world: World, piece: bytes, how: str) -> None:
    """Without a byte it is a probe of the port, as load balancers send them every second, and nothing for the log."""
    world.client.send(piece)
    world.running.settle()
    if how == "reset":
        world.client.reset()
    else:
        world.client.finish()
        world.client.ending()
        world.client.close()
    told = leaves_nothing(world)
    assert len(told) == (1 if piece else 0)
    for line in told:
        assert line["outcome"] in ("client-left", "refused")


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_service_that_stops_does_not_wait_longer_than_its_window(world: World, piece: bytes) -> None:
    world.client.send(piece)
    world.running.settle()
    stop(world)
    assert b" 200 " not in world.client.ending()
    world.client.close()
    told = leaves_nothing(world)
    assert len(told) <= 1
    for line in told:
        assert line["outcome"] in ("drained", "refused")


def test_service_that_stops_lets_go_at_once_of_who_has_sent_nothing(world: World) -> None:
    """As of any connection without a request; the window is for what is under way."""
    threading.Thread(target=world.running.stop, daemon=True).start()
    while not in_reactor(lambda: world.running.service.live.draining):
        pass
    world.running.settle()
    waiting = world.running.sessions
    world.over.passes(1)
    assert world.client.ending() == b""
    assert waiting == 0


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_no_descriptor_stays_open(relay: Start, upstream: RawServer, piece: bytes) -> None:
    running = relay(edge(upstream), HandTime())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        client = running.connect()
        client.send(piece)
        running.settle()
        client.reset()
    while running.sessions:
        pass
    running.settle()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_a_line_that_is_awaited_keeps_the_reactor_asleep(world: World, piece: bytes) -> None:
    """Bytes that were looked at and left in the socket make it readable for as long as they lie there."""
    world.client.send(piece)
    world.running.settle()
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1
        before()

    before = reactor.runUntilCurrent  # type: ignore[attr-defined]  # a module, to mypy
    in_reactor(setattr, reactor, "runUntilCurrent", count)
    try:
        in_reactor(deferLater, reactor, 0.2)
    finally:
        in_reactor(delattr, reactor, "runUntilCurrent")
    # Some for the calls of this test itself; a reactor that spins makes thousands.
    assert turns < 50


def test_request_head_has_its_own_time_after_the_line(relay: Start, upstream: RawServer) -> None:
    over = HandTime()
    running = relay(edge(upstream), over)
    client = running.connect()
    running.settle()
    over.passes(9)
    client.send(v1())
    running.settle()
    over.passes(9)
    assert running.sessions == 1
    client.send(GET)
    assert arrived(upstream.accept())[b"x-real-ip"] == SOURCE.encode()
    assert client.read(len(OK)) == OK


def test_upstream_of_layer_4_is_not_dialled_before_the_line_is_whole(relay: Start, upstream: RawServer) -> None:
    """PROXY 2: the receiver must not begin before it, which matters where the upstream is to speak first."""
    running = relay(layer4(upstream))
    client = running.connect()
    client.send(v1()[:-1])
    running.settle()
    assert upstream.nobody_came()
    client.send(v1()[-1:])
    server = upstream.accept()
    server.send(b"220 ready\r\n")
    assert client.read(11) == b"220 ready\r\n"

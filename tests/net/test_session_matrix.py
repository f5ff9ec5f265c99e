"""Every wait of a session, met by everything that can happen to it: it ends, says so once, and leaves nothing behind.

One row for each wait and event. What is not in the table does not end the session, or cannot be seen in that state: a
paused leg is out of epoll, and its deadline finds it (DESIGN 6).
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer

from tests.harness import UPGRADE, HandTime, RawServer, Relay, Wire, http, in_reactor
from tests.tls import Authority

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nhalf"
MUCH = b"x" * 99_999_999
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"
# Shorter than every other limit, so that the end of the window comes before them.
WINDOW = '[timeouts]\ndrain = "1s"\n'


@implementer(IHostnameResolver)
class NoAnswer:
    def resolveHostName(self, receiver, hostName, portNumber=0, addressTypes=None, transportSemantics="TCP"):
        return receiver


@attrs.define
class World:
    """What a row plays with, held at its wait once its place is set up."""

    start: Callable[..., Relay]
    upstream: RawServer
    full: RawServer
    authority: Authority
    over: HandTime = attrs.field(factory=HandTime)
    running: Relay = attrs.field(init=False)
    client: Wire = attrs.field(init=False)
    server: Wire | None = None

    def connect(self, text: str, request: bytes) -> None:
        self.running = self.start(text, self.over)
        self.client = self.running.connect()
        self.client.send(request)
        self.running.settle()

    def ask(self, request: bytes) -> Wire:
        """As `connect`; the request's head has arrived upstream."""
        self.connect(http(self.upstream, WINDOW), request)
        self.server = self.upstream.accept()
        self.server.read_head()
        return self.server


def handshake(world: World) -> None:
    text = http(world.upstream, WINDOW).replace(':0"', f':0"\ntls = [ {world.authority.issue("localhost").toml} ]', 1)
    world.connect(text, b"\x16\x03\x01")


def head(world: World) -> None:
    world.connect(http(world.upstream, WINDOW), GET[:9])


def next_head(world: World) -> None:
    world.ask(GET).send(OK)
    assert world.client.read(len(OK)) == OK
    world.running.settle()


def name(world: World) -> None:
    text = http(world.upstream, WINDOW).replace(world.upstream.address, "app.internal:80")
    world.connect(text, GET)


def connect(world: World) -> None:
    world.connect(http(world.full, WINDOW), GET)


def connect_for_upgrade(world: World) -> None:
    world.connect(http(world.full, WINDOW), UPGRADE)


def connect_layer4(world: World) -> None:
    text = http(world.full, WINDOW).partition("[[route]]")[0]
    world.connect(text.replace(':0"', ':0"\nmode = "tcp"\nupstream = "app"', 1), b"early")


def answer(world: World) -> None:
    world.ask(GET)


def switch(world: World) -> None:
    world.ask(UPGRADE)


def body(world: World) -> None:
    server = world.ask(PUT + b"part")
    assert server.read(4) == b"part"


def room_upstream(world: World) -> None:
    world.ask(PUT)
    world.client.send_until_full(MUCH)


def answers_body(world: World) -> None:
    world.ask(GET).send(HALF)
    world.client.read_until(b"half")


def declined_body(world: World) -> None:
    world.ask(UPGRADE).send(HALF.replace(b"200", b"403"))
    world.client.read_until(b"half")


def room_for_client(world: World) -> None:
    server = world.ask(GET)
    server.send(HALF)
    server.send_until_full(MUCH)


def farewell(world: World) -> None:
    world.connect(http(world.upstream, WINDOW), b"BAD\r\n\r\n")
    assert world.client.read_all().startswith(b"HTTP/1.1 400 ")


# An event is a function, or a number of seconds that pass, as often as the limit needs (one of standing still is kept
# within twice its length).
CLIENT_RESETS, CLIENT_ENDS, UPSTREAM_RESETS, UPSTREAM_ENDS, STOP = (
    "client resets",
    "ends",
    "upstream resets",
    "ended",
    "stop",
)
Event = str | tuple[float, ...]


def happen(world: World, event: Event) -> None:
    if isinstance(event, tuple):
        for seconds in event:
            world.over.passes(seconds)
    elif event == STOP:
        threading.Thread(target=world.running.stop, daemon=True).start()
        while not in_reactor(lambda: world.running.service.live.draining):
            pass
        world.over.passes(1)
    else:
        wire = world.client if event in (CLIENT_RESETS, CLIENT_ENDS) else world.server
        assert wire is not None
        (wire.reset if event in (CLIENT_RESETS, UPSTREAM_RESETS) else wire.finish)()


def seen(wire: Wire) -> str:
    """The status of a last answer; or how the connection ended: reset, end."""
    try:
        data = wire.read_all()
    except ConnectionResetError:
        return "reset"
    return data[9:12].decode() if data.startswith(b"HTTP/1.1 ") else "end"


def failed(outcome: str, reason: str | None = None) -> dict[str, Any]:
    return {"event": "failed", "outcome": outcome, "reason": reason}


def exchange(status: int, reason: str | None = None) -> dict[str, Any]:
    return {"event": "exchange", "status": status, "reason": reason}


# wait, event, the one line in the log, what the client sees of it, what the upstream sees. A dash: it has left itself.
ROWS = [
    (handshake, CLIENT_RESETS, failed("tls-failed", "tls-ended-early"), "-", None),
    (handshake, CLIENT_ENDS, failed("tls-failed", "tls-ended-early"), "end", None),
    (handshake, (10,), failed("tls-timeout", "tls-timeout"), "reset", None),
    (handshake, STOP, failed("drained"), "reset", None),
    (head, CLIENT_RESETS, failed("client-left"), "-", None),
    (head, CLIENT_ENDS, failed("client-left"), "reset", None),
    (head, (10,), exchange(408, "head-timeout"), "408", None),
    (head, STOP, failed("drained"), "reset", None),
    (next_head, CLIENT_RESETS, exchange(200), "-", "end"),
    (next_head, CLIENT_ENDS, exchange(200), "end", "end"),
    (next_head, (75,), exchange(200), "end", "end"),
    (next_head, STOP, exchange(200), "end", "end"),
    (name, CLIENT_RESETS, exchange(0), "-", None),
    (name, (5,), exchange(502, "upstream-name"), "502", None),
    (name, STOP, exchange(0), "reset", None),
    (connect, CLIENT_RESETS, exchange(0), "-", None),
    (connect, (5,), exchange(504, "upstream-connect-timeout"), "504", None),
    (connect, STOP, exchange(0), "reset", None),
    (connect_for_upgrade, CLIENT_RESETS, exchange(0), "-", None),
    (connect_for_upgrade, CLIENT_ENDS, exchange(0), "reset", None),
    (connect_for_upgrade, (5,), exchange(504, "upstream-connect-timeout"), "504", None),
    (connect_for_upgrade, STOP, exchange(0), "reset", None),
    (connect_layer4, CLIENT_RESETS, failed("client-left"), "-", None),
    (connect_layer4, (5,), failed("upstream-unreached", "upstream-connect-timeout"), "reset", None),
    (connect_layer4, STOP, failed("drained"), "reset", None),
    (answer, CLIENT_RESETS, exchange(0), "-", "reset"),
    (answer, UPSTREAM_RESETS, exchange(502, "upstream-closed"), "502", "-"),
    (answer, UPSTREAM_ENDS, exchange(502, "upstream-closed"), "502", "reset"),
    (answer, (30,), exchange(504, "upstream-timeout"), "504", "reset"),
    (answer, STOP, exchange(0), "reset", "reset"),
    (switch, CLIENT_RESETS, exchange(0), "-", "reset"),
    (switch, CLIENT_ENDS, exchange(0), "reset", "reset"),
    (switch, UPSTREAM_RESETS, exchange(502, "upstream-closed"), "502", "-"),
    (switch, UPSTREAM_ENDS, exchange(502, "upstream-closed"), "502", "reset"),
    (switch, (30,), exchange(504, "upstream-timeout"), "504", "reset"),
    (switch, STOP, exchange(0), "reset", "reset"),
    (body, CLIENT_RESETS, exchange(0), "-", "reset"),
    (body, CLIENT_ENDS, exchange(0), "reset", "reset"),
    (body, UPSTREAM_RESETS, exchange(502, "upstream-closed"), "502", "-"),
    (body, UPSTREAM_ENDS, exchange(502, "upstream-closed"), "502", "reset"),
    (body, (60,), exchange(408, "body-timeout"), "408", "reset"),
    (body, STOP, exchange(0), "reset", "reset"),
    (room_upstream, UPSTREAM_RESETS, exchange(502, "upstream-closed"), "502", "-"),
    (room_upstream, UPSTREAM_ENDS, exchange(502, "upstream-closed"), "502", "reset"),
    (room_upstream, (60, 60), exchange(504, "upstream-timeout"), "504", "reset"),
    (room_upstream, STOP, exchange(0), "reset", "reset"),
    (answers_body, CLIENT_RESETS, exchange(200), "-", "reset"),
    (answers_body, UPSTREAM_RESETS, exchange(200), "reset", "-"),
    (answers_body, UPSTREAM_ENDS, exchange(200), "reset", "reset"),
    (answers_body, (3600,), exchange(200), "reset", "reset"),
    (answers_body, STOP, exchange(200), "reset", "reset"),
    (declined_body, CLIENT_RESETS, exchange(403), "-", "reset"),
    (declined_body, UPSTREAM_RESETS, exchange(403), "reset", "-"),
    (declined_body, UPSTREAM_ENDS, exchange(403), "reset", "reset"),
    (declined_body, (3600,), exchange(403), "reset", "reset"),
    (declined_body, STOP, exchange(403), "reset", "reset"),
    (room_for_client, CLIENT_RESETS, exchange(200), "-", "reset"),
    (room_for_client, (60, 60), exchange(200), "reset", "reset"),
    (room_for_client, STOP, exchange(200), "reset", "reset"),
    (farewell, CLIENT_RESETS, exchange(400, "malformed-head"), "-", None),
    (farewell, CLIENT_ENDS, exchange(400, "malformed-head"), "end", None),
    (farewell, (30,), exchange(400, "malformed-head"), "end", None),
    (farewell, STOP, exchange(400, "malformed-head"), "end", None),
]


@pytest.fixture
def world(relay, upstream, full, tmp_path) -> World:
    before = in_reactor(reactor.installNameResolver, NoAnswer())
    yield World(relay, upstream, full, Authority(tmp_path))
    in_reactor(reactor.installNameResolver, before)


@pytest.mark.parametrize(("wait", "event", "line", "client", "server"), ROWS)
def test_whatever_happens_at_a_wait_ends_the_session_with_one_line_and_nothing_left(
    world, wait, event, line, client, server
):
    descriptors = len(os.listdir("/proc/self/fd"))
    wait(world)
    assert world.running.sessions == 1
    happen(world, event)
    if client != "-":
        assert seen(world.client) == client
    world.client.close()
    if server not in ("-", None):
        assert world.server is not None
        assert seen(world.server) == server
    while world.running.sessions:
        pass
    world.running.stop()
    told = world.running.lines()
    assert [{key: one[key] for key in line} for one in told] == [line]
    assert world.over.timers == 0
    if world.server is not None:
        world.server.close()
    # The log's pipe, and what the test itself holds.
    world.running.dispose()
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1

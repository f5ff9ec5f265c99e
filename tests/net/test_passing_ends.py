"""Connections that are to be passed on by their ClientHello and say too little, nonsense, or leave; and what is left.

The public test files that this goes beyond are named in test_passing.py.
"""

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.harness import HandTime, RawServer, Relay, in_reactor
from tests.net import hellos
from tests.net.passing import ALONE, HTTP, PUMPS, TERMINATED, UNTOUCHED, Ground, ground_of
from tests.tls import Client, context

MODES = pytest.mark.parametrize(
    "mode", [UNTOUCHED, TERMINATED, ALONE, HTTP], ids=["untouched", "terminated", "alone", "http"]
)
HELLO = hellos.hello(b"site.example.com", (b"h2",))
# As much as fits into one record, and more than anybody looks at.
ENDLESS = hellos.records(b"\x01\xff\xff\xff" + bytes(200_000))

BROKEN = {
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
    "SSL 2 that offers TLS": b"\x80\x1c\x01\x03\x01\x00\x03\x00\x00\x00\x10\x01\x00\x80" + bytes(16),
    "ssh": b"ssh-2.0-client\r\n",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "data": b"\x17\x03\x03\x00\x20" + bytes(32),
    "a version of long ago": b"\x16\x02\x00" + HELLO[3:],
    "another message": b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
    "an empty record": b"\x16\x03\x01\x00\x00" + HELLO,
    "another record in the middle": hellos.hello(b"site.example.com", size=40)[:45] + b"\x17\x03\x03\x00\x01\x00",
    "endless": ENDLESS,
    "a length beyond any bound": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(500),
    "a body shorter than it says": hellos.records(b"\x01\x00\x00\x33" + hellos.message(hellos.server_name(b"a"))[4:]),
    "no room for its random": hellos.records(b"\x01\x00\x00\x04\x03\x03\x00\x00"),
    "an extension that runs over": hellos.records(hellos.message(b"\x00\x00\x00\xff\x00")),
    "a name that runs over": hellos.records(hellos.message(hellos.extension(0, b"\x00\x08\x00\xff\xffsite"))),
    "an empty name": hellos.hello(b""),
    "a name with a NUL": hellos.hello(b"site.example.com\x00.test"),
    "a name with a line end": hellos.hello(b"site.example.com\r\nX: y"),
    "two names": hellos.records(hellos.message(hellos.server_name(b"site.example.com", b"www.example.com"))),
    "the name twice": hellos.records(hellos.message(*[hellos.server_name(b"site.example.com")] * 2)),
    "an empty protocol": hellos.hello(b"site.example.com", (b"",)),
    "an empty list of protocols": hellos.records(hellos.message(hellos.extension(hellos.ALPN, b"\x00\x00"))),
}


@pytest.fixture
def ground(relay: Callable[..., Relay], tmp_path: Path) -> Iterator[Ground]:
    with ground_of(relay, tmp_path) as made:
        yield made


# What is no ClientHello.


@MODES
@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_what_is_no_hello_reaches_nobody_and_has_its_own_reason(ground: Ground, mode: str, sent: bytes) -> None:
    running = ground.open(mode)
    client = running.connect()
    client.send_aside(sent).join()
    client.ending()
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"], line["sni"]) == ("tls-failed", "client-hello", None)
    assert line["detail"]
    ground.nobody_else_came()
    assert running.sessions == 0


@pytest.mark.parametrize("mode", [UNTOUCHED, TERMINATED, ALONE], ids=["untouched", "terminated", "alone"])
def test_plain_http_at_layer_4_reaches_nobody(ground: Ground, mode: str) -> None:
    """Nobody knows here what the client would understand."""
    running = ground.open(mode)
    client = running.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: site.example.com\r\n\r\n")
    assert not client.ending().startswith(b"HTTP")
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) in [("tls-failed", "client-hello"), ("tls-failed", "plain-http")]
    ground.nobody_else_came()


def test_a_hello_that_says_that_it_is_too_long_is_not_waited_for(ground: Ground) -> None:
    running = ground.open(UNTOUCHED, over=HandTime())
    client = running.connect()
    client.send(b"\x16\x03\x01\x40\x00\x01\x01\x00\x00")
    client.ending()
    assert running.line(event="failed")["reason"] == "client-hello"


# What does not come.


@MODES
@pytest.mark.parametrize("sent", [0, 1, 5, 9, 60, len(HELLO) - 1])
def test_a_hello_has_to_be_whole_in_the_time_of_a_handshake(ground: Ground, mode: str, sent: int) -> None:
    """Nor is anything known of a server that speaks first: whoever says nothing is for nobody."""
    over = HandTime()
    running = ground.open(mode, over=over)
    timers = over.timers
    client = running.connect()
    client.send(HELLO[:sent])
    running.settle()
    over.passes(9.9)
    assert running.sessions == 1
    over.passes(0.2)
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("tls-timeout", "tls-timeout")
    assert "10 seconds" in line["detail"]
    assert client.was_reset()
    ground.nobody_else_came()
    assert running.sessions == 0
    assert over.timers == timers


def test_a_byte_now_and_then_buys_no_time(ground: Ground) -> None:
    over = HandTime()
    running = ground.open(UNTOUCHED, over=over)
    client = running.connect()
    for number in range(10):
        client.send(HELLO[number : number + 1])
        running.settle()
        over.passes(1)
    assert running.line(event="failed")["outcome"] == "tls-timeout"
    ground.nobody_else_came()


def test_the_time_is_the_operators_and_no_longer_runs_behind_the_hello(ground: Ground) -> None:
    over = HandTime()
    running = ground.open(UNTOUCHED, over=over, more='[timeouts]\ntls_handshake = "3s"\n')
    late, early = running.connect(), running.connect()
    early.send(HELLO)
    far = ground["site"].accept()
    assert far.read(len(HELLO)) == HELLO
    late.send(HELLO[:-1])
    running.settle()
    over.passes(3.1)
    assert late.was_reset()
    early.send(b"still here")
    assert far.read(10) == b"still here"


@PUMPS
def test_looking_and_the_handshake_behind_it_share_one_limit(ground: Ground, pump: str) -> None:
    """A hello in the ninth second does not buy ten more."""
    over = HandTime()
    running = ground.open(HTTP, over=over, pump=pump)
    wire = running.connect()
    _, sent = hellos.of_openssl("localhost")
    wire.send(sent[:-1])
    running.settle()
    over.passes(9)
    wire.send(sent[-1:])
    assert wire.socket.recv(5)
    over.passes(1.1)
    line = running.line(event="failed")
    assert (line["outcome"], line["sni"]) == ("tls-timeout", "localhost")
    wire.ending()


# Who leaves.


@MODES
@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize("sent", [1, 5, 60, len(HELLO) - 1])
def test_who_leaves_in_the_middle_of_the_hello_has_ended_early(ground: Ground, mode: str, how: str, sent: int) -> None:
    running = ground.open(mode)
    client = running.connect()
    client.send(HELLO[:sent])
    running.settle()
    getattr(client, how)()
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"], line["sni"]) == ("tls-failed", "tls-ended-early", None)
    ground.nobody_else_came()
    assert running.sessions == 0


@MODES
@pytest.mark.parametrize("how", ["finish", "reset"])
def test_who_leaves_without_a_byte_was_only_looking(ground: Ground, mode: str, how: str) -> None:
    running = ground.open(mode)
    getattr(running.connect(), how)()
    client = running.connect()
    client.send(HELLO[:10])
    client.finish()
    assert running.next_line()["reason"] == "tls-ended-early"


def test_who_leaves_while_an_upstream_is_dialled_is_noticed(ground: Ground, full: RawServer) -> None:
    over = HandTime()
    running = ground.open(UNTOUCHED, over=over, before={"site": full.address})
    timers = over.timers
    client = running.connect()
    client.send(HELLO)
    while running.sessions == 0:
        pass
    running.settle()
    client.reset()
    line = running.line(event="failed")
    assert (line["outcome"], line["route"]) == ("client-left", "site")
    assert over.timers == timers


@pytest.mark.parametrize("mode", [UNTOUCHED, HTTP], ids=["layer 4", "beside http"])
@pytest.mark.parametrize("group", ["nobody", "full"])
def test_where_no_upstream_can_be_had_the_client_is_reset(
    ground: Ground, mode: str, group: str, nobody: str, full: RawServer
) -> None:
    """TLS is between the two of them, so the relay has no words for the client."""
    over = HandTime()
    address, reason = {"nobody": (nobody, "upstream-refused"), "full": (full.address, "upstream-connect-timeout")}[
        group
    ]
    running = ground.open(mode.replace('"site"', '"gone"'), over=over, more=gone(address))
    client = running.connect()
    client.send(HELLO)
    running.settle()
    over.passes(5)
    assert client.was_reset()
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"], line["route"]) == ("upstream-unreached", reason, "gone")
    assert line["sni"] == "site.example.com"
    ground.nobody_else_came()


def gone(address: str) -> str:
    return f'[[upstream]]\nname = "gone"\nservers = ["{address}"]\n'


# The end of the service.


@MODES
@pytest.mark.parametrize("sent", [0, 60])
def test_a_stop_waits_for_no_hello_longer_than_its_window(ground: Ground, mode: str, sent: int) -> None:
    over = HandTime()
    running = ground.open(mode, over=over, more='[timeouts]\ndrain = "2s"\n')
    client = running.connect()
    client.send(HELLO[:sent])
    while running.sessions == 0:
        pass
    running.settle()
    end = threading.Thread(target=running.stop, daemon=True)
    end.start()
    while not in_reactor(lambda: running.service.live.draining):
        pass
    over.passes(2)
    end.join(20)
    assert not end.is_alive()
    client.ending()
    ground.nobody_else_came()
    assert [line["outcome"] for line in running.lines()] in (["drained"], [])
    assert over.timers == 0


def test_a_hello_that_becomes_whole_while_the_service_stops_is_still_passed_on(ground: Ground) -> None:
    over = HandTime()
    running = ground.open(UNTOUCHED, over=over)
    client = running.connect()
    client.send(HELLO[:-1])
    while running.sessions == 0:
        pass
    running.settle()
    end = threading.Thread(target=running.stop, daemon=True)
    end.start()
    while not in_reactor(lambda: running.service.live.draining):
        pass
    client.send(HELLO[-1:])
    far = ground["site"].accept()
    assert far.read(len(HELLO)) == HELLO
    far.finish()
    client.finish()
    far.read_all()
    end.join(20)
    assert not end.is_alive()


# What is left, and what it costs.


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@PUMPS
@MODES
def test_nothing_is_left_of_any_of_them(ground: Ground, mode: str, pump: str) -> None:
    over = HandTime()
    running = ground.open(mode, over=over, pump=pump)
    one_of_each(ground, running, over)
    in_reactor(gc.collect)
    before, timers = descriptors(), over.timers
    watched = in_reactor(lambda: len(reactor.getReaders()) + len(reactor.getWriters()))
    for _ in range(5):
        one_of_each(ground, running, over)
    assert running.sessions == 0
    assert over.timers == timers
    assert descriptors() == before
    assert in_reactor(lambda: len(reactor.getReaders()) + len(reactor.getWriters())) == watched


def one_of_each(ground: Ground, running: Relay, over: HandTime) -> None:
    """Connections with every kind of end, one after the other; all are over when this returns."""
    for sent in (b"", HELLO[:30], b"ssh", ENDLESS[:20_000]):
        for how in ("finish", "reset"):
            client = running.connect()
            client.send_aside(sent).join()
            # The relay may be quicker, and have closed it.
            with contextlib.suppress(OSError):
                getattr(client, how)()
            if how == "finish":
                client.ending()
                client.close()
    stalled = running.connect()
    stalled.send(HELLO[:30])
    running.settle()
    over.passes(10)
    stalled.ending()
    stalled.close()
    client = running.connect()
    client.send(HELLO)
    far = ground["site"].accept()
    far.read(len(HELLO))
    far.close()
    client.ending()
    client.close()
    running.forget_clients()
    while running.sessions:
        running.settle()
    running.settle()


@MODES
def test_a_hello_that_is_half_there_costs_nothing_while_it_is_waited_for(ground: Ground, mode: str) -> None:
    """Bytes that are looked at and left stay readable: whoever waits for readable bytes is woken for ever."""
    running = ground.open(mode)
    halves = [running.connect() for _ in range(5)]
    for number, client in enumerate(halves):
        client.send(HELLO[: 1 + 20 * number])
    running.settle()
    # The reactor's own view, at one moment: is there anything that would wake it at once?
    poller = reactor._poller  # type: ignore[attr-defined]  # no public name tells it
    events = in_reactor(lambda: [number for number, _ in poller.poll(0)])
    assert not set(events) & {number for number, _ in sockets_of(running)}
    # And of all threads, over half a second.
    began = time.process_time()
    in_reactor(deferLater, reactor, 0.5, lambda: None)
    assert time.process_time() - began < 0.2
    for client in halves:
        client.finish()
    for _ in halves:
        assert running.line(event="failed")["reason"] == "tls-ended-early"


def sockets_of(running: Relay) -> list[tuple[int, str]]:
    """The descriptors of this process's ends of connections to the relay's port."""
    port = f":{running.port():04X} "
    table = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    inodes = {line.split()[9] for line in table if port in line.split()[1] + " "}
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.removeprefix("socket:[").removesuffix("]") in inodes:
            found.append((int(number), target))
    return found


def test_a_waiting_hello_keeps_nobody_else_waiting(ground: Ground) -> None:
    running = ground.open(HTTP)
    half = running.connect()
    half.send(HELLO[:50])
    running.settle()
    for _ in range(3):
        client = Client(running.port(), context(version=SSL.TLS1_3_VERSION), "localhost")
        client.close()
    other = running.connect()
    other.send(HELLO)
    assert ground["site"].accept().read(len(HELLO)) == HELLO
    half.send(HELLO[50:])
    assert ground["site"].accept().read(len(HELLO)) == HELLO

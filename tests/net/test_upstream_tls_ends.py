"""Ends of upstream TLS connections that come too early, clients that do not wait for them, and a relay that stops."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.harness import UPGRADE, HandTime, RawServer, Relay, in_reactor
from tests.net.tls_upstreams import (
    GET,
    FarServer,
    asked,
    configuration,
    flight_for,
    hello_of,
    named,
    refused,
    secured,
    serving,
    trusting,
)
from wsrelay.net.legs import Leg

Start = Callable[..., Relay]


# Ends that come too early.


@pytest.mark.parametrize("how", ["finish", "truncate"])
def test_an_upstream_that_ends_in_place_of_an_answer(
    relay: Start, upstream: RawServer, tmp_path: Path, how: str
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running)
    far = secured(upstream, serving())
    far.read_head()
    getattr(far, how)()
    refused(running, client, "upstream-closed")


def test_an_answer_up_to_the_end_ends_with_close_notify(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running)
    far = secured(upstream, serving())
    far.read_head()
    far.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    far.finish()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in client.read_head()
    assert client.read_chunks() == b"all of it"


def test_an_answer_up_to_the_end_that_is_cut_off_is_not_passed_on_as_whole(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    """An attacker on the path can send a FIN, and cannot send a close_notify (RFC 8446 6.1)."""
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running)
    far = secured(upstream, serving())
    far.read_head()
    far.send(b"HTTP/1.1 200 OK\r\n\r\na part")
    client.read_until(b"a part\r\n")
    far.truncate()
    assert client.ending() == b""
    line = running.line(event="exchange")
    assert (line["status"], line["outcome"]) == (200, "upstream-left")


# Clients that do not wait, and a relay that stops.


def connections() -> int:
    """How many open legs the reactor knows."""

    def count() -> int:
        known = {*reactor.getReaders(), *reactor.getWriters()}
        return sum(isinstance(each, Leg) for each in known)

    return int(in_reactor(count))


@pytest.mark.parametrize("request_", [GET, UPGRADE], ids=["a request", "an upgrade"])
@pytest.mark.parametrize("step", ["before the upstream's answer", "inside it"])
def test_a_client_that_leaves_during_the_upstreams_handshake_leaves_nothing_behind(
    relay: Start, upstream: RawServer, tmp_path: Path, step: str, request_: bytes
) -> None:
    time = HandTime()
    running = relay(configuration([upstream.address], trusting(tmp_path)), time)
    running.settle()
    timers, legs = time.timers, connections()
    client = asked(running, request_)
    far = upstream.accept()
    flight = flight_for(hello_of(far))
    far.send(flight[:40] if step == "inside it" else b"")
    running.settle()
    client.reset()
    assert far.ending() == b"", "and the request never went up"
    running.settle()
    assert running.sessions == 0
    assert connections() == legs
    assert time.timers == timers


def test_a_relay_that_stops_ends_the_handshake_with_the_upstream_too(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    time = HandTime()
    text = '[timeouts]\ndrain = "3s"\nconnect = "1h"\n' + configuration([upstream.address], trusting(tmp_path))
    running = relay(text, time)
    client = asked(running)
    far = upstream.accept()
    hello_of(far)
    stopping = threading.Thread(target=running.stop, daemon=True)
    stopping.start()
    while not in_reactor(lambda: running.service.live.draining):
        pass
    running.settle()
    assert running.sessions == 1, "what is under way has the window to its end"
    time.passes(3.1)
    assert far.ending() == b""
    client.ending()
    stopping.join(20)
    assert not stopping.is_alive()
    assert time.timers == 0


def test_a_relay_that_stops_still_serves_what_is_under_way(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    time = HandTime()
    running = relay(configuration([upstream.address], trusting(tmp_path) + ', server_name = "localhost"'), time)
    client = asked(running)
    connected = upstream.accept()
    stopping = threading.Thread(target=running.stop, daemon=True)
    stopping.start()
    while not in_reactor(lambda: running.service.live.draining):
        pass
    far = FarServer(connected.socket, serving())
    far.shake_hands()
    far.answer()
    assert client.read_head().startswith(b"HTTP/1.1 200 ")
    assert client.read_all() == b"here"
    client.close()
    stopping.join(20)
    assert not stopping.is_alive()

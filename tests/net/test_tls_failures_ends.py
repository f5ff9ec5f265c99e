"""Handshakes that never were any, that one side leaves, or that nobody goes on with: each has its reason in the log.

The public test files are named in test_tls_failures.py.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.harness import HandTime, RawServer, Relay
from tests.net import hellos
from tests.net.failing import NAME, NUMBERS, PUMPS, SEVERAL, Failing, fails, named, told
from tests.tls import Authority, Client, context


@pytest.fixture
def failing(relay: Callable[..., Relay], tmp_path: Path, upstream: RawServer) -> Failing:
    return Failing(relay, Authority(tmp_path), upstream)


# What is no TLS.


@PUMPS
@SEVERAL
def test_plain_http_is_answered_and_has_a_reason(failing: Failing, pump: str, several: bool) -> None:
    running = failing.open(pump, several)
    client = running.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    line = running.next_line()
    assert (line["event"], line["reason"], line["sni"]) == ("exchange", "plain-http", None)


@PUMPS
@SEVERAL
def test_plain_http_at_layer_4_has_the_same_reason_and_no_answer(failing: Failing, pump: str, several: bool) -> None:
    running = failing.open(pump, several, mode="tcp")
    client = running.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
    assert not client.ending().startswith(b"HTTP")
    told(running, "plain-http", sni=(None,))
    assert failing.upstream.nobody_came()


NO_TLS = {
    "ssh": b"ssh-2.0-client\r\n",
    "zeros": bytes(64),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
    "another message": b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
    "an extension that runs over": hellos.records(hellos.message(b"\x00\x00\x00\xff\x00")),
    "endless": hellos.records(b"\x01\xff\xff\xff" + bytes(60_000)),
}


@PUMPS
@SEVERAL
@pytest.mark.parametrize("mode", ["http", "tcp"])
@pytest.mark.parametrize("sent", NO_TLS.values(), ids=NO_TLS)
def test_what_is_no_client_hello(failing: Failing, pump: str, several: bool, mode: str, sent: bytes) -> None:
    running = failing.open(pump, several, mode=mode)
    client = running.connect()
    client.send_aside(sent).join()
    client.ending()
    told(running, "client-hello", sni=(None,))
    assert failing.upstream.nobody_came()


# Who leaves, and who says nothing.


@PUMPS
@SEVERAL
@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize("sent", [1, 5, 100, -1])
def test_an_end_before_the_hello_is_whole(failing: Failing, pump: str, several: bool, how: str, sent: int) -> None:
    running = failing.open(pump, several)
    client = running.connect()
    client.send(hellos.of_openssl(NAME)[1][:sent])
    running.settle()
    getattr(client, how)()
    told(running, "tls-ended-early", sni=(None,))
    assert running.sessions == 0


@PUMPS
@SEVERAL
@NUMBERS
@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize("step", ["after the relay's answer", "inside its own last message"])
def test_an_end_after_the_hello(failing: Failing, pump: str, several: bool, version: int, how: str, step: str) -> None:
    running = failing.open(pump, several)
    wire = running.connect()
    client = SSL.Connection(context(version=version), None)
    client.set_tlsext_host_name(NAME.encode())
    client.set_connect_state()
    wire.send(hellos.step(client))
    heard = wire.socket.recv(65536)
    if step.startswith("inside"):
        while not (last := hellos.step(client, heard)):
            heard = wire.socket.recv(65536)
        wire.send(last[:20])
        running.settle()
    getattr(wire, how)()
    told(running, "tls-ended")
    assert running.sessions == 0


@PUMPS
@SEVERAL
@pytest.mark.parametrize("how", ["finish", "reset"])
def test_who_says_nothing_at_all_leaves_no_line(failing: Failing, pump: str, several: bool, how: str) -> None:
    running = failing.open(pump, several)
    getattr(running.connect(), how)()
    client = running.connect()
    client.send(b"\x16")
    client.finish()
    told(running, "tls-ended-early", sni=(None,))


@PUMPS
@SEVERAL
@pytest.mark.parametrize("sent", ["nothing", "half a hello", "a hello", "half of the last message"])
def test_whoever_stalls_is_told_of_when_the_time_is_up(failing: Failing, pump: str, several: bool, sent: str) -> None:
    over = HandTime()
    running = failing.open(pump, several, over=over)
    wire = running.connect()
    client, hello = hellos.of_openssl(NAME)
    known = sent in ("a hello", "half of the last message")
    wire.send({"nothing": b"", "half a hello": hello[:100]}.get(sent, hello))
    if known:
        heard = wire.socket.recv(65536)
        if sent != "a hello":
            while not (last := hellos.step(client, heard)):
                heard = wire.socket.recv(65536)
            wire.send(last[:-1])
    running.settle()
    over.passes(9.9)
    assert running.sessions == 1
    over.passes(0.2)
    detail = told(running, "tls-timeout", sni=named(several) if known else (None,), outcome="tls-timeout")
    assert "10 seconds" in detail
    with contextlib.suppress(ConnectionResetError):
        wire.read_all()
    assert running.sessions == 0


# What is left of a failure.


@PUMPS
@SEVERAL
def test_a_failure_is_one_line_and_no_failure_of_anothers(failing: Failing, pump: str, several: bool) -> None:
    """OpenSSL's errors wait in a queue that belongs to a thread, and many handshakes share one."""
    running = failing.open(pump, several)
    bad, good = context(alpn=(b"h2",)), context(alpn=(b"http/1.1",))
    for _ in range(5):
        fails(running, bad)
        half = running.connect()
        half.send(b"\x16\x03\x01")
        half.finish()
        Client(running.port(), good, NAME).close()
    reasons = sorted(running.line(event="failed")["reason"] for _ in range(10))
    assert reasons == ["tls-ended-early"] * 5 + ["tls-protocol"] * 5
    client = Client(running.port(), good, NAME)
    client.tls.sendall(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
    assert failing.upstream.accept().read_head()
    client.close()

"""Upstreams whose TLS comes to nothing: strangers to it, slow ones, liars, and what happens to the client meanwhile."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.harness import UPGRADE, HandTime, RawServer, Relay, raw_server
from tests.net.tls_upstreams import (
    GET,
    OK,
    STRANGER,
    TLS_1_2,
    TLS_1_3,
    arrived,
    asked,
    configuration,
    flight_for,
    hello_of,
    leaf,
    named,
    refused,
    secured,
    serving,
    trusting,
)

Start = Callable[..., Relay]

POST = b"POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody"
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"


# Those that speak something else.


@pytest.mark.parametrize(
    "said",
    [BAD_REQUEST, b"SSH-2.0-OpenSSH_9.2p1\r\n", b"\x00" * 64, b"\x16\x03\x01\xff\xff" + b"\xff" * 100],
    ids=["HTTP", "SSH", "zeros", "an endless record"],
)
def test_an_upstream_that_does_not_speak_tls_is_refused_in_words(
    relay: Start, upstream: RawServer, tmp_path: Path, said: bytes
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running)
    far = upstream.accept()
    hello_of(far)
    far.send(said)
    detail = refused(running, client, "upstream-tls")
    assert upstream.address in detail
    assert "GET" not in repr(far.ending())
    if said is BAD_REQUEST:
        assert "TLS" in detail, "a port without TLS is the mistake that is made most, and it has to be told from others"


@pytest.mark.parametrize("request_", [GET, UPGRADE], ids=["a request", "an upgrade"])
@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize(
    "step", ["at once", "after the ClientHello", "inside its own answer", "before its answer's last byte"]
)
def test_an_upstream_that_leaves_during_the_handshake_is_one_that_tls_failed_with(
    relay: Start, upstream: RawServer, tmp_path: Path, step: str, how: str, request_: bytes
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running, request_)
    far = upstream.accept()
    if step != "at once":
        flight = flight_for(hello_of(far))
        far.send({"after the ClientHello": b"", "inside its own answer": flight[:40]}.get(step, flight[:-1]))
    getattr(far, how)()
    if (step, how) == ("at once", "reset"):
        # Whether the RST is there before the connection is: the kernel says.
        assert re.search(b"X-Wsrelay-Reason: upstream-(tls|refused)\r\n", client.read_all())
        return
    assert upstream.address in refused(running, client, "upstream-tls")


def test_a_close_notify_in_place_of_a_handshake_is_one_that_tls_failed_with(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running)
    far = upstream.accept()
    hello_of(far)
    far.send(CLOSE_NOTIFY)
    far.finish()
    refused(running, client, "upstream-tls")


def test_an_upstream_of_an_old_version_is_refused(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    running = relay(configuration([named(upstream)], 'verify = false, insecure_reason = "even so"'))
    client = asked(running)
    context = serving(version=SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    assert arrived(upstream, context).heard() == b""
    detail = refused(running, client, "upstream-tls")
    assert "version" in detail or "protocol" in detail


def test_an_upstream_without_a_common_cipher_is_refused_with_its_alert(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running)
    context = serving(version=TLS_1_2)
    context.set_cipher_list(b"AES128-SHA")  # for RSA keys only, and the server's is another
    assert arrived(upstream, context).heard() == b""
    assert "handshake failure" in refused(running, client, "upstream-tls")


# Bytes from before the handshake (CVE-2026-1642 was nginx taking them for the answer).


@pytest.mark.parametrize("moment", ["before the ClientHello", "behind the ClientHello"])
@pytest.mark.parametrize(
    "injected",
    [
        POISON,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n\r\npoison",
        b"\x17\x03\x03" + len(POISON).to_bytes(2, "big") + POISON,
    ],
    ids=["an answer", "a 101", "an answer in an unencrypted record"],
)
@pytest.mark.parametrize("request_", [GET, UPGRADE], ids=["a request", "an upgrade"])
def test_what_comes_before_the_handshake_is_no_answer_even_if_a_handshake_follows(
    relay: Start, upstream: RawServer, tmp_path: Path, request_: bytes, injected: bytes, moment: str
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running, request_)
    far = upstream.accept()
    if moment == "before the ClientHello":
        far.send(injected)
        with contextlib.suppress(OSError, AssertionError, SSL.Error):
            far.send(flight_for(hello_of(far)))
    else:
        hello = hello_of(far)
        far.send(injected + flight_for(hello))
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"\r\nX-Wsrelay-Reason: upstream-tls\r\n" in answer
    assert b"poison" not in answer


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_what_comes_unencrypted_behind_the_handshake_is_no_answer(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = asked(running)
    far = secured(upstream, serving(version=version))
    far.read_head()
    far.socket.send(POISON)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"poison" not in answer


# Slow ones.


@pytest.mark.parametrize("request_", [GET, UPGRADE], ids=["a request", "an upgrade"])
@pytest.mark.parametrize("sent", [0, 1, 40], ids=["nothing", "one byte", "part of its answer"])
def test_an_upstream_that_stalls_in_the_handshake_has_as_long_as_for_the_connection(
    relay: Start, upstream: RawServer, tmp_path: Path, sent: int, request_: bytes
) -> None:
    time = HandTime()
    running = relay(configuration([upstream.address], trusting(tmp_path)), time)
    timers = time.timers
    client = asked(running, request_)
    far = upstream.accept()
    flight = flight_for(hello_of(far))
    far.send(flight[:sent])
    running.settle()
    time.passes(4.9)
    far.send(flight[sent : sent + 1])  # what still comes does not move the limit
    running.settle()
    assert client.arrived() == b""
    time.passes(0.2)
    detail = refused(running, client, "upstream-connect-timeout", 504)
    assert "5 seconds" in detail
    assert upstream.address in detail
    assert b"GET" not in far.ending()
    client.close()
    running.settle()
    time.passes(60)
    assert running.sessions == 0
    assert time.timers == timers


def test_the_limit_of_the_handshake_ends_with_it(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    time = HandTime()
    running = relay(configuration([upstream.address], trusting(tmp_path) + ', server_name = "localhost"'), time)
    client = asked(running)
    far = secured(upstream, serving())
    far.read_head()
    time.passes(6)
    far.send(OK)
    assert client.read(len(OK)) == OK


# The next server of the group.


@pytest.mark.parametrize(
    "request_", [GET, GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nbody")]
)
@pytest.mark.parametrize("first", ["another certificate", "no TLS", "gone"])
def test_where_tls_fails_the_next_server_gets_the_request_whatever_it_is(
    relay: Start, upstream: RawServer, tmp_path: Path, first: str, request_: bytes
) -> None:
    with raw_server() as other:
        running = relay(configuration([named(upstream), named(other)], trusting(tmp_path)))
        client = asked(running, request_)
        if first == "another certificate":
            assert arrived(upstream, serving(leaf("localhost", by=STRANGER))).heard() == b""
        else:
            far = upstream.accept()
            hello_of(far)
            far.send(BAD_REQUEST) if first == "no TLS" else far.finish()
        good = secured(other, serving())
        assert good.read_head().startswith(request_[:4])
        if request_.endswith(b"body"):
            assert good.read(4) == b"body"
        good.send(OK)
        assert client.read(len(OK)) == OK
        line = running.line(event="exchange")
        assert (line["status"], line["reason"], line["upstream"]) == (200, None, other.address)


def test_where_one_stalls_in_the_handshake_the_next_server_gets_the_request(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    time = HandTime()
    with raw_server() as other:
        parts = trusting(tmp_path) + ', server_name = "localhost"'
        running = relay(configuration([upstream.address, other.address], parts), time)
        client = asked(running)
        hello_of(upstream.accept())
        running.settle()
        time.passes(5.1)
        secured(other, serving()).answer()
        assert client.read(len(OK)) == OK


def test_where_all_servers_fail_the_log_has_each_with_its_own_fault(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    with raw_server() as other:
        running = relay(configuration([named(upstream), named(other)], trusting(tmp_path)))
        client = asked(running)
        far = upstream.accept()
        hello_of(far)
        far.send(BAD_REQUEST)
        assert arrived(other, serving(leaf("localhost", by=STRANGER))).heard() == b""
        detail = refused(running, client, "upstream-certificate")
        assert upstream.address in detail
        assert other.address in detail

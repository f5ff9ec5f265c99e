"""What goes wrong inside an exchange: each end's mistakes, and what the other end is told of them."""

import pytest

from tests.harness import http

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

UNUSABLE = [
    (b"", "finish", "upstream-closed"),
    (b"", "reset", "upstream-closed"),
    (b"HTTP/1.1 200 OK\r\nX: y\r\n", "finish", "upstream-closed"),
    (b"HTTP/1.1 103 E\r\n\r\n", "finish", "upstream-closed"),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "stay", "upstream-bad-head"),
    (b"\x15\x03\x01\x00\x02\x02\x16", "stay", "upstream-bad-head"),
    (b"HTTP/2.0 200 OK\r\n\r\n", "stay", "upstream-bad-head"),
    (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "stay", "upstream-bad-head"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", "stay", "upstream-bad-head"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "stay", "upstream-bad-framing"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "stay", "upstream-bad-framing"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "stay", "upstream-bad-framing"),
]


@pytest.mark.parametrize(("answer", "then", "reason"), UNUSABLE)
def test_unusable_answer_is_502_with_the_reason(relay, upstream, answer, then, reason):
    running = relay(http(upstream))
    client = running.connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(answer)
    if then != "stay":
        getattr(server, then)()
    seen = client.read_all()
    assert seen.removeprefix(b"HTTP/1.1 103 E\r\n\r\n").startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert f"X-Wsrelay-Reason: {reason}\r\n".encode() in seen
    assert b"\r\nConnection: close\r\n" in seen
    line = running.next_line()
    assert (line["event"], line["status"], line["reason"]) == ("exchange", 502, reason)
    assert line["upstream"] == upstream.address
    if then != "reset":
        assert server.ending() == b""


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = [
    (LENGTH, b"half", "finish"),
    (LENGTH, b"half", "reset"),
    (LENGTH, b"", "finish"),
    (CHUNKS, b"4\r\nhalf\r\n", "finish"),
    (CHUNKS, b"4\r\nhalf\r\n0\r\n", "finish"),
    (CHUNKS, b"4\r\nhalf\r\nnonsense\r\n", "stay"),
    (CHUNKS, b"4\r\nhalf, and too much of it", "stay"),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"half", "reset"),
]


@pytest.mark.parametrize(("head", "body", "then"), BROKEN)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_broken_body_never_looks_complete(relay, upstream, head, body, then, version):
    running = relay(http(upstream))
    client = running.connect()
    client.send(GET.replace(b"1.1", version))
    server = upstream.accept()
    server.read_head()
    server.send(head)
    assert client.read_head().startswith(b"HTTP/1.1 200 OK\r\n")
    server.send(body)
    if then != "stay":
        running.settle()
        getattr(server, then)()
    assert client.was_reset()
    line = running.next_line()
    assert (line["event"], line["status"]) == ("exchange", 200)
    assert line["reason"] == ("upstream-bad-body" if then == "stay" else None)
    assert line["detail"]


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"\r\n0\r\n\r\n"])
def test_last_chunk_is_not_sent_for_a_broken_body(relay, upstream, end):
    client = relay(http(upstream)).connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(CHUNKS + b"4\r\nhalf\r\n")
    client.read_head()
    assert client.read(9) == b"4\r\nhalf\r\n"
    server.finish()
    assert end not in client.ending()


def test_answer_longer_than_it_says_ends_with_its_length(relay, upstream):
    """The surplus is nobody's answer: the connection that brought it is not used again."""
    client = relay(http(upstream)).connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert client.read(len(OK)) == OK
    assert server.ending() == b""
    client.send(GET)
    upstream.accept().send(OK)
    assert client.read(len(OK)) == OK


BAD_BODIES = [
    (CHUNKED + b"zz\r\n", 400, "bad-body"),
    (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400, "bad-body"),
    (CHUNKED + b"3\nabc\n0\n\n", 400, "bad-body"),
    (CHUNKED + b"-1\r\n", 400, "bad-body"),
    (CHUNKED + b"5\r\nabcde\r\n6\r\nfghijk\r\n0\r\n\r\n", 413, "body-too-large"),
]


@pytest.mark.parametrize(("request_", "status", "reason"), BAD_BODIES)
def test_bad_body_is_refused_while_it_streams_and_never_completed(relay, upstream, request_, status, reason):
    running = relay(http(upstream, more="[limits]\nbody_bytes = 10"))
    client = running.connect()
    client.send(CHUNKED)
    server = upstream.accept()
    server.read_head()
    client.send(request_.removeprefix(CHUNKED))
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert f"X-Wsrelay-Reason: {reason}\r\n".encode() in answer
    assert b"0\r\n\r\n" not in server.ending()
    assert running.next_line()["reason"] == reason


def test_body_too_large_by_its_length_is_413_before_anything_goes_up(relay, upstream):
    running = relay(http(upstream, more="[limits]\nbody_bytes = 10"))
    client = running.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world")
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"X-Wsrelay-Reason: body-too-large\r\n" in answer
    assert upstream.nobody_came()


@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize("length", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_client_that_leaves_inside_its_body_never_makes_it_look_complete(relay, upstream, length, how):
    running = relay(http(upstream))
    client = running.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n4\r\nabcd\r\n"[: 9 if b"Len" in length else 99])
    server = upstream.accept()
    server.read_head()
    server.read(3)
    getattr(client, how)()
    assert server.was_reset()
    line = running.next_line()
    assert (line["event"], line["status"]) == ("exchange", 0)
    assert running.sessions == 0


@pytest.mark.parametrize("answered", [b"", CHUNKS + b"1\r\na\r\n"])
def test_client_that_resets_ends_the_upstreams_work(relay, upstream, answered):
    running = relay(http(upstream))
    client = running.connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(answered)
    if answered:
        client.read_until(b"a\r\n")
    client.reset()
    assert server.was_reset()
    assert running.next_line()["status"] == (200 if answered else 0)

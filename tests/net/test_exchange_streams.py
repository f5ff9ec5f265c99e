"""Bodies of any size stream both ways with bounded memory, and every wait on the way has its limit of time."""

import gc

import pytest

from tests.harness import HandTime, http, in_reactor

BIG = bytes(range(251)) * 267_000  # 64 MiB; of odd period, so that a lost or doubled piece shows
# One read of 64 KiB on top of a full buffer of 64 KiB, on either leg, and framing.
MOST_BUFFERED = 4 * 64 * 1024 + 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def exchanging(running, upstream, request: bytes = GET):
    client = running.connect()
    client.send(request)
    server = upstream.accept()
    server.read_head()
    return client, server


@pytest.mark.parametrize("chunked", [False, True])
def test_download_waits_for_its_reader_in_bounded_memory(relay, upstream, chunked):
    running = relay(http(upstream))
    # An HTTP/1.0 client gets the content of chunks as it is, which is easy to compare.
    client, server = exchanging(running, upstream, b"GET / HTTP/1.0\r\n\r\n" if chunked else GET)
    if chunked:
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BIG))
    else:
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
    sent = server.send_until_full(BIG)
    assert sent < len(BIG)
    assert running.buffered <= MOST_BUFFERED
    server.send_aside(BIG[sent:] + (b"\r\n0\r\n\r\n" if chunked else b""))
    assert client.read_head().startswith(b"HTTP/1.1 200 ")
    assert client.read(len(BIG)) == BIG
    assert running.next_line()["response_bytes"] == len(BIG)


@pytest.mark.parametrize("chunked", [False, True])
def test_upload_waits_for_its_reader_in_bounded_memory(relay, upstream, chunked):
    running = relay(http(upstream))
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" if chunked else PUT % len(BIG)
    client, server = exchanging(running, upstream, head)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BIG), BIG) if chunked else BIG
    sent = client.send_until_full(body)
    assert sent < len(body)
    assert running.buffered <= MOST_BUFFERED
    client.send_aside(body[sent:])
    if chunked:
        assert server.read_chunks() == BIG
    else:
        assert server.read(len(BIG)) == BIG
    server.send(OK)
    assert client.read(len(OK)) == OK
    assert running.next_line()["request_bytes"] == len(BIG)


def test_events_arrive_one_by_one_and_the_head_before_them(relay, upstream):
    client, server = exchanging(relay(http(upstream)), upstream)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.read_head().startswith(b"HTTP/1.1 200 ")
    for event in (b"4\r\none\n\r\n", b"4\r\ntwo\n\r\n"):
        server.send(event)
        assert client.read(len(event)) == event


def test_upstream_may_answer_while_the_body_is_still_coming(relay, upstream):
    running = relay(http(upstream))
    client, server = exchanging(running, upstream, PUT % 9)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in client.read_head()
    for piece in (b"one", b"two", b"end"):
        client.send(piece)
        assert server.read(3) == piece
        server.send(piece)
        assert client.read(3) == piece
    assert client.read_all() == b""
    line = running.next_line()
    assert (line["status"], line["request_bytes"], line["response_bytes"]) == (200, 9, 9)


def test_echo_larger_than_every_buffer_flows_both_ways_at_once(relay, upstream):
    client, server = exchanging(relay(http(upstream)), upstream, PUT % len(BIG))
    client.send_aside(BIG)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
    server.echo_aside(len(BIG))
    client.read_head()
    assert client.read(len(BIG)) == BIG


@pytest.mark.parametrize("length", [b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_early_answer_arrives_although_the_upstream_reads_no_more(relay, upstream, length):
    """413 and a RST, while the client still sends: the reason must not be lost behind the RST."""
    running = relay(http(upstream))
    client, server = exchanging(running, upstream, PUT % len(BIG))
    sent = client.send_until_full(BIG)
    body = b"6\r\ntoobig\r\n0\r\n\r\n" if b"chunked" in length else b"toobig"
    server.send(b"HTTP/1.1 413 Too much\r\nConnection: close\r\n" + length + b"\r\n" + body)
    server.close()
    client.send_aside(BIG[sent:])
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 413 Too much\r\n")
    assert answer.endswith(body)
    assert b"\r\nConnection: close\r\n" in answer
    assert running.next_line()["status"] == 413
    in_reactor(gc.collect)  # what was cancelled and not waited for is logged now, as a traceback


def test_upstream_that_resets_under_an_upload_it_does_not_read_is_502(relay, upstream):
    running = relay(http(upstream))
    client, server = exchanging(running, upstream, PUT % len(BIG))
    sent = client.send_until_full(BIG)
    server.reset()
    client.send_aside(BIG[sent:])
    answer = client.read_all()
    assert b"\r\nX-Wsrelay-Reason: upstream-closed\r\n" in answer
    assert running.next_line()["status"] == 502
    in_reactor(gc.collect)


def test_interim_answers_wait_for_a_client_that_reads_none_of_them(relay, upstream):
    running = relay(http(upstream, more='[limits]\nhead_bytes = "1MiB"'))
    client, server = exchanging(running, upstream)
    interim = b"HTTP/1.1 103 E\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"
    sent = server.send_until_full(interim * 16)
    assert running.buffered < 3 * len(interim)  # one that waits, one that is being read
    server.send_aside((interim * 16)[sent:] + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.read_until(b"\r\n\r\nok").count(b"HTTP/1.1 103 ") == 16


def test_a_body_that_goes_wrong_while_the_answer_waits_for_its_reader_is_not_taken_for_complete(relay, upstream):
    """What follows it is no request: nobody knows where the body ends."""
    running = relay(http(upstream, more='[limits]\nhead_bytes = "1MiB"'))
    client = running.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    server = upstream.accept()
    server.read_until(b"hello\r\n")
    interim = b"HTTP/1.1 103 E\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"
    answers = interim * 12 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    sent = server.send_until_full(answers)
    client.send(b"zz\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
    running.settle()
    server.send_aside(answers[sent:])
    client.ending()
    client.close()
    assert upstream.nobody_came()
    assert running.next_line()["method"] == "POST"
    running.settle()
    assert running.sessions == 0


# Limits of time. The hands of the clock are ours.


def test_reader_that_stops_is_given_up_after_write_stall(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client, server = exchanging(running, upstream)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
    server.send_until_full(BIG)
    over.passes(59)
    assert running.sessions == 1
    over.passes(1)
    over.passes(60)
    line = running.next_line()
    assert (line["status"], line["detail"]) == (200, "client stalled")
    assert server.was_reset()
    assert running.sessions == 0
    assert len(client.ending()) < len(BIG)


def test_slow_reader_is_kept_as_long_as_something_moves(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client, server = exchanging(running, upstream)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
    client.read_head()
    server.send_aside(BIG)
    for _ in range(4):
        assert client.read(8 * 1024 * 1024)
        running.settle()
        over.passes(59)
    assert running.sessions == 1
    assert len(client.read(len(BIG) - 32 * 1024 * 1024)) == len(BIG) - 32 * 1024 * 1024


def test_upstream_that_stops_inside_its_body_is_given_up_and_the_client_sees_it_broken(relay, upstream):
    over = HandTime()
    running = relay(http(upstream, route='timeouts = { tunnel_idle = "7m" }'), over)
    client, server = exchanging(running, upstream)
    server.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    client.read_until(b"half\r\n")
    over.passes(419)
    assert running.sessions == 1
    over.passes(1)
    assert client.was_reset()
    assert running.next_line()["detail"] == "upstream stalled"


def test_body_that_stops_coming_is_408(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client, server = exchanging(running, upstream, PUT % 6 + b"abc")
    assert server.read(3) == b"abc"
    over.passes(60)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"X-Wsrelay-Reason: body-timeout\r\n" in answer
    assert server.was_reset(), "an unfinished request must not look finished"
    assert running.next_line()["reason"] == "body-timeout"


def test_upstream_that_does_not_take_the_body_is_504(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client, _ = exchanging(running, upstream, PUT % len(BIG))
    client.send_until_full(BIG)
    over.passes(60)
    over.passes(60)
    assert b"X-Wsrelay-Reason: upstream-timeout\r\n" in client.ending()
    assert running.next_line()["status"] == 504
    in_reactor(gc.collect)


def test_time_for_the_answer_begins_when_the_body_is_up(relay, upstream):
    over = HandTime()
    running = relay(http(upstream, more='[timeouts]\nresponse_head = "30s"'), over)
    client, server = exchanging(running, upstream, PUT % 6 + b"abc")
    over.passes(30)
    over.passes(29)
    client.send(b"def")
    assert server.read(6) == b"abcdef"
    over.passes(1)
    over.passes(28)
    assert running.sessions == 1
    server.send(OK)
    assert client.read(len(OK)) == OK


@pytest.mark.parametrize("body", [False, True])
def test_upstream_that_does_not_answer_is_504(relay, upstream, body):
    over = HandTime()
    running = relay(http(upstream, route='timeouts = { response_head = "12s" }'), over)
    client, server = exchanging(running, upstream, PUT % 3 + b"abc" if body else GET)
    server.read(3 * body)
    server.send(b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 O")
    client.read_head()
    over.passes(11)
    assert running.sessions == 1
    over.passes(13)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"X-Wsrelay-Reason: upstream-timeout\r\n" in answer
    assert server.was_reset()
    assert running.next_line()["reason"] == "upstream-timeout"

"""What the relay answers by itself: refusals with their reasons, redirects, fixed answers; and when it says nothing."""

import pytest

from tests.harness import UPGRADE, HandTime, http

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

OWN = """
[[listen]]
address = "127.0.0.1:0"
[[route]]
path = "/health"
respond = { status = 200, body = "fine" }
[[route]]
path = "/old"
redirect = { to = "https://new.example{uri}", status = 301 }
[[route]]
host = "ws.example"
path = "/"
websocket = "require"
upstream = "nowhere"
[[route]]
host = "plain.example"
path = "/"
websocket = "refuse"
upstream = "nowhere"
[[upstream]]
name = "nowhere"
servers = ["127.0.0.1:1"]
"""


def field(head: bytes, name: bytes) -> bytes | None:
    """The one value of a field of a head; None without it."""
    values = [line.partition(b":")[2].strip() for line in head.split(b"\r\n") if line.lower().startswith(name + b":")]
    assert len(values) < 2
    return values[0] if values else None


REFUSED = [
    (b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400, "malformed-head"),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400, "malformed-head"),
    (b"\x16\x03\x01\x02\x00\x01", 400, "malformed-head"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "bad-host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad-host"),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad-framing"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400, "bad-framing"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "unknown-transfer-coding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: beer\r\n\r\n", 417, "unknown-expectation"),
    (b"TRACE / HTTP/1.1\r\nHost: example.com\r\n\r\n", 501, "trace-method"),
    (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 501, "connect-method"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http-version"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "head-too-large"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431, "head-too-large"),
]


@pytest.mark.parametrize(("request_", "status", "reason"), REFUSED)
def test_bad_request_gets_its_reason_and_the_end_and_nothing_goes_up(relay, upstream, request_, status, reason):
    running = relay(http(upstream))
    client = running.connect()
    client.send(request_)
    client.send_aside(GET)
    answer = client.read_all()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert field(head, b"x-wsrelay-reason") == reason.encode()
    assert field(head, b"connection") == b"close"
    assert field(head, b"content-length") == b"%d" % len(body)
    line = running.next_line()
    assert (line["event"], line["status"], line["reason"]) == ("exchange", status, reason)
    assert line["detail"]
    assert line["upstream"] is None
    assert reason.encode() in body
    assert line["session"].encode() in body
    assert upstream.nobody_came()


@pytest.mark.parametrize(
    "request_",
    [
        b"HEAD / HTTP/1.1\r\nHost: a\r\nExpect: beer\r\nContent-Length: 1\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"HEAD /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_refused_head_request_has_a_length_but_no_body(relay, request_):
    client = relay(OWN).connect()
    client.send(request_)
    answer = client.read_all()
    assert answer.endswith(b"\r\n\r\n")
    assert int(field(answer, b"content-length") or 0) > 0


@pytest.mark.parametrize("first", [b"", GET])
def test_refusal_of_a_later_request_comes_behind_the_answers_before_it(relay, upstream, first):
    running = relay(http(upstream))
    client = running.connect()
    client.send(first + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    if first:
        server = upstream.accept()
        server.read_head()
        server.send(OK)
        assert client.read(len(OK)) == OK
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    if first:
        assert running.next_line()["status"] == 200
        assert not server.was_reset(), "the upstream has done nothing wrong, and its exchange was complete"
    line = running.next_line()
    assert (line["reason"], line["method"], line["upstream"]) == ("malformed-head", None, None)


# Time.


def test_slow_head_is_408_however_often_a_byte_comes(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client = running.connect()
    for byte in b"GET / HTT":
        client.send(bytes([byte]))
        running.settle()
        over.passes(1)
    assert client.arrived() == b""
    over.passes(1)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"X-Wsrelay-Reason: head-timeout\r\n" in answer
    assert running.next_line()["reason"] == "head-timeout"
    assert upstream.nobody_came()


@pytest.mark.parametrize("nothing", [b"", b"\r\n"])
def test_silent_client_is_let_go_without_an_answer(relay, upstream, nothing):
    over = HandTime()
    running = relay(http(upstream), over)
    client = running.connect()
    client.send(nothing)
    running.settle()
    over.passes(9)
    assert running.sessions == 1
    over.passes(1)
    assert client.read_all() == b""
    assert running.sessions == 0


def test_second_head_has_its_own_time_and_idleness_another(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client = running.connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    client.read(len(OK))
    running.settle()
    over.passes(74)
    client.send(b"G")
    running.settle()
    over.passes(9)
    assert client.arrived() == b""
    over.passes(1)
    assert client.read_all().startswith(b"HTTP/1.1 408 ")


def test_idle_client_is_let_go_in_order_and_so_is_its_upstream(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client = running.connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    client.read(len(OK))
    running.settle()
    over.passes(74)
    assert running.sessions == 1
    over.passes(1)
    assert client.read_all() == b""
    assert server.read_all() == b""
    assert running.next_line()["event"] == "exchange"
    assert running.sessions == 0


def test_client_that_never_closes_after_a_refusal_is_closed_after_linger(relay, upstream):
    over = HandTime()
    running = relay(http(upstream), over)
    client = running.connect()
    client.send(b"BAD\r\n\r\n")
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    client.send(b"more and more")
    running.settle()
    over.passes(29)
    assert running.sessions == 1
    over.passes(1)
    assert running.sessions == 0


# Answers of the configuration.


def test_fixed_answers_and_redirects_keep_the_connection(relay):
    running = relay(OWN)
    client = running.connect()
    client.send(b"GET /health?x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.read_head().startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.read(4) == b"fine"
    client.send(b"HEAD /health HTTP/1.1\r\nHost: a\r\n\r\nGET /old/x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert field(client.read_head(), b"content-length") == b"4"
    moved = client.read_head()
    assert moved.startswith(b"HTTP/1.1 301 ")
    assert field(moved, b"location") == b"https://new.example/old/x?y=1"
    assert field(moved, b"connection") is None
    assert [running.next_line()["status"] for _ in range(3)] == [200, 200, 301]


@pytest.mark.parametrize("body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
def test_own_answer_to_a_request_with_a_body_closes_and_the_body_is_no_request(relay, body):
    client = relay(OWN).connect()
    client.send(b"POST /health HTTP/1.1\r\nHost: a\r\n" + body + GET)
    answer = client.read_all()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert field(answer, b"connection") == b"close"


def test_own_answer_names_no_upstream_even_after_one_was_used(relay, upstream):
    route = '[[route]]\npath = "/health"\nrespond = { status = 200, body = "fine" }'
    running = relay(http(upstream, route=route))
    client = running.connect()
    client.send(GET + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    client.read_until(b"fine")
    assert [running.next_line()["upstream"] for _ in range(2)] == [upstream.address, None]


def test_client_that_reads_no_answers_is_not_read_either(relay):
    """Requests are cheap to send; their answers must not pile up in memory."""
    running = relay(OWN.replace('"fine"', f'"{"x" * 5000}"'))
    client = running.connect()
    requests = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 200_000
    sent = client.send_until_full(requests)
    assert sent < len(requests)
    assert running.buffered <= 4 * 64 * 1024


def test_http_1_0_client_is_answered_and_closed(relay):
    client = relay(OWN).connect()
    client.send(b"GET /health HTTP/1.0\r\n\r\n")
    answer = client.read_all()
    assert answer.endswith(b"\r\n\r\nfine")
    assert field(answer, b"connection") == b"close"


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no-route"),
        (b"GET / HTTP/1.1\r\nHost: ws.example\r\n\r\n", 426, "websocket-required"),
        (UPGRADE.replace(b"example.com", b"plain.example"), 403, "websocket-refused"),
    ],
)
def test_what_the_routes_do_not_allow_is_refused(relay, request_, status, reason):
    running = relay(OWN)
    client = running.connect()
    client.send(request_)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert field(answer, b"x-wsrelay-reason") == reason.encode()
    assert field(answer, b"upgrade") == (b"websocket" if status == 426 else None)
    assert running.next_line()["reason"] == reason


TO_HTTPS = """
[[listen]]
address = "127.0.0.1:0"
redirect = "https"
"""


def test_redirecting_listener_sends_everybody_to_https_and_keeps_the_connection(relay):
    running = relay(TO_HTTPS)
    client = running.connect()
    for target in (b"/", b"/a%20b?c=d"):
        client.send(b"GET " + target + b" HTTP/1.1\r\nHost: example.com:80\r\n\r\n")
        head = client.read_head()
        assert head.startswith(b"HTTP/1.1 308 ")
        assert field(head, b"location") == b"https://example.com" + target
        client.read(int(field(head, b"content-length") or 0))
        assert running.next_line()["status"] == 308


def test_redirecting_listener_tells_an_upgrade_to_use_tls(relay):
    running = relay(TO_HTTPS)
    client = running.connect()
    client.send(UPGRADE)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert field(answer, b"x-wsrelay-reason") == b"tls-required"
    assert running.next_line()["reason"] == "tls-required"


def test_an_options_that_may_go_no_further_is_answered_here(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    client.send(b"OPTIONS / HTTP/1.1\r\nHost: example.com\r\nMax-Forwards: 0\r\n\r\n" + GET)
    head = client.read_head()
    assert (head.startswith(b"HTTP/1.1 200 "), field(head, b"content-length")) == (True, b"0")
    server = upstream.accept()
    assert server.read_head().startswith(b"GET / ")
    server.send(OK)
    client.read_until(OK)

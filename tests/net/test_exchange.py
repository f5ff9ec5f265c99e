"""Plain HTTP through the relay: one client connection, its exchanges, and what each side is told of them."""

import pytest

from tests.harness import Wire, http

GET = b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
IDENTITY = (
    b"X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n"
    b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: example.com\r\n"
)


def test_request_and_answer_cross_with_their_fields_in_order(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    client.send(
        b"POST /a%20b?c=%2F HTTP/1.1\r\nhost: Example.COM:80\r\nX-B: 2\r\nx-a: 1\r\nKeep-Alive: 1\r\n"
        b"Connection: x-drop\r\nX-Drop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nTE: trailers\r\n"
        b"Content-Length: 3\r\n\r\nabc"
    )
    server = upstream.accept()
    assert server.read_head() == (
        b"POST /a%20b?c=%2F HTTP/1.1\r\nHost: Example.COM:80\r\nX-B: 2\r\nx-a: 1\r\n"
        + IDENTITY.replace(b"example.com", b"Example.COM:80")
        + b"Content-Length: 3\r\n\r\n"
    )
    assert server.read(3) == b"abc"
    server.send(
        b"HTTP/1.1 201 Made it\r\nServer: s\r\nset-cookie: a\r\nSet-Cookie: b\r\nKeep-Alive: timeout=5\r\n"
        b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert client.read_head() == (
        b"HTTP/1.1 201 Made it\r\nServer: s\r\nset-cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\n"
    )
    assert client.read(2) == b"hi"
    line = running.next_line()
    expected = {
        "event": "exchange", "method": "POST", "host": "example.com", "target": "/a%20b?[redacted]", "status": 201,
        "request_bytes": 3, "response_bytes": 2, "route": "*/", "upstream": upstream.address, "reason": None,
        "detail": None, "real_ip": "127.0.0.1",
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected


def test_one_clients_requests_share_one_upstream_connection(relay, upstream):
    client = relay(http(upstream)).connect()
    server: Wire | None = None
    for number in range(5):
        client.send(GET.replace(b"/a", b"/%d" % number))
        server = server or upstream.accept()
        assert server.read_head().startswith(b"GET /%d?" % number)
        server.send(OK)
        assert client.read_head().startswith(b"HTTP/1.1 200 ")
        assert client.read(2) == b"ok"
    assert upstream.nobody_came()


def test_another_client_never_gets_the_first_ones_upstream_connection(relay, upstream):
    running = relay(http(upstream))
    for number in range(3):
        client = running.connect()
        client.send(GET)
        server = upstream.accept()
        server.read_head()
        server.send(OK)
        assert client.read(len(OK)).endswith(b"ok")
        if number == 1:
            client.finish()
            assert client.read_all() == b""


def test_pipelined_requests_are_answered_in_order_one_after_the_other(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    client.send(b"".join(GET.replace(b"/a", b"/%d" % number) for number in range(3)))
    server = upstream.accept()
    for number in range(3):
        assert server.read_head().startswith(b"GET /%d?" % number)
        running.settle()
        assert server.arrived() == b"", "the next request went up before this one was answered"
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
    for number in range(3):
        assert client.read_head().startswith(b"HTTP/1.1 200 ")
        assert client.read(1) == b"%d" % number


def test_request_behind_a_body_is_found_at_its_first_byte(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET)
    server = upstream.accept()
    assert b"Transfer-Encoding: chunked\r\n" in server.read_head()
    assert server.read_until(b"0\r\n\r\n") == b"3\r\nabc\r\n0\r\n\r\n"
    server.send(OK)
    assert server.read_head().startswith(b"GET /a?b=c ")
    server.send(OK)
    assert client.read(2 * len(OK)) == OK * 2


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_answers_without_a_body_leave_both_connections_usable(relay, upstream, method, head):
    client = relay(http(upstream)).connect()
    client.send(GET.replace(b"GET", method))
    server = upstream.accept()
    assert server.read_head().startswith(method)
    server.send(head)
    assert client.read_head() == head
    client.send(GET)
    server.read_head()
    server.send(OK)
    assert client.read(len(OK)) == OK


def test_100_continue_comes_from_the_upstream_and_the_body_follows(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n")
    server = upstream.accept()
    assert b"\r\nExpect: 100-continue\r\n" in server.read_head()
    running.settle()
    assert client.arrived() == b"", "the relay must not invent a 100"
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    assert server.read(4) == b"body"
    server.send(OK)
    assert client.read(len(OK)) == OK
    client.send(GET)
    assert server.read_head().startswith(b"GET ")


def test_final_answer_instead_of_100_ends_the_connection_for_the_body_is_owed(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in client.read_head()
    client.send(b"body" + GET)
    assert client.read_all() == b""
    assert server.ending() == b""
    assert upstream.nobody_came()


@pytest.mark.parametrize("count", [16, 17])
def test_interim_answers_pass_up_to_sixteen(relay, upstream, count):
    client = relay(http(upstream)).connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(b"".join(b"HTTP/1.1 103 H\r\nX-N: %d\r\n\r\n" % number for number in range(count)) + OK)
    for number in range(16):
        assert client.read_head() == b"HTTP/1.1 103 H\r\nX-N: %d\r\n\r\n" % number
    if count == 16:
        assert client.read(len(OK)) == OK
    else:
        rest = client.read_all()
        assert b"X-Wsrelay-Reason: upstream-bad-head\r\n" in rest
        assert b"200 OK" not in rest


def test_trailers_cross_both_ways_but_not_those_that_frame_or_identify(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=1\r\na\r\n0\r\n"
        b"X-Sum: 1\r\nX-Real-IP: 6.6.6.6\r\nContent-Length: 9\r\nAuthorization: x\r\nHost: evil\r\n\r\n"
    )
    server = upstream.accept()
    server.read_head()
    assert server.read_until(b"\r\n\r\n") == b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"
    server.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n"
        b"X-Sum: 2\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\n\r\n"
    )
    assert client.read_head() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    assert client.read_until(b"0\r\n") == b"2\r\nok\r\n0\r\n"
    trailers = client.read_until(b"\r\n\r\n")
    assert trailers.startswith(b"X-Sum: 2\r\n")
    assert b"Transfer-Encoding" not in trailers


def test_body_until_close_becomes_chunks_and_the_client_stays_connected(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 200 OK\r\n\r\nunknown length")
    server.finish()
    assert client.read_head() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.read_until(b"0\r\n\r\n") == b"e\r\nunknown length\r\n0\r\n\r\n"
    client.send(GET)
    assert upstream.accept().read_head().startswith(b"GET ")


OLD = b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n"
OLD_KEEPING = b"GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n"


def test_http_1_0_client_gets_its_answer_and_the_end(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(OLD)
    server = upstream.accept()
    assert server.read_head() == b"GET / HTTP/1.1\r\nHost: example.com\r\n" + IDENTITY + b"\r\n"
    server.send(b"HTTP/1.1 103 Early\r\n\r\n" + OK)
    assert client.read_all() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def test_http_1_0_client_that_asks_for_it_is_kept(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(OLD_KEEPING)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert b"\r\nConnection: keep-alive\r\n" in client.read_head()
    assert client.read(2) == b"ok"
    client.send(OLD_KEEPING)
    server.read_head()


@pytest.mark.parametrize("request_", [OLD, OLD_KEEPING])
def test_http_1_0_client_gets_chunks_as_a_body_until_close(relay, upstream, request_):
    client = relay(http(upstream)).connect()
    client.send(request_)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX-T: 1\r\n\r\n")
    assert client.read_all() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef"


def test_client_without_host_gets_the_servers_address_as_host_upstream(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert upstream.accept().read_head().split(b"\r\n")[1] == f"Host: {upstream.address}".encode()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [('"preserve"', b"example.com"), ('"upstream"', None), ('"app.internal"', b"app.internal")],
)
def test_host_header_is_the_clients_the_servers_or_a_literal(relay, upstream, setting, expected):
    client = relay(http(upstream, route=f"host_header = {setting}")).connect()
    client.send(GET)
    host = upstream.accept().read_head().split(b"\r\n")[1]
    assert host == b"Host: " + (expected or upstream.address.encode())


def test_host_header_upstream_is_the_server_as_the_configuration_names_it(relay, upstream):
    text = http(upstream, route='host_header = "upstream"').replace("127.0.0.1:", "localhost:")
    client = relay(text.replace("localhost:0", "127.0.0.1:0")).connect()
    client.send(GET)
    name = upstream.address.replace("127.0.0.1", "localhost").encode()
    assert upstream.accept().read_head().split(b"\r\n")[1] == b"Host: " + name


def test_rewrite_changes_the_path_that_goes_up(relay, upstream):
    text = http(upstream).replace('path = "/"', 'path = "/api"\nrewrite = "/v1"')
    client = relay(text).connect()
    client.send(b"GET /api/x%2Fy?q HTTP/1.1\r\nHost: a\r\n\r\n")
    assert upstream.accept().read_head().startswith(b"GET /v1/x%2Fy?q HTTP/1.1\r\n")


@pytest.mark.parametrize("behind", [b"", GET])
def test_half_closed_client_still_gets_its_answers(relay, upstream, behind):
    """`printf … | nc -N` ends its side at once."""
    running = relay(http(upstream))
    client = running.connect()
    client.send(GET + behind)
    client.finish()
    server = upstream.accept()
    for _ in range(1 + bool(behind)):
        server.read_head()
        running.settle()
        server.send(OK)
    answers = client.read_all()
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 1 + bool(behind)
    assert answers.endswith(b"Connection: close\r\n\r\nok")


def test_trusted_proxy_is_believed_and_the_real_ip_is_the_first_untrusted_one(relay, upstream):
    running = relay(http(upstream, more='trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]'))
    client = running.connect()
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: public.example\r\nX-Real-IP: 6.6.6.6\r\n\r\n"
    )
    server = upstream.accept()
    assert server.read_head() == (
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 203.0.113.9\r\n"
        b"X-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.1.1.1, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: public.example\r\n\r\n"
    )
    server.send(OK)
    assert client.read(len(OK)) == OK
    line = running.next_line()
    assert line["real_ip"] == "203.0.113.9"
    assert line["client"].startswith("127.0.0.1:")

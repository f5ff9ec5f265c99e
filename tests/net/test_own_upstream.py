"""The upstream connection that belongs to one client: when it is used again, and how it is given back."""

import pytest

from tests.harness import Wire, http, raw_server

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def served(client: Wire, upstream) -> Wire:
    """The upstream's end of a connection that has served one exchange and is kept."""
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert client.read(len(OK)) == OK
    return server


def test_connection_that_the_upstream_has_closed_is_given_back_at_once_and_replaced(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    server = served(client, upstream)
    server.finish()
    assert server.read_all() == b""
    client.send(POST % 2 + b"ab")
    fresh = upstream.accept()
    fresh.read_head()
    fresh.send(OK)
    assert client.read(len(OK)) == OK


@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_connection_found_dead_is_replaced_once_where_the_request_may_be_repeated(relay, upstream, method, how):
    running = relay(http(upstream))
    client = running.connect()
    server = served(client, upstream)
    client.send(GET.replace(b"GET", method))
    seen = server.read_head()
    getattr(server, how)()
    fresh = upstream.accept()
    assert fresh.read_head() == seen
    fresh.send(OK[:-2] if method == b"HEAD" else OK)
    assert client.read_head().startswith(b"HTTP/1.1 200 ")
    assert [running.next_line()["status"] for _ in range(2)] == [200, 200]


def test_replacement_that_dies_too_is_not_replaced_again(relay, upstream):
    client = relay(http(upstream)).connect()
    server = served(client, upstream)
    client.send(GET)
    server.read_head()
    server.finish()
    fresh = upstream.accept()
    fresh.read_head()
    fresh.finish()
    assert b"X-Wsrelay-Reason: upstream-closed\r\n" in client.read_all()
    assert upstream.nobody_came()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (POST % 0, b""),
        (POST % 2 + b"ab", b""),
        (POST.replace(b"POST", b"PUT") % 2 + b"ab", b""),
        (GET.replace(b"GET", b"PATCH"), b""),
        (GET, b"HTTP/1.1 2"),
        (GET, b"HTTP/1.1 103 E\r\n\r\n"),
    ],
)
def test_what_must_not_happen_twice_is_not_repeated(relay, upstream, request_, said):
    """Neither a request with effects, nor one that the upstream has begun to answer."""
    client = relay(http(upstream)).connect()
    server = served(client, upstream)
    client.send(request_)
    server.read_head()
    server.send(said)
    server.finish()
    assert b"X-Wsrelay-Reason: upstream-closed\r\n" in client.read_all()
    assert upstream.nobody_came()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_connection_that_the_upstream_does_not_keep_is_closed_in_order(relay, upstream, answer):
    client = relay(http(upstream)).connect()
    client.send(GET)
    server = upstream.accept()
    server.read_head()
    server.send(answer)
    head = client.read_head()
    assert b"Connection" not in head, "the upstream's wish concerns its own connection only"
    assert client.read(2) == b"ok"
    assert server.read_all() == b""
    client.send(GET)
    upstream.accept().read_head()


def test_bytes_that_nobody_asked_for_end_the_connection_and_answer_nothing(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    server = served(client, upstream)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    running.settle()
    client.send(GET)
    fresh = upstream.accept()
    fresh.read_head()
    fresh.send(OK)
    assert client.read(len(OK)) == OK
    assert server.ending() == b""


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_client_that_leaves_gives_its_idle_upstream_connection_back_in_order(relay, upstream, how):
    running = relay(http(upstream))
    client = running.connect()
    server = served(client, upstream)
    getattr(client, how)()
    assert server.read_all() == b""
    assert running.next_line()["status"] == 200


def test_connection_used_again_is_reset_when_the_client_leaves_inside_an_exchange(relay, upstream):
    client = relay(http(upstream)).connect()
    server = served(client, upstream)
    client.send(GET)
    server.read_head()
    client.reset()
    assert server.was_reset()


def test_another_group_gets_another_connection(relay, upstream):
    with raw_server() as other:
        more = (
            f'[[upstream]]\nname = "other"\nservers = ["{other.address}"]\n[[route]]\npath = "/b"\nupstream = "other"'
        )
        client = relay(http(upstream, route=more)).connect()
        server = served(client, upstream)
        client.send(GET.replace(b"/a", b"/b"))
        fresh = other.accept()
        assert fresh.read_head().startswith(b"GET /b ")
        assert server.read_all() == b""
        fresh.send(OK)
        assert client.read(len(OK)) == OK
        served(client, upstream)

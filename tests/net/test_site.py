"""What sessions get from the configuration: limits, and a site of their own for life."""

import attrs
import pytest

from tests.harness import http, in_reactor
from wsrelay.core.routing import RouteTable

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        ("head_bytes = 1024", b"X: " + b"y" * 990, b"X: " + b"y" * 993),
        ("head_fields = 8", b"X: 1" + b"\r\nX: 1" * 6, b"X: 1" + b"\r\nX: 1" * 7),
    ],
)
def test_heads_of_both_sides_keep_within_the_configured_limits(relay, upstream, limit, good, bad):
    running = relay(http(upstream, more=f"[limits]\n{limit}"))
    client = running.connect()
    client.send(GET + good + b"\r\n\r\n")
    upstream.accept().send(b"HTTP/1.1 200 OK\r\n" + bad + b"\r\nA: b\r\nContent-Length: 0\r\n\r\n")
    assert b"X-Wsrelay-Reason: upstream-bad-head\r\n" in client.read_all()
    other = running.connect()
    other.send(GET + bad + b"\r\n\r\n")
    assert other.read_all().startswith(b"HTTP/1.1 431 ")
    assert upstream.nobody_came()


def test_session_keeps_the_site_it_began_with(relay, upstream):
    """A new one, as after a reload, is for new clients only."""
    running = relay(http(upstream))
    before = running.connect()
    before.send(GET)
    running.settle()
    listening = running.service.listening[0]
    new = attrs.evolve(listening.site, routes=RouteTable((), "nothing"))
    in_reactor(setattr, listening, "site", new)
    after = running.connect()
    after.send(GET + b"\r\n")
    assert after.read_all().startswith(b"HTTP/1.1 404 ")
    before.send(b"\r\n")
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert before.read(len(OK)) == OK

"""Upgrades to WebSocket: what goes up, what opens a tunnel, and what never does (RFC 6455 4, RFC 9110 7.8)."""

import pytest

from tests.harness import SWITCHED, UPGRADE, HandTime, Wire, http

KEY = b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n"
ACCEPT = b"Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\n"
IDENTITY = (
    b"X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n"
    b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: example.com\r\n"
)
EARLY = b"\x81\x85....early frame of the client"


def upgrade(*, without: bytes = b"", more: bytes = b"", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    """The opening request, changed in one respect."""
    assert without in UPGRADE
    request = UPGRADE.replace(without, b"", 1).replace(b"GET", method, 1).replace(b"HTTP/1.1", version, 1)
    return request[:-2] + more + b"\r\n"


def opened(relay, upstream) -> tuple[Wire, Wire]:
    """A tunnel: the client's end and the upstream's."""
    client = relay.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return client, server


def test_upgrade_goes_up_rewritten_and_verified_answer_opens_a_tunnel(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    assert (
        server.read_head()
        == (b"GET /chat HTTP/1.1\r\nHost: example.com\r\n" + KEY + b"Sec-WebSocket-Version: 13\r\n" + IDENTITY)
        + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    server.send(SWITCHED)
    assert client.read_head() == (
        b"HTTP/1.1 101 Switching Protocols\r\n" + ACCEPT + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    line = running.next_line()
    assert (line["event"], line["status"], line["route"]) == ("open", 101, "*/")
    assert line["upstream"] == upstream.address
    client.send(b"up")
    assert server.read(2) == b"up"
    server.send(b"down!")
    assert client.read(5) == b"down!"
    client.finish()
    assert server.read_all() == b""
    server.finish()
    assert client.read_all() == b""
    closed = running.next_line()
    assert (closed["event"], closed["outcome"], closed["to_upstream"], closed["to_client"]) == (
        "close",
        "client-closed",
        2,
        5,
    )


def test_firefoxs_upgrade_is_one_and_websocket_extensions_cross_both_ways(relay, upstream):
    client = relay(http(upstream)).connect()
    extensions = (
        b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, b\r\nOrigin: http://evil\r\n"
    )
    client.send(upgrade(more=extensions).replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"))
    server = upstream.accept()
    assert extensions in server.read_head()
    server.send(SWITCHED[:-2] + b"Sec-WebSocket-Protocol: b\r\nSet-Cookie: a=1\r\n\r\n")
    answer = client.read_head()
    assert b"\r\nSec-WebSocket-Protocol: b\r\nSet-Cookie: a=1\r\n" in answer


def test_bytes_behind_the_101_reach_the_client_behind_it(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED + b"hello from the same segment")
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert client.read(27) == b"hello from the same segment"


@pytest.mark.parametrize("together", [True, False])
def test_early_bytes_of_the_client_wait_for_the_101(relay, upstream, together):
    running = relay(http(upstream))
    client = running.connect()
    client.send(UPGRADE + EARLY if together else UPGRADE)
    server = upstream.accept()
    server.read_head()
    if not together:
        client.send(EARLY)
    running.settle()
    assert server.arrived() == b""
    server.send(SWITCHED)
    assert server.read(len(EARLY)) == EARLY
    client.send(b"later")
    assert server.read(5) == b"later"


def test_a_flood_of_early_bytes_is_held_within_bounds_and_arrives_whole(relay, upstream):
    """More than the relay holds: the kernel makes the client wait, nothing is lost."""
    running = relay(http(upstream))
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    flood = bytes(range(256)) * 32768
    sent = client.send_until_full(flood)
    assert sent < len(flood), "the relay took everything"
    server.send(SWITCHED)
    client.send_aside(flood[sent:])
    assert server.read(len(flood)) == flood


DECLINED = [
    (b"HTTP/1.1 403 No\r\nContent-Length: 4\r\nX-Why: a\r\n\r\n", b"nope", b"Content-Length: 4\r\n", b"nope"),
    (b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n", b"",
     b"Content-Length: 0\r\n", b""),
    (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nno\r\n0\r\n\r\n",
     b"Transfer-Encoding: chunked\r\n", b"2\r\nno\r\n0\r\n\r\n"),
    (b"HTTP/1.0 500 Broken\r\n\r\n", b"until close", b"Transfer-Encoding: chunked\r\n",
     b"b\r\nuntil close\r\n0\r\n\r\n"),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"", b"", b""),
]  # fmt: skip


@pytest.mark.parametrize(("head", "body", "framing", "arrives"), DECLINED)
def test_declined_upgrade_relays_the_real_answer_and_never_a_client_byte_upstream(
    relay, upstream, head, body, framing, arrives
):
    running = relay(http(upstream))
    client = running.connect()
    client.send(UPGRADE + EARLY)
    server = upstream.accept()
    server.read_head()
    server.send(head + body)
    if head.startswith(b"HTTP/1.0"):
        server.finish()
    answer = client.read_head()
    assert answer.split(b" ", 1)[1].split(b"\r\n")[0] == head.split(b" ", 1)[1].split(b"\r\n")[0]
    assert framing in answer
    assert b"\r\nConnection: close\r\n" in answer
    assert b"Upgrade" not in answer
    client.send(b"GET /smuggled HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert client.read_all() == arrives
    assert server.ending() == b"", "client bytes went upstream after it had declined"
    line = running.next_line()
    assert (line["event"], line["status"], line["reason"]) == ("exchange", int(head[9:12]), None)
    client.close()
    assert upstream.nobody_came()


def test_declined_answer_that_breaks_off_does_not_look_complete(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nhalf")
    server.finish()
    assert client.read_head().startswith(b"HTTP/1.1 403")
    assert client.read(4) == b"half"
    assert client.was_reset()
    assert running.next_line()["event"] == "exchange"


def test_interim_answer_may_come_before_the_101(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
    assert client.read_head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    server.send(SWITCHED + b"x")
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert client.read(1) == b"x"


BAD_SWITCHES = [
    (b"HSmrc0sMlYUkAGmm5OPpG2HaGWk=", b"HSmrc0sMlYUkAGmm5OPpG2HaGWk", "accept"),
    (ACCEPT, b"", "Accept"),
    (ACCEPT, ACCEPT + ACCEPT, "Accept"),
    (b"Upgrade: websocket\r\n", b"", "Upgrade"),
    (b"Upgrade: websocket", b"Upgrade: h2c", "websocket"),
    (b"HTTP/1.1", b"HTTP/1.0", "HTTP/1.0"),
    (ACCEPT, ACCEPT + b"Content-Length: 0\r\n", "Content-Length"),
]


@pytest.mark.parametrize(("old", "new", "names"), BAD_SWITCHES)
def test_wrong_101_is_502_and_opens_nothing(relay, upstream, old, new, names):
    running = relay(http(upstream))
    client = running.connect()
    client.send(UPGRADE + EARLY)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED.replace(old, new) + b"secret")
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"X-Wsrelay-Reason: upstream-bad-switch\r\n" in answer
    assert b"secret" not in answer
    assert server.ending() == b""
    line = running.next_line()
    assert (line["event"], line["status"], line["reason"]) == ("exchange", 502, "upstream-bad-switch")
    assert line["upstream"] == upstream.address
    assert names.lower() in line["detail"].lower()


def test_101_without_connection_opens_with_a_warning(relay, upstream, logged):
    running = relay(http(upstream))
    client = running.connect()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED.replace(b"Connection: Upgrade\r\n", b""))
    assert b"\r\nConnection: upgrade\r\n" in client.read_head()
    session = running.line(event="open")["session"]
    warnings = [event for event in logged if event["log_namespace"] == "wsrelay.net.session"]
    assert [(event["id"], "Connection: upgrade" in event["warning"]) for event in warnings] == [(session, True)]


REFUSED = [
    (upgrade(without=b"Sec-WebSocket-Version: 13\r\n", more=b"Sec-WebSocket-Version: 8\r\n"), 426, "websocket-version"),
    (upgrade(without=b"Sec-WebSocket-Version: 13\r\n"), 426, "websocket-version"),
    (upgrade(method=b"POST"), 400, "bad-upgrade"),
    (upgrade(without=KEY), 400, "bad-upgrade"),
    (upgrade(more=KEY), 400, "bad-upgrade"),
    (upgrade(more=b"Content-Length: 3\r\n") + b"abc", 400, "bad-upgrade"),
    (upgrade(more=b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400, "bad-upgrade"),
]


@pytest.mark.parametrize(("request_", "status", "reason"), REFUSED)
def test_invalid_upgrade_is_refused_and_nothing_goes_up(relay, upstream, request_, status, reason):
    running = relay(http(upstream))
    client = running.connect()
    client.send(request_)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert f"X-Wsrelay-Reason: {reason}\r\n".encode() in answer
    if status == 426:
        assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer
        assert b"\r\nUpgrade: websocket\r\n" in answer
    assert upstream.nobody_came()
    assert running.next_line()["reason"] == reason


PLAIN = [
    upgrade(without=b"Connection: Upgrade\r\n"),
    upgrade(version=b"HTTP/1.0"),
    UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c").replace(
        b"Connection: Upgrade", b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
    ),
]


@pytest.mark.parametrize("request_", PLAIN)
def test_what_is_no_upgrade_goes_on_as_plain_http(relay, upstream, request_):
    client = relay(http(upstream)).connect()
    client.send(request_)
    server = upstream.accept()
    assert server.read_head() == b"GET /chat HTTP/1.1\r\nHost: example.com\r\n" + IDENTITY + b"\r\n"
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.read_head().startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.read(2) == b"ok"


def test_websocket_beside_h2c_is_an_upgrade_to_websocket_only(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c, websocket"))
    assert upstream.accept().read_head().endswith(b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")


def test_unasked_101_is_502_and_its_bytes_reach_nobody(relay, upstream):
    running = relay(http(upstream))
    client = running.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED + b"HTTP/1.1 200 OK\r\n\r\n")
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"200 OK" not in answer
    assert server.was_reset()
    assert running.next_line()["reason"] == "upstream-bad-switch"


def test_upgrade_may_follow_plain_requests_on_one_connection(relay, upstream):
    client = relay(http(upstream)).connect()
    client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" + UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.read_head().startswith(b"HTTP/1.1 200")
    assert client.read(2) == b"ok"
    fresh = upstream.accept()
    assert fresh.read_head().startswith(b"GET /chat ")
    assert server.ending() == b""
    fresh.send(SWITCHED)
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    client.send(b"frame")
    assert fresh.read(5) == b"frame"


@pytest.mark.parametrize("way", ["refuses", "closes", "resets", "is silent"])
def test_upgrade_whose_upstream_fails_is_answered(relay, upstream, way):
    over = HandTime()
    running = relay(http(upstream), over)
    client = running.connect()
    if way == "refuses":
        upstream.close()
        client.send(UPGRADE)
    else:
        client.send(UPGRADE)
        server = upstream.accept()
        server.read_head()
        {"closes": server.finish, "resets": server.reset, "is silent": lambda: over.passes(30)}[way]()
    answer = client.read_all()
    reason = {"refuses": "upstream-refused", "is silent": "upstream-timeout"}.get(way, "upstream-closed")
    assert answer.startswith(b"HTTP/1.1 504 " if way == "is silent" else b"HTTP/1.1 502 ")
    assert f"X-Wsrelay-Reason: {reason}\r\n".encode() in answer
    assert running.next_line()["reason"] == reason


def test_two_tunnels_do_not_see_each_others_bytes(relay, upstream):
    running = relay(http(upstream))
    (one, server_one), (two, server_two) = opened(running, upstream), opened(running, upstream)
    one.send(b"1")
    two.send(b"2")
    assert (server_one.read(1), server_two.read(1)) == (b"1", b"2")
    server_two.send(b"b")
    server_one.send(b"a")
    assert (one.read(1), two.read(1)) == (b"a", b"b")

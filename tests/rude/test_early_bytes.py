"""Bytes that come before their time: behind an upgrade that is answered otherwise, and behind a body that waits.

The first are for a tunnel that never was, and no requests (RFC 9931 4.1); the others are the next request, in order.
"""

import pytest

from tests.harness import UPGRADE
from tests.rude.scene import CARRIERS, GET, OK
from wsrelay.net.legs import FULL_BYTES

SMUGGLED = GET.replace(b"GET /", b"GET /smuggled")
MORE = """
[[route]]
path = "/moved"
redirect = { to = "https://example.com/", status = 302 }
[[route]]
path = "/refused"
websocket = "refuse"
upstream = "app"
"""
OTHERWISE = {
    "answered here": UPGRADE.replace(b"/chat", b"/here"),
    "redirected": UPGRADE.replace(b"/chat", b"/moved"),
    "refused": UPGRADE.replace(b"/chat", b"/refused"),
    "of another version": UPGRADE.replace(b"Version: 13", b"Version: 8"),
    "without a key": UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"),
    "posted": UPGRADE.replace(b"GET", b"POST"),
}


@pytest.mark.parametrize("together", [True, False], ids=["together", "later"])
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("upgrade", OTHERWISE)
def test_bytes_behind_an_upgrade_that_the_relay_answers_itself_are_no_request(
    scene, upstream, upgrade, carrier, together
):
    running = scene.open(carrier, after=MORE)
    client = scene.client(carrier)
    client.send(OTHERWISE[upgrade] + SMUGGLED if together else OTHERWISE[upgrade])
    if not together:
        running.settle()
        client.send(SMUGGLED)
    answer = client.read_all()
    assert answer.count(b"\r\nConnection: close") == 1
    assert answer.count(b"HTTP/1.1 ") == 1
    assert upstream.nobody_came()
    client.close()
    while running.sessions:
        pass


def test_a_request_behind_a_body_that_waits_for_the_upstream_arrives_in_order(scene, upstream):
    """Its first bytes came with the body's last ones, and the others while those waited for room."""
    running = scene.open()
    client = scene.client()
    client.send(b"PUT / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n")
    server = upstream.accept()
    server.read_head()
    size = 0
    while running.unsent < 1000:
        client.send(b"1000\r\n%b\r\n" % (b"x" * 4096))
        size += 4096
        running.settle()
    # One read brings all of it, and makes the upstream's connection full.
    rest = FULL_BYTES - running.unsent + 200
    client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (rest, b"y" * rest) + SMUGGLED[:20])
    running.settle()
    assert running.unsent >= FULL_BYTES
    client.send(SMUGGLED[20:])
    running.settle()
    assert server.read_chunks() == b"x" * size + b"y" * rest
    server.send(OK)
    assert client.read(len(OK)) == OK
    assert server.read_head().startswith(b"GET /smuggled HTTP/1.1\r\n")

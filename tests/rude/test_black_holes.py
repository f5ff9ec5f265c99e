"""Upstreams that swallow what they get, or give next to nothing: an answer in time, in words, and nothing left."""

import pytest

from tests.harness import SWITCHED, UPGRADE, HandTime, http
from tests.rude.scene import GET, OK, PumpTime, fill, nothing_came

ASKS = pytest.mark.parametrize("asks", [GET, UPGRADE], ids=["GET", "upgrade"])
PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])


@ASKS
@pytest.mark.parametrize("said", [b"", b"H", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Le", SWITCHED[:-1]])
def test_an_upstream_that_says_nothing_or_stops_inside_its_head_is_504(scene, upstream, asks, said):
    running = scene.open()
    client = scene.client()
    client.send(asks)
    server = upstream.accept()
    server.read_head()
    server.send(said)
    running.settle()
    scene.over.passes(29.9)
    assert nothing_came(client)
    scene.over.passes(0.2)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"\r\nX-Wsrelay-Reason: upstream-timeout\r\n" in answer
    assert server.was_reset()
    client.close()
    while running.sessions:
        pass


@ASKS
def test_a_head_that_comes_a_byte_at_a_time_has_one_deadline(scene, upstream, asks):
    running = scene.open()
    client = scene.client()
    client.send(asks)
    server = upstream.accept()
    server.read_head()
    scene.drip(server.send, SWITCHED[:29], 1)
    assert nothing_came(client)
    server.send(SWITCHED[29:30])
    running.settle()
    scene.over.passes(1)
    assert client.read_all().startswith(b"HTTP/1.1 504 ")
    assert server.was_reset()


def test_a_101_that_comes_a_byte_at_a_time_in_time_opens_the_tunnel(scene, upstream):
    """And what comes behind it byte by byte is the tunnel's."""
    scene.open()
    client = scene.client()
    client.send(UPGRADE + b"early")
    server = upstream.accept()
    server.read_head()
    scene.drip(server.send, SWITCHED, 29 / len(SWITCHED))
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert server.read(5) == b"early"
    scene.over.passes(60)
    scene.drip(server.send, b"slowly", 60)
    assert client.read(6) == b"slowly"


@ASKS
def test_interim_answers_buy_no_time(scene, upstream, asks):
    running = scene.open()
    client = scene.client()
    client.send(asks)
    server = upstream.accept()
    server.read_head()
    for _ in range(14):
        server.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        running.settle()
        scene.over.passes(2)
    assert running.sessions == 1
    scene.over.passes(2)
    answers = client.read_all()
    assert answers.count(b"HTTP/1.1 102 ") == 14
    assert b"HTTP/1.1 504 " in answers


@pytest.mark.parametrize("framing", [b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b""])
@pytest.mark.parametrize("declined", [False, True], ids=["answer", "declined upgrade"])
def test_half_a_body_and_then_nothing_is_cut_off_after_tunnel_idle(scene, upstream, framing, declined):
    """A body may stream for hours; its silence is measured as a tunnel's."""
    running = scene.open()
    client = scene.client()
    client.send(UPGRADE if declined else GET)
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 403 No\r\n" + framing + b"\r\n" + (b"4\r\nhalf\r\n" if b"chunked" in framing else b"half"))
    client.read_until(b"half")
    scene.over.passes(3599)
    assert running.sessions == 1
    scene.over.passes(1)
    assert client.was_reset()
    assert server.was_reset()
    assert running.line(event="exchange")["detail"] == "upstream stalled"


@ASKS
def test_connects_that_nobody_answers_take_no_longer_than_each_server_may(relay, full, asks):
    over = HandTime()
    text = http(full).replace(f'"{full.address}"', f'"{full.address}", "{full.address}", "{full.address}"')
    running = relay(text, over)
    client = running.connect()
    client.send(asks)
    running.settle()
    for _ in range(3):
        assert nothing_came(client)
        over.passes(5)
        running.settle()
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"\r\nX-Wsrelay-Reason: upstream-connect-timeout\r\n" in answer
    assert running.line(event="exchange")["detail"].count(full.address) == 3


@ASKS
@pytest.mark.parametrize("then", ["finish", "reset"])
def test_an_upstream_that_accepts_and_hangs_up_at_once_is_502(scene, upstream, asks, then):
    running = scene.open()
    client = scene.client()
    client.send(asks)
    getattr(upstream.accept(), then)()
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    reason = running.line(event="exchange")["reason"]
    assert b"\r\nX-Wsrelay-Reason: %b\r\n" % reason.encode() in answer
    # A reset may be there before the relay has seen that it is connected.
    assert reason == "upstream-closed" or (then, reason) == ("reset", "upstream-refused")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"]
)
def test_an_answer_before_the_upload_ends_is_the_answer_and_the_end(scene, upstream, framing):
    """It does not wait for the rest; what the client still sends is thrown away, bounded in time, and is no request."""
    running = scene.open()
    client = scene.client()
    client.send(b"PUT / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 999999\r\n\r\nsome")
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 413 Too much\r\n" + framing)
    head = client.read_head()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in head
    client.read_until(b"ok")
    client.send(b"x" * 99_999 + GET)
    running.settle()
    assert server.was_reset()
    assert upstream.nobody_came()
    assert running.sessions == 1
    scene.over.passes(30)
    assert running.sessions == 0


def test_an_answer_before_the_request_is_upstream_is_still_the_answer_to_it(scene, upstream):
    """An upstream that talks first is taken at its word, once: nothing of it is left for a second request."""
    scene.open()
    client = scene.client()
    client.send(GET)
    server = upstream.accept()
    server.send(OK + OK)
    assert client.read(len(OK)) == OK
    client.send(GET)
    fresh = upstream.accept()
    fresh.read_head()
    assert nothing_came(client)
    fresh.send(OK)
    assert client.read(len(OK)) == OK


@PUMPS
def test_an_upstream_that_reads_nothing_of_a_tunnel_is_given_up(scene, upstream, pump):
    running = scene.open(more=f'pump = "{pump}"\n')
    time = PumpTime(scene)
    time.hold()
    client = scene.client()
    client.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    client.read_head()
    running.line(event="open")
    time.stuff(client)
    time.passes(30)
    assert running.sessions == 1
    for _ in range(9):
        time.passes(30)
    assert running.line(event="close")["outcome"] == "upstream-stalled"
    assert client.was_reset()
    assert running.sessions == 0


@pytest.mark.parametrize("layer", [4, 7])
def test_a_black_hole_in_a_group_does_not_keep_the_next_client_waiting(relay, upstream, full, layer):
    """The servers are taken in turn, so one client waits and the other does not."""
    over = HandTime()
    text = http(full).replace(f'"{full.address}"', f'"{full.address}", "{upstream.address}"')
    if layer == 4:
        text = text.partition("[[route]]")[0].replace(':0"', ':0"\nmode = "tcp"\nupstream = "app"', 1)
    running = relay(text, over)
    waiting, other = running.connect(), running.connect()
    waiting.send(GET)
    running.settle()
    other.send(GET)
    server = upstream.accept()
    assert server.read_head().startswith(b"GET / ")
    server.send(OK)
    assert other.read(len(OK)) == OK
    over.passes(5)
    second = upstream.accept()
    assert second.read_head().startswith(b"GET / ")
    second.send(OK)
    assert waiting.read(len(OK)) == OK


@ASKS
def test_what_a_client_sends_while_its_upstream_is_being_looked_for_is_bounded(relay, full, asks):
    over = HandTime()
    running = relay(http(full), over)
    client = running.connect()
    client.send(asks)
    fill(client)
    assert running.buffered <= 2 * 64 * 1024
    over.passes(5)
    assert b"\r\nX-Wsrelay-Reason: upstream-connect-timeout\r\n" in client.ending()

"""Request bodies that stop coming, at every place where a body can stop: 408, and never a request that looks whole."""

import pytest

from tests.rude.scene import CARRIERS, OK, PLAIN, fill, nothing_came, until_reset

LENGTH = b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 9\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTS = LENGTH[:-2] + b"Expect: 100-continue\r\n\r\n"

STOPS = {
    "behind the head": LENGTH,
    "inside a length": LENGTH + b"half",
    "before any chunk": CHUNKED,
    "inside a chunk's size": CHUNKED + b"1",
    "inside a chunk's extension": CHUNKED + b"4;name=va",
    "before a chunk's first byte": CHUNKED + b"4\r\n",
    "inside a chunk": CHUNKED + b"4\r\nha",
    "inside a chunk's line end": CHUNKED + b"4\r\nhalf\r",
    "between chunks": CHUNKED + b"4\r\nhalf\r\n",
    "inside the last chunk": CHUNKED + b"4\r\nhalf\r\n0\r\n",
    "inside a trailer": CHUNKED + b"4\r\nhalf\r\n0\r\nX-Sum: ",
}


@pytest.mark.parametrize("kept", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("stop", STOPS)
def test_a_body_that_stops_anywhere_is_408_and_never_looks_whole(scene, upstream, carrier, stop, kept):
    running = scene.open(carrier)
    client = scene.client(carrier)
    server = scene.served(client) if kept else None
    client.send(STOPS[stop])
    server = server or upstream.accept()
    server.read_head()
    running.settle()
    scene.over.passes(59.9)
    assert nothing_came(client)
    scene.over.passes(0.2)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nX-Wsrelay-Reason: body-timeout\r\n" in answer
    assert b"0\r\n" not in until_reset(server)
    assert running.line(reason="body-timeout")["status"] == 408


@pytest.mark.parametrize(
    ("head", "body"),
    [(LENGTH, b"123456789"), (CHUNKED, b"9\r\n123456789\r\n0\r\nX-Sum: 1\r\n\r\n")],
    ids=["length", "chunked"],
)
def test_a_body_may_be_slow_as_long_as_some_of_it_comes(scene, upstream, head, body):
    """The limit is one of standing still: uploads over bad networks take their time."""
    running = scene.open()
    client = scene.client()
    client.send(head)
    server = upstream.accept()
    server.read_head()
    scene.drip(client.send, body[:-1], 59)
    client.send(body[-1:])
    assert running.sessions == 1
    server.send(OK)
    assert client.read(len(OK)) == OK
    assert running.line(event="exchange")["request_bytes"] == 9


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["not yet", "allowed"])
def test_a_body_that_was_expected_and_never_comes_is_408(scene, upstream, said):
    scene.open()
    client = scene.client()
    client.send(EXPECTS)
    server = upstream.accept()
    assert server.read_head().endswith(b"\r\nExpect: 100-continue\r\n\r\n")
    server.send(said)
    if said:
        assert client.read_head() == said
    scene.running.settle()
    scene.over.passes(60)
    assert client.read_all().startswith(b"HTTP/1.1 408 ")
    assert server.was_reset()


@pytest.mark.parametrize("framing", [b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_body_that_stops_under_an_answer_that_has_begun_cuts_that_answer_off(scene, upstream, framing):
    """There is no place left for a 408, and an orderly end might pass for the end of the answer."""
    running = scene.open()
    client = scene.client()
    client.send(LENGTH + b"half")
    server = upstream.accept()
    server.read_head()
    server.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + (b"4\r\nhalf\r\n" if b"chunked" in framing else b"half"))
    client.read_until(b"half")
    running.settle()
    scene.over.passes(60)
    assert client.was_reset()
    assert server.was_reset()
    line = running.line(event="exchange")
    assert (line["status"], line["reason"]) == (200, "body-timeout")


def test_the_next_request_behind_a_slow_body_is_not_lost(scene, upstream):
    scene.open()
    client = scene.client()
    scene.drip(client.send, LENGTH + b"12345678", 0.1)
    client.send(b"9" + LENGTH + b"abcdefghi")
    server = upstream.accept()
    for body in (b"123456789", b"abcdefghi"):
        assert server.read_head().startswith(b"POST / HTTP/1.1\r\n")
        assert server.read(9) == body
        server.send(OK)
        assert client.read(len(OK)) == OK


@pytest.mark.parametrize("carrier", CARRIERS)
def test_an_upstream_that_reads_nothing_of_an_upload_is_given_up(scene, upstream, carrier):
    """Not the client's fault: 504, however long the client would go on."""
    running = scene.open(carrier)
    client = scene.client(carrier)
    client.send(LENGTH.replace(b": 9", b": 99999999"))
    upstream.accept()
    fill(client)
    for _ in range(2):
        scene.over.passes(60)
    answer = client.ending() if carrier == PLAIN else b""
    assert carrier != PLAIN or b"\r\nX-Wsrelay-Reason: upstream-timeout\r\n" in answer
    line = running.line(event="exchange")
    assert (line["status"], line["reason"]) == (504, "upstream-timeout")
    client.close()
    while running.sessions:
        pass

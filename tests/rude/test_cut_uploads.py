"""Uploads that break off, or break their framing, while the answer is on its way: both connections are over."""

import termios

import pytest

from tests.harness import Relay, Wire
from tests.rude.scene import GET, OK, Scene, waiting
from wsrelay.net.legs import FULL_BYTES

POST = b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
SMUGGLED = GET.replace(b"GET /", b"GET /smuggled")
HINT = b"HTTP/1.1 103 Hints\r\nX-Fill: " + b"x" * 900_000 + b"\r\n\r\n"


def answering(scene: Scene) -> tuple[Relay, Wire, Wire]:
    """A whole answer waits in the relay, behind interim ones that the client does not read; half of the body is up."""
    running = scene.open(more='[limits]\nhead_bytes = "1MiB"\n')
    client = scene.client()
    client.send(POST)
    server = scene.upstream.accept()
    server.read_head()
    assert server.read(9) == b"4\r\nhalf\r\n"
    # Less than this, and the next head would not wait.
    while running.unsent < FULL_BYTES:
        server.send(HINT)
        while waiting(server.socket, termios.TIOCOUTQ) and running.unsent < FULL_BYTES:
            running.settle()
    server.send(OK)
    running.settle()
    return running, client, server


@pytest.mark.parametrize("broken", [b"zz\r\n", b"4\r\nhalf, and more\r\n"])
def test_what_follows_a_broken_body_is_no_request_even_if_the_answer_was_there_already(scene, upstream, broken):
    """The client's slowness puts the answer's turn behind the discovery that its body is broken."""
    running, client, server = answering(scene)
    client.send(broken)
    running.settle()
    client.send(SMUGGLED)
    while b"\r\nX-Fill: " in (head := client.read_head()):
        pass
    assert head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    assert b"\r\nConnection: close\r\n" in head
    assert b"/smuggled" not in server.ending()
    assert upstream.nobody_came()


def test_a_client_that_ends_inside_its_body_gets_no_promise_of_more(scene):
    running, client, server = answering(scene)
    client.finish()
    running.settle()
    answers = client.ending()
    assert b"200 OK" not in answers or b"\r\nConnection: close\r\n" in answers
    assert server.was_reset(), "a request that was cut ends in order"


@pytest.mark.parametrize("how", ["ends", "breaks"])
def test_an_upload_that_is_cut_under_an_answer_that_is_complete_is_reset_for_the_upstream(scene, upstream, how):
    """The client reads slowly, so the answer's last bytes are held when its body is cut. The request never is whole."""
    running = scene.open()
    client = scene.client()
    client.send(POST)
    server = upstream.accept()
    server.read_head()
    assert server.read(9) == b"4\r\nhalf\r\n"
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while running.unsent < FULL_BYTES:
        server.send(b"1000\r\n%b\r\n" % (b"x" * 4096))
        running.settle()
    server.send(b"0\r\n\r\n")
    running.settle()
    if how == "ends":
        client.finish()
    else:
        client.send(b"zz\r\n")
    running.settle()
    client.read_head()
    client.read_chunks()
    client.ending()
    assert server.was_reset(), "a request that was cut ends in order"

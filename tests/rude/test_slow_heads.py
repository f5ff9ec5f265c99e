"""Heads that come a byte at a time: one deadline for the whole head, of whichever request, and whatever carries it."""

import pytest

from tests.rude.scene import CARRIERS, GET, HERE, OK, TLS_1_2, TLS_1_3, nothing_came

CARRIED = pytest.mark.parametrize("carrier", CARRIERS)


@CARRIED
@pytest.mark.parametrize("before", ["nothing", "an exchange", "an answer of ours"])
def test_a_head_has_one_deadline_however_often_a_byte_comes(scene, upstream, carrier, before):
    running = scene.open(carrier)
    client = scene.client(carrier)
    server = None
    if before == "an exchange":
        server = scene.served(client)
    elif before == "an answer of ours":
        client.send(HERE)
        client.read_until(b"here")
    running.settle()
    scene.drip(client.send, GET[:18], 0.5)
    scene.over.passes(0.9)
    assert nothing_came(client)
    scene.over.passes(0.2)
    answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nX-Wsrelay-Reason: head-timeout\r\n" in answer
    assert b"\r\nConnection: close\r\n" in answer
    assert running.line(reason="head-timeout")["status"] == 408
    client.close()
    assert server is None or server.read_all() == b"", "the upstream has done nothing wrong"
    assert upstream.nobody_came()


@CARRIED
def test_a_slow_head_that_is_complete_in_time_is_served(scene, upstream, carrier):
    scene.open(carrier)
    client = scene.client(carrier)
    scene.drip(client.send, GET, 9.9 / len(GET))
    server = upstream.accept()
    assert server.read_head().startswith(b"GET / HTTP/1.1\r\n")
    # The time of the head is over with the head.
    scene.over.passes(20)
    server.send(OK)
    assert client.read(len(OK)) == OK


@CARRIED
def test_a_head_whose_beginning_came_with_the_request_before_it_has_its_own_time(scene, upstream, carrier):
    running = scene.open(carrier)
    client = scene.client(carrier)
    client.send(GET + GET[:9])
    server = upstream.accept()
    server.read_head()
    scene.over.passes(29)
    server.send(OK)
    assert client.read(len(OK)) == OK
    running.settle()
    scene.over.passes(9.9)
    assert nothing_came(client)
    scene.over.passes(0.2)
    assert client.read_all().startswith(b"HTTP/1.1 408 ")


@CARRIED
def test_an_empty_line_before_the_request_buys_no_time(scene, carrier):
    """RFC 9112 2.2 has it ignored; a client that says nothing else has said nothing, and is let go in silence."""
    running = scene.open(carrier)
    client = scene.client(carrier)
    scene.over.passes(9)
    client.send(b"\r\n")
    running.settle()
    scene.over.passes(1.1)
    assert client.read_all() == b""
    assert running.sessions == 0


@pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize(("before", "limit"), [(b"", 10), (HERE, 75)], ids=["first", "second"])
def test_bytes_of_a_record_that_is_never_complete_buy_no_time(scene, carrier, before, limit):
    """Something comes all the time, and nothing of it can be decrypted: for HTTP the client is silent."""
    running = scene.open(carrier)
    client = scene.secured_by_hand(carrier)
    if before:
        client.wire.send(client.seal(before))
        client.read_until(b"here")
    record = client.seal(GET)
    scene.drip(client.wire.send, record[:9], limit / 10)
    assert running.sessions == 1
    scene.over.passes(limit / 10)
    assert client.read_all() == b"", "no close_notify"
    client.wire.ending()
    assert running.sessions == 0


@pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
def test_a_record_cut_at_every_byte_is_one_head(scene, upstream, carrier):
    scene.open(carrier)
    client = scene.secured_by_hand(carrier)
    scene.drip(client.wire.send, client.seal(GET), 0.09)
    server = upstream.accept()
    server.read_head()
    server.send(OK)
    assert client.read_until(b"ok") == OK

"""Waits and events that the matrix of the net room has not: later requests, slow readers, ends that come in two.

Judged as there: what the log says, what either end sees, and that nothing is left.
"""

import os
from collections.abc import Callable

import pytest

from tests.harness import SWITCHED, UPGRADE, http
from tests.net import test_session_matrix as matrix
from tests.net.test_session_matrix import (
    CLIENT_ENDS,
    CLIENT_RESETS,
    GET,
    HALF,
    MUCH,
    OK,
    PUT,
    STOP,
    UPSTREAM_ENDS,
    UPSTREAM_RESETS,
    WINDOW,
    World,
    exchange,
    failed,
)

Wait = Callable[[World], None]
EXPECTS = PUT[:-2] + b"Expect: 100-continue\r\n\r\n"
BIG = '[[route]]\npath = "/big"\nrespond = { body = "%s" }\n' % ("x" * 60_000)
HINT = b"HTTP/1.1 103 Hints\r\nX-Fill: " + b"x" * 900_000 + b"\r\n\r\n"
WIDE = WINDOW + '[limits]\nhead_bytes = "1MiB"\n'


def then(wait: Wait, how: str) -> Wait:
    """The wait, at which something has happened that does not end it."""

    def both(world: World) -> None:
        wait(world)
        matrix.happen(world, how)
        world.running.settle()

    both.__name__ = f"{wait.__name__}, {how}"
    return both


def second_head(world: World) -> None:
    matrix.next_head(world)
    world.client.send(GET[:9])
    world.running.settle()


def own_answers(world: World) -> None:
    """Whoever reads no answers gets no more: the wait for room between two requests."""
    world.connect(http(world.upstream, WINDOW, BIG), b"")
    request = GET.replace(b"/ ", b"/big ")
    while not world.running.unsent:
        world.client.send(request)
        world.running.settle()
    world.client.send(request * 9)
    world.running.settle()


def expected_body(world: World) -> None:
    server = world.ask(EXPECTS)
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    world.client.read_head()


def early_answer(world: World) -> None:
    """Both directions are under way."""
    server = world.ask(PUT + b"part")
    assert server.read(4) == b"part"
    server.send(HALF)
    world.client.read_until(b"half")


def early_answer_complete(world: World) -> None:
    server = world.ask(PUT + b"part")
    assert server.read(4) == b"part"
    server.send(OK)
    world.client.read_until(b"ok")


def interim(world: World) -> None:
    server = world.ask(GET)
    server.send(HINT[:30] + b"\r\n\r\n")
    world.client.read_head()


def room_for_interim(world: World) -> None:
    world.connect(http(world.upstream, WIDE), GET)
    server = world.server = world.upstream.accept()
    server.read_head()
    while not world.running.unsent:
        server.send_until_full(HINT)


def room_for_declined(world: World) -> None:
    server = world.ask(UPGRADE)
    server.send(HALF.replace(b"200", b"403"))
    server.send_until_full(MUCH)


def early_frames(world: World) -> None:
    """So many that the client's connection is paused: what happens to it is not seen."""
    world.ask(UPGRADE)
    world.client.send_until_full(MUCH)


def half_a_switch(world: World) -> None:
    server = world.ask(UPGRADE)
    server.send(SWITCHED[:-9])
    world.running.settle()


def half_an_answer_to_an_upgrade(world: World) -> None:
    server = world.ask(UPGRADE)
    server.send(b"HTTP/1.1 403 N")
    world.running.settle()


def kept_answer(world: World) -> None:
    """The second request of a client, on the same connection of its upstream."""
    matrix.next_head(world)
    world.client.send(b"POST" + GET[3:])
    assert world.server is not None
    world.server.read_head()


def refusal_unread(world: World) -> None:
    own_answers(world)
    world.client.send(b"BAD\r\n\r\n")
    world.running.settle()


served = exchange(200)
body, head, answer, switch = matrix.body, matrix.head, matrix.answer, matrix.switch
late_body = exchange(408, "body-timeout")
closed, silent = exchange(502, "upstream-closed"), exchange(504, "upstream-timeout")

ROWS = [
    (then(matrix.connect, CLIENT_ENDS), (5,), exchange(504, "upstream-connect-timeout"), "504", None),
    (then(matrix.name, CLIENT_ENDS), (5,), exchange(502, "upstream-name"), "502", None),
    (then(matrix.connect_layer4, CLIENT_ENDS), (5,), failed("upstream-unreached", "upstream-connect-timeout"),
     "reset", None),
    (then(answer, CLIENT_ENDS), (30,), silent, "504", "reset"),
    # Once it has ended, nobody listens to it: what it does then is found when something is sent to it.
    (then(then(answer, CLIENT_ENDS), CLIENT_RESETS), (30,), silent, "-", "reset"),
    (then(answer, CLIENT_ENDS), UPSTREAM_ENDS, closed, "502", "reset"),
    (then(answer, CLIENT_ENDS), STOP, exchange(0), "reset", "reset"),
    (then(matrix.answers_body, CLIENT_ENDS), (30, 30), served, "reset", "reset"),
    (then(matrix.answers_body, CLIENT_ENDS), UPSTREAM_ENDS, served, "reset", "reset"),
    (then(matrix.declined_body, CLIENT_ENDS), (30, 30), exchange(403), "reset", "reset"),
    (then(matrix.declined_body, CLIENT_ENDS), UPSTREAM_RESETS, exchange(403), "reset", "-"),
    (then(matrix.room_for_client, CLIENT_ENDS), (60, 60), served, "reset", "reset"),
    (then(matrix.room_for_client, UPSTREAM_ENDS), (60, 60), served, "reset", "reset"),
    (then(matrix.room_for_client, UPSTREAM_RESETS), (60, 60), served, "reset", "-"),
    (then(matrix.room_upstream, CLIENT_RESETS), (60, 60), silent, "-", "reset"),
    (then(matrix.room_upstream, CLIENT_ENDS), (60, 60), silent, "504", "reset"),
    (second_head, CLIENT_RESETS, failed("client-left"), "-", "end"),
    (second_head, CLIENT_ENDS, failed("client-left"), "reset", "end"),
    (second_head, (10,), exchange(408, "head-timeout"), "408", "end"),
    (second_head, STOP, failed("drained"), "reset", "end"),
    (own_answers, CLIENT_RESETS, None, "-", None),
    (own_answers, (60, 60), None, "reset", None),
    (own_answers, STOP, None, "reset", None),
    (refusal_unread, CLIENT_RESETS, None, "-", None),
    (refusal_unread, (60, 60, 60, 60), None, "reset", None),
    (expected_body, CLIENT_RESETS, exchange(0), "-", "reset"),
    (expected_body, CLIENT_ENDS, exchange(0), "reset", "reset"),
    (expected_body, UPSTREAM_RESETS, closed, "502", "-"),
    (expected_body, UPSTREAM_ENDS, closed, "502", "reset"),
    (expected_body, (60,), late_body, "408", "reset"),
    (expected_body, STOP, exchange(0), "reset", "reset"),
    (early_answer, CLIENT_RESETS, served, "-", "reset"),
    (early_answer, CLIENT_ENDS, served, "reset", "reset"),
    (early_answer, UPSTREAM_RESETS, served, "reset", "-"),
    (early_answer, UPSTREAM_ENDS, served, "reset", "reset"),
    (early_answer, (60,), exchange(200, "body-timeout"), "reset", "reset"),
    (early_answer, STOP, served, "reset", "reset"),
    (early_answer_complete, CLIENT_RESETS, served, "-", "reset"),
    (early_answer_complete, CLIENT_ENDS, served, "end", "reset"),
    (early_answer_complete, (30,), served, "end", "reset"),
    (early_answer_complete, STOP, served, "end", "reset"),
    (interim, CLIENT_RESETS, exchange(0), "-", "reset"),
    (interim, UPSTREAM_RESETS, closed, "502", "-"),
    (interim, UPSTREAM_ENDS, closed, "502", "reset"),
    (interim, (30,), silent, "504", "reset"),
    (then(interim, CLIENT_ENDS), (30,), silent, "504", "reset"),
    (interim, STOP, exchange(0), "reset", "reset"),
    (room_for_interim, CLIENT_RESETS, exchange(0), "-", "reset"),
    (room_for_interim, (60, 60), exchange(0), "reset", "reset"),
    (room_for_interim, STOP, exchange(0), "reset", "reset"),
    (room_for_declined, CLIENT_RESETS, exchange(403), "-", "reset"),
    (room_for_declined, (60, 60), exchange(403), "reset", "reset"),
    (room_for_declined, STOP, exchange(403), "reset", "reset"),
    (early_frames, UPSTREAM_RESETS, closed, "502", "-"),
    (early_frames, (30,), silent, "504", "reset"),
    (early_frames, STOP, exchange(0), "reset", "reset"),
    (then(early_frames, CLIENT_RESETS), (30,), silent, "-", "reset"),
    (then(early_frames, CLIENT_ENDS), (30,), silent, "504", "reset"),
    (half_a_switch, CLIENT_RESETS, exchange(0), "-", "reset"),
    (half_a_switch, CLIENT_ENDS, exchange(0), "reset", "reset"),
    (half_a_switch, UPSTREAM_RESETS, closed, "502", "-"),
    (half_a_switch, UPSTREAM_ENDS, closed, "502", "reset"),
    (half_a_switch, (30,), silent, "504", "reset"),
    (half_a_switch, STOP, exchange(0), "reset", "reset"),
    (half_an_answer_to_an_upgrade, CLIENT_RESETS, exchange(0), "-", "reset"),
    (half_an_answer_to_an_upgrade, UPSTREAM_ENDS, closed, "502", "reset"),
    (half_an_answer_to_an_upgrade, (30,), silent, "504", "reset"),
    (kept_answer, CLIENT_RESETS, exchange(0), "-", "reset"),
    (kept_answer, UPSTREAM_RESETS, closed, "502", "-"),
    (kept_answer, UPSTREAM_ENDS, closed, "502", "reset"),
    (kept_answer, (30,), silent, "504", "reset"),
    (then(kept_answer, CLIENT_ENDS), (30,), silent, "504", "reset"),
    (kept_answer, STOP, exchange(0), "reset", "reset"),
]  # fmt: skip


def name_of(value: object) -> str | None:
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize(("wait", "event", "line", "client", "server"), ROWS, ids=name_of)
def test_whatever_happens_at_these_waits_ends_the_session_and_leaves_nothing(world, wait, event, line, client, server):
    descriptors = len(os.listdir("/proc/self/fd"))
    wait(world)
    assert world.running.sessions == 1
    matrix.happen(world, event)
    if client != "-":
        assert matrix.seen(world.client) == client
    world.client.close()
    if server not in ("-", None):
        assert world.server is not None
        assert matrix.seen(world.server) == server
    while world.running.sessions:
        pass
    world.running.stop()
    # What was answered before that wait has lines of its own; where no line is expected, nothing more had begun.
    told = world.running.lines()
    if line is not None:
        last = told.pop()
        assert {key: last[key] for key in line} == line
    assert all((one["event"], one["status"]) == ("exchange", 200) for one in told)
    assert world.over.timers == 0
    if world.server is not None:
        world.server.close()
    world.running.dispose()
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1

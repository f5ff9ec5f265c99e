"""Looking at a connection's first bytes (`peek`): what is seen, how few looks it takes, and that nothing is taken.

How it ends otherwise is in test_peek_ends.py. The time of the reactor is the test's own in both.
"""

import socket
from collections.abc import Iterator

import pytest
from twisted.internet import reactor

from tests.contracts.peers import a_turn, tcp_pair, unix_pair
from tests.harness import HandTime, in_reactor
from tests.net.looks import LAST_LOOKS_SECONDS, NEXT_LOOK_SECONDS, WHOLE, Begin, Pair, looks, needs
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net.peek import Peek

KINDS = pytest.mark.parametrize("pair", [tcp_pair, unix_pair], ids=["tcp", "unix"])


@pytest.fixture
def begin() -> Iterator[Begin]:
    with looks() as start:
        yield start


# What is seen.


@KINDS
def test_what_is_there_already_is_seen_at_once_and_stays_there(begin: Begin, pair: Pair) -> None:
    look = begin(first=WHOLE + b"behind it", pair=pair)
    assert look.peek.done.called, "a turn of the reactor for what was there"
    assert (look.result(), look.peek.heard, look.looks) == ("seen 600", True, [609])
    assert look.unread() == WHOLE + b"behind it"


@KINDS
def test_what_comes_later_is_waited_for_and_stays_there(begin: Begin, pair: Pair) -> None:
    look = begin(pair=pair)
    assert not look.is_done
    assert not look.peek.heard
    look.far.sendall(WHOLE)
    assert (look.result(), look.peek.heard, look.looks) == ("seen 600", True, [600])
    assert look.unread() == WHOLE


def test_of_bytes_that_come_one_by_one_only_those_that_matter_wake_anybody(begin: Begin) -> None:
    """With each byte a look, a client would buy a millisecond of ours for each byte of a ClientHello."""
    steps = [1, 5, 48, 600]
    look = begin(needs(*steps))
    for byte in WHOLE:
        look.far.send(bytes([byte]))
        a_turn()
    assert look.result() == "seen 600"
    # The kernel may be late; it is never early.
    assert all(there >= step for there, step in zip(look.looks, steps, strict=True)), look.looks
    assert look.unread() == WHOLE


@pytest.mark.parametrize("there", [1, 47, 599])
def test_too_few_bytes_wake_nobody_as_long_as_they_lie_there(begin: Begin, there: int) -> None:
    """They stay readable for who asks for one byte at least, and epoll would tell of them in every turn."""
    look = begin(needs(48, 600), first=WHOLE[:there])
    a_turn()
    before = len(look.looks)
    events = in_reactor(lambda: [number for number, _ in reactor._poller.poll(0)])  # type: ignore[attr-defined]  # no public name tells it
    assert look.ours.fileno() not in events
    for _ in range(20):
        a_turn()
    assert len(look.looks) == before <= 2
    look.far.sendall(WHOLE[there:])
    assert look.result() == "seen 600"


def test_nobody_is_shown_more_than_the_most_that_is_needed(begin: Begin) -> None:
    look = begin(needs(600), first=WHOLE + bytes(50_000), most=700)
    assert (look.result(), look.looks) == ("seen 600", [700])
    assert len(look.unread()) == 50_600


@pytest.mark.parametrize("there", [0, 100])
@KINDS
def test_a_refusal_is_the_end_and_takes_nothing(begin: Begin, pair: Pair, there: int) -> None:
    refusal = Refusal(Reason.CLIENT_HELLO, "no such thing")

    def read(data: bytes) -> int:
        if len(data) < len(WHOLE):
            return len(WHOLE)
        raise refusal

    look = begin(read, first=WHOLE[:there], pair=pair)
    look.far.sendall(WHOLE[there:])
    a_turn()
    look.over.passes(NEXT_LOOK_SECONDS)
    assert look.result() is refusal
    assert look.unread() == WHOLE


# A kernel that cannot wait for as many bytes as are needed.


def test_on_a_unix_socket_the_next_look_is_after_10_ms_and_nobody_turns_meanwhile(begin: Begin) -> None:
    look = begin(first=WHOLE[:1], pair=unix_pair)
    for sent in range(1, 5):
        look.far.send(WHOLE[sent : sent + 1])
        a_turn()
        before = list(look.looks)
        assert not look.watches, "readable bytes that nobody takes make the reactor spin"
        look.over.passes(NEXT_LOOK_SECONDS * 0.9)
        assert (look.looks, look.over.timers) == (before, 1)
        look.over.passes(NEXT_LOOK_SECONDS * 0.2)
        assert look.looks == [*before, sent + 1]
    look.far.sendall(WHOLE[5:])
    look.over.passes(NEXT_LOOK_SECONDS)
    assert look.result() == "seen 600"
    assert look.unread() == WHOLE


def test_on_a_unix_socket_it_costs_no_more_however_the_need_grows(begin: Begin) -> None:
    look = begin(lambda data: len(data) + 1 if len(data) < 50 else "seen", pair=unix_pair)
    for byte in WHOLE[:50]:
        look.far.send(bytes([byte]))
        a_turn()
        look.over.passes(NEXT_LOOK_SECONDS)
    look.over.passes(LAST_LOOKS_SECONDS)  # one of the looks may have seen nothing new, and the next one waits longer
    assert look.result() == "seen"
    assert len(look.looks) <= 2 * 50


def test_a_tcp_buffer_too_small_for_the_need_is_looked_at_like_a_unix_socket(begin: Begin) -> None:
    """tcp(7): Linux waits for no more than half of the buffer."""

    def small() -> tuple[socket.socket, socket.socket]:
        ours, far = tcp_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return ours, far

    need = 4800
    look = begin(needs(need), pair=small, most=16 * 1024)
    look.far.sendall(bytes(need - 1))
    a_turn()
    for _ in range(20):
        a_turn()
    assert len(look.looks) <= 2, "the reactor spins"
    look.far.sendall(b"x")
    look.over.passes(NEXT_LOOK_SECONDS)
    assert look.result() == f"seen {need}"


def test_a_socket_that_is_closed_has_no_number(begin: Begin) -> None:
    ours, far = tcp_pair()
    far.sendall(WHOLE)
    peek = in_reactor(Peek, HandTime(), ours, needs(600), 4096)
    ours.close()
    far.close()
    assert (peek.fileno(), peek.logPrefix()) == (-1, "peek")

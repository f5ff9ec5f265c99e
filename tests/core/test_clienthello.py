import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.hellos import (
    ALPN,
    ECH,
    GREASE,
    LONG_SHARE,
    SERVER_NAME,
    TICKET,
    Writer,
    looks,
    message,
    read,
    records,
    refused,
)
from wsrelay.core import clienthello
from wsrelay.core.clienthello import MOST_BYTES, ClientHello

NAME = b"www.example.com"
WHOLE = message(NAME, [b"h2", b"http/1.1"], [*GREASE, LONG_SHARE])
MEANT = ClientHello("www.example.com", (b"h2", b"http/1.1"))
FOUND = Writer()
LONGEST_BODY = MOST_BYTES - 5 - 4


def test_a_hello_is_read_however_much_of_it_has_come():
    assert read(records(WHOLE)) == MEANT


def test_the_first_byte_is_waited_for_alone_and_then_the_shortest_hello():
    """Something else than TLS may be shorter than that, and must not be waited for in vain."""
    shortest = records(FOUND.message(FOUND.body(None, suites=b"\x13\1")))
    assert [have for have, _ in looks(shortest)] == [0, 1, len(shortest)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (message(), ClientHello("", ())),
        (message(b"A.Example.COM"), ClientHello("a.example.com", ())),
        (message(b"a.example."), ClientHello("a.example", ())),
        (message(b"_a-1.x"), ClientHello("_a-1.x", ())),
        (message(b"localhost"), ClientHello("localhost", ())),
        (message(b"-"), ClientHello("-", ())),
        (message(b"192.0.2.1"), ClientHello("192.0.2.1", ())),
        (message(b"2001:DB8::1"), ClientHello("2001:db8::1", ())),
        (message(b"::ffff:192.0.2.1"), ClientHello("::ffff:192.0.2.1", ())),
        (message(b"a" * 255), ClientHello("a" * 255, ())),
        (message(None, [b"\0", b"h2", b"h2", b"x" * 255]), ClientHello("", (b"\0", b"h2", b"h2", b"x" * 255))),
        (message(NAME, (), [(ECH, b"\0" * 300), (TICKET, b"")]), ClientHello("www.example.com", ())),
        (FOUND.message(FOUND.body(None)), ClientHello("", ())),
        (FOUND.message(FOUND.body(None, version=b"\3\0", suites=b"\0\x0a")), ClientHello("", ())),
        (FOUND.message(FOUND.body([FOUND.name(b"a")], session=b"s" * 32, compression=b"\1\0")), ClientHello("a", ())),
        (message(None, (), [(kind, b"") for kind in range(1000, 1128)]), ClientHello("", ())),
        (message(None, [b"a"] * 128), ClientHello("", (b"a",) * 128)),
    ],
)
def test_what_a_client_may_ask_for(written, meant):
    assert read(records(written)) == meant


@pytest.mark.parametrize("version", [b"\3\0", b"\3\1", b"\3\3", b"\3\xff"])
def test_the_record_may_be_of_any_version_of_tls(version):
    """In nginx before 393636d79, a record of 3.0 was no TLS."""
    assert read(FOUND.record(message(NAME), version=version)).server_name == NAME.decode()


@pytest.mark.parametrize("cut", range(1, len(message(NAME, [b"h2"]))))
def test_a_hello_in_two_records_says_the_same(cut):
    assert read(records(message(NAME, [b"h2"]), [cut])) == ClientHello(NAME.decode(), (b"h2",))


@given(st.lists(st.integers(1, 400), max_size=100))
def test_a_hello_in_any_records_says_the_same(sizes):
    *_, (_, hello) = looks(records(WHOLE, sizes))
    assert hello == MEANT


LABEL = st.from_regex(rb"[A-Za-z0-9_-]{1,12}", fullmatch=True)
OTHERS = st.dictionaries(st.integers(0, 65535).filter(lambda kind: kind not in (SERVER_NAME, ALPN)), st.binary())


@given(
    labels=st.lists(LABEL, max_size=8),
    root=st.sampled_from([b"", b"."]),
    protocols=st.lists(st.binary(min_size=1, max_size=20), max_size=9),
    others=OTHERS,
    order=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(1, 90), max_size=20),
)
def test_what_is_written_is_what_is_read(labels, root, protocols, others, order, sizes):
    name = b".".join(labels)
    extensions = [*others.items(), *([FOUND.name(name + root)] if name else [])]
    extensions += [FOUND.alpn(*protocols)] if protocols else []
    order.shuffle(extensions)
    *_, (end, hello) = looks(data := records(FOUND.message(FOUND.body(extensions)), sizes))
    assert hello == ClientHello(name.decode().lower(), tuple(protocols))
    assert end == len(data)


def filled(size: int, *more: tuple[int, bytes]) -> bytes:
    """A message whose body has `size` bytes."""
    room = size - len(FOUND.body([*more, (TICKET, b"")]))
    return FOUND.message(FOUND.body([*more, (TICKET, b"t" * room)]))


def test_the_longest_hello_is_read_and_a_longer_one_refused_from_its_header():
    longest = records(filled(LONGEST_BODY, FOUND.name(NAME)))
    assert len(longest) == MOST_BYTES == 16384
    assert list(looks(longest))[-1] == (MOST_BYTES, ClientHello(NAME.decode(), ()))
    assert clienthello.read(longest[:5]) == MOST_BYTES
    longer = records(filled(LONGEST_BODY + 1), [1])
    assert isinstance(clienthello.read(longer[:8]), int)
    assert f"longer than the {MOST_BYTES} bytes" in refused(longer[:14])
    assert isinstance(clienthello.read(records(filled(LONGEST_BODY - 5), [9])), ClientHello)
    assert "are looked at" in refused(records(filled(LONGEST_BODY - 4), [9]))
    assert "are looked at" in refused(records(filled(LONGEST_BODY - 9), [9, 9])[:33])


def test_a_hello_may_be_cut_into_128_records_and_no_more():
    assert list(looks(records(WHOLE, [1] * 127)))[-1][1] == MEANT
    data = records(WHOLE, [1] * 128)
    assert clienthello.read(data[: 6 * 127]) == 6 * 127 + 5 + len(WHOLE) - 127
    assert "more than 128" in refused(data[: 6 * 127 + 5])


def steps(calls: Callable[[], object]) -> int:
    """How many calls of functions, Python's own and ours, this takes."""
    count = 0

    def note(frame: FrameType, event: str, given: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        calls()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "sizes", [[], [1], [5, 4], [64] * 31, [16] * 127, [1] * 127, [1, 100] * 60, [100, 1] * 60, [3] * 99]
)
def test_byte_by_byte_a_hello_costs_few_looks_and_little_work(sizes: Sequence[int]) -> None:
    for size in (1000, 2000, 10000, LONGEST_BODY - 5 * len(sizes)):
        data = records(filled(max(size, sum(sizes)), FOUND.name(NAME)), sizes)
        seen = list(looks(data))
        assert isinstance(seen[-1][1], ClientHello)
        assert len(seen) <= (8 if sizes else 4)
        assert steps(lambda data=data: list(looks(data))) <= 8_000


def test_the_dearest_way_to_cut_a_hello_has_its_bound_too():
    """Found by trying all: few bytes, each in a record of its own, so that what is left is always little."""
    data = records(filled(104), [1] * 108)
    assert len(list(looks(data))) == 22
    assert steps(lambda: list(looks(data))) <= 20_000


@given(st.lists(st.sampled_from([1, 2, 3, 7, 20, 90, 400, 2000]), max_size=127), st.integers(45, LONGEST_BODY))
def test_no_way_to_cut_a_hello_costs_many_looks(sizes, size):
    data = records(filled(max(size, 60)), sizes)
    if len(data) <= MOST_BYTES:
        assert len(list(looks(data))) <= 25

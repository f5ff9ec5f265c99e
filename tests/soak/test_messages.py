"""What is incomplete is never taken for complete, in any framing."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from soak.marks import Marks, Name, Running, Way
from soak.messages import Ended, Head, Inlet, Nonsense, framing_line, framing_of, send_body
from soak.plans import Body, Framing
from soak.wires import How
from tests.soak.pairs import plain_pair

NAME = Name(1, 2, 0, Way.UP)


def run(playing: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(playing)


async def content(inlet: Inlet, framing: Framing, count: int) -> bytes:
    return b"".join([piece async for piece in inlet.body(framing, count)])


async def crossed(body: Body, most: int | None, how: How) -> bytes:
    """Send a body, or the first of it, end so, and read it."""
    async with plain_pair() as (one, other):
        await send_body(one, body, Marks(NAME), Running(), most)
        one.sever(how)
        return await content(Inlet(other), body.framing, body.count)


FRAMINGS = pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE])


@FRAMINGS
@pytest.mark.parametrize("piece", [1, 7, 100, 1000])
def test_a_whole_body_arrives_whole(framing: Framing, piece: int) -> None:
    assert run(crossed(Body(framing, 100, piece), None, How.LEAVE)) == Marks(NAME).take(100)


@FRAMINGS
@pytest.mark.parametrize("most", [0, 50, 99])
def test_a_body_that_is_cut_never_looks_whole(framing: Framing, most: int) -> None:
    how = How.RESET if framing is Framing.CLOSE else How.LEAVE
    with pytest.raises(Ended):
        run(crossed(Body(framing, 100, 10), most, how))


def test_chunks_without_the_last_one_are_no_whole_body() -> None:
    with pytest.raises(Ended):
        run(crossed(Body(Framing.CHUNKED, 100, 10), 100, How.LEAVE))


async def read(data: bytes, framing: Framing, count: int = 0) -> tuple[bytes, bytes]:
    async with plain_pair() as (one, other):
        await one.send(data)
        one.sever(How.LEAVE)
        inlet = Inlet(other)
        found = await content(inlet, framing, count)
        while more := await inlet.some():
            found_behind = more
        return found, found_behind


def test_what_is_behind_a_body_is_left_to_the_next() -> None:
    assert run(read(b"abcNEXT", Framing.LENGTH, 3)) == (b"abc", b"NEXT")
    assert run(read(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\nNEXT", Framing.CHUNKED)) == (b"abcde", b"NEXT")


@pytest.mark.parametrize("data", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"\r\n"])
def test_bad_chunks_are_nonsense(data: bytes) -> None:
    with pytest.raises(Nonsense):
        run(read(data, Framing.CHUNKED))


async def head(data: bytes) -> Head | None:
    async with plain_pair() as (one, other):
        await one.send(data)
        one.sever(How.LEAVE)
        return await Inlet(other).head()


def test_a_head_is_read_with_its_fields() -> None:
    found = run(head(b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nx-a: 2\r\nConnection: keep-alive, Close\r\n\r\n"))
    assert (found.status, found.fields["x-a"], found.closes) == (200, "1, 2", True)


def test_no_head_is_none_and_half_a_head_is_an_early_end() -> None:
    assert run(head(b"")) is None
    with pytest.raises(Ended):
        run(head(b"HTTP/1.1 200 Fine\r\nX"))


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 Fine\r\nno field\r\n\r\n", b"x" * 70_000])
def test_what_is_no_head_is_nonsense(data: bytes) -> None:
    with pytest.raises(Nonsense):
        run(head(data))


def test_a_status_that_is_no_number_is_nonsense() -> None:
    with pytest.raises(Nonsense):
        assert Head("HTTP/1.1 two", {}).status


@pytest.mark.parametrize("body", [Body(Framing.LENGTH, 5), Body(Framing.CHUNKED, 0)])
def test_a_framing_is_read_as_it_is_written(body: Body) -> None:
    name, _, value = framing_line(body).strip().partition(": ")
    found = Head("", {name.lower(): value})
    assert framing_of(found, request=True) == framing_of(found, request=False) == (body.framing, body.count)
    assert framing_of(found, request=False, bodiless=True) == (Framing.NONE, 0)


def test_without_a_word_a_request_has_no_body_and_an_answer_lasts_to_the_end() -> None:
    assert framing_line(Body(Framing.CLOSE)) == ""
    assert framing_of(Head("", {}), request=True) == (Framing.NONE, 0)
    assert framing_of(Head("", {}), request=False) == (Framing.CLOSE, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"transfer-encoding": "gzip, chunked"},
        {"transfer-encoding": "chunked", "content-length": "3"},
        {"content-length": "3, 3"},
    ],
)
def test_framing_that_contradicts_itself_is_nonsense(fields: dict[str, str]) -> None:
    with pytest.raises(Nonsense):
        framing_of(Head("", fields), request=False)

"""One way to try a reader: whole, byte by byte, and with other bytes behind."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import pytest

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

# A request, so that a reader that goes on where it should end finds something to read.
TAIL = b"GET /tail HTTP/1.1\r\nHost: tail\r\n\r\n"


class Reader(Protocol[T_co]):
    """What the readers of heads have in common."""

    rest: bytes

    def feed(self, data: bytes) -> T_co | None: ...


def check_reader(new: Callable[[], Reader[T]], data: bytes, expected: Callable[[T], object] | Reason) -> None:
    """Check that a reader makes the same of `data` however it arrives.

    Args:
        new: Makes a fresh reader.
        data: Exactly what it should read, or what it should refuse.
        expected: Looks at what was read, and asserts; or the reason of the refusal.
    """
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))], [data + TAIL]):
        if isinstance(expected, Reason):
            assert refusal(new(), pieces).reason is expected, pieces
            continue
        reader = new()
        early = [reader.feed(piece) for piece in pieces[:-1]]
        assert early == [None] * len(early), "read before its end had come"
        read = reader.feed(pieces[-1])
        assert read is not None
        expected(read)
        assert reader.rest == (TAIL if pieces == [data + TAIL] else b"")


def refusal(reader: Reader[T], pieces: list[bytes]) -> Refusal:
    """The refusal that a reader has for these pieces, one after the other."""
    for piece in pieces:
        try:
            read = reader.feed(piece)
        except Refusal as refused:
            return refused
        assert read is None, "read what should be refused"
    pytest.fail("waits for more of what should be refused")

"""How an input is taken apart: some bytes that choose, then a message as it comes off a wire, and where it is cut.

Choices stand at the front, so that a message from the corpus with any few bytes before it is a seed that means
something, and so that a mutation inside the message leaves the choices as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import attrs

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

CHOICES = 4
"""How many bytes choose."""

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


@attrs.frozen
class Input:
    """Choices and a message."""

    kind: int
    """What is tried."""
    limits: int
    """Which bounds, or which client."""
    cuts: tuple[int, int]
    message: bytes

    @classmethod
    def of(cls, data: bytes) -> "Input | None":
        """The input in these bytes; None where they are too few."""
        if len(data) < CHOICES:
            return None
        return cls(data[0], data[1], (data[2], data[3]), data[CHOICES:])

    def pieces(self) -> Iterator[list[bytes]]:
        """The message in one piece, cut twice where the choices say, and byte by byte."""
        return pieces_of(self.message, self.cuts)


def pieces_of(message: bytes, cuts: tuple[int, int]) -> Iterator[list[bytes]]:
    """A message in one piece, cut in two places, and byte by byte."""
    yield [message]
    size = len(message) + 1
    # One from the front and one from the back, so that both ends of a long message are reached.
    first, second = sorted((cuts[0] % size, len(message) - cuts[1] % size))
    yield [message[:first], message[first:second], message[second:]]
    yield [message[at : at + 1] for at in range(len(message))]


class Reader(Protocol[T_co]):
    """What the readers of heads have in common."""

    rest: bytes

    def feed(self, data: bytes) -> T_co | None:
        """Take more bytes."""


def tried(attempt: Callable[[], T]) -> T | Refusal:
    """What a call returns, or its refusal. Every other exception is a find."""
    try:
        return attempt()
    except Refusal as refused:
        return refused


def fed(reader: Reader[T], pieces: list[bytes]) -> tuple[T | Refusal | None, bytes]:
    """What a reader makes of these pieces, and the bytes after it. None is "more"."""
    for number, piece in enumerate(pieces):
        read = tried(lambda: reader.feed(piece))  # noqa: B023  # called before the loop goes on
        if isinstance(read, Refusal):
            return read, b""
        if read is not None:
            return read, reader.rest + b"".join(pieces[number + 1 :])
    return None, b""


class Cut(AssertionError):
    """What was read depends on where the bytes were cut.

    Attributes:
        kinds: The two verdicts in a word each, so that two such failures can be told apart.
    """

    def __init__(self, first: object, other: object) -> None:
        super().__init__(f"{first!r} and {other!r}")
        self.kinds = f"{_kind(first)} {_kind(other)}"


def check_same(verdicts: Sequence[tuple[object, bytes]]) -> None:
    """However the bytes are cut, they are read in the same way and leave the same rest."""
    first = (_plain(verdicts[0][0]), verdicts[0][1])
    for verdict, rest in verdicts[1:]:
        if (_plain(verdict), rest) != first:
            raise Cut(first[0], _plain(verdict))


def _plain(verdict: object) -> object:
    """A verdict in a form that can be compared: a refusal is its reason."""
    return verdict.reason if isinstance(verdict, Refusal) else verdict


def _kind(verdict: object) -> str:
    return verdict.name if isinstance(verdict, Reason) else type(verdict).__name__


def check_reason(verdict: object, allowed: frozenset[Reason]) -> None:
    """A refusal has one of the reasons that its place may have, and a detail for a person without raw bytes in it."""
    if isinstance(verdict, Refusal):
        assert verdict.reason in allowed, f"{verdict.reason} does not belong here"
        assert verdict.detail.isascii(), verdict.detail
        assert verdict.detail.isprintable(), verdict.detail

"""Bytes that arrive, cut in one manner or another, for the core's readers."""

import itertools
from collections.abc import Callable, Iterable

from wsrelay.core import body
from wsrelay.core.head import RequestHead, RequestReader, ResponseHead, ResponseReader

# A piece from this length on is cut coarsely between its edges.
_LONG, _EDGE = 16 * 1024, 2048

Cut = Callable[[bytes], Iterable[bytes]]


class Ended(Exception):
    """A side has no more bytes where some are owed."""


def whole(data: bytes) -> Iterable[bytes]:
    """A piece in one segment."""
    return (data,)


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    """A piece in segments of one byte; the inside of a very long one, which is all alike, in larger ones."""
    count = len(data)
    if count < _LONG:
        steps = [*range(count), count]
    else:
        steps = [*range(_EDGE), *range(_EDGE, count - _EDGE, 61), *range(count - _EDGE, count), count]
    return (data[at:end] for at, end in itertools.pairwise(steps))


class Source:
    """Pieces to be read, each cut in one manner."""

    def __init__(self, pieces: list[bytes], cut: Cut) -> None:
        self._pieces = pieces
        self._cut = cut

    @property
    def empty(self) -> bool:
        return not self._pieces

    def unread(self, data: bytes) -> None:
        if data:
            self._pieces.insert(0, data)

    def rest(self) -> bytes:
        """All that is left."""
        rest, self._pieces = b"".join(self._pieces), []
        return rest

    def head(self, reader: RequestReader | ResponseReader) -> RequestHead | ResponseHead | None:
        """A head; None where the bytes end first."""
        while self._pieces:
            segments = iter(self._cut(self._pieces.pop(0)))
            for segment in segments:
                head = reader.feed(segment)
                if head is not None:
                    self.unread(reader.rest + b"".join(segments))
                    return head
        return None

    def content(self, reader: body.BodyReader) -> bytes:
        """The content in the next piece. Raises `Ended` where there is none."""
        if not self._pieces:
            raise Ended
        content = b"".join([reader.feed(segment) for segment in self._cut(self._pieces.pop(0))])
        if reader.done:
            self.unread(reader.rest)
        return content

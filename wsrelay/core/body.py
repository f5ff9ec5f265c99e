"""How a message's body is delimited, and its incremental readers and writers (RFC 9112 6 and 7).

Knows nothing of what a body means, or of which fields cross a hop, those of a trailer section excepted.
"""

import re
from typing import Protocol

import attrs

from wsrelay.core.chunked import ChunkReader, ChunkWriter, safe_trailers
from wsrelay.core.head import RequestHead, ResponseHead
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

__all__ = [
    "NO_BODY",
    "BodyReader",
    "BodyWriter",
    "Chunked",
    "Framing",
    "Length",
    "NoBody",
    "UntilClose",
    "reader",
    "request_framing",
    "response_framing",
    "safe_trailers",
    "writer",
]

# RFC 9110 8.6: Content-Length = 1*DIGIT. 18 digits are an exabyte, and fit into 63 bits everywhere behind us; parsers
# whose numbers are shorter than ours are how lengths come to differ (CVE-2013-2028, CVE-2021-40346).
_LENGTH = re.compile(rb"[0-9]{1,18}")
# RFC 9110 5.6.2: token. Parameters of a coding are not understood, whatever it is.
_CODING = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# RFC 1945 8.1, 8.2, D.1.2: old servers take what follows these for the next request, whatever length was given.
_BODILESS_ONCE = frozenset({b"GET", b"HEAD", b"DELETE"})


@attrs.frozen
class NoBody:
    """The message ends with its head."""


@attrs.frozen
class Length:
    """The body has `count` bytes."""

    count: int


@attrs.frozen
class Chunked:
    """The body comes in chunks, the last of which says so."""


@attrs.frozen
class UntilClose:
    """The body ends with the connection. Responses only."""


Framing = NoBody | Length | Chunked | UntilClose

NO_BODY = NoBody()
"""What nearly every request has, so it is made once."""


class BodyReader(Protocol):
    """Takes a body's bytes from the connection and gives its content.

    Attributes:
        done: Whether the body is complete.
        rest: The bytes after it; valid once it is done.
        trailers: The fields after a chunked body, as they came: `safe_trailers` is for those who pass them on.
    """

    done: bool
    rest: bytes
    trailers: Fields

    def feed(self, data: bytes) -> bytes:
        """Take more bytes; return the content in them, which may be nothing.

        Raises:
            Refusal: BAD_BODY, BODY_TOO_LARGE; UPSTREAM_BAD_BODY for both where the bytes are the upstream's.
        """

    def end(self) -> bool:
        """Say whether the body is complete now that the connection has ended; if not it was cut short."""


class BodyWriter(Protocol):
    """Gives the bytes in which a body's content goes over the connection."""

    def encode(self, content: bytes) -> bytes:
        """The bytes for a piece of content; none for no content, which in chunked coding would be the end."""

    def finish(self, trailers: Fields) -> bytes:
        """The bytes that end the body. Trailers are lost where the framing has no place for them (RFC 9110 6.5.1)."""


def request_framing(head: RequestHead, max_bytes: int) -> Framing:
    """How the body of a request is delimited (RFC 9112 6.3).

    Args:
        head: The request.
        max_bytes: What a body may have, 0 for no limit. A chunked one has to be read to see how long it is.

    Raises:
        Refusal: BAD_FRAMING, with which the connection closes; TRANSFER_CODING; BODY_TOO_LARGE.
    """
    codings = head.values(b"transfer-encoding")
    lengths = head.values(b"content-length")
    if codings:
        _check_codings(codings, lengths, head.minor, Reason.BAD_FRAMING, Reason.TRANSFER_CODING)
        return Chunked()
    if not lengths:
        return NO_BODY
    count = _length(lengths, Reason.BAD_FRAMING)
    if count and not head.minor and head.method in _BODILESS_ONCE:
        raise Refusal(Reason.BAD_FRAMING, "a GET, HEAD or DELETE of HTTP/1.0 has no body (RFC 1945 8)")
    if max_bytes and count > max_bytes:
        raise Refusal(Reason.BODY_TOO_LARGE, f"the body has {count} bytes, and {max_bytes} are the limit")
    return Length(count)


def response_framing(method: bytes, head: ResponseHead) -> Framing:
    """How the body of a response to `method` is delimited (RFC 9112 6.3).

    The fields are checked even where they delimit nothing, since the answer to a HEAD passes them on.

    Raises:
        Refusal: UPSTREAM_BAD_FRAMING.
    """
    codings = head.values(b"transfer-encoding")
    lengths = head.values(b"content-length")
    count = None
    if codings:
        _check_codings(codings, lengths, head.minor, Reason.UPSTREAM_BAD_FRAMING, Reason.UPSTREAM_BAD_FRAMING)
    elif lengths:
        count = _length(lengths, Reason.UPSTREAM_BAD_FRAMING)
    # RFC 9112 6.3, its first rule; the second is about CONNECT, which never gets this far.
    if method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        return NO_BODY
    if codings:
        return Chunked()
    return UntilClose() if count is None else Length(count)


def reader(framing: Framing, side: Side, max_bytes: int = 0) -> BodyReader:
    """A reader for a body that comes from `side`.

    Args:
        framing: What `request_framing` or `response_framing` said.
        side: Whose body it is, and so whose fault.
        max_bytes: How much content is taken, 0 for no limit; a `Length` was checked against it before.
    """
    if isinstance(framing, Chunked):
        return ChunkReader(side, max_bytes)
    if isinstance(framing, UntilClose):
        return _Endless()
    return _Counted(framing.count if isinstance(framing, Length) else 0)


def writer(framing: Framing) -> BodyWriter:
    """A writer for a body that goes out under `framing`. It does not count: its caller's reader did."""
    return ChunkWriter() if isinstance(framing, Chunked) else _AsItIs()


def _check_codings(
    codings: tuple[bytes, ...], lengths: tuple[bytes, ...], minor: int, faulty: Reason, unknown: Reason
) -> None:
    """Return if the body is chunked and nothing else."""
    # RFC 9112 6.1: both together ought to be handled as an error: it is how requests are smuggled.
    if lengths:
        raise Refusal(faulty, "there are both Transfer-Encoding and Content-Length (RFC 9112 6.1)")
    # RFC 9112 6.1: in HTTP/1.0 it must be treated as faulty framing.
    if not minor:
        raise Refusal(faulty, "there is Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)")
    # RFC 9110 5.6.1.2 would have empty list elements ignored; nobody sends
    # them here but to be read in two ways.
    names = [element.strip(b" \t").lower() for element in b",".join(codings).split(b",")]
    if names == [b"chunked"]:
        return
    if b"chunked" in names[:-1]:
        raise Refusal(faulty, "chunked is not the last transfer coding, or is there twice (RFC 9112 6.3)")
    if not all(_CODING.fullmatch(name) for name in names):
        raise Refusal(faulty, "Transfer-Encoding is malformed (RFC 9112 6.1)")
    # RFC 9112 6.1: 501 for a coding that the server does not understand. `identity` is none since RFC 7230.
    raise Refusal(unknown, "the only transfer coding understood here is chunked (RFC 9112 6.1)")


def _length(lengths: tuple[bytes, ...], faulty: Reason) -> int:
    # RFC 9112 6.3 lets a recipient take a repeated length for one if all are the same. Nobody honest repeats it.
    if len(lengths) > 1:
        raise Refusal(faulty, "there is more than one Content-Length (RFC 9112 6.3)")
    if not _LENGTH.fullmatch(lengths[0]):
        raise Refusal(faulty, "Content-Length is not a number of at most 18 digits (RFC 9110 8.6)")
    return int(lengths[0])


class _Counted:
    """A body of a known length."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = not count
        self.rest = b""
        self.trailers: Fields = ()

    def feed(self, data: bytes) -> bytes:
        content = data[: self._left]
        self.rest += data[self._left :]
        self._left -= len(content)
        self.done = not self._left
        return content

    def end(self) -> bool:
        return self.done


class _Endless:
    """A body that ends with the connection (RFC 9112 6.3, its last rule)."""

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.trailers: Fields = ()

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bool:
        self.done = True
        return True


class _AsItIs:
    def encode(self, content: bytes) -> bytes:
        return content

    def finish(self, trailers: Fields) -> bytes:
        return b""

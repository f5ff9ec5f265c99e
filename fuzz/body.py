"""Target: how a body is delimited, its readers, and the writers that pass it on."""

import re

from fuzz import oracle
from fuzz.inputs import Input, check_reason, check_same, fed, pieces_of, tried
from wsrelay.core import body
from wsrelay.core.body import Chunked, Framing, NoBody, UntilClose
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

SEEDS = ((b"\0\0\5\3", "send"), (b"\0\2\x60\x20", "send"), (b"\2\0\5\3", "upstream"), (b"\2\1\5\3", "upstream"))
RARE: tuple[tuple[bytes, str], ...] = ()

_LIMITS = HeadLimits(32 * 1024, 128)
_BODY_LIMITS = (0, 10, 1000, 64 * 1024)
_METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS")
# A chunked body alone is mutated far more often than one behind a head that has to stay right.
_BEFORE_CHUNKS = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
_BEFORE_UPSTREAMS_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

_FRAMING_REASONS = frozenset({Reason.BAD_FRAMING, Reason.TRANSFER_CODING, Reason.BODY_TOO_LARGE})
_CLIENTS = frozenset({Reason.BAD_BODY, Reason.BODY_TOO_LARGE})
_UPSTREAMS_FRAMING = frozenset({Reason.UPSTREAM_BAD_FRAMING})
_UPSTREAMS = frozenset({Reason.UPSTREAM_BAD_BODY})
# h11 reads these two in a trailer section as it does in a head, and may refuse their values. We drop them unread.
_JUDGED_BY_H11 = (b"content-length", b"transfer-encoding")
# RFC 9112 7.1.1: a recipient takes blanks before an extension's semicolon; h11 does not. What we write has none.
_BLANK_EXTENSION = re.compile(rb"[0-9A-Fa-f][ \t]+;")
_ROOM = (b"connection", b"host", b"authorization", b"x-forwarded-for", b"content-length", b"cookie", b"x-real-ip")


def check(data: bytes) -> None:
    """A request or a response with its body, or a chunked body of either side."""
    given = Input.of(data)
    if given is None:
        return
    limit = _BODY_LIMITS[given.limits % 4]
    if given.kind % 4 == 0:
        _check_request(given.message, given.cuts, limit)
    elif given.kind % 4 == 1:
        _check_request(_BEFORE_CHUNKS + given.message, given.cuts, limit)
    elif given.kind % 4 == 2:
        _check_response(given.message, given.cuts, _METHODS[given.limits % 4])
    else:
        _check_response(_BEFORE_UPSTREAMS_CHUNKS + given.message, given.cuts, b"GET")


def _check_request(message: bytes, cuts: tuple[int, int], limit: int) -> None:
    head, rest = fed(RequestReader(_LIMITS), [message])
    if not isinstance(head, RequestHead):
        return
    framing = tried(lambda: body.request_framing(head, limit))
    check_reason(framing, _FRAMING_REASONS)
    if isinstance(framing, Refusal):
        return
    assert not isinstance(framing, UntilClose), "a request cannot end with the connection (RFC 9112 6.3)"
    read = _check_body(framing, Side.CLIENT, limit, rest, cuts)
    check_reason(read, _CLIENTS)
    if isinstance(read, Refusal):
        return
    content, reader = read
    assert not limit or len(content) <= limit
    if not (_judged(reader.trailers) or _BLANK_EXTENSION.search(message)):
        _check_against(oracle.request(message), content, reader)


def _check_response(message: bytes, cuts: tuple[int, int], method: bytes) -> None:
    head, rest = fed(ResponseReader(_LIMITS), [message])
    if not isinstance(head, ResponseHead):
        return
    framing = tried(lambda: body.response_framing(method, head))
    check_reason(framing, _UPSTREAMS_FRAMING)
    if isinstance(framing, Refusal):
        return
    bodiless = method == b"HEAD" or head.status < 200 or head.status in (204, 304)
    assert isinstance(framing, NoBody) is bodiless
    read = _check_body(framing, Side.UPSTREAM, 0, rest, cuts)
    check_reason(read, _UPSTREAMS)
    # h11 wants to know what follows an interim answer, and reads nothing behind a 101.
    if isinstance(read, Refusal) or head.status < 200:
        return
    if _judged(read[1].trailers) or _BLANK_EXTENSION.search(message):
        return
    content, reader = read
    _check_against(oracle.response(method, message, ended=isinstance(framing, UntilClose)), content, reader)


def _judged(trailers: Fields) -> bool:
    return any(name.lower() in _JUDGED_BY_H11 for name, _ in trailers)


def _check_body(
    framing: Framing, side: Side, limit: int, data: bytes, cuts: tuple[int, int]
) -> tuple[bytes, body.BodyReader] | Refusal:
    """Read a body in every manner, write it again, and read what was written."""
    reads = [_read(framing, side, limit, pieces) for pieces in pieces_of(data, cuts)]
    check_same([(_plain(read), b"") for read in reads])
    read = reads[0]
    if isinstance(read, Refusal):
        return read
    content, reader = read
    if reader.done:
        _check_written(framing, side, content, reader.trailers)
    return read


def _read(framing: Framing, side: Side, limit: int, pieces: list[bytes]) -> tuple[bytes, body.BodyReader] | Refusal:
    reader = body.reader(framing, side, limit)
    content = b""
    for piece in pieces:
        got = tried(lambda: reader.feed(piece))  # noqa: B023  # called before the loop goes on
        if isinstance(got, Refusal):
            return got
        content += got
    ended = reader.end()
    assert ended is reader.done, "an end changes only what an end may complete"
    assert isinstance(framing, UntilClose) <= ended
    return content, reader


def _plain(read: tuple[bytes, body.BodyReader] | Refusal) -> object:
    if isinstance(read, Refusal):
        return read.reason
    content, reader = read
    return content, reader.done, reader.rest, reader.trailers


def _check_written(framing: Framing, side: Side, content: bytes, trailers: Fields) -> None:
    """What goes on over the hop is the same content, and trailers only that no reader takes for a field of a head."""
    onward = Chunked() if isinstance(framing, UntilClose) else framing
    writer = body.writer(onward)
    safe = body.safe_trailers(trailers)
    assert all(name.lower() not in _ROOM for name, _ in safe)
    half = len(content) // 2
    written = writer.encode(content[:half]) + writer.encode(content[half:]) + writer.finish(safe)
    again = _read(onward, side, 0, [written])
    assert not isinstance(again, Refusal), again
    chunked = isinstance(onward, Chunked)
    assert _plain(again) == (content, True, b"", safe if chunked else ()), "what we write we read as it was"
    if chunked:
        _check_against(oracle.request(_BEFORE_CHUNKS + written), content, again[1])


def _check_against(message: oracle.Message | None, content: bytes, reader: body.BodyReader) -> None:
    assert message is not None, "h11 waits for more of the head"
    assert message.content == content, (message.content, content)
    assert message.complete is reader.done, "h11 sees another end than we do"
    if reader.done:
        assert message.trailers == reader.trailers
        assert message.rest == reader.rest

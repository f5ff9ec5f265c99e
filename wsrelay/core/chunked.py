"""The chunked transfer coding and its trailer section (RFC 9112 7.1). Knows nothing of heads."""

import re

from wsrelay.core.fieldlines import FOLD, Blame, check_text, parse_fields
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

_CRLF = b"\r\n"

# RFC 9112 7.1: chunk-size = 1*HEXDIG; 16 digits at most, and 63 bits (CVE-2013-2028). RFC 9112 7.1.1: chunk-ext begins
# with BWS ";". Whitespace that no extension follows is none, though some parsers take it.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t -~\x80-\xff]*)?")
# Servers pad, and every proxy takes it from them; nobody gets it from us.
_PADDED_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?")
_MAX_DIGITS = 16
_HEX = b"0123456789ABCDEFabcdef"
_MAX_SIZE = 2**63 - 1
# RFC 9112 7.1.1 asks for a bound on extensions. 4 KiB: as Go's net/http.
_MAX_SIZE_LINE = 4096
# Small chunks with long extensions are work for nothing (CVE-2023-39326, CVE-2024-22019). Go's bound: lines may have
# 16 KiB more than 16 bytes a chunk and twice its content, and what a fat chunk does not use pays for those before it.
_MAX_EXCESS = 16 * 1024
# What a line may have for nothing. One with an extension costs so much instead: it takes three times as long to read,
# and nobody honest sends it with a few bytes of content.
_WORTH = 16
# As `limits.head_bytes` and `limits.head_fields` are by default.
_MAX_TRAILER_BYTES = 32 * 1024
_MAX_TRAILERS = 128

# RFC 9110 6.5.1: no field may be a trailer whose definition does not allow it, since it is evaluated before the
# content: framing, routing, authentication, request modifiers, response control, content format. To these come the
# fields that belong to one hop (RFC 9110 7.6.1) and those by which proxies say who the client is.
_NO_TRAILERS = frozenset(
    b"age allow alt-svc authorization cache-control connection cookie date expect expires forwarded host keep-alive "
    b"location max-forwards origin pragma proxy range referer retry-after server set-cookie te trailer "
    b"transfer-encoding upgrade user-agent vary via warning www-authenticate authentication-info http2-settings "
    b"early-data client-ip true-client-ip cf-connecting-ip fastly-client-ip".split()
)
# Families of such fields, and every name that says by X- who asks for what: x-real-ip, x-forwarded-*, x-original-url.
_NO_TRAILER_FAMILIES = (
    b"access-control-",
    b"content-",
    b"if-",
    b"proxy-",
    b"sec-",
    b"x-client-",
    b"x-cluster-client-",
    b"x-forwarded",
    b"x-http-method",
    b"x-method-override",
    b"x-original-",
    b"x-real-",
    b"x-remote-",
    b"x-rewrite-",
    b"x-wsrelay-",
)


def safe_trailers(fields: Fields) -> Fields:
    """The trailers that may be passed on: none that a recipient might take for a field of the head (RFC 9110 6.5.1)."""
    return tuple([field for field in fields if _is_safe(field[0].translate(FOLD))])


def _is_safe(folded: bytes) -> bool:
    return folded not in _NO_TRAILERS and not folded.startswith(_NO_TRAILER_FAMILIES)


class ChunkReader:
    """Reads a chunked body from bytes however they are cut: a `BodyReader`. Drops extensions (RFC 9112 7.1.1)."""

    def __init__(self, side: Side, max_bytes: int) -> None:
        client = side is Side.CLIENT
        self._blame = Blame(
            Reason.BAD_BODY if client else Reason.UPSTREAM_BAD_BODY,
            Reason.BODY_TOO_LARGE if client else Reason.UPSTREAM_BAD_BODY,
            f"the {side.value}'s chunked body",
        )
        self._sizes = _SIZE_LINE if client else _PADDED_SIZE_LINE
        self._max_bytes = max_bytes
        self._taken = 0
        self._excess = 0
        # Bytes of the present chunk that have not come yet.
        self._left = 0
        # Between chunks: the line that has begun, what takes it once it is whole, and how long it may become.
        self._line = bytearray()
        self._next = self._size_line
        self._bound = _MAX_SIZE_LINE
        self._section: list[bytes] = []
        self._section_room = _MAX_TRAILER_BYTES
        self.done = False
        self.rest = b""
        self.trailers: Fields = ()

    def feed(self, data: bytes) -> bytes:
        """Take more bytes; return the content in them, which may be nothing.

        Raises:
            Refusal: BAD_BODY, or BODY_TOO_LARGE as soon as a chunk's size says so; UPSTREAM_BAD_BODY for both where
                the bytes are the upstream's.
        """
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._at_size_line:
                at = self._take_whole_chunks(data, at, pieces)
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                at += len(piece)
            elif at < len(data):
                at = self._take_line(data, at)
        self.rest += data[at:]
        return b"".join(pieces)

    def end(self) -> bool:
        """Say whether the body is complete now that the connection has ended (RFC 9112 8)."""
        return self.done

    @property
    def _at_size_line(self) -> bool:
        return not (self._left or self._line) and self._next == self._size_line

    def _take_whole_chunks(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take the chunks that have come as a whole and have no extensions; return where they end.

        What is anything else is left to the lines' own readers. 64 KiB may be 10,000 chunks of one byte, and this is
        what keeps them from stopping everybody else for 50 ms.
        """
        while True:
            line_end = data.find(_CRLF, at, at + _MAX_DIGITS + 2)
            digits = data[at:line_end]
            if line_end <= at or digits.translate(None, _HEX):
                return at
            size = int(digits, 16)
            begin, end = line_end + 2, line_end + 2 + size
            too_large = self._max_bytes and self._taken + size > self._max_bytes
            if not size or too_large or data[end : end + 2] != _CRLF:
                return at
            pieces.append(data[begin:end])
            self._taken += size
            self._excess = max(0, self._excess + len(digits) - _WORTH - 2 * size)
            at = end + 2

    def _take_line(self, data: bytes, at: int) -> int:
        """Take a line, or what has come of it; return where it ends."""
        end = data.find(b"\n", at) + 1 or len(data)
        line = self._line
        if len(line) + end - at > self._bound + len(_CRLF):
            raise self._refusal("has a line that is too long (RFC 9112 7.1)")
        line += data[at:end]
        if not self._bound and not _CRLF.startswith(bytes(line)):
            raise self._refusal("goes on where only a line end may stand (RFC 9112 7.1)")
        if line[-1:] == b"\n":
            # RFC 9112 2.2 allows a lone LF to end lines in heads only. An extension that ends there for one parser,
            # and not for the next one, smuggles requests.
            if line[-2:] != _CRLF:
                raise self._refusal("has a line that ends in LF without CR (RFC 9112 7.1)")
            whole = bytes(line[:-2])
            line.clear()
            self._next(whole)
        return end

    def _size_line(self, line: bytes) -> None:
        match = self._sizes.fullmatch(line)
        size = int(match[1], 16) if match else _MAX_SIZE + 1
        if size > _MAX_SIZE:
            raise self._refusal("has a malformed chunk size or extension (RFC 9112 7.1)")
        worth = -_WORTH if b";" in line else _WORTH
        self._excess = max(0, self._excess + len(line) - worth - 2 * size)
        if self._excess > _MAX_EXCESS:
            raise self._refusal("is chunk extensions more than content (RFC 9112 7.1.1)")
        self._taken += size
        if self._max_bytes and self._taken > self._max_bytes:
            raise Refusal(self._blame.too_large, f"{self._blame.whose} has more than {self._max_bytes} bytes")
        self._left = size
        if size:
            self._next, self._bound = self._end_of_chunk, 0
        else:
            self._next, self._bound = self._trailer_line, self._section_room

    def _end_of_chunk(self, line: bytes) -> None:
        # The bound of nothing but a line end has checked it.
        self._next, self._bound = self._size_line, _MAX_SIZE_LINE

    def _trailer_line(self, line: bytes) -> None:
        if not line:
            self.trailers = parse_fields(self._section, self._blame)
            self.done = True
            return
        check_text(line, self._blame)
        self._section.append(line)
        if len(self._section) > _MAX_TRAILERS:
            raise self._refusal(f"has more than {_MAX_TRAILERS} trailers")
        self._section_room -= len(line)
        self._bound = self._section_room

    def _refusal(self, fault: str) -> Refusal:
        return Refusal(self._blame.malformed, f"{self._blame.whose} {fault}")


class ChunkWriter:
    """Writes a chunked body, one chunk for each piece of content: a `BodyWriter`."""

    def encode(self, content: bytes) -> bytes:
        """The bytes of one chunk; none for no content, which would be the last chunk."""
        return b"%x\r\n%b\r\n" % (len(content), content) if content else b""

    def finish(self, trailers: Fields) -> bytes:
        """The last chunk, the trailer section and the empty line."""
        return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])

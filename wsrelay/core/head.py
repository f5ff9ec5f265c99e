"""Request and response heads, and their incremental readers (RFC 9112 2 to 5).

Stricter than the RFC wherever it leaves a choice: what two parsers may read in two ways is refused, never repaired.
Knows nothing of bodies, of routes, or of what a field means, Host excepted.
"""

import re

import attrs

from wsrelay.core.authority import Authority, parse_authority, parse_target, split_path
from wsrelay.core.fieldlines import Blame, FieldLookup, Index, index_of, parse_fields, refuse_stray, split_lines
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

_END = b"\r\n\r\n"

# RFC 9110 9.1: a method is a token, case-sensitive. Only what registered ones are made of: parsers behind us take
# `head` for HEAD, and then two ends disagree about a body. 32 bytes: the longest that is registered has 17.
_METHOD = re.compile(rb"[A-Z][A-Z_-]{0,31}")
# RFC 9112 2.3: HTTP-version = "HTTP/" DIGIT "." DIGIT, case-sensitive.
_MINORS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
# The second is an older server's word for the same.
_REFLECTING = (b"TRACE", b"TRACK")
# RFC 9112 4: status-line. Without the SP of an empty reason phrase too: servers leave it out, and it is unambiguous.
# RFC 9110 15: a status below 100 is undefined; one from 600 on counts as a 5xx, and is passed on as it is.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?")
_RESPONSE_START = b"HTTP/1."

# RFC 8446 5.1 and B.1: the first byte of the record that a ClientHello comes in.
_TLS_HANDSHAKE = b"\x16"

# RFC 9110 5.3: not to be sent more than once. Of two, one parser takes the first, one the last, one joins them: whose
# credentials, whose page, which type of body? Those of framing and Host have reasons of their own.
_SINGLE = (
    b"authorization",
    b"content-type",
    b"content-range",
    b"range",
    b"if-range",
    b"if-modified-since",
    b"if-unmodified-since",
    b"origin",
)

_CLIENT = Blame(Reason.MALFORMED_HEAD, Reason.HEAD_TOO_LARGE, "the request head")
_UPSTREAM = Blame(Reason.UPSTREAM_BAD_HEAD, Reason.UPSTREAM_BAD_HEAD, "the upstream's response head")


@attrs.frozen
class HeadLimits:
    """How much of a head is read before it is refused."""

    max_bytes: int
    """Start line, fields and the empty line, line ends included."""
    max_fields: int


def _own_index(head: "RequestHead | ResponseHead") -> Index:
    return index_of(head.fields)


# Whoever builds a head by hand leaves the index out; a reader has it already.
_INDEX = attrs.Factory(_own_index, takes_self=True)


@attrs.frozen
class RequestHead(FieldLookup):
    """A complete request head. Names keep their case and order; values have no outer whitespace."""

    method: bytes
    target: bytes
    """As sent, with an absolute-form reduced to its path and query (RFC 9112 3.2.1)."""
    minor: int
    """0 or 1: HTTP/1.0 or HTTP/1.1."""
    fields: Fields
    host: bytes
    """What routes compare: `Authority.host`. Empty where an HTTP/1.0 client named none."""
    authority: bytes
    """The value of Host as sent, or what an absolute-form target named where there is no Host. May be empty."""
    path: bytes
    """The target up to its query, as sent; `*` with OPTIONS only."""
    query: bytes
    """From the question mark on, as sent; empty without one."""
    _index: Index = attrs.field(default=_INDEX, eq=False, repr=False)


@attrs.frozen
class ResponseHead(FieldLookup):
    """A complete response head, final or interim. Names keep their case and order; values have no outer whitespace."""

    minor: int
    """0 or 1: HTTP/1.0 or HTTP/1.1."""
    status: int
    """100 to 999."""
    phrase: bytes
    """May be empty, and may have bytes above 0x7F."""
    fields: Fields
    _index: Index = attrs.field(default=_INDEX, eq=False, repr=False)


class _Collector:
    """Gathers the bytes of one head up to its empty line, in time linear in their number however they are cut."""

    __slots__ = ("_blame", "_gathered", "_max_bytes", "rest")

    def __init__(self, max_bytes: int, blame: Blame) -> None:
        self._max_bytes = max_bytes
        self._blame = blame
        self._gathered = bytearray()
        self.rest = b""

    def has(self, mark: bytes) -> bool:
        """Whether something is in what was gathered; for a refusal, since it looks at all of it."""
        return mark in self._gathered

    def take(self, data: bytes) -> bytes | None:
        """Add bytes; return the head without its empty line once that has come, and leave what follows in `rest`."""
        gathered = self._gathered
        if not gathered:
            # Nearly every head comes in one piece, and then nothing is gathered.
            end = data.find(_END, 0, self._max_bytes)
            if end >= 0:
                self.rest = data[end + len(_END) :]
                return data[:end]
        # What was searched before matters only where it may be the beginning of something: its last three bytes.
        start = max(0, len(gathered) - len(_END) + 1)
        room = self._max_bytes - len(gathered)
        gathered += data[:room]
        end = gathered.find(_END, start)
        if end >= 0:
            self.rest = bytes(gathered[end + len(_END) :]) + data[room:]
            return bytes(gathered[:end])
        # A byte that no head may have is refused now, not at the deadline.
        refuse_stray(gathered, start, self._blame)
        if len(gathered) >= self._max_bytes:
            raise Refusal(self._blame.too_large, f"{self._blame.whose} is larger than {self._max_bytes} bytes")
        return None


class RequestReader:
    """Reads one request head from bytes however they are cut.

    Attributes:
        begun: Whether anything but one ignored empty line has come.
        rest: The bytes after the head; valid once a head was returned.
    """

    __slots__ = ("_collector", "_empty_line", "_max_fields", "begun", "rest")

    def __init__(self, limits: HeadLimits) -> None:
        self._max_fields = limits.max_fields
        self._collector = _Collector(limits.max_bytes, _CLIENT)
        self._empty_line = b""
        self.begun = False
        self.rest = b""

    def feed(self, data: bytes) -> RequestHead | None:
        """Take more bytes; return the head once its empty line has been seen.

        Not to be called again after a head was returned, or after a refusal.

        Raises:
            Refusal: MALFORMED_HEAD, BAD_TARGET, BAD_HOST; HEAD_TOO_LARGE above either limit (RFC 6585 5),
                TARGET_TOO_LONG if the first line alone is; HTTP_VERSION for a version other than 1.0 and 1.1;
                CONNECT_METHOD; TRACE_METHOD.
        """
        if not self.begun:
            data = self._begin(data)
            if not data:
                return None
        head = self._take(data)
        if head is None:
            return None
        self.rest = self._collector.rest
        return _request(head, self._max_fields)

    def _take(self, data: bytes) -> bytes | None:
        try:
            return self._collector.take(data)
        except Refusal as refusal:
            # RFC 9112 3: a target that is too long has a status of its own.
            if refusal.reason is not Reason.HEAD_TOO_LARGE or self._collector.has(b"\r\n"):
                raise
            if self._collector.has(b" "):
                raise Refusal(Reason.TARGET_TOO_LONG, "the request line alone is larger than a head may be") from None
            raise Refusal(Reason.MALFORMED_HEAD, "the request does not begin with a method (RFC 9112 3)") from None

    def _begin(self, data: bytes) -> bytes:
        """What is left of `data` from the first byte of the request line on; nothing while that has not come."""
        # RFC 9112 2.2: ignore an empty line before the request line; old clients sent one after a body. One only:
        # whoever sends more is no such client.
        while data and len(self._empty_line) < 2 and data[0] == b"\r\n"[len(self._empty_line)]:
            self._empty_line += data[:1]
            data = data[1:]
        if not data:
            return b""
        if data[:1] == _TLS_HANDSHAKE:
            raise Refusal(Reason.MALFORMED_HEAD, "a TLS handshake came where HTTP without TLS is spoken")
        if self._empty_line == b"\r" or not b"A" <= data[:1] <= b"Z":
            raise Refusal(Reason.MALFORMED_HEAD, "the first byte is none that a request begins with (RFC 9112 3)")
        self.begun = True
        return data


class ResponseReader:
    """Reads one response head from bytes however they are cut.

    Attributes:
        begun: Whether anything has come.
        rest: The bytes after the head; valid once a head was returned.
    """

    __slots__ = ("_collector", "_first", "_max_fields", "begun", "rest")

    def __init__(self, limits: HeadLimits) -> None:
        self._max_fields = limits.max_fields
        self._collector = _Collector(limits.max_bytes, _UPSTREAM)
        self._first = b""
        self.begun = False
        self.rest = b""

    def feed(self, data: bytes) -> ResponseHead | None:
        """Take more bytes; return the head, an interim one too, once its empty line has been seen.

        Not to be called again after a head was returned, or after a refusal.

        Raises:
            Refusal: UPSTREAM_BAD_HEAD for every fault, a head above either limit included.
        """
        self.begun = self.begun or bool(data)
        missing = len(_RESPONSE_START) - len(self._first)
        if missing:
            # Refused at once, since the greeting of another protocol may never come to an empty line.
            self._first += data[:missing]
            if not _RESPONSE_START.startswith(self._first):
                raise Refusal(Reason.UPSTREAM_BAD_HEAD, "the upstream's answer does not begin with HTTP/1.")
        head = self._collector.take(data)
        if head is None:
            return None
        self.rest = self._collector.rest
        return _response(head, self._max_fields)


def _request(head: bytes, max_fields: int) -> RequestHead:
    lines = split_lines(head, max_fields, _CLIENT)
    method, target, minor = _request_line(lines[0])
    # RFC 9113 3.4: reserved, so that the beginning of HTTP/2 is taken for no request.
    if method == b"PRI":
        raise Refusal(Reason.HTTP_VERSION, "PRI is how HTTP/2 begins, which is not spoken here")
    # RFC 9110 9.3.6: we are no tunnel to wherever a client likes.
    if method == b"CONNECT":
        raise Refusal(Reason.CONNECT_METHOD, "CONNECT is not served here")
    # RFC 9110 9.3.8: it comes back with every field that the hops have added. nginx refuses both too.
    if method in _REFLECTING:
        raise Refusal(Reason.TRACE_METHOD, "TRACE is not served here")
    named = None
    if target[:1] == b"/":
        path, query = split_path(target)
    else:
        path, query, named = parse_target(method, target)
        target = path + query
    fields = parse_fields(lines[1:], _CLIENT)
    index = index_of(fields)
    values = index.get(b"host", ())
    if len(index) != len(fields):
        _refuse_repeated(index)
    host = _host(values, minor)
    if named is not None and host is not None and not named.agrees_with(host):
        # RFC 9112 3.2.2: the target outranks Host. A parser behind us that reads Host only would see another request
        # than we do, so a pair that does not agree is refused.
        raise Refusal(Reason.BAD_HOST, "Host and the target name different servers")
    host = host or named
    if host is None:
        return RequestHead(method, target, minor, fields, b"", b"", path, query, index)
    return RequestHead(method, target, minor, fields, host.host, host.sent, path, query, index)


def _refuse_repeated(index: Index) -> None:
    for name in _SINGLE:
        if len(index.get(name, ())) > 1:
            shown = name.decode("ascii").title()
            raise Refusal(Reason.MALFORMED_HEAD, f"there is more than one {shown} field (RFC 9110 5.3)")


def _request_line(line: bytes) -> tuple[bytes, bytes, int]:
    """RFC 9112 3: request-line = method SP request-target SP HTTP-version."""
    method, _, tail = line.partition(b" ")
    target, _, version = tail.rpartition(b" ")
    if not target or not _METHOD.fullmatch(method):
        raise Refusal(Reason.MALFORMED_HEAD, "the request line is not METHOD, target and version (RFC 9112 3)")
    minor = _MINORS.get(version)
    if minor is None:
        if _VERSION.fullmatch(version):
            raise Refusal(Reason.HTTP_VERSION, "the version is neither HTTP/1.1 nor HTTP/1.0")
        raise Refusal(Reason.MALFORMED_HEAD, "the request line does not end in an HTTP version (RFC 9112 2.3)")
    return method, target, minor


def _host(values: tuple[bytes, ...], minor: int) -> Authority | None:
    """RFC 9112 3.2: exactly one valid Host. Only in HTTP/1.0 may it be absent."""
    if len(values) == 1:
        return parse_authority(values[0])
    if values:
        raise Refusal(Reason.BAD_HOST, "there is more than one Host field (RFC 9112 3.2)")
    if minor:
        raise Refusal(Reason.BAD_HOST, "there is no Host field (RFC 9112 3.2)")
    return None


def _response(head: bytes, max_fields: int) -> ResponseHead:
    lines = split_lines(head, max_fields, _UPSTREAM)
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise Refusal(Reason.UPSTREAM_BAD_HEAD, "the upstream's status line is malformed (RFC 9112 4)")
    minor, status, phrase = match.groups()
    return ResponseHead(int(minor), int(status), phrase or b"", parse_fields(lines[1:], _UPSTREAM))

import pytest

from wsrelay.core import hopbyhop
from wsrelay.core.body import Chunked, Framing, Length, NoBody, UntilClose
from wsrelay.core.head import HeadLimits, ResponseHead, ResponseReader
from wsrelay.core.refusal import Fields

LIMITS = HeadLimits(max_bytes=32 * 1024, max_fields=128)


def answered(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    head = ResponseReader(LIMITS).feed(b"\r\n".join([start, *lines, b"", b""]))
    assert head is not None
    return head


def parts(written: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The start line and the fields of a written head, which must be exactly one."""
    head, blank, rest = written.partition(b"\r\n\r\n")
    assert (blank, rest) == (b"\r\n\r\n", b"")
    start, *lines = head.split(b"\r\n")
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return start, fields


def returned(head: ResponseHead, *, framing: Framing | None = None, minor: int = 1, close: bool = False) -> Fields:
    return tuple(parts(hopbyhop.response(head, framing=framing or Length(0), minor=minor, close=close))[1])


def test_an_answer_keeps_its_status_phrase_fields_and_order():
    head = answered(b"server: x", b"Set-Cookie: a=1", b"SET-COOKIE: b=2", start=b"HTTP/1.0 299 Fine, really")
    assert parts(hopbyhop.response(head, framing=Length(3), minor=1, close=False)) == (
        b"HTTP/1.1 299 Fine, really",
        [(b"server", b"x"), (b"Set-Cookie", b"a=1"), (b"SET-COOKIE", b"b=2"), (b"Content-Length", b"3")],
    )


def test_an_answer_without_a_phrase_keeps_the_space_before_it():
    written = hopbyhop.response(answered(start=b"HTTP/1.1 200 "), framing=Length(0), minor=1, close=False)
    assert written.startswith(b"HTTP/1.1 200 \r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: X-Hop",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: close",
        b"TE: trailers",
        b"Trailer: X-Sum",
        b"Upgrade: h2c",
        b"Proxy-Authenticate: Basic",
        b"Proxy-Authentication-Info: x",
    ],
)
def test_what_belongs_to_the_upstream_connection_does_not_come_back(line):
    """HOP-06."""
    assert returned(answered(line)) == ((b"Content-Length", b"0"),)


def test_what_the_upstream_names_in_connection_does_not_come_back_even_when_it_closes():
    """HOP-06: a proxy that drops Connection on close forgets what it named."""
    head = answered(b"Connection: close, x-hop", b"X-Hop: 1", b"X-Keep: 2")
    assert returned(head, close=True) == ((b"X-Keep", b"2"), (b"Content-Length", b"0"), (b"Connection", b"close"))


@pytest.mark.parametrize("field", [(b"Set-Cookie", b"a=1"), (b"WWW-Authenticate", b"Basic"), (b"Cache-Control", b"x")])
def test_an_upstream_does_not_lose_what_concerns_the_client_by_a_nomination(field):
    assert field in returned(answered(b"Connection: " + field[0].lower(), b": ".join(field)))


@pytest.mark.parametrize(
    ("minor", "close", "expected"),
    [(1, False, None), (1, True, b"close"), (0, False, b"keep-alive"), (0, True, b"close")],
)
def test_an_answer_says_whether_the_connection_goes_on(minor, close, expected):
    assert dict(returned(answered(), minor=minor, close=close)).get(b"Connection") == expected


@pytest.mark.parametrize(
    ("framing", "minor", "expected"),
    [
        (Length(7), 1, {b"Content-Length": b"7"}),
        (Length(7), 0, {b"Content-Length": b"7"}),
        (Chunked(), 1, {b"Transfer-Encoding": b"chunked", b"Trailer": b"X-Sum"}),
        (Chunked(), 0, {}),
        (UntilClose(), 1, {}),
        (UntilClose(), 0, {}),
    ],
)
def test_the_framing_of_an_answer_is_written_anew(framing, minor, expected):
    head = answered(b"Content-Length: 99", b"Transfer-Encoding: gzip", b"Trailer: X-Sum")
    fields = returned(head, framing=framing, minor=minor, close=True)
    assert dict(fields) == expected | {b"Connection": b"close"}


@pytest.mark.parametrize(
    ("start", "lines", "expected"),
    [
        (b"HTTP/1.1 200 OK", [b"Content-Length: 512"], b"512"),  # an answer to HEAD
        (b"HTTP/1.1 304 Not Modified", [b"Content-Length: 512"], b"512"),
        (b"HTTP/1.1 200 OK", [], None),
        (b"HTTP/1.1 204 No Content", [b"Content-Length: 0"], None),  # RFC 9110 8.6
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Content-Length: 6"], None),
        (b"HTTP/1.1 200 OK", [b"Content-Length: +5"], None),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Transfer-Encoding: chunked"], None),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], None),
    ],
)
def test_an_answer_without_a_body_keeps_an_honest_length(start, lines, expected):
    fields = dict(returned(answered(*lines, start=start), framing=NoBody()))
    assert fields.get(b"Content-Length") == expected
    assert b"Transfer-Encoding" not in fields


@pytest.mark.parametrize(("close", "connection"), [(False, b"upgrade"), (True, b"close, upgrade")])
def test_a_426_keeps_the_protocol_it_demands(close, connection):
    """UPG-01, RFC 9110 15.5.22 and 7.8."""
    head = answered(b"Upgrade: websocket", b"Sec-WebSocket-Version: 13, 8", start=b"HTTP/1.1 426 Upgrade Required")
    assert returned(head, close=close) == (
        (b"Sec-WebSocket-Version", b"13, 8"),
        (b"Content-Length", b"0"),
        (b"Upgrade", b"websocket"),
        (b"Connection", connection),
    )


def test_all_the_protocols_that_a_426_demands_are_one_list():
    head = answered(b"Upgrade: websocket", b"upgrade: TLS/1.2", start=b"HTTP/1.1 426 Upgrade Required")
    assert (b"Upgrade", b"websocket, TLS/1.2") in returned(head)


def test_a_426_that_names_no_protocol_gets_none_from_us():
    assert returned(answered(start=b"HTTP/1.1 426 Upgrade Required")) == ((b"Content-Length", b"0"),)


def test_an_interim_answer_has_neither_framing_nor_connection():
    head = answered(
        b"Link: </a.css>; rel=preload",
        b"Connection: x-hop",
        b"X-Hop: 1",
        b"Content-Length: 5",
        start=b"HTTP/1.1 103 Early Hints",
    )
    assert hopbyhop.interim(head) == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def test_a_101_reaches_the_client_with_its_handshake_and_one_pair_of_upgrade_fields():
    head = answered(
        b"upgrade: WebSocket",
        b"Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=",
        b"Sec-WebSocket-Protocol: chat",
        b"Connection: Upgrade, sec-websocket-accept, x-hop",
        b"X-Hop: 1",
        b"Sec-WebSocket-Location: ws://example.com/",
        b"Set-Cookie: a=1",
        start=b"HTTP/1.1 101 Web Socket Protocol Handshake",
    )
    assert parts(hopbyhop.switching(head)) == (
        b"HTTP/1.1 101 Web Socket Protocol Handshake",
        [
            (b"Sec-WebSocket-Accept", b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
            (b"Sec-WebSocket-Protocol", b"chat"),
            (b"Sec-WebSocket-Location", b"ws://example.com/"),
            (b"Set-Cookie", b"a=1"),
            (b"Connection", b"upgrade"),
            (b"Upgrade", b"websocket"),
        ],
    )

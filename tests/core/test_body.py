import pytest

from wsrelay.core import body
from wsrelay.core.body import Chunked, Framing, Length, NoBody, UntilClose
from wsrelay.core.head import RequestHead, ResponseHead
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal


def lines(*texts: bytes) -> Fields:
    return tuple((name, value) for name, _, value in (text.partition(b": ") for text in texts))


def request(*fields: bytes, minor: int = 1) -> RequestHead:
    return RequestHead(b"POST", b"/", minor, lines(b"Host: a", *fields), b"a", b"a", b"/", b"")


def response(*fields: bytes, status: int = 200, minor: int = 1) -> ResponseHead:
    return ResponseHead(minor, status, b"", lines(*fields))


@pytest.mark.parametrize(
    ("head", "framing"),
    [
        (request(), NoBody()),
        (request(minor=0), NoBody()),
        (request(b"Content-Length: 0"), Length(0)),
        (request(b"content-length: 12"), Length(12)),
        (request(b"Content-Length: 12", minor=0), Length(12)),
        (request(b"Content-Length: 0012"), Length(12)),
        (request(b"Content-Length: " + b"9" * 18), Length(10**18 - 1)),
        (request(b"Transfer-Encoding: chunked"), Chunked()),
        (request(b"transfer-encoding: CHUNKED"), Chunked()),
    ],
)
def test_a_request_body_is_delimited_by_its_one_framing_field(head: RequestHead, framing: Framing) -> None:
    assert body.request_framing(head, 0) == framing


BAD_LENGTHS = [
    b"Content-Length: ",
    b"Content-Length: -1",
    b"Content-Length: +1",
    b"Content-Length: 1.0",
    b"Content-Length: 0x1",
    b"Content-Length: 1e1",
    b"Content-Length: 1_0",
    b"Content-Length: 1 0",
    b"Content-Length: 1,1",
    b"Content-Length: 1, 2",
    b"Content-Length: \xb2",
    b"Content-Length: a",
    b"Content-Length: " + b"1" * 19,
    b"Content-Length: " + b"1" * 4000,
]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        *((request(line), Reason.BAD_FRAMING) for line in BAD_LENGTHS),
        (request(b"Content-Length: 1", b"Content-Length: 1"), Reason.BAD_FRAMING),
        (request(b"Content-Length: 1", b"content-length: 2"), Reason.BAD_FRAMING),
        (request(b"Content-Length: 1", b"Transfer-Encoding: chunked"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: gzip", b"Content-Length: 1"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked", minor=0), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: "), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: ,"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked,"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: ,chunked"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked, chunked"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked, gzip"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked;a=b"), Reason.BAD_FRAMING),
        (request(b'Transfer-Encoding: "chunked"'), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: chunked foo"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: \xa0chunked"), Reason.BAD_FRAMING),
        (request(b"Transfer-Encoding: gzip, chunked"), Reason.TRANSFER_CODING),
        (request(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), Reason.TRANSFER_CODING),
        (request(b"Transfer-Encoding: gzip"), Reason.TRANSFER_CODING),
        (request(b"Transfer-Encoding: identity"), Reason.TRANSFER_CODING),
        (request(b"Transfer-Encoding: xchunked"), Reason.TRANSFER_CODING),
    ],
)
def test_a_request_that_two_readers_could_delimit_differently_is_refused(head: RequestHead, reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        body.request_framing(head, 0)
    assert caught.value.reason is reason


def test_a_request_that_announces_more_than_the_limit_is_refused_before_its_body() -> None:
    assert body.request_framing(request(b"Content-Length: 10"), 10) == Length(10)
    with pytest.raises(Refusal) as caught:
        body.request_framing(request(b"Content-Length: 11"), 10)
    assert caught.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize(
    ("method", "head", "framing"),
    [
        (b"HEAD", response(b"Content-Length: 5"), NoBody()),
        (b"HEAD", response(b"Transfer-Encoding: chunked"), NoBody()),
        (b"HEAD", response(), NoBody()),
        (b"GET", response(status=100), NoBody()),
        (b"GET", response(status=199), NoBody()),
        (b"GET", response(b"Content-Length: 5", status=204), NoBody()),
        (b"GET", response(b"Content-Length: 5", status=304), NoBody()),
        (b"GET", response(b"Content-Length: 5"), Length(5)),
        (b"GET", response(b"Content-Length: 0"), Length(0)),
        (b"GET", response(b"Content-Length: 5", minor=0), Length(5)),
        (b"GET", response(b"Content-Length: 5", status=205), Length(5)),
        (b"GET", response(b"Transfer-Encoding: Chunked", status=404), Chunked()),
        (b"GET", response(), UntilClose()),
        (b"GET", response(minor=0), UntilClose()),
        (b"head", response(), UntilClose()),
    ],
)
def test_a_response_body_is_delimited_by_method_status_and_fields(
    method: bytes, head: ResponseHead, framing: Framing
) -> None:
    assert body.response_framing(method, head) == framing


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    "head",
    [
        *(response(line) for line in BAD_LENGTHS),
        response(b"Content-Length: 1", b"Content-Length: 1"),
        response(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        response(b"Transfer-Encoding: chunked", minor=0),
        response(b"Transfer-Encoding: gzip, chunked"),
        response(b"Transfer-Encoding: chunked, chunked"),
        response(b"Transfer-Encoding: identity"),
        response(b"Transfer-Encoding: "),
        response(b"Content-Length: 1, 2", status=304),
    ],
)
def test_a_response_that_two_readers_could_delimit_differently_is_the_upstreams_fault(
    method: bytes, head: ResponseHead
) -> None:
    with pytest.raises(Refusal) as caught:
        body.response_framing(method, head)
    assert caught.value.reason is Reason.UPSTREAM_BAD_FRAMING


@pytest.mark.parametrize("framing", [NoBody(), Length(0)])
def test_a_body_of_nothing_is_done_before_it_begins(framing: Framing) -> None:
    reader = body.reader(framing, Side.CLIENT)
    assert reader.done
    assert reader.end()
    assert (reader.feed(b"next"), reader.rest, reader.trailers) == (b"", b"next", ())


def test_a_counted_body_ends_at_its_last_byte() -> None:
    reader = body.reader(Length(5), Side.CLIENT)
    assert (reader.feed(b"he"), reader.done, reader.end()) == (b"he", False, False)
    assert (reader.feed(b"llo!"), reader.done, reader.end()) == (b"llo", True, True)
    assert reader.feed(b"?") == b""
    assert reader.rest == b"!?"


def test_a_body_until_close_is_complete_when_the_connection_is() -> None:
    reader = body.reader(UntilClose(), Side.UPSTREAM)
    assert (reader.feed(b"a"), reader.feed(b"b"), reader.done) == (b"a", b"b", False)
    assert reader.end()
    assert (reader.done, reader.rest, reader.trailers) == (True, b"", ())


@pytest.mark.parametrize("framing", [NoBody(), Length(3), UntilClose()])
def test_content_goes_out_as_it_is_where_nothing_is_chunked(framing: Framing) -> None:
    writer = body.writer(framing)
    assert writer.encode(b"abc") == b"abc"
    assert writer.finish(((b"A", b"b"),)) == b""


def test_chunked_content_that_is_written_is_read_again() -> None:
    writer = body.writer(Chunked())
    sent = writer.encode(b"hello") + writer.encode(b"") + writer.encode(b"x" * 17) + writer.finish(((b"A", b"b"),))
    assert sent == b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\nA: b\r\n\r\n"
    reader = body.reader(Chunked(), Side.CLIENT)
    assert reader.feed(sent) == b"hello" + b"x" * 17
    assert (reader.done, reader.trailers) == (True, ((b"A", b"b"),))

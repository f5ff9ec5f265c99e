import pytest

from wsrelay.core.chunked import ChunkReader, ChunkWriter, safe_trailers
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

TAIL = b"GET / HTTP/1.1\r\n"


def ways(data: bytes) -> list[list[bytes]]:
    return [[data], [bytes([byte]) for byte in data], [data[:3], data[3:]]]


def refusal(pieces: list[bytes], side: Side = Side.CLIENT, max_bytes: int = 0) -> Refusal:
    reader = ChunkReader(side, max_bytes)
    for piece in pieces:
        try:
            reader.feed(piece)
        except Refusal as refused:
            return refused
    pytest.fail("takes what should be refused")


@pytest.mark.parametrize(
    ("data", "content", "trailers"),
    [
        (b"0\r\n\r\n", b"", ()),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", ()),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", ()),
        (b"0005\r\nhello\r\n000\r\n\r\n", b"hello", ()),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, ()),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", ()),
        (b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello", ()),
        (b'5;a="b;c\t\xff"\r\nhello\r\n0\r\n\r\n', b"hello", ()),
        (b"5 \t;a\r\nhello\r\n0\r\n\r\n", b"hello", ()),
        (b"0\r\nA: b\r\nc:\td \r\n\r\n", b"", ((b"A", b"b"), (b"c", b"d"))),
    ],
)
def test_a_chunked_body_is_read_however_it_is_cut(data: bytes, content: bytes, trailers: Fields) -> None:
    for pieces in (*ways(data), [data + TAIL]):
        reader = ChunkReader(Side.CLIENT, 0)
        assert not reader.end()
        read = []
        for piece in pieces:
            assert not reader.done
            read.append(reader.feed(piece))
        assert (b"".join(read), reader.trailers) == (content, trailers)
        assert reader.done
        assert reader.end()
        assert reader.rest == (TAIL if pieces == [data + TAIL] else b"")


def test_content_is_given_before_its_chunk_is_complete() -> None:
    reader = ChunkReader(Side.CLIENT, 0)
    assert reader.feed(b"5\r\nhel") == b"hel"
    assert reader.feed(b"lo") == b"lo"
    assert (reader.feed(b"\r\n0\r\n\r\n"), reader.done) == (b"", True)


def test_bytes_after_the_end_are_all_kept() -> None:
    reader = ChunkReader(Side.CLIENT, 0)
    reader.feed(b"0\r\n\r\na")
    assert reader.feed(b"b") == b""
    assert reader.rest == b"ab"


@pytest.mark.parametrize("padding", [b" ", b"  \t", b" ;a "])
def test_a_padded_size_is_taken_from_an_upstream_and_not_from_a_client(padding: bytes) -> None:
    data = b"5" + padding + b"\r\nhello\r\n0\r\n\r\n"
    reader = ChunkReader(Side.UPSTREAM, 0)
    assert (reader.feed(data), reader.done) == (b"hello", True)
    if b";" not in padding:
        with pytest.raises(Refusal):
            ChunkReader(Side.CLIENT, 0).feed(data)


def test_the_limit_of_content_holds_over_many_small_chunks_in_one_segment() -> None:
    small = b"2\r\nab\r\n"
    assert ChunkReader(Side.CLIENT, 6).feed(small * 3 + b"0\r\n\r\n") == b"ababab"
    with pytest.raises(Refusal) as caught:
        ChunkReader(Side.CLIENT, 6).feed(small * 4)
    assert caught.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b";a\r\n",
        b" 5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"5a g\r\nhello\r\n",
        b"\xb2\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\r\nhello\r\n",
        b"5\rhello\r\n",
        b"5;a\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5;\x00\r\nhello\r\n",
        b"0" * 17 + b"\r\n",
        b"8000000000000000\r\n",
        b"ffffffffffffffff\r\n",
        b"5\r\nhelloo\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: b\rc\r\n\r\n",
        b"1;" + b"a" * 4095 + b"\r\n",
        b"1;" + b"a" * 70000,
        b"0\r\n" + b"A: b\r\n" * 129 + b"\r\n",
        b"0\r\nA: " + b"b" * 32768,
        b"0\r\n" + (b"A: " + b"b" * 8189 + b"\r\n") * 4 + b"A: b\r\n",
    ],
)
@pytest.mark.parametrize(
    ("side", "reason"), [(Side.CLIENT, Reason.BAD_BODY), (Side.UPSTREAM, Reason.UPSTREAM_BAD_BODY)]
)
def test_what_two_readers_could_cut_differently_is_refused(data: bytes, side: Side, reason: Reason) -> None:
    for pieces in ways(data):
        assert refusal(pieces, side).reason is reason


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"a" * 4094 + b"\r\nx\r\n0\r\n\r\n",
        b"7fffffffffffffff\r\n",
        b"0\r\n" + b"A: b\r\n" * 128 + b"\r\n",
        b"0\r\nA: " + b"b" * 32765 + b"\r\n\r\n",
        b"0\r\n" + (b"A: " + b"b" * 8189 + b"\r\n") * 4 + b"\r\n",
    ],
)
def test_what_just_fits_is_read(data: bytes) -> None:
    for pieces in ways(data):
        reader = ChunkReader(Side.CLIENT, 0)
        for piece in pieces:
            reader.feed(piece)
        assert reader.done is data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("wrong", [b"5\r\nhellox", b"5\r\nhello\n", b"5\r\nhello\rx"])
def test_content_beyond_a_chunk_is_refused_without_waiting_for_a_line_end(wrong: bytes) -> None:
    assert refusal([bytes([byte]) for byte in wrong]).reason is Reason.BAD_BODY


def test_small_chunks_with_long_extensions_are_refused_after_a_while() -> None:
    chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    reader = ChunkReader(Side.CLIENT, 0)
    assert reader.feed(chunk * 16) == b"x" * 16
    with pytest.raises(Refusal) as caught:
        reader.feed(chunk)
    assert caught.value.reason is Reason.BAD_BODY


@pytest.mark.parametrize(
    ("size", "extension"), [(1, b""), (10, b";a=b"), (20, b";sum=abcdef"), (200, b";" + b"a" * 300)]
)
def test_many_small_chunks_are_read_and_extensions_that_their_content_is_worth(size: int, extension: bytes) -> None:
    reader = ChunkReader(Side.CLIENT, 0)
    assert len(reader.feed((b"%x" % size + extension + b"\r\n" + b"x" * size + b"\r\n") * 5000)) == size * 5000


@pytest.mark.parametrize("extension", [b";", b";a", b";sum=abcdef"])
def test_many_extensions_for_next_to_no_content_are_refused(extension: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        ChunkReader(Side.CLIENT, 0).feed((b"1" + extension + b"\r\nx\r\n") * 5000)
    assert caught.value.reason is Reason.BAD_BODY


def test_a_chunk_beyond_the_limit_is_refused_at_its_size() -> None:
    reader = ChunkReader(Side.CLIENT, 10)
    assert reader.feed(b"5\r\nhello\r\n5\r\nhello\r\n") == b"hello" * 2
    with pytest.raises(Refusal) as caught:
        reader.feed(b"1\r\n")
    assert caught.value.reason is Reason.BODY_TOO_LARGE
    assert refusal([b"b\r\n"], Side.UPSTREAM, 10).reason is Reason.UPSTREAM_BAD_BODY


def test_no_content_is_no_chunk_since_that_would_be_the_last() -> None:
    assert ChunkWriter().encode(b"") == b""
    assert ChunkWriter().finish(()) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"Content-Length",
        b"Transfer-Encoding",
        b"Host",
        b"Connection",
        b"Keep-Alive",
        b"TE",
        b"Trailer",
        b"Upgrade",
        b"HTTP2-Settings",
        b"Proxy-Connection",
        b"Authorization",
        b"Proxy-Authorization",
        b"Cookie",
        b"Set-Cookie",
        b"Origin",
        b"Cache-Control",
        b"Expect",
        b"If-Match",
        b"Content-Type",
        b"Content-Encoding",
        b"Location",
        b"Sec-WebSocket-Accept",
        b"Forwarded",
        b"X-Forwarded-For",
        b"X-Forwarded",
        b"X-Real-IP",
        b"X-Original-URL",
        b"X-HTTP-Method-Override",
        b"X-Wsrelay-Reason",
        b"x_real_ip",
        b"X.Forwarded_For",
        b"CONTENT_LENGTH",
        b"Content~Length",
    ],
)
def test_a_trailer_that_could_pass_for_a_field_of_the_head_is_dropped(name: bytes) -> None:
    assert safe_trailers(((b"A", b"1"), (name, b"x"), (b"B", b"2"))) == ((b"A", b"1"), (b"B", b"2"))


@pytest.mark.parametrize("name", [b"Grpc-Status", b"Server-Timing", b"Digest", b"ETag", b"X-Checksum", b"Hostname"])
def test_other_trailers_pass(name: bytes) -> None:
    assert safe_trailers(((name, b"x"),)) == ((name, b"x"),)

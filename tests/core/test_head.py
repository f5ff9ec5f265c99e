import pytest

from tests.core.readers import check_reader, refusal
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from wsrelay.core.reasons import Reason

LIMITS = HeadLimits(max_bytes=4096, max_fields=20)
UPGRADE = (
    b"GET /wss/chat?token=1 HTTP/1.1\r\nHost: Chat.Example.com:443\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def request_reader() -> RequestReader:
    return RequestReader(LIMITS)


def response_reader() -> ResponseReader:
    return ResponseReader(LIMITS)


def get(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def read(data: bytes) -> RequestHead:
    head = request_reader().feed(data)
    assert head is not None
    return head


def respond(data: bytes) -> ResponseHead:
    head = response_reader().feed(data)
    assert head is not None
    return head


def test_a_request_is_read_into_its_parts() -> None:
    def expected(head: RequestHead) -> None:
        assert (head.method, head.target, head.minor) == (b"GET", b"/wss/chat?token=1", 1)
        assert (head.path, head.query) == (b"/wss/chat", b"?token=1")
        assert (head.host, head.authority) == (b"chat.example.com", b"Chat.Example.com:443")
        assert head.fields[:2] == ((b"Host", b"Chat.Example.com:443"), (b"Connection", b"keep-alive, Upgrade"))
        assert len(head.fields) == 5

    check_reader(request_reader, UPGRADE, expected)


def test_fields_are_found_by_lower_case_name() -> None:
    head = read(get(b"ACCEPT: b", b"aCCept: ", b"Accept:C,, D ,\t", b"Empty:"))
    assert head.value(b"accept") == b"b"
    assert head.values(b"accept") == (b"b", b"", b"C,, D ,")
    assert head.tokens(b"accept") == (b"b", b"c", b"d")
    assert head.value(b"empty") == b""
    assert head.tokens(b"empty") == ()
    assert head.value(b"absent") is None
    assert head.values(b"absent") == head.tokens(b"absent") == ()


def test_a_head_made_by_hand_equals_the_one_that_was_read() -> None:
    made = RequestHead(b"GET", b"/", 1, ((b"Host", b"a"),), b"a", b"a", b"/", b"")
    assert made == read(get())
    assert made.value(b"host") == b"a"
    assert ResponseHead(1, 200, b"OK", ((b"A", b"b"),)).value(b"a") == b"b"


@pytest.mark.parametrize(
    ("data", "host", "authority", "target"),
    [
        (get(start=b"GET / HTTP/1.0", host=b""), b"", b"", b"/"),
        (get(start=b"GET / HTTP/1.0"), b"a", b"a", b"/"),
        (get(start=b"GET http://B:80/x?y HTTP/1.0", host=b""), b"b", b"B:80", b"/x?y"),
        (get(start=b"GET http://A:80/x?y HTTP/1.1"), b"a", b"a", b"/x?y"),
        (get(start=b"OPTIONS * HTTP/1.1"), b"a", b"a", b"*"),
        (get(start=b"OPTIONS http://a HTTP/1.1"), b"a", b"a", b"*"),
        (get(host=b"hOST:[::1]:8080"), b"[::1]", b"[::1]:8080", b"/"),
        (get(start=b"M-SEARCH /\xff HTTP/1.1".replace(b"\xff", b"%ff")), b"a", b"a", b"/%ff"),
        (get(start=b"VERSION-CONTROL / HTTP/1.1"), b"a", b"a", b"/"),
        (b"\r\n" + get(), b"a", b"a", b"/"),
    ],
)
def test_host_and_target_are_reduced_to_what_routes_compare(
    data: bytes, host: bytes, authority: bytes, target: bytes
) -> None:
    def expected(head: RequestHead) -> None:
        assert (head.host, head.authority, head.target, head.path + head.query) == (host, authority, target, target)

    check_reader(request_reader, data, expected)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        # RFC 9112 3: the request line.
        (get(start=b"GET /"), Reason.MALFORMED_HEAD),
        (get(start=b"GET"), Reason.MALFORMED_HEAD),
        (get(start=b"GET HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"GET  HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"GET / HTTP/1.1 "), Reason.MALFORMED_HEAD),
        (get(start=b"GET /\tHTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"G(T / HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"G\xc3 / HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"GET / HTTP/1"), Reason.MALFORMED_HEAD),
        (get(start=b"GET / http/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"GET / HTTP/1.10"), Reason.MALFORMED_HEAD),
        (get(start=b"GET / HTTP/01.1"), Reason.MALFORMED_HEAD),
        (get(start=b"GET / HTTPS/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"GET / HTTP/1.2"), Reason.HTTP_VERSION),
        (get(start=b"GET / HTTP/0.9"), Reason.HTTP_VERSION),
        (b"PRI * HTTP/2.0\r\n\r\n", Reason.HTTP_VERSION),
        (get(start=b"CONNECT a:443 HTTP/1.1", host=b"Host: a:443"), Reason.CONNECT_METHOD),
        (get(start=b"CONNECT / HTTP/1.1"), Reason.CONNECT_METHOD),
        (get(start=b"PRI / HTTP/1.1"), Reason.HTTP_VERSION),
        (get(start=b"get / HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"Get / HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"G3T / HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"-GET / HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(start=b"A" * 33 + b" / HTTP/1.1"), Reason.MALFORMED_HEAD),
        (get(b"Authorization: a", b"authorization: a"), Reason.MALFORMED_HEAD),
        (get(b"Content-Type: a/b", b"Content-Type: a/b"), Reason.MALFORMED_HEAD),
        (get(b"Origin: https://a", b"Origin: https://b"), Reason.MALFORMED_HEAD),
        (get(start=b"TRACE / HTTP/1.1"), Reason.TRACE_METHOD),
        (get(start=b"TRACK / HTTP/1.1"), Reason.TRACE_METHOD),
        # RFC 9112 3.2: the target.
        (get(start=b"GET /a b HTTP/1.1"), Reason.BAD_TARGET),
        (get(start=b"GET  / HTTP/1.1"), Reason.BAD_TARGET),
        (get(start=b"GET /#a HTTP/1.1"), Reason.BAD_TARGET),
        (get(start=b"GET * HTTP/1.1"), Reason.BAD_TARGET),
        (get(start=b"GET a:443 HTTP/1.1"), Reason.BAD_TARGET),
        (get(start=b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 HTTP/1.1"), Reason.BAD_TARGET),
        # RFC 9112 3.2: Host.
        (get(host=b""), Reason.BAD_HOST),
        (get(host=b"Host:"), Reason.BAD_HOST),
        (get(b"Host: a"), Reason.BAD_HOST),
        (get(b"hOST: b"), Reason.BAD_HOST),
        (get(b"Host: a", start=b"GET / HTTP/1.0"), Reason.BAD_HOST),
        (get(start=b"GET / HTTP/1.0", host=b"Host: "), Reason.BAD_HOST),
        (get(host=b"Host: a/b"), Reason.BAD_HOST),
        (get(start=b"GET http://b/ HTTP/1.1"), Reason.BAD_HOST),
        (get(start=b"GET https://a/ HTTP/1.1", host=b"Host: a:80"), Reason.BAD_HOST),
        (get(start=b"GET http://a/ HTTP/1.1", host=b""), Reason.BAD_HOST),
        (get(start=b"GET http://a/ HTTP/1.1", host=b"Host:"), Reason.BAD_HOST),
        # RFC 9112 5: the fields.
        (get(b"A : b"), Reason.MALFORMED_HEAD),
        (get(b"A: b", b" folded"), Reason.MALFORMED_HEAD),
        (get(host=b" Host: a"), Reason.MALFORMED_HEAD),
        (get(b": b"), Reason.MALFORMED_HEAD),
        (get(b"A"), Reason.MALFORMED_HEAD),
        (get(b"A: \x00"), Reason.MALFORMED_HEAD),
        (get(b"A: b\rC: d"), Reason.MALFORMED_HEAD),
        (get(b"A: b\nC: d"), Reason.MALFORMED_HEAD),
        (get(b"A: b\r\rC: d"), Reason.MALFORMED_HEAD),
        (get(b"A: \x7f"), Reason.MALFORMED_HEAD),
        (get().replace(b"\r\n", b"\n"), Reason.MALFORMED_HEAD),
        (get().replace(b"\r\n\r\n", b"\r\n\n"), Reason.MALFORMED_HEAD),
        (get().replace(b"\r\n\r\n", b"\r\n\r\r\n\r\n"), Reason.MALFORMED_HEAD),
        # RFC 9112 2.2: at most one empty line before it.
        (b"\r\n\r\n" + get(), Reason.MALFORMED_HEAD),
        (b"\r" + get(), Reason.MALFORMED_HEAD),
        (b"\n" + get(), Reason.MALFORMED_HEAD),
        (b" " + get(), Reason.MALFORMED_HEAD),
        (b"\x00" + get(), Reason.MALFORMED_HEAD),
    ],
)
def test_a_request_outside_the_grammar_is_refused(data: bytes, reason: Reason) -> None:
    check_reader(request_reader, data, reason)


@pytest.mark.parametrize(
    "beginning",
    [
        b"\x16\x03\x01",
        b"\x80\x2e",
        b"\x00",
        b"{",
        b"\n",
        b"\r\n\r",
        b"\r\n\n",
        b"\r\r",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\r",
        b"GET / HTTP/1.1\r\nA: b\x00",
        b"GET / HTTP/1.1\r\nA: b\n",
    ],
)
def test_what_cannot_become_a_request_is_refused_before_its_end(beginning: bytes) -> None:
    whole = refusal(request_reader(), [beginning])
    pieces = refusal(request_reader(), [bytes([byte]) for byte in beginning])
    assert whole.reason is pieces.reason is Reason.MALFORMED_HEAD


def test_tls_on_a_plain_port_is_called_by_its_name() -> None:
    assert "TLS" in refusal(request_reader(), [b"\x16"]).detail


def test_a_line_end_cut_in_two_is_still_one() -> None:
    reader = request_reader()
    assert reader.feed(b"GET / HTTP/1.1\r") is None
    assert reader.feed(b"\nHost: a\r\n\r") is None
    assert reader.feed(b"\n") is not None


@pytest.mark.parametrize("ignored", [b"", b"\r", b"\r\n"])
def test_a_request_has_not_begun_with_an_ignored_empty_line(ignored: bytes) -> None:
    reader = request_reader()
    assert reader.feed(ignored) is None
    assert not reader.begun
    assert reader.feed(b"\r\n"[len(ignored) :] + b"G") is None
    assert reader.begun


def test_bytes_behind_a_head_are_kept_as_they_are() -> None:
    reader = request_reader()
    assert reader.feed(get() + b"\x81\x85\x00\r\n\r\n\n") is not None
    assert reader.rest == b"\x81\x85\x00\r\n\r\n\n"


def test_a_head_of_the_largest_size_is_read_and_a_byte_more_is_refused() -> None:
    fits = get(b"A: " + b"b" * (LIMITS.max_bytes - len(get(b"A: "))))
    assert len(fits) == LIMITS.max_bytes
    check_reader(request_reader, fits, lambda head: None)
    check_reader(request_reader, fits.replace(b"bb", b"bbb", 1), Reason.HEAD_TOO_LARGE)


def test_a_head_without_an_end_is_refused_when_it_reaches_the_limit_however_much_comes_at_once() -> None:
    tail = b"A" * 2 * LIMITS.max_bytes
    for endless, reason in (
        (b"GET / HTTP/1.1\r\n" + tail, Reason.HEAD_TOO_LARGE),
        (b"GET /" + tail, Reason.TARGET_TOO_LONG),
        (tail, Reason.MALFORMED_HEAD),
    ):
        assert refusal(request_reader(), [endless]).reason is reason
        reader = request_reader()
        for at in range(LIMITS.max_bytes - 1):
            assert reader.feed(endless[at : at + 1]) is None
        assert refusal(reader, [b"a"]).reason is reason


def test_bytes_beyond_the_limit_are_no_part_of_the_head_but_are_kept() -> None:
    reader = request_reader()
    tail = b"\x00" * 2 * LIMITS.max_bytes
    assert reader.feed(get()[:-1]) is None
    assert reader.feed(get()[-1:] + tail) is not None
    assert reader.rest == tail


def test_the_number_of_fields_is_bounded() -> None:
    fits = [b"A: b"] * (LIMITS.max_fields - 1)
    check_reader(request_reader, get(*fits), lambda head: None)
    check_reader(request_reader, get(*fits, b"A: b"), Reason.HEAD_TOO_LARGE)


def test_a_repeated_name_many_times_over_keeps_every_value() -> None:
    values = [b"%d" % number for number in range(LIMITS.max_fields - 1)]
    head = read(get(*(b"A: " + value for value in values)))
    assert head.values(b"a") == tuple(values)


def test_a_refusal_never_repeats_what_the_client_sent() -> None:
    for data in (get(b"<script>: b"), get(start=b"GET /<script> HTTP/1.1"), get(host=b"Host: <script>")):
        assert "script" not in refusal(request_reader(), [data]).detail


@pytest.mark.parametrize(
    ("line", "minor", "status", "phrase"),
    [
        (b"HTTP/1.1 101 Switching Protocols", 1, 101, b"Switching Protocols"),
        (b"HTTP/1.0 404 Not Found", 0, 404, b"Not Found"),
        (b"HTTP/1.1 200 ", 1, 200, b""),
        (b"HTTP/1.1 200", 1, 200, b""),
        (b"HTTP/1.1 200 \t\xc3\xa4 ", 1, 200, b"\t\xc3\xa4 "),
        (b"HTTP/1.1 999 No", 1, 999, b"No"),
    ],
)
def test_a_response_is_read_into_its_parts(line: bytes, minor: int, status: int, phrase: bytes) -> None:
    def expected(head: ResponseHead) -> None:
        assert (head.minor, head.status, head.phrase) == (minor, status, phrase)
        assert head.fields == ((b"A", b"b"), (b"a", b"c"))
        assert head.values(b"a") == (b"b", b"c")

    check_reader(response_reader, line + b"\r\nA: b\r\na:c\r\n\r\n", expected)


def test_a_response_may_have_no_field() -> None:
    assert respond(b"HTTP/1.1 100 Continue\r\n\r\n").fields == ()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b" HTTP/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"220 ready\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * LIMITS.max_bytes + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (LIMITS.max_fields + 1) + b"\r\n",
    ],
)
def test_every_fault_in_a_response_is_the_upstreams(data: bytes) -> None:
    check_reader(response_reader, data, Reason.UPSTREAM_BAD_HEAD)


@pytest.mark.parametrize("greeting", [b"2", b"SSH-2.0", b"HTTQ", b"\x15\x03", b"HTTP/2", b"HTTP/1.1 200 OK\n"])
def test_an_upstream_that_speaks_something_else_is_not_waited_for(greeting: bytes) -> None:
    for pieces in ([greeting], [bytes([byte]) for byte in greeting]):
        assert refusal(response_reader(), pieces).reason is Reason.UPSTREAM_BAD_HEAD


def test_a_response_begins_with_its_first_byte() -> None:
    reader = response_reader()
    assert reader.feed(b"") is None
    assert not reader.begun
    assert reader.feed(b"H") is None
    assert reader.begun


def test_an_interim_response_leaves_the_next_one_in_rest() -> None:
    reader = response_reader()
    assert reader.feed(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x00") is not None
    following = response_reader()
    head = following.feed(reader.rest)
    assert head is not None
    assert (head.status, following.rest) == (101, b"\x81\x00")

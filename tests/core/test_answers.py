import pytest

from wsrelay.config.settings import RedirectTo, Respond
from wsrelay.core.answers import answer, https_redirect
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.upgrade import Plain, Upgrade


def asked(start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: Example.com:80\r\n") -> RequestHead:
    head = RequestReader(HeadLimits(32 * 1024, 128)).feed(start + b"\r\n" + host + b"\r\n")
    assert head is not None
    return head


def location(written: bytes) -> bytes:
    lines = written.partition(b"\r\n\r\n")[0].split(b"\r\n")
    (found,) = [line.removeprefix(b"Location: ") for line in lines if line.startswith(b"Location: ")]
    return found


def test_a_fixed_answer_is_complete():
    assert answer(Respond(200, b"ok\n"), asked(), close=False) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nok\n"
    )


def test_a_fixed_answer_to_head_has_the_length_but_no_body():
    written = answer(Respond(200, b"ok\n"), asked(b"HEAD / HTTP/1.1"), close=False)
    assert written.endswith(b"Content-Length: 3\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status):
    written = answer(Respond(status, b"ignored"), asked(), close=True)
    assert written.endswith(b"\r\nConnection: close\r\n\r\n")
    assert written.count(b"\r\n") == 3


def test_a_status_that_has_no_name_is_answered_with_an_empty_phrase():
    assert answer(Respond(299), asked(), close=False).startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize(
    ("start", "close", "field"),
    [
        (b"GET / HTTP/1.1", False, None),
        (b"GET / HTTP/1.1", True, b"Connection: close"),
        (b"GET / HTTP/1.0", False, b"Connection: keep-alive"),
        (b"GET / HTTP/1.0", True, b"Connection: close"),
    ],
)
def test_an_answer_says_whether_the_connection_goes_on(start, close, field):
    lines = answer(Respond(), asked(start), close=close).split(b"\r\n")
    assert [line for line in lines if line.startswith(b"Connection")] == ([field] if field else [])


@pytest.mark.parametrize(
    ("to", "start", "expected"),
    [
        ("https://example.org/", b"GET /a HTTP/1.1", b"https://example.org/"),
        ("https://example.org{uri}", b"GET /a%20b?c=%0d%0a HTTP/1.1", b"https://example.org/a%20b?c=%0d%0a"),
        ("https://www.{host}{uri}", b"GET /a HTTP/1.1", b"https://www.example.com/a"),
        ("/new{uri}", b"GET //evil.example/ HTTP/1.1", b"/new//evil.example/"),
        ("https://example.org/{other}!~#x", b"GET / HTTP/1.1", b"https://example.org/{other}!~#x"),
        ("https://example.org/聊天 室", b"GET / HTTP/1.1", b"https://example.org/%E8%81%8A%E5%A4%A9%20%E5%AE%A4"),
        ("/a\r\nSet-Cookie: x=1", b"GET / HTTP/1.1", b"/a%0D%0ASet-Cookie:%20x=1"),
        ("https://example.org{uri}", b"OPTIONS * HTTP/1.1", b"https://example.org/"),
    ],
)
def test_a_redirect_is_made_of_the_configuration_and_the_clients_own_bytes(to, start, expected):
    """AUT-10: nothing decoded, nothing that could end a line."""
    assert location(answer(RedirectTo(to), asked(start), close=False)) == expected


def test_placeholders_that_the_client_sent_are_not_filled_in():
    head = asked(b"GET /?%7Bhost%7D HTTP/1.1")
    assert location(answer(RedirectTo("https://x{uri}"), head, close=False)) == b"https://x/?%7Bhost%7D"


@pytest.mark.parametrize(("status", "phrase"), [(301, b"Moved Permanently"), (308, b"Permanent Redirect")])
def test_a_redirect_has_its_status_and_a_body_that_repeats_nothing(status, phrase):
    written = answer(RedirectTo("https://x{uri}", status), asked(b"GET /some/page HTTP/1.1"), close=True)
    assert written.startswith(b"HTTP/1.1 %d %b\r\n" % (status, phrase))
    assert written.endswith(b"\r\n\r\n%d %b\n" % (status, phrase))


def test_a_redirect_to_the_same_host_needs_one():
    with pytest.raises(Refusal) as caught:
        answer(RedirectTo("https://{host}/"), asked(b"GET / HTTP/1.0", b""), close=False)
    assert caught.value.reason is Reason.BAD_HOST


def test_a_redirect_elsewhere_needs_no_host():
    written = answer(RedirectTo("https://x{uri}"), asked(b"GET /a HTTP/1.0", b""), close=True)
    assert location(written) == b"https://x/a"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"Host: Example.com:80\r\n", b"https://example.com/a?b=c"),
        (b"Host: [2001:db8::1]:8080\r\n", b"https://[2001:db8::1]/a?b=c"),
    ],
)
def test_the_https_redirect_keeps_host_path_and_query(host, expected):
    written = https_redirect(asked(b"GET /a?b=c HTTP/1.1", host), Plain(), close=True)
    assert written.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
    assert location(written) == expected


def test_the_https_redirect_needs_a_host():
    with pytest.raises(Refusal) as caught:
        https_redirect(asked(b"GET / HTTP/1.0", b""), Plain(), close=True)
    assert caught.value.reason is Reason.BAD_HOST


def test_an_upgrade_is_told_to_come_by_tls():
    with pytest.raises(Refusal) as caught:
        https_redirect(asked(), Upgrade(b"", b""), close=True)
    assert caught.value.reason is Reason.TLS_REQUIRED
    assert caught.value.fields == ((b"Upgrade", b"TLS/1.2, HTTP/1.1"),)  # RFC 9110 15.5.22

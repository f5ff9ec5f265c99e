import re

import pytest

from wsrelay.config import patterns
from wsrelay.config.settings import HostHeader, PathKind, PathPattern


def complaint(read: object, value: object) -> str:
    assert callable(read)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the whole text is compared)
        read(value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", b"example.com"),
        ("*.Example.com", b"*.example.com"),
        ("localhost", b"localhost"),
        ("1.2.3.4", b"1.2.3.4"),
        ("[::0:1]", b"[::1]"),
    ],
)
def test_a_host_is_kept_as_requests_are_compared(text: str, host: bytes) -> None:
    assert patterns.host(text) == host


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, 'expected a host such as "example.com" or "*.example.com", found 3'),
        ("*", 'expected a host such as "example.com" or "*.example.com"; for any host leave the key out'),
        (".a.b", 'expected a host such as "example.com", found ".a.b"; did you mean "*.a.b"?'),
        ("a.b:80", 'expected a host without a port, found "a.b:80"'),
        ("[::1]:80", 'expected a host without a port, found "[::1]:80"'),
        ("::1", 'expected an IPv6 address in brackets, such as "[::1]", found "::1"'),
        ("*.*.a", 'expected a host name, found "*.a"'),
        ("a.*", 'expected a host name, found "a.*"'),
        ("", 'expected a host name, found ""'),
        ("https://a.b", 'expected a host alone, without scheme and path, found "https://a.b"'),
    ],
)
def test_what_is_no_host_is_refused(value: object, told: str) -> None:
    assert complaint(patterns.host, value) == told


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("/", PathPattern(PathKind.PREFIX, b"/")),
        ("/wss/", PathPattern(PathKind.PREFIX, b"/wss/")),
        ("=/wss", PathPattern(PathKind.EXACT, b"/wss")),
        ("/a%2Fb;c=1", PathPattern(PathKind.PREFIX, b"/a%2Fb;c=1")),
        ("/聊天", PathPattern(PathKind.PREFIX, "/聊天".encode())),
        ("/...", PathPattern(PathKind.PREFIX, b"/...")),
    ],
)
def test_a_path_has_the_kind_that_its_first_character_says(text: str, pattern: PathPattern) -> None:
    assert patterns.path(text) == pattern


def test_a_regular_expression_comes_compiled() -> None:
    assert patterns.path("~^/room/[0-9]+$") == PathPattern(
        PathKind.REGEX, b"^/room/[0-9]+$", re.compile(b"^/room/[0-9]+$")
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, 'expected a path as "/prefix", "=/exact" or "~regex", found 3'),
        ("", 'expected a path as "/prefix", "=/exact" or "~regex", found ""'),
        ("wss", 'expected a path as "/prefix", "=/exact" or "~regex", found "wss"'),
        ("=wss", 'expected a path that begins with "/", found "wss"'),
        ("/a?b", 'expected a path without a query or fragment, found "/a?b"'),
        ("/a#b", 'expected a path without a query or fragment, found "/a#b"'),
        ("/a/../b", 'expected a path without "." or ".." segments: they get 400, found "/a/../b"'),
        ("/a/%2E", 'expected a path without "." or ".." segments: they get 400, found "/a/%2E"'),
        ("/a b", 'expected a path, spaces and controls percent-encoded, found "/a b"'),
        ("/a\n", r'expected a path, spaces and controls percent-encoded, found "/a\n"'),
        ("/a\\b", r'expected a path, spaces and controls percent-encoded, found "/a\\b"'),
        ("/a%zz", 'expected a path, spaces and controls percent-encoded, found "/a%zz"'),
        ("/a%00", 'expected a path, spaces and controls percent-encoded, found "/a%00"'),
        ("~[", 'expected a regular expression after "~": unterminated character set at position 0'),
        ("~é", r'expected a regex in ASCII, with \x.. for bytes above 0x7F, found "é"'),
    ],
)
def test_what_is_no_path_is_refused(value: object, told: str) -> None:
    assert complaint(patterns.path, value) == told


def test_two_spellings_of_a_path_are_compared_as_one() -> None:
    compared = [patterns.compared(patterns.path(text)) for text in ("/%61%2f%25", "/a%2F%25", "~/%61")]
    assert compared == [b"/a%2F%25", b"/a%2F%25", b"/%61"]


def test_a_rewrite_is_a_path_that_can_be_sent() -> None:
    assert patterns.rewrite("/v2/%20") == b"/v2/%20"
    assert complaint(patterns.rewrite, "v2") == 'expected a path that begins with "/", found "v2"'
    assert complaint(patterns.rewrite, 2) == 'expected a path that begins with "/", found 2'
    assert complaint(patterns.rewrite, "/é") == 'expected a path as it is sent, "/%C3%A9", found "/é"'


@pytest.mark.parametrize(
    ("value", "host_header"),
    [
        ("preserve", HostHeader.PRESERVE),
        ("upstream", HostHeader.UPSTREAM),
        ("App.internal", b"app.internal"),
        ("app:8080", b"app:8080"),
        ("[::1]:80", b"[::1]:80"),
        ("[::1]", b"[::1]"),
    ],
)
def test_the_host_header_is_a_word_or_a_host(value: str, host_header: HostHeader | bytes) -> None:
    assert patterns.host_header(value) == host_header


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (True, 'expected "preserve", "upstream" or a host, found true'),
        ("upstraem", 'expected "preserve", "upstream" or a host, found "upstraem"; did you mean "upstream"?'),
        ("a:0", 'expected a port from 1 to 65535, found "0"'),
        ("a\r\nX: y", 'expected a port from 1 to 65535, found " y"'),
        ("a\r\n", r'expected a host name, found "a\r\n"'),
    ],
)
def test_what_is_no_host_header_is_refused(value: object, told: str) -> None:
    assert complaint(patterns.host_header, value) == told


@pytest.mark.parametrize(
    "value", ["https://{host}{uri}", "http://a.b:80/c?d=e#f", "/login", "https://a{uri}", "/a{uri}"]
)
def test_a_redirect_leads_to_a_url_or_a_path(value: str) -> None:
    assert patterns.redirect_target(value) == value


FORMS = 'expected a URL with http:// or https://, or a path beginning with "/"'
CHARACTERS = "expected a URL of RFC 3986 characters, others percent-encoded"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1, f"{FORMS}, found 1"),
        ("example.com", f'{FORMS}, found "example.com"'),
        ("javascript:1", f'{FORMS}, found "javascript:1"'),
        ("{uri}", f'{FORMS}, found "{{uri}}"'),
        ("https://a/{path}", 'expected no placeholder but {uri} and {host}, found "{path}"'),
        ("/{uri}", 'expected {uri} without a slash before it, for it begins with one, found "/{uri}"'),
        ("https://{uri}", 'expected {uri} without a slash before it, for it begins with one, found "https://{uri}"'),
        ("//a", f'{CHARACTERS}, found "//a"'),
        ("/a b", f'{CHARACTERS}, found "/a b"'),
        ("/a\r\nX: y", f'{CHARACTERS}, found "/a\\r\\nX: y"'),
        ("/é", f'{CHARACTERS}, found "/é"'),
        ("/{", f'{CHARACTERS}, found "/{{"'),
    ],
)
def test_what_is_no_redirect_is_refused(value: object, told: str) -> None:
    assert complaint(patterns.redirect_target, value) == told


def test_an_answer_is_at_most_a_mebibyte() -> None:
    assert patterns.answer_body("é") == b"\xc3\xa9"
    assert (
        complaint(patterns.answer_body, "x" * (1 << 20) + "y")
        == "expected a body of at most 1 MiB, found 1048577 bytes"
    )

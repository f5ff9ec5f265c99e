import pytest

from wsrelay.core.authority import parse_authority, parse_target, split_path
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal


@pytest.mark.parametrize(
    ("sent", "host", "port"),
    [
        (b"example.com", b"example.com", None),
        (b"EXAMPLE.Com:8443", b"example.com", 8443),
        (b"example.com.", b"example.com", None),
        (b"example.com.:80", b"example.com", 80),
        (b"localhost", b"localhost", None),
        (b"my_host-1", b"my_host-1", None),
        (b"192.0.2.1:65535", b"192.0.2.1", 65535),
        (b"example.com:", b"example.com", None),
        (b"example.com:0080", b"example.com", 80),
        (b"[::1]", b"[::1]", None),
        (b"[2001:DB8:0:0::1]:443", b"[2001:db8::1]", 443),
        (b"[::ffff:192.0.2.1]:", parse_authority(b"[::ffff:c000:201]").host, None),
        (b"a" * 255 + b":65535", b"a" * 255, 65535),
    ],
)
def test_a_host_is_read_in_the_form_in_which_hosts_are_compared(sent: bytes, host: bytes, port: int | None) -> None:
    read = parse_authority(sent)
    assert (read.sent, read.host, read.port) == (sent, host, port)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b":80",
        b".",
        b".example.com",
        b"example..com",
        b"example.com..",
        b"example.com:65536",
        b"example.com:99999",
        b"example.com:000080",
        b"example.com:80a",
        b"example.com:-1",
        b"example.com:+1",
        b"example.com:80:80",
        b"example.com/path",
        b"example.com?query",
        b"example.com#fragment",
        b"user@example.com",
        b"user:secret@example.com",
        b"exam ple.com",
        b"exam\tple.com",
        b"a.example,b.example",
        b"a.example, b.example",
        b"*.example.com",
        b"%65xample.com",
        b"ex\xc3\xa4mple.com",
        b"example.com\\",
        b"example.com\n",
        b"[::1",
        b"::1",
        b"[]",
        b"[:::1]",
        b"[1::2::3]",
        b"[12345::]",
        b"[::1%25eth0]",
        b"[::1%eth0]",
        b"[192.0.2.1]",
        b"[::1]80",
        b"[::1]:65536",
        b"[::1]\n",
        b"[v1.fe80::a]",
        b"[example.com]",
        b"a" * 256 + b":65535",
    ],
)
def test_what_is_not_one_host_with_an_optional_port_is_refused(sent: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_authority(sent)
    assert caught.value.reason is Reason.BAD_HOST


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a/b?c=d&e", b"/a/b", b"?c=d&e"),
        (b"/?", b"/", b"?"),
        (b"/a?b?c/d", b"/a", b"?b?c/d"),
        (b"//a", b"//a", b""),
        (b"/-._~!$&'()*+,;=:@", b"/-._~!$&'()*+,;=:@", b""),
        (b"/%2F%c3%A4", b"/%2F%c3%A4", b""),
        (b"/[a]|b^", b"/[a]|b^", b""),
        (b'/?data={"a":[1]}|\\^`', b"/", b'?data={"a":[1]}|\\^`'),
        (b"/?discount=100%", b"/", b"?discount=100%"),
    ],
)
def test_a_path_and_its_query_keep_the_bytes_that_browsers_send(target: bytes, path: bytes, query: bytes) -> None:
    assert split_path(target) == (path, query)


@pytest.mark.parametrize("byte", [*range(0x21), *b'"#<>\\`{}', *range(0x7F, 0x100)])
def test_a_byte_that_belongs_in_no_path_is_refused_in_one(byte: int) -> None:
    with pytest.raises(Refusal) as caught:
        split_path(b"/a" + bytes([byte]))
    assert caught.value.reason is Reason.BAD_TARGET
    assert f"0x{byte:02x}" in caught.value.detail


@pytest.mark.parametrize("byte", [*range(0x21), *b"#<>", *range(0x7F, 0x100)])
def test_a_byte_that_belongs_in_no_query_is_refused_in_one(byte: int) -> None:
    with pytest.raises(Refusal) as caught:
        split_path(b"/a?" + bytes([byte]))
    assert caught.value.reason is Reason.BAD_TARGET


@pytest.mark.parametrize("path", [b"/%", b"/%2", b"/%g0", b"/%0g", b"/%%", b"/a%2?b", b"/%u002e"])
def test_an_escape_without_its_two_digits_is_refused_in_a_path(path: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        split_path(path)
    assert caught.value.reason is Reason.BAD_TARGET


@pytest.mark.parametrize(
    ("method", "target", "path", "query", "host"),
    [
        (b"OPTIONS", b"*", b"*", b"", None),
        (b"GET", b"http://example.com/a?b", b"/a", b"?b", b"example.com"),
        (b"GET", b"HTTPS://example.com", b"/", b"", b"example.com"),
        (b"GET", b"http://example.com?b", b"/", b"?b", b"example.com"),
        (b"OPTIONS", b"http://example.com", b"*", b"", b"example.com"),
        (b"OPTIONS", b"http://example.com/", b"/", b"", b"example.com"),
        (b"OPTIONS", b"http://example.com?b", b"/", b"?b", b"example.com"),
        (b"GET", b"http://[::1]:8080/a@b", b"/a@b", b"", b"[::1]"),
    ],
)
def test_other_forms_of_a_target_are_reduced_to_a_path(
    method: bytes, target: bytes, path: bytes, query: bytes, host: bytes | None
) -> None:
    read_path, read_query, named = parse_target(method, target)
    assert (read_path, read_query) == (path, query)
    assert (named.host if named else None) == host


@pytest.mark.parametrize(
    ("method", "target", "reason"),
    [
        (b"GET", b"*", Reason.BAD_TARGET),
        (b"OPTIONS", b"**", Reason.BAD_TARGET),
        (b"OPTIONS", b"*/", Reason.BAD_TARGET),
        (b"GET", b"a", Reason.BAD_TARGET),
        (b"GET", b"?a", Reason.BAD_TARGET),
        (b"GET", b"example.com:443", Reason.BAD_TARGET),
        (b"GET", b"http:/a", Reason.BAD_TARGET),
        (b"GET", b"wsx://example.com/", Reason.BAD_TARGET),
        (b"GET", b"ftp://example.com/", Reason.BAD_TARGET),
        (b"GET", b"http://user@example.com/", Reason.BAD_TARGET),
        (b"GET", b"http://example.com#a", Reason.BAD_HOST),
        (b"GET", b"http://example.com/#a", Reason.BAD_TARGET),
        (b"GET", b"http://example.com/\n", Reason.BAD_TARGET),
        (b"GET", b"http:///a", Reason.BAD_HOST),
        (b"GET", b"http://example.com:99999/", Reason.BAD_HOST),
        (b"OPTIONS", b"http://", Reason.BAD_HOST),
    ],
)
def test_a_target_in_no_known_form_is_refused(method: bytes, target: bytes, reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        parse_target(method, target)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("target", "host", "agree"),
    [
        (b"http://example.com/", b"EXAMPLE.com", True),
        (b"http://example.com/", b"example.com.", True),
        (b"http://example.com/", b"example.com:80", True),
        (b"http://example.com:80/", b"example.com", True),
        (b"https://example.com:443/", b"example.com", True),
        (b"https://example.com/", b"example.com:443", True),
        (b"http://[0::1]/", b"[::1]:", True),
        (b"http://example.com:8080/", b"example.com:8080", True),
        (b"http://example.com/", b"example.org", False),
        (b"http://example.com/", b"example.com:443", False),
        (b"https://example.com/", b"example.com:80", False),
        (b"http://example.com:0/", b"example.com", False),
        (b"http://example.com:8080/", b"example.com", False),
    ],
)
def test_a_target_and_host_agree_if_they_mean_one_server(target: bytes, host: bytes, agree: bool) -> None:
    _, _, named = parse_target(b"GET", target)
    assert named is not None
    assert named.agrees_with(parse_authority(host)) is agree

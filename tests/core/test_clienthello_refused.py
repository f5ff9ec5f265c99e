import pytest

from tests.core.hellos import (
    ALPN,
    SERVER_NAME,
    TICKET,
    Extensions,
    Writer,
    message,
    read,
    records,
    refused,
)
from wsrelay.core import clienthello
from wsrelay.core.clienthello import MOST_BYTES, ClientHello
from wsrelay.core.refusal import Refusal

NAME = b"www.example.com"
FOUND = Writer()
SPLIT = records(message(NAME), [40])[:45]


def refused_list(extensions: Extensions) -> str:
    return refused(records(FOUND.message(FOUND.body(extensions))))


def named(content: bytes) -> str:
    return refused_list([(SERVER_NAME, content)])


def wrong_length(wrong: int, by: int) -> tuple[bytes, int]:
    """A hello of which one length says too much or too little; and how many lengths there are."""
    writer = Writer(wrong, by)
    extensions = [writer.name(NAME), writer.alpn(b"h2", b"http/1.1"), (TICKET, b"abcd")]
    data = writer.record(writer.message(writer.body(extensions, session=b"s" * 32)))
    return data, writer.written


RECORD = wrong_length(-1, 0)[1] - 1


MESSAGE = RECORD - 1


@pytest.mark.parametrize("by", [-1, 1, 7, 200])
@pytest.mark.parametrize("wrong", range(MESSAGE))
def test_a_length_that_is_wrong_is_refused(wrong, by):
    """HAProxy ed267f9bc: the length of the name was believed."""
    refused(wrong_length(wrong, by)[0])


@pytest.mark.parametrize("by", [1, 4])
def test_a_message_that_is_shorter_than_it_says_is_waited_for_and_then_refused(by):
    """HAProxy 8f507ae75, 265393651: four bytes too many passed."""
    data = wrong_length(MESSAGE, by)[0]
    assert clienthello.read(data) == len(data) + 5 + by
    assert "longer" in refused(data + FOUND.record(b"\0" * by))


def test_a_message_that_is_longer_than_it_says_is_refused():
    """In a case of nginx-tests the message's length ends in the middle of its extensions."""
    assert "record ends" in refused(wrong_length(MESSAGE, -1)[0])
    assert "record ends" in refused(wrong_length(MESSAGE, -5)[0])


def test_a_record_that_is_longer_than_the_hello_is_refused_and_a_shorter_one_goes_on():
    assert "record ends" in refused(wrong_length(RECORD, 1)[0])
    data = wrong_length(RECORD, -1)[0]
    with pytest.raises(Refusal, match="cut by a record of type 100"):
        clienthello.read(data)
    assert clienthello.read(data[:-1]) == len(data) + 5


@pytest.mark.parametrize("kept", range(len(FOUND.body([FOUND.name(NAME), FOUND.alpn(b"h2")]))))
def test_a_message_that_ends_too_early_is_refused(kept):
    body = FOUND.body([FOUND.name(NAME), FOUND.alpn(b"h2")])[:kept]
    if kept == len(FOUND.body(None)):
        assert read(records(FOUND.message(body))) == ClientHello("", ())
    else:
        refused(records(FOUND.message(body)))


def test_a_message_with_bytes_behind_its_extensions_is_refused():
    assert "longer" in refused(records(FOUND.message(FOUND.body([FOUND.name(NAME)]) + b"\0")))
    assert "record ends" in refused(records(message(NAME) + message(NAME)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"G", "plain HTTP or a PROXY line"),
        (b"PROXY TCP4 ", "plain HTTP or a PROXY line"),
        (b"\r\n\r\n\0\r\nQUIT\n", "PROXY header of version 2"),
        (b"\x80\x2e\1\3\1", "SSL 2.0"),
        (b"\x15\3\1\0\2\2\x28", "a TLS alert"),
        (b"\x17\3\3\0\x20", "encrypted data"),
        (b"\5\1\0", "0x05"),
        (b"\0", "0x00"),
        (b"\x16\2", "version 2.x"),
        (b"\x16\xfe", "version 254.x"),
        (b"\x16\3\1\0\0", "empty record"),
        (b"\x16\3\1\0\4\2", "of type 2"),
        (b"\x16\3\1\0\4\0", "of type 0"),
        (b"\x16\3\1\x40\0", "are looked at"),
        (b"\x16\3\1\xff\xff", f"longer than the {MOST_BYTES} bytes"),
        (b"\x16\3\1\0\x2c\1\0\0\x28", "has 40 bytes"),
        (b"\x16\3\1\0\4\1\0\x3f\xf3", "are looked at"),
        (b"\x16\3\1\0\x2d\1\1\0\0", "are looked at"),
        (SPLIT + b"\x17", "cut by a record of type 23"),
        (SPLIT + b"\x14", "cut by a record of type 20"),
        (SPLIT + b"\x16\3\3\0\0", "empty record"),
        (records(message(), [2])[:7] + b"G", "cut by a record of type 71"),
    ],
)
def test_what_is_no_hello_is_refused_at_the_first_byte_that_shows_it(data, said):
    assert said in refused(data)
    shown = next(have for have in range(len(data) + 1) if not isinstance(tried(data[:have]), int))
    assert shown == len(data) or shown == 1


def tried(data: bytes) -> object:
    try:
        return clienthello.read(data)
    except Refusal as refusal:
        return refusal


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (FOUND.body(session=b"s" * 33), "session id"),
        (FOUND.body(suites=b""), "cipher suites"),
        (FOUND.body(suites=b"\x13\1\x13"), "cipher suites"),
        (FOUND.body(compression=b""), "compression"),
        (FOUND.body([(5, b""), (6, b""), (5, b"")]), "number 5 twice"),
        (FOUND.body([FOUND.name(NAME), FOUND.name(NAME)]), "number 0 twice"),
        (FOUND.body([(kind, b"") for kind in range(1000, 1129)]), "more than 128"),
    ],
)
def test_a_hello_that_breaks_the_rules_is_refused(body, said):
    assert said in refused(records(FOUND.message(body)))


@pytest.mark.parametrize(
    "name",
    [b"", b".", b"..", b".a", b"a..b", b"a..", b"a" * 256, b"a\0", b"\0a", b"a\0.example.com", b"a b", b"a\n",
     b"a\r\nb", b"a/b", b"a:443", b"cafe:443", b"[::1]", b"fe80::1%eth0", b"::g", b"a%00", b"*.example.com",
     b"\xc3\xa9.example", b"a@b", b"a~", b'"', b"a,b", b"\xe2\x84\xaa.example", b":" * 256],
)  # fmt: skip
def test_what_is_no_name_is_refused(name):
    """CVE-2024-45808: a name that Envoy did not judge wrote lines of its own into the log."""
    assert "letters, digits" in refused_list([FOUND.name(name)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "shorter"),
        (b"\0", "shorter"),
        (b"\0\0", "empty list"),
        (b"\0\0\0", "longer"),
        (FOUND.vector(b"\0"), "shorter"),
        (FOUND.vector(b"\1" + FOUND.vector(NAME)), "no host name"),
        (FOUND.vector(b"\xff"), "no host name"),
        (FOUND.vector(b"\0" + FOUND.vector(b"a") + b"\0" + FOUND.vector(b"b")), "more than one"),
        (FOUND.vector(b"\0" + FOUND.vector(b"a") + b"\1" + FOUND.vector(b"b")), "more than one"),
        (FOUND.vector(b"\0" + FOUND.vector(b"a")) + b"\0", "longer"),
        (b"\0\x07\0\xff\xff" + b"abcd", "shorter"),
    ],
)
def test_a_server_name_that_is_not_one_host_name_is_refused(content, said):
    assert said in named(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "shorter"),
        (b"\0\0", "empty list"),
        (b"\0\1\0", "without a name"),
        (b"\0\4\2h2\0", "without a name"),
        (b"\0\3\3h2", "shorter"),
        (b"\0\3\2h2\2", "longer"),
        (FOUND.vector(b"\1a" * 129), "more than 128"),
    ],
)
def test_an_offer_of_protocols_that_breaks_the_rules_is_refused(content, said):
    assert said in refused_list([(ALPN, content)])

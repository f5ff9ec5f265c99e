"""PROXY lines that are written, and read again; and whatever else there is to read."""

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.test_proxyline import (
    DESTINATION,
    DESTINATION6,
    NOBODY,
    SOURCE,
    SOURCE6,
    TEXTS,
    TLS,
    VALID,
    line,
)
from tests.proxylines import header, local, ssl_tlv, tlv, v2
from wsrelay.core.proxyline import MOST_BYTES, Endpoint, ProxyLine, Secure, read, write
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal


@pytest.mark.parametrize(
    ("said", "text", "block"),
    [
        (line(), b"PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n", v2()),
        (
            ProxyLine(SOURCE6, DESTINATION6),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 123 5678\r\n",
            v2(source="2001:db8::1", destination="2001:db8::2"),
        ),
        (
            ProxyLine(SOURCE, DESTINATION6),
            b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 123 5678\r\n",
            v2(source="::ffff:192.0.2.1", destination="2001:db8::2"),
        ),
        (
            ProxyLine(SOURCE6, DESTINATION),
            b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 123 5678\r\n",
            v2(source="2001:db8::1", destination="::ffff:192.0.2.2"),
        ),
        # As sockets name addresses.
        (
            ProxyLine(Endpoint("fe80::1%eth0", 1), Endpoint("::ffff:192.0.2.1", 0)),
            b"PROXY TCP6 fe80::1 ::ffff:192.0.2.1 1 0\r\n",
            v2(source="fe80::1", destination="::ffff:192.0.2.1", ports=(1, 0)),
        ),
        (NOBODY, b"PROXY UNKNOWN\r\n", local()),
        (ProxyLine(SOURCE, None, "a.b"), b"PROXY UNKNOWN\r\n", local(tlv(2, b"a.b"))),
        (ProxyLine(None, DESTINATION), b"PROXY UNKNOWN\r\n", local()),
        (
            line(authority="a.b", protocol=b"h2", secure=TLS),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n",
            v2(tlv(1, b"h2"), tlv(2, b"a.b"), ssl_tlv(*TEXTS, client=7, verify=0)),
        ),
        (
            line(secure=Secure("TLSv1.2")),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n",
            v2(ssl_tlv(tlv(0x21, b"TLSv1.2"), client=1, verify=1)),
        ),
        (
            line(secure=Secure(common_name="a")),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n",
            v2(ssl_tlv(tlv(0x22, b"a"), client=7, verify=1)),
        ),
    ],
)
def test_a_line_is_written_byte_for_byte(said: ProxyLine, text: bytes, block: bytes) -> None:
    assert (write(1, said), write(2, said)) == (text, block)


@pytest.mark.parametrize(
    "said",
    [
        line(authority="a b", protocol=b"a" * 256),
        line(authority="a" * 256),
        line(authority="é.example"),
        line(authority="a\r\nb"),
        line(authority="\ud800"),
    ],
)
def test_what_the_next_one_would_refuse_is_left_out(said: ProxyLine) -> None:
    assert write(2, said) == v2()


@pytest.mark.parametrize("name", ["a" * 257, "a\nb", "é" * 128 + "a"])
def test_a_name_that_cannot_be_written_is_not_written_in_part(name: str) -> None:
    said = line(secure=Secure("TLSv1.3", "", name, verified=True))
    assert read(write(2, said))[0] == line(secure=Secure("TLSv1.3", verified=True))  # type: ignore[index]  # it is whole


@pytest.mark.parametrize(("resumed", "bits"), [(False, 0x07), (True, 0x05)])
def test_a_certificate_of_an_earlier_connection_is_not_said_to_be_this_ones(resumed: bool, bits: int) -> None:
    """2.2.6: PP2_CLIENT_CERT_CONN is for one that was shown over this connection."""
    said = line(secure=Secure("TLSv1.3", verified=True, resumed=resumed))
    written = write(2, said)
    assert read(written) == (said, len(written))
    at = written.index(b"\x20\x00", 28)  # PP2_TYPE_SSL behind the addresses; two bytes of length, and then the bits
    assert written[at + 3] == bits


HOSTS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(
    lambda address: getattr(address, "ipv4_mapped", None) or address
)
ENDPOINTS = st.builds(Endpoint, HOSTS.map(str), st.integers(0, 65535))
NAMES = st.from_regex(r"[a-z0-9_-]{1,9}(\.[a-z0-9_-]{1,9}){0,5}", fullmatch=True)
SAFE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=64)
SECURE = st.builds(Secure, SAFE, SAFE, SAFE, st.booleans())
SAID = st.builds(ProxyLine, ENDPOINTS, ENDPOINTS, st.just("") | NAMES, st.binary(max_size=255), st.none() | SECURE)


@given(SAID, st.binary(max_size=20))
def test_what_was_written_is_read_as_it_was_said(said: ProxyLine, behind: bytes) -> None:
    text, block = write(1, said), write(2, said)
    assert read(block + behind) == (said, len(block))
    assert read(text + behind) == (ProxyLine(said.source, said.destination), len(text))
    assert len(text) <= 104
    # HAProxy takes no TLV above 1024 bytes.
    assert len(block) <= 16 + 36 + 2 * 258 + 3 + 1024 <= MOST_BYTES


WILD = st.builds(Secure, st.text(), st.text(), st.text(min_size=200, max_size=2000), st.booleans())


@given(st.builds(ProxyLine, st.none() | ENDPOINTS, ENDPOINTS, st.text(), st.binary(max_size=5000), WILD))
def test_whatever_is_written_can_be_read(said: ProxyLine) -> None:
    for version in (1, 2):
        written = write(version, said)
        assert len(written) <= MOST_BYTES
        assert isinstance(seen := read(written), tuple)
        assert seen[1] == len(written)
        assert seen[0].source == (said.source and seen[0].destination and said.source)


# Read, whatever it is.


def check(data: bytes) -> None:
    seen: tuple[ProxyLine, int] | int | Refusal
    try:
        seen = read(data)
    except Refusal as refusal:
        seen = refusal
    if isinstance(seen, Refusal):
        assert seen.reason is Reason.PROXY_HEADER
        assert seen.detail.isascii()
        return
    if isinstance(seen, int):
        assert len(data) < seen <= MOST_BYTES
        return
    said, size = seen
    assert 15 <= size <= min(len(data), MOST_BYTES)
    for end in (said.source, said.destination):
        assert end is None or (str(ip_address(end.host)) == end.host and 0 <= end.port <= 65535)
    secure = said.secure or Secure()
    assert not set(said.authority + secure.version + secure.cipher + secure.common_name) & set("\0\r\n\x1b\x7f\x85")


@given(st.binary(max_size=300))
@example(b"PROXY TCP4 \xff\xfe abc")
@example(b"PROXY \xd9\xa1\r\n")
def test_no_bytes_do_anything_but_be_read_or_refused(data: bytes) -> None:
    check(data)
    check(b"PROXY TCP4 " + data)
    check(b"PROXY TCP6 " + data)
    for command, family in ((0x20, 0), (0x21, 0x11), (0x21, 0x31)):
        check(header(command, family, data))
    check(v2(data))
    check(v2(ssl_tlv(data)))


@given(st.sampled_from(VALID), st.integers(0, 300), st.binary(max_size=3), st.integers(0, 3))
def test_no_change_of_a_line_does_anything_else(valid: tuple[bytes, ProxyLine], at: int, put: bytes, cut: int) -> None:
    check(valid[0][:at] + put + valid[0][at + cut :])

"""PROXY lines of both versions, and headers of version 2. "2.2" is a section of HAProxy's doc/proxy-protocol.txt."""

from typing import Any

import attrs
import pytest

from tests.core.test_proxytext import LINES
from tests.proxylines import addresses, crc32c, header, local, ssl_tlv, tlv, v2, with_checksum
from wsrelay.core.proxyline import MOST_BYTES, Endpoint, ProxyLine, Secure, read
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

SOURCE, DESTINATION = Endpoint("192.0.2.1", 123), Endpoint("192.0.2.2", 5678)
SOURCE6, DESTINATION6 = Endpoint("2001:db8::1", 123), Endpoint("2001:db8::2", 5678)
NOBODY = ProxyLine(None, None)
UNIX = b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")
TLS = Secure("TLSv1.3", "TLS_AES_128_GCM_SHA256", "Jörg Müller", verified=True)
TEXTS = (tlv(0x21, b"TLSv1.3"), tlv(0x23, b"TLS_AES_128_GCM_SHA256"), tlv(0x22, "Jörg Müller".encode()))


def line(**more: Any) -> ProxyLine:
    return ProxyLine(SOURCE, DESTINATION, **more)


_SUMMED = v2(tlv(3, bytes(4)), tlv(2, b"a.b"))
BLOCKS = {
    "tcp4": (v2(), line()),
    "tcp6": (v2(source="2001:db8::1", destination="2001:db8::2"), ProxyLine(SOURCE6, DESTINATION6)),
    "mapped": (v2(source="::ffff:192.0.2.1", destination="2001:db8::2"), ProxyLine(SOURCE, DESTINATION6)),
    "both mapped": (v2(source="::ffff:192.0.2.1", destination="::ffff:192.0.2.2"), line()),
    "edges of ports": (
        v2(ports=(0, 65535)),
        ProxyLine(Endpoint("192.0.2.1", 0), Endpoint("192.0.2.2", 65535)),
    ),
    # CVE-2024-23327: Envoy crashed where LOCAL has no addresses.
    "local": (local(), NOBODY),
    "local with addresses": (v2(tlv(2, b"a.example"), command=0), NOBODY),
    "local with anything": (header(0x20, 0xFF, b"\xff" * 11), NOBODY),
    "unspec": (header(0x21, 0x00, b""), NOBODY),
    "unspec with anything": (header(0x21, 0x01, b"\xff" * 11), NOBODY),
    "unix": (header(0x21, 0x31, UNIX + tlv(2, b"a.example")), ProxyLine(None, None, "a.example")),
    "udp": (header(0x21, 0x12, addresses() + tlv(1, b"h3")), ProxyLine(None, None, protocol=b"h3")),
    "inet, but unspec": (header(0x21, 0x10, addresses()), NOBODY),
    "authority": (v2(tlv(2, b"WWW.a_b.Example.")), line(authority="www.a_b.example")),
    "longest authority": (v2(tlv(2, b"a" * 255)), line(authority="a" * 255)),
    "an address as authority": (v2(tlv(2, b"2001:DB8::1")), line(authority="2001:db8::1")),
    "alpn": (v2(tlv(1, b"\0\n\xff")), line(protocol=b"\0\n\xff")),
    "longest alpn": (v2(tlv(1, b"a" * 255)), line(protocol=b"a" * 255)),
    "longest id": (v2(tlv(5, bytes(128))), line()),
    "tls": (v2(ssl_tlv(*TEXTS, client=7, verify=0)), line(secure=TLS)),
    "tls of old": (v2(ssl_tlv(*TEXTS, client=5, verify=0)), line(secure=attrs.evolve(TLS, resumed=True))),
    "tls, more to say": (
        v2(ssl_tlv(tlv(0x28, bytes(900)), *TEXTS, tlv(0x25, b"RSA2048"), tlv(0x26, b""), client=0xFB, verify=0)),
        line(secure=TLS),
    ),
    "tls, certificate not verified": (
        v2(ssl_tlv(*TEXTS, client=7, verify=0x01000000)),
        line(secure=Secure("TLSv1.3", "TLS_AES_128_GCM_SHA256", "Jörg Müller", verified=False)),
    ),
    "tls, no certificate": (v2(ssl_tlv(client=1, verify=0)), line(secure=Secure())),
    "no tls": (v2(ssl_tlv(*TEXTS, client=6, verify=0)), line()),
    "check sum": (with_checksum(v2(tlv(2, b"a.example"))), line(authority="a.example")),
    "check sum first": (_SUMMED.replace(tlv(3, bytes(4)), tlv(3, crc32c(_SUMMED).to_bytes(4))), line(authority="a.b")),
    "all that is known": (
        v2(*(tlv(kind, b"x") for kind in (0, 4, 4, 0x30, 0x30, 0xE0, 0xEA, 0xF0, 0xFF)), tlv(1, b"h2")),
        line(protocol=b"h2"),
    ),
    "longest": (v2(tlv(4, bytes(MOST_BYTES - 28 - 3))), line()),
    "longest local": (local(bytes(MOST_BYTES - 16)), NOBODY),
}  # fmt: skip


def meant(ends: tuple[str, str, int, int] | None) -> ProxyLine:
    return ProxyLine(Endpoint(ends[0], ends[2]), Endpoint(ends[1], ends[3])) if ends else NOBODY


VALID = [*BLOCKS.values(), *((text, meant(ends)) for text, ends in LINES)]


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        read(data)
    assert caught.value.reason is Reason.PROXY_HEADER
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()
    return caught.value.detail


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n\r\n", tlv(2, b"b.example"), b"\r\n\r\n\0\r\nQUIT\n"])
def test_a_header_says_what_it_says_whatever_is_behind_it(name: str, behind: bytes) -> None:
    block, said = BLOCKS[name]
    assert read(block + behind) == (said, len(block))


@pytest.mark.parametrize(("data", "said"), VALID)
def test_a_part_says_how_much_it_needs_and_never_too_much(data: bytes, said: ProxyLine) -> None:
    needs = [read(data[:size]) for size in range(len(data))]
    assert all(isinstance(need, int) and size < need <= len(data) for size, need in enumerate(needs))
    assert needs == sorted(needs)  # type: ignore[type-var]  # numbers, as the line above has seen


@pytest.mark.parametrize(("data", "said"), VALID)
def test_who_waits_for_what_is_needed_reads_the_line(data: bytes, said: ProxyLine) -> None:
    looks, have = 0, 0
    while isinstance(seen := read(data[:have]), int):
        have, looks = seen, looks + 1
    assert seen == (said, len(data))
    # Each look at text brings two bytes at least; of a header the first byte, the part of fixed length, and the rest.
    assert looks <= (len(data) // 2 + 2 if data[:1] == b"P" else 3)


@pytest.mark.parametrize("command", range(256))
def test_only_two_commands_of_version_2_exist(command: int) -> None:
    begun = header(command, 0x11, b"")[:13]
    if command in (0x20, 0x21):
        assert read(begun) == 16
    else:
        assert "another version than 2, or a command" in refused(begun)


@pytest.mark.parametrize("family", range(256))
def test_only_families_and_transports_that_are_defined_exist(family: int) -> None:
    begun = header(0x21, family, b"")[:14]
    if family >> 4 <= 3 and family & 15 <= 2:
        assert read(begun) == 16
    else:
        assert "is not defined" in refused(begun)
    assert read(header(0x20, family, b"")) == (NOBODY, 16)


def test_a_signature_is_refused_at_its_first_wrong_byte() -> None:
    good = v2()
    for at in range(12):
        bad = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
        assert at == 0 or isinstance(read(bad[:at]), int)
        assert "without a PROXY line" in refused(bad[: at + 1])
        refused(bad)


@pytest.mark.parametrize("family", [0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x30, 0x31, 0x32])
def test_addresses_have_to_fit(family: int) -> None:
    size = {1: 12, 2: 36, 3: 216}[family >> 4]
    assert isinstance(read(header(0x21, family, bytes(size))), tuple)
    for less in {0, 1, size - 1}:
        # All of it is known before the addresses come.
        assert "too short for its addresses" in refused(header(0x21, family, b"", length=less))
    for more in (1, 2):
        assert "ends within the type" in refused(header(0x21, family, bytes(size + more)))


@pytest.mark.parametrize(("command", "family"), [(0x20, 0), (0x21, 0), (0x21, 0x11), (0x21, 0x31)])
def test_a_header_above_the_bound_is_refused_before_it_comes(command: int, family: int) -> None:
    assert read(header(command, family, b"", length=MOST_BYTES - 16)) == MOST_BYTES
    for length in (MOST_BYTES - 15, 0xFFFF):
        begun = header(command, family, b"", length=length)
        assert read(begun[:15]) == 16
        assert "4096 are allowed" in refused(begun)


@pytest.mark.parametrize(
    ("tlvs", "why"),
    [
        (tlv(2, b""), "no host name"),
        (tlv(2, b"."), "no host name"),
        (tlv(2, b"a..b"), "no host name"),
        (tlv(2, b"*.example"), "no host name"),
        (tlv(2, b"a.example:443"), "no host name"),
        (tlv(2, b"[::1]"), "no host name"),
        (tlv(2, b"fe80::1%eth0"), "no host name"),
        (tlv(2, b"evil.example\r\nX-Real-IP: 192.0.2.9"), "no host name"),
        (tlv(2, b"evil.example event=closed"), "no host name"),
        (tlv(2, b"a.example\0b"), "no host name"),
        (tlv(2, b"a.example\n"), "no host name"),
        (tlv(2, "straße.example".encode()), "no host name"),
        (tlv(2, b"a" * 256), "256 bytes, and 255"),
        (tlv(1, b"a" * 256), "256 bytes, and 255"),
        (tlv(5, bytes(129)), "129 bytes, and 128"),
        (tlv(2, b"a.example") * 2, "twice"),
        (tlv(1, b"h2") + tlv(1, b"http/1.1"), "twice"),
        (ssl_tlv() * 2, "twice"),
        (tlv(3, bytes(3)), "check sum that is wrong"),
        (tlv(3, b""), "check sum that is wrong"),
        (tlv(3, bytes(4)), "check sum that is wrong"),
        (tlv(3, bytes(5)), "5 bytes, and 4"),
        (tlv(0x20, b""), "about TLS that is too short"),
        (tlv(0x20, b"\1\0\0\0"), "about TLS that is too short"),
        (tlv(0x20, b"\1\0\0\0\0\x21"), "ends within"),
        (ssl_tlv(tlv(0x21, b"TLSv1.3")[:-1]), "ends within the value"),
        (ssl_tlv(tlv(0x28, b"certificate")[:-1], client=0), "ends within the value"),
        (ssl_tlv(tlv(0x22, b"a"), tlv(0x22, b"b")), "0x22 twice"),
        (ssl_tlv(tlv(0x22, b"CN\r\nX-Admin: yes")), "controls"),
        (ssl_tlv(tlv(0x21, b"TLSv1.3\x1b[2J")), "controls"),
        (ssl_tlv(tlv(0x23, b"\0")), "controls"),
        (ssl_tlv(tlv(0x22, b"\xff")), "not UTF-8"),
    ],
)
@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_a_tlv_that_is_wrong_is_refused_when_it_is_whole(tlvs: bytes, why: str, family: str) -> None:
    block = v2(tlvs) if family == "tcp4" else header(0x21, 0x31, UNIX + tlvs)
    assert read(block[:-1]) == len(block)
    assert why in refused(block)


def test_every_bit_of_the_header_is_in_its_check_sum() -> None:
    block = with_checksum(v2(tlv(2, b"a.example"), tlv(0xE0, b"\0\1"), source="2001:db8::1", destination="::2"))
    for at in range(16 * 8, len(block) * 8):
        if at // 8 == len(block) - 7:
            continue  # its own type: another one is no check sum at all
        bad = bytearray(block)
        bad[at // 8] ^= 1 << at % 8
        refused(bytes(bad))

"""Target: what a connection begins with, read as a PROXY line; and what was read, written for the next one.

A message as it comes; or its first bytes as the TLVs of a header whose lengths are right, and its check sum too, or as
those inside a TLV about TLS.
"""

import re
import struct
import unicodedata
from ipaddress import IPv4Address, IPv6Address, ip_address

from fuzz.inputs import Input, check_reason, tried
from wsrelay.core.proxyline import MOST_BYTES, Endpoint, ProxyLine, Secure, read, write
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_INET = bytes((192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 1, 0xBB))
_INET6 = b" \1\r\xb8" + bytes(11) + b"\1" + bytes(10) + b"\xff\xff" + _INET[4:8] + _INET[8:]
_UNIX = b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")
_HEADS = ((0x21, 0x11, _INET), (0x21, 0x21, _INET6), (0x21, 0x31, _UNIX), (0x20, 0x11, _INET), (0x21, 0x00, b""))
_REASONS = frozenset({Reason.PROXY_HEADER})

_TEXTS = b"\x21\0\7TLSv1.3\x23\0\2AE\x22\0\4J\xc3\xb6r"
_TLVS = b"\1\0\2h2\2\0\7a.b.Ex.\4\0\1\0\x20" + struct.pack("!HBI", 5 + len(_TEXTS), 7, 0) + _TEXTS
_LINES = (
    b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 0 65535\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 0123 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN 2001:db8::1 ::1 0 65535\r\n",
    *(_SIGNATURE + struct.pack("!BBH", *head[:2], len(head[2])) + head[2] for head in _HEADS),
)
SEEDS = ((b"\0\0\0\0", "send"), (b"\1\0\0\0", "send"))
RARE = (
    *((b"\0\0\x10\0" + line, "send") for line in _LINES),
    *((bytes((kind, head, 0, len(_TLVS))) + _TLVS, "send") for kind in (1, 2) for head in range(len(_HEADS))),
    (b"\1\0\0\4\4\0\1\0\xe0", "send"),
    (bytes((3, 7, 0, len(_TEXTS))) + _TEXTS, "send"),
    (b"\3\1\0\5\x22\0\2a\n", "send"),
)

_V1 = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) (\S+) (\S+) (\d+) (\d+))\r\n")


def check(data: bytes) -> None:
    """The bytes that a connection begins with."""
    given = Input.of(data)
    if given is None:
        return
    message = _message(given)
    seen = tried(lambda: read(message))
    check_reason(seen, _REASONS)
    _check_parts(message, seen, given.cuts)
    expected = _simply(message)
    assert (None if isinstance(seen, int | Refusal) else seen) == expected, (seen, expected)
    if not isinstance(seen, int | Refusal):
        _check_written(seen[0])


def _message(given: Input) -> bytes:
    """What is to be read."""
    kind, size = given.kind % 4, given.cuts[0] << 8 | given.cuts[1]
    if kind == 0:
        return given.message
    tlvs, behind = given.message[:size], given.message[size:]
    command, family, addresses = _HEADS[given.limits % len(_HEADS)]
    if kind == 3:
        inside = bytes((given.limits,)) + bytes(4) + tlvs
        tlvs = struct.pack("!BH", 0x20, len(inside) & 0xFFFF) + inside
    if kind == 2:
        tlvs = b"\3\0\4\0\0\0\0" + tlvs
    block = _SIGNATURE + struct.pack("!BBH", command, family, (len(addresses) + len(tlvs)) & 0xFFFF) + addresses + tlvs
    at = 16 + len(addresses) + 3
    return (block[:at] + struct.pack("!I", _sum(block)) + block[at + 4 :] if kind == 2 else block) + behind


def _check_parts(message: bytes, seen: object, cuts: tuple[int, int]) -> None:
    """What is read of a part fits what is read of the whole."""
    size = seen[1] if isinstance(seen, tuple) else seen if isinstance(seen, int) else len(message)
    sizes = {*range(min(110, len(message))), *(cut * len(message) // 256 for cut in cuts), size, size - 1}
    refused = False
    for part in sorted(one for one in sizes if 0 <= one < len(message)):
        found = tried(lambda: read(message[:part]))  # noqa: B023  # called before the loop goes on
        check_reason(found, _REASONS)
        if isinstance(found, int):
            assert not refused, "bytes behind a fault have mended it"
            assert part < found <= MOST_BYTES
            # Of a refusal nobody knows how long the line would have been.
            assert isinstance(seen, Refusal) or found <= size, (part, found, size)
        elif isinstance(found, Refusal):
            refused = True
            assert isinstance(seen, Refusal)
        else:
            assert found == seen
    assert not isinstance(seen, int) or len(message) < seen <= MOST_BYTES


def _check_written(line: ProxyLine) -> None:
    """The next one reads what we write, as we have read it."""
    bare = ProxyLine(line.source, line.destination)
    for version, expected in ((1, bare), (2, line if line.source else bare)):
        written = write(version, line)
        assert len(written) <= MOST_BYTES
        again = read(written + b"GET / HTTP/1.1\r\n")
        assert isinstance(again, tuple)
        assert again[1] == len(written)
        assert again[0] == expected or (version == 2 and _is_long(line.secure)), (again, expected)
        assert write(version, again[0]) == written or not line.source


def _is_long(secure: Secure | None) -> bool:
    return secure is not None and max(len(text.encode()) for text in _texts(secure)) > 256


def _texts(secure: Secure) -> tuple[str, ...]:
    return secure.version, secure.cipher, secure.common_name


def _simply(data: bytes) -> tuple[ProxyLine, int] | None:
    """The same, of a whole line only, and written for nothing but to be read. None where there is no valid one."""
    try:
        return _simple_text(data) if data[:1] == b"P" else _simple_block(data)
    except (ValueError, IndexError, struct.error):
        return None


def _simple_text(data: bytes) -> tuple[ProxyLine, int]:
    match = _V1.match(data)
    if match is None or match.end() > 107:
        raise ValueError
    if not match[1]:
        return ProxyLine(None, None), match.end()
    kind = IPv4Address if match[1] == b"4" else IPv6Address
    ends = []
    for host, port in ((match[2], match[4]), (match[3], match[5])):
        if b"%" in host or str(int(port)).encode() != port or int(port) > 65535:
            raise ValueError
        ends.append(Endpoint(_host(kind(host.decode("ascii"))), int(port)))
    return ProxyLine(ends[0], ends[1]), match.end()


def _host(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _simple_block(data: bytes) -> tuple[ProxyLine, int]:
    signature, command, family, length = struct.unpack("!12sBBH", data[:16])
    block = data[: 16 + length]
    if signature != _SIGNATURE or command not in (0x20, 0x21) or len(block) != 16 + length or length > 4080:
        raise ValueError
    if command == 0x20 or family in (0, 1, 2):
        return ProxyLine(None, None), len(block)
    if family & 15 > 2:
        raise ValueError
    behind = 16 + {1: 12, 2: 36, 3: 216}.get(family >> 4, MOST_BYTES)
    if len(block) < behind:
        raise ValueError
    ends: list[Endpoint | None] = [None, None]
    if family in (0x11, 0x21):
        width = (behind - 20) // 2
        ports = struct.unpack("!HH", block[behind - 4 : behind])
        hosts = (ip_address(block[at : at + width]) for at in (16, 16 + width))
        ends = [Endpoint(_host(host), port) for host, port in zip(hosts, ports, strict=True)]
    found = _simple_tlvs(block, behind, {1: 255, 2: 255, 3: 4, 5: 128, 0x20: MOST_BYTES})
    if 3 in found:
        at, value = found[3]
        if value != struct.pack("!I", _sum(block[:at] + bytes(4) + block[at + 4 :])):
            raise ValueError
    authority = _simple_name(found[2][1]) if 2 in found else ""
    secure = _simple_tls(found[0x20][1]) if 0x20 in found else None
    return ProxyLine(ends[0], ends[1], authority, found[1][1] if 1 in found else b"", secure), len(block)


def _simple_tlvs(block: bytes, at: int, most: dict[int, int]) -> dict[int, tuple[int, bytes]]:
    found: dict[int, tuple[int, bytes]] = {}
    while at < len(block):
        kind, size = struct.unpack("!BH", block[at : at + 3])
        value = block[at + 3 : at + 3 + size]
        if len(value) < size or (kind in most and (kind in found or size > most[kind])):
            raise ValueError
        found[kind] = (at + 3, value)
        at += 3 + size
    return found


def _simple_name(value: bytes) -> str:
    name = value.decode("ascii").lower()
    if re.fullmatch(r"[0-9a-f]{0,4}:[0-9a-f:.]*:[0-9a-f.]*", name):
        return name
    name = name.removesuffix(".")
    if not name or any(not re.fullmatch("[a-z0-9_-]+", label) for label in name.split(".")):
        raise ValueError
    return name


def _simple_tls(value: bytes) -> Secure | None:
    bits, verify = struct.unpack("!BI", value[:5])
    found = _simple_tlvs(value, 5, dict.fromkeys((0x21, 0x22, 0x23), MOST_BYTES))
    version, cipher, name = (found[kind][1].decode() if kind in found else "" for kind in (0x21, 0x23, 0x22))
    for character in version + cipher + name:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in "\u202a\u202b\u202c\u202d\u202e":
            raise ValueError
        if character in "\u2066\u2067\u2068\u2069":
            raise ValueError
    return (
        Secure(version, cipher, name, verified=bits & 6 != 0 and verify == 0, resumed=bits & 6 == 4)
        if bits & 1
        else None
    )


def _sum(data: bytes) -> int:
    """CRC32C bit by bit (RFC 3720 12.1)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF

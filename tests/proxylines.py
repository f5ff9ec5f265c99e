"""PROXY lines for tests: made by hand, and read strictly. Knows the specification's text and nothing of the relay.

The specification is HAProxy's doc/proxy-protocol.txt; "PROXY 2.1" is its section on version 1, "PROXY 2.2" on 2.
"""

import re
import struct
from ipaddress import IPv6Address, ip_address

import attrs

from tests.wires import Wire

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
SSL_VERSION, SSL_CN, SSL_CIPHER = 0x21, 0x22, 0x23

# PROXY 2.1: the longest line that version 1 knows, CRLF included.
LONGEST_V1 = 107

SOURCE, DESTINATION, PORTS = "192.0.2.1", "192.0.2.2", (123, 5678)

_V1 = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")


# Made.


def v1(source: str = SOURCE, destination: str = DESTINATION, ports: tuple[int, int] = PORTS) -> bytes:
    """A line of version 1."""
    family = 6 if ":" in source else 4
    return f"PROXY TCP{family} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()


def header(what: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    """A block of version 2 from its parts; `length` lies about what follows."""
    return SIGNATURE + struct.pack("!BBH", what, family, len(rest) if length is None else length) + rest


def addresses(source: str = SOURCE, destination: str = DESTINATION, ports: tuple[int, int] = PORTS) -> bytes:
    """Two addresses and their ports, as version 2 has them."""
    return ip_address(source).packed + ip_address(destination).packed + struct.pack("!HH", *ports)


def v2(
    *tlvs: bytes,
    source: str = SOURCE,
    destination: str = DESTINATION,
    ports: tuple[int, int] = PORTS,
    command: int = 1,
) -> bytes:
    """A block of version 2 for TCP."""
    family = 0x21 if ":" in source else 0x11
    return header(0x20 | command, family, addresses(source, destination, ports) + b"".join(tlvs))


def local(rest: bytes = b"") -> bytes:
    """What a proxy sends before its own health checks."""
    return header(0x20, 0x00, rest)


def tlv(kind: int, value: bytes) -> bytes:
    """One type, length and value."""
    return struct.pack("!BH", kind, len(value)) + value


def ssl_tlv(*inside: bytes, client: int = 1, verify: int = 1) -> bytes:
    """What says that the proxy's client used TLS (bit 0 of `client`)."""
    return tlv(SSL, struct.pack("!BI", client, verify) + b"".join(inside))


def with_checksum(block: bytes, wrong: int = 0) -> bytes:
    """The same block of version 2 with a CRC32c of its own at the end, wrong by `wrong` (PROXY 2.2.3)."""
    length = struct.unpack("!H", block[14:16])[0] + 7
    empty = block[:14] + struct.pack("!H", length) + block[16:] + tlv(CRC32C, bytes(4))
    return empty[:-4] + struct.pack("!I", crc32c(empty) ^ wrong)


def crc32c(data: bytes) -> int:
    """The checksum of RFC 9260 appendix A (Castagnoli), bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


# Read.


@attrs.frozen
class Ssl:
    """What the SSL TLV says."""

    client: int
    verify: int
    inside: dict[int, bytes]


@attrs.frozen
class Line:
    """One PROXY line. Addresses are empty where it names none; an IPv4-mapped one is shown as IPv4."""

    version: int
    command: int = 1
    source: str = ""
    destination: str = ""
    ports: tuple[int, int] = (0, 0)
    tlvs: dict[int, bytes] = attrs.field(factory=dict)

    @property
    def ssl(self) -> Ssl | None:
        """The SSL TLV."""
        value = self.tlvs.get(SSL)
        if value is None:
            return None
        client, verify = struct.unpack("!BI", value[:5])
        return Ssl(client, verify, _tlvs(value[5:]))


def read_line(wire: Wire) -> Line:
    """Read a PROXY line of either version, and not one byte more; anything else is an AssertionError."""
    begin = wire.read(8)
    if begin.startswith(b"PROXY "):
        return _line_v1(begin + wire.read_until(b"\r\n"))
    assert begin == SIGNATURE[:8], f"no PROXY line: {begin!r}"
    rest = wire.read(8)
    assert rest[:4] == SIGNATURE[8:]
    what, family, length = struct.unpack("!BBH", rest[4:])
    return _line_v2(what, family, wire.read(length))


def _line_v1(text: bytes) -> Line:
    assert len(text) <= LONGEST_V1
    if text == b"PROXY UNKNOWN\r\n":
        return Line(1)
    match = _V1.fullmatch(text)
    assert match, f"not a line of version 1: {text!r}"
    family, source, destination, *ports = (each.decode() for each in match.groups())
    assert ip_address(source).version == ip_address(destination).version == int(family)
    assert all(int(port) <= 65535 for port in ports)
    return Line(1, 1, _shown(source), _shown(destination), (int(ports[0]), int(ports[1])))


def _line_v2(what: int, family: int, rest: bytes) -> Line:
    assert what in (0x20, 0x21), f"version and command are {what:#x}"
    size = {0x00: 0, 0x11: 4, 0x21: 16}[family]
    if not size:
        return Line(2, what & 1, tlvs=_tlvs(rest))
    source, destination = (_shown(ip_address(each)) for each in (rest[:size], rest[size : 2 * size]))
    ports = struct.unpack("!HH", rest[2 * size : 2 * size + 4])
    return Line(2, what & 1, source, destination, ports, _tlvs(rest[2 * size + 4 :]))


def _tlvs(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data:
        kind, length = struct.unpack("!BH", data[:3])
        value, data = data[3 : 3 + length], data[3 + length :]
        assert len(value) == length, "a TLV is cut off"
        assert kind not in found, f"TLV {kind:#x} is there twice"
        found[kind] = value
    return found


def _shown(address: object) -> str:
    known = ip_address(address)  # type: ignore[arg-type]  # text or an address
    return str(known.ipv4_mapped or known) if isinstance(known, IPv6Address) else str(known)

"""HAProxy's PROXY protocol, versions 1 and 2: what a proxy in front says of a connection before its first byte.

Knows nothing of sockets, nor of who may be believed. Sections are those of HAProxy's doc/proxy-protocol.txt.
"""

import struct
from ipaddress import ip_address

import attrs

from wsrelay.core import proxytext, server_name, tlvs

MOST_BYTES = 4096
"""No line is longer, so that a caller need not look at more. As nginx (NGX_PROXY_PROTOCOL_MAX_HEADER); the length field
could say 65535."""

# 2.2.
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP_INET, _TCP_INET6 = 0x00, 0x11, 0x21
_TCP = {_TCP_INET: struct.Struct("!4s4sHH"), _TCP_INET6: struct.Struct("!16s16sHH")}
# Families, with the length of their addresses (UNSPEC, INET, INET6, UNIX), and transports (UNSPEC, STREAM, DGRAM).
_SIZES = {family << 4 | transport: size for family, size in enumerate((0, 12, 36, 216)) for transport in range(3)}
_ALPN, _AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL = 0x01, 0x02, 0x03, 0x05, 0x20
# RFC 7301 3.1; HAProxy's HA_PP2_AUTHORITY_MAX; 2.2.3; 2.2.5.
_MOST = {_ALPN: 255, _AUTHORITY: 255, _CRC32C: 4, _UNIQUE_ID: 128, _SSL: MOST_BYTES}
# 2.2.6.
_SSL_HEAD = struct.Struct("!BI")
_SSL_VERSION, _SSL_CN, _SSL_CIPHER = 0x21, 0x22, 0x23
_MOST_SSL = dict.fromkeys((_SSL_VERSION, _SSL_CN, _SSL_CIPHER), MOST_BYTES)
# A certificate: over this connection, or earlier in the TLS session that it goes on with.
_USES_TLS, _CERTIFICATE, _EARLIER = 0x01, 0x06, 0x04
# RFC 5280 A.1: a common name has 64 characters, of at most four bytes each. Three texts of this size stay below the
# 1024 bytes that HAProxy takes in one TLV (HA_PP2_MAX_ALLOC).
_MOST_WRITTEN = 256


@attrs.frozen
class Endpoint:
    """One end of the connection that a proxy has accepted."""

    host: str
    """An IPv4 address, or an IPv6 one as RFC 5952 has it: no brackets, no scope, none that maps an IPv4 address."""
    port: int
    """0 where nobody knows."""


@attrs.frozen
class Secure:
    """What is known of a client's TLS. A text that the proxy left out is empty; none has controls in it."""

    version: str = ""
    """As OpenSSL writes it: `TLSv1.3`."""
    cipher: str = ""
    common_name: str = ""
    """Of the client's certificate, verified or not."""
    verified: bool = False
    """The client has shown a certificate, over this connection or earlier in its session, and it was good."""
    resumed: bool = False
    """It was earlier in the session only."""


@attrs.frozen
class ProxyLine:
    """What a proxy in front says of a connection."""

    source: Endpoint | None
    """The client. None where the connection's own address counts: LOCAL, UNKNOWN, UNSPEC, UNIX sockets, datagrams."""
    destination: Endpoint | None
    """Where the client reached the proxy; a line that was read has both or neither."""
    authority: str = ""
    """The host that the client asked for (SNI): ASCII, in lower case, without a dot at its end."""
    protocol: bytes = b""
    """What ALPN agreed on: any bytes, at most 255."""
    secure: Secure | None = None
    """None where the client did not come over TLS, or the proxy does not say."""


def read(data: bytes) -> tuple[ProxyLine, int] | int:
    """Read the line that a connection begins with.

    Of LOCAL and of the family UNSPEC nothing but the length counts (2.2): nobody has laid down how long the addresses
    of the latter are, if there are any, and so where its TLVs begin. Datagrams are among what a receiver need not know
    and then treats as UNSPEC (2.2), for no socket of ours has their addresses; like UNIX sockets they have TLVs.

    Args:
        data: All that has come so far, from the first byte on; there may be more behind the line.

    Returns:
        The line and its length in bytes. Or, while it is not whole, the least length that it can have: above that of
        `data`, and never above what it will be, so that a caller can wait for so many bytes.

    Raises:
        Refusal: PROXY_HEADER, as soon as these bytes cannot become a line; an IPv6 address is judged when it is whole.
    """
    if not data:
        return 1
    if data[:1] == _SIGNATURE[:1]:
        return _read_block(data)
    seen = proxytext.read(data)
    if isinstance(seen, int):
        return seen
    ends, size = seen
    return ProxyLine(*_endpoints(ends)), size


def write(version: int, line: ProxyLine) -> bytes:
    """Write a line, never longer than `MOST_BYTES`.

    Where only one end is IPv4, it is written as an IPv4-mapped IPv6 address. Where an end is not known, version 1 is
    UNKNOWN, and version 2 LOCAL with AF_UNSPEC: HAProxy and nginx do the same, and HAProxy refuses PROXY with
    AF_UNSPEC. Version 1 has nothing but addresses. In version 2 what `read` would refuse is left out, and so is a text
    of TLS above 256 bytes.

    Args:
        version: 1 or 2.
        line: A host may have a scope, which is left out, or be IPv4-mapped.
    """
    return proxytext.write(_ends(line)) if version == 1 else _write_block(line)


def _read_block(data: bytes) -> tuple[ProxyLine, int] | int:
    """A header of version 2. Its addresses and TLVs are not looked at before all of it is there (2.2)."""
    if not _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        raise proxytext.stranger(data)
    command = data[12] if len(data) > 12 else _LOCAL
    if command not in (_LOCAL, _PROXY):
        raise tlvs.wrong("has another version than 2, or a command that is neither LOCAL nor PROXY")
    addresses = _SIZES.get(data[13]) if command == _PROXY and len(data) > 13 else 0
    if addresses is None:
        raise tlvs.wrong("has an address family or a transport that is not defined")
    if len(data) < _HEAD.size:
        return _HEAD.size
    length: int = _HEAD.unpack_from(data)[3]
    size = _HEAD.size + length
    if size > MOST_BYTES:
        raise tlvs.wrong(f"is {size} bytes long, and {MOST_BYTES} are allowed")
    if size < _HEAD.size + addresses:
        raise tlvs.wrong("is too short for its addresses")
    if len(data) < size:
        return size
    return _said(data[:size], _HEAD.size + addresses) if addresses else ProxyLine(None, None), size


def _said(block: bytes, behind: int) -> ProxyLine:
    """What a whole header says whose TLVs begin `behind` its addresses."""
    places = tlvs.parse(block, behind, _MOST)
    found = {kind: block[place] for kind, place in places.items()}
    if _CRC32C in found:
        place = places[_CRC32C]
        checked = tlvs.crc32c(block[: place.start] + bytes(4) + block[place.stop :])
        if found[_CRC32C] != struct.pack("!I", checked):
            raise tlvs.wrong("has a check sum that is wrong")
    authority = server_name.read(found[_AUTHORITY]) if _AUTHORITY in found else ""
    if authority is None:
        raise tlvs.wrong("has an authority that is no host name")
    secure = _secure(found[_SSL]) if _SSL in found else None
    source, destination = _endpoints(_addresses(block))
    return ProxyLine(source, destination, authority, found.get(_ALPN, b""), secure)


def _addresses(block: bytes) -> proxytext.Ends | None:
    layout = _TCP.get(block[13])
    if layout is None:
        return None
    *hosts, source_port, destination_port = layout.unpack_from(block, _HEAD.size)
    source, destination = (str(proxytext.unmapped(ip_address(host))) for host in hosts)
    return source, destination, source_port, destination_port


def _endpoints(ends: proxytext.Ends | None) -> tuple[Endpoint, Endpoint] | tuple[None, None]:
    return (Endpoint(ends[0], ends[2]), Endpoint(ends[1], ends[3])) if ends else (None, None)


def _secure(value: bytes) -> Secure | None:
    if len(value) < _SSL_HEAD.size:
        raise tlvs.wrong("has a TLV about TLS that is too short")
    bits, fault = _SSL_HEAD.unpack_from(value)
    texts = {kind: tlvs.read_text(value[at]) for kind, at in tlvs.parse(value, _SSL_HEAD.size, _MOST_SSL).items()}
    if not bits & _USES_TLS:
        return None
    version, cipher, common_name = (texts.get(kind, "") for kind in (_SSL_VERSION, _SSL_CIPHER, _SSL_CN))
    verified = bool(bits & _CERTIFICATE) and fault == 0
    return Secure(version, cipher, common_name, verified, resumed=bits & _CERTIFICATE == _EARLIER)


def _ends(line: ProxyLine) -> proxytext.Ends | None:
    """Two addresses of one family, and their ports."""
    if line.source is None or line.destination is None:
        return None
    hosts = [proxytext.unmapped(ip_address(end.host.partition("%")[0])) for end in (line.source, line.destination)]
    is_mixed = hosts[0].version != hosts[1].version
    source, destination = (f"::ffff:{host}" if is_mixed and host.version == 4 else str(host) for host in hosts)
    return source, destination, line.source.port, line.destination.port


def _write_block(line: ProxyLine) -> bytes:
    ends, command, family, rest = _ends(line), _LOCAL, _UNSPEC, b""
    if ends is not None:
        source, destination, *ports = ends
        command, family = _PROXY, _TCP_INET6 if ":" in source else _TCP_INET
        rest = _TCP[family].pack(ip_address(source).packed, ip_address(destination).packed, *ports)
    if 0 < len(line.protocol) <= _MOST[_ALPN]:
        rest += tlvs.write(_ALPN, line.protocol)
    authority = line.authority.encode("utf-8", "replace")
    if len(authority) <= _MOST[_AUTHORITY] and server_name.read(authority):
        rest += tlvs.write(_AUTHORITY, authority)
    if line.secure is not None:
        rest += tlvs.write(_SSL, _tls(line.secure))
    return _HEAD.pack(_SIGNATURE, command, family, len(rest)) + rest


def _tls(secure: Secure) -> bytes:
    bits = _USES_TLS
    if secure.verified or secure.common_name:
        bits |= _EARLIER if secure.resumed else _CERTIFICATE
    texts = ((_SSL_VERSION, secure.version), (_SSL_CIPHER, secure.cipher), (_SSL_CN, secure.common_name))
    # 2.2.6: not zero where no certificate was verified; 1 is OpenSSL's X509_V_ERR_UNSPECIFIED.
    return _SSL_HEAD.pack(bits, 0 if secure.verified else 1) + tlvs.write_texts(texts, _MOST_WRITTEN)

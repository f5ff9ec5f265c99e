"""Version 1 of HAProxy's PROXY protocol: one line of text.

Knows of addresses and ports only. Sections are those of HAProxy's doc/proxy-protocol.txt.
"""

import re
from ipaddress import IPv4Address, IPv6Address

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

Ends = tuple[str, str, int, int]
"""The addresses of source and destination, and their ports."""

# 2.1: the longest line, CRLF included.
_MOST_BYTES = 107
_TCP4, _TCP6, _UNKNOWN = b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"
# How lines begin, and what is the least to stand before their CRLF then.
_LEAST = {_TCP4: b"0.0.0.0 0.0.0.0 0 0", _TCP6: b":: :: 0 0", _UNKNOWN: b""}

# How an address begins, for a fault is to be seen before the CRLF comes. ipaddress does the rest; the character sets
# keep scopes away from it. IPv6 may end with an IPv4 address: HAProxy and nginx write mapped ones so (inet_ntop).
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HOSTS: dict[bytes, tuple[re.Pattern[bytes], type[IPv4Address | IPv6Address]]] = {
    _TCP4: (re.compile(rb"(?:%b\.){0,3}%b?" % (_OCTET, _OCTET)), IPv4Address),
    _TCP6: (re.compile(rb"(?:[0-9A-Fa-f]{0,4}:){0,8}(?:[0-9A-Fa-f]{0,4}|[0-9.]{0,15})"), IPv6Address),
}
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_MAX_PORT = 65535


def read(data: bytes) -> tuple[Ends | None, int] | int:
    """Read a line, as `proxyline.read` does. Of UNKNOWN there are no ends.

    Args:
        data: Not empty.

    Raises:
        Refusal: PROXY_HEADER, as soon as these bytes cannot become a line; an IPv6 address is judged when it is whole.
    """
    kinds = [kind for kind in _LEAST if kind.startswith(data[: len(kind)])]
    if not kinds:
        other = _refusal("the PROXY line has another protocol than TCP4, TCP6 or UNKNOWN (2.1)")
        raise other if data.startswith(b"PROXY") else stranger(data)
    kind = kinds[0]
    if len(kinds) > 1 or len(data) < len(kind):
        return min(len(kind) + len(_LEAST[kind]) + 2 for kind in kinds)
    rest, ended, _ = data[len(kind) : _MOST_BYTES].partition(b"\r\n")
    if ended:
        return _line(kind, rest), len(kind) + len(rest) + 2
    # No value has a CR, so this is the first half of CRLF.
    has_half = rest.endswith(b"\r")
    whole = rest[:-1] if has_half else _filled(kind, rest)
    _line(kind, whole)
    needed = max(len(kind) + len(whole) + 2, len(data) + (1 if has_half else 2))
    if needed > _MOST_BYTES:
        raise _refusal(f"the PROXY line does not end within {_MOST_BYTES} bytes (2.1)")
    return needed


def write(ends: Ends | None) -> bytes:
    """Write a line.

    Args:
        ends: Both addresses are of one family; None where they are not known.
    """
    if ends is None:
        return _UNKNOWN + b"\r\n"
    return (_TCP6 if ":" in ends[0] else _TCP4) + "{} {} {} {}\r\n".format(*ends).encode("ascii")


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An address, or the IPv4 address that it maps (RFC 4291 2.5.5.2)."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def stranger(data: bytes) -> Refusal:
    """What to raise for bytes that no line of either version begins with.

    Most often they are from a client that came past the proxy, or from a proxy that was not told to send lines.
    """
    what = "HTTP" if re.match(rb"[A-Z]+(?: |\Z)", data) else "TLS" if data[:1] == b"\x16" else "something else"
    return _refusal(f"the connection begins with {what}, and without a PROXY line")


def _refusal(detail: str) -> Refusal:
    return Refusal(Reason.PROXY_HEADER, detail)


def _filled(kind: bytes, rest: bytes) -> bytes:
    """What there is of a line, filled up to the shortest whole one."""
    words, least = rest.split(b" "), _LEAST[kind].split(b" ")
    if kind == _UNKNOWN:
        return rest
    if len(words) < 3 and _HOSTS[kind][0].fullmatch(words[-1]):
        words[-1] = least[0]
    # What a port begins with is one.
    return b" ".join((*words[:-1], words[-1] or b"0", *least[len(words) :]))


def _line(kind: bytes, rest: bytes) -> Ends | None:
    """What a line says, from what stands between its kind and CRLF."""
    if kind == _UNKNOWN:
        # 2.1: ignored up to CRLF. But CR or LF alone ends no line, and what stands behind one would vanish with it.
        if rest[:1] not in (b"", b" ") or b"\r" in rest or b"\n" in rest:
            raise _refusal("the PROXY line goes on without a space after UNKNOWN, or has a CR or an LF alone (2.1)")
        return None
    words = rest.split(b" ")
    hosts, ports = [_read_host(kind, word) for word in words[:2]], [_read_port(word) for word in words[2:4]]
    if len(words) != 4:
        raise _refusal("the PROXY line has not two addresses and two ports, with one space between them (2.1)")
    return hosts[0], hosts[1], ports[0], ports[1]


def _read_host(kind: bytes, word: bytes) -> str:
    pattern, address = _HOSTS[kind]
    try:
        if pattern.fullmatch(word):
            return str(unmapped(address(word.decode("ascii"))))
    except ValueError:
        pass
    raise _refusal(f"the PROXY line has an address that is none of {kind.split()[1].decode('ascii')} (2.1)")


def _read_port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > _MAX_PORT:
        raise _refusal(f"the PROXY line has a port that is no number from 0 to {_MAX_PORT}, or has a zero before (2.1)")
    return int(word)

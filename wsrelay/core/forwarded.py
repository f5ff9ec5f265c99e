"""Who the client is, as upstreams get to read it: X-Real-IP and X-Forwarded-For, -Proto and -Host.

Knows nothing of the other fields, nor of sockets. What an untrusted client says about itself is never believed
(RFC 7239 8.1); `hopbyhop` strips it before these fields are added.
"""

import functools
import re
from ipaddress import IPv6Address, ip_address

import attrs

from wsrelay.config.networks import NOWHERE, Address, Networks
from wsrelay.core.head import RequestHead

UNIX = "unix:"
"""The address of a client on a UNIX socket, as nginx writes it too. It is sent upstream as well: an application that
found no address at all would take ours, and often trusts that one."""

# One element of X-Forwarded-For: some gateways (Azure's, IIS) add the port, and then brackets to IPv6. The character
# sets keep scopes out, for ipaddress accepts any text behind a `%`, and that text would end in X-Real-IP.
_PORT = rb"(?::[0-9]{1,5})?"
_ELEMENT = re.compile(rb"\[((?=[^]]*:)[0-9A-Fa-f:.]{2,45})\]%b|([0-9.]{7,15})%b|([0-9A-Fa-f:.]{2,45})" % (_PORT, _PORT))

# Trusted hops looked at from the right. Real chains have two or three; a client behind a trusted proxy can send
# thousands of elements in one head, and each costs microseconds.
_MAX_HOPS = 32

# What a trusted proxy may say. Traefik says ws and wss, which Tomcat and others refuse: the scheme of a WebSocket's
# opening request is that of HTTP.
_SCHEMES = {b"http": b"http", b"https": b"https", b"ws": b"http", b"wss": b"https"}


@attrs.frozen
class ClientFacts:
    """What is known of a client connection, whatever it says of itself. One value per connection; make it with `of`."""

    address: str
    """`203.0.113.9`, `2001:db8::1`, or `unix:`; no port, no scope, an IPv4-mapped IPv6 address as IPv4."""
    secure: bool
    """Whether TLS ended here."""
    trusted: bool
    """Whether the address is in `trusted_proxies`."""
    proxies: Networks = NOWHERE
    """Asked again for each hop that a trusted client names."""
    reserved: frozenset[bytes] = frozenset()
    """Folded names of fields that only we may send: those in which upstreams read the client's certificate."""
    certified: tuple[bytes, ...] = ()
    """Field lines, without line ends, that tell upstreams of the client's certificate."""

    @classmethod
    def of(
        cls,
        address: str,
        *,
        secure: bool,
        proxies: Networks,
        reserved: frozenset[bytes] = frozenset(),
        certified: tuple[bytes, ...] = (),
    ) -> "ClientFacts":
        """The facts of a connection from `address`, as the socket or a PROXY line gave it.

        Raises:
            ValueError: `address` is neither an IP address nor `unix:`.
        """
        if address == UNIX:
            return cls(address, secure, proxies.unix, proxies, reserved, certified)
        known = _known(address)
        if known is None:
            raise ValueError(f"not an IP address: {address!r}")
        text, parsed = known
        return cls(text, secure, proxies.covers(parsed), proxies, reserved, certified)


def parse_address(address: str) -> Address | None:
    """An address in the form of `ClientFacts.address` or of `real_ip`; None for `unix:`."""
    known = _known(address)
    return None if known is None else known[1]


def real_ip(head: RequestHead, facts: ClientFacts) -> str:
    """The address of the real client: the right-most one of the chain that is not a trusted proxy.

    The chain is X-Forwarded-For and then the connection's own address. What stands left of the first untrusted
    address may be invented. An element that is no address ends the walk, and so does the 33rd: the last good one
    counts then, as it does where every address is trusted.
    """
    nearest = facts.address
    if not facts.trusted:
        return nearest
    chain = b",".join(head.values(b"x-forwarded-for"))
    for element in reversed(chain.rsplit(b",", _MAX_HOPS)):
        element = element.strip(b" \t")
        if not element:  # RFC 9110 5.6.1.2: empty list elements do not count.
            continue
        address = _parse_element(element)
        if address is None:
            break
        nearest = str(address)
        if not facts.proxies.covers(address):
            break
    return nearest


def identity_lines(head: RequestHead, facts: ClientFacts) -> list[bytes]:
    """The field lines, without line ends, that tell the upstream who the client is.

    For a trusted client -For is appended to, and -Proto and -Host pass where they are single and make sense.
    Otherwise all of them are ours. X-Forwarded-Host is absent where there is no Host at all (HTTP/1.0).
    """
    address = facts.address.encode("ascii")
    real, chain, proto, host = address, address, b"https" if facts.secure else b"http", head.authority
    if facts.trusted:
        real = real_ip(head, facts).encode("ascii")
        chain = b", ".join((*filter(None, head.values(b"x-forwarded-for")), address))
        protos = head.values(b"x-forwarded-proto")
        if len(protos) == 1:
            proto = _SCHEMES.get(protos[0].lower(), proto)
        hosts = head.values(b"x-forwarded-host")
        if len(hosts) == 1 and hosts[0]:
            host = hosts[0]
    lines = [b"X-Real-IP: " + real, b"X-Forwarded-For: " + chain, b"X-Forwarded-Proto: " + proto]
    if host:
        lines.append(b"X-Forwarded-Host: " + host)
    return lines


# Clients come back, and behind a load balancer all have its few addresses. An entry is some 300 bytes.
@functools.lru_cache(maxsize=1024)
def _known(text: str) -> tuple[str, Address] | None:
    """An address of a connection, in the form of RFC 5952, and parsed."""
    parsed = _parse(text)
    return None if parsed is None else (str(parsed), parsed)


def _parse(text: str) -> Address | None:
    try:
        # The scope (fe80::1%eth0) means something on this machine only.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack listener shows IPv4 clients as ::ffff:a.b.c.d; the operator wrote a.b.c.d.
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _parse_element(element: bytes) -> Address | None:
    match = _ELEMENT.fullmatch(element)
    # Exactly one of the three groups has matched.
    return match and _parse(match[match.lastindex or 0].decode("ascii"))

"""What a ClientHello can ask for: server names (RFC 6066 3) and protocols (RFC 7301), and what operators take for them.

`server_name`, `protocol` and `own_name` take a TOML value of any type and raise ValueError with a sentence that begins
with what was expected.
"""

import re
from collections.abc import Collection, Iterator

from wsrelay.config import addresses
from wsrelay.config.units import seen

_FORMS = '"a.example.com" or "*.example.com"'
_ADDRESS = re.compile(r"[0-9.]+|\[.*|[^.]*:[^.]*:.*")
# RFC 7301 3.1: ProtocolName<1..2^8-1>.
_MAX_PROTOCOL = 255
# Written for a protocol, and never offered by that name: IANA's list of ALPN protocol IDs has the one behind it.
_MEANT = {
    "h2": "h2",
    "h2c": "h2",
    "http2": "h2",
    "http/2": "h2",
    "http/2.0": "h2",
    "http/1.1": "http/1.1",
    "http/1": "http/1.1",
    "http1.1": "http/1.1",
    "ws": "http/1.1",
    "wss": "http/1.1",
    "websocket": "http/1.1",
    "acme-tls": "acme-tls/1",
}
# No protocol of IANA's list has them; most often somebody wrote several into one key.
_NO_PROTOCOL = re.compile(r"[\s,;]")


def server_name(value: object) -> str:
    """A name that clients ask for: exact, or `*.` for the names with one label in its place. Comes as written."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected {_FORMS}, found {seen(value)}")
    if value == "*":
        raise ValueError(f"expected {_FORMS}; what no name here is for goes where the listener itself says")
    if value.startswith("."):
        raise ValueError(f'expected {_FORMS}, found {seen(value)}; did you mean "*{value}"?')
    if _ADDRESS.fullmatch(value):
        raise ValueError(f"expected {_FORMS}, found {seen(value)}; clients name no addresses (RFC 6066 3)")
    name, number = addresses.split_port(value)
    if number is not None:
        raise ValueError(f"expected {_FORMS} without a port, found {seen(value)}; did you mean {seen(name)}?")
    addresses.host_name(value.removeprefix("*."))
    return value


def own_name(value: object) -> str:
    """Whom an upstream's certificate is for: a host name in lower case, or an address without brackets."""
    if not isinstance(value, str) or not value:
        raise ValueError(f'expected a host name such as "app.internal", found {seen(value)}')
    if "*" in value:
        raise ValueError(f"expected one host name, such as the certificate is for, found {seen(value)}")
    name, number = addresses.split_port(value)
    if number is not None and (":" not in name or name.endswith("]")):
        raise ValueError(f"expected a host name without a port, found {seen(value)}")
    return addresses.host(value).removeprefix("[").removesuffix("]")


def protocol(value: object) -> str:
    """A protocol of ALPN, such as `h2`, as clients offer it: every letter counts."""
    if not isinstance(value, str) or not 0 < len(value.encode()) <= _MAX_PROTOCOL or _NO_PROTOCOL.search(value):
        raise ValueError(f'expected one protocol of ALPN, such as "h2" or "http/1.1", found {seen(value)}')
    return value


def protocol_doubts(protocols: Collection[str]) -> Iterator[tuple[str, str]]:
    """Say which of these protocols clients will hardly offer, or not before another one: the protocol, and why."""
    before: set[str] = set()
    for said in protocols:
        meant = _MEANT.get(said.lower(), said)
        if meant != said:
            yield said, f'never reached: no client offers it by that name; did you mean "{meant}"?'
        elif said.startswith("h3"):
            yield said, "never reached: HTTP/3 is offered over QUIC, and not here"
        elif said == "h2" and "http/1.1" in before:
            yield said, "hardly ever reached: who offers h2 offers http/1.1 too, which stands before it"
        before.add(said)


def domains(names: Collection[str]) -> frozenset[str]:
    """Every domain that has one of `names` below it: `a.b.example` has `b.example` and `example`."""
    found = set()
    for name in names:
        while name := name.partition(".")[2]:
            found.add(name)
    return frozenset(found)

"""Target: who the client is, from what trusted proxies say. A request head, or one X-Forwarded-For value alone."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from fuzz.crossing import check_identity
from fuzz.hopbyhop import CLIENTS
from fuzz.inputs import Input, fed
from wsrelay.config.networks import Networks
from wsrelay.core.fieldlines import Blame, parse_fields
from wsrelay.core.forwarded import ClientFacts, identity_lines, real_ip
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader
from wsrelay.core.reasons import Reason

SEEDS = ((b"\0\1\0\0", "send"), (b"\0\2\0\0", "send"), (b"\0\4\0\0", "send"))
RARE: tuple[tuple[bytes, str], ...] = ()

_LIMITS = HeadLimits(32 * 1024, 128)
_BLAME = Blame(Reason.MALFORMED_HEAD, Reason.HEAD_TOO_LARGE, "what we wrote")
# The 33rd hop ends the walk (CONFIG.md, trusted_proxies).
_MOST_HOPS = 32


def check(data: bytes) -> None:
    """Fields that name a client, or the address of one."""
    given = Input.of(data)
    if given is None:
        return
    if given.kind % 3 == 2:
        _check_address(given.message)
        return
    message = given.message
    if given.kind % 3 == 1:
        message = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: %b\r\n\r\n" % message
    head, _ = fed(RequestReader(_LIMITS), [message])
    if isinstance(head, RequestHead):
        for facts in CLIENTS:
            _check_facts(head, facts)


def _check_facts(head: RequestHead, facts: ClientFacts) -> None:
    found = real_ip(head, facts)
    assert found == _simply(head, facts), (found, _simply(head, facts))
    lines = identity_lines(head, facts)
    assert all(line.isascii() or facts.trusted for line in lines)
    fields = parse_fields(lines, _BLAME)
    assert [name for name, _ in fields[:3]] == [b"X-Real-IP", b"X-Forwarded-For", b"X-Forwarded-Proto"]
    assert fields[0][1] == found.encode()
    check_identity(fields, head, facts)
    # What an untrusted client says has no influence at all.
    silent = RequestHead(head.method, head.target, head.minor, (), head.host, head.authority, head.path, head.query)
    assert facts.trusted or identity_lines(silent, facts) == lines


def _simply(head: RequestHead, facts: ClientFacts) -> str:
    """The same walk, written for nothing but to be read."""
    if not facts.trusted:
        return facts.address
    elements = b",".join(head.values(b"x-forwarded-for")).split(b",")
    nearest = facts.address
    for element in elements[::-1][:_MOST_HOPS]:
        text = element.strip(b" \t").decode("latin-1")
        if not text:
            continue
        address = _address(text)
        if address is None:
            break
        nearest = str(address)
        if not any(address in network for network in facts.proxies.networks):
            break
    return nearest


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address with or without a port; brackets where IPv6 has one."""
    port = ""
    if text[:1] == "[":
        text, closed, port = text[1:].partition("]")
        if not closed or (port and port[0] != ":") or ":" not in text:
            return None
        port = port and (port[1:] or "none")
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        port = port or "none"
    if port and not (port.isascii() and port.isdecimal() and len(port) <= 5):
        return None
    try:
        address = ip_address(text) if "%" not in text else None
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _check_address(data: bytes) -> None:
    """A connection's own address is one, or a ValueError."""
    text = data.decode("latin-1")
    try:
        facts = ClientFacts.of(text, secure=False, proxies=Networks(CLIENTS[0].proxies.networks))
    except ValueError:
        return
    if facts.address != "unix:":
        address = ip_address(facts.address)
        assert str(address) == facts.address
        assert facts.trusted is any(address in network for network in facts.proxies.networks)
    assert "%" not in facts.address

"""What must hold for the fields that cross the hop, put down once more, not taken from the code under test.

Used on what `core.hopbyhop` writes, and on what arrives at the far ends of a whole session.
"""

import re
from ipaddress import ip_address

from wsrelay.core.body import safe_trailers
from wsrelay.core.forwarded import ClientFacts
from wsrelay.core.head import RequestHead
from wsrelay.core.refusal import Fields

# RFC 9110 7.6.1, and what older software treats so.
# `Proxy` is no hop's, but becomes HTTP_PROXY in CGI (CVE-2016-5385).
_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"http2-settings", b"proxy-authorization", b"proxy-authenticate", b"proxy-authentication-info"}  # fmt: skip
# What only answers of the relay itself have.
_OURS = b"x-wsrelay-"
FRAMING = {b"content-length", b"transfer-encoding", b"trailer"}
_IDENTITY = {b"x-real-ip", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
_WRITTEN_ANEW = FRAMING | _IDENTITY | {b"host", b"expect", b"connection", b"upgrade"}
# What a CDN in front says, and applications believe.
_SAID = {b"forwarded", b"client-ip", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip", b"cf-connecting-ip",
         b"cf-connecting-ipv6", b"fastly-client-ip", b"x-original-forwarded-for", b"x-original-host",
         b"x-original-url", b"x-rewrite-url"}  # fmt: skip
# Never to be named away: an upstream that checks them must get to see them (CVE-2022-1388).
_ALWAYS = {b"authorization", b"cookie", b"set-cookie", b"origin", b"content-type", b"cache-control"}


def fold(name: bytes) -> bytes:
    """A name as CGI and its kin see it: one separator for all that is neither letter nor digit."""
    return re.sub(rb"[^a-z0-9]", b"-", name.lower())


def options(fields: Fields) -> set[bytes]:
    """What the Connection field names, in lower case."""
    joined = b",".join(value for name, value in fields if name.lower() == b"connection")
    return {option.strip(b" \t").lower() for option in joined.split(b",")} - {b""}


def passing_trailers(trailers: Fields, before: Fields) -> Fields:
    """Of the trailers behind a head with these fields: those that may pass (RFC 9110 6.5.1 and 7.6.1)."""
    nominated = {fold(option) for option in options(before)}
    return tuple(field for field in safe_trailers(trailers) if fold(field[0]) not in nominated)


def check_crossing(after: Fields, head: RequestHead, *, switches: bool) -> None:
    """What came out is a part of what went in, in its order, byte for byte; what was named away is gone."""
    after, before = _count_hop(after, head)
    nominated = {fold(option) for option in options(before)}
    left = iter(before)
    present = {name.lower() for name, _ in before} | _ALWAYS
    for field in after:
        folded = fold(field[0])
        assert field[0].lower() == folded or folded not in present, "an alias of a field that is there"
        if folded in _WRITTEN_ANEW:
            assert field[0].lower() == folded, "an alias of a field that is ours"
            continue
        assert field in left, f"{field!r} was not there, or not in this place"
        assert folded not in _HOP | {b"proxy"}
        assert not folded.startswith(b"sec-websocket-") or (switches and folded == field[0].lower())
        assert folded not in nominated or _is_protected(folded), f"{field!r} was named away"
    names = [name.lower() for name, _ in after]
    assert all(names.count(name) <= 1 for name in _WRITTEN_ANEW - {b"trailer"})
    assert (b"upgrade" in options(after)) is switches
    for name, value in before:
        lower = name.lower()
        own = lower not in _HOP | _WRITTEN_ANEW and fold(name) == lower and not lower.startswith((b"x-", b"sec-"))
        if lower in _ALWAYS or (own and lower not in nominated | _SAID | {b"proxy"}):
            assert (name, value) in after, f"{name!r} is lost"


def _count_hop(after: Fields, head: RequestHead) -> tuple[Fields, Fields]:
    """Check Max-Forwards (RFC 9110 7.6.2), which is counted down for OPTIONS; the other fields after and before."""
    counts = [value for name, value in head.fields if name.lower() == b"max-forwards"]
    if head.method != b"OPTIONS" or len(counts) != 1 or not re.fullmatch(rb"[0-9]{1,9}", counts[0]):
        return after, head.fields
    assert [value for name, value in after if fold(name) == b"max-forwards"] == [b"%d" % (int(counts[0]) - 1)]
    others = [tuple(field for field in fields if fold(field[0]) != b"max-forwards") for fields in (after, head.fields)]
    return others[0], others[1]


def _is_protected(folded: bytes) -> bool:
    families = (b"x-forwarded-", b"sec-websocket-", b"content-")
    return folded in _ALWAYS | {b"forwarded", b"www-authenticate"} or folded.startswith(families)


def check_identity(after: Fields, head: RequestHead, facts: ClientFacts) -> None:
    """Who the client is says the relay; what it says of itself is heard from trusted clients only."""
    said = {fold(name): value for name, value in after if fold(name) in _IDENTITY}
    folded = {name: fold(name) for name, _ in after}
    others = [name for name, plain in folded.items() if plain.startswith(b"x-forwarded-") and plain not in _IDENTITY]
    address = facts.address.encode()
    assert b"x-forwarded" not in folded.values()
    assert {b"x-real-ip", b"x-forwarded-for", b"x-forwarded-proto"} <= set(said)
    assert said[b"x-forwarded-proto"] in (b"http", b"https")
    assert said[b"x-forwarded-for"].endswith(address)
    if said[b"x-real-ip"] != b"unix:":
        assert str(ip_address(said[b"x-real-ip"].decode())).encode() == said[b"x-real-ip"]
    if facts.trusted:
        assert all(fold(name) == name.lower() for name in others)
        return
    assert not others
    assert not _SAID & set(folded.values())
    own = {b"x-real-ip": address, b"x-forwarded-for": address}
    own[b"x-forwarded-proto"] = b"https" if facts.secure else b"http"
    if head.authority:
        own[b"x-forwarded-host"] = head.authority
    assert said == own


def check_reply_fields(after: Fields, before: Fields, ours: set[bytes]) -> None:
    """As `check_crossing`, for answers; `ours` may be written anew."""
    nominated = {fold(option) for option in options(before)}
    left = iter(before)
    for field in after:
        folded = fold(field[0])
        if field[0].lower() in ours:
            continue
        assert field in left, f"{field!r} was not there, or not in this place"
        assert folded not in _HOP | {b"content-length"}
        assert not folded.startswith(_OURS), "a reason that is not the relay's own"
        assert folded not in nominated or _is_protected(folded), f"{field!r} was named away"
    for name, value in before:
        lower = name.lower()
        gone = lower in _HOP | nominated | {b"content-length"} or lower.startswith(_OURS)
        if lower in _ALWAYS or (fold(name) == lower and not gone):
            assert (name, value) in after, f"{name!r} is lost"

"""Which fields may cross the hop, and the heads written from them (RFC 9110 7.6.1). Knows nothing of routes or sockets.

The order is always the same: strip what belongs to the connection and what its Connection field names, then add what
is ours. So no nomination can take away a field that we set (CVE-2022-1388, CVE-2022-31813, CVE-2024-45410).
"""

import re

from wsrelay.core.body import Chunked, Framing, Length, NoBody, safe_trailers
from wsrelay.core.fieldlines import FOLD
from wsrelay.core.forwarded import ClientFacts, identity_lines
from wsrelay.core.head import RequestHead, ResponseHead
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

# RFC 9110 7.6.1, and those that older software treats alike. `_framing_lines` writes framing and Trailer anew.
# HTTP2-Settings went with h2c (RFC 9113 3.1). Credentials for a proxy are for the hop that asked for them, not for the
# site behind us (RFC 9110 11.7.2).
_HOP = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade http2-settings "
    b"proxy-authorization proxy-authenticate proxy-authentication-info content-length".split()
)
# What a request gets from us anew, and `expect`, which is written again in its one known form. `Proxy` is no field of
# HTTP: CGI makes HTTP_PROXY of it, which programs then dial through (CVE-2016-5385, httpoxy).
_REQUEST_DROPS = _HOP | frozenset(
    b"host expect proxy x-real-ip x-forwarded x-forwarded-for x-forwarded-proto x-forwarded-host".split()
)
# What a CDN or proxy in front says, and applications believe: who the client is, and which path was meant, behind the
# back of our routes. From anybody else it is a forgery.
_UNTRUSTED_DROPS = _REQUEST_DROPS | frozenset(
    b"forwarded client-ip true-client-ip x-client-ip x-cluster-client-ip cf-connecting-ip cf-connecting-ipv6 "
    b"fastly-client-ip fly-client-ip proxy-client-ip wl-proxy-client-ip http-client-ip http-x-forwarded-for "
    b"x-azure-clientip x-azure-socketip x-appengine-user-ip cloudfront-viewer-address ali-cdn-real-ip cdn-src-ip "
    b"x-envoy-external-address x-envoy-original-path x-remote-ip x-remote-addr x-originating-ip "
    b"x-original-forwarded-for x-original-host x-original-url x-rewrite-url".split()
)
# The families in which a member passes only for those who may say such things.
_IDENTITY, _WEBSOCKET = b"x-forwarded-", b"sec-websocket-"
_FAMILIES = (_IDENTITY, _WEBSOCKET)
# What only answers of the relay itself have: X-Wsrelay-Reason.
_OURS = b"x-wsrelay-"
# Beyond those above: what no Connection field can name away. A field "intended for all recipients of the content" is
# never a connection option (RFC 9110 7.6.1); to drop credentials or Origin would disable the upstream's own checks.
_PROTECTED = frozenset(
    b"authorization cookie set-cookie www-authenticate origin forwarded cache-control "
    b"content-encoding content-language content-location content-range content-type".split()
)
_MAX_FORWARDS = frozenset({b"max-forwards"})
_HOPS = re.compile(rb"[0-9]{1,9}")
# Letters, digits and hyphens: what every reader takes for the same name.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
# Names that are worth an alias beside those above: who is logged in, by CGI's and by proxies' words.
_WORTH_AN_ALIAS = _UNTRUSTED_DROPS | _PROTECTED | frozenset(b"remote-user x-remote-user user-agent referer".split())
_HSTS = frozenset({b"strict-transport-security"})
_NOTHING: frozenset[bytes] = frozenset()
_UPGRADE = [b"Connection: upgrade", b"Upgrade: websocket"]


def request(
    head: RequestHead, facts: ClientFacts, *, target: bytes, host: bytes, framing: Framing, upgrade: bool
) -> bytes:
    """Write the head that the upstream gets: HTTP/1.1, Host first, then the client's fields as sent, then ours.

    Args:
        head: The client's.
        facts: Who the client is; decides which identity fields may pass.
        target: The request target after routing, in original bytes.
        host: The value of Host; `b""` is sent as an empty field, as RFC 9112 3.2 wants it.
        framing: How the body goes upstream; replaces whatever the client's fields said.
        upgrade: Whether this is a valid upgrade to WebSocket. Only then do Sec-WebSocket-* and `Connection: upgrade`
            go upstream, and no framing at all.
    """
    drops = _REQUEST_DROPS if facts.trusted else _UNTRUSTED_DROPS
    # A request without an upgrade must look like none at all: some servers switch on a lone Sec-WebSocket-Version
    # (CVE-2026-59898).
    passing: tuple[bytes, ...] = (_WEBSOCKET,) if upgrade else ()
    if facts.trusted:
        passing += (_IDENTITY,)
    nominated = _nominated(head) | facts.reserved
    if nominated:
        drops |= nominated
    hops = hops_left(head)
    if hops is not None:
        drops |= _MAX_FORWARDS
    lines = [b" ".join((head.method, target, b"HTTP/1.1")), b"Host: " + host]
    for field in _without_aliases(head):
        name = field[0]
        folded = name.translate(FOLD)
        if folded in drops:
            continue
        if folded.startswith(_FAMILIES) and not (folded.startswith(passing) and folded == name.lower()):
            continue
        lines.append(b": ".join(field))  # A quarter of the time that formatting takes.
    lines += identity_lines(head, facts)
    lines += facts.certified
    if hops is not None:
        lines.append(b"Max-Forwards: %d" % (hops - 1))
    if upgrade:
        return _written(lines + _UPGRADE)
    lines += _framing_lines(framing, head, facts.reserved)
    # RFC 9112 6.3: a request without framing has no body; the client's own "none" is kept, for some servers ask for it.
    if isinstance(framing, NoBody):
        if head.values(b"content-length"):
            lines.append(b"Content-Length: 0")
    # RFC 9110 10.1.1: not from HTTP/1.0, and only where a body follows. Rewritten, so that two parsers cannot disagree.
    elif head.minor and head.tokens(b"expect"):
        lines.append(b"Expect: 100-continue")
    return _written(lines)


def hops_left(head: RequestHead) -> int | None:
    """How many more servers an OPTIONS may pass (RFC 9110 7.6.2); 0 makes us the last. None where it says nothing."""
    if head.method != b"OPTIONS":
        return None
    values = head.values(b"max-forwards")
    return int(values[0]) if len(values) == 1 and _HOPS.fullmatch(values[0]) else None


def response(reply: ResponseHead, *, framing: Framing, minor: int, close: bool, hsts: bytes = b"") -> bytes:
    """Write the head of a final answer for the client: always HTTP/1.1, the upstream's phrase and fields kept.

    Args:
        reply: The upstream's.
        framing: How the body goes to the client. Chunked is written as no framing for HTTP/1.0, which does not know it
            (RFC 9112 6.1): the content then ends with the connection, and `close` must say so.
        minor: The client's HTTP/1 minor version.
        close: Whether the connection ends after this answer.
        hsts: The value of Strict-Transport-Security, which replaces the upstream's: a client reads the first one only
            (RFC 6797 8.1). `b""` leaves that as it is.
    """
    lines = _crossing(reply, _HSTS if hsts else _NOTHING)
    if hsts:
        lines.append(b"Strict-Transport-Security: " + hsts)
    options = [b"close"] if close else [] if minor else [b"keep-alive"]
    if isinstance(framing, NoBody):
        lines += _length_without_body(reply)
    elif minor or not isinstance(framing, Chunked):
        lines += _framing_lines(framing, reply)
    protocols = reply.values(b"upgrade")
    # RFC 9110 15.5.22: a 426 must name the protocol. Elsewhere Upgrade is an offer that we do not keep (h2c!).
    if reply.status == 426 and protocols:
        options.append(b"upgrade")
        lines.append(b"Upgrade: " + b", ".join(protocols))
    if options:
        lines.append(b"Connection: " + b", ".join(options))
    return _written(lines)


def interim(reply: ResponseHead) -> bytes:
    """Write a 1xx other than 101 for an HTTP/1.1 client; older ones must not get any (RFC 9110 15.2)."""
    return _written(_crossing(reply))


def switching(reply: ResponseHead) -> bytes:
    """Write the checked 101 for the client: `upgrade.check_reply` has accepted it."""
    return _written(_crossing(reply) + _UPGRADE)


def trailers(head: RequestHead | ResponseHead, fields: Fields, reserved: frozenset[bytes] = _NOTHING) -> Fields:
    """The trailers behind `head` that may pass: harmless ones that Connection does not name (RFC 9110 7.6.1).

    `reserved` are those that never do: `ClientFacts.reserved`, behind a request.
    """
    never = _WORTH_AN_ALIAS | _nominated(head) | reserved
    return tuple([field for field in safe_trailers(fields) if field[0].translate(FOLD) not in never])


def check_expectation(head: RequestHead) -> None:
    """Insist that 100-continue is the only expectation.

    Raises:
        Refusal: EXPECTATION for any other. Passed on, something like `Expect: y 100-continue` is read differently by
            the next parser, and the two wait for different bytes.
    """
    if any(expectation != b"100-continue" for expectation in head.tokens(b"expect")):
        raise Refusal(Reason.EXPECTATION, "the only expectation there is is 100-continue (RFC 9110 10.1.1)")


def _nominated(head: RequestHead | ResponseHead) -> frozenset[bytes] | set[bytes]:
    """The folded names that Connection names and that may be named away (RFC 9110 7.6.1); any case (CVE-2026-29054)."""
    options = head.tokens(b"connection")
    if _HOP.issuperset(options):  # `Upgrade` most often: these never cross anyway
        return _NOTHING
    folded = {option.translate(FOLD) for option in options}
    return {name for name in folded if name not in _PROTECTED and not name.startswith(_FAMILIES)}


def _without_aliases(head: RequestHead) -> Fields:
    """The fields without those that some readers take for another one, which is there too or matters."""
    if not b"".join([name for name, _ in head.fields]).translate(None, _PLAIN):
        return head.fields
    lower = {name.lower() for name, _ in head.fields}
    return tuple([field for field in head.fields if not _is_alias(field[0], lower)])


def _is_alias(name: bytes, present: set[bytes]) -> bool:
    folded = name.translate(FOLD)
    return folded != name.lower() and (folded in _WORTH_AN_ALIAS or folded in present)


def _crossing(reply: ResponseHead, ours: frozenset[bytes] = _NOTHING) -> list[bytes]:
    """The status line and the fields of an answer that are not the upstream connection's own, nor to be `ours`."""
    nominated = _nominated(reply) | ours
    lines = [b"HTTP/1.1 %d %b" % (reply.status, reply.phrase)]
    for field in reply.fields:
        folded = field[0].translate(FOLD)
        # Who finds a reason of ours in an answer must be able to rely on it.
        if folded not in _HOP and folded not in nominated and not folded.startswith(_OURS):
            lines.append(b": ".join(field))
    return lines


def _framing_lines(
    framing: Framing, head: RequestHead | ResponseHead, reserved: frozenset[bytes] = _NOTHING
) -> list[bytes]:
    """The fields that frame the body, written anew: never copied, so never two (RFC 9112 6)."""
    if isinstance(framing, Length):
        return [b"Content-Length: %d" % framing.count]
    if not isinstance(framing, Chunked):
        return []
    # RFC 9110 6.6.2: the announcement of trailers crosses with them, and with nothing else.
    named = [name.strip(b" \t") for name in b",".join(head.values(b"trailer")).split(b",")]
    passing = [name for name, _ in trailers(head, tuple((name, b"") for name in named if name), reserved)]
    return [b"Transfer-Encoding: chunked", *([b"Trailer: " + b", ".join(passing)] if passing else [])]


def _length_without_body(reply: ResponseHead) -> list[bytes]:
    """The length of an answer to HEAD or of a 304: that of the body which a GET would bring (RFC 9110 8.6)."""
    lengths = reply.values(b"content-length")
    # A 204 must have none. One that is no single number, or contradicted by a coding, tells nobody anything.
    if reply.status == 204 or len(lengths) != 1 or not lengths[0].isdigit() or reply.values(b"transfer-encoding"):
        return []
    return [b"Content-Length: " + lengths[0]]


def _written(lines: list[bytes]) -> bytes:
    """A complete head: every line and the blank one with its CRLF."""
    return b"\r\n".join(lines) + b"\r\n\r\n"

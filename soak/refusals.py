"""Connections that come to nothing: what the relay refuses, what the upstream declines, who only looks."""

from random import Random

from soak.plans import Body, Declined, Framing, Port, Probe, Refused
from soak.tunnel_kinds import KIB, size
from soak.wires import How

UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"

DEAD = b"/dead"
"""Leads to a port that nobody listens on."""
NOWHERE = b"/nowhere"
"""No route has it."""
TARGET = b"{path}.0"
"""Replaced by the connection's own, so that what should not get through is known where it does."""

_HOST = b"Host: soak.test\r\n"


def _get(target: bytes, *fields: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + b"".join(fields) + b"\r\n"


_REFUSED = [
    Refused(_get(TARGET, _HOST, b"X: a\nb\r\n"), 400, "malformed-head"),
    Refused(_get(TARGET, _HOST, b"X : a\r\n"), 400, "malformed-head"),
    Refused(_get(TARGET, _HOST, b"X: a\r\n b\r\n"), 400, "malformed-head"),
    Refused(b"\x16\x03\x01 this is no request\r\n\r\n", 400, "malformed-head"),
    Refused(_get(TARGET), 400, "bad-host"),
    Refused(_get(TARGET, _HOST, b"Host: other.test\r\n"), 400, "bad-host"),
    Refused(_get(TARGET, _HOST, b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, "bad-framing"),
    Refused(_get(TARGET, _HOST, b"Content-Length: 5\r\nContent-Length: 6\r\n"), 400, "bad-framing"),
    Refused(_get(TARGET, _HOST, b"Transfer-Encoding: gzip, chunked\r\n"), 501, "unknown-transfer-coding"),
    Refused(_get(TARGET, _HOST, b"Expect: wonders\r\n"), 417, "unknown-expectation"),
    Refused(_get(TARGET, _HOST, b"X: " + b"x" * 40 * KIB + b"\r\n"), 431, "head-too-large"),
    Refused(_get(b"soak.test:443", _HOST, method=b"CONNECT"), 501, "connect-method"),
    Refused(_get(b"*", version=b"HTTP/2.0", method=b"PRI") + b"SM\r\n\r\n", 505, "http-version"),
    Refused(_get(NOWHERE, _HOST), 404, "no-route"),
    Refused(_get(TARGET, _HOST, UPGRADE, KEY, b"Sec-WebSocket-Version: 8\r\n"), 426, "websocket-version"),
    Refused(_get(TARGET, _HOST, UPGRADE, VERSION, b"Sec-WebSocket-Key: short\r\n"), 400, "bad-upgrade"),
    Refused(_get(TARGET, _HOST, UPGRADE, VERSION, KEY, method=b"POST"), 400, "bad-upgrade"),
    Refused(
        _get(TARGET, _HOST, b"Transfer-Encoding: chunked\r\n", method=b"POST") + b"5\r\nabcdefgh\r\n0\r\n\r\n",
        400,
        "bad-body",
        reaches_upstream=True,
    ),
]

_SECOND = _get(TARGET, _HOST)

# What a port scan or a confused client begins with: nothing, half a ClientHello (RFC 8446 4), the other protocol.
_PROBES = [
    b"",
    b"",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half",
    b"GET / HT",
    b"\x00" * 100,
    b"SSH-2.0-probe\r\n",
]


def refused(dice: Random) -> Refused:
    """A bad request; sometimes with a good one behind it, which nobody must ever see."""
    found = dice.choice(_REFUSED)
    if found.reaches_upstream or dice.random() < 0.7:
        return found
    return Refused(found.request + _SECOND, found.status, found.reason)


def unreached(dice: Random) -> Refused:
    """A good request for an upstream that is not there."""
    return Refused(_get(DEAD, _HOST), 502, "upstream-refused")


def declined(dice: Random) -> Declined:
    """An upgrade, and the upstream will not."""
    framing = dice.choice([Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE])
    answer = Body(framing, size(dice))
    return Declined(dice.choice([200, 302, 401, 403, 503]), answer, dice.choice([0, size(dice)]), dice.uniform(0, 0.1))


def probe(dice: Random, port: Port) -> Probe:
    """Somebody who leaves again."""
    # At layer 4 every byte is the upstream's, and it expects the label of a connection.
    sends = b"" if port is Port.TCP else dice.choice(_PROBES)
    return Probe(sends, dice.choice([How.RESET, How.LEAVE]))

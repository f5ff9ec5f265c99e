"""Target: which request asks for a WebSocket, and which answer grants it. A request head, then the upstream's."""

import base64
import hashlib
import re

from fuzz import oracle
from fuzz.inputs import Input, check_reason, fed, tried
from wsrelay.core import upgrade
from wsrelay.core.body import request_framing
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.upgrade import Declined, Plain, Switched, Upgrade

SEEDS = ((b"\0\0\0\0", "both"),)
RARE: tuple[tuple[bytes, str], ...] = ()

_LIMITS = HeadLimits(32 * 1024, 128)
_REQUESTS = frozenset({Reason.BAD_UPGRADE, Reason.WEBSOCKET_VERSION})
_REPLIES = frozenset({Reason.UPSTREAM_BAD_SWITCH})
# RFC 6455 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that belongs to a key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def check(data: bytes) -> None:
    """A request, and the answer to it."""
    given = Input.of(data)
    if given is None:
        return
    head, rest = fed(RequestReader(_LIMITS), [given.message])
    if not isinstance(head, RequestHead):
        return
    kind = tried(lambda: upgrade.classify(head))
    check_reason(kind, _REQUESTS)
    try:
        request_framing(head, 0)
    except Refusal:
        return
    message = oracle.request(given.message[: len(given.message) - len(rest)])
    assert message is not None
    _check_request(message, kind)
    if isinstance(kind, Upgrade):
        assert kind.accept == accept_of(kind.key)
        # No search finds a hash: the corpus writes where it belongs.
        _check_reply(kind, rest.replace(b"{accept}", kind.accept))


def _elements(message: oracle.Message, name: bytes) -> list[bytes]:
    """The elements of a list, read by a rule of our own from what h11 has read."""
    joined = b",".join(value for field, value in message.head.headers if field == name)
    return [found for found in (each.strip(b" \t").lower() for each in joined.split(b",")) if found]


def _values(message: oracle.Message, name: bytes) -> list[bytes]:
    return [value for field, value in message.head.headers if field == name]


def _check_request(message: oracle.Message, kind: object) -> None:
    """RFC 6455 4.2.1, RFC 9110 7.8, put down once more."""
    asks = (
        message.head.http_version == b"1.1"
        and b"upgrade" in _elements(message, b"connection")
        and b"websocket" in _elements(message, b"upgrade")
    )
    assert isinstance(kind, Plain) is not asks, "another protocol, or none, is plain; both tokens never are"
    if not isinstance(kind, Upgrade):
        return
    assert message.head.method == b"GET"
    assert message.framing in (None, 0)
    assert _values(message, b"sec-websocket-version") == [b"13"]
    assert _values(message, b"sec-websocket-key") == [kind.key]
    assert len(base64.b64decode(kind.key, validate=True)) == 16


def _check_reply(offer: Upgrade, data: bytes) -> None:
    reply, rest = fed(ResponseReader(_LIMITS), [data])
    if not isinstance(reply, ResponseHead):
        return
    verdict = tried(lambda: upgrade.check_reply(offer, reply))
    check_reason(verdict, _REPLIES)
    final = tried(lambda: upgrade.expect_final(reply))
    assert isinstance(final, Refusal) is (reply.status == 101)
    if reply.status != 101:
        assert isinstance(verdict, Declined)
        return
    assert not isinstance(verdict, Declined), "a 101 switches, or it is wrong"
    right = (
        reply.minor == 1
        and [value for name, value in reply.fields if name.lower() == b"sec-websocket-accept"] == [offer.accept]
        and re.fullmatch(rb"(?i:[ \t,]*websocket[ \t,]*)", b",".join(reply.values(b"upgrade"))) is not None
        and not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in reply.fields)
    )
    assert isinstance(verdict, Switched) is right
    if isinstance(verdict, Switched):
        message = oracle.response(b"GET", data[: len(data) - len(rest)])
        assert message is not None
        assert message.head.status_code == 101
        assert bool(verdict.warnings) is (b"upgrade" not in _elements(message, b"connection"))

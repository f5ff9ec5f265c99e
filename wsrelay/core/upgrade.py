"""Which request asks for a WebSocket, and which 101 grants it. Knows nothing of routes, field rewriting or sockets.

A tunnel opens only between an `Upgrade` found here and a `Switched` found here. Every known "tunnel without consent"
hole of a proxy (CVE-2026-2833, CVE-2026-73548, CVE-2024-23326, CVE-2026-58055) is one of these two checks left out.
"""

import binascii
import hashlib
import re

import attrs

from wsrelay.core.head import RequestHead, ResponseHead
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Fields, Refusal

# RFC 6455 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# RFC 6455 4.2.1 item 5: base64 of 16 bytes. The four bits that pad the 22nd character are not checked: RFC 4648 3.5
# leaves it to us, the accept value is computed from the text, and hand-written clients get them wrong.
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")

# RFC 6455 4.4: 426 names the versions we know; RFC 9110 15.5.22: it must name the protocol as well.
_VERSION_OFFER: Fields = ((b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket"))

# SHA-1 proves that the key was read, nothing more; so FIPS builds may use it too. Copied for each key: to begin a new
# one, OpenSSL looks the algorithm up among its providers each time, and that costs 10 µs of a connect's 400.
_SHA1 = hashlib.sha1(usedforsecurity=False)


@attrs.frozen
class Plain:
    """An ordinary HTTP request, whatever `Upgrade` it may carry."""


@attrs.frozen
class Upgrade:
    """A valid request to open a WebSocket."""

    key: bytes
    """Sec-WebSocket-Key as sent."""
    accept: bytes
    """The one Sec-WebSocket-Accept that proves the upstream has read this request (RFC 6455 4.2.2 item 5.4)."""


@attrs.frozen
class Switched:
    """The upstream's 101 is right: the tunnel may open."""

    warnings: tuple[str, ...] = ()
    """What the upstream does wrong without doing harm, one sentence each, for the log."""


@attrs.frozen
class Declined:
    """The upstream answered with ordinary HTTP: its answer goes back, and no byte of the client goes upstream."""


_PLAIN = Plain()
_SWITCHED = Switched()
_DECLINED = Declined()
_NO_CONNECTION_OPTION = "the upstream's 101 has no Connection: upgrade (RFC 9110 7.8)"


def classify(head: RequestHead) -> Plain | Upgrade:
    """Tell an upgrade to WebSocket from every other request (RFC 6455 4.2.1).

    Only the token `websocket` counts. A request for another protocol, h2c first of all (RFC 9113 3.1), is plain, and
    the hop-by-hop rules drop its `Upgrade`.

    Raises:
        Refusal: BAD_UPGRADE where both tokens are there but the method, the body or the key is not that of an opening
            handshake; WEBSOCKET_VERSION for any version other than 13, with the fields that 426 needs.
    """
    # RFC 9110 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request." It counts
    # only with the connection option, for a hop that does not know it would have forwarded it blindly (7.6.1).
    if not head.minor or b"upgrade" not in head.tokens(b"connection") or b"websocket" not in head.tokens(b"upgrade"):
        return _PLAIN
    # A health check that posts to an attacker's URL must not open a tunnel (RFC 6455 4.1 item 2: GET; RFC 9931 7.1).
    if head.method != b"GET":
        raise Refusal(Reason.BAD_UPGRADE, "an upgrade to WebSocket must be a GET (RFC 6455 4.1)")
    # A body leaves bytes between the head and the tunnel which two parsers may count differently (CVE-2026-69243,
    # CVE-2026-58055). GET gives content no meaning (RFC 9110 9.3.1), so nobody needs one.
    if head.values(b"content-length") not in ((), (b"0",)) or head.values(b"transfer-encoding"):
        raise Refusal(Reason.BAD_UPGRADE, "an upgrade to WebSocket must not have a body")
    _check_version(head.values(b"sec-websocket-version"))
    keys = head.values(b"sec-websocket-key")
    # RFC 6455 11.3.1: the key must not appear more than once.
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        found = "a malformed one" if len(keys) == 1 else f"{len(keys)} of them"
        raise Refusal(Reason.BAD_UPGRADE, f"expected one Sec-WebSocket-Key, base64 of 16 bytes, and found {found}")
    return Upgrade(keys[0], _accept(keys[0]))


def check_reply(offer: Upgrade, reply: ResponseHead) -> Switched | Declined:
    """Judge the upstream's final answer to an upgrade (RFC 6455 4.1, the client's checks of the server's handshake).

    Interim answers other than 101 have been passed on before (RFC 9110 15.2); they do not come here.

    Raises:
        Refusal: UPSTREAM_BAD_SWITCH for a 101 that does not prove that the upstream switched to WebSocket for this
            very request; the detail names what is missing or wrong. The upstream connection is of no use any more.
    """
    if reply.status != 101:
        # Whatever else it says: a 200 that carries Upgrade is still a 200 (CVE-2024-23326).
        return _DECLINED
    # RFC 9110 15.2: 1xx does not exist in HTTP/1.0.
    if not reply.minor:
        raise _bad_switch("the upstream's 101 says HTTP/1.0; WebSocket needs HTTP/1.1")
    # RFC 9110 8.6 and RFC 9112 6.1 forbid both in a 1xx: with them, nobody knows where the tunnel's bytes begin.
    for name, shown in ((b"content-length", "Content-Length"), (b"transfer-encoding", "Transfer-Encoding")):
        if reply.values(name):
            raise _bad_switch(f"the upstream's 101 has {shown}, which a 101 must not have")
    protocols = reply.tokens(b"upgrade")
    if protocols != (b"websocket",):
        # RFC 9110 7.8: never a protocol that the client did not ask for, nor several at once.
        wrong = "has no Upgrade" if not protocols else "switches to something other than exactly websocket"
        raise _bad_switch(f"the upstream's 101 {wrong}")
    accepts = reply.values(b"sec-websocket-accept")
    if accepts != (offer.accept,):
        if not accepts:
            raise _bad_switch("the upstream's 101 has no Sec-WebSocket-Accept")
        if len(accepts) > 1:
            raise _bad_switch("the upstream's 101 has more than one Sec-WebSocket-Accept")
        raise _bad_switch("the upstream's 101 has a Sec-WebSocket-Accept that does not belong to the client's key")
    if b"upgrade" not in reply.tokens(b"connection"):
        # Strictness here broke servers that had worked behind nginx for years, and the accept value has proven more.
        return Switched((_NO_CONNECTION_OPTION,))
    return _SWITCHED


def expect_final(reply: ResponseHead) -> None:
    """Insist that the answer to a plain request is no 101.

    Raises:
        Refusal: UPSTREAM_BAD_SWITCH for a 101 that nobody asked for (RFC 9110 7.8); discard the upstream connection.
    """
    if reply.status == 101:
        raise _bad_switch("the upstream switched protocols, and the client had not asked for it")


def _check_version(versions: tuple[bytes, ...]) -> None:
    if versions == (b"13",):
        return
    # RFC 6455 11.3.5: not more than once in a request. The upstream might read the other one.
    if len(versions) > 1:
        raise Refusal(Reason.BAD_UPGRADE, "Sec-WebSocket-Version appears more than once")
    seen = "something else" if versions else "none"
    raise Refusal(Reason.WEBSOCKET_VERSION, f"expected Sec-WebSocket-Version 13, found {seen}", _VERSION_OFFER)


def _accept(key: bytes) -> bytes:
    # RFC 6455 4.2.2 item 5.4.
    digest = _SHA1.copy()
    digest.update(key + _GUID)
    return binascii.b2a_base64(digest.digest(), newline=False)


def _bad_switch(detail: str) -> Refusal:
    return Refusal(Reason.UPSTREAM_BAD_SWITCH, detail)

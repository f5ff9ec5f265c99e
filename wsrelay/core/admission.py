"""Whether a route lets a request in: by the client's address, by what it wants, by the page it comes from.

Knows nothing of connections and of how many there are; that is `net.admission`.
"""

from wsrelay.config.networks import EVERYBODY
from wsrelay.config.settings import Origins, Route, WebSocketPolicy
from wsrelay.core.forwarded import parse_address
from wsrelay.core.head import RequestHead
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.upgrade import Plain, Upgrade


def admit(route: Route, kind: Plain | Upgrade, head: RequestHead, address: str) -> None:
    """Let a request pass the route's `allow`, `deny`, `websocket` and `origins`.

    Args:
        route: Where it goes.
        kind: What `upgrade.classify` says of it.
        head: The request.
        address: The client's own, as `forwarded.real_ip` gives it.

    Raises:
        Refusal: ADDRESS_DENIED; WEBSOCKET_REFUSED for an upgrade where the route refuses them; WEBSOCKET_REQUIRED for
            anything else where it serves nothing but WebSockets, with the Upgrade that 426 needs (RFC 9110 15.5.22);
            ORIGIN_REFUSED for an upgrade from a page that may not open one.
    """
    if route.access is not EVERYBODY and not route.access.admits(parse_address(address)):
        raise Refusal(Reason.ADDRESS_DENIED, "this route is not for the client's address")
    if isinstance(kind, Upgrade):
        if route.websocket is WebSocketPolicy.REFUSE:
            raise Refusal(Reason.WEBSOCKET_REFUSED, "this route opens no WebSockets")
        if route.origins is not None:
            _admit_origin(route.origins, head.values(b"origin"))
    elif route.websocket is WebSocketPolicy.REQUIRE:
        raise Refusal(
            Reason.WEBSOCKET_REQUIRED,
            "this route serves WebSockets only, and the request is no valid upgrade to one",
            ((b"Upgrade", b"websocket"),),
        )


def _admit_origin(allowed: Origins, sent: tuple[bytes, ...]) -> None:
    """RFC 6455 10.2: any page may have a browser open a WebSocket with its user's cookies; only Origin tells."""
    if not sent:
        if not allowed.absent:
            raise Refusal(Reason.ORIGIN_REFUSED, 'the request has no Origin, and "absent" is not among the origins')
    # One at most, as the reader of the head has seen to.
    elif not allowed.patterns.fullmatch(sent[0].lower()):
        raise Refusal(Reason.ORIGIN_REFUSED, "pages of this Origin may not open a WebSocket here")

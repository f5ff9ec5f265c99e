"""What an upstream answers to a request: what the case says, or what is right where it says nothing."""

import base64
import hashlib
import re

import attrs

from tests.corpus.independent import Arrived
from tests.corpus.pieces import Body, Echo, Send, UpstreamPiece

# What the runner itself asks, to see whether a connection is still good.
AFTER = b"/after"

_OK = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
_OK_HEAD = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
_CONTINUE = Send(b"HTTP/1.1 100 Continue\r\n\r\n")
_SWITCH = Send(
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: {accept}\r\n\r\n"
)

# A 101 among what an upstream has sent for one request, perhaps behind interim answers.
_SWITCHING = re.compile(rb"(?:\A|\r\n\r\n)HTTP/1\.[01] 101(?: [^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n")

# RFC 6455 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@attrs.frozen
class Script:
    """The elements of a case's `upstream`, one for each request of a connection, the last one for all after it."""

    elements: tuple[tuple[UpstreamPiece, ...], ...] | None = None
    echo: bool = False
    """Whether it sends back what it gets behind its 101, whatever the elements say."""


def elements_for(script: Script, place: int, request: Arrived) -> tuple[UpstreamPiece, ...]:
    """The pieces that answer the request at this place of its connection."""
    if script.elements is None or request.target == AFTER:
        return _right(request)
    pieces = script.elements[min(place, len(script.elements) - 1)]
    echo = (Echo(),) if script.echo and Echo() not in pieces else ()
    return (*pieces, *echo) if Body() in pieces else (Body(), *pieces, *echo)


def filled(data: bytes, request: Arrived) -> bytes:
    """`{accept}` becomes the Sec-WebSocket-Accept for the key of this request (RFC 6455 4.2.2 item 5.4)."""
    if b"{accept}" not in data:
        return data
    key = b"".join(request.values(b"sec-websocket-key"))
    return data.replace(b"{accept}", base64.b64encode(hashlib.sha1(key + _GUID).digest()))


def after_switch(sent: bytes) -> bytes | None:
    """What stands behind the 101 in all that an upstream has sent for a request; None where there is no 101 in it."""
    found = _SWITCHING.search(sent)
    return sent[found.end() :] if found else None


def _right(request: Arrived) -> tuple[UpstreamPiece, ...]:
    protocols = b",".join(request.values(b"upgrade")).lower()
    if b"websocket" in protocols and request.values(b"sec-websocket-key"):
        return (Body(), _SWITCH, Echo())
    answer = _OK_HEAD if request.method == b"HEAD" else _OK
    return (_CONTINUE, Body(), answer) if request.values(b"expect") else (Body(), answer)

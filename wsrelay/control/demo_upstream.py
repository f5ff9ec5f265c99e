"""The demo's upstream: a page, an echo, and the request head as it arrived. Knows nothing of the relay in front.

`GET /` gives the page, `GET /head` the head of that very request as text, anything else a line of text. A WebSocket
at any path gets `{"head": "…"}` as its first message, and from then on every message back.
"""

import json
import re
from collections.abc import Callable
from typing import Protocol as Interface
from typing import cast

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from zope.interface import implementer

from wsrelay.control.demo_page import Page
from wsrelay.core.body import BodyReader, NoBody, reader, request_framing
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader
from wsrelay.core.outcomes import Side
from wsrelay.core.refusal import Refusal
from wsrelay.core.upgrade import Plain, Upgrade, classify

# Twice what the relay lets through by default, so that it is never the upstream that refuses a head here.
_HEAD_LIMITS = HeadLimits(max_bytes=64 * 1024, max_fields=256)

_CREDENTIALS = re.compile(rb"^(cookie|authorization):[^\r\n]*", re.IGNORECASE | re.MULTILINE)
_HIDDEN = rb"\1: (hidden from a page of another origin)"


class EchoUpstream(Protocol):
    """One connection to the demo's upstream. It reads nothing while what it wrote waits to be taken."""

    def __init__(self, page: Page) -> None:
        """Serve `page` at `/`."""
        self._page = page
        self._waiting = b""
        self._paused = False
        # Takes bytes, and returns those that belong to the next step.
        self._step: Callable[[bytes], bytes] = _Request(self)

    def connectionMade(self) -> None:
        """Begin; the transport says from now on when it holds too much."""
        self._wire.registerProducer(_Throttle(self), True)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes. While paused they wait, which is at most one read's worth."""
        self._waiting += data
        self._advance()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        self._paused = True
        self._wire.pauseProducing()

    def resume(self) -> None:
        """Go on, beginning with what has been read already."""
        self._paused = False
        self._wire.resumeProducing()
        self._advance()

    def answer(self, request: "_Request", head: RequestHead) -> None:
        """Answer a plain request whose body has been read, then wait for the next one."""
        kind, content = self._content(request, head)
        close = head.minor == 0 or b"close" in head.tokens(b"connection")
        fields = [
            b"Content-Type: " + kind,
            b"Content-Length: %d" % len(content),
            b"Content-Security-Policy: " + self._page.policy,
            b"X-Content-Type-Options: nosniff",
            b"Cache-Control: no-store",
            b"Connection: close" if close else b"Connection: keep-alive",
        ]
        self.write(b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(fields) + b"\r\n\r\n")
        self.write(b"" if head.method == b"HEAD" else content)
        if close:
            self.end()
        else:
            self._step = _Request(self)

    def switch(self, offer: Upgrade, head: RequestHead, raw_head: bytes) -> None:
        """Answer a request for WebSocket; from now on the bytes are frames."""
        fields = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + offer.accept]
        # Browsers and mini-programs that offer subprotocols fail unless one is chosen; for an echo any will do.
        for offered in head.values(b"sec-websocket-protocol")[:1]:
            fields.append(b"Sec-WebSocket-Protocol: " + offered.split(b",")[0].strip())
        self.write(b"HTTP/1.1 101 Switching Protocols\r\n" + b"\r\n".join(fields) + b"\r\n\r\n")
        self._step = _Frames(self, shown_head(head, raw_head))

    def write(self, data: bytes) -> None:
        """Send bytes; may pause this connection before it returns."""
        self._wire.write(data)

    def end(self) -> None:
        """Close once everything is sent; what still arrives is dropped."""
        self._step = _drop
        self._wire.unregisterProducer()
        self._wire.loseConnection()

    def _advance(self) -> None:
        while self._waiting and not self._paused:
            data, self._waiting = self._waiting, b""
            self._waiting = self._step(data)

    def _content(self, request: "_Request", head: RequestHead) -> tuple[bytes, bytes]:
        match head.path:
            case b"/":
                return b"text/html; charset=utf-8", self._page.html
            case b"/head":
                return b"text/plain; charset=utf-8", request.raw_head
            case _:
                text = (
                    b"%s %s reached the demo's upstream with %d bytes of body. Try / or /head, or open a WebSocket.\n"
                )
                return b"text/plain; charset=utf-8", text % (head.method, head.path, request.body_bytes)

    @property
    def _wire(self) -> "_Transport":
        return cast("_Transport", self.transport)


class EchoFactory(ServerFactory):
    """Makes an `EchoUpstream` for each connection."""

    noisy = False

    def __init__(self, page: Page) -> None:
        """Serve `page`."""
        self._page = page

    def buildProtocol(self, addr: IAddress | None) -> EchoUpstream:
        """Twisted asks for the protocol of one connection."""
        return EchoUpstream(self._page)


def shown_head(head: RequestHead, raw_head: bytes) -> bytes:
    """The head for the first message: as received, but a page of another origin learns no credentials from it.

    Any page that a person has open may connect to this machine, and the browser adds the cookies that other
    programs on it have set. Only scripts are meant here; the person can always look at /head.
    """
    origin = head.value(b"origin")
    if origin is None or origin.lower().partition(b"://")[2] == head.authority.lower():
        return raw_head
    return _CREDENTIALS.sub(_HIDDEN, raw_head)


class _Request:
    """One request: its head, then its body, which is counted and dropped."""

    def __init__(self, upstream: EchoUpstream) -> None:
        self.raw_head = b""
        self.body_bytes = 0
        self._upstream = upstream
        self._reader = RequestReader(_HEAD_LIMITS)
        self._pieces: list[bytes] = []
        self._head: RequestHead | None = None
        self._body: BodyReader = reader(NoBody(), Side.CLIENT)

    def __call__(self, data: bytes) -> bytes:
        try:
            return self._take(data)
        except Refusal as refusal:
            self._upstream.write(refusal.response("demo", with_body=True))
            self._upstream.end()
            return b""

    def _take(self, data: bytes) -> bytes:
        if self._head is not None:
            return self._read_body(self._head, data)
        self._pieces.append(data)
        self._head = self._reader.feed(data)
        if self._head is None:
            return b""
        rest = self._reader.rest
        self.raw_head = b"".join(self._pieces).removesuffix(rest).removeprefix(b"\r\n")
        match classify(self._head):
            case Plain():
                self._body = reader(request_framing(self._head, 0), Side.CLIENT)
                if not self._body.done and b"100-continue" in self._head.tokens(b"expect"):
                    self._upstream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return self._read_body(self._head, rest)
            case Upgrade() as offer:
                self._upstream.switch(offer, self._head, self.raw_head)
                return rest

    def _read_body(self, head: RequestHead, data: bytes) -> bytes:
        self.body_bytes += len(self._body.feed(data))
        if not self._body.done:
            return b""
        self._upstream.answer(self, head)
        return self._body.rest


class _Frames:
    """The WebSocket part: what comes goes back. A message in pieces is echoed piece by piece, so none is collected."""

    def __init__(self, upstream: EchoUpstream, head: bytes) -> None:
        self._upstream = upstream
        self._websocket = Connection(ConnectionType.SERVER)
        self._send(TextMessage(data=json.dumps({"head": head.decode("latin-1")})))

    def __call__(self, data: bytes) -> bytes:
        self._websocket.receive_data(data)
        for event in self._websocket.events():
            match event:
                case TextMessage(data=content, message_finished=finished):
                    self._send(TextMessage(data=content, message_finished=finished))
                case BytesMessage(data=content, message_finished=finished):
                    self._send(BytesMessage(data=bytes(content), message_finished=finished))
                case Ping():
                    self._send(event.response())
                case CloseConnection():
                    # The client's close gets its code back (RFC 6455 5.5.1); for broken frames wsproto names the code.
                    self._send(event.response())
                    self._upstream.end()
                    return b""
        return b""

    def _send(self, event: Event) -> None:
        self._upstream.write(self._websocket.send(event))


class _Transport(Interface):
    """What a connection must be able to do: a TCP, UNIX or in-memory transport of Twisted."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...


@implementer(IPushProducer)
class _Throttle:
    """Tells the upstream when its transport is full. Not the upstream itself: a lost transport calls stopProducing."""

    def __init__(self, upstream: EchoUpstream) -> None:
        self.pauseProducing = upstream.pause
        self.resumeProducing = upstream.resume

    def stopProducing(self) -> None:
        """Nothing to stop: the connection is gone."""


def _drop(data: bytes) -> bytes:
    return b""

"""One plain HTTP exchange: the request goes up, the answer comes back, both streamed with bounded memory.

Also used for the answer to an upgrade that the upstream declined. Knows nothing of tunnels; decides whether the
client's connection may carry another request.
"""

from functools import partial
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from wsrelay.config.settings import HostHeader, TcpAddress, ToUpstream
from wsrelay.core import answers, body, hopbyhop, upgrade
from wsrelay.core.body import Chunked, Framing, Length, NoBody, UntilClose
from wsrelay.core.forwarded import ClientFacts
from wsrelay.core.head import RequestHead, ResponseHead, ResponseReader
from wsrelay.core.outcomes import Loss, Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Lost, Refusal
from wsrelay.core.routing import Match
from wsrelay.core.upgrade import Plain, Upgrade
from wsrelay.net.deadlines import Deadline
from wsrelay.net.own_upstream import OwnUpstream
from wsrelay.net.record import ExchangeFacts
from wsrelay.net.site import Site
from wsrelay.net.stream import Stream

# 1xx heads before the final one. RFC 9110 15.2 sets no bound; Caddy stops at 5, nginx at none, HAProxy 2.6 stalls
# after 264. An upstream that needs more than 16 is broken or hostile.
_MOST_INTERIM = 16

# Methods that may be sent twice (RFC 9110 9.2.2).
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


class OwnAnswer(Protocol):
    """Makes a complete answer once it is known whether the connection closes after it."""

    def __call__(self, *, close: bool) -> bytes:
        """The answer's bytes."""


class Exchange:
    """One request of a client and its answer.

    Attributes:
        head: The request.
        framing: How its body is delimited.
        status: What the client has been answered; 0 before.
        keep: Whether the client's connection may carry another request; known once this one is answered.
        upstream: The server that was asked, for logs; empty before.
        timeouts: The general ones, until the route's are known.
    """

    def __init__(self, client: Stream, head: RequestHead, framing: Framing, site: Site) -> None:
        """Nothing has been sent anywhere yet."""
        self.head = head
        self.framing = framing
        self.status = 0
        self.keep = False
        self.upstream = ""
        self.timeouts = site.timeouts
        self._client = client
        self._site = site
        self._began = site.reactor.seconds()
        self._request_bytes = 0
        self._response_bytes = 0
        self._body = body.reader(framing, Side.CLIENT, site.limits.body_bytes)
        self._content = b""
        self._upload: Deferred[None] | None = None
        self._sent_up = False
        self._heard = False

    def facts(self) -> ExchangeFacts:
        """The exchange in numbers, up to now."""
        return ExchangeFacts(
            status=self.status,
            request_bytes=self._request_bytes,
            response_bytes=self._response_bytes,
            seconds=self._site.reactor.seconds() - self._began,
        )

    @property
    def _bodiless(self) -> bool:
        return self.framing in (NoBody(), Length(0))

    @property
    def may_keep(self) -> bool:
        """Whether the client wants, and we allow, another request on its connection (RFC 9112 9.3).

        A client that has sent its end may still have sent requests before it.
        """
        options = self.head.tokens(b"connection")
        wanted = b"close" not in options and (self.head.minor == 1 or b"keep-alive" in options)
        return wanted and not self._site.live.draining and (self._client.held > 0 or not self._client.leg.ended)

    def answer_itself(self, status: int, response: OwnAnswer, kind: Plain | Upgrade) -> None:
        """Send a complete answer of our own.

        The connection is not kept where a body would have to be skipped, nor after an upgrade: what its client has sent
        early is for the tunnel that it hoped for, and must not be read as requests (RFC 9931 4.1).
        """
        self.keep = self.may_keep and self._bodiless and isinstance(kind, Plain)
        answer = answers.with_hsts(response(close=not self.keep), self._site.listener.hsts)
        self._response_bytes = len(answer) - answer.index(b"\r\n\r\n") - 4
        self._answer(status, answer)

    def _answer(self, status: int, data: bytes) -> None:
        """Send a part of the answer; from now on it cannot be another one."""
        self.status = status
        self._client.write(data)

    # The way through: `proxy`, then `_ask`, then `send_back`.

    async def proxy(self, own: OwnUpstream, match: Match, facts: ClientFacts) -> None:
        """Send the request up and the answer back.

        Raises:
            Refusal: Nothing has been answered yet, and this is what to answer.
            Lost: The client left, or the upstream did inside its answer.
        """
        action = match.route.action
        assert isinstance(action, ToUpstream)
        if not self._bodiless:
            # A fault in what has come of the body already is found before any upstream hears of the request.
            self._content = self._body.feed(self._client.take())
        try:
            upstream, reply = await self._ask_kept_or_new(own, action, match, facts)
            reusable = await self.send_back(upstream, reply, keep=self.may_keep and not self._uploading)
            complete = not self._uploading
        finally:
            if self._upload is not None:
                self._upload.cancel()
        if complete:
            own.complete(reusable=reusable)
        else:
            own.drop()

    @property
    def _uploading(self) -> bool:
        return self._upload is not None and not self._sent_up

    async def _ask_kept_or_new(
        self, own: OwnUpstream, action: ToUpstream, match: Match, facts: ClientFacts
    ) -> tuple[Stream, ResponseHead]:
        kept = own.kept(action.upstream)
        if kept is not None:
            try:
                return kept, await self._ask(kept, host_for(action, self.head, own), match, facts)
            except Lost as lost:
                # It had been closed while our request was on its way: nobody's fault, and seen by nobody if the
                # request may be repeated. Otherwise the client has to decide.
                if lost.side is Side.CLIENT or not self._may_repeat:
                    raise self._unanswered(lost) from lost
        upstream = await own.connect(action.upstream, self.timeouts.connect)
        try:
            return upstream, await self._ask(upstream, host_for(action, self.head, own), match, facts)
        except Lost as lost:
            raise self._unanswered(lost) from lost

    async def read_first_reply(self, upstream: Stream) -> ResponseHead:
        """As `read_reply`, for an upgrade: an upstream that went away is a refusal."""
        try:
            return await self.read_reply(upstream)
        except Lost as lost:
            raise self._unanswered(lost) from lost

    @property
    def _may_repeat(self) -> bool:
        return self.head.method in _IDEMPOTENT and self._bodiless and not self._heard

    def _unanswered(self, lost: Lost) -> Exception:
        if lost.side is Side.CLIENT:
            return lost
        if lost.loss is Loss.STALLED:
            return Refusal(Reason.UPSTREAM_TIMEOUT, "the upstream stopped reading the request")
        if lost.loss is Loss.TLS:
            # In TLS 1.3 this is how an upstream refuses our certificate: our side of the handshake is done before that.
            refusal = Refusal(Reason.UPSTREAM_TLS, "the upstream ended TLS before it had answered")
            refusal.add_note(f"{self.upstream}: {'; '.join(getattr(lost, '__notes__', ()))}")
            return refusal
        how = "reset" if lost.loss else "closed"
        return Refusal(Reason.UPSTREAM_CLOSED, f"the upstream {how} the connection before it had answered")

    async def _ask(self, upstream: Stream, host: bytes, match: Match, facts: ClientFacts) -> ResponseHead:
        """Send the request; the final response head. The body may still be on its way up when that comes."""
        upstream.write(
            hopbyhop.request(self.head, facts, target=match.target, host=host, framing=self.framing, upgrade=False)
        )
        if self._bodiless:
            self._client.watch()
        else:
            sending = self._send_up(upstream, facts.reserved)
            self._upload = Deferred.fromCoroutine(sending).addErrback(_unless_cancelled, upstream)
        reply = await self.read_reply(upstream)
        upgrade.expect_final(reply)
        return reply

    async def read_reply(self, upstream: Stream) -> ResponseHead:
        """Wait for a final response head, or a 101; pass on what comes before it (RFC 9110 15.2).

        Raises:
            Refusal: UPSTREAM_TIMEOUT, UPSTREAM_BAD_HEAD, or what the client's body deserved meanwhile.
            Lost: The upstream ended or went away.
        """
        self.upstream = upstream.leg.address
        seconds = self.timeouts.response_head
        deadline = Deadline(self._site.reactor, seconds, upstream.fail, partial(_answer_late, seconds))
        # While the body is on its way up, the upstream owes no answer.
        if self._upload is None:
            deadline.start()
        else:
            self._upload = self._upload.addCallback(lambda _: deadline.start())
        try:
            for passed in range(_MOST_INTERIM + 1):
                reader = ResponseReader(self._site.head_limits)
                try:
                    reply = await upstream.read(reader)
                finally:
                    self._heard = self._heard or reader.begun
                if reply is None:
                    raise Lost(Side.UPSTREAM, None)
                if reply.status >= 200 or reply.status == 101:
                    return reply
                if self.head.minor == 1 and passed < _MOST_INTERIM:
                    self._client.write(hopbyhop.interim(reply))
                    await self._client.room(self._site.reactor, self.timeouts.write_stall)
        finally:
            deadline.stop()
        raise Refusal(Reason.UPSTREAM_BAD_HEAD, f"the upstream sent more than {_MOST_INTERIM} interim answers")

    async def _send_up(self, upstream: Stream, reserved: frozenset[bytes]) -> None:
        """The request body, piece by piece; `reserved` names may not be among its trailers."""
        timeouts, clock = self.timeouts, self._site.reactor
        reader, content = self._body, self._content
        writer = body.writer(self.framing)
        late = partial(_body_late, timeouts.write_stall)
        while True:
            self._request_bytes += len(content)
            upstream.write(writer.encode(content))
            await upstream.room(clock, timeouts.write_stall)
            if reader.done:
                break
            with Deadline(clock, timeouts.write_stall, self._client.fail, late):
                data = await self._client.some()
            if not data:
                raise Lost(Side.CLIENT, None)
            content = reader.feed(data)
        self._client.unread(reader.rest)
        upstream.write(writer.finish(hopbyhop.trailers(self.head, reader.trailers, reserved)))
        # Not the same as its Deferred having fired: it may have failed, and the rest is no request then.
        self._sent_up = True
        self._client.watch()

    async def send_back(self, upstream: Stream, reply: ResponseHead, *, keep: bool) -> bool:
        """Send the upstream's answer to the client; its connection is kept if `keep` and the body's end allows it.

        Returns:
            Whether the upstream's connection may be used again.

        Raises:
            Refusal: Before anything was sent: UPSTREAM_BAD_FRAMING, or UPSTREAM_BAD_BODY if it came with the head.
            Lost: After the head was sent, whatever goes wrong.
        """
        framing = body.response_framing(self.head.method, reply)
        towards_client = _framing_for(self.head.minor, framing)
        self.keep = keep and not isinstance(towards_client, UntilClose)
        head = hopbyhop.response(
            reply,
            framing=towards_client,
            minor=self.head.minor,
            close=not self.keep,
            hsts=self._site.listener.hsts,
        )
        gone = self._gone_after_end(upstream)
        try:
            await self._stream_back(head, upstream, reply, framing, towards_client)
        except Refusal as refusal:
            if not self.status:
                raise
            raise Lost(Side.UPSTREAM if refusal.reason is Reason.UPSTREAM_BAD_BODY else Side.CLIENT, None) from refusal
        finally:
            self._client.when_ended = None
            gone.stop()
        options = reply.tokens(b"connection")
        return reply.minor == 1 and b"close" not in options and not isinstance(framing, UntilClose)

    def _gone_after_end(self, upstream: Stream) -> Deadline:
        """A client that has ended may be half-closed, or gone: it gets what comes, until that pauses for `linger`."""
        gone = Deadline(
            self._site.reactor,
            self.timeouts.linger,
            upstream.fail,
            partial(Lost, Side.CLIENT, None),
            progress=lambda: self._response_bytes,
        )
        if self._client.leg.ended:
            gone.start()
        else:
            self._client.when_ended = lambda _: gone.start()
        return gone

    async def _stream_back(
        self, head: bytes, upstream: Stream, reply: ResponseHead, framing: Framing, towards_client: Framing
    ) -> None:
        timeouts, clock, client = self.timeouts, self._site.reactor, self._client
        reader = body.reader(framing, Side.UPSTREAM)
        writer = body.writer(towards_client)
        silent = partial(Lost, Side.UPSTREAM, Loss.STALLED)
        unsent = head
        while not reader.done:
            if unsent and not upstream.held:
                self._answer(reply.status, unsent)
                unsent = b""
            # A body may stream for hours (server-sent events), so its silence is measured as a tunnel's.
            with Deadline(clock, timeouts.tunnel_idle, upstream.fail, silent):
                data = await upstream.some()
            if not data and not reader.end():
                raise Lost(Side.UPSTREAM, None)
            content = reader.feed(data) if data else b""
            self._response_bytes += len(content)
            self._answer(reply.status, unsent + writer.encode(content))
            unsent = b""
            await client.room(clock, timeouts.write_stall)
        upstream.unread(reader.rest)
        self._answer(reply.status, unsent + writer.finish(hopbyhop.trailers(reply, reader.trailers)))


def _unless_cancelled(failure: Failure, upstream: Stream) -> None:
    """What went wrong with the request's body is told to whoever waits for the upstream's answer, a bug too."""
    if isinstance(failure.value, Exception) and not isinstance(failure.value, CancelledError):
        upstream.fail(failure.value)


def host_for(action: ToUpstream, head: RequestHead, own: OwnUpstream) -> bytes:
    """The Host field for the upstream. Where the client sent none (HTTP/1.0), the server's own configured name."""
    if isinstance(action.host_header, bytes):
        return action.host_header
    if action.host_header is HostHeader.PRESERVE and head.authority:
        return head.authority
    return str(own.server).encode() if isinstance(own.server, TcpAddress) else b"localhost"


def _answer_late(seconds: float) -> Refusal:
    return Refusal(Reason.UPSTREAM_TIMEOUT, f"the upstream sent no complete answer within {seconds:g} seconds")


def _body_late(seconds: float) -> Refusal:
    return Refusal(Reason.BODY_TIMEOUT, f"no byte of the request body came for {seconds:g} seconds")


def _framing_for(minor: int, framing: Framing) -> Framing:
    """How the same body is delimited towards a client of HTTP/1.`minor`: 1.0 knows no chunks (RFC 9112 6.1)."""
    match framing:
        case Chunked() if minor == 0:
            return UntilClose()
        case UntilClose() if minor == 1:
            return Chunked()
        case NoBody() | Length() | Chunked() | UntilClose():
            return framing

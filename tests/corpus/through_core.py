"""A case through the sans-IO core alone: what a session does, without a socket, a clock or a reactor.

The order of the steps is that of `wsrelay.net.session`; what an upstream answers is what the case says. Every piece
that comes in one go is given to a reader whole or byte by byte, and counts as a whole: a fault in it takes with it
whatever the same piece had brought before.
"""

from collections.abc import Callable
from functools import partial

from tests.corpus.cases import Case
from tests.corpus.clients import SOURCES, guessed_requests
from tests.corpus.cutting import Cut, Ended, Source
from tests.corpus.independent import Answers, Arrived, Requests
from tests.corpus.pieces import Echo, End, Reset, Send
from tests.corpus.scripts import Script, elements_for, filled
from tests.corpus.verdict import Seen
from wsrelay.config.settings import HostHeader, Settings, ToUpstream
from wsrelay.core import admission, answers, body, hopbyhop, upgrade
from wsrelay.core.body import Chunked, Framing, Length, NoBody, UntilClose
from wsrelay.core.forwarded import ClientFacts, real_ip
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.routing import Match, RouteTable
from wsrelay.core.upgrade import Declined, Plain, Upgrade

_MOST_INTERIM = 16


class CoreSite:
    """What all connections have in common."""

    def __init__(self, settings: Settings) -> None:
        self.body_bytes = settings.limits.body_bytes
        self.head_limits = HeadLimits(settings.limits.head_bytes, settings.limits.head_fields)
        self.routes = {each.name: RouteTable(settings.routes, each.name) for each in settings.listeners}
        self.proxies = settings.trusted_proxies


class CoreRun:
    """One client connection, as the core sees it."""

    def __init__(self, case: Case, site: CoreSite, cut: Cut) -> None:
        self._script = Script(case.upstream)
        self._cut = cut
        self._site = site
        self._routes = site.routes[case.listener]
        self._facts = ClientFacts.of(SOURCES[case.client_from], secure=case.listener == "tls", proxies=site.proxies)
        # What follows a 101 is no affair of the core's.
        ends = case.send.index(End()) if End() in case.send else len(case.send)
        self._client = Source([piece.data for piece in case.send[:ends] if isinstance(piece, Send)], cut)
        self._answers = Answers(guessed_requests(case), case.status.index(101) if 101 in case.status else None)
        self._received = b""
        self._upstreams: list[Requests] = []
        self._reached: list[bytes] = []
        self._kept: str | None = None
        self._replies = Source([], cut)
        self._replies_end = self._echoes = False
        self.accepted: list[tuple[bytes, bytes, bytes]] = []
        """Of each request that went up: its method, the target after routing, the content of its body."""

    def run(self) -> Seen:
        """The whole connection; what was seen of it."""
        try:
            while self._one_request():
                pass
            self._answers.end()
        except Ended:
            self._answers.end()
        except Refusal as refusal:
            self._answer(refusal.response("session", with_body=self._with_body))
            self._answers.end()
        return Seen(
            finals=tuple(self._answers.finals),
            interims=tuple(self._answers.interims),
            received=self._received,
            arrived=tuple(request for each in self._upstreams for request in each.arrived),
            reached=b"".join(self._reached),
            faults=(*self._answers.faults, *(fault for each in self._upstreams for fault in each.faults)),
        )

    def _answer(self, data: bytes) -> None:
        self._received += data
        self._answers.feed(data)

    def _one_request(self) -> bool:
        """Serve one request; whether the connection may carry another."""
        self._with_body = True
        head = self._client.head(RequestReader(self._site.head_limits))
        if head is None:
            return False
        assert isinstance(head, RequestHead)
        self._with_body = head.method != b"HEAD"
        framing = body.request_framing(head, self._site.body_bytes)
        kind = upgrade.classify(head)
        hopbyhop.check_expectation(head)
        match = self._routes.resolve(head)
        admission.admit(match.route, kind, head, real_ip(head, self._facts))
        action = match.route.action
        if not isinstance(action, ToUpstream):
            return self._answer_itself(head, kind, framing, partial(answers.answer, action))
        if isinstance(kind, Plain) and hopbyhop.hops_left(head) == 0:
            return self._answer_itself(head, kind, framing, answers.options)
        return self._proxy(head, kind, framing, match)

    def _answer_itself(
        self, head: RequestHead, kind: Plain | Upgrade, framing: Framing, response: Callable[..., bytes]
    ) -> bool:
        keep = _wants_more(head) and framing in (NoBody(), Length(0)) and isinstance(kind, Plain)
        self._answer(response(head, close=not keep))
        return keep

    def _proxy(self, head: RequestHead, kind: Plain | Upgrade, framing: Framing, match: Match) -> bool:
        action = match.route.action
        assert isinstance(action, ToUpstream)
        keep = _wants_more(head)
        upgrading = isinstance(kind, Upgrade)
        host = head.authority if action.host_header is HostHeader.PRESERVE and head.authority else b"upstream:1"
        written = hopbyhop.request(
            head, self._facts, target=match.target, host=host, framing=framing, upgrade=upgrading
        )
        self._ask(action.upstream, written)
        content = b"" if upgrading else self._send_up(head, framing)
        self.accepted.append((head.method, match.target, content))
        self._reply_to(self._upstreams[-1].arrived)
        reply = self._final(head)
        if isinstance(kind, Upgrade):
            if not isinstance(upgrade.check_reply(kind, reply), Declined):
                self._switch(reply)
                return False
            keep = False
        else:
            upgrade.expect_final(reply)
        return self._send_back(head, reply, keep=keep)

    def _switch(self, reply: ResponseHead) -> None:
        """The 101 goes back, and then each side gets what the other has sent behind its head."""
        self._upstreams[-1].switch(b"")
        to_upstream = self._client.rest()
        self._up(to_upstream)
        self._answer(hopbyhop.switching(reply) + self._replies.rest() + (to_upstream if self._echoes else b""))

    def _ask(self, group: str, written: bytes) -> None:
        if self._kept != group:
            self._upstreams.append(Requests(group))
            self._reached.append(b"")
            self._kept, self._replies, self._replies_end = group, Source([], self._cut), False
        self._up(written)

    def _up(self, data: bytes) -> None:
        self._reached[-1] += data
        self._upstreams[-1].feed(data)

    def _send_up(self, head: RequestHead, framing: Framing) -> bytes:
        reader = body.reader(framing, Side.CLIENT, self._site.body_bytes)
        writer = body.writer(framing)
        contents = []
        while not reader.done:
            contents.append(self._client.content(reader))
            self._up(writer.encode(contents[-1]))
        self._up(writer.finish(hopbyhop.trailers(head, reader.trailers)))
        return b"".join(contents)

    def _reply_to(self, arrived: list[Arrived]) -> None:
        """What the upstream sends for its last request."""
        assert arrived, "h11 found no request in what went upstream"
        pieces = elements_for(self._script, len(arrived) - 1, arrived[-1])
        self._echoes = Echo() in pieces
        self._replies_end = any(isinstance(piece, End | Reset) for piece in pieces)
        sent = [filled(piece.data, arrived[-1]) for piece in pieces if isinstance(piece, Send)]
        self._replies = Source(sent, self._cut)

    def _final(self, head: RequestHead) -> ResponseHead:
        for number in range(_MOST_INTERIM + 1):
            reply = self._replies.head(ResponseReader(self._site.head_limits))
            if reply is None:
                raise Refusal(Reason.UPSTREAM_CLOSED, "the upstream closed the connection before it had answered")
            assert isinstance(reply, ResponseHead)
            if reply.status >= 200 or reply.status == 101:
                return reply
            if head.minor == 1 and number < _MOST_INTERIM:
                self._answer(hopbyhop.interim(reply))
        raise Refusal(Reason.UPSTREAM_BAD_HEAD, f"the upstream sent more than {_MOST_INTERIM} interim answers")

    def _send_back(self, head: RequestHead, reply: ResponseHead, *, keep: bool) -> bool:
        framing = body.response_framing(head.method, reply)
        towards_client = _framing_for(head.minor, framing)
        keep = keep and not isinstance(towards_client, UntilClose)
        unsent = hopbyhop.response(reply, framing=towards_client, minor=head.minor, close=not keep)
        reader, writer = body.reader(framing, Side.UPSTREAM), body.writer(towards_client)
        while not reader.done:
            if self._replies.empty:
                self._answer(unsent)
                unsent = b""
                if not reader.end():
                    raise Ended
                break
            try:
                content = self._replies.content(reader)
            except Refusal:
                if unsent:
                    raise
                # Too late for an answer of our own: the client is cut off.
                raise Ended from None
            self._answer(unsent + writer.encode(content))
            unsent = b""
        self._answer(unsent + writer.finish(hopbyhop.trailers(reply, reader.trailers)))
        reusable = reply.minor == 1 and b"close" not in reply.tokens(b"connection") and framing != UntilClose()
        if not reusable or self._replies_end or not self._replies.empty:
            self._kept = None
        return keep


def _wants_more(head: RequestHead) -> bool:
    """Whether the client means to send another request (RFC 9112 9.3)."""
    options = head.tokens(b"connection")
    return b"close" not in options and (head.minor == 1 or b"keep-alive" in options)


def _framing_for(minor: int, framing: Framing) -> Framing:
    """How the same body is delimited towards a client of HTTP/1.`minor`."""
    if isinstance(framing, Chunked) and minor == 0:
        return UntilClose()
    return Chunked() if isinstance(framing, UntilClose) and minor == 1 else framing

"""The life of one client connection, top to bottom: arrival, requests, exchanges, upgrade, handoff, outcome.

Read `_live` first: it goes through `Arrival.arrive`, then `_serve_http` or `_serve_tcp`, and `_relay` for an upgrade.
This file holds the only `except Exception`. The coroutine ends at the handoff: a tunnel is its record and its pump,
nothing else.
"""

from functools import partial

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from wsrelay.config.settings import Mode, Timeouts, ToUpstream
from wsrelay.core import admission, answers, body, hopbyhop, upgrade
from wsrelay.core.body import NO_BODY
from wsrelay.core.forwarded import real_ip
from wsrelay.core.head import RequestHead, RequestReader
from wsrelay.core.outcomes import Loss, Outcome, Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Lost, Refusal
from wsrelay.core.routing import Match
from wsrelay.core.upgrade import Declined, Plain, Switched, Upgrade
from wsrelay.net.arrival import Arrival, Arrived, NotArrived
from wsrelay.net.deadlines import Deadline
from wsrelay.net.exchange import Exchange, host_for
from wsrelay.net.legs import Leg
from wsrelay.net.own_upstream import OwnUpstream
from wsrelay.net.record import ExchangeFacts, SessionRecord
from wsrelay.net.site import Site
from wsrelay.net.splice import Handoff
from wsrelay.net.stream import Stream
from wsrelay.net.tunnel import Tunnel

log = Logger()

# Ends at which nobody waits for more, so the connection closes with FIN.
_ORDERLY = frozenset({Outcome.SILENT, Outcome.SERVED, Outcome.REFUSED, Outcome.DECLINED})

# Ends that no exchange has told of.
_FAILED = frozenset(Outcome) - _ORDERLY

# Fields of a request that are copied for the log are cut here; a target of 30 KiB is not read by a person.
_LOGGED = 256

_CLIENT_STALLED = partial(Lost, Side.CLIENT, Loss.STALLED)


def _head_late(seconds: float) -> Refusal:
    return Refusal(Reason.HEAD_TIMEOUT, f"the request head was not complete in {seconds:g} seconds")


class Session:
    """One client connection, until its outcome or its handoff. Owns the client's leg and the upstream's."""

    def __init__(self, leg: Leg, site: Site, record: SessionRecord, address: str) -> None:
        """Nothing happens before `start`. `address` is the client's, without port, or `unix:`."""
        self._client = Stream(leg, Side.CLIENT)
        self._site = site
        self._record = record
        self._arrival = Arrival(self._client, site, record, address)
        self._own = OwnUpstream(site.dialer, self._arrival.introduction)
        self._arrived: Arrived | None = None
        self._reader: RequestReader | None = None
        self._exchange: Exchange | None = None
        self._served = False
        self._ending = Outcome.DRAINED
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin. The session is in `site.live` until it has its outcome, first as itself, then as a tunnel."""
        self._site.live.add(self)
        self._client.when_gone = self._client_has_gone
        self._running = Deferred.fromCoroutine(self._serve())

    def wind_down(self) -> None:
        """The service stops: end now if no request is under way, otherwise after it."""
        if self._reader is not None and not self._reader.begun:
            self._client.fail(Lost(Side.CLIENT, None))
        elif self._arrived is None and self._arrival.is_silent:
            self._cancel(Outcome.SILENT)

    def end_now(self) -> None:
        """End at once."""
        self._cancel(Outcome.DRAINED)

    def _client_has_gone(self, _: Exception) -> None:
        self._cancel(Outcome.CLIENT_LEFT)

    def _cancel(self, outcome: Outcome) -> None:
        self._ending = outcome
        if self._running is not None:
            self._running.cancel()

    # The boundary: whatever happens inside becomes exactly one outcome.

    async def _serve(self) -> None:
        try:
            outcome = await self._live()
        except CancelledError:
            outcome = self._ending
        except Exception:
            log.failure("{record.id}: a bug ended the session", record=self._record)
            outcome = self._apologise()
        if outcome is not None:
            self._finish(outcome)

    async def _live(self) -> Outcome | None:
        """The session's whole life; its outcome, or None once it is a tunnel."""
        try:
            self._arrived = await self._arrival.arrive()
            handoff = await (self._serve_tcp() if self._at_layer_4 else self._serve_http())
        except NotArrived as closed:
            return self._turn_away(closed)
        except Refusal as refusal:
            return await self._refuse(refusal)
        except Lost as lost:
            return self._lose(lost)
        if isinstance(handoff, Handoff):
            self._become_tunnel(handoff)
            return None
        return handoff

    @property
    def _at_layer_4(self) -> bool:
        return self._site.listener.mode is Mode.TCP or bool(self._arrived and self._arrived.passed_to)

    def _turn_away(self, closed: NotArrived) -> Outcome:
        """Close a connection that has not come so far that an answer would be understood."""
        self._record.reason, self._record.detail = closed.reason, closed.detail
        if closed.outcome is not Outcome.TLS_TIMEOUT:
            # An alert may be on its way, which a RST could overtake.
            self._client.leg.close()
        return closed.outcome

    # Layer 4.

    async def _serve_tcp(self) -> Handoff:
        """Dial, then hand over; what the client sends meanwhile waits, bounded."""
        site, arrived = self._site, self._known
        group = arrived.passed_to or site.listener.upstream
        assert group is not None, "a listener of mode tcp names its upstream"
        self._record.route = group
        self._client.watch()
        upstream = await self._own.connect(group, site.timeouts.connect)
        return self._hand_off(upstream, b"", site.timeouts)

    # Layer 7.

    async def _serve_http(self) -> Handoff | Outcome:
        """Serve requests until one becomes a tunnel, the client has no more, or the connection cannot be kept."""
        while (head := await self._read_head()) is not None:
            site = self._site
            if self._known.facts.trusted:
                site.admission.claim(self._record)
            framing = body.request_framing(head, site.limits.body_bytes)
            exchange = self._exchange = Exchange(self._client, head, framing, site)
            kind = upgrade.classify(head)
            hopbyhop.check_expectation(head)
            if site.listener.redirect_to_https:
                exchange.answer_itself(308, partial(answers.https_redirect, head, kind), kind)
            else:
                match = self._match(exchange, kind)
                action = match.route.action
                if not isinstance(action, ToUpstream):
                    exchange.answer_itself(action.status, partial(answers.answer, action, head), kind)
                elif isinstance(kind, Upgrade):
                    return await self._relay(exchange, kind, match)
                elif hopbyhop.hops_left(head) == 0:
                    exchange.answer_itself(200, partial(answers.options, head), kind)
                else:
                    await exchange.proxy(self._own, match, self._known.facts)
            self._report(exchange)
            if exchange.keep:
                await self._take_a_breath()
            if not exchange.keep or site.live.draining:
                await self._client.farewell(site.reactor, site.timeouts.write_stall, site.timeouts.linger)
                return Outcome.SERVED
        await self._client.finish(self._site.reactor, self._site.timeouts.write_stall)
        return self._silence

    async def _take_a_breath(self) -> None:
        """Between two requests: whoever reads no answers gets no more, and a pipeline leaves others their turn."""
        reactor = self._site.reactor
        await self._client.room(reactor, self._site.timeouts.write_stall)
        if self._client.held:
            await deferLater(reactor, 0)

    async def _read_head(self) -> RequestHead | None:
        """The next request's head; None when the client has no more requests, or says nothing for too long."""
        if self._site.live.draining and not self._client.held:
            return None
        timeouts, clock, client = self._site.timeouts, self._site.reactor, self._client
        self._record.forget_request()
        self._record.real_ip = self._known.facts.address
        reader = self._reader = RequestReader(self._site.head_limits)
        late = partial(_head_late, timeouts.request_head)
        try:
            if self._served and not client.held:
                with Deadline(clock, timeouts.http_idle, client.fail, _CLIENT_STALLED):
                    client.unread(await client.some())
            with Deadline(clock, timeouts.request_head, client.fail, late):
                head = await client.read(reader)
        except (Refusal, Lost) as error:
            # Silence, or leaving, between requests is how keep-alive and a browser's spare connections end.
            if not reader.begun and (isinstance(error, Lost) or error.reason is Reason.HEAD_TIMEOUT):
                return None
            raise
        finally:
            self._reader = None
        if head is None and reader.begun:
            raise Lost(Side.CLIENT, None)
        if head is not None:
            self._note(head)
        return head

    def _match(self, exchange: Exchange, kind: Plain | Upgrade) -> Match:
        match = self._site.routes.resolve(exchange.head)
        self._record.route = match.route.name
        exchange.timeouts = match.route.timeouts
        admission.admit(match.route, kind, exchange.head, self._record.real_ip)
        return match

    async def _relay(self, exchange: Exchange, offer: Upgrade, match: Match) -> Handoff | Outcome:
        """Ask the upstream to switch, and believe it only on a 101 that proves it has understood (RFC 6455 4.2.2).

        Not one byte that the client sends before that 101 goes upstream; if the upstream declines, none ever does
        (RFC 9931 4.1): its real answer goes back and the connection ends.
        """
        head, timeouts, action = exchange.head, match.route.timeouts, match.route.action
        assert isinstance(action, ToUpstream)
        self._client.when_ended = self._client_has_gone
        self._client.watch()
        upstream = await self._own.connect(action.upstream, timeouts.connect)
        host = host_for(action, head, self._own)
        upstream.write(
            hopbyhop.request(head, self._known.facts, target=match.target, host=host, framing=NO_BODY, upgrade=True)
        )
        reply = await exchange.read_first_reply(upstream)
        match upgrade.check_reply(offer, reply):
            case Switched(warnings=warnings):
                self._own.remember()
                for warning in warnings:
                    log.warn("{id}: {warning}", id=self._record.id, warning=warning)
                return self._hand_off(upstream, hopbyhop.switching(reply), timeouts)
            case Declined():
                self._client.when_ended = None
                await exchange.send_back(upstream, reply, keep=False)
                self._own.complete(reusable=False)
                self._record.outcome = Outcome.DECLINED
                self._report(exchange)
                await self._client.farewell(self._site.reactor, timeouts.write_stall, timeouts.linger)
                return Outcome.DECLINED

    # The handoff.

    def _hand_off(self, upstream: Stream, answer: bytes, timeouts: Timeouts) -> Handoff:
        """Both legs leave HTTP with every byte that was read and not used."""
        client_leg, to_upstream = self._client.release()
        upstream_leg, to_client = upstream.release()
        self._record.upstream = upstream_leg.address
        return Handoff(
            client=client_leg,
            upstream=upstream_leg,
            answer=answer,
            to_client=to_client,
            to_upstream=to_upstream,
            idle=timeouts.tunnel_idle,
            write_stall=timeouts.write_stall,
            linger=timeouts.linger,
        )

    def _become_tunnel(self, handoff: Handoff) -> None:
        Tunnel(handoff, self._site, self._record)
        self._own.give_up()
        self._site.live.remove(self)

    # How it ends otherwise.

    async def _refuse(self, refusal: Refusal) -> Outcome:
        """Answer with the reason, then let the client read it."""
        self._record.reason = refusal.reason
        # The notes say the same for each server that was tried, with its address.
        self._record.detail = "; ".join(getattr(refusal, "__notes__", ())) or refusal.detail
        self._own.drop()
        if self._at_layer_4:
            return Outcome.UPSTREAM_UNREACHED
        self._client.write(self._answer(refusal))
        self._record.outcome = Outcome.REFUSED
        self._report(self._exchange, refusal.reason.status)
        timeouts = self._site.timeouts
        await self._client.farewell(self._site.reactor, timeouts.write_stall, timeouts.linger)
        return Outcome.REFUSED

    def _answer(self, refusal: Refusal) -> bytes:
        answer = refusal.response(self._record.id, with_body=self._record.method != "HEAD")
        # RFC 6797 7.2: never without TLS.
        return answers.with_hsts(answer, self._site.listener.hsts if self._record.tls else b"")

    def _lose(self, lost: Lost) -> Outcome:
        if lost.loss in (Loss.STALLED, Loss.BUG):
            outcome = Outcome.of_loss(lost.side, lost.loss)
        else:
            outcome = Outcome.CLIENT_LEFT if lost.side is Side.CLIENT else Outcome.UPSTREAM_LEFT
        if isinstance(lost.__cause__, Refusal):
            # It came too late to be answered; the log has it all the same.
            self._record.reason, self._record.detail = lost.__cause__.reason, lost.__cause__.detail
        else:
            self._record.detail = str(lost)
        return outcome

    def _apologise(self) -> Outcome:
        """After a bug: 500 if nothing has been answered. No waiting, since nothing is certain any more."""
        sorry = Refusal(Reason.BUG, "the relay made a mistake; its log has the details")
        self._record.reason = sorry.reason
        arrived = self._arrived is not None and not self._at_layer_4
        if arrived and (self._exchange is None or not self._exchange.status):
            self._client.write(self._answer(sorry))
            self._client.leg.finish()
            self._record.outcome = Outcome.BUG
            self._report(self._exchange, sorry.reason.status)
        return Outcome.BUG

    def _finish(self, outcome: Outcome) -> None:
        """Close what is open, with RST where the other side may be waiting for more; tell the outcome."""
        record, leg = self._record, self._client.leg
        told = record.outcome is not None
        turned_away = self._arrived is None and record.reason is not None
        record.outcome = record.outcome or outcome
        self._own.drop()
        if outcome in _ORDERLY or leg.finished:
            leg.finish()
            leg.close()
        else:
            leg.abort()
        if self._exchange is not None:
            self._report(self._exchange)
        elif not told and (turned_away or (outcome in _FAILED and not (self._served and record.method))):
            self._site.observer.session_failed(record)
        self._site.admission.leave(record)
        self._site.live.remove(self)

    def _report(self, exchange: Exchange | None, refused: int = 0) -> None:
        """Tell the observer of an exchange, once; `refused` is the status of a refusal that answered it."""
        self._record.upstream = exchange.upstream if exchange is not None else ""
        facts = exchange.facts() if exchange is not None else ExchangeFacts(0, 0, 0, 0.0)
        self._site.observer.exchanged(self._record, attrs.evolve(facts, status=refused) if refused else facts)
        self._exchange = None
        self._served = True

    # What is known of the client.

    @property
    def _known(self) -> Arrived:
        assert self._arrived is not None, "asked before the client has arrived"
        return self._arrived

    @property
    def _silence(self) -> Outcome:
        return Outcome.SERVED if self._served else Outcome.SILENT

    def _note(self, head: RequestHead) -> None:
        record = self._record
        record.method = head.method.decode("latin-1")[:_LOGGED]
        record.host = head.host.decode("latin-1")[:_LOGGED]
        record.real_ip = real_ip(head, self._known.facts)
        record.target = head.target.decode("latin-1")[:_LOGGED]

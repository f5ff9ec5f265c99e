"""What stands before HTTP, and before an upstream at layer 4: a PROXY line, the choice by ClientHello, TLS.

Read `Arrival.arrive` first. It changes the leg of the session's client, and fills in the session's record.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
from cryptography import x509
from OpenSSL import SSL

from wsrelay.config.networks import EVERYBODY, NOWHERE
from wsrelay.config.settings import Mode
from wsrelay.core import clienthello, handshake_failures, proxyline
from wsrelay.core.clienthello import ClientHello
from wsrelay.core.forwarded import ClientFacts, parse_address
from wsrelay.core.outcomes import Loss, Outcome, Side
from wsrelay.core.proxyline import ProxyLine
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Lost, Refusal
from wsrelay.net import client_certificate, introduction, takeover
from wsrelay.net.deadlines import Deadline, time_left
from wsrelay.net.peek import Peek, Seen
from wsrelay.net.record import SessionRecord
from wsrelay.net.site import Site
from wsrelay.net.stream import Stream
from wsrelay.net.tls import Contexts
from wsrelay.net.tls_leg import TlsLeg

# Fatal alerts, each as a whole record (RFC 8446 6): what OpenSSL would send, had it seen the ClientHello.
_ALERT = b"\x15\x03\x03\x00\x02\x02%c"
_DECODE_ERROR, _UNRECOGNIZED_NAME = 50, 112

# In place of a ClientHello where none was looked at, or where HTTP without TLS has come.
_UNSEEN = ClientHello(server_name="", protocols=())


class NotArrived(Exception):
    """The connection has ended before anybody could be answered.

    Attributes:
        outcome: The session's.
        reason: Why; None for a client that has said nothing at all.
        detail: For the log.
    """

    def __init__(self, outcome: Outcome, reason: Reason | None = None, detail: str = "") -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.reason = reason
        self.detail = detail


@attrs.frozen
class Arrived:
    """A client that has come so far, and what is known of it."""

    facts: ClientFacts
    passed_to: str | None = None
    """The upstream group that gets the connection with its TLS untouched; None where it is for us."""


class Arrival:
    """One connection on its way in. Made at its accept."""

    def __init__(self, client: Stream, site: Site, record: SessionRecord, address: str) -> None:
        """Nothing happens before `arrive`. `address` is the connecting one, without port, or `unix:`."""
        self._client = client
        self._site = site
        self._record = record
        self._address = address
        self._line: ProxyLine | None = None
        self._tls_by = 0.0
        self._peek: Peek[Any] | None = None
        self._certificate: x509.Certificate | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the connection is looked at, and nothing has come."""
        return self._peek is not None and not self._peek.heard

    async def arrive(self) -> Arrived:
        """Go all the way in.

        Raises:
            NotArrived: The connection is to be closed.
            Refusal: The same, and the client understands an answer: plain HTTP.
        """
        site, address, proxies = self._site, self._address, self._site.proxies
        if site.listener.accept_proxy:
            self._line = await self._read_proxy_line()
            if self._line.source is not None:
                address = self._line.source.host
            else:
                # The proxy speaks of itself, or of somebody it cannot name, whom nobody has to believe.
                proxies = NOWHERE
            self._admit(address)
        group, hello = None, _UNSEEN
        if site.by_hello:
            hello = await self._read_hello()
            group = site.listener.passing.group_for(hello.server_name, hello.protocols)
        secure = self._line is not None and self._line.secure is not None
        certified: tuple[bytes, ...] = ()
        if group is None:
            if site.contexts is not None:
                await self._shake_hands(site.contexts, hello)
                secure, certified = True, self._read_certificate()
                site.observer.secured(self._record)
            elif site.by_hello and site.listener.upstream is None:
                raise self._unknown(hello)
        facts = ClientFacts.of(address, secure=secure, proxies=proxies, reserved=site.reserved, certified=certified)
        self._record.real_ip = facts.address
        return Arrived(facts, group)

    # The PROXY line.

    async def _read_proxy_line(self) -> ProxyLine:
        seconds = self._site.timeouts.request_head
        late = partial(Refusal, Reason.PROXY_TIMEOUT, f"no PROXY line came in {seconds:g} seconds")
        peek = Peek(self._site.reactor, self._client.leg.connected, proxyline.read, proxyline.MOST_BYTES)
        try:
            line, size = await self._look(peek, seconds, late)
        except Lost as lost:
            if not peek.heard:
                raise NotArrived(Outcome.SILENT) from None
            raise NotArrived(Outcome.CLIENT_LEFT, None, f"inside the PROXY line: {lost}") from None
        except Refusal as refusal:
            if self._site.listener.mode is Mode.HTTP and self._site.contexts is None:
                raise
            raise NotArrived(Outcome.REFUSED, refusal.reason, refusal.detail) from None
        try:
            # It has been seen there, so all of it comes at once.
            self._client.leg.connected.recv(size)
        except OSError as error:
            raise NotArrived(Outcome.CLIENT_LEFT, None, f"behind the PROXY line: {error}") from None
        self._record.sni = line.authority
        return line

    async def _look(self, peek: Peek[Seen], seconds: float, late: Callable[[], Exception]) -> Seen:
        self._peek = peek
        try:
            with Deadline(self._site.reactor, seconds, peek.fail, late):
                return await peek.done
        finally:
            self._peek = None

    def _admit(self, address: str) -> None:
        """Judge the client that the line names as others are judged at accept."""
        self._record.real_ip = address
        access = self._site.listener.access
        if access is not EVERYBODY and not access.admits(parse_address(address)):
            raise NotArrived(Outcome.DENIED, Reason.ADDRESS_DENIED)
        try:
            self._site.admission.claim(self._record)
        except Refusal as refusal:
            raise NotArrived(Outcome.OVER_LIMIT, refusal.reason) from None

    # The ClientHello.

    async def _read_hello(self) -> ClientHello:
        seconds = self._site.timeouts.tls_handshake
        self._tls_by = self._site.reactor.seconds() + seconds
        late = partial(NotArrived, Outcome.TLS_TIMEOUT, Reason.TLS_TIMEOUT, f"no ClientHello in {seconds:g} seconds")
        peek = Peek(self._site.reactor, self._client.leg.connected, self._hello_of, clienthello.MOST_BYTES)
        try:
            hello = await self._look(peek, seconds, late)
        except Lost as lost:
            if not peek.heard:
                raise NotArrived(Outcome.SILENT) from None
            raise NotArrived(Outcome.TLS_FAILED, Reason.TLS_ENDED_EARLY, f"inside the ClientHello: {lost}") from None
        except Refusal as refusal:
            self._say(_DECODE_ERROR)
            raise NotArrived(Outcome.TLS_FAILED, refusal.reason, refusal.detail) from None
        self._record.sni = hello.server_name or self._record.sni
        return hello

    @property
    def _time_left(self) -> float:
        """Of `tls_handshake`, which is for the hello and what follows it together; never 0, which would be no limit."""
        if not self._tls_by:
            return self._site.timeouts.tls_handshake
        return time_left(self._site.reactor, self._tls_by)

    def _hello_of(self, data: bytes) -> ClientHello | int:
        # HTTP without TLS is for the handshake to find, which has an answer to it.
        if self._site.contexts is not None and data[:1].isupper():
            return _UNSEEN
        return clienthello.read(data)

    def _unknown(self, hello: ClientHello) -> NotArrived:
        self._say(_UNRECOGNIZED_NAME)
        named = f'the name "{hello.server_name}"' if hello.server_name else "a client that names no server"
        return NotArrived(Outcome.TLS_FAILED, Reason.UNKNOWN_SNI, f"nothing here is for {named}")

    def _say(self, alert: int) -> None:
        """Tell a TLS client why, and take what it has sent: left unread, it would turn our FIN into RST."""
        self._client.write(_ALERT % alert)
        with suppress(OSError):
            self._client.leg.connected.recv(clienthello.MOST_BYTES)

    # TLS of ours.

    async def _shake_hands(self, contexts: Contexts, hello: ClientHello) -> None:
        site = self._site
        context = contexts.all[0] if hello is _UNSEEN else contexts.for_name(hello.server_name)
        if context is None:
            raise self._unknown(hello)
        plain = self._client.leg
        connection = SSL.Connection(context, plain.connected)
        connection.set_accept_state()
        leg = TlsLeg(plain.hand_over(), site.reactor, plain.address, connection, site.handshakes.as_server)
        late = partial(Lost, Side.CLIENT, Loss.STALLED)
        try:
            with Deadline(site.reactor, self._time_left, self._client.fail, late):
                await self._client.handshake(leg)
        except Lost as lost:
            self._note_name(leg, hello)
            greeted = leg.greeted or hello is not _UNSEEN
            raise self._failure(leg, lost, greeted=greeted) from None
        self._record.tls = leg.version
        self._record.resumed = takeover.resumed(connection)
        self._note_name(leg, hello)
        if hello is not _UNSEEN and leg.server_name not in ("", hello.server_name):
            # Behind HelloRetryRequest comes a second one, in which nothing of this may change (RFC 8446 4.1.2).
            text = f'the second ClientHello names "{leg.server_name}", and the first one did not'
            raise NotArrived(Outcome.TLS_FAILED, Reason.CLIENT_HELLO, text)

    def _note_name(self, leg: TlsLeg, hello: ClientHello) -> None:
        """Where a hello was looked at, its name counts: by that one everything was chosen."""
        if hello is _UNSEEN:
            self._record.sni = leg.server_name or self._record.sni

    def _failure(self, leg: TlsLeg, lost: Lost, *, greeted: bool) -> Exception:
        """What a lost handshake was; `greeted` says whether it had got a whole ClientHello."""
        if lost.loss is Loss.STALLED:
            text = f"the handshake was not done in {self._site.timeouts.tls_handshake:g} seconds"
            return NotArrived(Outcome.TLS_TIMEOUT, Reason.TLS_TIMEOUT, text)
        if leg.plain is not None:
            self._client.leg, leg.plain.receiver = leg.plain, self._client
            text = "what came is not TLS, which this port speaks: use https:// or wss://"
            # At layer 4 nobody knows what the client would understand.
            if self._site.listener.mode is Mode.HTTP:
                return Refusal(Reason.PLAIN_HTTP, text)
            return NotArrived(Outcome.TLS_FAILED, Reason.PLAIN_HTTP, text)
        if lost.loss not in (Loss.RESET, Loss.TRUNCATED):
            reason = handshake_failures.reason_of(leg.problem)
            if reason is Reason.TLS_ERROR and not greeted:
                reason = Reason.CLIENT_HELLO
            return NotArrived(Outcome.TLS_FAILED, reason, leg.problem)
        if not leg.heard:
            return NotArrived(Outcome.SILENT)
        reason = Reason.TLS_ENDED if greeted else Reason.TLS_ENDED_EARLY
        return NotArrived(Outcome.TLS_FAILED, reason, leg.problem)

    def _read_certificate(self) -> tuple[bytes, ...]:
        """Keep the client's certificate, if it has shown one; the field lines about it."""
        policy, connection = self._site.listener.policy, self._client.leg.connection
        if policy.client_ca is None or connection is None:
            return ()
        try:
            self._certificate = client_certificate.of(connection)
            if self._certificate is None:
                return ()
            client_certificate.refuse_expired(self._certificate)
            return client_certificate.lines(self._certificate, policy.client_headers)
        except Refusal as refusal:
            raise NotArrived(Outcome.TLS_FAILED, refusal.reason, refusal.detail) from None

    def introduction(self) -> ProxyLine:
        """Who the client of the latest request is, for upstreams that want a PROXY line.

        To be asked while its leg is open, and before that is a pump's.
        """
        return introduction.introduce(self._client.leg, self._record, self._address, self._line, self._certificate)

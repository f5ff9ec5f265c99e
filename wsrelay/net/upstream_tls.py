"""TLS to an upstream, as its client: whom to expect, whom to trust, and the session of the last time."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address

from cryptography import x509
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, IPAddress_ID, IPAddressPattern, verify_service_identity

from wsrelay.config import chains
from wsrelay.config.certificates import LoadedCertificate
from wsrelay.config.settings import ServerAddress, TcpAddress, UpstreamTls
from wsrelay.core.outcomes import Loss
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Lost, Refusal
from wsrelay.net import connecting, tls
from wsrelay.net.deadlines import Deadline, time_left
from wsrelay.net.handshakes import Handshakes
from wsrelay.net.legs import Leg, Reactor
from wsrelay.net.stream import Stream
from wsrelay.net.tls_leg import MISTRUSTED, TlsLeg

# Names of another's certificate in the log: enough to see whose it is.
_NAMES_SHOWN = 5


class SecureUpstream:
    """How connections to one upstream group are secured. A renewal of its files makes a new one."""

    def __init__(
        self,
        settings: UpstreamTls,
        authorities: Sequence[x509.Certificate],
        certificate: LoadedCertificate | None,
        handshakes: Handshakes,
    ) -> None:
        """Build the context.

        Args:
            settings: The group's.
            authorities: From `settings.ca`; none = the system's.
            certificate: From `settings.certificate`.
            handshakes: Does the handshakes.
        """
        self._settings = settings
        self._handshakes = handshakes
        # Of each server the latest, and when the certificate behind it expires, which OpenSSL does not look at again:
        # no more than the group has servers.
        self._sessions: dict[ServerAddress, SSL.Session] = {}
        self._expires: dict[ServerAddress, datetime] = {}
        context = self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        if certificate is not None:
            tls.use_certificate(context, certificate)
        if settings.verify:
            if authorities:
                tls.trust(context, authorities)
            else:
                context.set_default_verify_paths()
            context.set_verify(SSL.VERIFY_PEER)
            context.set_verify_depth(tls.MOST_CHAIN)

    async def secure(self, stream: Stream, server: ServerAddress, reactor: Reactor, by: float, seconds: float) -> None:
        """Do the handshake on a new connection, and check that it leads to whom it should.

        Args:
            stream: The connection; afterwards it goes on under TLS. It is closed where this fails.
            server: As the group names it.
            reactor: For the limit of time.
            by: When the handshake has to be done, as `reactor.seconds()` has it.
            seconds: How long the connection may take as a whole, for the log.

        Raises:
            Refusal: UPSTREAM_TLS, UPSTREAM_CERTIFICATE or UPSTREAM_CONNECT_TIMEOUT; what exactly is in `__notes__`,
                for the log alone: strangers need not learn of certificates inside.
        """
        name = self._name(server)
        if server in self._expires and self._expires[server] < datetime.now(UTC):
            self._sessions.pop(server, None)
        leg = self._leg(stream.leg, reactor, name, self._sessions.get(server))
        try:
            with Deadline(reactor, time_left(reactor, by), stream.fail, partial(connecting.late, seconds)):
                await stream.handshake(leg)
            self._verify(leg.connection, name, server)
        except Lost as lost:
            raise _refusal(lost, leg) from None
        except BaseException:
            leg.close()
            raise

    def remember(self, stream: Stream, server: ServerAddress) -> None:
        """Keep the session of a connection on which the upstream has spoken: in TLS 1.3 its ticket came before that."""
        connection = None if stream.leg.closed else stream.leg.connection
        # What was verified before a renewal is not verified by what holds since.
        if connection is not None and connection.get_context() is self._context:
            session = connection.get_session()
            if session is not None:
                self._sessions[server] = session

    def _name(self, server: ServerAddress) -> str:
        if self._settings.server_name is not None:
            return self._settings.server_name
        assert isinstance(server, TcpAddress), "TLS over a UNIX socket needs a server_name"
        return server.host

    def _leg(self, plain: Leg, reactor: Reactor, name: str, session: SSL.Session | None) -> TlsLeg:
        connection = SSL.Connection(self._context, plain.connected)
        connection.set_connect_state()
        if chains.address(name) is None:  # RFC 6066 3: no addresses in SNI
            connection.set_tlsext_host_name(name.encode("ascii"))
        if session is not None:
            connection.set_session(session)
        return TlsLeg(plain.hand_over(), reactor, plain.address, connection, self._handshakes.as_client)

    def _verify(self, connection: SSL.Connection, name: str, server: ServerAddress) -> None:
        """OpenSSL has checked the chain; what is left is the name (RFC 9525 6)."""
        if not self._settings.verify:
            return
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
        except chains.UNREADABLE as error:
            raise _mistrust(f"its certificate cannot be read: {error}") from None
        names = () if certificate is None else chains.names(certificate)
        try:
            wanted = DNS_ID(name) if chains.address(name) is None else IPAddress_ID(name)
            verify_service_identity(tuple(_patterns(names)), [wanted], [])
        # Of the other two: a certificate without any name, and a host that the library takes for a number (`1_0`).
        except (VerificationError, CertificateError, ValueError):
            shown = ", ".join(names[:_NAMES_SHOWN]) or "nobody"
            raise _mistrust(f'its certificate is not for "{name}", but for {shown}') from None
        if certificate is not None:
            self._expires[server] = certificate.not_valid_after_utc


def _patterns(names: Iterable[str]) -> Iterator[DNSPattern | IPAddressPattern]:
    """What of a certificate's names counts: one that no client takes (`*.local`) does not spoil those beside it."""
    for name in names:
        with suppress(CertificateError):
            address = chains.address(name)
            yield DNSPattern.from_bytes(name.encode()) if address is None else IPAddressPattern(ip_address(address))


def _refusal(lost: Lost, leg: TlsLeg) -> Refusal:
    if lost.loss is Loss.TLS and MISTRUSTED in leg.problem:
        return _mistrust(leg.problem)
    refusal = Refusal(Reason.UPSTREAM_TLS, "the TLS handshake with the upstream failed")
    hint = "; does it speak TLS on this port?" if "wrong version number" in leg.problem else ""
    refusal.add_note(f"the TLS handshake failed: {leg.problem or lost}{hint}")
    return refusal


def _mistrust(why: str) -> Refusal:
    refusal = Refusal(Reason.UPSTREAM_CERTIFICATE, "the upstream's certificate was not accepted")
    refusal.add_note(f"its certificate was not accepted: {why}")
    return refusal

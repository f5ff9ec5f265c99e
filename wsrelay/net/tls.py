"""From checked certificates to OpenSSL contexts: one for each set of names. Immutable once built.

A renewal builds a new value; connections keep the context they began with.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from wsrelay.config.certificates import KeyType, LoadedCertificate
from wsrelay.config.settings import ClientCertificate, TlsPolicy, TlsVersion, UnknownSni
from wsrelay.net import takeover

# Sessions resume only within one id context; ours has one meaning.
_SESSION_ID_CONTEXT = b"wsrelay"

# How long a session may be resumed. Mini-programs are suspended after seconds and come back within minutes; an hour
# keeps the exposure of one ticket key's worth of sessions small (nginx: 5 minutes, OpenSSL: 2 hours for TLS 1.3). In
# TLS 1.3 each resumption begins another hour, until the contexts and their keys are renewed.
_RESUMABLE_SECONDS = 3600

MOST_CHAIN = 10
"""Certificates between another's and one that we trust. OpenSSL's own bound is 100, and whoever sends hundreds in the
wrong order makes it search for 70 ms; no chain in use has more than 5."""

_OURS = TlsPolicy()

# SSL_CTX_set_options(3), since OpenSSL 1.1.1; pyOpenSSL has no name for it. Our order of suites counts, but a client
# that puts ChaCha20 first has no AES in hardware, and gets what is three times as fast there.
_OP_PRIORITIZE_CHACHA = 0x200000

_HTTP = b"http/1.1"

_VERSIONS = {TlsVersion.TLS_1_2: SSL.TLS1_2_VERSION, TlsVersion.TLS_1_3: SSL.TLS1_3_VERSION}


class NoCommonProtocol(SSL.Error):
    """The client offers application protocols by ALPN, and HTTP/1.1 is not among them (alert 120, RFC 7301 3.2)."""

    def __init__(self) -> None:
        super().__init__([("wsrelay", "", "the client offers no http/1.1 by ALPN")])


class Contexts:
    """The contexts of one listener.

    Which one serves a client is chosen from its ClientHello before OpenSSL sees it, and each set of names has session
    tickets of its own (CVE-2025-23419).

    Attributes:
        all: Each of them, once; the first is the default.
        by_name: Whether a client's server name decides anything.
    """

    def __init__(
        self,
        certificates: Sequence[LoadedCertificate],
        *,
        http: bool,
        policy: TlsPolicy = _OURS,
        authorities: Sequence[x509.Certificate] = (),
    ) -> None:
        """Build all contexts.

        Args:
            certificates: At least one; the first is the default. A name is served with the first of each kind of key
                that is for it, exactly or by a wildcard, and OpenSSL takes the one that the client can verify.
            http: Whether ALPN is answered with `http/1.1`. At layer 4 it is not answered at all, since the bytes are
                not ours to name.
            policy: Versions, suites, unknown names, and whether clients have to show a certificate.
            authorities: Of client certificates, where there is a `client_ca`.
        """
        made: dict[tuple[LoadedCertificate, ...], SSL.Context] = {}
        first = certificates[0]
        # The default shows the first certificate, and others of its name for clients that cannot verify that one.
        served = _for_name(first.names[0], certificates) if first.names else (first,)
        names = {name: _for_name(name, certificates) for each in certificates for name in each.names}
        for group in (served if first in served else (first,), *names.values()):
            if group not in made:
                made[group] = _context(group, policy, authorities, http=http)
        self.all = list(made.values())
        self._unknown = None if policy.unknown_sni is UnknownSni.REJECT else self.all[0]
        self._by_name = {name: made[group] for name, group in names.items()}
        self.by_name = len(self.all) > 1 or self._unknown is None

    def for_name(self, name: str) -> SSL.Context | None:
        """The context for a server name; None where it is to be rejected.

        Exact, then a wildcard for its first label (RFC 9525 6.3), then the default, unless unknown names are rejected.
        `name` is in lower case, without a dot at its end; empty where the client names none.
        """
        return self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2]) or self._unknown


def _for_name(name: str, certificates: Sequence[LoadedCertificate]) -> tuple[LoadedCertificate, ...]:
    """Of each kind of key the first certificate for a name: exact, else by a wildcard for its first label."""
    wildcard = "*." + name.partition(".")[2]
    found: dict[KeyType, LoadedCertificate] = {}
    for wanted in (name, wildcard):
        for each in certificates:
            if wanted in each.names:
                found.setdefault(each.key_type, each)
    return tuple(found.values())


def _context(
    certificates: Sequence[LoadedCertificate], policy: TlsPolicy, authorities: Sequence[x509.Certificate], *, http: bool
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[policy.minimum])
    context.set_cipher_list(policy.ciphers.encode("ascii"))
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA)
    takeover.choose_groups(context)
    # An idle connection gives its 34 kB of record buffers back.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_session_id(_SESSION_ID_CONTEXT)
    context.set_timeout(_RESUMABLE_SECONDS)
    # Without somebody who takes it, OpenSSL forgets the name where a session of TLS 1.2 is resumed.
    context.set_tlsext_servername_callback(_take_any_name)
    if http:
        context.set_alpn_select_callback(_choose_protocol)
    for certificate in certificates:
        use_certificate(context, certificate)
    if authorities:
        trust(context, authorities, of_clients=True)
        required = policy.client_certificate is ClientCertificate.REQUIRE
        # Without a callback OpenSSL judges alone, and no thread of handshakes waits for Python.
        context.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0))
        context.set_verify_depth(MOST_CHAIN)
        # OpenSSL keeps with a session all certificates that came, 775 kB of them: tickets leave that to the client.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def use_certificate(context: SSL.Context, certificate: LoadedCertificate) -> None:
    """Show a certificate and its chain; another of a different kind of key may stand beside it."""
    # Only the *file* call gives each certificate a chain of its own; extra chain certificates go to everybody.
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(certificate.chain_pem())
        file.flush()
        context.use_certificate_chain_file(file.name)
    context.use_privatekey(certificate.key)
    context.check_privatekey()


def trust(context: SSL.Context, authorities: Sequence[x509.Certificate], *, of_clients: bool = False) -> None:
    """Trust these and no others; `of_clients` names them to clients too, so that those find the right certificate."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(b"".join(each.public_bytes(Encoding.PEM) for each in authorities))
        file.flush()
        context.load_verify_locations(file.name)
        # Who lists an intermediate, or the very certificate of an upstream, trusts that one and not its issuer.
        store = context.get_cert_store()
        assert store is not None
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        if of_clients:
            context.load_client_ca(Path(file.name).as_posix().encode())


def _take_any_name(connection: SSL.Connection) -> None:
    """Whom a name is for was decided before."""


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    if _HTTP in offered:
        return _HTTP
    # pyOpenSSL turns the exception into the alert, and raises it again from the handshake.
    raise NoCommonProtocol

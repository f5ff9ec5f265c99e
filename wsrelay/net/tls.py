"""From checked certificates to OpenSSL contexts: one for each set of names, chosen by SNI. Immutable once built.

A reload builds a new value; connections keep the context they began with.
"""

import tempfile
from collections.abc import Sequence

from OpenSSL import SSL

from wsrelay.config.certificates import LoadedCertificate

# Forward secrecy and AEAD only. TLS 1.3 has nothing else; these are what it leaves of TLS 1.2, and App Transport
# Security on iOS accepts them.
_TLS12_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"

# Sessions resume only within one id context; ours has one meaning.
_SESSION_ID_CONTEXT = b"wsrelay"

# How long a session may be resumed. Mini-programs are suspended after seconds and come back within minutes; an hour
# keeps the exposure of one ticket key's worth of sessions small (nginx: 5 minutes, OpenSSL: 2 hours for TLS 1.3).
_RESUMABLE_SECONDS = 3600

_HTTP = b"http/1.1"


class NoCommonProtocol(SSL.Error):
    """The client offers application protocols by ALPN, and HTTP/1.1 is not among them (alert 120, RFC 7301 3.2)."""

    def __init__(self) -> None:
        super().__init__([("wsrelay", "", "the client offers no http/1.1 by ALPN")])


class Contexts:
    """The contexts of one listener.

    Attributes:
        default: For clients that name no server, or one we do not have; it switches to another by SNI.
        all: Each of them, once.
    """

    def __init__(self, certificates: Sequence[LoadedCertificate], *, http: bool) -> None:
        """Build all contexts.

        Args:
            certificates: At least one; the first is the default. Those with the same names and different kinds of
                key share a context, and OpenSSL takes the one that the client can verify.
            http: Whether ALPN is answered with `http/1.1`. At layer 4 it is not answered at all, since the bytes are
                not ours to name.
        """
        groups: list[list[LoadedCertificate]] = []
        for certificate in certificates:
            for group in groups:
                kinds = {member.key_type for member in group}
                if set(group[0].names) == set(certificate.names) and certificate.key_type not in kinds:
                    group.append(certificate)
                    break
            else:
                groups.append([certificate])
        contexts = self.all = [_context(group, http=http) for group in groups]
        self.default = contexts[0]
        self._by_name: dict[str, SSL.Context] = {}
        for group, context in zip(groups, contexts, strict=True):
            for name in group[0].names:
                self._by_name.setdefault(name, context)
        if len(contexts) > 1:
            self.default.set_tlsext_servername_callback(self._choose)

    def for_name(self, name: str) -> SSL.Context:
        """The context for a server name: exact, then a wildcard for its first label (RFC 6125 6.4.3), then default."""
        name = name.lower().removesuffix(".")
        found = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        return found or self.default

    # With several names, and only then, a handshake on a thread waits for Python here.
    def _choose(self, connection: SSL.Connection) -> None:
        name = connection.get_servername()
        if name is not None:
            context = self.for_name(name.decode("latin-1"))
            if context is not self.default:
                connection.set_context(context)


def _context(certificates: Sequence[LoadedCertificate], *, http: bool) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_TLS12_CIPHERS)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # An idle connection gives its 34 kB of record buffers back.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_session_id(_SESSION_ID_CONTEXT)
    context.set_timeout(_RESUMABLE_SECONDS)
    if http:
        context.set_alpn_select_callback(_choose_protocol)
    for certificate in certificates:
        # Only the *file* call gives each certificate a chain of its own; extra chain certificates go to everybody.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(certificate.chain_pem())
            file.flush()
            context.use_certificate_chain_file(file.name)
        context.use_privatekey(certificate.key)
        context.check_privatekey()
    return context


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    if _HTTP in offered:
        return _HTTP
    # pyOpenSSL turns the exception into the alert, and raises it again from the handshake.
    raise NoCommonProtocol

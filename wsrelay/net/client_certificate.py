"""What upstreams are told of a client's certificate, as field lines. Knows nothing of how it was verified.

Names in certificates are chosen by whoever asked for them: none may end a line, begin another field, or look like two.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from wsrelay.config import chains
from wsrelay.config.settings import ClientFact, Listener
from wsrelay.core.fieldlines import FOLD
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

# Half of what servers take for a whole head by default (Tomcat 8 KiB, and node, nginx and h11 more): a certificate is
# 1 to 2 kB, and one whose names take more than this would make every request of its owner fail elsewhere.
_MOST_BYTES = 4096

_CLIENT_CERT, _CLIENT_CERT_CHAIN = b"client-cert", b"client-cert-chain"

# How a kind of name is called before its value, as OpenSSL does.
_KINDS: tuple[tuple[type[x509.GeneralName], str], ...] = (
    (x509.DNSName, "DNS"),
    (x509.UniformResourceIdentifier, "URI"),
    (x509.RFC822Name, "email"),
    (x509.IPAddress, "IP"),
)


def reserved(listeners: Iterable[Listener]) -> frozenset[bytes]:
    """The folded names of all fields that some listener sets: no client may send them, on whatever listener it is.

    Routes and upstreams are shared, and so a listener without certificates would be the way around one with them.
    """
    names = {name.translate(FOLD) for listener in listeners for name, _ in listener.policy.client_headers}
    # RFC 9440 2.4: who sets the one has to take both away from whoever else has sent them.
    return frozenset(names | {_CLIENT_CERT_CHAIN} if _CLIENT_CERT in names else names)


def of(connection: SSL.Connection) -> x509.Certificate | None:
    """The certificate that a client has shown; None if it has shown none.

    Raises:
        Refusal: CLIENT_CERTIFICATE_REFUSED for one that OpenSSL takes and cryptography cannot read.
    """
    try:
        return connection.get_peer_certificate(as_cryptography=True)
    except chains.UNREADABLE as error:
        raise _unreadable(error) from None


def refuse_expired(certificate: x509.Certificate) -> None:
    """Judge its end again, which OpenSSL does not where a session is resumed.

    Raises:
        Refusal: CLIENT_CERTIFICATE_REFUSED.
    """
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise Refusal(
            Reason.CLIENT_CERTIFICATE_REFUSED,
            f"the client's certificate has expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
        )


def lines(certificate: x509.Certificate, wanted: Sequence[tuple[bytes, ClientFact]]) -> tuple[bytes, ...]:
    """The field lines, without line ends.

    Args:
        certificate: The client's, verified.
        wanted: `client_headers` of the listener. A field whose value would be empty is left out.

    Raises:
        Refusal: CLIENT_CERTIFICATE_REFUSED where they are longer than upstreams take, or cannot be read.
    """
    try:
        values = [(name, _value(certificate, fact)) for name, fact in wanted]
    except chains.UNREADABLE as error:
        raise _unreadable(error) from None
    found = tuple(name + b": " + value for name, value in values if value)
    if sum(map(len, found)) > _MOST_BYTES:
        raise Refusal(
            Reason.CLIENT_CERTIFICATE_REFUSED,
            f"the fields about the client's certificate take over {_MOST_BYTES} bytes",
        )
    return found


def common_name(certificate: x509.Certificate) -> str:
    """The first common name of its subject, as it is; empty where it has none."""
    try:
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except chains.UNREADABLE:
        return ""
    return str(names[0].value) if names else ""


def _value(certificate: x509.Certificate, fact: ClientFact) -> bytes:
    match fact:
        case ClientFact.SUBJECT:
            return _printable(certificate.subject.rfc4514_string(), "")
        case ClientFact.NAMES:
            return b", ".join(_names(certificate))
        case ClientFact.FINGERPRINT:
            return certificate.fingerprint(hashes.SHA256()).hex().encode("ascii")
        case ClientFact.CERTIFICATE:
            # RFC 9440 2.1: a byte sequence of structured fields (RFC 8941 3.3.5).
            return b":" + base64.b64encode(certificate.public_bytes(Encoding.DER)) + b":"


def _unreadable(error: Exception) -> Refusal:
    return Refusal(Reason.CLIENT_CERTIFICATE_REFUSED, f"the client's certificate cannot be read: {error}")


def _names(certificate: x509.Certificate) -> Iterator[bytes]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in names:
        for kind, word in _KINDS:
            if isinstance(name, kind):
                # Separators inside a value would make two names of one (CVE-2021-44532).
                yield word.encode("ascii") + b":" + _printable(str(name.value), ',"\\ ')


def _printable(text: str, also: str) -> bytes:
    """Visible ASCII and spaces; anything else, and `also`, as RFC 4514 2.4 escapes octets: a backslash, two digits."""
    return b"".join(
        bytes([octet]) if 0x20 <= octet < 0x7F and chr(octet) not in also else b"\\%02X" % octet
        for octet in text.encode("utf-8", "surrogatepass")
    )

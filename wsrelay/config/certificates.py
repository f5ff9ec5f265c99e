"""Certificate chains and keys, read and checked before OpenSSL sees them. Knows nothing of contexts or sockets."""

import enum
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import AuthorityInformationAccessOID

from wsrelay.config.mistakes import ConfigError, Mistake
from wsrelay.config.settings import Certificate

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

# A chain is three certificates of 2 kB; a system's whole trust store is 300 kB.
_MAX_BYTES = 256 * 1024
# OpenSSL's own limit for verifying a chain is 100; none that is in use has more than 5.
_MAX_CHAIN = 10
# OpenSSL's security level 2 (112 bits) refuses shorter ones: SSL_CTX_set_security_level(3).
_MIN_RSA_BITS = 2048
_KEY_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)
# RFC 8446 4.2.7: the curves that TLS 1.3 has signatures for.
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class KeyType(enum.Enum):
    """What a certificate signs with. Certificates of different types may share a name."""

    RSA = "rsa"
    ECDSA = "ecdsa"
    EDDSA = "eddsa"


@attrs.frozen
class LoadedCertificate:
    """One certificate with its ordered chain and its key, checked against each other."""

    names: tuple[str, ...]
    """From the leaf's subjectAltName: DNS names in lower case (`*.example.com` too) and IP addresses as text."""
    chain: tuple[x509.Certificate, ...]
    """Leaf first, each signed by the next; a self-signed root is there only if the file has it."""
    key: PrivateKey = attrs.field(repr=False)
    """As pyOpenSSL's `Context.use_privatekey` takes it; never shown."""
    key_type: KeyType
    warnings: tuple[str, ...] = ()
    """What clients may stumble over: an expired certificate, a missing intermediate."""

    def chain_pem(self) -> bytes:
        """The ordered chain as PEM, for `use_certificate_chain_file`."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)


def load(certificate: Certificate, now: datetime | None = None) -> LoadedCertificate:
    """Read a chain and its key, and check that they fit.

    Args:
        certificate: Where the files are.
        now: The time to judge validity by, with a timezone; None = the present.

    Raises:
        ConfigError: Each mistake's `path` is `chain` or `key`, its `place` is None: the caller knows where they stand.
    """
    found: list[x509.Certificate] = []
    key: PrivateKey | None = None
    mistakes = []
    try:
        found = _certificates(_contents(certificate.chain))
    except ValueError as error:
        mistakes.append(Mistake(f"{certificate.chain}: {error}", "chain"))
    try:
        key = _private_key(_contents(certificate.key))
    except ValueError as error:
        mistakes.append(Mistake(f"{certificate.key}: {error}", "key"))
    if mistakes or key is None:
        raise ConfigError(tuple(mistakes))
    leaf = _leaf(found, key)
    if leaf is None:
        first = f"{certificate.chain}, whose first is for {_who(found[0])}"
        text = f"{certificate.key}: the key belongs to no certificate in {first}"
        raise ConfigError((Mistake(text, "key"),))
    try:
        chain = _ordered(leaf, found)
    except ValueError as error:
        raise ConfigError((Mistake(f"{certificate.chain}: {error}", "chain"),)) from None
    warnings = _warnings(chain, found, now or datetime.now(UTC))
    return LoadedCertificate(_names(leaf), chain, key, _key_type(key), tuple(warnings))


def _contents(path: Path) -> bytes:
    try:
        # A FIFO or a terminal would hold up the start for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("expected a file")
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read: {error.strerror}") from None
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"expected at most {_MAX_BYTES >> 10} KiB")
    return raw


def _certificates(raw: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in raw:
        raise ValueError("expected a certificate in PEM (-----BEGIN CERTIFICATE-----)")
    try:
        found = list(dict.fromkeys(x509.load_pem_x509_certificates(raw)))
    except ValueError as error:
        raise ValueError(f"a certificate in it cannot be read: {error}") from None
    if len(found) > _MAX_CHAIN:
        raise ValueError(f"expected a chain of at most {_MAX_CHAIN} certificates, found {len(found)}")
    return found


def _private_key(raw: bytes) -> PrivateKey:
    # The key may stand behind certificates or EC PARAMETERS in the same file.
    block = _KEY_BLOCK.search(raw)
    if block is None:
        raise ValueError("expected a private key in PEM (-----BEGIN PRIVATE KEY-----)")
    try:
        key = load_pem_private_key(block[0] + b"\n", None)
    except TypeError:
        raise ValueError("the key is encrypted; expected one without a passphrase (openssl pkey)") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"the private key cannot be read: {error}") from None
    match key:
        case rsa.RSAPrivateKey() if key.key_size < _MIN_RSA_BITS:
            raise ValueError(f"expected an RSA key of at least {_MIN_RSA_BITS} bits, found {key.key_size}")
        case ec.EllipticCurvePrivateKey() if not isinstance(key.curve, _CURVES):
            raise ValueError(f"expected a key on P-256, P-384 or P-521, found {key.curve.name}")
        case rsa.RSAPrivateKey() | ec.EllipticCurvePrivateKey():
            return key
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            return key
        case _:
            raise ValueError("expected an RSA, ECDSA or EdDSA key")


def _key_type(key: PrivateKey) -> KeyType:
    match key:
        case rsa.RSAPrivateKey():
            return KeyType.RSA
        case ec.EllipticCurvePrivateKey():
            return KeyType.ECDSA
        case _:
            return KeyType.EDDSA


def _leaf(found: list[x509.Certificate], key: PrivateKey) -> x509.Certificate | None:
    ours = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return next((certificate for certificate in found if _public_key(certificate) == ours), None)


def _public_key(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):  # of a kind that no private key here can be
        return None


def _ordered(leaf: x509.Certificate, found: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    chain = [leaf]
    while issuers := [other for other in found if other not in chain and _signed(chain[-1], other)]:
        # Of a root and its cross-signed twin the second leads on, to clients that know only the older root.
        chain.append(min(issuers, key=_self_signed))
    for other in found:
        # Another way up that is not taken is no harm; anything else is in the wrong file.
        if other not in chain and not any(_signed(member, other) for member in chain):
            raise ValueError(f"the certificate for {_who(other)} has no part in the chain of {_who(leaf)}")
    return tuple(chain)


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _self_signed(certificate: x509.Certificate) -> bool:
    return _signed(certificate, certificate)


def _warnings(chain: tuple[x509.Certificate, ...], found: list[x509.Certificate], now: datetime) -> Iterator[str]:
    leaf = chain[0]
    for certificate in chain:
        if now > certificate.not_valid_after_utc:
            yield f"EXPIRED on {certificate.not_valid_after_utc:%Y-%m-%d}: {_who(certificate)}; clients refuse it"
        elif now < certificate.not_valid_before_utc:
            since = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            yield f"not valid before {since}: {_who(certificate)}; clients refuse it until then"
    if len(chain) == 1 and not _self_signed(leaf):
        issuer = f"{leaf.issuer.rfc4514_string()}{_download(leaf)}"
        yield (
            f"the certificate for {_who(leaf)} stands alone: its issuer, {issuer}, is missing from the file;"
            " works in a browser, fails on Android and in WeChat (证书链不完整)"
        )
    if list(chain) != found[: len(chain)]:
        yield "the certificates are not in order, leaf first and each signed by the next; they are sent in order"
    if not _names(leaf):
        yield f"the certificate for {_who(leaf)} has no subjectAltName, so no client takes it for any name (RFC 9525 6)"


def _download(certificate: x509.Certificate) -> str:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    for description in access:
        location = description.access_location
        if description.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            return f" ({location.value})"
    return ""


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    hosts = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return (*hosts, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))


def _who(certificate: x509.Certificate) -> str:
    """Whom a certificate is for, short: its first name, or its subject."""
    names = _names(certificate)
    return names[0] if names else certificate.subject.rfc4514_string() or "nobody"

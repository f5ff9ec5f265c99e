"""Certificates and keys, read and checked before OpenSSL sees them. Knows nothing of contexts or sockets."""

import enum
import os
import re
import stat
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning

from wsrelay.config import chains
from wsrelay.config.mistakes import ConfigError, Mistake
from wsrelay.config.settings import Certificate

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

# A chain is three certificates of 2 kB; whoever names a system's whole trust store by mistake is told so sooner.
_MAX_BYTES = 256 * 1024
# A system's whole trust store has 150 certificates in 220 to 300 kB, and three times that with text between them.
_MAX_AUTHORITIES_BYTES = 1024 * 1024
# OpenSSL's own limit for verifying a chain is 100; none that is in use has more than 5.
_MAX_CHAIN = 10
# No run of dashes inside, so that a file of nothing but beginnings is read once and not from each of them anew.
_KEY_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----[^-]*+(?:-(?!----)[^-]*+)*+-----END \1PRIVATE KEY-----"
)
_LAST_LINE = re.compile(rb"-----END [A-Z0-9 ]+-----\s*")
# RFC 8446 4.2.7: the curves that TLS 1.3 has signatures for.
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
# A certificate may have a hundred names, and a line in the log is for reading.
_NAMES_SHOWN = 3


class KeyType(enum.Enum):
    """What a certificate signs with. Certificates of different types may share a name."""

    RSA = "rsa"
    ECDSA = "ecdsa"
    EDDSA = "eddsa"


@attrs.frozen
class LoadedCertificate:
    """One certificate with its ordered chain and its key, checked against each other.

    As text it is what an operator wants to know of it: `a.example, b.example (ecdsa) until 2026-12-24`.
    """

    names: tuple[str, ...]
    """From the leaf's subjectAltName: DNS names in lower case (`*.example.com` too) and IP addresses as text."""
    chain: tuple[x509.Certificate, ...]
    """Leaf first, each signed by the next; a self-signed root is there only if the file has it."""
    key: PrivateKey = attrs.field(repr=False)
    """As pyOpenSSL's `Context.use_privatekey` takes it; never shown."""
    key_type: KeyType
    warnings: tuple[str, ...] = ()
    """What the other side may stumble over: an expired certificate, a missing intermediate."""

    @property
    def expires(self) -> datetime:
        """When the first of the chain expires, in UTC; from then on nobody takes it."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    def chain_pem(self) -> bytes:
        """The ordered chain as PEM, for `use_certificate_chain_file`."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    def __str__(self) -> str:
        shown = ", ".join(self.names[:_NAMES_SHOWN]) or chains.who(self.chain[0])
        more = len(self.names) - _NAMES_SHOWN
        rest = f" and {more} more" if more > 0 else ""
        return f"{shown}{rest} ({self.key_type.value}) until {self.expires:%Y-%m-%d}"


@attrs.frozen
class LoadedAuthorities:
    """Certificates of those who vouch for others: for clients (`client_ca`) or for an upstream (`tls.ca`)."""

    certificates: tuple[x509.Certificate, ...]
    """In the file's order, each once, at least one."""
    warnings: tuple[str, ...] = ()
    """Which of them vouch for nobody, or soon will: expired, not yet valid, no authority at all."""


def load(certificate: Certificate, now: datetime | None = None) -> LoadedCertificate:
    """Read a chain and its key that clients are to be served with, and check that they fit.

    Args:
        certificate: Where the files are.
        now: The time to judge validity by, with a timezone; None = the present.

    Raises:
        ConfigError: Each mistake's `path` is `chain` or `key`, its `place` is None: the caller knows where they stand.
    """
    found, loaded = _load(certificate)
    doubts = [*chains.doubts(loaded.chain, now or datetime.now(UTC)), *_disorder(found, loaded.chain)]
    return attrs.evolve(loaded, warnings=tuple(doubts))


def load_own(certificate: Certificate, now: datetime | None = None) -> LoadedCertificate:
    """Read a chain and its key that an upstream is to be shown; its warnings leave out what only servers need.

    The arguments and errors are those of `load`.
    """
    found, loaded = _load(certificate)
    doubts = [*chains.weaknesses(loaded.chain, now or datetime.now(UTC)), *_disorder(found, loaded.chain)]
    return attrs.evolve(loaded, warnings=tuple(doubts))


def load_authorities(path: Path, now: datetime | None = None) -> LoadedAuthorities:
    """Read the certificates of authorities.

    Args:
        path: A PEM file.
        now: The time to judge validity by, with a timezone; None = the present.

    Raises:
        ConfigError: Its one mistake's `path` is `ca`, its `place` is None: the caller knows where it stands.
    """
    with warnings.catch_warnings():
        # Some roots of the systems' stores have serial numbers that RFC 5280 does not allow; nobody here can help it.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            raw = _contents(path, _MAX_AUTHORITIES_BYTES)
            # Whoever can read it can vouch for anybody: it has no place at the edge, and was hardly meant.
            if _KEY_BLOCK.search(raw):
                raise ValueError("expected certificates only, found a private key")
            found = _certificates(raw)
        except ValueError as error:
            raise ConfigError((Mistake(f"{path}: {error}", "ca"),)) from None
        return LoadedAuthorities(tuple(found), tuple(_authority_doubts(found, now or datetime.now(UTC))))


def covers(names: tuple[str, ...], host: str) -> bool:
    """Say whether a certificate for these names is one for this host (RFC 9525 6.3).

    A wildcard stands for exactly one label, the left-most, and for no part of one; addresses have none.

    Args:
        names: As `LoadedCertificate` has them.
        host: A name in ASCII, in any case, with or without a dot at its end; or an IP address without brackets.
    """
    address = chains.address(host)
    if address is not None:
        return address in names
    host = host.lower().removesuffix(".")
    label, _, rest = host.partition(".")
    return host in names or (bool(label) and f"*.{rest}" in names)


def _load(certificate: Certificate) -> tuple[list[x509.Certificate], LoadedCertificate]:
    found: list[x509.Certificate] = []
    key: PrivateKey | None = None
    mistakes = []
    try:
        found = _certificates(_contents(certificate.chain, _MAX_BYTES))
        if len(found) > _MAX_CHAIN:
            raise ValueError(f"expected a chain of at most {_MAX_CHAIN} certificates, found {len(found)}")
    except ValueError as error:
        mistakes.append(Mistake(f"{certificate.chain}: {error}", "chain"))
    try:
        key = _private_key(_contents(certificate.key, _MAX_BYTES))
    except ValueError as error:
        mistakes.append(Mistake(f"{certificate.key}: {error}", "key"))
    if mistakes or key is None:
        raise ConfigError(tuple(mistakes))
    leaf = _leaf(found, key)
    if leaf is None:
        first = f"{certificate.chain}, whose first is for {chains.who(found[0])}"
        text = f"{certificate.key}: the key belongs to no certificate in {first}"
        raise ConfigError((Mistake(text, "key"),))
    try:
        chain = chains.ordered(leaf, found)
    except ValueError as error:
        raise ConfigError((Mistake(f"{certificate.chain}: {error}", "chain"),)) from None
    return found, LoadedCertificate(chains.names(leaf), chain, key, _key_type(key))


def _disorder(found: list[x509.Certificate], chain: tuple[x509.Certificate, ...]) -> Iterator[str]:
    if list(chain) != found[: len(chain)]:
        yield "the certificates are not in order, leaf first and each signed by the next; they are sent in order"


def _authority_doubts(found: list[x509.Certificate], now: datetime) -> Iterator[str]:
    for certificate in found:
        yield from chains.age(certificate, now, "it vouches for nobody")
        if not chains.is_authority(certificate):
            yield f"{chains.who(certificate)} is no authority (RFC 5280 4.2.1.9): it vouches for itself alone"


def _contents(path: Path, most: int) -> bytes:
    try:
        # A FIFO or a terminal would hold up the start for ever, and one that has just taken the file's place a renewal.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("expected a file")
            with open(descriptor, "rb", closefd=False) as file:
                raw = file.read(most + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(f"cannot read: {error.strerror}") from None
    if len(raw) > most:
        raise ValueError(f"expected at most {most >> 10} KiB")
    return raw


def _certificates(raw: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in raw:
        raise ValueError("expected a certificate in PEM (-----BEGIN CERTIFICATE-----)")
    # The library passes over a block without its end; of a file that is half written, half a chain would be served.
    last = raw[raw.rfind(b"\n") + 1 :]
    whole = _LAST_LINE.fullmatch(last) or not last.startswith(b"-----")
    if not whole or raw.count(b"-----BEGIN ") != raw.count(b"-----END "):
        raise ValueError("cut short: a block in it has no end")
    try:
        return list(dict.fromkeys(x509.load_pem_x509_certificates(raw)))
    except chains.UNREADABLE as error:
        raise ValueError(f"a certificate in it cannot be read: {error}") from None


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
        case rsa.RSAPrivateKey() if key.key_size < chains.MIN_RSA_BITS:
            raise ValueError(f"expected an RSA key of at least {chains.MIN_RSA_BITS} bits, found {key.key_size}")
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

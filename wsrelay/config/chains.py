"""What certificates say: whose they are, who signed whom, and what clients may stumble over. Reads none of ours."""

import functools
import ipaddress
import os
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from OpenSSL import crypto

UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What cryptography raises for a certificate, or a part of one, that OpenSSL takes and it does not understand."""

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

# OpenSSL's security level 2 asks for 112 bits: RSA and DSA of 2048, a curve of 224 (NIST SP 800-57 part 1, 5.6.1.1).
MIN_RSA_BITS = 2048
_MIN_CURVE_BITS = 224

# Two weekends to act in. certbot renews 30 days before the end of 90, and short-lived ones at a half or a third of
# their time: less than a fifth left means that renewing has failed for a while.
_SOON = timedelta(days=14)
_SOON_PART = 5

_BROKEN_HASHES = {"md5": "MD5", "sha1": "SHA-1"}
_FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

# X509_STORE_CTX_get_error(3): UNABLE_TO_GET_ISSUER_CERT, CERT_SIGNATURE_FAILURE (another of the same name),
# UNABLE_TO_GET_ISSUER_CERT_LOCALLY, UNABLE_TO_VERIFY_LEAF_SIGNATURE.
_NO_ISSUER = {2, 7, 20, 21}


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Whom it is for, by its subjectAltName: DNS names in lower case and IP addresses as text; nothing else counts.

    An address that is written as a DNS name is nobody's: clients look for it among the addresses (RFC 9525 6.5).
    """
    found = _extension(certificate, x509.SubjectAlternativeName)
    if found is None:
        return ()
    hosts = [name.lower() for name in found.get_values_for_type(x509.DNSName) if address(name) is None]
    return (*hosts, *(str(each) for each in found.get_values_for_type(x509.IPAddress)))


def address(host: str) -> str | None:
    """The host as `names` has it if it is an IP address; None for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def who(certificate: x509.Certificate) -> str:
    """Whom a certificate is for, short: its first name, or its subject."""
    found = names(certificate)
    return found[0] if found else certificate.subject.rfc4514_string() or "nobody"


def is_authority(certificate: x509.Certificate) -> bool:
    """Say whether it may sign others (RFC 5280 4.2.1.9)."""
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def ordered(leaf: x509.Certificate, found: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Put them in order, the leaf first and each signed by the next.

    Raises:
        ValueError: One of them has no part in the leaf's chain, or a key that OpenSSL does not take.
    """
    chain = [leaf]
    while issuers := [other for other in found if other not in chain and _signed(chain[-1], other)]:
        # Of a root and its cross-signed twin the second leads on, to clients that know only the older root.
        chain.append(min(issuers, key=_self_signed))
    for other in found:
        # Another way up that is not taken is no harm; anything else is in the wrong file.
        if other not in chain and not any(_signed(member, other) for member in chain):
            raise ValueError(f"the certificate for {who(other)} has no part in the chain of {who(leaf)}")
    for other in chain:
        if _is_weak(other):
            raise ValueError(f"the key of {who(other)} is too short for TLS (below 112 bits of security)")
    return tuple(chain)


def age(certificate: x509.Certificate, now: datetime, otherwise: str) -> Iterator[str]:
    """Say what its dates are a reason for, if anything.

    Args:
        certificate: Any.
        now: The time to judge by, with a timezone.
        otherwise: What happens outside those dates, such as "clients refuse it".
    """
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    left = last - now
    if now > last:
        yield f"EXPIRED on {last:%Y-%m-%d}: {who(certificate)}; {otherwise}"
    elif now < first:
        yield f"not valid before {first:%Y-%m-%d %H:%M} UTC: {who(certificate)}; {otherwise} until then"
    elif left < min(_SOON, (last - first) / _SOON_PART):
        days = f"in {left.days} day{'s' if left.days > 1 else ''}" if left.days else "within a day"
        yield f"EXPIRES on {last:%Y-%m-%d %H:%M} UTC, {days}: {who(certificate)}; {otherwise} after that"


def doubts(chain: tuple[x509.Certificate, ...], now: datetime) -> Iterator[str]:
    """Say what clients may refuse of an ordered chain that a server sends them."""
    leaf = chain[0]
    yield from weaknesses(chain, now)
    yield from _missing(chain)
    if not names(leaf):
        yield f"the certificate for {who(leaf)} has no subjectAltName, so no client takes it for any name (RFC 9525 6)"
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    if extended is not None and _FOR_SERVERS.isdisjoint(extended):
        yield f"the certificate for {who(leaf)} is not for servers (extendedKeyUsage); iOS and WeChat refuse it"
    usage = _extension(leaf, x509.KeyUsage)
    # RFC 8446 4.4.2.2; in TLS 1.2 only the key exchange of RSA, which we do not speak, goes without a signature.
    if usage is not None and not usage.digital_signature:
        yield f"the key of {who(leaf)} may not sign (keyUsage lacks digitalSignature); browsers and iOS refuse it"


def weaknesses(chain: tuple[x509.Certificate, ...], now: datetime) -> Iterator[str]:
    """Say what anybody may refuse of an ordered chain, whoever sends it: dates and signatures."""
    for certificate in chain:
        yield from age(certificate, now, "clients refuse it")
        broken = _broken_hash(certificate)
        # Nobody verifies a root's signature on itself.
        if broken and not _self_signed(certificate):
            yield f"signed with {broken}: {who(certificate)}; clients refuse it"


def _missing(chain: tuple[x509.Certificate, ...]) -> Iterator[str]:
    """Say that an intermediate is missing, where that can be known.

    That a leaf alone lacks one is as good as sure: authorities that everybody trusts do not sign with their roots.
    Behind an intermediate, its issuer is nearly always a root, which is rightly not there. It is none if the
    intermediate says so, and probably none if the leaf has been logged as those of public authorities are, and
    the system's store, which has their roots, does not know it.
    """
    leaf, last = chain[0], chain[-1]
    if _self_signed(last):
        return
    known = _issuer_is_known(last)
    issuer = f"{last.issuer.rfc4514_string()}{_download(last)}"
    harm = "works in a browser, fails on Android and in WeChat (证书链不完整)"
    if known:
        return
    if len(chain) == 1:
        text = f"the certificate for {who(leaf)} stands alone: its issuer, {issuer}, is missing from the file"
        yield f"{text}; {harm}"
    elif _says_issuer_is_no_root(last):
        yield f"the chain of {who(leaf)} ends too early: an intermediate, {issuer}, is missing from the file; {harm}"
    elif known is False and _is_logged(leaf):
        yield (
            f"the chain of {who(leaf)} may end too early: {issuer}, who signed its last certificate, is not among"
            f" the system's roots; without an intermediate it {harm}"
        )


def _says_issuer_is_no_root(certificate: x509.Certificate) -> bool:
    # RFC 5280 4.2.1.1: this is the issuer's own issuer, and a root's is itself.
    identifier = _extension(certificate, x509.AuthorityKeyIdentifier)
    return identifier is not None and any(
        isinstance(name, x509.DirectoryName) and name.value != certificate.issuer
        for name in identifier.authority_cert_issuer or ()
    )


def _is_logged(leaf: x509.Certificate) -> bool:
    # RFC 6962 3.3. Browsers demand it of public authorities, and private ones have no log to go to.
    return _extension(leaf, x509.PrecertificateSignedCertificateTimestamps) is not None


def _issuer_is_known(certificate: x509.Certificate) -> bool | None:
    """Say whether the system's store leads from its issuer to a root; None where there is no store to ask."""
    places = ssl.get_default_verify_paths()
    # Debian has the folder only, others the file only; an empty folder is there without any certificate, too.
    if places.cafile is None and not (places.capath and any(Path(places.capath).glob("*.0"))):
        return None
    try:
        found = os.stat(places.cafile or places.capath)
        store = _store(places.cafile, places.capath, (found.st_ino, found.st_size, found.st_mtime_ns))
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(certificate)).verify_certificate()
    except crypto.X509StoreContextError as error:
        return error.errors[0] not in _NO_ISSUER  # any other fault was found behind the issuer
    except (crypto.Error, OSError):
        return None
    return True


@functools.lru_cache(maxsize=1)
def _store(file: str | None, folder: str | None, version: tuple[int, ...]) -> crypto.X509Store:
    # To read a whole store takes 5 ms, and a listener may have a hundred certificates.
    store = crypto.X509Store()
    store.load_locations(file, folder)
    return store


def _is_weak(certificate: x509.Certificate) -> bool:
    """Say whether OpenSSL's security level 2 refuses its key, SSL_CTX_set_security_level(3)."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):  # behind a signature that was not verified
        return False
    match key:
        case rsa.RSAPublicKey() | dsa.DSAPublicKey():
            return key.key_size < MIN_RSA_BITS
        case ec.EllipticCurvePublicKey():
            return key.key_size < _MIN_CURVE_BITS
        case _:
            return False


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    if _broken_hash(certificate):
        return True  # the library does not verify such signatures any more; the name has to do
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _self_signed(certificate: x509.Certificate) -> bool:
    return _signed(certificate, certificate)


def _broken_hash(certificate: x509.Certificate) -> str | None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    return None if algorithm is None else _BROKEN_HASHES.get(algorithm.name)


def _download(certificate: x509.Certificate) -> str:
    for description in _extension(certificate, x509.AuthorityInformationAccess) or ():
        location = description.access_location
        if description.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            return f" ({location.value})"
    return ""


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None

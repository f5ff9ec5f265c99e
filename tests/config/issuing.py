"""Certificates made on the spot: roots, chains, and whatever is wrong with them."""

import ipaddress
from datetime import UTC, datetime, timedelta

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@attrs.frozen
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def issue(
    common: str,
    issuer: Issued | None = None,
    *,
    names: tuple[str, ...] = (),
    key: Key | None = None,
    since: datetime | None = None,
    days: int = 90,
    url: str | None = None,
    method: x509.ObjectIdentifier = AuthorityInformationAccessOID.CA_ISSUERS,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> Issued:
    """Sign a certificate; self-signed without an issuer, an authority without names unless `extensions` say more."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    since = since or datetime.now(UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder(
        issuer_name=issuer.certificate.subject if issuer else name(common),
        subject_name=name(common),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=since,
        not_valid_after=since + timedelta(days=days),
    )
    if not any(isinstance(each, x509.BasicConstraints) for each in extensions):
        extensions = (x509.BasicConstraints(ca=not names, path_length=None), *extensions)
    for each in extensions:
        builder = builder.add_extension(each, critical=isinstance(each, x509.BasicConstraints))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general(one) for one in names]), critical=False)
    if url:
        location = x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        builder = builder.add_extension(x509.AuthorityInformationAccess([location]), critical=False)
    signer = issuer.key if issuer else key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signer, algorithm), key)


def with_sha1(issued: Issued, signer: Issued) -> Issued:
    """The same certificate of an RSA key's, signed with SHA-1, which the library does not do any more.

    `sha1WithRSAEncryption` and `sha256WithRSAEncryption` (RFC 8017 appendix C) differ in their last byte.
    """
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    arc = bytes.fromhex("06092a864886f70d0101")
    signed = issued.certificate.tbs_certificate_bytes.replace(arc + b"\x0b", arc + b"\x05")
    signature = signer.key.sign(signed, padding.PKCS1v15(), hashes.SHA1())
    whole = issued.certificate.public_bytes(Encoding.DER).replace(arc + b"\x0b", arc + b"\x05")
    return Issued(x509.load_der_x509_certificate(whole[: -len(signature)] + signature), issued.key)


def general(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)

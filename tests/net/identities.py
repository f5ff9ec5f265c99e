"""Certificates of clients, made on the spot: good ones, and whatever can be wrong with them or hostile in them."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
_NUMBERS = count()


@attrs.frozen
class Identity:
    """A certificate with its key, and those between it and its root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()
    """What is sent behind it."""

    raw: bytes = b""
    """What is sent in place of the certificate, where no library would make it."""

    @property
    def der(self) -> bytes:
        return self.raw or self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return ssl.DER_cert_to_PEM_cert(self.der).encode()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Its chain and its key as files."""
        chain, key = (folder / f"identity-{next(_NUMBERS)}-{what}.pem" for what in ("chain", "key"))
        chain.write_bytes(self.pem + b"".join(each.public_bytes(Encoding.PEM) for each in self.above))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return chain, key


def named(**parts: str) -> x509.Name:
    """A subject, its parts in this order: `organization_name`, `common_name` and whatever else NameOID has."""
    return x509.Name([x509.NameAttribute(getattr(NameOID, part.upper()), text) for part, text in parts.items()])


def authority(name: str, by: Identity | None = None, *, days: tuple[int, int] = (-1, 1)) -> Identity:
    """A root, or an intermediate."""
    says = [(x509.BasicConstraints(ca=True, path_length=None), True), (_key_usage(signs=True), True)]
    return _signed(named(common_name=name), by, says, days)


def client(
    by: Identity | None,
    subject: x509.Name | None = None,
    names: Sequence[x509.GeneralName] = (),
    *,
    usages: Sequence[ObjectIdentifier] = (CLIENT,),
    days: tuple[int, int] = (-1, 1),
    more: Sequence[x509.ExtensionType] = (),
) -> Identity:
    """A client's certificate; signed by itself without `by`.

    Args:
        by: Who signs it.
        subject: None is one with the common name `client`.
        names: Its subjectAltNames; without any it has no such extension.
        usages: What it is good for; without any it does not say.
        days: From when to when it is valid, in days from now.
        more: Further extensions.
    """
    extensions: list[tuple[x509.ExtensionType, bool]] = [(_key_usage(signs=False), True)]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    if usages:
        extensions.append((x509.ExtendedKeyUsage(usages), False))
    extensions += [(each, False) for each in more]
    return _signed(named(common_name="client") if subject is None else subject, by, extensions, days)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _signed(
    subject: x509.Name,
    by: Identity | None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    days: tuple[int, int] = (-1, 1),
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=by.certificate.subject if by else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now + timedelta(days=days[0]),
        not_valid_after=now + timedelta(days=days[1]),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    # A root is nothing that anybody sends.
    above = (by.certificate, *by.above) if by and by.certificate.issuer != by.certificate.subject else ()
    return Identity(certificate, key, above)


def patched(identity: Identity, by: Identity, old: bytes = b"WXYZ", new: bytes = b"\xff\xfe\xc0\x80") -> Identity:
    """The same with other bytes of the same number in it, signed anew: what no library would make."""
    content = identity.certificate.tbs_certificate_bytes.replace(old, new)
    signature = by.key.sign(content, ec.ECDSA(hashes.SHA256()))
    # RFC 5280 4.1: what is signed, ecdsa-with-SHA256 (RFC 5758 3.2), and the signature as a bit string.
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    whole = _der(0x30, content + algorithm + _der(0x03, b"\x00" + signature))
    return attrs.evolve(identity, raw=whole)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content

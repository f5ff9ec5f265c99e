"""A certificate for this machine's own names, made on the spot. Nobody vouches for it."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wsrelay.config.settings import Certificate

_VALID = datetime.timedelta(days=30)
# The clock of a virtual machine may lag.
_CLOCK_SKEW = datetime.timedelta(hours=1)


def make_certificate(folder: Path, now: datetime.datetime | None = None) -> Certificate:
    """Make a key (P-256, readable by this user alone) and a self-signed certificate for this machine's own names.

    Args:
        folder: Where both files go; earlier ones are replaced.
        now: The moment it is valid from, give or take an hour, and for 30 days.

    Raises:
        OSError: The files cannot be written.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    made = Certificate(chain=folder / "demo-certificate.pem", key=folder / "demo-key.pem")
    _write_private(
        made.key,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    made.chain.write_bytes(_self_signed(key, now).public_bytes(serialization.Encoding.PEM))
    return made


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    # EXCL: the mode of a file that is there already would stay, and so would a link to elsewhere.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wsrelay demo")])
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID)
        .add_extension(names, critical=False)
        # No CA: whoever takes the key can pose as localhost with it, and as nobody else.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())

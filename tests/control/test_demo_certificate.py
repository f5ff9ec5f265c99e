"""The demo's certificate: for this machine's names, for a month, with a key nobody else can read."""

import datetime
import ipaddress
import os
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from wsrelay.config import certificates
from wsrelay.control.demo_certificate import make_certificate

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def made(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(make_certificate(folder, NOW).chain.read_bytes())


def test_it_is_for_the_names_of_this_machine(tmp_path: Path) -> None:
    names = made(tmp_path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]


def test_it_is_valid_for_thirty_days_and_on_a_clock_that_lags(tmp_path: Path) -> None:
    certificate = made(tmp_path)
    assert certificate.not_valid_before_utc == NOW - datetime.timedelta(hours=1)
    assert certificate.not_valid_after_utc == NOW + datetime.timedelta(days=30)


def test_it_can_sign_no_other_certificate(tmp_path: Path) -> None:
    constraints = made(tmp_path).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca


def test_its_key_is_p256_belongs_to_it_and_is_private(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, NOW)
    key = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert stat.S_IMODE(certificate.key.stat().st_mode) == 0o600
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(certificate.chain))
    context.use_privatekey_file(str(certificate.key))
    context.check_privatekey()


def test_an_earlier_key_is_replaced_and_a_link_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    os.symlink(elsewhere, tmp_path / "demo-key.pem")
    first = make_certificate(tmp_path, NOW).key.read_bytes()
    assert make_certificate(tmp_path, NOW).key.read_bytes() != first
    assert elsewhere.read_text() == "untouched"


def test_the_relay_accepts_it_today(tmp_path: Path) -> None:
    assert certificates.load(make_certificate(tmp_path))

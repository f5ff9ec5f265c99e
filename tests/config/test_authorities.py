"""Files of authorities (`certificates.load_authorities`): for `client_ca` and an upstream's `ca`."""

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from tests.config.issuing import issue, name
from wsrelay.config import certificates
from wsrelay.config.certificates import LoadedAuthorities
from wsrelay.config.mistakes import ConfigError

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
LONG = timedelta(days=2000)
ONE, TWO = issue("One"), issue("Two")


def load(pem: bytes, now: datetime | None = None) -> LoadedAuthorities:
    Path("ca.pem").write_bytes(pem)
    return certificates.load_authorities(Path("ca.pem"), now)


def mistake(pem: bytes) -> str:
    with pytest.raises(ConfigError) as error:
        load(pem)
    (found,) = error.value.mistakes
    assert (found.path, found.place) == ("ca", None)
    return found.text


def test_all_of_a_file_are_loaded_in_order_and_each_once(site: Path) -> None:
    loaded = load(TWO.pem + b"# a comment\n" + ONE.pem + TWO.pem)
    assert loaded.certificates == (TWO.certificate, ONE.certificate)
    assert loaded.warnings == ()


def test_a_whole_trust_store_is_taken(site: Path) -> None:
    store = b"".join(issue(f"CA {number}").pem for number in range(200)) + b"#" * 700_000
    assert len(load(store).certificates) == 200


def test_a_file_beyond_any_trust_store_is_not_read_to_its_end(site: Path) -> None:
    assert mistake(ONE.pem + b"#" * 1024 * 1024) == "ca.pem: expected at most 1024 KiB"


@pytest.mark.parametrize("pem", [b"", b"\x30\x82\x01\x0a", ONE.certificate.public_bytes(Encoding.DER), b"hello\n"])
def test_a_file_without_a_certificate_is_a_mistake(site: Path, pem: bytes) -> None:
    assert mistake(pem) == "ca.pem: expected a certificate in PEM (-----BEGIN CERTIFICATE-----)"


@pytest.mark.parametrize("kind", [b"", b"EC ", b"RSA ", b"ENCRYPTED "])
def test_a_private_key_has_no_place_there(site: Path, kind: bytes) -> None:
    key = ONE.key_pem.replace(b" PRIVATE", b" " + kind + b"PRIVATE")
    assert mistake(ONE.pem + key) == "ca.pem: expected certificates only, found a private key"
    assert mistake(key) == "ca.pem: expected certificates only, found a private key"


def test_a_file_that_is_half_written_is_a_mistake(site: Path) -> None:
    assert mistake(ONE.pem + TWO.pem[:-40]) == "ca.pem: cut short: a block in it has no end"


def test_one_that_is_damaged_is_a_mistake(site: Path) -> None:
    lines = TWO.pem.splitlines()
    told = mistake(ONE.pem + b"\n".join([lines[0], b"AAAA", *lines[3:]]))
    assert told.startswith("ca.pem: a certificate in it cannot be read: ")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("missing.pem", "cannot read: No such file or directory"),
        ("folder", "expected a file"),
        ("fifo", "expected a file"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_mistake(site: Path, path: str, told: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("fifo")
    with pytest.raises(ConfigError) as error:
        certificates.load_authorities(Path(path))
    assert [str(each) for each in error.value.mistakes] == [f"ca: {path}: {told}"]


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (SINCE, []),
        (
            SINCE - timedelta(minutes=1),
            ["not valid before 2026-01-01 00:00 UTC: CN=Short; it vouches for nobody until then"],
        ),
        (SINCE + timedelta(days=51), ["EXPIRED on 2026-02-20: CN=Short; it vouches for nobody"]),
        (
            SINCE + timedelta(days=45),
            ["EXPIRES on 2026-02-20 00:00 UTC, in 5 days: CN=Short; it vouches for nobody after that"],
        ),
    ],
)
def test_authorities_that_vouch_for_nobody_are_told(site: Path, now: datetime, told: list[str]) -> None:
    long = issue("Long", since=SINCE - LONG / 2, days=LONG.days)
    short = issue("Short", since=SINCE, days=50)
    assert list(load(long.pem + short.pem, now).warnings) == told


def test_one_that_is_no_authority_is_told(site: Path) -> None:
    loaded = load(ONE.pem + issue("a.test", ONE, names=("a.test",)).pem)
    assert loaded.warnings == ("a.test is no authority (RFC 5280 4.2.1.9): it vouches for itself alone",)


def plain(serial: int) -> x509.Certificate:
    """A root without any extension."""
    builder = x509.CertificateBuilder(name("Old"), name("Old"), ONE.key.public_key(), serial, SINCE, SINCE + LONG)
    return builder.sign(ONE.key, hashes.SHA256())


def test_one_that_says_nothing_of_it_is_no_authority(site: Path) -> None:
    """What needs no basicConstraints is version 1 of X.509 (RFC 5280 6.1.4 k)."""
    (warning,) = load(plain(1).public_bytes(Encoding.PEM), SINCE).warnings
    assert warning.startswith("CN=Old is no authority")


def test_a_root_with_a_serial_number_of_old_times_is_taken(site: Path) -> None:
    """Some in the systems' stores are negative; to the library that is worth a warning each, to operators it is not."""
    negative = plain(0x55).public_bytes(Encoding.DER).replace(b"\x02\x01\x55", b"\x02\x01\xd5", 1)
    with pytest.warns(CryptographyDeprecationWarning):
        x509.load_der_x509_certificate(negative)
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(negative) + b"-----END CERTIFICATE-----\n"
    assert len(load(pem).certificates) == 1

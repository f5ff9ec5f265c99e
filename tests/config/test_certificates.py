import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from tests.config.issuing import issue
from wsrelay.config import certificates
from wsrelay.config.certificates import KeyType, LoadedCertificate
from wsrelay.config.mistakes import ConfigError
from wsrelay.config.settings import Certificate

ROOT = issue("Root")
MIDDLE = issue("Middle", ROOT)
LEAF = issue("example.com", MIDDLE, names=("Example.com", "*.example.com", "192.0.2.1"), url="http://ca.test/m.der")


def load(chain: bytes, key: bytes, now: datetime | None = None) -> LoadedCertificate:
    Path("chain.pem").write_bytes(chain)
    Path("key.pem").write_bytes(key)
    return certificates.load(Certificate(Path("chain.pem"), Path("key.pem")), now)


def mistakes(chain: bytes, key: bytes) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(chain, key)
    return [str(mistake) for mistake in error.value.mistakes]


def test_a_good_chain_is_loaded_with_its_names(site: Path) -> None:
    loaded = load(LEAF.pem + MIDDLE.pem, LEAF.key_pem)
    assert loaded.names == ("example.com", "*.example.com", "192.0.2.1")
    assert loaded.chain == (LEAF.certificate, MIDDLE.certificate)
    assert loaded.key_type is KeyType.ECDSA
    assert loaded.warnings == ()
    assert loaded.chain_pem() == LEAF.pem + MIDDLE.pem


def test_a_key_is_not_shown_where_the_value_is(site: Path) -> None:
    assert "key=" not in repr(load(LEAF.pem + MIDDLE.pem, LEAF.key_pem))


def test_openssl_takes_what_was_loaded(site: Path) -> None:
    loaded = load(MIDDLE.pem + LEAF.pem, LEAF.key_pem)
    Path("ordered.pem").write_bytes(loaded.chain_pem())
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file("ordered.pem")
    context.use_privatekey(loaded.key)
    context.check_privatekey()


def test_a_chain_in_another_order_is_put_in_order_with_a_warning(site: Path) -> None:
    loaded = load(MIDDLE.pem + LEAF.pem, LEAF.key_pem)
    assert loaded.chain == (LEAF.certificate, MIDDLE.certificate)
    assert loaded.warnings == (
        "the certificates are not in order, leaf first and each signed by the next; they are sent in order",
    )


def test_what_clients_may_refuse_is_warned_of(site: Path) -> None:
    (warning,) = load(LEAF.pem, LEAF.key_pem).warnings
    assert warning.startswith("the certificate for example.com stands alone: ")


def test_what_is_shown_to_an_upstream_needs_nothing_of_a_server(site: Path) -> None:
    own = issue("relay", issue("Root"), extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),))
    Path("own.pem").write_bytes(own.pem + own.key_pem)
    certificate = Certificate(Path("own.pem"), Path("own.pem"))
    assert certificates.load_own(certificate).warnings == ()
    later = own.certificate.not_valid_after_utc + timedelta(days=1)
    (warning,) = certificates.load_own(certificate, later).warnings
    assert warning.startswith("EXPIRED on ")


def test_validity_is_judged_by_the_time_given(site: Path) -> None:
    own = issue("a.test", names=("a.test",), since=datetime(2026, 1, 1, tzinfo=UTC))
    assert load(own.pem, own.key_pem, datetime(2026, 1, 2, tzinfo=UTC)).warnings == ()
    assert load(own.pem, own.key_pem, datetime(2027, 1, 1, tzinfo=UTC)).warnings != ()


def test_a_certificate_expires_with_the_first_of_its_chain(site: Path) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    middle = issue("Middle", ROOT, since=since, days=20)
    leaf = issue("a.test", middle, names=("a.test",), since=since, days=90)
    assert load(leaf.pem + middle.pem, leaf.key_pem).expires == since + timedelta(days=20)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a.test", "b.test"), "a.test, b.test (ecdsa) until 2026-04-01"),
        (("a.test", "b.test", "c.test"), "a.test, b.test, c.test (ecdsa) until 2026-04-01"),
        (
            ("a.test", "b.test", "c.test", "d.test", "e.test"),
            "a.test, b.test, c.test and 2 more (ecdsa) until 2026-04-01",
        ),
        ((), "CN=a (ecdsa) until 2026-04-01"),
    ],
)
def test_as_text_a_certificate_says_whose_it_is_and_until_when(site: Path, names: tuple[str, ...], told: str) -> None:
    own = issue("a", names=names, since=datetime(2026, 1, 1, tzinfo=UTC))
    assert str(load(own.pem, own.key_pem)) == told


def test_a_certificate_that_stands_twice_in_the_file_counts_once(site: Path) -> None:
    assert len(load(LEAF.pem + LEAF.pem + MIDDLE.pem, LEAF.key_pem).chain) == 2


def test_a_certificate_of_another_chain_is_a_mistake(site: Path) -> None:
    other = issue("other.test", ROOT, names=("other.test",))
    assert mistakes(LEAF.pem + MIDDLE.pem + other.pem, LEAF.key_pem) == [
        "chain: chain.pem: the certificate for other.test has no part in the chain of example.com"
    ]


def test_a_key_of_another_certificate_is_a_mistake(site: Path) -> None:
    assert mistakes(LEAF.pem + MIDDLE.pem, ROOT.key_pem) == [
        "key: key.pem: the key belongs to no certificate in chain.pem, whose first is for example.com"
    ]


def test_both_files_are_told_when_both_are_wrong(site: Path) -> None:
    assert mistakes(LEAF.key_pem, LEAF.pem) == [
        "chain: chain.pem: expected a certificate in PEM (-----BEGIN CERTIFICATE-----)",
        "key: key.pem: expected a private key in PEM (-----BEGIN PRIVATE KEY-----)",
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("missing.pem", "cannot read: No such file or directory"),
        ("folder", "expected a file"),
        ("fifo", "expected a file"),
        ("large.pem", "expected at most 256 KiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_mistake(site: Path, path: str, told: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("fifo")
    Path("large.pem").write_bytes(b"x" * (256 * 1024 + 1))
    with pytest.raises(ConfigError) as error:
        certificates.load(Certificate(Path(path), Path(path)))
    assert [str(mistake) for mistake in error.value.mistakes] == [f"chain: {path}: {told}", f"key: {path}: {told}"]


def test_a_certificate_that_is_damaged_is_a_mistake(site: Path) -> None:
    lines = LEAF.pem.splitlines()
    told = mistakes(b"\n".join([lines[0], b"AAAA", *lines[3:]]), LEAF.key_pem)
    assert told[0].startswith("chain: chain.pem: a certificate in it cannot be read: ")


@pytest.mark.parametrize("cut", [1, 30, 60, 200, len(MIDDLE.pem) - 26, len(MIDDLE.pem) - 2])
def test_a_chain_that_is_half_written_is_a_mistake(site: Path, cut: int) -> None:
    """The library passes over what has no end, and a leaf alone would be served."""
    cut += len("-----BEGIN") if cut == 1 else 0
    assert mistakes(LEAF.pem + MIDDLE.pem[:cut], LEAF.key_pem) == [
        "chain: chain.pem: cut short: a block in it has no end"
    ]


def test_a_chain_without_a_line_feed_at_its_end_is_whole(site: Path) -> None:
    assert len(load(LEAF.pem + MIDDLE.pem.rstrip(), LEAF.key_pem).chain) == 2
    assert len(load(LEAF.pem.replace(b"\n", b"\r\n") + MIDDLE.pem + b"\n\n", LEAF.key_pem).chain) == 2


def test_a_key_that_is_half_written_is_a_mistake(site: Path) -> None:
    assert mistakes(LEAF.pem, LEAF.key_pem[:-3]) == [
        "key: key.pem: expected a private key in PEM (-----BEGIN PRIVATE KEY-----)"
    ]


def test_a_key_that_is_damaged_is_a_mistake(site: Path) -> None:
    lines = LEAF.key_pem.splitlines()
    told = mistakes(LEAF.pem, b"\n".join([lines[0], b"AAAA", lines[-1]]))
    assert told[0].startswith("key: key.pem: the private key cannot be read: ")


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_a_mistake(site: Path, form: PrivateFormat) -> None:
    key = LEAF.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
    assert mistakes(LEAF.pem, key) == [
        "key: key.pem: the key is encrypted; expected one without a passphrase (openssl pkey)"
    ]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (rsa.generate_private_key(65537, 1024), "expected an RSA key of at least 2048 bits, found 1024"),
        (ec.generate_private_key(ec.SECP256K1()), "expected a key on P-256, P-384 or P-521, found secp256k1"),
        (dsa.generate_private_key(1024), "expected an RSA, ECDSA or EdDSA key"),
    ],
)
def test_a_key_that_tls_has_no_use_for_is_a_mistake(
    site: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey, told: str
) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert mistakes(LEAF.pem, pem) == [f"key: key.pem: {told}"]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (rsa.generate_private_key(65537, 2048), KeyType.RSA),
        (ec.generate_private_key(ec.SECP384R1()), KeyType.ECDSA),
        (ed25519.Ed25519PrivateKey.generate(), KeyType.EDDSA),
    ],
)
def test_the_kind_of_key_is_known(
    site: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, kind: KeyType
) -> None:
    own = issue("a.test", names=("a.test",), key=key)
    assert load(own.pem, own.key_pem).key_type is kind


def test_a_key_is_found_behind_certificates_and_curve_parameters(site: Path) -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    key = LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    both = LEAF.pem + MIDDLE.pem + parameters + key
    assert load(both, both).warnings == ()


def test_a_bundle_of_a_whole_trust_store_is_a_mistake(site: Path) -> None:
    bundle = b"".join(issue(f"CA {number}").pem for number in range(10))
    assert mistakes(LEAF.pem + bundle, LEAF.key_pem) == [
        "chain: chain.pem: expected a chain of at most 10 certificates, found 11"
    ]


def test_a_chain_as_openssl_writes_it_is_taken(site: Path) -> None:
    """With the text that `openssl x509 -text` and `s_client` put between the blocks."""
    noise = b"subject=CN = example.com\n\nCertificate:\n    Data:\n"
    assert load(noise + LEAF.pem + noise + MIDDLE.pem, noise + LEAF.key_pem).warnings == ()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", True),
        ("EXAMPLE.com.", True),
        ("a.example.org", True),
        ("*.example.org", True),  # as a route has it
        ("example.org", False),
        ("a.b.example.org", False),
        (".example.org", False),
        ("notexample.com", False),
        ("com", False),
        ("", False),
        ("xy.example.net", False),  # a wildcard for part of a label
        ("a.com", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8:0:0::1", True),
        ("2001:DB8::1", True),
        ("2001:db8::2", False),
        ("198.51.100.7", False),  # a wildcard for part of an address
    ],
)
def test_names_cover_a_host_exactly_or_by_one_label(host: str, expected: bool) -> None:
    names = ("example.com", "*.example.org", "x*.example.net", "*", "192.0.2.1", "2001:db8::1", "*.51.100.7")
    assert certificates.covers(names, host) is expected


def test_no_names_cover_nothing() -> None:
    assert not certificates.covers((), "example.com")


def test_a_file_of_nothing_but_beginnings_is_read_once() -> None:
    """From each of them anew it took 10 s, in which the reactor does nothing else; so it takes a millisecond."""
    began = time.thread_time()
    with pytest.raises(ConfigError):
        load(b"", b"-----BEGIN PRIVATE KEY-----\n" * 9000)
    assert time.thread_time() - began < 2

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID
from OpenSSL import SSL

from tests.config.issuing import Issued, issue
from wsrelay.config import certificates
from wsrelay.config.certificates import KeyType, LoadedCertificate
from wsrelay.config.mistakes import ConfigError
from wsrelay.config.settings import Certificate

ROOT = issue("Root")
MIDDLE = issue("Middle", ROOT)
LEAF = issue("example.com", MIDDLE, names=("Example.com", "*.example.com", "192.0.2.1"), url="http://ca.test/m.der")
ALONE = (
    "the certificate for example.com stands alone: its issuer, CN=Middle (http://ca.test/m.der), is missing from the"
    " file; works in a browser, fails on Android and in WeChat (证书链不完整)"
)


def load(chain: bytes, key: bytes, now: datetime | None = None) -> LoadedCertificate:
    Path("chain.pem").write_bytes(chain)
    Path("key.pem").write_bytes(key)
    return certificates.load(Certificate(Path("chain.pem"), Path("key.pem")), now)


def mistakes(chain: bytes, key: bytes) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(chain, key)
    return [str(mistake) for mistake in error.value.mistakes]


def chain_of(*issued: Issued) -> tuple[bytes, ...]:
    return tuple(each.pem for each in issued)


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


@pytest.mark.parametrize("order", [(1, 0), (2, 1, 0), (0, 2, 1), (1, 2, 0)])
def test_a_chain_in_another_order_is_put_in_order_with_a_warning(site: Path, order: tuple[int, ...]) -> None:
    every = (LEAF, MIDDLE, ROOT)
    loaded = load(b"".join(every[number].pem for number in order), LEAF.key_pem)
    assert loaded.chain == tuple(each.certificate for each in every[: len(order)])
    assert loaded.warnings == (
        "the certificates are not in order, leaf first and each signed by the next; they are sent in order",
    )


def test_a_leaf_alone_names_what_is_missing_and_whom_it_hurts(site: Path) -> None:
    assert load(LEAF.pem, LEAF.key_pem).warnings == (ALONE,)


@pytest.mark.parametrize("url", [None, "http://ocsp.test/"])
def test_a_leaf_alone_may_not_say_where_its_issuer_is_found(site: Path, url: str | None) -> None:
    leaf = issue("a.test", ROOT, names=("a.test",), url=url, method=AuthorityInformationAccessOID.OCSP)
    assert "its issuer, CN=Root, is missing" in load(leaf.pem, leaf.key_pem).warnings[0]


def test_a_self_signed_certificate_is_complete(site: Path) -> None:
    own = issue("localhost", names=("localhost",))
    assert load(own.pem, own.key_pem).warnings == ()


def test_a_certificate_that_stands_twice_in_the_file_counts_once(site: Path) -> None:
    assert len(load(LEAF.pem + LEAF.pem + MIDDLE.pem, LEAF.key_pem).chain) == 2


def test_of_two_ways_up_the_one_to_the_older_root_is_sent(site: Path) -> None:
    """A root that an older one signed too, as Let's Encrypt's was: clients may know only the older."""
    old, young = issue("Old"), issue("Young")
    crossed = issue("Young", old, key=young.key)
    leaf = issue("a.test", young, names=("a.test",))
    loaded = load(leaf.pem + young.pem + crossed.pem, leaf.key_pem)
    assert loaded.chain == (leaf.certificate, crossed.certificate)


def test_a_chain_that_goes_in_a_circle_ends(site: Path) -> None:
    one, two = issue("One"), issue("Two")
    crossed = (issue("One", two, key=one.key), issue("Two", one, key=two.key))
    leaf = issue("a.test", one, names=("a.test",))
    assert len(load(leaf.pem + b"".join(chain_of(*crossed)), leaf.key_pem).chain) == 3


def test_a_certificate_of_another_chain_is_a_mistake(site: Path) -> None:
    other = issue("other.test", ROOT, names=("other.test",))
    assert mistakes(LEAF.pem + MIDDLE.pem + other.pem, LEAF.key_pem) == [
        "chain: chain.pem: the certificate for other.test has no part in the chain of example.com"
    ]


def test_an_issuer_of_the_right_name_with_another_key_is_a_mistake(site: Path) -> None:
    impostor = issue("Middle", ROOT)
    assert mistakes(LEAF.pem + impostor.pem, LEAF.key_pem) == [
        "chain: chain.pem: the certificate for CN=Middle has no part in the chain of example.com"
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


def test_validity_is_judged_by_the_time_given(site: Path) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    own = issue("a.test", names=("a.test",), since=since, days=90)

    def warnings(now: datetime) -> tuple[str, ...]:
        return load(own.pem, own.key_pem, now).warnings

    assert warnings(since) == warnings(since + timedelta(days=90)) == ()
    assert warnings(since - timedelta(seconds=1)) == (
        "not valid before 2026-01-01 00:00 UTC: a.test; clients refuse it until then",
    )
    assert warnings(since + timedelta(days=91)) == ("EXPIRED on 2026-04-01: a.test; clients refuse it",)


def test_an_expired_issuer_is_loud_too(site: Path) -> None:
    middle = issue("Middle", ROOT, since=datetime(2020, 1, 1, tzinfo=UTC), days=1)
    leaf = issue("a.test", middle, names=("a.test",))
    assert load(leaf.pem + middle.pem, leaf.key_pem).warnings == (
        "EXPIRED on 2020-01-02: CN=Middle; clients refuse it",
    )


def test_a_certificate_without_names_is_warned_about(site: Path) -> None:
    assert load(ROOT.pem, ROOT.key_pem).warnings == (
        "the certificate for CN=Root has no subjectAltName, so no client takes it for any name (RFC 9525 6)",
    )


def test_a_bundle_of_a_whole_trust_store_is_a_mistake(site: Path) -> None:
    bundle = b"".join(issue(f"CA {number}").pem for number in range(10))
    assert mistakes(LEAF.pem + bundle, LEAF.key_pem) == [
        "chain: chain.pem: expected a chain of at most 10 certificates, found 11"
    ]


def test_a_chain_as_openssl_writes_it_is_taken(site: Path) -> None:
    """With the text that `openssl x509 -text` and `s_client` put between the blocks."""
    noise = b"subject=CN = example.com\n\nCertificate:\n    Data:\n"
    assert load(noise + LEAF.pem + noise + MIDDLE.pem, noise + LEAF.key_pem).warnings == ()

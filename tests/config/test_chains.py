"""What clients may stumble over in a chain, said before they do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID

from tests.config.issuing import Issued, issue, name, with_sha1
from wsrelay.config import chains

ROOT = issue("Root")
MIDDLE = issue("Middle", ROOT)
LEAF = issue("example.com", MIDDLE, names=("Example.com", "*.example.com", "192.0.2.1"), url="http://ca.test/m.der")
HARM = "works in a browser, fails on Android and in WeChat (证书链不完整)"
ALONE = (
    "the certificate for example.com stands alone: its issuer, CN=Middle (http://ca.test/m.der), is missing from the"
    f" file; {HARM}"
)
# Timestamps of a log, as public authorities put them in (RFC 6962 3.3): an empty list.
LOGGED = x509.UnrecognizedExtension(ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS, b"\x04\x02\x00\x00")
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the system's store would be: a file that is not there yet, and no folder."""
    file = tmp_path / "store.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "no folder"))
    return file


def doubts(*chain: Issued, now: datetime | None = None) -> list[str]:
    return list(chains.doubts(tuple(each.certificate for each in chain), now or datetime.now(UTC)))


def ordered(leaf: Issued, *found: Issued) -> list[x509.Certificate]:
    return list(chains.ordered(leaf.certificate, [each.certificate for each in found]))


def in_order(*chain: Issued) -> list[x509.Certificate]:
    return [each.certificate for each in chain]


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 1, 0), (0, 2, 1), (1, 2, 0)])
def test_each_is_followed_by_who_signed_it(order: tuple[int, ...]) -> None:
    every = (LEAF, MIDDLE, ROOT)
    assert ordered(LEAF, *(every[number] for number in order)) == in_order(*every[: len(order)])


def test_of_two_ways_up_the_one_to_the_older_root_is_sent() -> None:
    """A root that an older one signed too, as Let's Encrypt's was: clients may know only the older."""
    old, young = issue("Old"), issue("Young")
    crossed = issue("Young", old, key=young.key)
    leaf = issue("a.test", young, names=("a.test",))
    assert ordered(leaf, leaf, young, crossed) == in_order(leaf, crossed)


def test_a_chain_that_goes_in_a_circle_ends() -> None:
    one, two = issue("One"), issue("Two")
    crossed = (issue("One", two, key=one.key), issue("Two", one, key=two.key))
    leaf = issue("a.test", one, names=("a.test",))
    assert len(ordered(leaf, leaf, *crossed)) == 3


def test_an_issuer_of_the_right_name_with_another_key_is_refused() -> None:
    with pytest.raises(ValueError, match="the certificate for CN=Middle has no part in the chain of example.com"):
        ordered(LEAF, LEAF, issue("Middle", ROOT))


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP192R1())])
def test_an_issuer_whose_key_openssl_refuses_is_refused_here(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    short = issue("Short", key=key)
    leaf = issue("a.test", short, names=("a.test",))
    with pytest.raises(ValueError, match=r"the key of CN=Short is too short for TLS \(below 112 bits of security\)"):
        ordered(leaf, leaf, short)
    assert ordered(leaf, leaf) == in_order(leaf)


def test_a_complete_chain_leaves_no_doubt() -> None:
    assert doubts(LEAF, MIDDLE) == doubts(LEAF, MIDDLE, ROOT) == []


def test_a_self_signed_certificate_is_complete() -> None:
    assert doubts(issue("localhost", names=("localhost",))) == []


def test_a_leaf_alone_names_what_is_missing_and_whom_it_hurts() -> None:
    assert doubts(LEAF) == [ALONE]


@pytest.mark.parametrize("url", [None, "http://ocsp.test/"])
def test_a_leaf_alone_may_not_say_where_its_issuer_is_found(url: str | None) -> None:
    leaf = issue("a.test", ROOT, names=("a.test",), url=url, method=AuthorityInformationAccessOID.OCSP)
    assert "its issuer, CN=Root, is missing" in doubts(leaf)[0]


def test_a_leaf_alone_is_complete_where_the_system_knows_who_signed_it(store: Path) -> None:
    leaf = issue("a.test", ROOT, names=("a.test",))
    store.write_bytes(issue("Other").pem + ROOT.pem)
    assert doubts(leaf) == []
    store.write_bytes(issue("Root").pem)  # of that name, with another key
    assert len(doubts(leaf)) == 1


def upper(*extensions: x509.ExtensionType) -> tuple[Issued, Issued]:
    """A logged leaf and who signed it, below an intermediate `Upper` below `Root`; Upper is not in the file."""
    lower = issue("Lower", issue("Upper", ROOT), url="http://ca.test/upper.der", extensions=extensions)
    return issue("a.test", lower, names=("a.test",), extensions=(LOGGED,)), lower


def test_a_second_intermediate_that_is_missing_is_named_where_the_first_tells_of_it() -> None:
    """Who signed the issuer is said in the key identifier (RFC 5280 4.2.1.1); of a root that is the root."""
    beyond = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(name("Root"))], 1)
    assert doubts(*upper(beyond)) == [
        "the chain of a.test ends too early: an intermediate, CN=Upper (http://ca.test/upper.der), is missing from the"
        f" file; {HARM}"
    ]


@pytest.mark.parametrize(
    "identifier",
    [
        x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(name("Upper"))], 1),
        x509.AuthorityKeyIdentifier(b"12345678", None, None),
    ],
)
def test_an_issuer_that_may_be_a_root_is_not_missed(identifier: x509.AuthorityKeyIdentifier) -> None:
    assert doubts(*upper(identifier)) == []


def test_a_second_intermediate_that_is_missing_is_named_where_the_system_knows_public_roots(store: Path) -> None:
    store.write_bytes(issue("Other").pem)
    assert doubts(*upper()) == [
        "the chain of a.test may end too early: CN=Upper (http://ca.test/upper.der), who signed its last certificate,"
        f" is not among the system's roots; without an intermediate it {HARM}"
    ]


def test_the_ordinary_public_chain_ends_below_a_root_that_the_system_knows(store: Path) -> None:
    store.write_bytes(ROOT.pem)
    assert doubts(issue("a.test", MIDDLE, names=("a.test",), extensions=(LOGGED,)), MIDDLE) == []


def test_a_root_that_the_system_knows_is_enough_although_it_has_expired(store: Path) -> None:
    """Whose clock is right is not the question here."""
    old = issue("Old", since=SINCE - timedelta(days=1000), days=10)
    store.write_bytes(old.pem)
    middle = issue("Middle", old)
    assert doubts(issue("a.test", middle, names=("a.test",), extensions=(LOGGED,)), middle) == []


def test_a_private_authority_need_not_be_known_to_the_system(store: Path) -> None:
    store.write_bytes(issue("Other").pem)
    assert doubts(LEAF, MIDDLE) == []


@pytest.mark.parametrize("content", [None, b"", b"no certificates"])
def test_without_a_store_nothing_is_concluded_from_it(store: Path, content: bytes | None) -> None:
    if content is not None:
        store.write_bytes(content)
    assert doubts(*upper()) == []
    assert doubts(LEAF) == [ALONE]


def test_a_store_that_is_an_empty_folder_is_none(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(store.parent))
    assert doubts(*upper()) == []
    (store.parent / "0a1b2c3d.0").write_bytes(ROOT.pem)
    assert len(doubts(*upper())) == 1


def test_dates_are_judged_by_the_time_given() -> None:
    own = issue("a.test", names=("a.test",), since=SINCE, days=90)
    assert doubts(own, now=SINCE) == []
    assert doubts(own, now=SINCE - timedelta(seconds=1)) == [
        "not valid before 2026-01-01 00:00 UTC: a.test; clients refuse it until then"
    ]
    assert doubts(own, now=SINCE + timedelta(days=90, seconds=1)) == [
        "EXPIRED on 2026-04-01: a.test; clients refuse it"
    ]


@pytest.mark.parametrize(
    ("days", "left", "told"),
    [
        (90, timedelta(days=14), None),
        (90, timedelta(days=14, seconds=-1), "in 13 days"),
        (90, timedelta(days=1, hours=23), "in 1 day"),
        (90, timedelta(hours=23), "within a day"),
        (90, timedelta(), "within a day"),
        (30, timedelta(days=6), None),
        (30, timedelta(days=5), "in 5 days"),
        (5, timedelta(days=1), None),
        (5, timedelta(hours=23), "within a day"),
    ],
)
def test_an_end_that_is_near_is_told_with_the_days_left(days: int, left: timedelta, told: str | None) -> None:
    """Near is 14 days, and for a short life its last fifth."""
    own = issue("a.test", names=("a.test",), since=SINCE, days=days)
    end = SINCE + timedelta(days=days)
    expected = f"EXPIRES on {end:%Y-%m-%d} 00:00 UTC, {told}: a.test; clients refuse it after that"
    assert doubts(own, now=end - left) == ([expected] if told else [])


def test_an_expired_issuer_is_loud_too() -> None:
    middle = issue("Middle", ROOT, since=datetime(2020, 1, 1, tzinfo=UTC), days=1)
    leaf = issue("a.test", middle, names=("a.test",))
    assert doubts(leaf, middle) == ["EXPIRED on 2020-01-02: CN=Middle; clients refuse it"]


def test_a_certificate_without_names_is_warned_about() -> None:
    assert doubts(ROOT) == [
        "the certificate for CN=Root has no subjectAltName, so no client takes it for any name (RFC 9525 6)"
    ]


def test_an_address_that_is_written_as_a_name_is_nobodys() -> None:
    leaf = issue("a", extensions=(x509.SubjectAlternativeName([x509.DNSName("192.0.2.1"), x509.DNSName("B.test")]),))
    assert chains.names(leaf.certificate) == ("b.test",)


def rsa_chain() -> tuple[Issued, Issued, Issued]:
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
    root = issue("Root", key=keys[0])
    middle = issue("Middle", root, key=keys[1])
    return issue("a.test", middle, names=("a.test",), key=keys[2]), middle, root


def test_a_signature_with_sha1_is_told_of_all_but_a_root() -> None:
    leaf, middle, root = rsa_chain()
    leaf, middle, root = with_sha1(leaf, middle), with_sha1(middle, root), with_sha1(root, root)
    assert doubts(leaf, middle, root) == [
        "signed with SHA-1: a.test; clients refuse it",
        "signed with SHA-1: CN=Middle; clients refuse it",
    ]


def test_a_chain_signed_with_sha1_is_put_in_order_all_the_same() -> None:
    leaf, middle, root = rsa_chain()
    old = with_sha1(leaf, middle), with_sha1(middle, root), with_sha1(root, root)
    assert ordered(old[0], *reversed(old)) == in_order(*old)


def usage(**bits: bool) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    every += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bits.get(bit, False) for bit in every})


@pytest.mark.parametrize(
    ("extension", "told"),
    [
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), []),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), []),
        (
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
            ["the certificate for a.test is not for servers (extendedKeyUsage); iOS and WeChat refuse it"],
        ),
        (usage(digital_signature=True), []),
        (
            usage(key_encipherment=True),
            ["the key of a.test may not sign (keyUsage lacks digitalSignature); browsers and iOS refuse it"],
        ),
    ],
)
def test_a_use_that_excludes_servers_is_told(extension: x509.ExtensionType, told: list[str]) -> None:
    leaf = issue("a.test", MIDDLE, names=("a.test",), extensions=(extension,))
    assert doubts(leaf, MIDDLE) == told
    # What an issuer may be used for is another matter.
    middle = issue("Middle", ROOT, extensions=(extension,))
    assert doubts(issue("a.test", middle, names=("a.test",)), middle) == []

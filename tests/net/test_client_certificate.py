"""From a certificate to field lines (`client_certificate`): the form of each fact, its limits, and what cannot be read.

What clients and upstreams see of it is in test_client_certificates.py and test_client_headers.py.
"""

import base64
import contextlib
import hashlib
import ipaddress
import tempfile
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier
from OpenSSL import SSL

from tests.contracts.peers import server_context
from tests.net import identities
from tests.net.identities import Identity
from wsrelay.config.settings import ClientFact
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net import client_certificate, tls

SUBJECT, NAMES = (b"Subject", ClientFact.SUBJECT), (b"Names", ClientFact.NAMES)
FINGERPRINT, CERTIFICATE = (b"Fingerprint", ClientFact.FINGERPRINT), (b"Client-Cert", ClientFact.CERTIFICATE)


@cache
def root() -> Identity:
    return identities.authority("Clients Root")


def named(*names: x509.GeneralName, subject: x509.Name | None = None) -> x509.Certificate:
    return identities.client(root(), subject, names).certificate


def with_names(der: str) -> Identity:
    """A certificate whose subjectAltName is this, which no library would write."""
    raw = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex(der))
    return identities.client(root(), more=(raw,))


# Facts.


def test_lines_stand_in_the_order_and_under_the_names_that_are_configured() -> None:
    names = [b"X-B", b"x_a", b"X-B2", b"X-C"]
    facts = [ClientFact.NAMES, ClientFact.SUBJECT, ClientFact.NAMES, ClientFact.SUBJECT]
    certificate = named(x509.DNSName("a.example"))
    assert client_certificate.lines(certificate, list(zip(names, facts, strict=True))) == (
        b"X-B: DNS:a.example",
        b"x_a: CN=client",
        b"X-B2: DNS:a.example",
        b"X-C: CN=client",
    )


def test_a_fact_that_the_certificate_has_not_is_left_out() -> None:
    """An empty field would look like a certificate of nobody's."""
    nobody = named(subject=x509.Name([]))
    assert client_certificate.lines(nobody, (SUBJECT, NAMES)) == ()
    assert client_certificate.lines(named(), (NAMES, SUBJECT)) == (b"Subject: CN=client",)
    unnamed = named(x509.RegisteredID(ObjectIdentifier("1.2.3")))
    assert client_certificate.lines(unnamed, (NAMES,)) == ()


def test_fingerprint_and_certificate_are_of_the_same_bytes() -> None:
    certificate = named(x509.DNSName("a.example"))
    lines = client_certificate.lines(certificate, (FINGERPRINT, CERTIFICATE))
    sent = lines[1].removeprefix(b"Client-Cert: :").removesuffix(b":")
    der = base64.b64decode(sent, validate=True)
    assert x509.load_der_x509_certificate(der) == certificate
    assert lines[0] == b"Fingerprint: " + hashlib.sha256(der).hexdigest().encode()


def test_each_kind_of_name_has_its_word_and_the_rest_is_left_out() -> None:
    certificate = named(
        x509.DNSName("a.example"),
        x509.DirectoryName(identities.named(common_name="nobody")),
        x509.UniformResourceIdentifier("spiffe://example.com/a"),
        x509.OtherName(ObjectIdentifier("1.2.3"), b"\x05\x00"),
        x509.RFC822Name("a@example.com"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.RegisteredID(ObjectIdentifier("1.2.3")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    )
    (line,) = client_certificate.lines(certificate, (NAMES,))
    assert line == (
        b"Names: DNS:a.example, URI:spiffe://example.com/a, email:a@example.com, IP:192.0.2.1, IP:2001:db8::1"
    )


# What could be misread.

ESCAPED = {
    "a,b": b"a\\2Cb",
    "a, DNS:b": b"a\\2C\\20DNS:b",
    'a"b': b"a\\22b",
    "a\\2Cb": b"a\\5C2Cb",
    "a b": b"a\\20b",
    "a\r\nX: y": b"a\\0D\\0AX:\\20y",
    "a\x00b": b"a\\00b",
    "a\x7fb": b"a\\7Fb",
    "~!#$%&'()*+-./:;<=>?@[]^_`{|}": b"~!#$%&'()*+-./:;<=>?@[]^_`{|}",
}


@pytest.mark.parametrize(("text", "written"), ESCAPED.items(), ids=map(repr, ESCAPED))
@pytest.mark.parametrize(("kind", "word"), [(x509.DNSName, b"DNS"), (x509.UniformResourceIdentifier, b"URI")])
def test_nothing_inside_a_name_is_taken_for_its_end(
    kind: type[x509.DNSName], word: bytes, text: str, written: bytes
) -> None:
    certificate = named(kind(text))
    assert client_certificate.lines(certificate, (NAMES,)) == (b"Names: " + word + b":" + written,)


def test_two_different_lists_of_names_are_never_the_same_line() -> None:
    lists = [("a", "b"), ("a, DNS:b",), ("a,DNS:b",), ("a\\", "b"), ("a\\2C DNS:b",), ("b", "a")]
    lines = {client_certificate.lines(named(*map(x509.DNSName, each)), (NAMES,)) for each in lists}
    assert len(lines) == len(lists)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\u00e4lice", b"CN=\\C3\\A4lice"),
        ("\U0001f600", b"CN=\\F0\\9F\\98\\80"),
        ("a\r\nb", b"CN=a\\0D\\0Ab"),
        ("a\x1b[2J", b"CN=a\\1B[2J"),
        ("a b", b"CN=a b"),
    ],
)
def test_a_subject_is_ascii_and_one_line(text: str, written: bytes) -> None:
    """RFC 4514 2.4: a backslash and two digits stand for an octet of UTF-8."""
    certificate = named(subject=identities.named(common_name=text))
    assert client_certificate.lines(certificate, (SUBJECT,)) == (b"Subject: " + written,)


@pytest.mark.parametrize("kind", [_ASN1Type.BMPString, _ASN1Type.PrintableString, _ASN1Type.T61String])
def test_subjects_of_older_kinds_of_text_are_read(kind: _ASN1Type) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice", kind)])
    certificate = named(subject=subject)
    assert client_certificate.lines(certificate, (SUBJECT,)) == (b"Subject: CN=alice",)
    assert client_certificate.common_name(certificate) == "alice"


# The limit.


@pytest.mark.parametrize(("over", "fits"), [(0, True), (1, False)])
def test_lines_of_4096_bytes_in_all_are_told_and_longer_ones_refuse_the_client(over: int, fits: bool) -> None:
    around = len(b"Names: URI:")
    certificate = named(x509.UniformResourceIdentifier("x" * (4096 - around + over)))
    if fits:
        (line,) = client_certificate.lines(certificate, (NAMES,))
        assert len(line) == 4096
    else:
        assert "4096 bytes" in refused(certificate, NAMES).detail


def test_several_fields_share_the_limit() -> None:
    certificate = named(x509.UniformResourceIdentifier("x" * 2048))
    client_certificate.lines(certificate, (NAMES,))
    assert "4096 bytes" in refused(certificate, NAMES, NAMES).detail


def test_what_is_counted_is_what_is_sent() -> None:
    """One byte of a name may be three on the wire."""
    certificate = named(x509.UniformResourceIdentifier(" " * 1400))
    assert "4096 bytes" in refused(certificate, NAMES).detail


# What cannot be read.


def refused(certificate: x509.Certificate, *wanted: tuple[bytes, ClientFact]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        client_certificate.lines(certificate, wanted)
    assert caught.value.reason is Reason.CLIENT_CERTIFICATE_REFUSED
    return caught.value


UNREADABLE = {
    # RFC 5280 4.2.1.6: kinds of names that cryptography does not know.
    "an ediPartyName": with_names("300aa508a1060c046e616d65"),
    "an x400Address": with_names("3002a300"),
    "an address of three bytes": with_names("30058703616263"),
    "a DNS name in Latin-1": with_names("3005820361e962"),
}


def twice(number: bytes = bytes.fromhex("2b06010401868d1f")) -> Identity:
    """A certificate with two extensions of one kind, which RFC 5280 4.2 forbids."""
    kinds = [ObjectIdentifier(f"1.3.6.1.4.1.99999.{last}") for last in (1, 2)]
    more = [x509.UnrecognizedExtension(kind, b"\x05\x00") for kind in kinds]
    return identities.patched(identities.client(root(), more=more), root(), number + b"\x02", number + b"\x01")


UNREADABLE["an extension twice"] = twice()


@pytest.mark.parametrize("what", UNREADABLE)
def test_names_that_cannot_be_read_refuse_the_client_and_are_no_bug(what: str) -> None:
    certificate = x509.load_der_x509_certificate(UNREADABLE[what].der)
    assert "cannot be read" in refused(certificate, NAMES).detail
    assert "cannot be read" in refused(certificate, SUBJECT, NAMES).detail


@pytest.mark.parametrize("what", UNREADABLE)
def test_names_that_nobody_asks_for_need_not_be_read(what: str) -> None:
    certificate = x509.load_der_x509_certificate(UNREADABLE[what].der)
    assert client_certificate.lines(certificate, (SUBJECT,)) == (b"Subject: CN=client",)
    assert client_certificate.common_name(certificate) == "client"


def test_a_subject_that_is_not_even_text_refuses_the_client() -> None:
    made = identities.patched(identities.client(root(), identities.named(common_name="WXYZ")), root())
    certificate = x509.load_der_x509_certificate(made.der)
    assert "cannot be read" in refused(certificate, SUBJECT).detail
    assert client_certificate.common_name(certificate) == ""


# Common names.


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (x509.Name([]), ""),
        (identities.named(organization_name="Example"), ""),
        (identities.named(organization_name="Example", common_name="alice"), "alice"),
        (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in ("first", "second")]), "first"),
        (identities.named(common_name="a, b=c"), "a, b=c"),
        (identities.named(common_name="\u00e4\r\n\x00"), "\u00e4\r\n\x00"),
    ],
)
def test_the_common_name_is_the_first_one_as_it_is(subject: x509.Name, expected: str) -> None:
    """Whoever writes it down has to leave out what is not safe there: `tlvs.write_texts`."""
    assert client_certificate.common_name(named(subject=subject)) == expected


# From a connection.


def connected(shown: Identity | None, version: int = SSL.TLS1_3_VERSION) -> SSL.Connection:
    """The server's side of a connection whose client has shown this, and was trusted."""
    context, how = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)
    shows(context, _own())
    tls.trust(context, [root().certificate], of_clients=True)
    context.set_verify(SSL.VERIFY_PEER)
    how.set_max_proto_version(version)
    if shown is not None:
        shows(how, shown)
    server, client = SSL.Connection(context, None), SSL.Connection(how, None)
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(1 << 16))
    server.do_handshake()
    return server


@cache
def _own() -> Identity:
    return identities.client(None, usages=(identities.SERVER,))


def shows(context: SSL.Context, shown: Identity) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chain, key = shown.write(Path(folder))
        context.use_certificate_chain_file(str(chain))
        context.use_privatekey_file(str(key))


VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


@VERSIONS
def test_a_connection_has_its_clients_own_certificate(version: int) -> None:
    alice = identities.client(identities.authority("Between", root()), identities.named(common_name="alice"))
    assert client_certificate.of(connected(alice, version)) == alice.certificate


@VERSIONS
def test_a_connection_whose_client_has_shown_none_has_none(version: int) -> None:
    assert client_certificate.of(connected(None, version)) is None


def test_a_connection_before_its_handshake_has_none() -> None:
    assert client_certificate.of(SSL.Connection(server_context(), None)) is None


ODD = {
    # X.690 11.1: in DER true is FF and nothing else.
    "a boolean in BER": (bytes.fromhex("0101ff"), bytes.fromhex("010101")),
    # RFC 5280 4.1.2.1: the number of the version is 2 at most.
    "a version to come": (bytes.fromhex("a003020102"), bytes.fromhex("a003020103")),
}


@VERSIONS
@pytest.mark.parametrize("what", ODD)
def test_what_openssl_takes_and_we_cannot_read_refuses_the_client_and_is_no_bug(version: int, what: str) -> None:
    connection = connected(identities.patched(identities.client(root()), root(), *ODD[what]), version)
    with pytest.raises(Refusal, match="cannot be read") as caught:
        client_certificate.of(connection)
    assert caught.value.reason is Reason.CLIENT_CERTIFICATE_REFUSED

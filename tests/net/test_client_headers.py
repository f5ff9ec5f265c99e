"""What upstreams are told of a client's certificate: no client can forge it, and no certificate can break its line.

Public test files, driven through an equivalent configuration:
- nginx-tests ssl.t and ssl_client_escaped_cert.t: subject and certificate; ssl_verify_client.t: nothing without one;
  ssl_session_reuse.t and stream_ssl_session_reuse.t, for what a resumed session still knows.
- haproxy reg-tests/ssl/ssl_client_samples.vtc: subject, fingerprint and certificate in fields of a request.
Not applicable: issuer, serial number, dates and policies in ssl.t, ssl_client_samples.vtc and ssl_client_policies.vtc
(whoever needs them gets the certificate); certificates in PEM, escaped or with tabs (RFC 9440 has a form for fields).
"""

import base64
import hashlib
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type

from tests.harness import SWITCHED, UPGRADE, RawServer, Relay, Wire
from tests.net import identities
from tests.net.identities import Identity
from tests.tls import Authority, only, versions
from wsrelay.net import client_certificate

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
VERSIONS = pytest.mark.parametrize("version", versions(), ids=["1.2", "1.3"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# What a client may try, for each of the four.
NAMES = ["X-Client-Subject", "X-Client-Names", "X-Client-Fingerprint", "Client-Cert"]
ALL = (
    '{ X-Client-Subject = "subject", X-Client-Names = "names",'
    ' X-Client-Fingerprint = "fingerprint", Client-Cert = "certificate" }'
)
FORGED = "CN=admin"


class Later(datetime):
    """The clock of a time in which every certificate of these tests has expired."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(days=400_000)


def folded(name: str) -> str:
    """What CGI and its heirs take a name for."""
    return "".join(each if each.isalnum() else "-" for each in name.lower())


OURS = {folded(name) for name in NAMES}


def of_certificates(head: bytes) -> list[tuple[str, str]]:
    """The fields of a head that anybody could take for one of ours, in their order."""
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]
    fields = [(name, value.removeprefix(" ")) for name, _, value in (line.partition(":") for line in lines)]
    return [field for field in fields if folded(field[0]) in OURS]


@attrs.define
class Told:
    """A relay that tells an upstream of certificates."""

    start: Callable[..., Relay]
    folder: Path
    upstream: RawServer
    servers: Authority
    root: Identity
    relay: Relay = attrs.field(init=False)
    _far: Wire | None = None

    def open(self, asks: str = "request", fields: str = ALL, before: str = "", more: str = "") -> Relay:
        file = self.folder / "clients.pem"
        file.write_bytes(self.root.pem)
        self.relay = self.start(
            f'{before}\n[[listen]]\naddress = "127.0.0.1:0"\ntls = [{self.servers.issue("localhost").toml}]\n'
            f'client_ca = "{file}"\nclient_certificate = "{asks}"\nclient_headers = {fields}\n{more}\n'
            f'[[upstream]]\nname = "app"\nservers = ["{self.upstream.address}"]\n'
            '[[route]]\npath = "/"\nupstream = "app"\n'
        )
        return self.relay

    def client(self, shown: Identity | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        how = only(self.servers, version)
        if shown is not None:
            how.load_cert_chain(*shown.write(self.folder))
        return how

    def head(self, wire: Wire, *fields: str, method: str = "GET") -> bytes:
        """The head of one request with these fields, as the upstream gets it."""
        wire.send("\r\n".join([f"{method} / HTTP/1.1", "Host: localhost", *fields, "", ""]).encode("latin-1"))
        self._far = far = self._far or self.upstream.accept()
        head = far.read_head()
        far.send(OK)
        assert wire.read_head().startswith(b"HTTP/1.1 200 ")
        assert wire.read(2) == b"ok"
        return head

    def another(self) -> None:
        """The next request is on a connection of its own, as each client's are."""
        self._far = None

    def told(self, shown: Identity | None, *fields: str) -> dict[str, str]:
        """What the upstream is told of another client, with this certificate; each field is there once."""
        self.another()
        with self.relay.connect_tls(self.client(shown)).socket as connected:
            found = of_certificates(self.head(Wire(connected), *fields))
        assert len({folded(name) for name, _ in found}) == len(found)
        return dict(found)


@pytest.fixture
def told(relay: Callable[..., Relay], tmp_path: Path, upstream: RawServer) -> Told:
    return Told(relay, tmp_path, upstream, Authority(tmp_path), identities.authority("Clients Root"))


# What is told.


def test_each_fact_has_its_own_form(told: Told) -> None:
    subject = identities.named(organization_name="Example, Inc", common_name="alice")
    names = [x509.DNSName("a.example"), x509.UniformResourceIdentifier("spiffe://example.com/a")]
    alice = identities.client(told.root, subject, names)
    told.open("require")
    assert told.told(alice) == {
        # RFC 4514 2.1: the last part first.
        "X-Client-Subject": "CN=alice,O=Example\\, Inc",
        "X-Client-Names": "DNS:a.example, URI:spiffe://example.com/a",
        "X-Client-Fingerprint": hashlib.sha256(alice.der).hexdigest(),
        "Client-Cert": f":{base64.b64encode(alice.der).decode()}:",
    }


def test_only_what_is_configured_is_told(told: Told) -> None:
    told.open(fields='{ X-Client-Names = "fingerprint" }')
    alice = identities.client(told.root)
    assert told.told(alice) == {"X-Client-Names": hashlib.sha256(alice.der).hexdigest()}


def test_the_certificate_is_the_clients_and_not_the_one_above_it(told: Told) -> None:
    told.open()
    alice = identities.client(identities.authority("Between", told.root))
    assert told.told(alice)["Client-Cert"] == f":{base64.b64encode(alice.der).decode()}:"


@pytest.mark.parametrize("names", [[x509.RFC822Name("a@example.com")], [x509.IPAddress(ipaddress.ip_address("::1"))]])
def test_names_of_other_kinds_are_told_too(told: Told, names: list[x509.GeneralName]) -> None:
    told.open()
    assert str(names[0].value) in told.told(identities.client(told.root, names=names))["X-Client-Names"]


def test_every_request_of_a_connection_is_told_of_it(told: Told) -> None:
    running = told.open()
    wire = running.connect_tls(told.client(identities.client(told.root)))
    first, second = (of_certificates(told.head(wire, "X-Client-Subject: " + FORGED)) for _ in range(2))
    assert first == second
    assert dict(first)["X-Client-Subject"] == "CN=client"


@PUMPS
@VERSIONS
def test_an_upgrade_is_told_of_it(told: Told, pump: str, version: ssl.TLSVersion) -> None:
    running = told.open(before=f'pump = "{pump}"')
    wire = running.connect_tls(told.client(identities.client(told.root), version))
    wire.send(UPGRADE.replace(b"\r\n\r\n", b"\r\nX-Client-Subject: CN=admin\r\nx_client_names: DNS:admin\r\n\r\n"))
    far = told.upstream.accept()
    found = of_certificates(far.read_head())
    assert [name for name, _ in found] == ["X-Client-Subject", "X-Client-Fingerprint", "Client-Cert"]
    assert found[0][1] == "CN=client"
    far.send(SWITCHED)
    wire.read_head()


@PUMPS
@VERSIONS
def test_a_resumed_session_is_still_the_clients(told: Told, pump: str, version: ssl.TLSVersion) -> None:
    """No certificate is sent then: it is part of what is resumed."""
    running = told.open("require", before=f'pump = "{pump}"')
    how = told.client(identities.client(told.root, identities.named(common_name="alice")), version)
    first = running.connect_tls(how)
    before = of_certificates(told.head(first))
    session = first.socket.session  # type: ignore[attr-defined]  # an SSLSocket here
    first.close()
    second = running.connect_tls(how, session=session)
    assert second.socket.session_reused  # type: ignore[attr-defined]  # as above
    told.another()
    assert of_certificates(told.head(second)) == before
    assert dict(before)["X-Client-Subject"] == "CN=alice"


@VERSIONS
def test_a_session_does_not_outlive_its_certificate(
    told: Told, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL looks at no date in a resumption, and in TLS 1.3 each brings a ticket that is good for another hour."""
    running = told.open("require")
    how = told.client(identities.client(told.root), version)
    first = running.connect_tls(how)
    told.head(first)
    session = first.socket.session  # type: ignore[attr-defined]  # an SSLSocket here
    first.close()
    monkeypatch.setattr(client_certificate, "datetime", Later)
    second = running.connect_tls(how, session=session)
    assert second.socket.session_reused  # type: ignore[attr-defined]  # as above
    second.ending()
    assert running.line(event="failed")["reason"] == "client-certificate-refused"


# What nobody can forge.

SPELLINGS = [
    str,
    str.lower,
    str.upper,
    lambda name: name.replace("-", "_"),
    lambda name: name.replace("-", "_").lower(),
    lambda name: name.replace("-", "."),
    lambda name: name.replace("-", "_", 1),
    lambda name: name.replace("-", "~"),
]


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("known", [True, False], ids=["with certificate", "without"])
def test_no_field_of_a_client_passes_for_ours_however_it_is_spelled(
    told: Told, spelled: Callable[[str], str], known: bool
) -> None:
    told.open()
    forged = [f"{spelled(name)}: {FORGED}" for name in NAMES]
    found = told.told(identities.client(told.root) if known else None, *forged, *forged)
    assert FORGED not in found.values()
    assert set(found) == ({"X-Client-Subject", "X-Client-Fingerprint", "Client-Cert"} if known else set())


def test_without_a_certificate_there_is_no_such_field_at_all(told: Told) -> None:
    """Not even an empty one, which some would take for a certificate without a name."""
    told.open()
    assert told.told(None) == {}


def test_a_fact_that_the_certificate_has_not_is_not_the_clients_to_tell(told: Told) -> None:
    told.open()
    nameless = identities.client(told.root, x509.Name([]))
    found = told.told(nameless, f"X-Client-Subject: {FORGED}", "X-Client-Names: DNS:admin")
    assert found.get("X-Client-Subject", "") == ""
    assert found.get("X-Client-Names", "") == ""


def test_the_rest_of_the_chain_is_not_the_clients_to_tell(told: Told) -> None:
    """RFC 9440 2.3 and 4: who believes Client-Cert believes this field beside it."""
    running = told.open()
    wire = running.connect_tls(told.client(identities.client(told.root)))
    head = told.head(wire, "Client-Cert-Chain: :AAAA:", "client_cert_chain: :AAAA:")
    assert b"AAAA" not in head


@pytest.mark.parametrize("options", ["X-Client-Subject", "close, x-client-subject, client-cert", "x_client_subject"])
def test_connection_names_none_of_them_away(told: Told, options: str) -> None:
    """CVE-2022-1388: what a proxy says must not depend on what the client nominates."""
    told.open()
    found = told.told(identities.client(told.root), f"Connection: {options}", f"X-Client-Subject: {FORGED}")
    assert found["X-Client-Subject"] == "CN=client"
    assert set(found) == {"X-Client-Subject", "X-Client-Fingerprint", "Client-Cert"}


@pytest.mark.parametrize("name", ["X-Client-Subject", "x_client_subject", "Client.Cert"])
def test_no_trailer_passes_for_one_of_them(told: Told, name: str) -> None:
    running = told.open()
    wire = running.connect_tls(told.client(identities.client(told.root)))
    wire.send(
        f"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: {name}, X-Sum\r\n\r\n"
        f"2\r\nhi\r\n0\r\n{name}: {FORGED}\r\nX-Sum: 1\r\n\r\n".encode()
    )
    far = told.upstream.accept()
    head = far.read_head()
    assert name.lower().encode() not in head.lower() or b"Trailer: X-Sum\r\n" in head
    body = far.read_until(b"X-Sum: 1\r\n\r\n")
    assert b"admin" not in body


@pytest.mark.parametrize("known", [True, False], ids=["with certificate", "without"])
def test_not_even_a_trusted_proxy_says_who_has_a_certificate(told: Told, known: bool) -> None:
    """It is believed about addresses. Which certificate came over this connection, only we have seen."""
    told.open(before='trusted_proxies = ["127.0.0.1"]')
    found = told.told(identities.client(told.root) if known else None, f"X-Client-Subject: {FORGED}")
    assert found.get("X-Client-Subject") == ("CN=client" if known else None)


def test_no_other_listener_is_a_way_around_it(told: Told) -> None:
    """The upstream is the same, and cannot know through which listener a request has come."""
    running = told.open("require", more='[[listen]]\nname = "plain"\naddress = "127.0.0.1:0"')
    plain = running.connect(1)
    assert of_certificates(told.head(plain, *(f"{name}: {FORGED}" for name in NAMES))) == []


# Hostile certificates.


def hostile_names(root: Identity) -> Iterator[tuple[str, Identity]]:
    """Certificates whose names try to end the line, to be two names, or to be another field."""
    for what, text in {
        "line end": "alice\r\nX-Client-Subject: CN=admin",
        "newline": "alice\nX-Admin: yes",
        "carriage return": "alice\rX-Admin: yes",
        "nul": "alice\x00admin",
        "controls": "alice\x1b[2J\x7f\x08",
        "commas": "alice, DNS:admin.example,CN=admin",
        "separators of RFC 4514": "alice+CN=admin;CN=admin#",
        "not ASCII": "\u00e4lice\u2028\u0085admin\U0001f600",
        "quotes": 'alice", DNS:"admin',
        "spaces": "  alice  ",
    }.items():
        names: list[x509.GeneralName] = [x509.DNSName(text)] if text.isascii() else []
        names += [x509.UniformResourceIdentifier(text)] if text.isascii() else []
        yield what, identities.client(root, identities.named(common_name=text), names)


HOSTILE = [what for what, _ in hostile_names(identities.authority("Any"))]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_name_stays_one_line_and_one_name(told: Told, what: str) -> None:
    running = told.open()
    hostile = dict(hostile_names(told.root))[what]
    wire = running.connect_tls(told.client(hostile))
    head = told.head(wire)
    found = of_certificates(head)
    assert [name for name, _ in found] == [name for name in NAMES if name in dict(found)]
    assert b"\nx-admin" not in head.lower().replace(b"\r", b"\n")
    for name, value in found:
        assert value.isascii()
        assert value.isprintable(), name
    names = dict(found).get("X-Client-Names", "")
    kinds = [one.partition(":")[0] for one in names.split(", ")] if names else []
    assert kinds in ([], ["DNS", "URI"]), "one name looks like two"
    # Nor does the subject gain a part: whoever reads RFC 4514 finds one, and none of another kind.
    assert x509.Name.from_rfc4514_string(dict(found)["X-Client-Subject"]).rdns == hostile.certificate.subject.rdns


def test_two_names_and_one_that_looks_like_two_are_told_apart(told: Told) -> None:
    """CVE-2021-44532 was of this kind."""
    told.open()
    two = identities.client(told.root, names=[x509.DNSName("a.example"), x509.DNSName("admin.example")])
    one = identities.client(told.root, names=[x509.DNSName("a.example, DNS:admin.example")])
    first = told.told(two)["X-Client-Names"]
    assert told.told(one)["X-Client-Names"] != first == "DNS:a.example, DNS:admin.example"


@pytest.mark.parametrize("where", ["subject", "names"])
def test_a_name_that_is_not_even_text_breaks_nothing(told: Told, where: str) -> None:
    """The bytes of a name need not be what its type says; its issuer may not have looked."""
    running = told.open()
    ascii_only = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "WXYZ", _ASN1Type.PrintableString)])
    made = identities.client(
        told.root, ascii_only if where == "subject" else None, [x509.DNSName("WXYZ")] if where == "names" else []
    )
    wire = running.connect_tls(told.client(identities.patched(made, told.root)))
    wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Client-Subject: CN=admin\r\nx_client_names: DNS:admin\r\n\r\n")
    running.settle()
    if told.upstream.nobody_came():
        assert running.line(event="failed")["reason"] == "client-certificate-refused"
        return
    told.upstream.close()
    wire.ending()
    assert running.line(event="exchange")["reason"] != "internal-error"


def test_ten_kilobytes_of_names_are_one_line_or_none(told: Told) -> None:
    """No server takes such a head; whoever has such a certificate is told so here, and not by every upstream."""
    many = [x509.DNSName(f"{number:04}.a-rather-long-name-of-a-host.example") for number in range(220)]
    huge = identities.client(told.root, names=many)
    assert len(huge.der) > 9_000
    told.open(fields='{ X-Client-Fingerprint = "fingerprint" }')
    assert told.told(huge) == {"X-Client-Fingerprint": hashlib.sha256(huge.der).hexdigest()}
    running = told.open(fields='{ X-Client-Names = "names" }')
    wire = running.connect_tls(told.client(huge))
    wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    wire.ending()
    line = running.next_line()
    assert (line["event"], line["reason"]) == ("failed", "client-certificate-refused")
    assert told.upstream.nobody_came()

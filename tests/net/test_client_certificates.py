"""Mutual TLS: whose certificate is taken, and who has to show one. What upstreams are told: test_client_headers.py.

Public test files, driven through an equivalent configuration:
- nginx-tests ssl_verify_client.t: none where one is wanted, none and a bad one where one is asked for, a good one,
  plain HTTP on such a port, the list of authorities that clients are told, each once; ssl_verify_client_trusted.t, but
  for a store beside that list, which there is not; ssl_verify_depth.t, but for a limit of depth, which there is not;
  stream_ssl_verify_client.t: the same at layer 4.
- haproxy reg-tests/ssl/ssl_client_auth.vtc: a good and an expired one; new_del_ssl_cafile.vtc and set_ssl_cafile.vtc:
  which authorities stand in the file decides; ssl_errors.vtc: an unknown issuer and a missing intermediate.
Not applicable: nginx-tests ssl_ocsp.t, stream_ssl_ocsp.t, ssl_crl.t and haproxy's *crlfile.vtc (nothing here asks
whether a certificate was revoked); optional_no_ca and crt-ignore-err (a bad certificate is never let in); verification
by name in ssl_verify_client.t, `421` among it (the policy is the listener's, whatever the name).
"""

import ssl
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from OpenSSL import SSL

from tests.harness import RawServer, Relay, Wire
from tests.net import identities
from tests.net.identities import CLIENT, SERVER, Identity
from tests.tls import Authority, Client, context, only, versions

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
VERSIONS = pytest.mark.parametrize("version", versions(), ids=["1.2", "1.3"])
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@attrs.define
class Door:
    """A relay that asks clients for certificates, and what they may have."""

    _start: Callable[..., Relay]
    folder: Path
    servers: Authority
    upstream: RawServer
    root: Identity = attrs.field(factory=lambda: identities.authority("Clients Root"))

    def open(
        self, asks: str = "require", *, pump: str = "auto", mode: str = "http", trusted: tuple[Identity, ...] = ()
    ) -> Relay:
        """Start the relay; it has one certificate for localhost and one for other.example."""
        file = self.folder / "clients.pem"
        file.write_bytes(b"".join(each.pem for each in trusted or (self.root,)))
        shown = ", ".join(self.servers.issue(name).toml for name in ("localhost", "other.example"))
        asked = f'client_certificate = "{asks}"\n' if asks else ""
        to = 'upstream = "app"\n' if mode == "tcp" else ""
        route = '[[route]]\npath = "/"\nrespond = { body = "in" }\n' if mode == "http" else ""
        return self._start(
            f'pump = "{pump}"\n[[listen]]\naddress = "127.0.0.1:0"\nmode = "{mode}"\ntls = [{shown}]\n'
            f'client_ca = "{file}"\n{asked}{to}'
            f'[[upstream]]\nname = "app"\nservers = ["{self.upstream.address}"]\n{route}'
        )

    def client(self, version: ssl.TLSVersion, shown: Identity | None = None) -> ssl.SSLContext:
        """A client of one version with this certificate."""
        made = only(self.servers, version)
        if shown is not None:
            made.load_cert_chain(*shown.write(self.folder))
        return made


@pytest.fixture
def door(relay: Callable[..., Relay], tmp_path: Path, upstream: RawServer) -> Door:
    return Door(relay, tmp_path, Authority(tmp_path), upstream)


def get(running: Relay, how: ssl.SSLContext, name: str = "localhost") -> bytes:
    """One request, answered."""
    wire = running.connect_tls(how, name=name)
    wire.send(GET)
    return wire.read_all()


def refused(running: Relay, how: ssl.SSLContext, name: str = "localhost") -> str:
    """What the alert says; in TLS 1.3 it comes when the handshake is over for the client."""
    with pytest.raises(ssl.SSLError) as caught:
        running.connect_tls(how, name=name).read_all()
    return str(caught.value.reason)


# Who has none.


@PUMPS
@VERSIONS
@pytest.mark.parametrize("asks", ["require", ""], ids=["require", "by default"])
def test_without_a_certificate_nobody_comes_in_where_it_is_required(
    door: Door, pump: str, version: ssl.TLSVersion, asks: str
) -> None:
    running = door.open(asks, pump=pump)
    alert = refused(running, door.client(version))
    # RFC 8446 6.2 has an alert for it; TLS 1.2 has not.
    expected = "ALERT_HANDSHAKE_FAILURE" if version is ssl.TLSVersion.TLSv1_2 else "ALERT_CERTIFICATE_REQUIRED"
    assert alert.endswith(expected)
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("tls-failed", "client-certificate-missing")
    assert line["sni"] == "localhost"


@VERSIONS
@pytest.mark.parametrize("name", ["localhost", "other.example", "unknown.example"])
def test_no_server_name_is_a_way_around_it(door: Door, version: ssl.TLSVersion, name: str) -> None:
    """Each name has a context of its own in OpenSSL, and each has to ask."""
    running = door.open()
    nameless = door.client(version)
    nameless.check_hostname = False
    nameless.verify_mode = ssl.CERT_NONE
    assert refused(running, nameless, name)
    assert running.line(event="failed")["reason"] == "client-certificate-missing"


@VERSIONS
def test_without_a_certificate_everybody_comes_in_where_it_is_only_asked_for(
    door: Door, version: ssl.TLSVersion
) -> None:
    assert get(door.open("request"), door.client(version)).endswith(b"in")


def test_plain_http_on_such_a_port_is_told_that_tls_is_meant(door: Door) -> None:
    client = door.open().connect()
    client.send(GET)
    assert b"\r\nX-Wsrelay-Reason: plain-http\r\n" in client.read_all()


# Who has one.


def through_two(root: Identity) -> Identity:
    return identities.client(identities.authority("Lower", identities.authority("Upper", root)))


def through(count: int) -> Callable[[Identity], Identity]:
    """So many authorities between the root and the client."""

    def made(root: Identity) -> Identity:
        signs = root
        for number in range(count):
            signs = identities.authority(f"Between {number}", signs)
        return identities.client(signs)

    return made


GOOD = {
    "plain": identities.client,
    "through an intermediate": lambda root: identities.client(identities.authority("Between", root)),
    "through two": through_two,
    "through ten": through(10),
    "for clients and servers": lambda root: identities.client(root, usages=(SERVER, CLIENT)),
    "with no word of what for": lambda root: identities.client(root, usages=()),
    "with no subject": lambda root: identities.client(root, x509.Name([]), [x509.DNSName("a.example")]),
}


@PUMPS
@VERSIONS
@pytest.mark.parametrize("asks", ["require", "request"])
@pytest.mark.parametrize("made", GOOD.values(), ids=GOOD)
def test_a_good_certificate_is_taken(
    door: Door, pump: str, version: ssl.TLSVersion, asks: str, made: Callable[[Identity], Identity]
) -> None:
    running = door.open(asks, pump=pump)
    assert get(running, door.client(version, made(door.root))).endswith(b"in")


def without_what_is_between(root: Identity) -> Identity:
    return attrs.evolve(identities.client(identities.authority("Between", root)), above=())


def by_an_expired_intermediate(root: Identity) -> Identity:
    between = identities.authority("Between", root, days=(-3, -2))
    return identities.client(between)


def by_no_authority(root: Identity) -> Identity:
    """A certificate that may not sign others has signed one."""
    holder = identities.client(root, identities.named(common_name="holder"))
    return attrs.evolve(identities.client(holder), above=(holder.certificate,))


def with_a_stolen_issuer(root: Identity) -> Identity:
    """Another authority of the same name."""
    return identities.client(identities.authority(root.certificate.subject.rfc4514_string().removeprefix("CN=")))


BAD = {
    "of another authority": lambda _: identities.client(identities.authority("Others")),
    "of an authority with the same name": with_a_stolen_issuer,
    "signed by itself": lambda _: identities.client(None),
    "expired": lambda root: identities.client(root, days=(-3, -2)),
    "not valid yet": lambda root: identities.client(root, days=(2, 3)),
    "for servers only": lambda root: identities.client(root, usages=(SERVER,)),
    "without what is between": without_what_is_between,
    "by an expired intermediate": by_an_expired_intermediate,
    "by no authority": by_no_authority,
    # OpenSSL would go on for a hundred, and search for each among all that came.
    "through twelve": through(12),
}


@PUMPS
@VERSIONS
@pytest.mark.parametrize("asks", ["require", "request"])
@pytest.mark.parametrize("made", BAD.values(), ids=BAD)
def test_a_bad_certificate_lets_nobody_in_not_even_where_none_would_do(
    door: Door, pump: str, version: ssl.TLSVersion, asks: str, made: Callable[[Identity], Identity]
) -> None:
    running = door.open(asks, pump=pump)
    assert refused(running, door.client(version, made(door.root)))
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("tls-failed", "client-certificate-refused")
    assert line["sni"] == "localhost"
    assert running.sessions == 0


@VERSIONS
@pytest.mark.parametrize(
    ("made", "alert"),
    [("of another authority", "ALERT_UNKNOWN_CA"), ("expired", "ALERT_CERTIFICATE_EXPIRED")],
)
def test_the_client_is_told_what_is_wrong_with_it(door: Door, version: ssl.TLSVersion, made: str, alert: str) -> None:
    assert refused(door.open(), door.client(version, BAD[made](door.root))).endswith(alert)


def test_the_log_says_what_is_wrong_with_it(door: Door) -> None:
    """Expired and unknown are not to be told apart by the reason, and an operator has to."""
    running = door.open()
    for made, word in (("expired", "expired"), ("of another authority", "issuer")):
        refused(running, door.client(ssl.TLSVersion.TLSv1_3, BAD[made](door.root)))
        assert word in running.line(event="failed")["detail"]


# Which authorities.


def test_an_intermediate_may_stand_in_the_file_instead_of_being_sent(door: Door) -> None:
    between = identities.authority("Between", door.root)
    running = door.open(trusted=(door.root, between))
    alone = attrs.evolve(identities.client(between), above=())
    assert get(running, door.client(ssl.TLSVersion.TLSv1_3, alone)).endswith(b"in")


def test_all_authorities_of_the_file_count(door: Door) -> None:
    other = identities.authority("Others")
    running = door.open(trusted=(door.root, other))
    for each in (door.root, other):
        assert get(running, door.client(ssl.TLSVersion.TLSv1_3, identities.client(each))).endswith(b"in")


def test_the_authorities_of_the_system_do_not_count(door: Door) -> None:
    """Nor do those who vouch for the relay's own certificate."""
    file = door.folder / "of-servers.pem"
    made = door.servers.root.issue_cert("client.example")
    file.write_bytes(made.private_key_and_cert_chain_pem.bytes())
    how = door.client(ssl.TLSVersion.TLSv1_3)
    how.load_cert_chain(file)
    running = door.open()
    refused(running, how)
    assert running.line(event="failed")["reason"] == "client-certificate-refused"


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_clients_are_told_whose_certificates_are_taken_each_once(door: Door, version: int) -> None:
    """A browser offers those of its user's certificates that are of one of these."""
    other = identities.authority("Others")
    running = door.open("request", trusted=(door.root, other, door.root))
    client = Client(running.port(), context(version=version))
    told = [name.get_components() for name in client.tls.get_client_ca_list()]
    assert sorted(told) == [[(b"CN", b"Clients Root")], [(b"CN", b"Others")]]
    client.close()


# Layer 4.


@VERSIONS
@pytest.mark.parametrize(
    ("shown", "reason"), [(None, "client-certificate-missing"), ("expired", "client-certificate-refused")]
)
def test_at_layer_4_nobody_is_dialled_for_who_is_not_let_in(
    door: Door, version: ssl.TLSVersion, shown: str | None, reason: str
) -> None:
    running = door.open(mode="tcp")
    assert refused(running, door.client(version, BAD[shown](door.root) if shown else None))
    assert running.line(event="failed")["reason"] == reason
    assert door.upstream.nobody_came()


@VERSIONS
def test_at_layer_4_bytes_cross_for_who_is(door: Door, version: ssl.TLSVersion) -> None:
    running = door.open(mode="tcp")
    wire = running.connect_tls(door.client(version, identities.client(door.root)))
    assert talk(wire, door.upstream.accept())
    assert get_in_request_mode(door, version)


def talk(wire: Wire, far: Wire) -> bool:
    wire.send(b"hello")
    assert far.read(5) == b"hello"
    far.send(b"back")
    return wire.read(4) == b"back"


def get_in_request_mode(door: Door, version: ssl.TLSVersion) -> bool:
    return talk(door.open("request", mode="tcp").connect_tls(door.client(version)), door.upstream.accept())


# Resumption.


@PUMPS
@VERSIONS
def test_a_session_without_certificate_is_no_way_past_who_requires_one(
    door: Door, pump: str, version: ssl.TLSVersion
) -> None:
    asking, requiring = door.open("request", pump=pump), door.open("require", pump=pump)
    how = door.client(version)
    first = asking.connect_tls(how)
    first.send(GET)
    assert first.read_all().endswith(b"in")
    session = first.socket.session  # type: ignore[attr-defined]  # an SSLSocket here
    with pytest.raises(ssl.SSLError):
        requiring.connect_tls(how, session=session).read_all()
    assert requiring.line(event="failed")["reason"] == "client-certificate-missing"


@pytest.mark.parametrize(("options", "resumed"), [(0, True), (SSL.OP_NO_TICKET, False)], ids=["ticket", "none"])
def test_a_session_is_not_kept_here_with_all_certificates_that_came(
    door: Door, tmp_path: Path, options: int, resumed: bool
) -> None:
    """They are 775 kB a handshake for who wants it so; a ticket is kept by the client (RFC 5077), and those go on."""
    running = door.open("require")
    how = context(version=SSL.TLS1_2_VERSION, options=options)
    chain, key = identities.client(door.root).write(tmp_path)
    how.use_certificate_chain_file(str(chain))
    how.use_privatekey_file(str(key))
    first = Client(running.port(), how)
    first.get()
    session = first.tls.get_session()
    first.close()
    second = Client(running.port(), how, session=session)
    assert second.reused is resumed
    second.close()

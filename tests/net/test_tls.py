"""Contexts as clients meet them: which certificate and chain, which protocol, which versions and suites, resumption."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

from tests.harness import Relay
from tests.tls import ECDSA, RSA, Authority, Client, Issued, context, reasons
from wsrelay.config import certificates
from wsrelay.config.settings import Certificate
from wsrelay.net.tls import Contexts

Start = Callable[..., Relay]

ONLY_ECDSA = "ECDSA+SHA256:ECDSA+SHA384"
ONLY_RSA = "RSA-PSS+SHA256:RSA+SHA256"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls_relay(relay: Callable[[str], Relay]) -> Start:
    """Start a relay that answers `/` itself over TLS, with these certificates."""

    def start(*issued: Issued, mode: str = "http", more: str = "") -> Relay:
        listed = ", ".join(each.toml for each in issued)
        return relay(f"""
[[listen]]
address = "127.0.0.1:0"
mode = "{mode}"
tls = [{listed}]
{more}
[[listen]]
name = "for-the-route"
address = "127.0.0.1:0"
[[route]]
path = "/"
respond = {{ status = 200, body = "here\\n" }}
""")

    return start


def sent_to(server: Relay, name: str | None, how: SSL.Context | None = None) -> tuple[bytes, ...]:
    """The chain that a client gets who names `name`."""
    client = Client(server.port(), how or context(), name)
    try:
        return client.chain
    finally:
        client.close()


# Which certificate.


@pytest.fixture
def several(authority: Authority, tls_relay: Start) -> tuple[Relay, dict[str, Issued]]:
    issued = {
        "default": authority.issue("default.example"),
        "exact": authority.issue("www.example.com", "example.com"),
        "wildcard": authority.issue("*.example.com"),
        "unicode": authority.issue("xn--bcher-kva.example"),
    }
    return tls_relay(*issued.values()), issued


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("default.example", "default"),
        ("www.example.com", "exact"),
        ("example.com", "exact"),
        ("WWW.Example.COM", "exact"),
        ("api.example.com", "wildcard"),
        ("a.b.example.com", "default"),
        ("xn--bcher-kva.example", "unicode"),
        ("unknown.example", "default"),
        ("com", "default"),
        (None, "default"),
    ],
)
def test_the_certificate_is_chosen_by_the_server_name(
    several: tuple[Relay, dict[str, Issued]], name: str | None, expected: str
) -> None:
    server, issued = several
    assert sent_to(server, name) == issued[expected].sent


@pytest.mark.parametrize("name", ["..", "\u00ff.example.com"])
def test_what_is_no_server_name_gets_an_alert_where_names_decide(
    several: tuple[Relay, dict[str, Issued]], name: str
) -> None:
    server, _ = several
    with pytest.raises(SSL.Error, check=lambda error: "alert decode error" in reasons(error)):
        Client(server.port(), context(), name)
    assert server.line(event="failed")["reason"] == "client-hello"


def test_the_first_of_two_certificates_for_one_name_wins(authority: Authority, tls_relay: Start) -> None:
    first, second = authority.issue("example.com"), authority.issue("example.com", "www.example.com")
    server = tls_relay(first, second)
    assert sent_to(server, "example.com") == first.sent
    assert sent_to(server, "www.example.com") == second.sent


def test_a_name_is_looked_for_as_it_is_then_as_a_wildcard_then_gets_the_default(authority: Authority) -> None:
    issued = [authority.issue("default.example"), authority.issue("example.com"), authority.issue("*.example.org")]
    contexts = Contexts([certificates.load(Certificate(each.chain, each.key)) for each in issued], http=True)
    default, exact, wildcard = contexts.all
    assert contexts.for_name("example.com") is exact
    assert contexts.for_name("a.example.org") is wildcard
    assert contexts.for_name("example.org") is contexts.for_name("a.b.example.org") is contexts.for_name("") is default


# ECDSA and RSA side by side.


@pytest.mark.parametrize("rsa_first", [False, True])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_each_kind_of_key_comes_with_its_own_chain_and_nothing_of_the_other(
    authority: Authority, tls_relay: Start, rsa_first: bool, version: int
) -> None:
    ecdsa, rsa = (authority.issue("localhost", key_type=kind) for kind in (ECDSA, RSA))
    server = tls_relay(*((rsa, ecdsa) if rsa_first else (ecdsa, rsa)))
    assert not set(ecdsa.sent) & set(rsa.sent)
    # The intermediates' own signatures are of the root, which is ECDSA: it must be verifiable to both in TLS 1.3.
    assert sent_to(server, "localhost", context(version=version, signatures=ONLY_RSA + ":" + ONLY_ECDSA)) in (
        ecdsa.sent,
        rsa.sent,
    )
    assert sent_to(server, "localhost", context(version=version, signatures=ONLY_RSA)) == rsa.sent
    assert sent_to(server, "localhost", context(version=version, signatures=ONLY_ECDSA)) == ecdsa.sent


def test_both_kinds_work_for_a_name_that_is_not_the_default(authority: Authority, tls_relay: Start) -> None:
    other = authority.issue("default.example")
    ecdsa, rsa = (authority.issue("example.com", key_type=kind) for kind in (ECDSA, RSA))
    server = tls_relay(other, ecdsa, rsa)
    assert sent_to(server, "example.com", context(signatures=ONLY_RSA)) == rsa.sent
    assert sent_to(server, "example.com", context(signatures=ONLY_ECDSA)) == ecdsa.sent


# Chains.


def test_who_trusts_only_the_root_can_verify(authority: Authority, tls_relay: Start) -> None:
    issued = authority.issue("localhost")
    server = tls_relay(issued)
    assert len(issued.sent) == 2
    assert server.connect_tls(authority.trusting()).socket.version() == "TLSv1.3"
    assert sent_to(server, "localhost") == issued.sent


def test_a_leaf_alone_is_sent_alone_and_fails_at_the_client(authority: Authority, tls_relay: Start) -> None:
    issued = authority.issue("localhost")
    leaf_end = b"-----END CERTIFICATE-----\n"
    issued.chain.write_bytes(issued.chain.read_bytes().partition(leaf_end)[0] + leaf_end)
    server = tls_relay(issued)
    assert sent_to(server, "localhost") == issued.sent[:1]
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect_tls(authority.trusting())


# ALPN.


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((b"http/1.1",), b"http/1.1"),
        ((b"h2", b"http/1.1"), b"http/1.1"),
        ((b"http/1.1", b"h2"), b"http/1.1"),
        ((), b""),
    ],
)
def test_alpn_is_answered_with_http_1_1(
    authority: Authority, tls_relay: Start, offered: tuple[bytes, ...], chosen: bytes
) -> None:
    client = Client(tls_relay(authority.issue("localhost")).port(), context(alpn=offered))
    assert client.tls.get_alpn_proto_negotiated() == chosen
    assert client.get().startswith(b"HTTP/1.1 200 ")
    client.close()


@pytest.mark.parametrize("name", ["localhost", "other.example"])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_client_that_offers_only_h2_gets_the_alert_for_it(
    authority: Authority, tls_relay: Start, name: str, version: int
) -> None:
    server = tls_relay(authority.issue("localhost"), authority.issue("other.example"))
    with pytest.raises(SSL.Error, check=lambda error: "alert no application protocol" in reasons(error)):
        Client(server.port(), context(alpn=(b"h2",), version=version), name)
    assert "http/1.1" in server.line(outcome="tls-failed")["detail"]


def test_layer_4_does_not_answer_alpn(authority: Authority, tls_relay: Start) -> None:
    more = 'upstream = "app"\n[[upstream]]\nname = "app"\nservers = ["127.0.0.1:9"]'
    server = tls_relay(authority.issue("localhost"), mode="tcp", more=more)
    client = Client(server.port(), context(alpn=(b"h2", b"http/1.1")))
    assert client.tls.get_alpn_proto_negotiated() == b""
    client.close()


# Versions and suites.


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_versions_of_today_are_served(authority: Authority, tls_relay: Start, version: str) -> None:
    trusting = authority.trusting()
    trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion[version]
    server = tls_relay(authority.issue("localhost"))
    wire = server.connect_tls(trusting)
    wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert wire.read_all().endswith(b"here\n")
    assert server.line(event="exchange")["tls"] == version.replace("_", ".")


@pytest.mark.filterwarnings("ignore:.*TLSv1_1.*:DeprecationWarning")
def test_tls_1_1_is_refused(authority: Authority, tls_relay: Start) -> None:
    old = authority.trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    server = tls_relay(authority.issue("localhost"))
    with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
        server.connect_tls(old)
    assert "unsupported protocol" in server.line(outcome="tls-failed")["detail"]


@pytest.mark.parametrize(
    "suite",
    [
        "ECDHE-ECDSA-AES128-SHA256",  # CBC
        "ECDHE-RSA-AES128-SHA",
        "AES128-GCM-SHA256",  # no forward secrecy
        "DHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES128-CCM",
    ],
)
def test_weak_suites_of_tls_1_2_are_refused(authority: Authority, tls_relay: Start, suite: str) -> None:
    server = tls_relay(*(authority.issue("localhost", key_type=kind) for kind in (ECDSA, RSA)))
    with pytest.raises(SSL.Error, check=lambda error: "alert handshake failure" in reasons(error)):
        Client(server.port(), context(version=SSL.TLS1_2_VERSION, suites=suite + ":@SECLEVEL=0"))
    assert "no shared cipher" in server.line(outcome="tls-failed")["detail"]


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_strong_suites_of_tls_1_2_are_served(authority: Authority, tls_relay: Start, cipher: str, kind: str) -> None:
    server = tls_relay(*(authority.issue("localhost", key_type=each) for each in (ECDSA, RSA)))
    client = Client(server.port(), context(version=SSL.TLS1_2_VERSION, suites=f"ECDHE-{kind}-{cipher}"))
    assert client.get().endswith(b"here\n")
    client.close()


@pytest.mark.parametrize(
    ("client_order", "chosen"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        # Who puts it first has no AES in hardware.
        ("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
)
def test_the_relays_order_of_suites_counts(
    authority: Authority, tls_relay: Start, client_order: str, chosen: str
) -> None:
    server = tls_relay(authority.issue("localhost"))
    client = Client(server.port(), context(version=SSL.TLS1_2_VERSION, suites=client_order))
    assert client.tls.get_cipher_name() == chosen
    client.close()


def test_key_exchange_over_finite_fields_is_not_offered(authority: Authority, tls_relay: Start) -> None:
    """It costs the relay eight times what it costs over curves, and a client that wants it nothing (CVE-2002-20001)."""
    how = context(version=SSL.TLS1_3_VERSION)
    assert _openssl.lib.SSL_CTX_set1_curves_list(how._context, b"ffdhe2048:ffdhe3072") == 1
    with pytest.raises(SSL.Error):
        Client(tls_relay(authority.issue("localhost")).port(), how)


def test_renegotiation_is_refused(authority: Authority, tls_relay: Start) -> None:
    client = Client(tls_relay(authority.issue("localhost")).port(), context(version=SSL.TLS1_2_VERSION))
    assert client.tls.renegotiate()
    with pytest.raises(SSL.Error, check=lambda error: "no renegotiation" in reasons(error)):
        client.tls.do_handshake()
    client.close()


# Resumption.


@pytest.mark.parametrize("name", ["localhost", "other.example"])
@pytest.mark.parametrize(
    ("version", "options"),
    [
        pytest.param(SSL.TLS1_2_VERSION, 0, id="1.2 by ticket"),
        pytest.param(SSL.TLS1_2_VERSION, SSL.OP_NO_TICKET, id="1.2 by session id"),
        pytest.param(SSL.TLS1_3_VERSION, 0, id="1.3"),
    ],
)
def test_a_session_is_resumed(authority: Authority, tls_relay: Start, name: str, version: int, options: int) -> None:
    server = tls_relay(authority.issue("localhost"), authority.issue("other.example"))
    how = context(version=version, options=options)
    first = Client(server.port(), how, name)
    assert not first.reused
    assert first.get().endswith(b"here\n")
    session = first.tls.get_session()
    assert session is not None
    first.close()
    second = Client(server.port(), how, name, session)
    assert second.reused
    assert second.get().endswith(b"here\n")
    second.close()

"""Handshakes that fail: each cause has its reason in the access log, with the server name, whoever does handshakes.

Public test files, driven through an equivalent configuration:
- haproxy reg-tests/ssl/ssl_errors.vtc: no shared cipher in TLS 1.2 and 1.3, and the name in each line; what it has of
  clients' certificates is in test_client_certificates.py. ssl_alpn.vtc, where no protocol fits.
- nginx-tests stream_ssl_alpn.t: a protocol that nobody speaks fails, with a line in the log; ssl.t: an end without
  close_notify is nothing critical; ssl_conf_command.t, stream_ssl_conf_command.t, as far as versions and suites go.
Not applicable: what ssl_errors.vtc has of upstreams (the tests of TLS to upstreams have it); certificate compression,
engines, curves and signature algorithms of nginx-tests ssl_*.t, which nobody configures here.
Those that leave, say nothing, or speak no TLS: test_tls_failures_ends.py.
"""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from OpenSSL import SSL, crypto

from tests.harness import RawServer, Relay
from tests.net import hellos
from tests.net.failing import NAME, NUMBERS, PUMPS, SEVERAL, Failing, fails, named, told
from tests.tls import Authority, context, only, versions

VERSIONS = pytest.mark.parametrize("version", versions(), ids=["1.2", "1.3"])


@pytest.fixture
def failing(relay: Callable[..., Relay], tmp_path: Path, upstream: RawServer) -> Failing:
    return Failing(relay, Authority(tmp_path), upstream)


# What the client thinks of our certificate.


@PUMPS
@SEVERAL
@VERSIONS
def test_a_client_that_does_not_know_the_authority(
    failing: Failing, pump: str, several: bool, version: ssl.TLSVersion
) -> None:
    running = failing.open(pump, several)
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.minimum_version = stranger.maximum_version = version
    with pytest.raises(ssl.SSLCertVerificationError):
        running.connect_tls(stranger, name=NAME)
    assert "unknown ca" in told(running, "tls-unknown-ca")


@PUMPS
def test_an_incomplete_chain_is_seen_as_unknown_ca(failing: Failing, pump: str) -> None:
    """The sign that operators are to look for."""
    issued = failing.authority.issue(NAME)
    end = b"-----END CERTIFICATE-----\n"
    issued.chain.write_bytes(issued.chain.read_bytes().partition(end)[0] + end)
    running = failing.open(pump, issued=issued)
    with pytest.raises(ssl.SSLCertVerificationError):
        running.connect_tls(failing.authority.trusting(), name=NAME)
    told(running, "tls-unknown-ca")


def verifying(authority: Authority, version: int, *, days: int) -> SSL.Context:
    """A client whose clock is wrong by so many days. Certificates of tests are valid from 2000 to 3000."""
    made = context(version=version)
    made.set_verify(SSL.VERIFY_PEER)
    store = made.get_cert_store()
    assert store is not None
    root = x509.load_pem_x509_certificate(authority.root.cert_pem.bytes())
    store.add_cert(crypto.X509.from_cryptography(root))
    store.set_time(datetime.now(UTC) + timedelta(days=days))
    return made


@PUMPS
@SEVERAL
@NUMBERS
def test_a_client_for_whose_clock_the_certificate_has_expired(
    failing: Failing, pump: str, several: bool, version: int
) -> None:
    running = failing.open(pump, several)
    fails(running, verifying(failing.authority, version, days=400_000))
    assert "expired" in told(running, "tls-certificate-expired")


@PUMPS
@NUMBERS
def test_a_client_for_whose_clock_the_certificate_is_not_valid_yet(failing: Failing, pump: str, version: int) -> None:
    running = failing.open(pump)
    fails(running, verifying(failing.authority, version, days=-20_000))
    told(running, "tls-certificate-unknown")


@PUMPS
@VERSIONS
def test_a_client_that_meant_another_name(failing: Failing, pump: str, version: ssl.TLSVersion) -> None:
    running = failing.open(pump)
    with pytest.raises(ssl.SSLCertVerificationError):
        running.connect_tls(only(failing.authority, version), name="other.example")
    told(running, "tls-certificate-unknown", sni=("other.example",))


ALERTS = {
    42: "tls-certificate-unknown",  # bad_certificate
    43: "tls-certificate-unknown",  # unsupported_certificate
    44: "tls-certificate-unknown",  # certificate_revoked
    45: "tls-certificate-expired",
    46: "tls-certificate-unknown",
    48: "tls-unknown-ca",
    40: "tls-error",  # handshake_failure, which may mean anything
    47: "tls-error",  # illegal_parameter
    51: "tls-error",  # decrypt_error
    80: "tls-error",  # internal_error
    70: "tls-version",
    71: "tls-cipher",  # insufficient_security
    120: "tls-protocol",
}


@PUMPS
@NUMBERS
@pytest.mark.parametrize(("alert", "reason"), ALERTS.items())
def test_each_alert_of_a_client_is_told_by_what_it_means(
    failing: Failing, pump: str, version: int, alert: int, reason: str
) -> None:
    """RFC 8446 6.2. Until it has the relay's keys to use, a client sends it in the clear."""
    running = failing.open(pump)
    wire = running.connect()
    client = SSL.Connection(context(version=version), None)
    client.set_tlsext_host_name(NAME.encode())
    client.set_connect_state()
    wire.send(hellos.step(client))
    assert wire.socket.recv(65536)
    wire.send(b"\x15\x03\x03\x00\x02\x02" + bytes([alert]))
    assert "alert" in told(running, reason)
    wire.ending()


@PUMPS
@NUMBERS
def test_a_client_that_takes_its_leave_in_the_middle_has_ended_it(failing: Failing, pump: str, version: int) -> None:
    """A browser whose user has closed the page says close_notify."""
    running = failing.open(pump)
    wire = running.connect()
    client = SSL.Connection(context(version=version), None)
    client.set_tlsext_host_name(NAME.encode())
    client.set_connect_state()
    wire.send(hellos.step(client))
    assert wire.socket.recv(65536)
    wire.send(b"\x15\x03\x03\x00\x02\x01\x00")
    wire.ending()
    told(running, "tls-ended")


# What the two cannot agree on.


@PUMPS
@SEVERAL
def test_no_suite_in_common_in_tls_1_2(failing: Failing, pump: str, several: bool) -> None:
    running = failing.open(pump, several)
    fails(running, context(version=SSL.TLS1_2_VERSION, suites="AES128-SHA:AES256-GCM-SHA384:@SECLEVEL=0"))
    assert "cipher" in told(running, "tls-cipher")


@PUMPS
@SEVERAL
def test_no_suite_in_common_in_tls_1_3(failing: Failing, pump: str, several: bool) -> None:
    running = failing.open(pump, several)
    how = context(version=SSL.TLS1_3_VERSION)
    how.set_tls13_ciphersuites(b"TLS_AES_128_CCM_SHA256")
    fails(running, how)
    assert "cipher" in told(running, "tls-cipher", sni=named(several))


@PUMPS
@NUMBERS
def test_no_kind_of_signature_in_common(failing: Failing, pump: str, version: int) -> None:
    """Our key is ECDSA, and the client knows RSA only."""
    running = failing.open(pump)
    fails(running, context(version=version, signatures="RSA-PSS+SHA256:RSA+SHA256"))
    told(running, "tls-cipher")


@PUMPS
@SEVERAL
@pytest.mark.parametrize(
    ("version", "least"), [("TLSv1_1", "1.2"), ("TLSv1_2", "1.3"), ("TLSv1", "1.2")], ids=["1.1", "1.2", "1.0"]
)
@pytest.mark.filterwarnings("ignore:.*TLSv1(_1)? is deprecated:DeprecationWarning")
def test_a_version_that_is_not_spoken_here(
    failing: Failing, pump: str, several: bool, version: str, least: str
) -> None:
    running = failing.open(pump, several, listen=f'tls_min = "{least}"')
    old = failing.authority.trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion[version]
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        running.connect_tls(old, name=NAME)
    told(running, "tls-version", sni=named(several))


@PUMPS
@SEVERAL
def test_a_client_that_falls_back_without_need(failing: Failing, pump: str, several: bool) -> None:
    """RFC 7507: it has tried TLS 1.3, somebody on the way has broken that, and now it says so."""
    running = failing.open(pump, several)
    wire = running.connect()
    body = hellos.message(hellos.server_name(NAME.encode()))
    suites = b"\x00\x02\xc0\x2b"
    assert suites in body
    longer = body.replace(suites, b"\x00\x04\xc0\x2b\x56\x00")
    wire.send(hellos.records(b"\x01" + hellos.counted(longer[4:], 3)))
    assert wire.ending()[5:7] == b"\x02\x56"
    told(running, "tls-version", sni=named(several))


@PUMPS
@SEVERAL
@NUMBERS
@pytest.mark.parametrize("offered", [(b"h2",), (b"http/1.0", b"HTTP/1.1", b"acme-tls/1")])
def test_no_protocol_in_common(
    failing: Failing, pump: str, several: bool, version: int, offered: tuple[bytes, ...]
) -> None:
    running = failing.open(pump, several)
    fails(running, context(version=version, alpn=offered))
    assert "http/1.1" in told(running, "tls-protocol")

"""TLS towards upstreams: whose certificates are believed, which name is asked for, and what we show of ourselves.

The rest is in the files `test_upstream_tls_*` beside this one; nginx and HAProxy as such upstreams are in
`tests/e2e/test_upstream_tls_peers`. What the public test files of both say of a TLS upstream has its place in these:

nginx-tests
    proxy_ssl_verify.t, stream_proxy_ssl_verify.t   here; but a name that is in the common name alone is refused by us
                                                    (RFC 9525 2), and there is nothing that switches that on
    proxy_ssl_name.t, stream_proxy_ssl_name.t       here: SNI; the port is never part of it. Ours cannot be switched off
    proxy_ssl_certificate.t, stream_proxy_ssl_certificate.t, proxy_ssl_certificate_empty.t
                                                    here: our certificate given, wrong, not given
    proxy_ssl.t, stream_proxy_ssl.t                 failures (a slow handshake), sessions (used again), tunnels (bulk)
    upstream_zone_ssl.t, stream_upstream_zone_ssl.t sessions: one for each server
    proxy_ssl_keepalive.t                           sessions: one connection, several exchanges
    proxy_request_buffering_ssl.t                   sessions: a body goes up as it comes
    stream_proxy_protocol_ssl.t                     tunnels: the PROXY line goes before TLS
    stream_proxy_ssl_alpn.t                         here: HTTP/2 is never agreed on; no protocol can be configured
    proxy_websocket.t                               tunnels, over TLS
  without an equivalent: proxy_ssl_crl.t (no revocation lists), *_ssl_certificate_vars.t, *_ssl_certificate_cache.t and
  stream_proxy_ssl_name_complex.t (no variables), *_conf_command.t (no OpenSSL commands), proxy_h2_ssl.t, grpc_ssl.t and
  uwsgi_ssl*.t (other protocols upstream), password files (keys under a password are refused when they are read).

haproxy reg-tests
    ssl/ssl_errors.vtc (towards servers)            here and failures: not verified, another name, our certificate
                                                    refused, no common cipher
    ssl/ssl_sni_auto.vtc                            here: SNI without a port, none for an address, and a configured one
    ssl/ssl_default_server.vtc, ssl/set_ssl_server_cert.vtc   here: our certificate, and none
    ssl/tls12_resume_*.vtc, ssl/tls13_resume_*.vtc  sessions, of both versions, with tickets and without
    connection/http_reuse_conn_hash.vtc             sessions: no session and no connection of another name or group
    ssl/ssl_server_samples.vtc                      here: the certificate of the server that answers is the one checked
  without an equivalent: health checks (checks/*ssl*, checks/tls_health_checks.vtc), the runtime API (server/cli_*ssl*,
  ssl/set_ssl_*, ssl/new_del_*), OCSP, 0-RTT (never sent to upstreams), crt-list filters, QUIC.
"""

import re
import socket
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from tests.config.issuing import Issued, issue
from tests.harness import RawServer, Relay, raw_server
from tests.net.tls_upstreams import (
    GET,
    LOCAL,
    MIDDLE,
    OK,
    ROOT,
    STRANGER,
    TLS_1_2,
    TLS_1_3,
    VERSIONS,
    arrived,
    asking_for_a_certificate,
    configuration,
    identified,
    leaf,
    named,
    refused,
    secured,
    served,
    serving,
    trusting,
)

Start = Callable[..., Relay]

YESTERDAY, TOMORROW = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
OLD_MIDDLE = issue("Intermediate of old", ROOT, since=YESTERDAY - timedelta(days=9), days=9)
WILDCARD = leaf("*.example.com")
OWN = issue("localhost", names=("localhost",))
# The name of the root that is trusted, and another key.
IMPOSTOR = issue("Root of the tests")


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize(
    ("host", "tls", "shown"),
    [
        pytest.param("localhost", "", LOCAL, id="the host's own name"),
        pytest.param("localhost", "", leaf("a.example", "localhost"), id="one name of several"),
        pytest.param("127.0.0.1", "", leaf("127.0.0.1"), id="its address"),
        pytest.param("127.0.0.1", 'server_name = "app.internal"', leaf("app.internal"), id="a name, not its address"),
        pytest.param("localhost", 'server_name = "app.internal"', leaf("app.internal"), id="a name and not the host's"),
        pytest.param("localhost", 'server_name = "a.example.com"', WILDCARD, id="a wildcard's"),
        pytest.param("localhost", "", leaf("*.local", "localhost"), id="its name beside a wildcard too wide to count"),
    ],
)  # fmt: skip
def test_a_server_with_a_certificate_for_its_name_is_asked(
    relay: Start, upstream: RawServer, tmp_path: Path, host: str, tls: str, shown: Issued, version: int
) -> None:
    parts = ", ".join(part for part in (tls, trusting(tmp_path)) if part)
    running = relay(configuration([named(upstream, host)], parts))
    far = served(running.connect(), upstream, serving(shown, version=version))
    assert far.tls.get_protocol_version() == version
    line = running.line(event="exchange")
    assert (line["status"], line["reason"]) == (200, None)


@pytest.mark.parametrize(
    ("shown", "behind", "trusted"),
    [
        pytest.param(LOCAL, [LOCAL], [ROOT, MIDDLE], id="an intermediate that it does not send and `ca` has"),
        pytest.param(LOCAL, [MIDDLE], [STRANGER, ROOT], id="several authorities in one file"),
        pytest.param(LOCAL, [MIDDLE, ROOT], [ROOT], id="a root that it need not send"),
        pytest.param(OWN, [OWN], [OWN], id="a certificate that nobody has signed, given as `ca` itself"),
    ],
)
def test_a_chain_may_be_completed_by_what_is_trusted(
    relay: Start, upstream: RawServer, tmp_path: Path, shown: Issued, behind: list[Issued], trusted: list[Issued]
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path, *trusted)))
    served(running.connect(), upstream, serving(shown, *behind))


# What is refused.

NAMES = [
    pytest.param("localhost", "", leaf("other.example"), id="another name"),
    pytest.param("localhost", "", leaf("127.0.0.1"), id="its address where its name is asked for"),
    pytest.param("127.0.0.1", "", LOCAL, id="its name where its address is asked for"),
    pytest.param("127.0.0.1", "", leaf("127.0.0.2"), id="another address"),
    pytest.param("localhost", "", leaf("www.localhost"), id="a name below it"),
    pytest.param("localhost", 'server_name = "a.b.example.com"', WILDCARD, id="two labels for a wildcard"),
    pytest.param("localhost", 'server_name = "example.com"', WILDCARD, id="no label for a wildcard"),
    pytest.param("localhost", 'server_name = "aexample.com"', WILDCARD, id="a name that ends like a wildcard's"),
    pytest.param("localhost", 'server_name = "app.internal"', LOCAL, id="the host's name where another is configured"),
    pytest.param("localhost", "", leaf("other.example", common="localhost"), id="a common name beside other names"),
    pytest.param("localhost", "", leaf(common="localhost"), id="nothing but a common name"),
]


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize(("host", "tls", "shown"), NAMES)
def test_a_certificate_for_another_name_is_refused(
    relay: Start, upstream: RawServer, tmp_path: Path, host: str, tls: str, shown: Issued, version: int
) -> None:
    parts = ", ".join(part for part in (tls, trusting(tmp_path)) if part)
    running = relay(configuration([named(upstream, host)], parts))
    client = running.connect()
    client.send(GET)
    assert arrived(upstream, serving(shown, version=version)).heard() == b""
    wanted = re.search('"(.*)"', tls)
    detail = refused(running, client, "upstream-certificate")
    assert (wanted[1] if wanted else host) in detail, "whoever reads the log wants to know which name was asked for"
    assert named(upstream, "127.0.0.1") in detail


CHAINS = [
    pytest.param(leaf("localhost", since=YESTERDAY, days=0), [], "expired", id="expired"),
    pytest.param(leaf("localhost", since=TOMORROW), [], "not yet valid", id="not yet valid"),
    pytest.param(leaf("localhost", by=OLD_MIDDLE), [OLD_MIDDLE], "expired", id="an expired intermediate"),
    pytest.param(OWN, [OWN], "self.signed", id="signed by itself"),
    pytest.param(leaf("localhost", by=STRANGER), [STRANGER], "self.signed|issuer", id="a root of its own, sent too"),
    pytest.param(leaf("localhost", by=STRANGER), [MIDDLE], "issuer", id="a root of its own"),
    pytest.param(leaf("localhost", by=IMPOSTOR), [MIDDLE], "signature|issuer", id="the root's name and another key"),
    pytest.param(LOCAL, [LOCAL], "issuer", id="a missing intermediate"),
    pytest.param(leaf("localhost", by=LOCAL, common="forged"), [LOCAL, MIDDLE], "CA|issuer", id="signed by a server's"),
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize(("shown", "behind", "words"), CHAINS)
def test_a_certificate_that_nobody_trusted_vouches_for_is_refused_and_the_log_says_why(
    relay: Start, upstream: RawServer, tmp_path: Path, shown: Issued, behind: list[Issued], words: str, version: int
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = running.connect()
    client.send(GET)
    assert arrived(upstream, serving(shown, *behind, version=version)).heard() == b""
    detail = refused(running, client, "upstream-certificate")
    assert re.search(words, detail), detail
    assert named(upstream, "127.0.0.1") in detail


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize(
    ("shown", "behind", "alert"),
    [
        (leaf("localhost", by=STRANGER), [MIDDLE], "unknown ca"),
        (leaf("localhost", since=YESTERDAY, days=0), [MIDDLE], "certificate expired"),
    ],
)
def test_an_upstream_is_told_by_an_alert_what_is_wrong_with_its_certificate(
    relay: Start,
    upstream: RawServer,
    tmp_path: Path,
    shown: Issued,
    behind: list[Issued],
    alert: str,
    version: int,
) -> None:
    """RFC 8446 4.4.2.4; it is what the upstream's own log will say."""
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = running.connect()
    client.send(GET)
    with pytest.raises(SSL.Error) as caught:
        arrived(upstream, serving(shown, *behind, version=version)).shake_hands()
    assert alert in str(caught.value)
    refused(running, client, "upstream-certificate")


def test_what_a_refused_server_has_shown_is_not_believed_the_second_time_either(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    """A session that could be resumed would spare it the check (RFC 8446 4.6.1)."""
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    context = serving(leaf("other.example"))
    for _ in range(3):
        client = running.connect()
        client.send(GET)
        assert arrived(upstream, context).heard() == b""
        refused(running, client, "upstream-certificate")


# The system's store.


def test_without_a_ca_the_systems_store_is_believed(
    relay: Start, upstream: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca0.pem"))  # where OpenSSL looks for it
    running = relay(configuration([named(upstream)], ""))
    served(running.connect(), upstream, serving())


def test_without_a_ca_nobody_else_is_believed(relay: Start, upstream: RawServer) -> None:
    running = relay(configuration([named(upstream)], ""))
    client = running.connect()
    client.send(GET)
    assert arrived(upstream, serving()).heard() == b""
    refused(running, client, "upstream-certificate")


def test_with_a_ca_the_systems_store_is_not_believed(
    relay: Start, upstream: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca0.pem"))
    running = relay(configuration([named(upstream)], trusting(tmp_path, STRANGER)))
    client = running.connect()
    client.send(GET)
    assert arrived(upstream, serving()).heard() == b""
    refused(running, client, "upstream-certificate")


# No verification.


@pytest.mark.parametrize("shown", [OWN, leaf("other.example", by=STRANGER, since=YESTERDAY, days=0)])
def test_any_certificate_will_do_without_verification(relay: Start, upstream: RawServer, shown: Issued) -> None:
    running = relay(configuration([named(upstream)], 'verify = false, insecure_reason = "a lab of ours"'))
    far = served(running.connect(), upstream, serving(shown, shown))
    assert far.server_name == "localhost", "who is not verified is still told whom we want"


# Which server is asked for.


@pytest.mark.parametrize(
    ("host", "tls", "name"),
    [
        pytest.param("localhost", "", "localhost", id="the host, without its port"),
        pytest.param("127.0.0.1", "", None, id="none for an address (RFC 6066 3)"),
        pytest.param("127.0.0.1", 'server_name = "app.internal"', "app.internal", id="the configured, for an address"),
        pytest.param("localhost", 'server_name = "app.internal"', "app.internal", id="the configured, for a host"),
    ],
)  # fmt: skip
def test_sni_says_the_name_that_the_certificate_has_to_be_for(
    relay: Start, upstream: RawServer, tmp_path: Path, host: str, tls: str, name: str | None
) -> None:
    shown = leaf("localhost", "127.0.0.1", "app.internal")
    parts = ", ".join(part for part in (tls, trusting(tmp_path)) if part)
    running = relay(configuration([named(upstream, host)], parts))
    client = running.connect()
    client.send(GET)
    far = secured(upstream, serving(shown))
    assert far.server_name == name
    assert b"\r\nHost: example.com\r\n" in far.answer(), "the client's own Host is another matter"
    assert client.read(len(OK)) == OK


def test_what_the_client_names_is_never_whom_we_ask_for(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    client = running.connect()
    client.send(GET.replace(b"example.com", b"attacker.example"))
    far = secured(upstream, serving())
    assert far.server_name == "localhost"
    far.answer()
    assert client.read(len(OK)) == OK


def test_an_upstream_behind_a_unix_socket_is_asked_by_its_configured_name(relay: Start, tmp_path: Path) -> None:
    # pytest's own folders have paths too long for a UNIX socket.
    with (
        tempfile.TemporaryDirectory(prefix="wsrelay-") as folder,
        raw_server(family=socket.AF_UNIX, name=f"{folder}/app.sock") as server,
    ):
        parts = f'server_name = "app.internal", {trusting(tmp_path)}'
        running = relay(configuration([server.address], parts))
        far = served(running.connect(), server, serving(leaf("app.internal")))
        assert far.server_name == "app.internal"


def test_http_2_is_never_agreed_on(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    offered: list[bytes] = []

    def choose(_: SSL.Connection, protocols: list[bytes]) -> Any:
        offered.extend(protocols)
        return protocols[0]

    context = serving()
    context.set_alpn_select_callback(choose)
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    served(running.connect(), upstream, context)
    assert set(offered) <= {b"http/1.1"}


# Our own certificate.

US = leaf("relay.example", common="the relay")


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("trusted", [ROOT, MIDDLE], ids=["chain sent whole", "chain sent in part"])
def test_an_upstream_that_asks_for_our_certificate_gets_it_with_its_chain(
    relay: Start, upstream: RawServer, tmp_path: Path, version: int, trusted: Issued
) -> None:
    parts = f"{trusting(tmp_path)}, {identified(tmp_path, US, MIDDLE)}"
    running = relay(configuration([named(upstream)], parts))
    trusted_too = [trusted] if trusted is ROOT else [ROOT, MIDDLE]
    far = served(running.connect(), upstream, asking_for_a_certificate(serving(version=version), *trusted_too))
    assert far.client == "the relay"


def test_our_certificate_is_shown_only_where_it_is_asked_for(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    parts = f"{trusting(tmp_path)}, {identified(tmp_path, US, MIDDLE)}"
    running = relay(configuration([named(upstream)], parts))
    assert served(running.connect(), upstream, serving()).client is None


def test_an_upstream_may_ask_for_a_certificate_that_we_do_not_have(
    relay: Start, upstream: RawServer, tmp_path: Path
) -> None:
    running = relay(configuration([named(upstream)], trusting(tmp_path)))
    far = served(running.connect(), upstream, asking_for_a_certificate(serving(), ROOT, require=False))
    assert far.client is None


@pytest.mark.parametrize("ours", ["none", "one that the upstream does not trust"])
def test_an_upstream_that_insists_on_another_certificate_refuses_in_tls_1_2(
    relay: Start, upstream: RawServer, tmp_path: Path, ours: str
) -> None:
    own = "" if ours == "none" else ", " + identified(tmp_path, leaf("relay.example", by=STRANGER))
    running = relay(configuration([named(upstream)], trusting(tmp_path) + own))
    client = running.connect()
    client.send(GET)
    context = asking_for_a_certificate(serving(version=TLS_1_2), ROOT)
    assert arrived(upstream, context).heard() == b""
    detail = refused(running, client, "upstream-tls")
    assert re.search("handshake failure|certificate|unknown ca", detail), detail


@pytest.mark.parametrize(
    ("ours", "words"), [("none", "certificate required"), ("one that the upstream does not trust", "unknown ca")]
)
def test_an_upstream_that_insists_on_another_certificate_refuses_after_the_handshake_in_tls_1_3(
    relay: Start, upstream: RawServer, tmp_path: Path, ours: str, words: str
) -> None:
    """Our side of the handshake is done then, and the alert is what comes in place of an answer (RFC 8446 4.4.2.4)."""
    own = "" if ours == "none" else ", " + identified(tmp_path, leaf("relay.example", by=STRANGER))
    running = relay(configuration([named(upstream)], trusting(tmp_path) + own))
    client = running.connect()
    client.send(GET)
    context = asking_for_a_certificate(serving(version=TLS_1_3), ROOT)
    assert arrived(upstream, context).heard() == b""
    detail = refused(running, client, "upstream-tls")
    assert words in detail

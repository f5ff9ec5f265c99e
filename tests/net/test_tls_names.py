"""Which certificate for which name, and who gets none: `unknown_sni`. What test_tls.py has is not repeated.

Public test files, driven through an equivalent configuration:
- nginx-tests ssl_sni.t: a certificate by name, Host and SNI that differ, the name of a resumed session; stream_ssl_
  certificate.t, ssl_certificate.t and ssl_sni_sessions.t, as far as sessions of several names go; ssl_certificates.t:
  two kinds of key; ssl_reject_handshake.t and stream_ssl_reject_handshake.t: unknown and absent names are rejected;
  ssl_certificate_chain.t stands in test_tls.py; ssl_proxy_upgrade.t in test_tls_sessions.py and tests/e2e.
- haproxy reg-tests/ssl/ssl_simple_crt-list.vtc: several names of one certificate under strict-sni; add_ssl_crt-list.vtc
  and del_ssl_crt-list.vtc: a name that is not there; tls12_ and tls13_ssl_crt-list_filters.vtc: ECDSA and RSA for one
  name, exact and by wildcard; ssl_alpn.vtc stands in test_tls.py, but for h2; set_ssl_cert_noext.vtc: after a renewal a
  name may be gone (the tests of renewal have it).
Not applicable: nginx-tests ssl_sni_protocols.t, stream_ssl_sni_protocols.t (versions are the listener's), ssl_sni_
reneg.t (test_tls.py: no renegotiation), certificates from variables, perl, engines, stores or with a password, and the
negative filters, ssl_generate_certificate.vtc and show_ssl_sni_filter.vtc of haproxy: nothing here is like them. Nor
are tls12_ and tls13_0rtt_*.vtc (no early data where TLS ends here). Its *_resume_*.vtc stand in test_tls.py, and
reg-tests/quic and nginx-tests h2_, h3_ and mail_ have the same over protocols that are not spoken.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.harness import RawServer, Relay
from tests.net import hellos
from tests.tls import ECDSA, RSA, Authority, Client, Issued, context, reasons

Start = Callable[..., Relay]

PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
REJECT = 'unknown_sni = "reject"'
ONLY_ECDSA, ONLY_RSA = "ECDSA+SHA256:ECDSA+SHA384", "RSA-PSS+SHA256:RSA+SHA256"
GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def serving(relay: Start) -> Start:
    """Start a relay that answers by itself over TLS, with these certificates."""

    def start(*issued: Issued, more: str = "", pump: str = "auto") -> Relay:
        listed = ", ".join(each.toml for each in issued)
        return relay(
            f'pump = "{pump}"\n[[listen]]\naddress = "127.0.0.1:0"\ntls = [{listed}]\n{more}\n'
            '[[route]]\npath = "/"\nrespond = { body = "here" }\n'
        )

    return start


def chain(running: Relay, name: str | None, how: SSL.Context | None = None) -> tuple[bytes, ...]:
    """What a client is sent that asks for this name."""
    client = Client(running.port(), how or context(), name)
    try:
        return client.chain
    finally:
        client.close()


def answer(running: Relay, name: str | None) -> bytes:
    """What a request is answered after a handshake for this name."""
    client = Client(running.port(), context(), name)
    try:
        return client.get()
    finally:
        client.close()


def rejected(running: Relay, name: str | None, how: SSL.Context | None = None) -> None:
    """The handshake ends with unrecognized_name, and the log says for which name."""
    with pytest.raises(SSL.Error, check=lambda error: "unrecognized name" in reasons(error)):
        Client(running.port(), how or context(), name)
    line = running.line(event="failed")
    assert (line["outcome"], line["reason"]) == ("tls-failed", "unknown-sni")
    assert line["sni"] == (name and name.lower().removesuffix("."))
    assert line["tls"] is None


# Whose certificate.


@PUMPS
@VERSIONS
@pytest.mark.parametrize("exact_first", [True, False])
def test_the_exact_name_counts_before_a_wildcard_in_any_order(
    authority: Authority, serving: Start, pump: str, version: int, exact_first: bool
) -> None:
    first, exact, wildcard = (authority.issue(name) for name in ("other.test", "www.example.com", "*.example.com"))
    running = serving(first, *((exact, wildcard) if exact_first else (wildcard, exact)), pump=pump)
    for name, expected in {
        "www.example.com": exact,
        "WWW.EXAMPLE.com": exact,
        "www.example.com.": exact,
        "api.example.com": wildcard,
        "xn--bcher-kva.example.com": wildcard,
        "under_score.example.com": wildcard,
        "example.com": first,
        "a.www.example.com": first,
        "wwwexample.com": first,
        "other.test": first,
        "nobody.test": first,
        "127.0.0.1": first,
        "::1": first,
        None: first,
    }.items():
        assert chain(running, name, context(version=version)) == expected.sent, name


def test_all_names_of_a_certificate_lead_to_it(authority: Authority, serving: Start) -> None:
    other, several = authority.issue("other.test"), authority.issue("a.example", "b.example", "*.c.example")
    running = serving(other, several)
    for name in ("a.example", "b.example", "x.c.example"):
        assert chain(running, name) == several.sent
    assert chain(running, "c.example") == other.sent


def test_the_name_in_the_subject_alone_is_none(authority: Authority, serving: Start) -> None:
    """RFC 9525 2: names are read from subjectAltNames; a certificate for an address has none to be asked by."""
    address, named = authority.issue("127.0.0.1"), authority.issue("localhost")
    running = serving(named, address)
    assert chain(running, "127.0.0.1") in (named.sent, address.sent)
    assert chain(running, "localhost") == named.sent
    assert chain(running, None) == named.sent


@pytest.mark.parametrize("count", [100, 300])
def test_many_certificates_are_told_apart(authority: Authority, serving: Start, count: int) -> None:
    """CVE-2026-27588: a server that did so up to a hundred names only."""
    one = authority.root.create_child_ca(key_type=ECDSA)
    issued = [authority.issue(f"n{number}.example", by=one) for number in range(count)]
    running = serving(*issued)
    for number in (0, 1, 99, count - 1):
        assert chain(running, f"N{number}.Example") == issued[number].sent


# ECDSA and RSA.


@VERSIONS
def test_both_kinds_of_key_serve_the_names_that_they_share(authority: Authority, serving: Start, version: int) -> None:
    """They need not be for the same names otherwise."""
    ecdsa = authority.issue("shared.example", "one.example", key_type=ECDSA)
    rsa = authority.issue("shared.example", "two.example", key_type=RSA)
    running = serving(authority.issue("other.test"), ecdsa, rsa)
    assert chain(running, "shared.example", context(version=version, signatures=ONLY_ECDSA)) == ecdsa.sent
    assert chain(running, "shared.example", context(version=version, signatures=ONLY_RSA)) == rsa.sent
    assert chain(running, "one.example", context(version=version, signatures=ONLY_ECDSA)) == ecdsa.sent
    assert chain(running, "two.example", context(version=version, signatures=ONLY_RSA)) == rsa.sent


@VERSIONS
def test_a_wildcard_of_the_other_kind_serves_who_cannot_verify_the_exact_one(
    authority: Authority, serving: Start, version: int
) -> None:
    """As haproxy's crt-list filters have it: an old client, which knows RSA alone, gets what it can use."""
    exact = authority.issue("www.example.com", key_type=ECDSA)
    wildcard = authority.issue("*.example.com", key_type=RSA)
    running = serving(authority.issue("other.test"), exact, wildcard)
    assert chain(running, "www.example.com", context(version=version, signatures=ONLY_ECDSA)) == exact.sent
    assert chain(running, "www.example.com", context(version=version, signatures=ONLY_RSA)) == wildcard.sent


@VERSIONS
def test_a_name_of_one_kind_only_is_not_served_with_anothers_certificate(
    authority: Authority, serving: Start, version: int
) -> None:
    running = serving(authority.issue("other.test", key_type=RSA), authority.issue("www.example.com", key_type=ECDSA))
    with pytest.raises(SSL.Error, check=lambda error: "handshake failure" in reasons(error)):
        Client(running.port(), context(version=version, signatures=ONLY_RSA), "www.example.com")
    line = running.line(event="failed")
    assert (line["reason"], line["sni"]) == ("tls-cipher", "www.example.com")


# Who gets none.


@PUMPS
@VERSIONS
@pytest.mark.parametrize(
    "name", ["nobody.test", "example.com", "a.b.example.com", "com", "127.0.0.1", "Nobody.TEST", "nobody.test.", None]
)
def test_unknown_and_absent_names_are_rejected_where_that_is_wanted(
    authority: Authority, serving: Start, pump: str, version: int, name: str | None
) -> None:
    running = serving(authority.issue("localhost"), authority.issue("*.example.com"), more=REJECT, pump=pump)
    rejected(running, name, context(version=version))
    assert running.sessions == 0


@PUMPS
@VERSIONS
@pytest.mark.parametrize("name", ["localhost", "LocalHost", "localhost.", "www.example.com"])
def test_known_names_are_served_all_the_same(
    authority: Authority, serving: Start, pump: str, version: int, name: str
) -> None:
    one, other = authority.issue("localhost"), authority.issue("*.example.com")
    running = serving(one, other, more=REJECT, pump=pump)
    expected = other if "example" in name else one
    assert chain(running, name, context(version=version)) == expected.sent


def test_one_certificate_is_enough_to_reject_all_other_names(authority: Authority, serving: Start) -> None:
    running = serving(authority.issue("localhost"), more=REJECT)
    rejected(running, "nobody.test")
    assert answer(running, "localhost").endswith(b"here")


def test_a_rejection_is_the_alert_and_an_orderly_end(authority: Authority, serving: Start) -> None:
    client = serving(authority.issue("localhost"), more=REJECT).connect()
    client.send(hellos.hello(b"nobody.test", (b"http/1.1",)) + b"\x14\x03\x03\x00\x01\x01")
    answer = client.read_all()
    assert (answer[:2], answer[3:]) == (b"\x15\x03", b"\x00\x02" + hellos.UNRECOGNIZED_NAME)


@PUMPS
def test_who_has_forgotten_the_s_is_told_so_there_too(authority: Authority, serving: Start, pump: str) -> None:
    """Plain HTTP names no server by TLS, but that is not what is wrong with it."""
    running = serving(authority.issue("localhost"), authority.issue("*.example.com"), more=REJECT, pump=pump)
    client = running.connect()
    client.send(GET)
    assert b"\r\nX-Wsrelay-Reason: plain-http\r\n" in client.read_all()
    assert running.line(event="exchange")["reason"] == "plain-http"


def test_at_layer_4_nobody_is_dialled_for_a_rejected_name(
    relay: Start, upstream: RawServer, authority: Authority
) -> None:
    running = relay(
        f'[[listen]]\naddress = "127.0.0.1:0"\nmode = "tcp"\nupstream = "app"\n{REJECT}\n'
        f"tls = [{authority.issue('localhost').toml}]\n"
        f'[[upstream]]\nname = "app"\nservers = ["{upstream.address}"]\n'
    )
    rejected(running, "nobody.test")
    assert upstream.nobody_came()
    Client(running.port(), context(), "localhost").close()
    upstream.accept()


def test_by_default_nobody_is_rejected(authority: Authority, serving: Start) -> None:
    running = serving(authority.issue("localhost"), more='unknown_sni = "default"')
    assert answer(running, "nobody.test").endswith(b"here")


# Names that are none.


@pytest.mark.parametrize("more", ["", REJECT], ids=["default", "reject"])
@pytest.mark.parametrize(
    "name",
    [b"", b"localhost\x00.test", b"local host", b"localhost\r\n", b"." * 10, b"a" * 300, b"\xff\xfe"],
    ids=["empty", "nul", "space", "line end", "dots", "long", "bytes"],
)
def test_a_name_that_is_none_ends_that_handshake_and_stays_out_of_the_log(
    authority: Authority, serving: Start, more: str, name: bytes
) -> None:
    running = serving(authority.issue("localhost"), authority.issue("other.test"), more=more)
    client = running.connect()
    client.send(hellos.hello(name))
    client.ending()
    line = running.line(event="failed")
    assert line["outcome"] == "tls-failed"
    assert line["sni"] is None
    assert chain(running, "localhost")


# The name in the log, in HTTP, and in sessions.


def test_host_and_server_name_may_differ(authority: Authority, serving: Start) -> None:
    """Nothing hangs on the name but the certificate, so there is nothing to be protected from another Host."""
    running = serving(authority.issue("localhost"), authority.issue("www.example.com"))
    assert answer(running, "www.example.com").startswith(b"HTTP/1.1 200 ")
    line = running.line(event="exchange")
    assert (line["sni"], line["host"]) == ("www.example.com", "localhost")


@pytest.mark.parametrize("several", [True, False], ids=["several certificates", "one"])
@pytest.mark.parametrize(
    ("name", "logged"),
    [("LocalHost", "localhost"), ("localhost.", "localhost"), ("nobody.test", "nobody.test"), (None, None)],
)
def test_the_log_has_the_name_however_many_certificates_there_are(
    authority: Authority, serving: Start, several: bool, name: str | None, logged: str | None
) -> None:
    issued = [authority.issue("localhost"), *([authority.issue("other.test")] if several else [])]
    running = serving(*issued)
    assert answer(running, name).endswith(b"here")
    assert running.line(event="exchange")["sni"] == logged


@VERSIONS
@pytest.mark.parametrize("options", [0, SSL.OP_NO_TICKET], ids=["ticket", "session id"])
def test_a_session_of_one_name_is_no_way_to_a_name_that_is_rejected(
    authority: Authority, serving: Start, version: int, options: int
) -> None:
    running = serving(authority.issue("localhost"), authority.issue("*.example.com"), more=REJECT)
    how = context(version=version, options=options)
    first = Client(running.port(), how, "www.example.com")
    first.get()
    session = first.tls.get_session()
    assert session is not None
    first.close()
    again = Client(running.port(), how, "www.example.com", session)
    assert again.reused
    again.get()
    again.close()
    with pytest.raises(SSL.Error, check=lambda error: "unrecognized name" in reasons(error)):
        Client(running.port(), how, "nobody.test", session)
    assert [running.next_line()["sni"] for _ in range(3)] == ["www.example.com", "www.example.com", "nobody.test"]


@VERSIONS
def test_a_session_of_one_name_is_not_resumed_under_anothers(
    authority: Authority, serving: Start, version: int
) -> None:
    """CVE-2025-23419: what was agreed on under one name says nothing of another."""
    one, other = authority.issue("one.example"), authority.issue("other.example")
    running = serving(one, other)
    how = context(version=version)
    first = Client(running.port(), how, "one.example")
    first.get()
    session = first.tls.get_session()
    first.close()
    second = Client(running.port(), how, "other.example", session)
    assert not second.reused
    assert second.chain == other.sent
    second.close()


# Hellos that are split, where a name decides.


@PUMPS
@VERSIONS
def test_a_hello_may_come_in_pieces_where_its_name_decides(
    authority: Authority, serving: Start, pump: str, version: int
) -> None:
    running = serving(authority.issue("localhost"), authority.issue("www.example.com"), more=REJECT, pump=pump)
    trusting = authority.trusting()
    trusting.minimum_version = trusting.maximum_version = {
        SSL.TLS1_2_VERSION: ssl.TLSVersion.TLSv1_2,
        SSL.TLS1_3_VERSION: ssl.TLSVersion.TLSv1_3,
    }[version]
    wire = running.connect()
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(coming, going, server_hostname="www.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = going.read()
    for cut in (1, 4, 5, 6, 100, len(hello) - 1):
        wire.send(hello[:cut])
        running.settle()
        hello = hello[cut:]
        if not hello:
            break
    wire.send(hello)
    while True:
        coming.write(wire.socket.recv(65536))
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            wire.send(going.read())
        else:
            break
    client.write(GET)
    wire.send(going.read())
    running.line(event="exchange", status=200, sni="www.example.com")


@PUMPS
@VERSIONS
@pytest.mark.parametrize("count", [1, 2], ids=["one certificate", "two"])
def test_the_name_is_known_of_a_client_that_resumes_too(
    authority: Authority, serving: Start, pump: str, version: int, count: int
) -> None:
    """OpenSSL forgets it in TLS 1.2, unless somebody has taken it."""
    issued = [authority.issue(name) for name in ("a.example", "b.example")[:count]]
    running = serving(*issued, pump=pump)
    how = context(version=version)
    first = Client(running.port(), how, "a.example")
    first.get()
    session = first.tls.get_session()
    first.close()
    second = Client(running.port(), how, "a.example", session=session)
    assert second.reused
    second.get()
    second.close()
    assert [running.line(event="exchange")["sni"] for _ in range(2)] == ["a.example"] * 2

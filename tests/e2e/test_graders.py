"""How testssl.sh and sslscan grade the relay's TLS as it is by default, beside nginx and HAProxy by theirs.

Some five minutes in all, since testssl.sh opens hundreds of connections to each of six servers; one after the other.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import graded, graders
from tests.e2e.graders import LOW, Finding, Report
from tests.e2e.peers import configuration
from tests.harness import Relay
from tests.tls import ECDSA, RSA, Authority, Issued

pytestmark = [pytest.mark.e2e, pytest.mark.long]

NOT_OF_THE_SERVER = {
    "cert_validityPeriod": "the certificates of the tests hold for a thousand years; more than 398 days is a fault",
    "cert_revocation": "what is signed on the spot has neither CRL nor OCSP; no server can make up for that",
    "engine_problem": "testssl.sh says of its own openssl that it knows no GOST",
}

# Where a finding says INFO and the other servers' says OK, although nothing is worse.
BY_CHOICE = {
    "TLS 1.3 only": {
        "TLS1_2": "that it is not offered is what was asked for",
        "cipher_order": "of an order among nothing but the suites of TLS 1.3 testssl.sh has no opinion",
    },
    "two certificates": {
        "cert_keySize": "RSA with 2048 bits is INFO and ECDSA is OK; the other servers have no RSA here"
    },
}

VULNERABILITIES = {
    "heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego", "secure_client_renego", "CRIME_TLS", "BREACH",
    "POODLE_SSL", "fallback_SCSV", "SWEET32", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4",
}  # fmt: skip

KINDS = ("http", "layer 4", "TLS 1.3 only", "two certificates")
TLS_1_2, TLS_1_3 = "TLSv1.2", "TLSv1.3"
VERSIONS = {kind: {TLS_1_2, TLS_1_3} for kind in KINDS} | {"TLS 1.3 only": {TLS_1_3}}

SUITES_OF_1_3 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
# What TLS 1.2 has with ephemeral keys and AEAD, for each kind of certificate (RFC 5289, RFC 7905).
SUITES_OF_1_2 = {
    kind: {f"ECDHE-{kind}-{cipher}" for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")}
    for kind in ("ECDSA", "RSA")
}


@pytest.fixture(scope="module")
def hello() -> Iterator[int]:
    with graded.hello_server() as port:
        yield port


@pytest.fixture
def start(relay: Callable[[str], Relay], authority: Authority, issued: Issued, hello: int) -> Callable[[str], int]:
    """Start a relay of one kind; its port."""

    def started(kind: str) -> int:
        listen, route = f"tls = [{issued.toml}]", True
        match kind:
            case "http":
                pass
            case "layer 4":
                listen, route = f'{listen}\nmode = "tcp"\nupstream = "app"', False
            case "TLS 1.3 only":
                listen += '\ntls_min = "1.3"'
            case "two certificates":
                both = (authority.issue("localhost", key_type=key_type).toml for key_type in (ECDSA, RSA))
                listen = f'tls = [{", ".join(both)}]\nhsts = "8760h"'
            case _:
                raise AssertionError(kind)
        return relay(configuration(hello, listen, route=route)).port()

    return started


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """What has been graded already, by kind."""
    return {}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def report(kind: str, reports: dict[str, Report], start: Callable[[str], int], tmp_path: Path, root: Path) -> Report:
    """What testssl.sh says of a relay of that kind. It is asked once, so that a traceback fails the first test."""
    if kind not in reports:
        reports[kind] = graders.grade(start(kind), tmp_path, root)
    return reports[kind]


@pytest.fixture(scope="module")
def others(hello: int, issued: Issued, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """What testssl.sh says of nginx and HAProxy with the same certificate and the same upstream."""
    found = {}
    for name, run in (("nginx", graded.nginx), ("haproxy", graded.haproxy)):
        folder = tmp_path_factory.mktemp(name)
        with run(folder, issued, hello) as port:
            found[name] = graders.grade(port, folder, root)
    return found


def worst(report: Report) -> dict[str, Finding]:
    """By name; of several certificates the one that is worst off."""
    return {finding.name: finding for finding in sorted(report, key=lambda finding: finding.mark)}


# testssl.sh.


def test_the_graders_are_awake(others: dict[str, Report]) -> None:
    """Nginx's default has CBC suites: a report in which that is not found would be worth nothing."""
    low = {finding.name for finding in others["nginx"] if finding.severity == "LOW"}
    assert {"cipherlist_AVERAGE", "LUCKY13", "HSTS"} <= low
    for report in others.values():
        assert {finding.name for finding in report} >= VULNERABILITIES | NOT_OF_THE_SERVER.keys()


def test_nothing_is_found_that_is_worse_than_low(report: Report) -> None:
    bad = [str(each) for each in report if each.mark > LOW and each.name not in NOT_OF_THE_SERVER]
    assert bad == []


def test_the_only_thing_to_complain_of_is_hsts_where_it_is_not_configured(kind: str, report: Report) -> None:
    low = [each.name for each in report if each.severity == "LOW"]
    assert low == ([] if kind == "two certificates" else ["HSTS"])


@pytest.mark.parametrize("other", ["nginx", "haproxy"])
def test_no_finding_is_worse_than_that_of_another_server(
    kind: str, other: str, report: Report, others: dict[str, Report]
) -> None:
    theirs, ours = worst(others[other]), worst(report)
    known = theirs.keys() - BY_CHOICE.get(kind, {}).keys()
    worse = [
        f"{ours[name]}; {other}: {theirs[name]}" for name in ours.keys() & known if ours[name].mark > theirs[name].mark
    ]
    assert worse == []


def test_no_known_vulnerability_is_found(kind: str, report: Report) -> None:
    found = [each for each in report if each.name in VULNERABILITIES]
    # testssl.sh 3.0 writes that one under the name of the one before it, where there is only TLS 1.3.
    misnamed = {"SWEET32"} if kind == "TLS 1.3 only" else set()
    assert {each.name for each in found} == VULNERABILITIES - misnamed
    assert [str(each) for each in found if each.severity != "OK"] == []


def test_what_is_offered_was_found_and_not_only_missed(kind: str, report: Report) -> None:
    """Of a server that fails at every handshake testssl.sh would have nothing bad to say."""
    found = worst(report)
    assert found["service"].text == "HTTP"
    assert ("offered" if TLS_1_2 in VERSIONS[kind] else "not offered") == found["TLS1_2"].text
    assert (found["TLS1_3"].severity, found["TLS1_3"].text) == ("OK", "offered with final")
    for name in ("cipherlist_STRONG", "PFS", "cipher_negotiated", "cert_chain_of_trust"):
        assert found[name].severity == "OK", found[name]
    assert found["cipher_order"].text.startswith("server")


def test_sessions_resume(report: Report) -> None:
    found = worst(report)
    assert found["sessionresumption_ticket"].text == "supported"
    assert found["sessionresumption_ID"].text == "supported"


# sslscan.


@pytest.fixture
def port(kind: str, start: Callable[[str], int]) -> int:
    """That of a relay of that kind."""
    return start(kind)


def test_sslscan_finds_what_is_to_be_offered_and_nothing_else(kind: str, port: int, tmp_path: Path) -> None:
    found = graders.scan(port, tmp_path)
    assert found.versions == VERSIONS[kind]
    assert not found.renegotiates
    assert not found.compresses
    suites = {TLS_1_3: SUITES_OF_1_3, TLS_1_2: set(SUITES_OF_1_2["ECDSA"])}
    if kind == "two certificates":
        suites[TLS_1_2] |= SUITES_OF_1_2["RSA"]
    for version in VERSIONS[kind]:
        assert {suite.name for suite in found.suites if suite.version == version} == suites[version]
    assert {suite.version for suite in found.suites} == VERSIONS[kind]
    assert min(found.group_bits) >= 112


# openssl's own client.

AES_128_FIRST = {
    TLS_1_2: ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"),
    TLS_1_3: ("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"),
}


def test_the_order_of_suites_is_the_servers_in_each_version(kind: str, port: int, tmp_path: Path) -> None:
    for version in VERSIONS[kind]:
        answer = graders.s_client(tmp_path, port, *AES_128_FIRST[version])
        assert f"New, {version}, Cipher is " in answer
        assert re.search("^New, .*AES_?256[_-]GCM", answer, re.MULTILINE), answer


@pytest.mark.parametrize("how", [(), ("-no_ticket",)], ids=["by ticket", "by id"])
def test_sessions_resume_in_each_version(kind: str, port: int, how: tuple[str, ...], tmp_path: Path) -> None:
    for version in VERSIONS[kind]:
        one = ("-tls1_2" if version == TLS_1_2 else "-tls1_3", *how)
        first = graders.s_client(tmp_path, port, *one, "-sess_out", f"{version}.pem")
        second = graders.s_client(tmp_path, port, *one, "-sess_in", f"{version}.pem")
        assert f"New, {version}, " in first
        assert f"Reused, {version}, " in second
        assert "\nhello\n" in second

"""What a renewal of a listener's certificates leaves alone, and what of it an operator hears (`credentials`)."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.logger import LogEvent, LogLevel

from tests.config.issuing import issue
from tests.control.renewed import MANY, Renewed, copied, listening, opened, put, written
from tests.control.renewing import said
from tests.harness import Relay, in_reactor
from tests.tls import Authority, Client, Issued, context

Start = Callable[..., Relay]
PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def served_still(running: Renewed, old: Issued, cause: str, name: str = "public") -> None:
    """New clients get the old certificate, and what fails is told with its cause."""
    assert running.shown() == old.sent[0]
    assert list(running.failing) == [name]
    assert cause in running.failing[name]


# What changes nothing.


def warnings(logged: list[LogEvent]) -> list[str]:
    """What was warned of in the name of the listener."""
    return [line for line in said(logged, LogLevel.warn) if line.startswith("public: ")]


def cut(chain: Path, key: Path) -> None:
    chain.write_bytes(chain.read_bytes()[:-40])


def cut_key(chain: Path, key: Path) -> None:
    key.write_bytes(key.read_bytes()[:-40])


def empty(chain: Path, key: Path) -> None:
    chain.write_bytes(b"")


def gone(chain: Path, key: Path) -> None:
    chain.unlink()


def key_gone(chain: Path, key: Path) -> None:
    key.unlink()


def a_folder(chain: Path, key: Path) -> None:
    key.unlink()
    key.mkdir()


def another_key(chain: Path, key: Path) -> None:
    key.write_bytes(issue("x", names=("x",)).key_pem)


def another_chain(chain: Path, key: Path) -> None:
    chain.write_bytes(issue("x", names=("localhost",)).pem)


def nonsense(chain: Path, key: Path) -> None:
    chain.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


BREAKS = {
    cut: "cut short",
    cut_key: "expected a private key",
    empty: "expected a certificate",
    gone: "No such file",
    key_gone: "No such file",
    a_folder: "expected a file",
    another_key: "the key belongs to no certificate",
    another_chain: "the key belongs to no certificate",
    nonsense: "cannot be read",
}


@pytest.mark.parametrize(("break_it", "cause"), BREAKS.items(), ids=[each.__name__ for each in BREAKS])
def test_what_cannot_be_used_changes_nothing_and_is_told(
    relay: Start,
    authority: Authority,
    old: Issued,
    tmp_path: Path,
    logged: list[LogEvent],
    break_it: Callable[[Path, Path], None],
    cause: str,
) -> None:
    kept = copied(old, tmp_path / "kept")
    running = opened(relay, listening(old))
    client = Client(running.relay.port(), context())
    break_it(old.chain, old.key)
    running.looks(MANY)
    served_still(running, old, cause)
    (error,) = said(logged, LogLevel.error)
    assert error.endswith("; still served: localhost (ecdsa) until 3000-01-01")
    assert client.get().endswith(b"here")
    client.close()
    if old.key.is_dir():
        old.key.rmdir()
    put(kept, old)
    running.looks()
    assert running.failing == {}
    new = authority.issue("localhost")
    put(new, old)
    running.looks()
    assert running.shown() == new.sent[0]


def test_one_bad_certificate_of_several_keeps_all_of_them(relay: Start, authority: Authority, old: Issued) -> None:
    """Half of a change would leave a listener that nobody has configured."""
    second = authority.issue("www.example.com")
    running = opened(relay, listening(old, second))
    put(authority.issue("localhost"), old)
    second.key.write_bytes(b"")
    running.looks(MANY)
    served_still(running, old, second.key.name)
    assert running.shown("www.example.com") == second.sent[0]


NOW = datetime.now(UTC)
BAD_TIMES = {"expired": NOW - timedelta(days=100), "not valid yet": NOW + timedelta(days=2)}


@pytest.mark.parametrize("since", BAD_TIMES.values(), ids=BAD_TIMES)
def test_a_certificate_that_is_not_valid_now_does_not_replace_one_that_is(
    relay: Start, old: Issued, tmp_path: Path, since: datetime
) -> None:
    running = opened(relay, listening(old))
    put(written(tmp_path, issue("localhost", names=("localhost",), since=since, days=90)), old)
    running.looks(MANY)
    served_still(running, old, "localhost (ecdsa) until ")
    assert "is not valid now" in running.failing["public"]


def test_an_intermediate_that_has_expired_counts_as_well(relay: Start, old: Issued, tmp_path: Path) -> None:
    root = issue("Root")
    between = issue("Between", root, since=NOW - timedelta(days=100), days=90)
    running = opened(relay, listening(old))
    put(written(tmp_path, issue("localhost", between, names=("localhost",)), between), old)
    running.looks(MANY)
    served_still(running, old, "is not valid now")


def test_where_nothing_valid_is_served_anything_is_better_than_what_is_older(relay: Start, tmp_path: Path) -> None:
    signed = [issue("localhost", names=("localhost",), since=since, days=90) for since in BAD_TIMES.values()]
    first, second = (written(tmp_path, each) for each in signed)
    running = opened(relay, listening(first))
    put(second, first)
    running.looks()
    assert running.shown() == ssl.PEM_cert_to_DER_cert(second.chain.read_text())
    assert running.failing == {}


# What is told.


def test_a_name_that_nobody_has_a_certificate_for_any_more_is_told_once(
    relay: Start, authority: Authority, logged: list[LogEvent]
) -> None:
    first = authority.issue("localhost", "b.example", "a.example")
    second = authority.issue("b.example")
    running = opened(relay, listening(first, second))
    put(authority.issue("localhost"), first)
    running.looks()
    assert warnings(logged) == ["public: there is no certificate for a.example any more"]
    running.looks(MANY)
    assert len(warnings(logged)) == 1


def test_a_name_that_a_wildcard_stands_for_now_is_not_lost(
    relay: Start, authority: Authority, logged: list[LogEvent]
) -> None:
    issued = authority.issue("www.example.com")
    running = opened(relay, listening(issued))
    new = authority.issue("*.example.com")
    put(new, issued)
    running.looks()
    assert running.shown("www.example.com") == new.sent[0]
    assert warnings(logged) == []


def test_what_clients_may_stumble_over_is_told_with_the_renewal(
    relay: Start, old: Issued, tmp_path: Path, logged: list[LogEvent]
) -> None:
    running = opened(relay, listening(old))
    soon = issue("localhost", names=("localhost",), since=NOW - timedelta(days=80), days=82)
    put(written(tmp_path, soon), old)
    running.looks()
    (warning, *_) = warnings(logged)
    assert warning.startswith("public: EXPIRES on ")
    assert running.failing == {}


def test_renewed_names_are_those_that_failures_are_counted_under(
    relay: Start, authority: Authority, old: Issued
) -> None:
    running = opened(relay, listening(old))
    put(authority.issue("localhost", "new.example"), old)
    running.looks()
    with pytest.raises(ssl.SSLCertVerificationError):
        running.relay.connect_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name="new.example")
    running.relay.line(event="failed")
    counts = running.relay.service.tls_counts
    assert counts is not None
    assert [name for name, _ in in_reactor(lambda: list(counts.failed))] == ["new.example"]

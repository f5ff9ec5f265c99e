"""Handshakes in numbers (`tls_counts`): what is counted under which name, what the log is told, what never grows."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent

from tests.harness import HandTime, RawServer, Relay, in_reactor
from tests.tls import Authority, Client, context
from wsrelay.control.tls_counts import NOT_OURS, NOT_SAID, TlsCounts
from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason
from wsrelay.net.record import ExchangeFacts, SessionRecord, TunnelFacts

MINUTES = 600
PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])
VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


class Inner:
    """The observer behind it: what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, SessionRecord]] = []

    def secured(self, record: SessionRecord) -> None:
        self.told.append(("secured", record))

    def exchanged(self, record: SessionRecord, facts: ExchangeFacts) -> None:
        self.told.append(("exchanged", record))

    def tunnel_opened(self, record: SessionRecord) -> None:
        self.told.append(("tunnel_opened", record))

    def tunnel_ended(self, record: SessionRecord, facts: TunnelFacts) -> None:
        self.told.append(("tunnel_ended", record))

    def session_failed(self, record: SessionRecord) -> None:
        self.told.append(("session_failed", record))


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counts(inner: Inner, clock: Clock) -> Iterator[TlsCounts]:
    made = TlsCounts(inner, clock)
    yield made
    made.stop()
    assert clock.getDelayedCalls() == []


def record(
    sni: str = "", reason: Reason | None = None, outcome: Outcome | None = Outcome.TLS_FAILED, *, resumed: bool = False
) -> SessionRecord:
    return SessionRecord(
        "ab-1", "public", "192.0.2.1:4711", 1.5, resumed=resumed, sni=sni, reason=reason, outcome=outcome
    )


def fail(counts: TlsCounts, sni: str, reason: Reason, times: int = 1) -> None:
    for _ in range(times):
        counts.session_failed(record(sni, reason))


# What is counted.


def test_everything_goes_on_to_the_observer_behind_it(counts: TlsCounts, inner: Inner) -> None:
    one, facts = record("a.example", Reason.TLS_UNKNOWN_CA), ExchangeFacts(200, 0, 0, 0.1)
    counts.secured(one)
    counts.exchanged(one, facts)
    counts.tunnel_opened(one)
    counts.tunnel_ended(one, TunnelFacts(0, 0, 0.1, 0.1))
    counts.session_failed(one)
    assert [what for what, _ in inner.told] == [
        "secured",
        "exchanged",
        "tunnel_opened",
        "tunnel_ended",
        "session_failed",
    ]
    assert all(told is one for _, told in inner.told)


def test_handshakes_that_are_done_are_counted_and_of_those_the_resumed(counts: TlsCounts) -> None:
    for resumed in (False, True, False):
        counts.secured(record(outcome=None, resumed=resumed))
    assert (counts.done, counts.resumed, counts.failed) == (3, 1, {})


def test_failures_are_counted_by_name_and_reason(counts: TlsCounts) -> None:
    counts.know(frozenset({"a.example", "b.example"}))
    fail(counts, "a.example", Reason.TLS_UNKNOWN_CA, 3)
    fail(counts, "a.example", Reason.TLS_CIPHER)
    fail(counts, "b.example", Reason.TLS_UNKNOWN_CA)
    counts.session_failed(record("b.example", Reason.TLS_TIMEOUT, Outcome.TLS_TIMEOUT))
    assert counts.failed == {
        ("a.example", Reason.TLS_UNKNOWN_CA): 3,
        ("a.example", Reason.TLS_CIPHER): 1,
        ("b.example", Reason.TLS_UNKNOWN_CA): 1,
        ("b.example", Reason.TLS_TIMEOUT): 1,
    }
    assert (counts.done, counts.resumed) == (0, 0)


@pytest.mark.parametrize(
    "outcome", sorted(set(Outcome) - {Outcome.TLS_FAILED, Outcome.TLS_TIMEOUT}, key=lambda each: each.value)
)
def test_sessions_that_failed_otherwise_are_no_failures_of_tls(counts: TlsCounts, outcome: Outcome) -> None:
    counts.session_failed(record("", Reason.UPSTREAM_REFUSED, outcome))
    assert counts.failed == {}


def test_a_failure_without_a_reason_is_not_counted(counts: TlsCounts, inner: Inner) -> None:
    counts.session_failed(record("", None))
    assert counts.failed == {}
    assert len(inner.told) == 1


def test_of_what_is_answered_only_http_without_tls_is_a_handshake_that_failed(counts: TlsCounts) -> None:
    for reason in (None, *Reason):
        counts.exchanged(record("", reason, Outcome.REFUSED), ExchangeFacts(0, 0, 0, 0.0))
    assert counts.failed == {(NOT_SAID, Reason.PLAIN_HTTP): 1}


# Under which name.


@pytest.mark.parametrize(
    ("sni", "counted"),
    [
        ("a.example", "a.example"),
        ("", NOT_SAID),
        ("b.example", NOT_OURS),
        ("example", NOT_OURS),
        ("x.w.example", "*.w.example"),
        ("own.w.example", "own.w.example"),
        ("x.y.w.example", NOT_OURS),
        ("w.example", NOT_OURS),
        (".w.example", "*.w.example"),
        ("*.w.example", "*.w.example"),
        (NOT_OURS, NOT_OURS),
        (NOT_SAID, NOT_OURS),
    ],
)
def test_a_name_counts_as_what_it_is_served_by(counts: TlsCounts, sni: str, counted: str) -> None:
    counts.know(frozenset({"a.example", "*.w.example", "own.w.example"}))
    fail(counts, sni, Reason.TLS_CIPHER)
    assert counts.failed == {(counted, Reason.TLS_CIPHER): 1}


def test_names_that_clients_invent_take_no_memory(counts: TlsCounts) -> None:
    counts.know(frozenset({"a.example", "*.w.example"}))
    for number in range(5000):
        for sni in (f"{number}.example", f"{number}.w.example", f"a.example.{number}", "\x00" * number, "a.example"):
            fail(counts, sni, Reason.TLS_UNKNOWN_CA)
    assert {name for name, _ in counts.failed} == {"a.example", "*.w.example", NOT_OURS, NOT_SAID}
    assert counts.failed.total() == 25_000


def test_names_that_come_with_a_renewal_are_known_too_and_old_ones_stay(counts: TlsCounts) -> None:
    counts.know(frozenset({"old.example"}))
    fail(counts, "new.example", Reason.TLS_CIPHER)
    counts.know(frozenset({"new.example"}))
    fail(counts, "new.example", Reason.TLS_CIPHER)
    fail(counts, "old.example", Reason.TLS_CIPHER)
    assert {name for name, _ in counts.failed} == {NOT_OURS, "new.example", "old.example"}


# The log.


def lines(logged: list[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in logged if event["log_level"] is LogLevel.info]


def test_every_ten_minutes_the_log_has_one_line_of_what_has_failed_since(
    counts: TlsCounts, clock: Clock, logged: list[LogEvent]
) -> None:
    counts.know(frozenset({"a.example", "b.example"}))
    counts.start()
    counts.secured(record())
    fail(counts, "b.example", Reason.TLS_CIPHER)
    fail(counts, "a.example", Reason.TLS_UNKNOWN_CA, 2)
    clock.pump([1] * (MINUTES - 1))
    assert lines(logged) == []
    clock.advance(1)
    expected = "TLS in the last 10 minutes: 1 handshakes, 3 failed: a.example tls-unknown-ca 2, b.example tls-cipher 1"
    assert lines(logged) == [expected]
    fail(counts, "a.example", Reason.TLS_UNKNOWN_CA)
    clock.advance(MINUTES)
    second = "TLS in the last 10 minutes: 0 handshakes, 1 failed: a.example tls-unknown-ca 1"
    assert lines(logged) == [expected, second]


def test_where_nothing_has_failed_the_log_has_no_line(counts: TlsCounts, clock: Clock, logged: list[LogEvent]) -> None:
    counts.start()
    counts.secured(record())
    clock.advance(MINUTES)
    fail(counts, "", Reason.TLS_ERROR)
    counts.secured(record())
    clock.advance(MINUTES)
    clock.advance(MINUTES)
    assert lines(logged) == ["TLS in the last 10 minutes: 1 handshakes, 1 failed: (no name) tls-error 1"]


def test_the_line_has_the_ten_most_frequent_causes_and_the_sum_of_all(
    counts: TlsCounts, clock: Clock, logged: list[LogEvent]
) -> None:
    names = [f"{number}.example" for number in range(30)]
    counts.know(frozenset(names))
    counts.start()
    for number, name in enumerate(names):
        fail(counts, name, Reason.TLS_UNKNOWN_CA, number + 1)
    clock.advance(MINUTES)
    (line,) = lines(logged)
    assert line.count("tls-unknown-ca") == 10
    assert f" {sum(range(1, 31))} failed: 29.example tls-unknown-ca 30, 28.example " in line
    assert line.endswith("20.example tls-unknown-ca 21")


def test_before_its_start_and_after_its_stop_the_log_is_told_nothing(
    inner: Inner, clock: Clock, logged: list[LogEvent]
) -> None:
    counts = TlsCounts(inner, clock)
    counts.stop()
    fail(counts, "", Reason.TLS_ERROR)
    clock.advance(MINUTES)
    counts.start()
    counts.stop()
    counts.stop()
    clock.advance(MINUTES)
    assert (lines(logged), clock.getDelayedCalls()) == ([], [])
    assert counts.failed.total() == 1


# With a relay.


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def front(authority: Authority, pump: str = "auto", *names: str, listen: str = "") -> str:
    issued = authority.issue(*(names or ("localhost",)))
    return f"""
pump = "{pump}"
[[listen]]
address = "127.0.0.1:0"
tls = [{issued.toml}]
{listen}
[[route]]
path = "/"
respond = {{ body = "here" }}
"""


def numbers(running: Relay) -> tuple[int, int, dict[tuple[str, Reason], int]]:
    """Done, resumed, failed."""
    counts = running.service.tls_counts
    assert counts is not None
    return in_reactor(lambda: (counts.done, counts.resumed, dict(counts.failed)))  # type: ignore[no-any-return]  # what is asked for


@PUMPS
@VERSIONS
def test_real_handshakes_are_counted_and_resumed_ones_among_them(
    relay: Callable[..., Relay], authority: Authority, pump: str, version: int
) -> None:
    running = relay(front(authority, pump))
    how = context(version=version)
    first = Client(running.port(), how)
    assert first.get().endswith(b"here")
    assert numbers(running) == (1, 0, {})
    for resumed in (1, 2):
        again = Client(running.port(), how, session=first.tls.get_session())
        assert again.reused
        assert again.get().endswith(b"here")
        again.close()
        assert numbers(running) == (1 + resumed, resumed, {})
    first.close()


@PUMPS
def test_a_session_that_is_not_accepted_is_not_counted_as_resumed(
    relay: Callable[..., Relay], authority: Authority, pump: str
) -> None:
    one, other = relay(front(authority, pump)), relay(front(authority, pump))
    how = context()
    first = Client(one.port(), how)
    first.get()
    second = Client(other.port(), how, session=first.tls.get_session())
    second.get()
    assert numbers(other) == (1, 0, {})
    first.close()
    second.close()


@PUMPS
def test_a_client_that_does_not_know_the_authority_is_counted_under_the_name_that_it_wanted(
    relay: Callable[..., Relay], authority: Authority, pump: str
) -> None:
    running = relay(front(authority, pump, "localhost", "*.example.com"))
    for name in ("localhost", "www.example.com", "WWW.Example.com", "nobody.example"):
        with pytest.raises(ssl.SSLCertVerificationError):
            running.connect_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name=name)
        running.line(event="failed")
    reason = Reason.TLS_UNKNOWN_CA
    failed = {("localhost", reason): 1, ("*.example.com", reason): 2, (NOT_OURS, reason): 1}
    assert numbers(running) == (0, 0, failed)


def test_names_that_are_passed_on_count_for_themselves(
    relay: Callable[..., Relay], authority: Authority, upstream: RawServer
) -> None:
    """Here their handshakes fail before the ClientHello is whole, or because no group is for the name."""
    running = relay(
        f"""
[[listen]]
address = "127.0.0.1:0"
mode = "tcp"
sni = {{ "site.example" = "app" }}
[[upstream]]
name = "app"
servers = ["{upstream.address}"]
"""
    )
    with pytest.raises(SSL.Error):
        Client(running.port(), context(), "other.example")
    running.line(event="failed")
    client = running.connect()
    client.send(b"\x16\x03\x01")
    client.finish()
    running.line(event="failed")
    assert numbers(running)[2] == {(NOT_OURS, Reason.UNKNOWN_SNI): 1, (NOT_SAID, Reason.TLS_ENDED_EARLY): 1}
    counts = running.service.tls_counts
    assert counts is not None
    fail(counts, "site.example", Reason.TLS_ERROR)
    assert ("site.example", Reason.TLS_ERROR) in counts.failed


def test_plain_http_on_a_port_of_tls_is_counted_too(relay: Callable[..., Relay], authority: Authority) -> None:
    """It is answered, so its line in the log is that of an exchange; and it is a handshake that has failed."""
    running = relay(front(authority))
    client = running.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.read_all().startswith(b"HTTP/1.1 400 ")
    running.next_line()
    assert numbers(running) == (0, 0, {(NOT_SAID, Reason.PLAIN_HTTP): 1})


def test_who_only_looks_whether_the_port_is_open_is_no_failure(
    relay: Callable[..., Relay], authority: Authority
) -> None:
    running = relay(front(authority))
    running.connect().finish()
    running.connect().reset()
    running.settle()
    while running.sessions:
        running.settle()
    assert numbers(running) == (0, 0, {})


def test_the_line_comes_from_a_running_service(
    relay: Callable[..., Relay], authority: Authority, logged: list[LogEvent]
) -> None:
    over = HandTime()
    running = relay(front(authority), over)
    Client(running.port(), context()).close()
    with pytest.raises(SSL.Error):
        Client(running.port(), context(alpn=(b"h2",)))
    running.line(event="failed")
    over.passes(MINUTES)
    told = [line for line in lines(logged) if line.startswith("TLS in the last 10 minutes")]
    assert told == ["TLS in the last 10 minutes: 1 handshakes, 1 failed: localhost tls-protocol 1"]
    running.stop()
    assert over.timers == 0

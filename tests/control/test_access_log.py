"""The access log's lines: what stands in them, and what hostile values cannot do to them."""

import json
import re
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher

from wsrelay.control.access_log import (
    AccessLog,
    Layout,
    Values,
    escaped,
    json_line,
    redacted,
    text_line,
    untimed_line,
)
from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason
from wsrelay.net.record import ExchangeFacts, SessionRecord, TunnelFacts

# 2026-11-21T08:00:00.5Z
WALL_CLOCK = 1795248000.5

COMMON = [
    "time",
    "event",
    "session",
    "listener",
    "client",
    "real_ip",
    "tls",
    "sni",
    "method",
    "host",
    "target",
    "route",
    "upstream",
]
PIPE_BUF = 4096


@attrs.define
class Memory:
    """A target that keeps its lines, or fails with `failure`."""

    layout: Layout
    lines: list[str] = attrs.Factory(list)
    failure: OSError | None = None
    reopened: int = 0

    def write(self, values: Values) -> None:
        if self.failure is not None:
            raise self.failure
        self.lines.append(self.layout(values))

    def reopen(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.reopened += 1

    def close(self) -> None:
        self.lines.append("closed")


def record(**changes: object) -> SessionRecord:
    """A session of which everything is known."""
    known = SessionRecord(
        id="k3f9",
        listener="public",
        client="203.0.113.9:51000",
        opened_at=7.0,
        tls="TLSv1.3",
        sni="example.com",
        real_ip="203.0.113.9",
        method="GET",
        host="example.com",
        target="/wss",
        route="example.com/wss",
        upstream="127.0.0.1:8888",
    )
    for name, value in changes.items():
        setattr(known, name, value)
    return known


def json_log() -> tuple[AccessLog, Memory]:
    memory = Memory(json_line)
    return AccessLog(memory, lambda: WALL_CLOCK), memory


def text_log() -> tuple[AccessLog, Memory]:
    memory = Memory(text_line)
    return AccessLog(memory, lambda: WALL_CLOCK), memory


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """What the access log tells the service's own log meanwhile."""
    seen: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event["log_namespace"].startswith("wsrelay.control.access_log"):
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


def test_an_exchange_is_one_json_object_with_every_key() -> None:
    log, memory = json_log()
    log.exchanged(record(reason=Reason.NO_ROUTE, detail="no route"), ExchangeFacts(404, 3, 120, 0.0123456))
    (line,) = memory.lines
    assert json.loads(line) == {
        "time": "2026-11-21T08:00:00.500Z",
        "event": "exchange",
        "session": "k3f9",
        "listener": "public",
        "client": "203.0.113.9:51000",
        "real_ip": "203.0.113.9",
        "tls": "TLSv1.3",
        "sni": "example.com",
        "method": "GET",
        "host": "example.com",
        "target": "/wss",
        "route": "example.com/wss",
        "upstream": "127.0.0.1:8888",
        "status": 404,
        "reason": "no-route",
        "outcome": None,
        "detail": "no route",
        "request_bytes": 3,
        "response_bytes": 120,
        "seconds": 0.012,
    }


def test_a_tunnel_has_a_line_when_it_opens_and_one_when_it_ends() -> None:
    log, memory = text_log()
    tunnel = record()
    log.tunnel_opened(tunnel)
    tunnel.outcome = Outcome.CLIENT_RESET
    log.tunnel_ended(tunnel, TunnelFacts(to_upstream=10, to_client=2000, seconds=61.5, idle_seconds=60.0004))
    known = (
        "session=k3f9 listener=public client=203.0.113.9:51000 real_ip=203.0.113.9 tls=TLSv1.3 sni=example.com "
        "method=GET host=example.com target=/wss route=example.com/wss upstream=127.0.0.1:8888"
    )
    assert memory.lines == [
        f"2026-11-21T08:00:00.500Z open {known} status=101",
        f"2026-11-21T08:00:00.500Z close {known} outcome=client-reset to_upstream=10 to_client=2000 "
        "seconds=61.5 idle_seconds=60.0",
    ]


def test_a_layer_4_tunnel_has_no_status() -> None:
    log, memory = json_log()
    log.tunnel_opened(record(method="", host="", target=""))
    line = json.loads(memory.lines[0])
    assert (line["status"], line["method"], line["target"]) == (None, None, None)


def test_a_failed_session_says_why() -> None:
    log, memory = text_log()
    failed = record(method="", host="", target="", route="", upstream="", tls="", real_ip="")
    failed.outcome = Outcome.TLS_FAILED
    failed.detail = "alert unknown ca"
    log.session_failed(failed)
    assert memory.lines == [
        "2026-11-21T08:00:00.500Z failed session=k3f9 listener=public client=203.0.113.9:51000 "
        'sni=example.com outcome=tls-failed detail="alert unknown ca"'
    ]


@pytest.mark.parametrize("known", [record(), SessionRecord(id="k3f9", listener="l", client="unix:", opened_at=0.0)])
def test_each_event_has_the_same_json_keys_whatever_is_known(known: SessionRecord) -> None:
    log, memory = json_log()
    log.exchanged(known, ExchangeFacts(0, 0, 0, 0.0))
    log.tunnel_opened(known)
    log.tunnel_ended(known, TunnelFacts(0, 0, 0.0, 0.0))
    log.session_failed(known)
    assert [list(json.loads(line)) for line in memory.lines] == [
        [*COMMON, "status", "reason", "outcome", "detail", "request_bytes", "response_bytes", "seconds"],
        [*COMMON, "status", "detail"],
        [*COMMON, "outcome", "detail", "to_upstream", "to_client", "seconds", "idle_seconds"],
        [*COMMON, "reason", "outcome", "detail"],
    ]


def test_a_zero_is_written_and_an_unknown_value_left_out_of_text() -> None:
    log, memory = text_log()
    log.exchanged(record(tls="", reason=None), ExchangeFacts(0, 0, 0, 0.0))
    assert memory.lines[0].endswith("status=0 request_bytes=0 response_bytes=0 seconds=0.0")
    assert "tls=" not in memory.lines[0]
    assert "reason=" not in memory.lines[0]


def test_the_time_moves_within_and_across_seconds() -> None:
    times = iter([WALL_CLOCK, WALL_CLOCK + 0.25, WALL_CLOCK + 0.5])
    memory = Memory(json_line)
    log = AccessLog(memory, lambda: next(times))
    for _ in range(3):
        log.session_failed(record())
    assert [json.loads(line)["time"] for line in memory.lines] == [
        "2026-11-21T08:00:00.500Z",
        "2026-11-21T08:00:00.750Z",
        "2026-11-21T08:00:01.000Z",
    ]


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("/wss", "/wss"),
        ("/wss?token=abc", "/wss?[redacted]"),
        ("/wss?abc", "/wss?[redacted]"),
        ("/wss?", "/wss?[redacted]"),
        ("/a?b?c", "/a?[redacted]"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_a_query_string_is_never_written(target: str, written: str) -> None:
    assert redacted(target) == written


@pytest.mark.parametrize("layout", [json_line, text_line])
def test_the_observer_redacts_the_query(layout: Layout) -> None:
    memory = Memory(layout)
    AccessLog(memory, lambda: WALL_CLOCK).tunnel_opened(record(target="/wss?token=secret"))
    assert "secret" not in memory.lines[0]
    assert "/wss?[redacted]" in memory.lines[0]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\u001b[2J"),
        ("\x7f\x9b", "\\u007f\\u009b"),
        ('say "x"', 'say \\"x\\"'),
        ("back\\slash", "back\\\\slash"),
        ("例え", "\\u4f8b\\u3048"),
        ("\u202e", "\\u202e"),
        ("\udcff", "\\udcff"),
        ("\N{GRINNING FACE}", "\\ud83d\\ude00"),
    ],
)
def test_what_could_end_a_line_or_steer_a_terminal_is_escaped(value: str, written: str) -> None:
    assert escaped(value) == written


def test_a_text_value_cannot_forge_a_field() -> None:
    log, memory = text_log()
    log.tunnel_opened(record(target="/x outcome=served", host='a" outcome="served', route="k=v"))
    assert 'target="/x outcome=served"' in memory.lines[0]
    assert 'host="a\\" outcome=\\"served"' in memory.lines[0]
    assert 'route="k=v"' in memory.lines[0]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a" * 256, "a" * 256),
        ("a" * 257, "a" * 253 + "..."),
        ("\n" * 128, "\\n" * 128),
        ("\n" * 129, "\\n" * 126 + "..."),
        ("a" * 252 + "\n\n\n", "a" * 252 + "..."),
    ],
)
def test_a_value_is_cut_at_256_and_never_inside_an_escape(value: str, written: str) -> None:
    assert escaped(value) == written


@given(st.text(alphabet=st.characters(), max_size=400))
def test_any_value_is_one_short_line_of_printable_ascii_and_valid_json(value: str) -> None:
    written = escaped(value)
    assert re.fullmatch(r"[ -~]{0,256}", written)
    read_back = json.loads(f'"{written}"')
    assert read_back == value or written.endswith("...")


@given(st.lists(st.sampled_from(["plain", "", "two words", 'a"b', "a=b", "\x1b[2J", "\u00e9", "x" * 256, "x" * 257])))
def test_a_value_is_written_alike_alone_and_in_company(texts: list[str]) -> None:
    values = tuple((f"k{number}", text) for number, text in enumerate(texts))
    event = ("event", "close")
    alone = [untimed_line((event, value)).removeprefix("close ") for value in values if value[1]]
    assert untimed_line((event, *values)) == " ".join(["close", *alone])
    assert json_line(values) == "{" + ",".join(json_line((value,))[1:-1] for value in values) + "}"


@pytest.mark.parametrize("layout", [json_line, text_line, untimed_line])
def test_the_longest_line_fits_a_pipe_in_one_piece(layout: Layout) -> None:
    memory = Memory(layout)
    log = AccessLog(memory, lambda: WALL_CLOCK)
    longest = record(reason=Reason.UPSTREAM_CONNECT_TIMEOUT, outcome=Outcome.UPSTREAM_TLS_ERROR)
    for name in (
        "id",
        "listener",
        "client",
        "tls",
        "sni",
        "real_ip",
        "method",
        "host",
        "target",
        "route",
        "upstream",
        "detail",
    ):
        setattr(longest, name, "\x00" * 300)
    log.exchanged(longest, ExchangeFacts(599, 2**63, 2**63, 1e9))
    log.tunnel_ended(longest, TunnelFacts(2**63, 2**63, 1e9, 1e9))
    assert max(len(line) for line in memory.lines) + 1 < PIPE_BUF


def test_a_line_that_cannot_be_written_is_counted_and_reported_once(events: list[LogEvent]) -> None:
    log, memory = json_log()
    memory.failure = OSError(28, "No space left on device")
    for _ in range(3):
        log.tunnel_opened(record())
    assert log.lost == 3
    assert [str(event["error"]) for event in events] == ["[Errno 28] No space left on device"]


def test_lines_go_on_when_the_target_recovers() -> None:
    log, memory = json_log()
    memory.failure = OSError(28, "No space left on device")
    log.tunnel_opened(record())
    memory.failure = None
    log.tunnel_opened(record())
    assert (len(memory.lines), log.lost) == (1, 1)


def test_after_a_reopen_the_next_loss_is_reported_again(events: list[LogEvent]) -> None:
    log, memory = json_log()
    for _ in range(2):
        memory.failure = OSError(28, "No space left on device")
        log.tunnel_opened(record())
        memory.failure = None
        log.reopen()
    assert (len(events), memory.reopened) == (2, 2)


def test_a_reopen_that_fails_is_reported_and_does_not_raise(events: list[LogEvent]) -> None:
    log, memory = json_log()
    memory.failure = OSError(13, "Permission denied")
    log.reopen()
    assert "cannot reopen" in events[0]["log_format"]


def test_a_closed_log_ignores_what_comes_later() -> None:
    log, memory = json_log()
    log.close()
    log.tunnel_opened(record())
    log.reopen()
    log.close()
    assert memory.lines == ["closed"]


def test_without_a_target_nothing_happens() -> None:
    log = AccessLog(None)
    log.exchanged(record(), ExchangeFacts(200, 0, 0, 0.0))
    log.reopen()
    log.close()
    assert log.lost == 0


def test_an_exchange_that_was_cut_says_how() -> None:
    log, memory = text_log()
    log.exchanged(record(outcome=Outcome.UPSTREAM_LEFT), ExchangeFacts(200, 0, 17, 0.5))
    assert " outcome=upstream-left " in memory.lines[0]

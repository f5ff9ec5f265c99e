"""Where access-log lines go: descriptors, files and the journal, with real pipes, files and sockets."""

import fcntl
import json
import os
import resource
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from wsrelay.config import settings
from wsrelay.config.settings import LogFormat
from wsrelay.control.access_log import AccessLog
from wsrelay.control.access_log_targets import AccessLogError, open_access_log
from wsrelay.core.outcomes import Outcome
from wsrelay.net.record import SessionRecord

WALL_CLOCK = 1795248000.5


def record() -> SessionRecord:
    return SessionRecord(id="k3f9", listener="public", client="unix:", opened_at=0.0, target="/wss?token=secret")


def opened(target: str, layout: LogFormat = LogFormat.TEXT, **where: object) -> AccessLog:
    setting = settings.AccessLog(target, layout)
    return open_access_log(setting, wall_clock=lambda: WALL_CLOCK, **where)  # type: ignore[arg-type]  # forwarded


OPEN_LINE = b"2026-11-21T08:00:00.500Z open session=k3f9 listener=public client=unix: target=/wss?[redacted]\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A blocking pipe: its reading and its writing end."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


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


def test_a_line_to_standard_output_is_there_at_once(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    opened("stdout", stdout=writing).tunnel_opened(record())
    assert os.read(reading, 65536) == OPEN_LINE


def test_json_goes_to_standard_output_too(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    opened("stdout", LogFormat.JSON, stdout=writing).tunnel_opened(record())
    assert json.loads(os.read(reading, 65536))["session"] == "k3f9"


def test_a_reader_that_stopped_costs_lines_but_never_blocks(pipe: tuple[int, int], events: list[LogEvent]) -> None:
    reading, writing = pipe
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    log = opened("stdout", stdout=writing)
    for _ in range(1000):
        log.tunnel_opened(record())
    written = os.read(reading, 65536)
    assert written == OPEN_LINE * (1000 - log.lost)
    assert log.lost > 900
    assert len(events) == 1


def test_closing_leaves_standard_output_open(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    log = opened("stdout", stdout=writing)
    log.reopen()
    log.close()
    os.write(writing, b"still open")
    assert os.read(reading, 100) == b"still open"


def test_a_reader_that_left_costs_lines_but_does_not_raise(events: list[LogEvent]) -> None:
    reading, writing = os.pipe()
    log = opened("stdout", stdout=writing)
    os.close(reading)
    log.tunnel_opened(record())
    os.close(writing)
    assert log.lost == 1
    assert "Broken pipe" in str(events[0]["error"])


@pytest.fixture
def dead_end(request: pytest.FixtureRequest) -> Iterator[int | None]:
    """A descriptor that leads nowhere: /dev/null, a closed one, or none."""
    if request.param == "none":
        yield None
        return
    descriptor = os.open(os.devnull, os.O_WRONLY)
    if request.param == "closed":
        os.close(descriptor)
    yield descriptor
    if request.param == "null":
        os.close(descriptor)


@pytest.mark.parametrize("dead_end", ["null", "closed", "none"], indirect=True)
def test_standard_output_that_leads_nowhere_is_said_at_start(dead_end: int | None, events: list[LogEvent]) -> None:
    log = opened("stdout", stdout=dead_end)
    log.tunnel_opened(record())
    assert "goes nowhere" in events[0]["log_format"]
    assert log.lost == 0


def test_off_opens_nothing(events: list[LogEvent]) -> None:
    opened("off", stdout=None, journal="/nowhere").tunnel_opened(record())
    assert events == []


def test_a_file_is_made_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for _ in range(2):
        log = opened(str(path))
        log.tunnel_opened(record())
        log.close()
    assert path.read_bytes() == OPEN_LINE * 2
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0


def test_a_rotated_file_is_left_and_a_fresh_one_begun_at_reopen(tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    log = opened(str(path))
    log.tunnel_opened(record())
    path.rename(rotated)
    log.tunnel_opened(record())
    log.reopen()
    log.tunnel_opened(record())
    log.close()
    assert rotated.read_bytes() == OPEN_LINE * 2
    assert path.read_bytes() == OPEN_LINE


def test_a_reopen_that_fails_keeps_the_old_file(tmp_path: Path, events: list[LogEvent]) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    log = opened(str(path))
    path.rename(rotated)
    path.mkdir()
    log.reopen()
    log.tunnel_opened(record())
    log.close()
    assert rotated.read_bytes() == OPEN_LINE
    assert "cannot reopen" in events[0]["log_format"]


@pytest.mark.parametrize("name", ["missing/access.log", "."])
def test_a_file_that_cannot_be_opened_fails_the_start_with_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(AccessLogError, match=str(tmp_path)):
        opened(str(tmp_path / name))


def test_a_fifo_without_a_reader_fails_the_start_instead_of_hanging(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "access.fifo")
    with pytest.raises(AccessLogError, match=r"access\.fifo"):
        opened(str(tmp_path / "access.fifo"))


def test_a_full_disk_loses_lines_and_does_not_raise(events: list[LogEvent]) -> None:
    log = opened("/dev/full")
    log.tunnel_opened(record())
    log.close()
    assert log.lost == 1
    assert "No space left" in str(events[0]["error"])


def test_a_line_after_a_torn_one_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    # A descriptor that takes only part of a write: a file at its size limit, which is then lifted.
    path = tmp_path / "access.log"
    log = opened(str(path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
        log.tunnel_opened(record())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    log.tunnel_opened(record())
    log.close()
    assert path.read_bytes() == OPEN_LINE[:50] + b"\n" + OPEN_LINE
    assert log.lost == 1


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A stand-in for journald's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.setblocking(False)
        yield receiver


def entry(journal: socket.socket) -> dict[str, str]:
    """The next entry as journald reads it: KEY=value lines."""
    data = journal.recv(65536).decode("ascii")
    assert data.endswith("\n")
    return dict(line.split("=", 1) for line in data[:-1].split("\n"))


def test_the_journal_gets_a_message_without_the_time_and_a_field_for_each_value(journal: socket.socket) -> None:
    with closing(opened("journal", journal=journal.getsockname())) as log:
        log.tunnel_opened(record())
    assert entry(journal) == {
        "MESSAGE": "open session=k3f9 listener=public client=unix: target=/wss?[redacted]",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "wsrelay",
        "WSRELAY_TIME": "2026-11-21T08:00:00.500Z",
        "WSRELAY_EVENT": "open",
        "WSRELAY_SESSION": "k3f9",
        "WSRELAY_LISTENER": "public",
        "WSRELAY_CLIENT": "unix:",
        "WSRELAY_TARGET": "/wss?[redacted]",
    }


def test_a_json_message_in_the_journal_is_the_whole_object(journal: socket.socket) -> None:
    with closing(opened("journal", LogFormat.JSON, journal=journal.getsockname())) as log:
        log.tunnel_opened(record())
    assert json.loads(entry(journal)["MESSAGE"])["time"] == "2026-11-21T08:00:00.500Z"


def test_a_failed_session_is_a_notice_in_the_journal(journal: socket.socket) -> None:
    failed = record()
    failed.outcome = Outcome.TLS_FAILED
    with closing(opened("journal", journal=journal.getsockname())) as log:
        log.session_failed(failed)
    assert entry(journal)["PRIORITY"] == "5"


def test_a_value_cannot_add_a_field_to_a_journal_entry(journal: socket.socket) -> None:
    hostile = record()
    hostile.host = "a\nPRIORITY=0\nMESSAGE=forged"
    with closing(opened("journal", journal=journal.getsockname())) as log:
        log.tunnel_opened(hostile)
    fields = entry(journal)
    assert fields["PRIORITY"] == "6"
    assert fields["WSRELAY_HOST"] == "a\\nPRIORITY=0\\nMESSAGE=forged"


def test_a_missing_journal_fails_the_start_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(AccessLogError, match=r'access_log = "journal".*none\.sock'):
        opened("journal", journal=str(tmp_path / "none.sock"))


def test_a_journal_that_went_away_costs_lines_until_the_reopen(tmp_path: Path, journal: socket.socket) -> None:
    path = journal.getsockname()
    log = opened("journal", journal=path)
    journal.close()
    log.tunnel_opened(record())
    assert log.lost == 1
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(path)
        again.setblocking(False)
        log.reopen()
        log.tunnel_opened(record())
        assert entry(again)["WSRELAY_SESSION"] == "k3f9"
    log.close()

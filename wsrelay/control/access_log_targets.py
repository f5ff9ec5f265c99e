"""Where access-log lines go: standard output, the systemd journal, a file, or nowhere. Formats no line itself."""

import errno
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.logger import Logger

from wsrelay.config import settings
from wsrelay.control.access_log import (
    AccessLog,
    Layout,
    Target,
    Values,
    escaped,
    json_line,
    text_line,
    untimed_line,
)

JOURNAL_SOCKET = "/run/systemd/journal/socket"
"""The journal's native protocol: one datagram of KEY=value lines per entry (systemd, JOURNAL_NATIVE_PROTOCOL)."""

# syslog(3) levels, as PRIORITY of the journal wants them.
_NOTICE = 5
_INFO = 6

# NONBLOCK: a FIFO without a reader is an error at once, and a full one loses a line instead of stopping the relay.
_OPEN_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_FILE_MODE = 0o640

_log = Logger()


class AccessLogError(Exception):
    """The access log cannot be opened; says which setting, what was tried and what the system answered."""


def _true_stdout() -> int | None:
    # Not sys.stdout: twistd puts an object there that turns each line into an event of its own log. And where the
    # process was started with descriptor 1 closed (Python then has no __stdout__), that number may since belong
    # to a client's socket.
    return None if sys.__stdout__ is None else 1


def open_access_log(
    setting: settings.AccessLog,
    *,
    wall_clock: Callable[[], float] = time.time,
    journal: str = JOURNAL_SOCKET,
    stdout: int | None = _true_stdout(),
) -> AccessLog:
    """Open what the setting names.

    To be called once the process is what it will be (`privilegedStartService`): twistd replaces descriptor 1 when
    it goes to the background, and a file in a protected folder can be opened only while still root.

    Args:
        setting: The target and the layout.
        wall_clock: Seconds since 1970 UTC, for the time in each line.
        journal: Path of the journal's socket.
        stdout: The descriptor of standard output, or None where it was closed when the process started.

    Raises:
        AccessLogError: The file or the journal cannot be opened.
    """
    return AccessLog(_open_target(setting, journal, stdout), wall_clock)


def _open_target(setting: settings.AccessLog, journal: str, stdout: int | None) -> Target | None:
    as_json = setting.format is settings.LogFormat.JSON
    match setting.target:
        case "off":
            return None
        case "stdout":
            if stdout is None or _leads_nowhere(stdout):
                _log.warn(
                    'access_log = "stdout" goes nowhere: standard output is closed or /dev/null, as after twistd '
                    "without -n; name a file, or use the journal"
                )
                return None
            return StdoutTarget(json_line if as_json else text_line, stdout)
        case "journal":
            return JournalTarget(json_line if as_json else _without_time, journal)
        case path:
            return FileTarget(json_line if as_json else text_line, Path(path))


def _leads_nowhere(descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(os.devnull))
    except OSError:
        return True


def _without_time(values: Values) -> str:
    return untimed_line(values[1:])


@attrs.define(eq=False)
class _Lines:
    """Whole lines to one descriptor, never waiting for its reader."""

    descriptor: int
    _torn: bool = attrs.field(default=False, init=False)
    _writable: "select.poll | None" = attrs.field(default=None, init=False)
    """None for a regular file, which never makes anybody wait."""

    def __attrs_post_init__(self) -> None:
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            self._writable = select.poll()
            self._writable.register(self.descriptor, select.POLLOUT)

    def put(self, line: str) -> None:
        # Standard output may be a pipe that blocks, and making it non-blocking would do so for every process that
        # shares it. A pipe that polls writable has room for PIPE_BUF bytes (pipe(7)), and a line is shorter.
        if self._writable is not None and not self._writable.poll(0):
            raise BlockingIOError(errno.EAGAIN, "the reader of the access log is too slow")
        data = (line + "\n").encode("ascii")
        if self._torn:
            data = b"\n" + data
        self._torn = os.write(self.descriptor, data) < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, "only part of a line was written")


class StdoutTarget:
    """Lines to standard output, one write(2) each, so nothing stays in a buffer."""

    def __init__(self, layout: Layout, descriptor: int) -> None:
        """Write to `descriptor`, which stays the caller's."""
        self._layout = layout
        self._lines = _Lines(descriptor)

    def write(self, values: Values) -> None:
        """Write one line; OSError when the reader is gone or too slow."""
        self._lines.put(self._layout(values))

    def reopen(self) -> None:
        """Nothing to do: whoever reads standard output rotates it."""

    def close(self) -> None:
        """Nothing to do."""


class FileTarget:
    """Lines at the end of a file, which is made (mode 0640) where it does not exist."""

    def __init__(self, layout: Layout, path: Path) -> None:
        """Open `path`.

        Raises:
            AccessLogError: It cannot be opened for appending.
        """
        self._layout = layout
        self._path = path
        try:
            self._lines = self._open()
        except OSError as error:
            raise AccessLogError(f"access_log: cannot open {path} for appending: {error.strerror}") from error

    def write(self, values: Values) -> None:
        """Append one line; OSError when the disk is full."""
        self._lines.put(self._layout(values))

    def reopen(self) -> None:
        """Open the path again, after log rotation has renamed the file. OSError leaves the old one in use."""
        old, self._lines = self._lines, self._open()
        os.close(old.descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._lines.descriptor)

    def _open(self) -> _Lines:
        return _Lines(os.open(self._path, _OPEN_FLAGS, _FILE_MODE))


class JournalTarget:
    """Entries for the systemd journal, with each value as a field of its own (`journalctl WSRELAY_SESSION=…`)."""

    def __init__(self, layout: Layout, path: str) -> None:
        """Find the journal's socket.

        Raises:
            AccessLogError: There is none, or it is not ours to write to.
        """
        self._layout = layout
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise AccessLogError(
                f'access_log = "journal": no journal at {path} ({error.strerror}); is systemd-journald running here?'
            ) from error

    def write(self, values: Values) -> None:
        """Send one entry; OSError when the journal is gone or cannot keep up."""
        self._socket.send(self._entry(values))

    def reopen(self) -> None:
        """Connect again, to the socket that stands at the path now."""
        self._socket.connect(self._path)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _entry(self, values: Values) -> bytes:
        priority = _NOTICE if ("event", "failed") in values else _INFO
        lines = [f"MESSAGE={self._layout(values)}", f"PRIORITY={priority}", "SYSLOG_IDENTIFIER=wsrelay"]
        # No value holds a newline once it is escaped, so the protocol's short form serves for all.
        lines += [f"WSRELAY_{key.upper()}={_field(value)}" for key, value in values if value not in (None, "")]
        return ("\n".join(lines) + "\n").encode("ascii")


def _field(value: str | float | None) -> str:
    return escaped(value) if isinstance(value, str) else str(value)

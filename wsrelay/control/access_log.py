"""The access log: one line per exchange, two per tunnel, one per failure. Knows nothing of where lines go.

Everything a client sent may be hostile: a query string is never written (`/wss?token=x` becomes
`/wss?[redacted]`, names of parameters included, since some put the token there), and no value can end a line,
forge a field or steer a terminal, because all but printable ASCII is escaped the way JSON does it, and a
value is cut at 256 characters. A line is therefore ASCII and, with its newline, shorter than 4096 bytes: what
a pipe takes in one piece (PIPE_BUF).

Keys, in this order. Each event has always the same ones; what is not known is null in JSON and left out in text.

    all       time event session listener client real_ip tls sni method host target route upstream
    exchange  status reason outcome detail request_bytes response_bytes seconds
    open      status detail
    close     outcome detail to_upstream to_client seconds idle_seconds
    failed    reason outcome detail
"""

import json
import re
import time
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from wsrelay.net.record import ExchangeFacts, SessionRecord, TunnelFacts

Value = str | int | float | None
Values = tuple[tuple[str, Value], ...]
Layout = Callable[[Values], str]

# Security review LOG-01: names and paths in logs end at 256, escapes included, so that a line has a bound too.
_MAX_VALUE = 256
_CUT_MARK = "..."
_REDACTED_QUERY = "?[redacted]"

# Printable ASCII without the two that JSON escapes; and the same without space and "=", for text without quotes.
_PLAIN = re.compile(r"[ !#-\[\]-~]*")
_BARE = re.compile(r"[!#-<>-\[\]-~]+")


class Target(Protocol):
    """Where lines go. Called on the reactor thread; must not block."""

    def write(self, values: Values) -> None:
        """Write one line.

        Raises:
            OSError: The line is lost: disk full, reader gone or too slow.
        """

    def reopen(self) -> None:
        """Begin a fresh file where there is one.

        Raises:
            OSError: It cannot be opened; the old one stays in use.
        """

    def close(self) -> None:
        """Let go of what was opened."""


class AccessLog:
    """The observer that writes a line for what sessions do. Never raises for a line that cannot be written.

    Attributes:
        lost: How many lines could not be written since the start.
    """

    log = Logger()

    def __init__(self, target: Target | None, wall_clock: Callable[[], float] = time.time) -> None:
        """Write to `target`, or nothing at all without one; `wall_clock` gives seconds since 1970 UTC."""
        self.lost = 0
        self._target = target
        self._stamps = _Stamps(wall_clock)
        self._told = False

    def secured(self, record: SessionRecord) -> None:
        """Write nothing: every later line of the session tells of its TLS."""

    def exchanged(self, record: SessionRecord, facts: ExchangeFacts) -> None:
        """Write the `exchange` line."""
        self._write(
            "exchange",
            record,
            ("status", facts.status),
            ("reason", record.reason and record.reason.word),
            ("outcome", record.outcome and record.outcome.value),
            ("detail", record.detail),
            ("request_bytes", facts.request_bytes),
            ("response_bytes", facts.response_bytes),
            ("seconds", facts.seconds),
        )

    def tunnel_opened(self, record: SessionRecord) -> None:
        """Write the `open` line; at layer 4 there is no method and so no status."""
        status = 101 if record.method else None
        self._write("open", record, ("status", status), ("detail", record.detail))

    def tunnel_ended(self, record: SessionRecord, facts: TunnelFacts) -> None:
        """Write the `close` line."""
        self._write(
            "close",
            record,
            ("outcome", record.outcome and record.outcome.value),
            ("detail", record.detail),
            ("to_upstream", facts.to_upstream),
            ("to_client", facts.to_client),
            ("seconds", facts.seconds),
            ("idle_seconds", facts.idle_seconds),
        )

    def session_failed(self, record: SessionRecord) -> None:
        """Write the `failed` line."""
        self._write(
            "failed",
            record,
            ("reason", record.reason and record.reason.word),
            ("outcome", record.outcome and record.outcome.value),
            ("detail", record.detail),
        )

    def reopen(self) -> None:
        """Begin a fresh file after log rotation. Where that fails the old one stays in use, and the log says so."""
        if self._target is None:
            return
        try:
            self._target.reopen()
        except OSError as error:
            self.log.error("access log: cannot reopen, still writing to the old file: {error}", error=error)
        else:
            self._told = False

    def close(self) -> None:
        """Stop writing; later events are ignored."""
        if self._target is not None:
            self._target.close()
            self._target = None

    def _write(self, event: str, record: SessionRecord, *rest: tuple[str, Value]) -> None:
        if self._target is None:
            return
        values: Values = (
            ("time", self._stamps.now()),
            ("event", event),
            ("session", record.id),
            ("listener", record.listener),
            ("client", record.client),
            ("real_ip", record.real_ip),
            ("tls", record.tls),
            ("sni", record.sni),
            ("method", record.method),
            ("host", record.host),
            ("target", redacted(record.target)),
            ("route", record.route),
            ("upstream", record.upstream),
            *rest,
        )
        try:
            self._target.write(values)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        # Once, not once a line: where the access log and the service's log share a full disk or a slow reader,
        # every complaint makes it worse.
        self.lost += 1
        if not self._told:
            self._told = True
            self.log.error("access log: a line is lost, and more may follow unreported: {error}", error=error)


def redacted(target: str) -> str:
    """A request target without its query, which often carries tokens."""
    path, mark, _query = target.partition("?")
    return path + _REDACTED_QUERY if mark else path


def escaped(value: str) -> str:
    """The value as it may stand between double quotes: ASCII, one line, at most 256 characters."""
    if len(value) <= _MAX_VALUE and _PLAIN.fullmatch(value):
        return value
    pieces = [_escape(character) for character in value[: _MAX_VALUE + 1]]
    whole = "".join(pieces)
    if len(whole) <= _MAX_VALUE:
        return whole
    # An escape sequence is kept whole or left out, so that what is left stays valid JSON.
    size = 0
    for count, piece in enumerate(pieces):
        size += len(piece)
        if size > _MAX_VALUE - len(_CUT_MARK):
            return "".join(pieces[:count]) + _CUT_MARK
    raise AssertionError("unreachable: the whole was longer than the limit")


def json_line(values: Values) -> str:
    """One JSON object (RFC 8259), ASCII only, without a newline."""
    shown = _json_plain if _together(values, _PLAIN) else _json_value
    return "{" + ",".join([f'"{key}":{shown(value)}' for key, value in values]) + "}"


def text_line(values: Values) -> str:
    """Time and event bare, then `key=value`; a value with a space, a quote or an escape stands in double quotes."""
    return f"{values[0][1]} {untimed_line(values[1:])}"


def untimed_line(values: Values) -> str:
    """As `text_line`, for a target that puts its own time beside each line; `values` begin with the event."""
    shown = _text_plain if _together(values, _BARE) else _text_value
    words = [f"{key}={shown(value)}" for key, value in values[1:] if value is not None and value != ""]
    return " ".join([str(values[0][1]), *words])


class _Stamps:
    """Wall-clock times as ISO 8601 in UTC with milliseconds; the part that changes once a second is kept."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._second = -1
        self._prefix = ""

    def now(self) -> str:
        second, milliseconds = divmod(int(self._wall_clock() * 1000), 1000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{milliseconds:03d}Z"


def _escape(character: str) -> str:
    # DEL is legal inside a JSON string, but it is a control character to a terminal.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _together(values: Values, pattern: re.Pattern[str]) -> bool:
    """Whether all strings together are short and match; then each does, and nobody has to look again.

    That holds for nearly every line, and looking once instead of fourteen times halves what a line costs.
    """
    whole = "".join([value for _, value in values if isinstance(value, str)])
    return len(whole) <= _MAX_VALUE and pattern.fullmatch(whole) is not None


def _json_plain(value: Value) -> str:
    if isinstance(value, str):
        return f'"{value}"' if value else "null"
    return "null" if value is None else _number(value)


def _json_value(value: Value) -> str:
    if isinstance(value, str):
        return f'"{escaped(value)}"' if value else "null"
    return "null" if value is None else _number(value)


def _text_plain(value: str | float) -> str:
    return value if isinstance(value, str) else _number(value)


def _text_value(value: str | float) -> str:
    if not isinstance(value, str):
        return _number(value)
    if len(value) <= _MAX_VALUE and _BARE.fullmatch(value):
        return value
    return f'"{escaped(value)}"'


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else str(round(value, 3))

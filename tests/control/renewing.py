"""A scene for renewal: files in a folder, listeners that serve them, and a clock with turns like a reactor's."""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent

from wsrelay.config.mistakes import ConfigError, Mistake
from wsrelay.control.renewal import LOOK_SECONDS, Renewal, Watched

HOUR = 3600

# A file system's clock goes in steps of milliseconds, and a test does more than one thing in one of them.
_times = itertools.count(10**9)


def with_another_ctime(file: Path, change: Callable[[], object]) -> None:
    """Do it until the file system's clock has gone on since the last change."""
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:
        change()


class Recorder:
    """A listener as `Watched` knows it: serves the text of its files as long as they agree."""

    def __init__(self, name: str, *files: Path) -> None:
        self.name = name
        self.files = files
        self.renewals: list[str] = []
        self.warnings: Sequence[str] = ()
        self.bug: Exception | None = None

    def renew(self) -> Sequence[str]:
        if self.bug is not None:
            raise self.bug
        try:
            texts = {file.read_text() for file in self.files}
        except OSError as error:
            raise ConfigError((Mistake(f"{error.filename}: {error.strerror}", "chain"),)) from None
        if len(texts) > 1:
            raise ConfigError((Mistake("they do not agree", "key"), Mistake("at all", "chain")))
        self.renewals += texts
        return self.warnings

    def served(self) -> str:
        return self.renewals[-1] if self.renewals else "the first"

    def write(self, text: str) -> None:
        """The same into each of its files, each time with another mtime."""
        for file in self.files:
            file.write_text(text)
            os.utime(file, (0, next(_times)))

    @property
    def watched(self) -> Watched:
        return Watched(self.name, self.files, self.renew, self.served)


class Turns(Clock):
    """A clock that calls in a turn what was due when the turn began; Twisted's own goes on to what that has added."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in [each for each in self.calls if each.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Scene:
    """What a test of renewal has before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Turns()
        self._made: list[Renewal] = []

    def listener(self, name: str) -> Recorder:
        """One with a chain and a key, both `old`."""
        made = Recorder(name, self.folder / f"{name}-chain.pem", self.folder / f"{name}-key.pem")
        made.write("old")
        return made

    def start(self, *listeners: Recorder) -> Renewal:
        renewal = self.make(*(each.watched for each in listeners))
        renewal.start()
        return renewal

    def make(self, *watched: Watched) -> Renewal:
        self._made.append(Renewal(self.clock, watched))
        return self._made[-1]

    def looks(self, count: int) -> None:
        """Let that many looks happen, with the turns of the reactor that follow each."""
        for _ in range(count):
            self.clock.advance(LOOK_SECONDS)
            self.turns()

    def turns(self) -> None:
        for _ in range(5):
            self.clock.advance(0)

    def dispose(self) -> None:
        for each in self._made:
            each.stop()
        assert self.clock.getDelayedCalls() == []


def said(logged: list[LogEvent], level: LogLevel) -> list[str]:
    """The lines of one level."""
    return [formatEvent(event) for event in logged if event["log_level"] is level]

"""Renewed certificates: notices that files have changed, and has them served. Knows nothing of what is in them.

Reading and swapping is the business of whoever watches; connections keep the context that they began with.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsrelay.config.mistakes import ConfigError

LOOK_SECONDS = 2.0
"""A change is served after two looks: one that sees it, and one that sees the files unchanged since."""

# So often are files that stand still looked at before what is wrong with them is said and counted: 6 s. Deploy hooks
# copy key and chain one after the other, and an alarm at each renewal is soon heard no more.
_LOOKS_BEFORE_FAILING = 3

# Keys of session tickets are as old as their context, and whoever learns one can read what was recorded under it.
_OLDEST_SECONDS = 24 * 3600

# What fails for a reason outside the files (no descriptors, a mount that is gone) leaves no other sign when it ends;
# also how often the log says that it still fails.
_AGAIN_SECONDS = 3600

_Marks = tuple[tuple[int, ...], ...]


@attrs.frozen
class Watched:
    """The files of one listener or upstream, and how it comes to use what is in them."""

    name: str
    """As the log and `Renewal.failing` have it; no two the same."""
    files: tuple[Path, ...]
    """Chains, keys, authorities; symbolic links are followed at each look."""
    renew: Callable[[], Sequence[str]]
    """Reads the files and has new handshakes use them; returns warnings. Raises ConfigError where they cannot be used,
    and then has left everything as it was."""
    served: Callable[[], str] = str
    """Says what is served now, for the log: `a.example (ecdsa) until 2026-12-24`; empty = nobody can say."""


@attrs.define(eq=False)
class _State:
    """How it stands with one of them. Clock times are as `IReactorTime.seconds` has them."""

    watched: Watched
    tried: _Marks
    """How the files stood when they were last read, with whatever success."""
    since: float
    """When that was."""
    seen: _Marks = ()
    """How they stood at the last look."""
    still: int = 0
    """How many looks in a row have seen no change."""
    told: bool = False
    """Whether the operator has asked, and wants to hear of it whatever comes out."""


class Renewal:
    """Serves renewed certificates to new handshakes: looks at the files every LOOK_SECONDS, and at once when asked.

    Files that have changed are read once they stand still from one look to the next, since key and chain are
    seldom written in one step. What cannot be used changes nothing. If it still cannot some seconds later it is
    logged, and from then on tried again when a file changes, and every hour.

    Unchanged files are read again every 24 hours, so that the keys of session tickets do not grow old, and so that
    the log says in time that a certificate expires.

    Attributes:
        renewed: How often anything watched has been given new contexts, for whatever reason.
        failing: From the name of everything whose files cannot be used as they are, to the cause. It serves what it
            has served before.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, watched: Sequence[Watched]) -> None:
        """Note how the files stand; no change is missed if that is before they are first read."""
        self._clock = clock
        self._states = [_State(each, _marks(each.files), clock.seconds()) for each in watched]
        self._waiting: list[_State] = []
        self._next: IDelayedCall | None = None
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock
        self._failing: dict[str, str] = {}
        self.failing: Mapping[str, str] = MappingProxyType(self._failing)
        self.renewed = 0

    def start(self) -> None:
        """Begin to look. To be called once."""
        if self._states:
            looking = self._looking.start(LOOK_SECONDS, now=False)
            self._ended = looking.addErrback(lambda bug: self.log.failure("certificates are watched no more", bug))

    def stop(self) -> None:
        """Look no more; what is served stays. May be called at any time."""
        if self._looking.running:
            self._looking.stop()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def look_now(self) -> None:
        """Read everything, also what looks unchanged, and say for each what it serves now (SIGHUP)."""
        for state in self._states:
            state.told = True
            self._soon(state)

    def _look(self) -> None:
        now = self._clock.seconds()
        for state in self._states:
            marks = _marks(state.watched.files)
            state.still = state.still + 1 if marks == state.seen else 0
            state.seen = marks
            patience = _AGAIN_SECONDS if state.watched.name in self._failing else _OLDEST_SECONDS
            # A clock that was put back says nothing of age, and the difference may be years.
            if (state.still and marks != state.tried) or not 0 <= now - state.since < patience:
                self._soon(state)

    def _soon(self, state: _State) -> None:
        """Renew it in a turn of the reactor's of its own: handshakes are not to wait for all of them."""
        if state not in self._waiting:
            self._waiting.append(state)
        if self._next is None:
            self._next = self._clock.callLater(0, self._renew_one)

    def _renew_one(self) -> None:
        self._next = None
        state = self._waiting.pop(0)
        # A bug in one of them; the others' are to be renewed all the same.
        self._renewing = maybeDeferred(self._renew, state).addErrback(self._log_bug, state.watched.name)
        if self._waiting:
            self._next = self._clock.callLater(0, self._renew_one)

    def _renew(self, state: _State) -> None:
        watched = state.watched
        # Before they are read: what changes meanwhile is another change.
        marks = _marks(watched.files)
        changed = marks != state.tried
        before = state.tried, state.since
        state.tried, state.since = marks, self._clock.seconds()
        told, state.told = state.told, False
        try:
            warnings = watched.renew()
        except ConfigError as error:
            if not told and state.still < _LOOKS_BEFORE_FAILING:
                state.tried, state.since = before
            else:
                self._failed(watched, "; ".join(mistake.text for mistake in error.mistakes))
            return
        self.renewed += 1
        recovered = self._failing.pop(watched.name, None) is not None
        if changed or told or recovered:
            self.log.info(
                "{name}: new handshakes get {served}",
                name=watched.name,
                served=watched.served() or "what is in the files now",
            )
        for warning in warnings:
            self.log.warn("{name}: {warning}", name=watched.name, warning=warning)

    def _log_bug(self, bug: Failure, name: str) -> None:
        self._failing[name] = f"a bug: {bug.value!r}"
        self.log.failure("{name}: a bug in renewing certificates", bug, name=name)

    def _failed(self, watched: Watched, cause: str) -> None:
        self._failing[watched.name] = cause
        self.log.error(
            "{name}: certificates cannot be renewed: {cause}; still served: {served}",
            name=watched.name,
            cause=cause,
            served=watched.served() or "what was served before",
        )


def _marks(files: Sequence[Path]) -> _Marks:
    """What tells a file from another, or from itself before a change; for one that cannot be found, why."""
    return tuple(map(_mark, files))


def _mark(file: Path) -> tuple[int, ...]:
    try:
        found = os.stat(file)
    except OSError as error:
        return (error.errno or 0,)
    # ctime changes with every write, rename, owner and mode, and nobody can set it back.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

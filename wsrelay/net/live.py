"""The table of living sessions: how many there are, and how they end when the service does.

Knows of a session only that it can be asked to end.
"""

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Living(Protocol):
    """What the table knows of a session."""

    def wind_down(self) -> None:
        """End as soon as nothing is lost by it: now where idle, after the exchange, or with the tunnel's own end."""

    def end_now(self) -> None:
        """End at once; the outcome is DRAINED."""


class Live:
    """All sessions of a process, from accept to outcome, tunnels included."""

    def __init__(self, clock: IReactorTime) -> None:
        """Empty, and not draining."""
        self._clock = clock
        self._sessions: set[Living] = set()
        self._emptied: Deferred[None] | None = None
        self._window: IDelayedCall | None = None
        self.draining = False

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Living) -> None:
        """A session has begun."""
        self._sessions.add(session)

    def remove(self, session: Living) -> None:
        """A session has its outcome."""
        self._sessions.discard(session)
        if self._emptied is not None and not self._sessions:
            if self._window is not None and self._window.active():
                self._window.cancel()
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def drain(self, seconds: float) -> Deferred[None]:
        """Let every session end within `seconds`, then end those that are left. Fires when none is. Call it once."""
        self.draining = True
        emptied = self._emptied = Deferred()
        for session in tuple(self._sessions):
            session.wind_down()
        if self._sessions:
            self._window = self._clock.callLater(seconds, self.end_all)
        elif self._emptied is not None:
            self._emptied = None
            emptied.callback(None)
        return emptied

    def end_all(self) -> None:
        """End every session now."""
        for session in tuple(self._sessions):
            session.end_now()

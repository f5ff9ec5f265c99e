"""The limit of time that every wait has. Knows nothing of what is waited for."""

from collections.abc import Callable
from types import TracebackType

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# What a wait has at least: 0 would be no limit.
_LEAST_SECONDS = 0.001


def time_left(clock: IReactorTime, by: float) -> float:
    """Seconds until `by`, a time of `clock.seconds()`, for the next of several waits that share a limit; never 0."""
    return max(by - clock.seconds(), _LEAST_SECONDS)


class Deadline:
    """`with Deadline(clock, seconds, stream.fail, late):` ends the waits inside with `late()` when time is up.

    One timer for a whole phase, however many reads it takes: a head that comes byte by byte has no more time than
    one that comes at once. Where the time begins later than the block, use `start` and `stop` instead of `with`.

    Args:
        clock: Whose `callLater` is used.
        seconds: From `start`; 0 means no limit.
        expire: Called once, with what `late` makes, if it has not been stopped by then.
        late: Makes the error, and only then: its text costs more than the timer, and hardly any wait is too long.
        progress: Where given, time is only up if this number has not changed since the last look; so the limit is
            one of standing still, not of duration, and is kept within twice `seconds`.
    """

    __slots__ = ("_call", "_clock", "_expire", "_late", "_progress", "_seconds", "_seen", "_stopped")

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        expire: Callable[[Exception], None],
        late: Callable[[], Exception],
        progress: Callable[[], int] | None = None,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expire = expire
        self._late = late
        self._progress = progress
        self._seen = progress() if progress else 0
        self._call: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """The time begins now; nothing happens if it has begun already, or was stopped before."""
        if self._seconds and self._call is None and not self._stopped:
            self._call = self._clock.callLater(self._seconds, self._look)

    def stop(self) -> None:
        """What was waited for is there: time cannot run out any more."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def __enter__(self) -> None:
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _look(self) -> None:
        self._call = None
        if self._progress is not None and (now := self._progress()) != self._seen:
            self._seen = now
            self._call = self._clock.callLater(self._seconds, self._look)
            return
        self._stopped = True
        self._expire(self._late())

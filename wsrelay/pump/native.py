"""The native pump's Python side: a factory as `net.splice` wants it, over the C in `pump.h`.

Python is called twice for a tunnel, at its start and at its end, always on the reactor thread.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet

from wsrelay.core.outcomes import Loss, Outcome, Side
from wsrelay.net.legs import Leg, Taken
from wsrelay.net.splice import Counts, Handoff, Pump
from wsrelay.pump._native import ffi, lib
from wsrelay.pump.bell import Bell, tls_calls

# In the order of pump.h.
_SIDES = (Side.CLIENT, Side.UPSTREAM)

_LOSSES = {
    lib.PUMP_RESET: Loss.RESET,
    lib.PUMP_TRUNCATED: Loss.TRUNCATED,
    lib.PUMP_TLS_ERROR: Loss.TLS,
    lib.PUMP_STALLED: Loss.STALLED,
}


class NativePumpFactory:
    """Pumps on threads of C, which hold no GIL."""

    name = "native"

    def __init__(
        self,
        reactor: IReactorFDSet,
        take: Callable[[Leg], Taken],
        functions: Mapping[str, int],
        threads: int,
        sweep_seconds: float,
    ) -> None:
        """Nothing is started before `open`.

        Args:
            reactor: On whose thread ends are told.
            take: Takes a leg from Python.
            functions: The addresses of the TLS library's functions, by their names in `struct tls_calls`.
            threads: At least one.
            sweep_seconds: Time limits are kept to within this.
        """
        self._reactor = reactor
        self._take = take
        self._functions = functions
        self._threads = threads
        self._sweep_seconds = sweep_seconds
        self._pump: Any = ffi.NULL
        self._given = ffi.new("struct pump_handoff *")
        self._ended = ffi.new("struct pump_ended *")
        self._tunnels: dict[int, _NativePump] = {}

    def open(self) -> None:
        """Start the threads.

        Raises:
            OSError: The system has no more threads or descriptors.
        """
        made = ffi.new("struct pump **")
        error = lib.pump_new(made, self._threads, self._sweep_seconds, tls_calls(self._functions))
        if error:
            raise OSError(error, os.strerror(error), "threads of the native pump")
        self._pump = made[0]
        self._bell = Bell(self._reactor, lib.pump_descriptor(self._pump), self._told)

    def shut(self) -> None:
        """End the threads."""
        if self._pump != ffi.NULL:
            self._bell.take_down()
            for pump in self._tunnels.values():  # none, unless somebody has not waited
                pump.keep_counts()
            lib.pump_free(self._pump)
            self._pump = ffi.NULL
            self._tunnels.clear()

    def hold_time(self, seconds: float) -> None:
        """For tests: it is `seconds` from now on, and what is due by then has been done when this returns."""
        lib.pump_hold_time(self._pump, seconds)
        lib.pump_catch_up(self._pump)

    def start(self, handoff: Handoff) -> Pump:
        """Own both legs and move bytes until the tunnel's end."""
        assert self._pump != ffi.NULL, "started after the end"
        given, kept = self._given, []
        for index, leg, answer, early in (
            (lib.PUMP_CLIENT, handoff.client, handoff.answer, handoff.to_client),
            (lib.PUMP_UPSTREAM, handoff.upstream, b"", handoff.to_upstream),
        ):
            taken = self._take(leg)
            first = ffi.from_buffer(taken.unsent + answer + early)
            kept.append(first)
            given.legs[index].descriptor = taken.descriptor
            given.legs[index].ssl = ffi.cast("void *", taken.ssl)
            given.legs[index].ended = taken.ended
            given.first[index] = first
            given.first_bytes[index] = len(first)
            given.uncounted[index] = len(first) - len(early)
        given.idle, given.write_stall, given.linger = handoff.idle, handoff.write_stall, handoff.linger
        tunnel = lib.pump_start(self._pump, given)
        if tunnel == ffi.NULL:
            raise MemoryError("no memory for a tunnel")
        pump = self._tunnels[int(ffi.cast("uintptr_t", tunnel))] = _NativePump(self._pump, tunnel)
        return pump

    def _told(self) -> None:
        ended = self._ended
        # The last tunnel's end may be what the service has waited for to `shut`.
        while self._pump != ffi.NULL and lib.pump_next_ended(self._pump, ended):
            self._tunnels.pop(int(ffi.cast("uintptr_t", ended.tunnel))).end(ended.end, ended.side)


class _NativePump:
    """One tunnel, as Python sees it."""

    __slots__ = ("_last", "_pump", "_tunnel", "_why", "done")

    def __init__(self, pump: Any, tunnel: Any) -> None:
        self.done: Deferred[Outcome] = Deferred()
        self._pump = pump
        self._tunnel = tunnel
        self._why: Outcome | None = None
        self._last: Counts | None = None

    def stop(self, why: Outcome) -> None:
        """End the tunnel now, with FIN to both."""
        if self._last is None and self._why is None:
            self._why = why
            lib.pump_stop(self._tunnel)

    def counts(self) -> Counts:
        """The numbers now; the last ones once it has ended."""
        return self._last or self._count()

    def keep_counts(self) -> None:
        """Its memory is about to be freed: from now on `counts` gives the last ones."""
        self._last = self._count()

    def end(self, how: int, side: int) -> None:
        """What the C side has told: both legs are closed."""
        self.keep_counts()
        lib.pump_forget(self._tunnel)
        self.done.callback(self._outcome(how, _SIDES[side]))

    def _count(self) -> Counts:
        counts = ffi.new("struct pump_counts *")
        lib.pump_count(self._pump, self._tunnel, counts)
        client, upstream = lib.PUMP_CLIENT, lib.PUMP_UPSTREAM
        return Counts(
            to_upstream=counts.bytes[client],
            to_client=counts.bytes[upstream],
            silent_to_upstream=counts.silent[client],
            silent_to_client=counts.silent[upstream],
            paused_client=counts.paused[client],
            paused_upstream=counts.paused[upstream],
            first_end=None if counts.first_end == -1 else _SIDES[counts.first_end],
        )

    def _outcome(self, how: int, side: Side) -> Outcome:
        if how == lib.PUMP_CLOSED:
            return Outcome.closed_by(side)
        if how == lib.PUMP_LINGERED:
            return Outcome.lingered(side)
        if how == lib.PUMP_IDLE:
            return Outcome.IDLE
        if how == lib.PUMP_STOPPED and self._why is not None:
            return self._why
        return Outcome.of_loss(side, _LOSSES[how])

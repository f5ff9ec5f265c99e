"""Which pump a process uses: the native one where it was built and works, else the one on the reactor.

The only place that imports the native pump, since it may not be there.
"""

import os
from types import ModuleType

import attrs

from wsrelay.config.settings import Pump, Settings
from wsrelay.net import takeover
from wsrelay.net.handshakes import Handshakes, ReactorHandshakes
from wsrelay.net.legs import Reactor
from wsrelay.net.splice import SWEEP_SECONDS, PumpFactory, ReactorPumpFactory

# Limits of time below a few seconds are kept that much more exactly.
_SWEEPS_A_LIMIT = 4

_NOT_BUILT = "it was not built when wsrelay was installed, which needs Linux, a C compiler and Python's headers"

# An epoll and an eventfd.
_DESCRIPTORS_A_THREAD = 2

# As many pipes as `pipes.h` allows, of two ends each.
_DESCRIPTORS_FOR_PIPES = 64


class NoNativePump(Exception):
    """The native pump is not there, or does not fit what is installed; the text says why."""


@attrs.frozen
class Movers:
    """What moves tunnels and does TLS handshakes in this process: both native, or both on the reactor."""

    pumps: PumpFactory
    handshakes: Handshakes
    threads: int = 0
    """Of each of the two."""
    why_not_native: str = ""
    """Where the native ones were to be expected."""

    @property
    def descriptors(self) -> int:
        """What the threads need at most: two for each thread, and the pipes of those that move bytes."""
        return self.threads * (2 * _DESCRIPTORS_A_THREAD + _DESCRIPTORS_FOR_PIPES)

    def open(self) -> None:
        """Start their threads, if they have any; after any fork.

        Raises:
            OSError: The system has no more threads or descriptors. Then none is started.
        """
        self.pumps.open()
        try:
            self.handshakes.open()
        except OSError:
            self.pumps.shut()
            raise

    def shut(self) -> None:
        """End them; no session may be left."""
        self.pumps.shut()
        self.handshakes.shut()


def choose(settings: Settings, reactor: Reactor) -> Movers:
    """What the settings ask for. Nothing is started yet.

    Raises:
        NoNativePump: `pump = "native"`, and there is none.
    """
    why = ""
    if settings.pump is not Pump.REACTOR:
        try:
            return _native(settings, reactor)
        except NoNativePump as error:
            if settings.pump is Pump.NATIVE:
                raise
            why = str(error)
    return Movers(ReactorPumpFactory(reactor, _sweep_seconds(settings)), ReactorHandshakes(reactor), why_not_native=why)


def _native(settings: Settings, reactor: Reactor) -> Movers:
    native, handshakes, functions = _load()
    threads = settings.pump_threads or cores()
    take, sweep = takeover.take, _sweep_seconds(settings)
    address_of, text_of = takeover.address_of, takeover.text_of
    choose_protocol, take_name = takeover.choose_protocol, takeover.take_name
    return Movers(
        native.NativePumpFactory(reactor, take, functions, threads, sweep),
        handshakes.NativeHandshakes(reactor, address_of, text_of, choose_protocol, take_name, functions, threads),
        threads,
    )


def missing() -> str:
    """Why there is no native pump here; empty if there is one."""
    try:
        _load()
    except NoNativePump as error:
        return str(error)
    return ""


def _load() -> tuple[ModuleType, ModuleType, dict[str, int]]:
    """The two modules over the C, and where they find OpenSSL."""
    try:
        from wsrelay.pump import bell, handshakes, native

        functions = takeover.functions()
        bell.tls_calls(functions)
    except ModuleNotFoundError as error:
        raise NoNativePump(_NOT_BUILT) from error
    except (ImportError, AttributeError, KeyError) as error:  # of another version, or for another machine
        raise NoNativePump(f"it cannot be used, install wsrelay again: {error}") from error
    except takeover.CannotTakeOver as error:
        raise NoNativePump(str(error)) from error
    return native, handshakes, functions


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sweep_seconds(settings: Settings) -> float:
    """How often tunnels are looked at: a quarter of their shortest limit, at most every second."""
    every = [settings.timeouts, *(route.timeouts for route in settings.routes)]
    limits = [limit for one in every for limit in (one.tunnel_idle, one.write_stall, one.linger) if limit > 0]
    return min([SWEEP_SECONDS, *(limit / _SWEEPS_A_LIMIT for limit in limits)])

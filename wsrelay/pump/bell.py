"""What both kinds of native threads share on the Python side: how they ring, and how they find the TLS library."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.pump._native import ffi


def tls_calls(functions: Mapping[str, int]) -> Any:
    """`struct tls_calls` from addresses by name; every name of it must be there."""
    calls = ffi.new("struct tls_calls *")
    for name, _ in ffi.typeof("struct tls_calls").fields:
        setattr(calls, name, ffi.cast(ffi.typeof(getattr(calls, name)), functions[name]))
    return calls


@implementer(IReadDescriptor)
class Bell:
    """Readable when threads have something to tell."""

    def __init__(self, reactor: IReactorFDSet, descriptor: int, ring: Callable[[], None]) -> None:
        """Heard from now on.

        Args:
            reactor: On whose thread `ring` is called.
            descriptor: The threads close it.
            ring: Takes all that there is.
        """
        self._reactor = reactor
        self._descriptor = descriptor
        self._ring = ring
        reactor.addReader(self)

    def take_down(self) -> None:
        """Not heard any more."""
        self._reactor.removeReader(self)
        self._descriptor = -1

    def fileno(self) -> int:
        """The descriptor, -1 once it is taken down."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Constant: Twisted asks before every event."""
        return "pump"

    def doRead(self) -> None:
        """Something was told."""
        self._ring()

    def connectionLost(self, reason: Failure) -> None:
        """A bug inside `doRead`, which the reactor has logged, must not deafen the process."""
        if self._descriptor != -1:
            self._reactor.addReader(self)

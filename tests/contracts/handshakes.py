"""What does TLS handshakes, each kind of it, for the contract that all keep."""

import queue
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from OpenSSL import SSL
from twisted.internet import reactor

from tests.contracts.peers import server_context, tcp_pair
from tests.harness import PATIENCE_SECONDS, in_reactor
from wsrelay.control.pumps import missing
from wsrelay.net import takeover
from wsrelay.net.handshakes import Begin, Handshake, Handshakes, ReactorHandshakes, Shaken


def on_the_reactor() -> Handshakes:
    """Pure Python."""
    return ReactorHandshakes(reactor)  # type: ignore[arg-type]  # a module, to mypy


def native() -> Handshakes:
    """Threads in C."""
    from wsrelay.pump.handshakes import NativeHandshakes

    return NativeHandshakes(
        reactor,  # type: ignore[arg-type]  # as above
        takeover.address_of,
        takeover.text_of,
        takeover.choose_protocol,
        takeover.take_name,
        takeover.functions(),
        threads=2,
    )


KINDS: list[Callable[[], Handshakes]] = [on_the_reactor, native]


@contextmanager
def opened(kind: Callable[[], Handshakes]) -> Iterator[Handshakes]:
    """One of them, ready for handshakes; skips where it was not built."""
    if kind is native and (why := missing()):
        pytest.skip(why)
    made: Handshakes = in_reactor(kind)
    in_reactor(made.open)
    yield made
    in_reactor(made.shut)


class Attempt:
    """One handshake: the relay's end, whose way is told, and the far end's socket."""

    def __init__(
        self,
        handshakes: Handshakes,
        context: SSL.Context,
        pair: tuple[socket.socket, socket.socket],
        *,
        as_client: bool,
    ) -> None:
        self._ours, self.far = pair
        self.far.settimeout(PATIENCE_SECONDS)
        self.inode = self._ours.fileno()
        self.connection: SSL.Connection | None = SSL.Connection(context, self._ours)
        if as_client:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self._told: queue.Queue[Shaken] = queue.Queue()
        self._begun: Handshake = in_reactor(
            self._begin, handshakes.as_client if as_client else handshakes.as_server, self.connection
        )

    def _begin(self, how: Begin, connection: SSL.Connection) -> Handshake:
        begun = how(connection, self._ours, self._told.put)
        assert self._told.empty(), "it was told of before whoever began it knew it"
        return begun

    def told(self) -> Shaken:
        """Wait for its end."""
        return self._told.get(timeout=PATIENCE_SECONDS)

    @property
    def silent(self) -> bool:
        """Whether nothing was told so far."""
        return self._told.empty()

    def unread(self) -> bytes:
        """What waits on the relay's end."""
        return self._ours.recv(65536)

    def give_up(self) -> None:
        """What a leg does that is closed meanwhile; it keeps nothing of the connection."""
        self.connection = None
        in_reactor(self._begun.give_up)

    def close(self) -> None:
        """Both ends."""
        self._ours.close()
        self.far.close()


@contextmanager
def attempts(handshakes: Handshakes) -> Iterator[Callable[..., Attempt]]:
    """Begin any number of handshakes; both ends of all are closed afterwards."""
    made: list[Attempt] = []

    def begin(
        context: SSL.Context | None = None,
        *,
        as_client: bool = False,
        pair: tuple[socket.socket, socket.socket] | None = None,
    ) -> Attempt:
        made.append(Attempt(handshakes, context or server_context(), pair or tcp_pair(), as_client=as_client))
        return made[-1]

    yield begin
    for attempt in made:
        attempt.close()


def far_end_is_closed(far: socket.socket) -> bool:
    """Wait until the relay's end is closed."""
    try:
        while far.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True

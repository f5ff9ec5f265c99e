"""One connection on its way in, without a listener: its arrival, the far end, and a time that only the test moves."""

import queue
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.contracts.peers import TlsPeer, a_turn, tcp_pair
from tests.harness import PATIENCE_SECONDS, HandTime, Relay, Wire, in_reactor
from wsrelay.core.outcomes import Side
from wsrelay.net.arrival import Arrival, Arrived
from wsrelay.net.legs import Leg
from wsrelay.net.record import SessionRecord
from wsrelay.net.site import Site
from wsrelay.net.stream import Stream

# What a session has been told of its client at the accept.
HOST, PORT = "192.0.2.1", 4711


@attrs.define
class Coming:
    """A connection that arrives."""

    site: Site
    over: HandTime
    ours: socket.socket
    far: Wire
    stream: Stream
    record: SessionRecord
    arrival: Arrival
    timers: int
    """How many the relay itself has."""
    _told: "queue.Queue[Any]" = attrs.field(factory=queue.Queue)
    running: "Deferred[Arrived] | None" = None

    def begin(self) -> None:
        self.running = Deferred.fromCoroutine(self.arrival.arrive())
        self.running.addBoth(self._told.put)

    @property
    def is_here(self) -> bool:
        """Whether it has arrived, or failed to."""
        a_turn()
        return not self._told.empty()

    def here(self) -> Arrived:
        """Wait until it has arrived. Raises what keeps it from it."""
        told = self._told.get(timeout=PATIENCE_SECONDS)
        if isinstance(told, Failure):
            raise told.value
        assert isinstance(told, Arrived)
        return told

    def tls(self, name: str | None = None, **how: Any) -> TlsPeer:
        """Shake hands as a client."""
        peer = TlsPeer(self.far.socket, **how)
        if name is not None:
            peer.tls.set_tlsext_host_name(name.encode())
        peer.shake_hands()
        return peer

    def unread(self) -> bytes:
        """What is in the socket for whoever reads next."""
        return self.ours.recv(1 << 20)

    @property
    def watched(self) -> bool:
        """Whether the reactor looks at the connection."""

        def look() -> bool:
            every = [*reactor.getReaders(), *reactor.getWriters()]  # type: ignore[attr-defined]  # a module, to mypy
            return any(one.fileno() == self.ours.fileno() for one in every)

        return bool(in_reactor(look))

    @property
    def least(self) -> int:
        """From how many bytes on the kernel calls it readable."""
        return self.ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    def close(self) -> None:
        """As a session does it in the end, and the far end too."""
        in_reactor(self.stream.leg.close)
        in_reactor(self.site.admission.leave, self.record)
        # A thread that does its handshake may have to let go of it first.
        with suppress(OSError):
            self.far.ending()
        self.far.close()
        a_turn()


Come = Callable[..., Coming]


@contextmanager
def coming(start: Callable[..., Relay]) -> Iterator[Come]:
    """Have connections come to the first listener of a configuration; all are closed afterwards, and left nothing."""
    made: list[Coming] = []

    def come(
        where: str | Site,
        first: bytes = b"",
        *,
        pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair,
        address: str = HOST,
    ) -> Coming:
        """One connection; `first` is there before anybody looks. `where` may be the Site of an earlier one."""
        site = start(where, HandTime()).service.listening[0].site if isinstance(where, str) else where
        over = site.reactor
        assert isinstance(over, HandTime)
        ours, far = pair()
        wire = Wire(far)
        if first:
            wire.send(first)
        stream = Stream(Leg(ours, over, "far"), Side.CLIENT)  # type: ignore[arg-type]  # stands in for a reactor
        client = address if address == "unix:" else f"{address}:{PORT}"
        record = SessionRecord("ab-1", "public", client, 0.0)
        one = Coming(site, over, ours, wire, stream, record, Arrival(stream, site, record, address), over.timers)
        made.append(one)
        in_reactor(one.begin)
        return one

    yield come
    for one in made:
        one.close()
        assert one.ours.fileno() == -1

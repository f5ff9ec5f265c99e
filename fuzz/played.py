"""One session, played from a script on wires in memory, to its end. Knows nothing of what must hold."""

from ipaddress import ip_network
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fuzz.routes import CORPUS
from fuzz.script import Script, Step
from fuzz.upgrade import accept_of
from fuzz.wires import Turns, Wire
from wsrelay.config.networks import Networks
from wsrelay.config.settings import Limits, Listener, Mode, ServerAddress, TcpAddress, Timeouts
from wsrelay.core.head import HeadLimits
from wsrelay.core.outcomes import Side
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.routing import RouteTable
from wsrelay.net.admission import Admission
from wsrelay.net.legs import Leg
from wsrelay.net.live import Live
from wsrelay.net.record import ExchangeFacts, SessionRecord, TunnelFacts
from wsrelay.net.session import Session
from wsrelay.net.site import Site
from wsrelay.net.splice import Handoff, Pump, ReactorPumpFactory
from wsrelay.net.stream import Stream

LIMITS = Limits(head_bytes=2048, head_fields=24, body_bytes=1000)
HEADS = HeadLimits(LIMITS.head_bytes, LIMITS.head_fields)
PROXIES = Networks.of((ip_network("127.0.0.2/32"),))
ROUTES = RouteTable(CORPUS, "plain")
TIMES = (0.5, 4.0, 6.0, 11.0, 31.0, 61.0, 76.0, 3601.0)
# Longer than any limit of time; so many of them are more than limits can follow one upon the other in one session.
_LONG = 3700.0
_MOST_WAITS = 40
_SERVER = TcpAddress("192.0.2.80", 80)
_DRAIN_SECONDS = 30.0
_MOST_PIECES = 40


class Dialled:
    """A dialer whose connections are wires."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.wires: list[Wire] = []
        self.next = 255

    def proxy_version(self, group: str) -> int:
        """No group wants a PROXY line."""
        return 0

    def remember(self, group: str, server: ServerAddress, stream: Stream) -> None:
        """Nothing: no upstream speaks TLS."""

    async def connect(self, group: str, seconds: float, first: bytes = b"") -> tuple[Stream, TcpAddress]:
        """A new wire; or a refusal, or a wire after some time, where the script said so."""
        how, self.next = self.next, 255
        if how < 8:
            await deferLater(self._turns, TIMES[how])  # type: ignore[arg-type]  # it has the one method that is needed
        if how % 2 == 0:
            raise Refusal(Reason.UPSTREAM_REFUSED, "the upstream refused the connection")
        self.wires.append(Wire())
        leg = Leg(self.wires[-1], self._turns, "192.0.2.80:80")  # type: ignore[arg-type]  # all that a leg needs
        return Stream(leg, Side.UPSTREAM), _SERVER


class Told:
    """An observer that counts."""

    def __init__(self) -> None:
        self.exchanges: list[ExchangeFacts] = []
        self.opened = 0
        self.tunnels: list[TunnelFacts] = []
        self.failed = 0

    def secured(self, record: SessionRecord) -> None:
        """Nothing: here are no clients with TLS."""

    def exchanged(self, record: SessionRecord, facts: ExchangeFacts) -> None:
        """One more."""
        self.exchanges.append(facts)

    def tunnel_opened(self, record: SessionRecord) -> None:
        """One more."""
        self.opened += 1

    def tunnel_ended(self, record: SessionRecord, facts: TunnelFacts) -> None:
        """One more."""
        assert record.outcome is not None
        self.tunnels.append(facts)

    def session_failed(self, record: SessionRecord) -> None:
        """One more."""
        assert record.outcome is not None
        self.failed += 1


@attrs.define
class Pumps:
    """The reactor's pump, and what had gone upstream when it was started."""

    pumps: ReactorPumpFactory
    dialled: Dialled
    name: str = "reactor"
    before: bytes | None = None
    """All that was written to the upstream before the handoff, as far as it has taken it."""
    waiting: int = 0
    """How many more bytes were written."""
    promised: bytes = b""
    """What the upstream had sent by then."""

    def start(self, handoff: Handoff) -> Pump:
        """Look, then start it."""
        wire = self.dialled.wires[-1]
        self.before, self.promised = bytes(wire.got), bytes(wire.sent)
        self.waiting = handoff.upstream.waiting
        return self.pumps.start(handoff)

    def open(self) -> None:
        """As the reactor's."""
        self.pumps.open()

    def shut(self) -> None:
        """As the reactor's."""
        self.pumps.shut()


class Played:
    """A session and both its ends."""

    def __init__(self, script: Script, address: str, listener: Listener, pieces: tuple[int, int]) -> None:
        """Nothing has happened yet. `pieces` is in how many bytes at a time each side sends, 0 for all at once."""
        self.turns = Turns()
        self.client = Wire()
        self.dialled = Dialled(self.turns)
        self.told = Told()
        self.live = Live(self.turns)  # type: ignore[arg-type]  # it tells the time
        self.pumps = Pumps(ReactorPumpFactory(self.turns), self.dialled)  # type: ignore[arg-type]  # as above
        self.record = SessionRecord("0", listener.name, address, 0.0)
        self._site = Site(
            listener=listener,
            contexts=None,
            routes=ROUTES,
            timeouts=Timeouts(),
            limits=LIMITS,
            proxies=PROXIES,
            dialer=self.dialled,  # type: ignore[arg-type]  # it has the one method that is needed
            pumps=self.pumps,
            handshakes=None,  # type: ignore[arg-type]  # no TLS here
            live=self.live,
            admission=Admission(LIMITS, PROXIES, self.live, self.turns),  # type: ignore[arg-type]  # as above
            observer=self.told,
            reactor=self.turns,  # type: ignore[arg-type]  # as above
        )
        leg = Leg(self.client, self.turns, address)  # type: ignore[arg-type]  # all that a leg needs
        self._session = Session(leg, self._site, self.record, address)
        self._script = script
        self._answers = list(script.answers)
        self._pieces = {Side.CLIENT: pieces[0], Side.UPSTREAM: pieces[1]}
        self._heard = (0, 0)
        self._emptied: Deferred[None] | None = None

    def run(self, *, ends: bool, opens: bool) -> None:
        """Play it all; then let the client end, its windows open, and time pass until the session is over."""
        self.pumps.open()
        self._session.start()
        self._settle()
        for step in self._script.steps:
            self._do(step)
        self._settle()
        wires = [self.client, *self.dialled.wires]
        if opens:
            for wire in wires:
                wire.room = None
        self._settle()
        if ends:
            self.client.end()
        for _ in range(_MOST_WAITS):
            self._settle()
            if not len(self.live):
                break
            self.turns.passes(_LONG)
        self.pumps.shut()

    def _settle(self) -> None:
        """Let the relay do all it can, and the upstream answer what it got."""
        self.turns.settle()
        while self._answers and self._asked():
            for step in self._answers.pop(0):
                self._do(step, settling=False)
            self.turns.settle()

    def _asked(self) -> bool:
        """Whether the upstream has got something since its last answer."""
        wires = self.dialled.wires
        heard = (len(wires), len(wires[-1].got) if wires else 0)
        if heard == self._heard or not heard[1]:
            return False
        self._heard = heard
        return True

    def _do(self, step: Step, *, settling: bool = True) -> None:
        wire: Wire | None = self.client
        if step.side is Side.UPSTREAM:
            wire = self.dialled.wires[-1] if self.dialled.wires else None
        settle = self._settle if settling else self.turns.settle
        match step.letter:
            case "" if wire is not None:
                self._send(wire, step, settle)
            case "E" if wire is not None:
                wire.end()
            case "R" if wire is not None:
                wire.reset()
            case "W" if wire is not None:
                wire.room = None if step.number == 255 else step.number
            case "|":
                settle()
            case "T":
                settle()
                self.turns.passes(TIMES[step.number % len(TIMES)])
            case "X":
                self.dialled.next = step.number
            case "D":
                settle()
                if self._emptied is None:  # an answer in between may have said so
                    self._emptied = self.live.drain(_DRAIN_SECONDS)

    def _send(self, wire: Wire, step: Step, settle: Any) -> None:
        data, size = step.data, self._pieces[step.side]
        if step.side is Side.UPSTREAM:
            data = data.replace(b"{accept}", _accept(bytes(wire.got)))
        # Not into more pieces than this: each has the reactor turn, and an input may have thousands of bytes.
        most = max(size or len(data), len(data) // _MOST_PIECES)
        for at in range(0, len(data), most):
            wire.put(data[at : at + most])
            if size:
                settle()


PLAIN = Listener("plain", TcpAddress("127.0.0.1", 80))
LAYER_4 = Listener("plain", TcpAddress("127.0.0.1", 80), mode=Mode.TCP, upstream="app")
TO_HTTPS = Listener("plain", TcpAddress("127.0.0.1", 80), redirect_to_https=True)


def _accept(got: bytes) -> bytes:
    """The accept value for the key in what an upstream has got."""
    _, found, rest = got.partition(b"Sec-WebSocket-Key: ")
    return accept_of(rest.partition(b"\r\n")[0]) if found else b"none"

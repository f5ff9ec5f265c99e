"""One run of the state machine: the relay, its clients and upstreams, what they can do, and what must hold meanwhile.

Everything runs in the calling thread: real sockets, the real service, the reactor turned by hand, time moved by hand.
"""

import gc
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.logger import LogEvent, globalLogPublisher

from tests.rude import asked as asking
from tests.rude import said as saying
from tests.rude.asked import Asked, Asker
from tests.rude.board import Board
from tests.rude.carriers import TlsCarrier
from tests.rude.client_end import ClientEnd
from tests.rude.far_end import FarEnd, small
from tests.rude.ground import Ground
from tests.rude.server_end import ServerEnd
from tests.rude.turning import Listener, TurnedRelay, turned
from wsrelay.core.outcomes import Outcome

ALL = 1 << 30
# One read of 64 KiB on top of a full buffer of 64 KiB, and framing.
MOST_WAITING = 2 * 64 * 1024 + 4096
# So many milliseconds the kernel may take for what it does at its own pace: an acknowledgement waits for 40.
MOMENTS = 100
# Every limit, one after the other: nothing waits for more of them than these.
EVERY_LIMIT = (60,) * 6 + (3_600,) * 6


class Play:
    """Whoever is there, and the relay between them."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._failures: list[LogEvent] = []
        globalLogPublisher.addObserver(self._note)
        turned()
        self._descriptors = len(os.listdir("/proc/self/fd"))
        self.observer = Listener()
        self.relay = TurnedRelay(ground.settings, self.observer)
        self.reactor = self.relay.reactor
        self.board = Board()
        self._tags = 0
        self._outcomes: dict[str, Outcome | None] = {}

    def _note(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self._failures.append(event)

    def clients(self, wanted: Callable[[ClientEnd], object]) -> list[ClientEnd]:
        return [one for one in self.board.clients if wanted(one)]

    def servers(self, wanted: Callable[[ServerEnd], object]) -> list[ServerEnd]:
        return [one for one in self.board.servers if wanted(one)]

    def tag(self, letter: bytes) -> bytes:
        """A name that nothing else bears."""
        self._tags += 1
        return b"%b%d" % (letter, self._tags)

    # What they do.

    def connect(self, *, raw: bool) -> ClientEnd:
        """A client comes."""
        connecting = small(socket.socket())
        number = len(self.board.clients)
        connecting.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
        connecting.connect(("127.0.0.1", self.relay.port(int(raw))))
        client = ClientEnd(connecting, number, raw=raw)
        self.board.clients.append(client)
        self.reactor.turn()
        if self._ground.secure:
            client.carrier = carrier = TlsCarrier(connecting)
            carrier.shake_hands(self.reactor.turn)
        return client

    def begin(self, client: ClientEnd, recipe: asking.Recipe) -> Asked:
        """It is about to ask something; nothing is sent."""
        asked = recipe.make(self.tag(b"c"), Asker(client.address.encode(), self._ground.secure))
        client.ask(asked)
        self.board.asked[asked.tag] = (client, asked)
        return asked

    def push(self, far: FarEnd, most: int) -> None:
        """It sends so much; where it is all, as long as the relay takes any of it."""
        in_time = not (far.stream or self.relay.drained or far.was_let_go)
        while far.send(most) and far.unsent and most == ALL:
            self.reactor.turn()
        arrived = bool(far.stream) and not (far.gone or far.in_flight)
        self.reactor.turn()
        far.counts = far.counts or (in_time and arrived)

    def babble(self, server: ServerEnd, recipe: saying.Recipe) -> None:
        """An upstream says what nobody has asked for, and the relay has it before anything else happens.

        Otherwise it would look like the answer to the next request, and nobody could tell. The kernel may take a moment
        to bring it, and to say that it has.
        """
        self.say(server, recipe, ALL)
        for _ in range(MOMENTS):
            if server.gone or not server.in_flight:
                break
            self.reactor.iterate(0.001)
        self.reactor.turn()

    def accept(self) -> bool:
        """An upstream accepts who waits for it, if anybody does."""
        for listening in self._ground.waiting()[:1]:
            connected, _ = listening.accept()
            raw = listening is self._ground.raw
            self.board.servers.append(ServerEnd(connected, len(self.board.servers), raw=raw))
            return True
        return False

    def say(self, server: ServerEnd, recipe: saying.Recipe, most: int) -> None:
        """An upstream says something, or the beginning of it."""
        said = recipe.make(self.tag(b"s"), server.owed)
        server.say(said)
        self.board.said[said.tag] = (said, server)
        self.push(server, most)

    def ask(self, client: ClientEnd, recipe: asking.Recipe) -> Asked:
        """It asks all of it at once."""
        asked = self.begin(client, recipe)
        self.push(client, ALL)
        self.look()
        return asked

    def answer(self, asked: Asked, recipe: saying.Recipe | None, most: int) -> ServerEnd | None:
        """Whoever owes the answer to this gives it, or so much of it, or is only found."""
        self.accept()
        self.look()
        for server in self.servers(lambda one: one.speaks and one.owed is asked):
            if recipe is not None:
                self.say(server, recipe, most)
            return server
        return None

    def behave(self, far: FarEnd, how: str) -> None:
        """It does something other than to speak."""
        if how == "stops reading or begins again":
            far.reads = not far.reads
        elif how == "resets":
            far.reset()
        elif far.speaks:
            far.finish()
        self.reactor.turn()

    def pass_time(self, seconds: float) -> None:
        """So much time passes at once."""
        self.board.hurried = self.board.hurried or seconds >= 29
        for client in self.board.clients:
            client.time_passes()
        self.reactor.passes(seconds)

    def drain(self) -> None:
        """The service begins to stop."""
        self.board.draining = self.board.hurried = True
        self.relay.drain(30)
        self.reactor.turn()

    # What must hold.

    def look(self) -> None:
        """Everybody who reads judges what has come."""
        for far in (*self.board.clients, *self.board.servers):
            far.look(self.board)
        self.reactor.turn(2)

    def check(self) -> None:
        """Memory and timers are bounded, and no session has two outcomes."""
        assert not self._failures, self._failures
        for leg in self.reactor.legs:
            assert leg.waiting <= MOST_WAITING
            assert getattr(leg.receiver, "held", 0) <= MOST_WAITING
        # A session waits for one thing at a time, an exchange for one more; the sweep of tunnels and the window.
        assert self.reactor.timers <= 3 * len(self.relay.live) + 2
        assert len(self.relay.live) <= len(self.board.clients)
        for address, told in self.observer.told.items():
            assert told.words.count("opened") <= 1
            assert told.words.count("closed") <= told.words.count("opened")
            assert told.words.count("failed") <= 1
            assert not {"failed", "opened"} <= set(told.words)
            assert told.record is not None
            assert told.record.outcome is not Outcome.BUG
            assert self._outcomes.get(address) in (None, told.record.outcome), "two outcomes"
            self._outcomes[address] = told.record.outcome

    def end(self) -> None:
        """Nobody says or reads anything more, and every limit of time passes: nothing is left."""
        everybody: list[Any] = [*self.board.clients, *self.board.servers]
        try:
            for far in everybody:
                far.reads = False
            self._pass_every_limit()
            assert len(self.relay.live) == 0, "a session that no limit of time ends"
            # What is there to be read has to be right all the same.
            for far in everybody:
                far.reads = True
            self.look()
            self.check()
            self._check_outcomes()
        finally:
            self._clear_away(everybody)
        assert self.reactor.legs == []
        assert self.reactor.timers == 0
        assert len(os.listdir("/proc/self/fd")) == self._descriptors
        assert not self._failures, self._failures

    def _pass_every_limit(self) -> None:
        for seconds in EVERY_LIMIT:
            self.pass_time(seconds)
        # What the kernel still moves at its own pace begins some limits anew.
        for _ in range(MOMENTS):
            if len(self.relay.live):
                self.reactor.iterate(0.001)
                self.pass_time(3_600)

    def _check_outcomes(self) -> None:
        assert self.relay.admitted == 0, "somebody who is gone still counts"
        for client in self.board.clients:
            told = self.observer.told.get(client.address)
            if told is None:
                assert not client.counts, f"client {client.number} has said something, and nobody was told of it"
                continue
            assert told.record is not None
            assert told.record.outcome is not None, "a session without an outcome"
            assert told.words.count("opened") == told.words.count("closed")
            exchanged = [word for word in told.words if word.startswith("exchanged")]
            assert client.answered <= len(exchanged) + told.words.count("opened")
            assert len(exchanged) <= len(client.asked), "more lines than requests"

    def _clear_away(self, everybody: list[Any]) -> None:
        for far in everybody:
            far.close()
        self.relay.live.end_all()
        self.relay.shut()
        while waiting := self._ground.waiting():
            for listening in waiting:
                listening.accept()[0].close()
        self.reactor.turn()
        # An error that nobody has asked for is logged when its Deferred goes.
        gc.collect(1)
        globalLogPublisher.removeObserver(self._note)

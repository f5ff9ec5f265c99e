"""One connection from the relay to a scripted upstream: what it brought, and how far its script has been played.

Driven by one thread, `upstream`'s. h11 finds the requests in the bytes; after a 101 the bytes are raw.
"""

import contextlib
import socket

import attrs

from tests.corpus.independent import Arrived, Requests
from tests.corpus.pieces import Body, Echo, End, Reset, Send, UpstreamPiece
from tests.corpus.scripts import AFTER, Script, after_switch, elements_for, filled

# RST at close.
_LINGER = b"\x01\x00\x00\x00\x00\x00\x00\x00"


@attrs.frozen
class Reached:
    """What one connection brought to an upstream."""

    group: str
    received: bytes
    requests: tuple[Arrived, ...]
    raw: bytes
    """What came after a 101."""
    faults: tuple[str, ...]
    switched: bool = False
    after_switch: bytes = b""
    """What the script itself sends after the head of its 101."""


class Connection:
    """One connection from the relay, and how far its script has been played."""

    def __init__(self, connected: socket.socket, group: str, script: Script) -> None:
        connected.setblocking(False)
        self.socket = connected
        self.open = True
        self._group = group
        self._script = script
        self._requests = Requests(group)
        self._received = bytearray()
        self._unsent = bytearray()
        self._waiting: list[UpstreamPiece] = []
        self._begun = 0
        self._done = 0
        self._echoing = False
        self._ending = False
        self._sent = b""
        self._after_switch = b""

    @property
    def wants_to_write(self) -> bool:
        return bool(self._unsent)

    def reached(self) -> Reached:
        """What has come so far. `/after` belongs to the runner, not to the case."""
        requests = self._requests
        targets = [each.target for each in requests.arrived]
        count = targets.index(AFTER) if AFTER in targets else len(targets)
        until = requests.starts[count] if count < len(targets) else len(self._received)
        return Reached(
            self._group,
            bytes(self._received[:until]),
            tuple(requests.arrived[:count]),
            requests.raw,
            tuple(requests.faults),
            requests.switched,
            self._after_switch,
        )

    def readable(self) -> None:
        """Read what has come; play what follows from it."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._requests.end()
            self.close()
            return
        self._received += data
        if self._echoing:
            self._unsent += data
        self._requests.feed(data)
        if self._requests.faults:
            # Whoever waits for an answer to this need not wait for long.
            self.close()
            return
        self._play()
        self.writable()

    def writable(self) -> None:
        """Send what is left; end once everything is sent, if that was asked for."""
        with contextlib.suppress(BlockingIOError):
            try:
                while self._unsent:
                    del self._unsent[: self.socket.send(self._unsent)]
            except (BrokenPipeError, ConnectionResetError):
                self._unsent.clear()
        if self._ending and not self._unsent and self.open:
            self._ending = False
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self.open:
            self.open = False
            self.socket.close()

    def _play(self) -> None:
        arrived = self._requests.arrived
        while self.open and not self._requests.switched:
            if self._begun == self._done and self._begun < len(arrived):
                self._waiting = list(elements_for(self._script, self._begun, arrived[self._begun]))
                self._sent = b""
                self._begun += 1
            if self._begun == self._done:
                return
            complete = arrived[self._done].complete
            self._step(arrived[self._done], complete=complete)
            if self._waiting or not complete:
                return
            self._done += 1

    def _step(self, request: Arrived, *, complete: bool) -> None:
        """Play the pieces of one request as far as it has come."""
        while self._waiting and self.open:
            match self._waiting[0]:
                case Body() if not complete:
                    return
                case Send(data):
                    self._answer(data, request)
                case Echo():
                    self._echo()
                case End():
                    self._ending = True
                case Reset():
                    self._reset()
            del self._waiting[:1]

    def _answer(self, data: bytes, request: Arrived) -> None:
        data = filled(data, request)
        self._unsent += data
        self._sent += data
        behind = after_switch(self._sent)
        if behind is not None:
            self._after_switch = behind
            if not self._requests.switched:
                self._requests.switch(b"")

    def _echo(self) -> None:
        self._echoing = True
        self._unsent += self._requests.raw

    def _reset(self) -> None:
        self.writable()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self.close()

"""What the tests of this folder have in common: a relay with time in the test's hands, and its clients under TLS."""

import fcntl
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
from OpenSSL import SSL

from tests.harness import PATIENCE_SECONDS, TURNS, HandTime, RawServer, Relay, Wire, http, in_reactor
from tests.rude.tls_by_hand import TlsByHand
from tests.tls import Authority, front, only

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HERE = b"GET /here HTTP/1.1\r\nHost: example.com\r\n\r\n"
# An answer of the relay's own, so that no upstream is needed.
ROUTE = '[[route]]\npath = "/here"\nrespond = { body = "here" }\n'
PLAIN, TLS_1_2, TLS_1_3 = "plain", "TLS 1.2", "TLS 1.3"
CARRIERS = (PLAIN, TLS_1_2, TLS_1_3)
_SSL_VERSIONS = {TLS_1_2: ssl.TLSVersion.TLSv1_2, TLS_1_3: ssl.TLSVersion.TLSv1_3}
# The same for pyOpenSSL.
VERSIONS = {TLS_1_2: SSL.TLS1_2_VERSION, TLS_1_3: SSL.TLS1_3_VERSION}


@attrs.define
class Scene:
    """Starts a relay in front of `upstream`, and its clients."""

    start: Callable[..., Relay]
    upstream: RawServer
    folder: Path
    over: HandTime = attrs.field(factory=HandTime)
    running: Relay = attrs.field(init=False)
    _authority: Authority = attrs.field(init=False)

    def open(self, carrier: str = PLAIN, more: str = "", after: str = "") -> Relay:
        """The relay. `more` comes before everything else of its configuration, `after` behind it."""
        text = http(self.upstream)
        if carrier != PLAIN:
            self._authority = Authority(self.folder)
            text = front(self._authority, self.upstream)
        self.running = self.start(more + text + ROUTE + after, self.over)
        return self.running

    def client(self, carrier: str = PLAIN) -> Wire:
        """A client, the relay's side of its handshake done, too."""
        if carrier == PLAIN:
            return self.running.connect()
        client = self.running.connect_tls(only(self._authority, _SSL_VERSIONS[carrier]), suppress_ragged_eofs=False)
        self.wait_until_secured()
        return client

    def by_hand(self, carrier: str) -> TlsByHand:
        """A client whose records the test carries. No handshake yet."""
        return TlsByHand(self.running.connect(), VERSIONS[carrier])

    def secured_by_hand(self, carrier: str) -> TlsByHand:
        """The same, its handshake done on both sides."""
        client = self.by_hand(carrier)
        client.shake_hands()
        self.wait_until_secured()
        return client

    def wait_until_secured(self) -> None:
        """Until the relay is done with every handshake: in TLS 1.3 its client is done before."""
        while "" in in_reactor(lambda: [one._record.tls for one in self.running.service.live._sessions]):
            pass

    def served(self, client: Wire, request: bytes = GET) -> Wire:
        """One exchange with the upstream, after which the connection is kept; the upstream's end."""
        client.send(request)
        server = self.upstream.accept()
        server.read_head()
        server.send(OK)
        assert client.read(len(OK)) == OK
        self.running.settle()
        return server

    def drip(self, send: Callable[[bytes], None], data: bytes, seconds: float) -> None:
        """A byte, and then so many seconds, again and again."""
        for number in range(len(data)):
            send(data[number : number + 1])
            self.running.settle()
            self.over.passes(seconds)


def waiting(of: socket.socket, what: int) -> int:
    """Bytes that wait in the kernel: `termios.TIOCOUTQ` for those not acknowledged, `FIONREAD` for those not read."""
    return int.from_bytes(fcntl.ioctl(of, what, bytes(4)), sys.byteorder)


def fill(wire: Wire, turn: Callable[[], None] = lambda: in_reactor(lambda: None)) -> int:
    """Send until nothing moves any more, neither here nor in the relay; how much was taken, under TLS too.

    Args:
        wire: Where to send.
        turn: Has whoever moves the bytes take a turn.
    """
    piece, sent, idle = b"x" * 16384, 0, 0
    wire.socket.setblocking(False)
    while idle < TURNS:
        try:
            sent += wire.socket.send(piece)
            idle = 0
        except (BlockingIOError, ssl.SSLWantWriteError):
            turn()
            idle += 1
    wire.socket.settimeout(PATIENCE_SECONDS)
    return sent


@attrs.define
class PumpTime:
    """The time of a relay and of its pump, moved together: the native one has a clock of its own."""

    scene: Scene
    now: float = 0.0

    def hold(self) -> None:
        """It is `now`; whatever the native pump had to do has been done."""
        pumps = self.scene.running.service.listening[0].site.pumps
        in_reactor(pumps.hold_time, self.now) if pumps.name == "native" else in_reactor(lambda: None)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.hold()
        self.scene.over.passes(seconds)

    def stuff(self, wire: Wire) -> None:
        """Send until nobody takes any more, for the reader has stopped."""
        while fill(wire, self.hold):
            pass


def until_reset(wire: Wire) -> bytes:
    """All that comes up to a RST; any other end is wrong."""
    got = b""
    try:
        while data := wire.socket.recv(65536):
            got += data
    except ConnectionResetError:
        return got
    raise AssertionError(f"an orderly end after {got[-99:]!r}")


def nothing_came(client: Wire) -> bool:
    """Whether no byte of an answer is there. What TLS sends beside it, such as tickets, is none."""
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    finally:
        client.socket.settimeout(PATIENCE_SECONDS)

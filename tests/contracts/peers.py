"""The far ends of legs, played by hand from the test's own thread: plain or TLS, and every way to end.

No wait is without a limit, which only a failing test reaches; nothing is measured with it.
"""

import contextlib
import enum
import functools
import queue
import select
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.harness import PATIENCE_SECONDS, in_reactor
from wsrelay.core.outcomes import Loss
from wsrelay.net.handshakes import ReactorHandshakes
from wsrelay.net.legs import Leg
from wsrelay.net.tls_leg import TlsLeg

# A turn of the reactor is enough for loopback; so many in which nothing moves mean that nothing will.
SETTLED_TURNS = 10

PIECE = 16 * 1024

# What a connection's kernel buffers are asked to be where a test wants them full soon. The kernel doubles it.
SMALL = 16 * 1024


class End(enum.Enum):
    """How a connection ended, as its far end sees it."""

    ORDERLY = "orderly"
    RESET = "reset"
    TRUNCATED = "truncated"


@functools.cache
def server_context() -> SSL.Context:
    """A server's, with a certificate nobody verifies, set as the relay sets its own."""
    made = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(made.private_key_and_cert_chain_pem.bytes())
        file.flush()
        context.use_certificate_chain_file(file.name)
        context.use_privatekey_file(file.name)
    return context


def server_side(connected: socket.socket) -> SSL.Connection:
    """OpenSSL's side of a server's connection, before its handshake."""
    connection = SSL.Connection(server_context(), connected)
    connection.set_accept_state()
    return connection


@functools.cache
def client_context(version: int) -> SSL.Context:
    """A client's that verifies nothing and speaks one version."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    return context


def tcp_pair(buffers: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets, ours (non-blocking) and the far end's.

    UNIX sockets would not do: they know no RST.

    Args:
        buffers: Asked for as SO_SNDBUF and SO_RCVBUF of both; 0 leaves the system's.
    """
    far = socket.socket()
    with socket.socket() as listening:
        for each in (far, listening) if buffers else ():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        far.connect(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    for each in (ours, far):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Whatever the system prefers: this one sends at once what the window allows, with no timer for its pace.
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    return ours, far


def unix_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected UNIX sockets, ours (non-blocking) and the far end's. What is full there stays full."""
    ours, far = socket.socketpair(socket.AF_UNIX)
    ours.setblocking(False)
    return ours, far


def clog(ours: socket.socket) -> int:
    """Fill a UNIX socket below TLS, so that OpenSSL has to wait for room; how many bytes that took."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += ours.send(bytes(4096))
    return count


def unclog(far: socket.socket, count: int) -> None:
    """Take from the far end what `clog` has put in, and not a byte more: TLS begins right behind it."""
    while count:
        assert select.select([far], [], [], PATIENCE_SECONDS)[0], "the clog does not come out"
        count -= len(far.recv(min(count, 65536)))


def capacity(*sockets: socket.socket) -> int:
    """The most that these sockets' kernel buffers hold."""
    names = (socket.SO_SNDBUF, socket.SO_RCVBUF)
    return sum(each.getsockopt(socket.SOL_SOCKET, name) for each in sockets for name in names)


def a_turn() -> None:
    """Let the reactor finish the turn it is in and one more, calls that were put off to it included."""
    for _ in range(2):
        in_reactor(deferLater, reactor, 0, lambda: None)


class Peer:
    """The far end of a plain connection."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket = connected
        self.held = b""

    def try_send(self, data: bytes) -> int:
        """Send what the kernel takes now, 0 for nothing. After 0, the same bytes must come first again."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    def writable(self) -> bool:
        """Whether the kernel says that it takes more."""
        return bool(select.select([], [self.socket], [], 0)[1])

    def try_read(self) -> bytes | None:
        """What has arrived, None for nothing.

        Raises:
            EOFError: The other side has ended in order.
            ConnectionResetError: With RST.
        """
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return None
        if not data:
            raise EOFError("the connection ended")
        return data

    def send(self, data: bytes) -> None:
        """Send all."""
        while data:
            taken = self.try_send(data[:PIECE])
            data = data[taken:]
            if not taken:
                self._wait(writable=True)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes; what came with them is held for the next read."""
        have = bytearray(self.held)
        while len(have) < count:
            have += self._read_some()
        self.held = bytes(have[count:])
        return bytes(have[:count])

    def rest(self, meanwhile: Callable[[], object] | None = None) -> tuple[bytes, End]:
        """Everything to the end, and which kind of end it was; `meanwhile` is called while nothing comes."""
        have = bytearray(self.held)
        self.held = b""
        give_up = time.monotonic() + PATIENCE_SECONDS
        try:
            while True:
                data = self.try_read()
                if data is not None:
                    have += data
                elif meanwhile is None:
                    self._wait(writable=False)
                else:
                    assert time.monotonic() < give_up, "no end came"
                    meanwhile()
        except EOFError as end:
            return bytes(have), End.TRUNCATED if isinstance(end, TruncatedError) else End.ORDERLY
        except ConnectionResetError:
            return bytes(have), End.RESET

    def finish(self) -> None:
        """Send our end; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def _read_some(self) -> bytes:
        while (data := self.try_read()) is None:
            self._wait(writable=False)
        return data

    def _wait(self, *, writable: bool) -> None:
        wanted = [self.socket]
        if not any(select.select([] if writable else wanted, wanted if writable else [], [], PATIENCE_SECONDS)):
            raise TimeoutError("nothing came" if not writable else "nothing is taken")


class TruncatedError(EOFError):
    """FIN without close_notify."""


class TlsPeer(Peer):
    """The far end of a TLS connection, as a client."""

    def __init__(self, connected: socket.socket, version: int = SSL.TLS1_3_VERSION) -> None:
        super().__init__(connected)
        self.tls = SSL.Connection(client_context(version), connected)
        self.tls.set_connect_state()

    def shake_hands(self) -> None:
        """The whole handshake; the other end must be at it too."""
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._wait(writable=False)
            else:
                return

    def try_send(self, data: bytes) -> int:
        try:
            return self.tls.send(data)
        except SSL.WantWriteError:
            return 0
        except SSL.SysCallError as error:
            raise ConnectionResetError(*error.args) from error

    def try_read(self) -> bytes | None:
        try:
            return self.tls.recv(65536)
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            raise EOFError("close_notify") from None
        except SSL.SysCallError as error:
            if error.args[0] == -1:
                raise TruncatedError("FIN without close_notify") from error
            raise ConnectionResetError(*error.args) from error

    def finish(self) -> None:
        """Send close_notify; the TCP connection stays as it is."""
        self.tls.shutdown()

    def truncate(self) -> None:
        """Send FIN without close_notify."""
        self.socket.shutdown(socket.SHUT_WR)

    def send_garbage(self) -> None:
        """Send what looks like a record and does not decrypt."""
        self.socket.send(b"\x17\x03\x03\x00\x20" + bytes(range(32)))


def both_ways(one: Peer, other: Peer, forth: bytes, back: bytes) -> tuple[bytes, bytes]:
    """Send `forth` from the one and `back` from the other, both at once; what the other and the one received."""
    unsent = {one: memoryview(forth), other: memoryview(back)}
    wanted = {one: len(back), other: len(forth)}
    got: dict[Peer, bytearray] = {one: bytearray(), other: bytearray()}
    while any(unsent.values()) or any(len(got[peer]) < wanted[peer] for peer in got):
        readers = [peer.socket for peer in got if len(got[peer]) < wanted[peer]]
        writers = [peer.socket for peer in got if unsent[peer]]
        assert any(select.select(readers, writers, [], PATIENCE_SECONDS)), "nothing moves any more"
        for peer in got:
            if unsent[peer]:
                unsent[peer] = unsent[peer][peer.try_send(bytes(unsent[peer][:PIECE])) :]
            while len(got[peer]) < wanted[peer] and (data := peer.try_read()):
                got[peer] += data
    return bytes(got[other]), bytes(got[one])


class Recorder:
    """A leg's receiver that only writes down what it is told; the test takes it in order."""

    def __init__(self) -> None:
        self._told: queue.Queue[tuple[str, Any]] = queue.Queue()

    def next(self) -> tuple[str, Any]:
        """Wait for the next thing told."""
        return self._told.get(timeout=PATIENCE_SECONDS)

    def nothing_more(self) -> bool:
        """Whether all has been taken, and two turns of the reactor bring no more."""
        a_turn()
        return self._told.empty()

    def bytes_until(self, what: str) -> tuple[bytes, Any]:
        """All bytes up to an event of another kind, which must be `what`; and what came with that."""
        have = b""
        while (told := self.next())[0] == "received":
            have += told[1]
        assert told[0] == what, told
        return have, told[1]

    def bytes_of(self, count: int) -> bytes:
        """Bytes until there are `count`."""
        have = b""
        while len(have) < count:
            what, data = self.next()
            assert what == "received", what
            have += data
        return have

    def received(self, data: bytes) -> None:
        self._told.put(("received", data))

    def ended(self) -> None:
        self._told.put(("ended", None))

    def lost(self, loss: Loss) -> None:
        self._told.put(("lost", loss))

    def drained(self) -> None:
        self._told.put(("drained", None))

    def secured(self, first: bytes) -> None:
        self._told.put(("secured", None))
        if first:
            self._told.put(("received", first))


def secure(leg: TlsLeg, peer: TlsPeer) -> None:
    """The handshake between the two; the leg is paused after it."""
    recorder = leg.receiver = Recorder()
    in_reactor(leg.secure)
    peer.shake_hands()
    assert recorder.next() == ("secured", None)


def plain_leg(buffers: int = 0) -> tuple[Leg, Peer]:
    """A leg of the relay and its far end."""
    ours, far = tcp_pair(buffers)
    return Leg(ours, reactor, "far"), Peer(far)  # type: ignore[arg-type]  # a module, to mypy


def tls_leg(pair: tuple[socket.socket, socket.socket], version: int = SSL.TLS1_3_VERSION) -> tuple[TlsLeg, TlsPeer]:
    """A TLS leg of the relay, as a server, and its far end. No handshake yet."""
    ours, far = pair
    leg = TlsLeg(ours, reactor, "far", server_side(ours), ReactorHandshakes(reactor).as_server)  # type: ignore[arg-type]  # a module, to mypy
    return leg, TlsPeer(far, version)


def watched(leg: Leg) -> tuple[bool, bool]:
    """Whether the reactor looks for readability of the leg's socket, and for writability."""

    def look() -> tuple[bool, bool]:
        all_of_them = (reactor.getReaders(), reactor.getWriters())  # type: ignore[attr-defined]  # a module, to mypy
        reading, writing = (any(each.fileno() == leg.fileno() for each in them) for them in all_of_them)
        return reading, writing

    looked: tuple[bool, bool] = in_reactor(look)
    return looked


@contextlib.contextmanager
def closing(leg: Leg, peer: Peer) -> Iterator[None]:
    """Close both after the block; nothing of the leg may stay in the reactor."""
    try:
        yield
    finally:
        in_reactor(leg.close)
        peer.close()
        assert watched(leg) == (False, False)

"""One TLS client's records do not hold the thread that serves all: however many wait, others have their turn.

OpenSSL reads on by itself behind a record that carries no data, unless it is told not to (SSL_MODE_AUTO_RETRY, which
pyOpenSSL switches on). So thousands of key updates, at 27 bytes and 40 us each, would be one single read.
"""

import socket
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import SWITCHED, UPGRADE
from tests.rude.scene import TLS_1_2, TLS_1_3, VERSIONS, waiting
from tests.rude.tls_by_hand import ALERT, CLIENT_HELLO, HANDSHAKE, Forger, Forger13, TlsByHand
from tests.rude.turning import Counting, TurnedRelay
from tests.tls import Authority, front
from wsrelay.config import load
from wsrelay.net.legs import READ_BYTES

# Of at least 27 bytes each, so more than the kernel takes in one go.
MANY = 20_000
# What one turn may take of one connection: its bounded read, with all that records have beside their content.
ONE_TURN = 2 * READ_BYTES


def key_updates(forger: Forger) -> bytes:
    assert isinstance(forger, Forger13)
    return b"".join(forger.key_update(wants_one=False) for _ in range(MANY))


def renegotiations(forger: Forger) -> bytes:
    return b"".join(forger.record(CLIENT_HELLO, HANDSHAKE) for _ in range(MANY))


def empty_records(forger: Forger) -> bytes:
    return b"".join(forger.record(b"") for _ in range(MANY))


def records_of_one_byte(forger: Forger) -> bytes:
    return b"".join(forger.record(b"G") for _ in range(MANY))


def warnings(forger: Forger) -> bytes:
    return b"".join(forger.record(b"\x01\x5a", ALERT) for _ in range(MANY))


FLOODS = [
    (TLS_1_3, key_updates),
    (TLS_1_2, renegotiations),
    (TLS_1_2, empty_records),
    (TLS_1_3, empty_records),
    (TLS_1_2, records_of_one_byte),
    (TLS_1_3, records_of_one_byte),
    (TLS_1_2, warnings),
]


class TurnedWire:
    """As much of a `Wire` as a client by hand needs: the relay turns whenever it has something to do."""

    def __init__(self, far: socket.socket, turn: Callable[[], None]) -> None:
        self.socket = self
        self._far = far
        self._turn = turn

    def send(self, data: bytes) -> None:
        self._far.sendall(data)
        self._turn()

    def recv(self, most: int) -> bytes:
        self._turn()
        return self._far.recv(most)


@pytest.fixture
def turned(tmp_path: Path, upstream) -> Iterator[TurnedRelay]:
    file = tmp_path / "wsrelay.toml"
    file.write_text('[relay]\naccess_log = "off"\npump = "reactor"\n' + front(Authority(tmp_path), upstream))
    relay = TurnedRelay(load.read(file).settings, Counting(), narrow=False)
    yield relay
    relay.live.end_all()
    relay.rest()
    relay.shut()


@pytest.mark.parametrize(("carrier", "flood"), FLOODS)
def test_a_flood_of_records_is_read_a_bounded_part_at_a_time(turned: TurnedRelay, carrier, flood):
    turn = turned.reactor.turn
    with socket.create_connection(("127.0.0.1", turned.port(0))) as far:
        client = TlsByHand(TurnedWire(far, turn), VERSIONS[carrier])
        client.shake_hands()
        turn()
        data = flood(client.forger())
        far.setblocking(False)
        sent = far.send(data)
        assert sent > 2 * ONE_TURN, "the flood is none"
        turn(1)
        # None is left where OpenSSL has had enough of it, which it may.
        for leg in turned.reactor.legs:
            taken = sent - waiting(far, termios.TIOCOUTQ) - waiting(leg._socket, termios.FIONREAD)
            assert taken <= ONE_TURN


@pytest.mark.parametrize("pump", ["reactor", "native"])
@pytest.mark.parametrize(("carrier", "flood"), FLOODS[:2])
def test_a_flood_in_one_tunnel_does_not_hold_up_another(scene, upstream, carrier, flood, pump):
    """Both tunnels on one thread. What the other one sends arrives long before the flood is read."""
    scene.open(carrier, more=f'pump = "{pump}"\npump_threads = 1\n')
    other = scene.client(carrier)
    other.send(UPGRADE)
    others = upstream.accept()
    others.read_head()
    others.send(SWITCHED)
    other.read_head()
    client = scene.secured_by_hand(carrier)
    forger = client.forger()
    client.wire.send(forger.record(UPGRADE))
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    client.read_until(b"\r\n\r\n")
    data = flood(forger)
    client.wire.socket.setblocking(False)
    sent = client.wire.socket.send(data)
    other.send(b"and I?")
    assert others.read(6) == b"and I?"
    left = waiting(client.wire.socket, termios.TIOCOUTQ)
    assert left > sent // 4, f"{sent - left} of {sent} bytes were read first"

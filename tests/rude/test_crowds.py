"""Thousands of clients that get nothing, or leave in the middle, one batch after the other: nothing is left of any.

The relay turns in the test's own thread, so that every session is held at the point where its client leaves.
"""

import collections
import gc
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer
from tests.rude.turning import Counting, TurnedRelay, turned
from wsrelay.config import load
from wsrelay.net.deadlines import Deadline
from wsrelay.net.exchange import Exchange
from wsrelay.net.legs import Leg
from wsrelay.net.own_upstream import OwnUpstream
from wsrelay.net.record import SessionRecord
from wsrelay.net.session import Session
from wsrelay.net.stream import Stream
from wsrelay.net.tunnel import Tunnel

BATCH = 50
KINDS = (Session, Tunnel, Stream, Leg, Exchange, OwnUpstream, Deadline, SessionRecord)
EARLY = b"\x81\x85....early"
GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
HEAD = b"HTTP/1.1 403 No\r\n"

DECLINED = [
    HEAD + b"Content-Length: 4\r\n\r\nnope",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n",
    HEAD + b"\r\nnope",
    b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n",
    SWITCHED.replace(b"HSmr", b"XXXX"),
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"",
]
REFUSED = [
    b"BAD\r\n\r\n",
    GET.replace(b"Host", b"Host "),
    UPGRADE.replace(b"Version: 13", b"Version: 8"),
    UPGRADE.replace(b"GET", b"POST"),
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    GET[:-2] + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
]


class Crowd:
    """A relay, an upstream played by hand, and a batch of clients at a time."""

    def __init__(self, folder: Path, upstream: RawServer, pump: str) -> None:
        file = folder / "wsrelay.toml"
        file.write_text(
            f'[relay]\naccess_log = "off"\npump = "{pump}"\n[[listen]]\naddress = "127.0.0.1:0"\n'
            f'[[upstream]]\nname = "app"\nservers = ["{upstream.address}"]\n'
            '[[route]]\npath = "/"\nupstream = "app"\n'
        )
        turned()
        self.observer = Counting()
        self.relay = TurnedRelay(load.read(file).settings, self.observer)
        self.turn = self.relay.reactor.turn
        self.upstream = upstream
        self.clients: list[socket.socket] = []
        self.servers: list[socket.socket] = []

    def come(self, data: Callable[[int], bytes]) -> None:
        """A batch of clients connects, and says something."""
        address = ("127.0.0.1", self.relay.port(0))
        self.clients = [socket.create_connection(address, PATIENCE_SECONDS) for _ in range(BATCH)]
        self.turn(3)
        for number, client in enumerate(self.clients):
            client.sendall(data(number))
        self.turn(3)

    def accept(self) -> None:
        """Every request that has been made has arrived upstream."""
        listening = self.upstream.listening
        while select.select([listening], [], [], 0)[0]:
            self.servers.append(listening.accept()[0])
            assert self.servers[-1].recv(65536).endswith(b"\r\n\r\n")

    def leave(self) -> None:
        """Clients and servers close what they have not closed yet."""
        for each in (*self.clients, *self.servers):
            each.close()
        self.clients, self.servers = [], []
        self.relay.rest()

    def left_over(self) -> tuple[int, int, dict[str, int]]:
        """Open descriptors, timers, and objects of a session's life."""
        gc.collect()
        kinds = collections.Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS))
        return len(os.listdir("/proc/self/fd")), self.relay.reactor.timers, dict(kinds)

    def come_and_go(self, count: int, batch: Callable[[int], None]) -> None:
        """So many clients by batches; after the first one, there is not more of anything than after the last."""
        batch(0)
        before = self.left_over()
        for number in range(1, count // BATCH):
            batch(number)
        assert self.left_over() == before


@pytest.fixture
def crowd(tmp_path: Path, upstream: RawServer) -> Iterator[Callable[..., Crowd]]:
    crowds: list[Crowd] = []

    def make(behind: RawServer = upstream, pump: str = "reactor") -> Crowd:
        crowds.append(Crowd(tmp_path, behind, pump))
        return crowds[-1]

    yield make
    for each in crowds:
        for one in (*each.clients, *each.servers):
            one.close()
        each.relay.live.end_all()
        each.relay.rest()
        each.relay.shut()


def reset(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while data := client.recv(65536):
        pieces.append(data)
    return b"".join(pieces)


def test_ten_thousand_declined_upgrades_leave_nothing_behind(crowd):
    many = crowd()

    def batch(number: int) -> None:
        many.come(lambda place: UPGRADE + EARLY * (place % 2))
        many.accept()
        assert len(many.servers) == BATCH
        for place, server in enumerate(many.servers):
            server.sendall(DECLINED[(number + place) % len(DECLINED)])
            server.close()
        many.turn(4)
        for client in many.clients:
            answer = read_all(client)
            assert answer.startswith(b"HTTP/1.1 ")
            assert b"\r\nConnection: close\r\n" in answer
        many.leave()

    many.come_and_go(10_000, batch)
    told = many.observer.told
    assert sum(told.values()) == 10_000, told
    assert told["exchanged 403"] == 10_000 // len(DECLINED) * 4
    assert told["exchanged 502"] == 10_000 // len(DECLINED) * 3


def test_two_thousand_refused_requests_leave_nothing_behind(crowd, upstream):
    many = crowd()

    def batch(number: int) -> None:
        many.come(lambda place: REFUSED[(number + place) % len(REFUSED)])
        for client in many.clients:
            assert b"\r\nX-Wsrelay-Reason: " in read_all(client)
        many.leave()

    many.come_and_go(2_000, batch)
    assert sum(many.observer.told.values()) == 2_000
    assert upstream.nobody_came()


# What a client has sent and got when it resets; with the relay's turn behind it, or not.
PLACES = ("part of the head", "head", "head and early bytes", "asked", "101 on its way", "101 read", "in the tunnel")


@pytest.mark.parametrize("pump", ["reactor", "auto"])
def test_two_thousand_resets_during_an_upgrade_leave_nothing_behind(crowd, pump):
    many = crowd(pump=pump)

    def batch(number: int) -> None:
        places = [PLACES[(number + place) % len(PLACES)] for place in range(BATCH)]
        sent = {"part of the head": UPGRADE[:50], "head and early bytes": UPGRADE + EARLY}
        many.come(lambda place: sent.get(places[place], UPGRADE))
        many.accept()
        # They were accepted in the order in which they came, but for those whose head is not complete.
        asking = [client for client, place in zip(many.clients, places, strict=True) if place != PLACES[0]]
        of = dict(zip(asking, many.servers, strict=True))
        for client, place in zip(many.clients, places, strict=True):
            if place in PLACES[4:]:
                of[client].sendall(SWITCHED)
            if place in PLACES[5:]:
                many.turn(2)
                assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            if place == PLACES[6]:
                client.sendall(b"x" * 100)
            reset(client)
            if number % 2:
                many.turn(1)
        many.turn(4)
        for server in many.servers:
            with pytest.raises(ConnectionResetError):
                read_all(server)
        many.leave()

    many.come_and_go(2_000, batch)
    told = many.observer.told
    assert told["opened"] == told["closed"]
    assert told["opened"] + told["exchanged 0"] + told["failed"] == 2_000, told


@pytest.mark.parametrize("asks", [GET, UPGRADE], ids=["GET", "upgrade"])
@pytest.mark.parametrize("hole", ["no connection", "no answer"])
def test_two_thousand_clients_that_give_a_black_hole_up_leave_nothing_behind(crowd, full, upstream, hole, asks):
    many = crowd(full if hole == "no connection" else upstream)

    def batch(number: int) -> None:
        many.come(lambda place: asks)
        if hole == "no answer":
            many.accept()
        for place, client in enumerate(many.clients):
            if place % 3:
                reset(client)
            else:
                client.close()
        many.turn(4)
        # Whoever has closed a GET in order might only be half-closed: their upstream has its time.
        many.relay.reactor.passes(5)
        many.relay.reactor.passes(30)
        many.relay.reactor.passes(30)
        many.leave()

    many.come_and_go(1_000, batch)
    assert sum(many.observer.told.values()) == 1_000

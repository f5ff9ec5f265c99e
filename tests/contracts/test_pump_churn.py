"""Many tunnels of every pump that come and go, ended at any moment by several clients; nothing of them is left."""

import contextlib
import gc
import os
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.contracts.peers import SMALL, Peer, TlsPeer, a_turn
from tests.contracts.tunnels import LEGS, Pumps, Tunnel, other
from tests.harness import in_reactor
from wsrelay.core.outcomes import Loss, Outcome, Side
from wsrelay.net.legs import Leg
from wsrelay.net.splice import Handoff

CLIENTS = 4
TUNNELS_EACH = 60

MESSAGE = bytes(range(256)) * 64


def end_somehow(tunnel: Tunnel, chance: random.Random) -> set[Outcome]:
    """Do to a living tunnel what ends it, with whatever is on its way; the outcomes that may be."""
    side = chance.choice(list(Side))
    one, far = tunnel.peer(side), tunnel.peer(other(side))
    for _ in range(chance.choice([0, 0, 1, 30])):
        if one.writable():
            one.try_send(MESSAGE[:4096])
    match chance.choice(["reset", "finish", "stop", "truncate", "reset both", "finish and reset", "stop and reset"]):
        case "finish":
            one.finish()
            far.finish()
            return {Outcome.CLIENT_CLOSED, Outcome.UPSTREAM_CLOSED}
        case "stop":
            tunnel.stop()
            return {Outcome.DRAINED}
        case "truncate" if isinstance(one, TlsPeer):
            one.truncate()
            return {Outcome.of_loss(side, Loss.TRUNCATED)}
        case "reset both":
            one.reset()
            far.reset()
            return {Outcome.CLIENT_RESET, Outcome.UPSTREAM_RESET}
        case "finish and reset":
            one.finish()
            far.reset()
            return {Outcome.of_loss(other(side), Loss.RESET)}
        case "stop and reset":
            one.reset()
            tunnel.stop()
            return {Outcome.DRAINED, Outcome.of_loss(side, Loss.RESET)}
        case _:
            one.reset()
            return {Outcome.of_loss(side, Loss.RESET)}


def read_out(peer: Peer) -> None:
    """Take what there is, so that whoever sends it can go on."""
    with contextlib.suppress(Exception):  # every kind of end will do
        while peer.try_read():
            pass


def play(pumps: Pumps, seed: int) -> None:
    """One client's tunnels, one after the other; what it does is the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(TUNNELS_EACH):
        tunnel = Tunnel(pumps, chance.choice(LEGS), chance.choice([0, SMALL]))
        tunnel.start(answer=b"101;", to_upstream=b"early")
        expected = end_somehow(tunnel, chance)
        while tunnel._outcomes.empty():
            # A client whose bytes nobody takes is not read, so its loss shows once they are taken.
            for side in Side:
                if tunnel.peer(side).socket.fileno() != -1:
                    read_out(tunnel.peer(side))
            tunnel.pass_time(0.5)
        assert tunnel.outcome() in expected
        for side in Side:
            tunnel.peer(side).held = b""
        tunnel.dispose()


def descriptors() -> Counter[str]:
    """What this process has open, by kind; the number of each socket does not matter.

    Without pipes: a pump keeps some for the next who need one, and those that are lost are found in tests/native.
    """
    found: Counter[str] = Counter()
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this very listing
            found[os.readlink(name).partition(":")[0]] += 1
    del found["pipe"]
    return found


def living() -> Counter[str]:
    """Objects of a tunnel's life that the garbage collector can see."""
    gc.collect()
    kinds = (Leg, Handoff, Tunnel, Deferred)
    names = ("_NativePump", "_ReactorPump", "_Direction", "Connection")
    return Counter(
        type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds) or type(each).__name__ in names
    )


@pytest.mark.parametrize("seed", [1])
def test_hundreds_of_tunnels_ended_at_any_moment_leave_nothing(pumps: Pumps, seed: int) -> None:
    play_all(pumps, seed)  # what is made once and kept is there from here on
    a_turn()
    before = descriptors(), living()
    play_all(pumps, seed + 1)
    a_turn()
    assert (descriptors(), living()) == before


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 130))
def test_thousands_of_tunnels_ended_at_any_moment_leave_nothing(pumps: Pumps, seed: int) -> None:
    test_hundreds_of_tunnels_ended_at_any_moment_leave_nothing(pumps, seed * 2)


def play_all(pumps: Pumps, seed: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        playing = [clients.submit(play, pumps, seed * 100 + number) for number in range(CLIENTS)]
        for each in playing:
            each.result()
    assert threading.active_count() < 20
    in_reactor(pumps.settle)

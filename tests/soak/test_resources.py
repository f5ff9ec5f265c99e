"""What is left over is found: of a process, of a session, of memory."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest

from soak import naming, resources
from soak.accounts import Account
from soak.plans import CLIENT, Port
from soak.resources import BYTES_A_CONNECTION, FRAGMENTS_BYTES, Holding
from tests.soak.conftest import Stage, told

START = Holding({"socket": 4, "pipe": 4, "file": 3}, threads=5, pss_bytes=40_000_000, cpu_seconds=1.0)


def test_a_process_that_is_back_at_its_start_has_nothing_left_over() -> None:
    assert resources.left_over(START, attrs.evolve(START, cpu_seconds=9.0, pss_bytes=50_000_000), pipes=0) == []


@pytest.mark.parametrize(
    ("descriptors", "said"),
    [
        ({"socket": 5, "pipe": 4, "file": 3}, "5 of the kind socket, and 4 at the start"),
        ({"socket": 3, "pipe": 4, "file": 3}, "3 of the kind socket, and 4 at the start"),
        ({"socket": 4, "pipe": 9, "file": 3}, "9 of the kind pipe, and 4 at the start"),
        ({"socket": 4, "pipe": 4, "file": 3, "anon_inode": 1}, "1 of the kind anon_inode, and 0 at the start"),
    ],
)
def test_a_descriptor_that_is_left_over_is_found(descriptors: dict[str, int], said: str) -> None:
    (found,) = resources.left_over(START, attrs.evolve(START, descriptors=descriptors), pipes=4)
    assert said in found


def test_pipes_may_be_kept_for_the_next_tunnel() -> None:
    kept = attrs.evolve(START, descriptors={**START.descriptors, "pipe": 8})
    assert resources.left_over(START, kept, pipes=4) == []
    assert resources.left_over(START, kept, pipes=3) != []


@pytest.mark.parametrize("threads", [4, 6])
def test_a_thread_more_or_less_is_found(threads: int) -> None:
    assert len(resources.left_over(START, attrs.evolve(START, threads=threads), pipes=0)) == 1


def test_memory_may_grow_by_fragments_and_not_by_what_is_left_of_each_connection() -> None:
    most = FRAGMENTS_BYTES + 1000 * BYTES_A_CONNECTION
    assert resources.grown(START, attrs.evolve(START, pss_bytes=START.pss_bytes + most), 1000) == []
    (found,) = resources.grown(START, attrs.evolve(START, pss_bytes=START.pss_bytes + most + 1), 1000)
    assert "of 1000 connections" in found
    # Half an hour at 40 a second: the record of a session is some 500 bytes, and would be found.
    of_records = attrs.evolve(START, pss_bytes=START.pss_bytes + 72_000 * 500)
    assert resources.grown(START, of_records, 72_000) != []


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """One that opens a socket, or starts a thread, at each line it gets, and says so."""
    program = """
import socket, sys, threading
held = []
print("begun", flush=True)
for line in sys.stdin:
    if line == "socket\\n":
        held.append(socket.socket())
    elif line == "thread\\n":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    else:
        held.clear()
    print("done", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        tell(started)
        yield started
        started.kill()


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    if line:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    assert process.stdout.readline() in ("begun\n", "done\n")


def test_a_real_process_is_seen_to_open_and_close(process: subprocess.Popen[str]) -> None:
    start = resources.holding(process.pid)
    assert start.threads == 1
    assert start.pss_bytes > 1_000_000
    tell(process, "socket")
    assert resources.left_over(start, resources.holding(process.pid), 0) == [
        "descriptors: 1 of the kind socket, and 0 at the start"
    ]
    _, found = resources.settled(process.pid, start, 0, patience=0.1)
    assert len(found) == 1
    tell(process, "close")
    assert resources.settled(process.pid, start, 0, patience=5)[1] == []


def test_a_real_process_is_seen_to_start_a_thread(process: subprocess.Popen[str]) -> None:
    start = resources.holding(process.pid)
    tell(process, "thread")
    assert resources.left_over(start, resources.holding(process.pid), 0) == ["threads: 2, and 1 at the start"]


def test_what_this_process_holds_is_counted_by_kind() -> None:
    before = resources.holding(os.getpid()).descriptors
    with socket.socket(), open(os.devnull):
        after = resources.holding(os.getpid()).descriptors
    assert after["socket"] - before.get("socket", 0) == 1
    assert after["file"] - before.get("file", 0) == 1


@pytest.mark.e2e
def test_a_session_that_is_held_open_is_missed_at_the_end(stage: Stage) -> None:
    """Three witnesses: the process, the access log, the upstream."""
    plan = stage.pick("resting", Port.TCP)
    soak = stage.soak(stage.relay.ports, patience=1.0)

    async def hold() -> None:
        with await soak.load.targets.dial(plan) as held:
            held.setblocking(True)
            held.sendall(naming.label(plan.number))
            soak.load.seen.append((plan, [Account(plan.number, 0, CLIENT, status=101)]))
            await soak.judge()
        assert len(soak.done.violations) == 3
        await soak.judge()

    stage.runner.run(hold())
    found = told(soak.done)
    sockets = soak.done.holdings[0].descriptors["socket"]
    assert f"the relay: descriptors: {sockets + 2} of the kind socket, and {sockets} at the start" in found
    assert "the upstream: 1 connections are still open" in found
    assert f"{plan}: the tunnel never reached the upstream" in found
    assert f"the access log: a session of connection {plan.number} after its time" in found[-1]


@pytest.mark.e2e
def test_a_stranger_is_told_apart(stage: Stage) -> None:
    """A session that nobody of the soak has opened: an outsider, or two connections that became three."""
    soak = stage.soak(stage.relay.ports)

    async def visit() -> None:
        with socket.create_connection(("127.0.0.1", stage.relay.ports[Port.HTTP])) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await soak.judge()

    stage.runner.run(visit())
    (found,) = told(soak.done)
    assert found.startswith("a stranger in the access log")

"""What both kinds of native threads need of Python."""

import os
import queue

import pytest
from twisted.internet import reactor
from twisted.logger import LogEvent

from tests.contracts.peers import a_turn
from tests.harness import PATIENCE_SECONDS, in_reactor

native = pytest.importorskip("wsrelay.pump._native", reason="the native pump was not built")
bell = pytest.importorskip("wsrelay.pump.bell")


def test_every_function_of_the_tls_library_must_be_given() -> None:
    names = [name for name, _ in native.ffi.typeof("struct tls_calls").fields]
    calls = bell.tls_calls({name: number for number, name in enumerate(names, 1)})
    assert [int(native.ffi.cast("uintptr_t", getattr(calls, name))) for name in names] == list(range(1, len(names) + 1))
    for missing in names:
        with pytest.raises(KeyError, match=missing):
            bell.tls_calls({name: 1 for name in names if name != missing})


def test_a_bell_that_rings_is_heard_until_it_is_taken_down_even_after_a_bug(logged: list[LogEvent]) -> None:
    reading, writing = os.pipe()
    heard: queue.Queue[bytes] = queue.Queue()

    def ring() -> None:
        data = os.read(reading, 1)
        heard.put(data)
        if data == b"!":
            raise ValueError("a bug")

    made = in_reactor(bell.Bell, reactor, reading, ring)
    os.write(writing, b"a!b")
    assert [heard.get(timeout=PATIENCE_SECONDS) for _ in range(3)] == [b"a", b"!", b"b"]
    in_reactor(made.take_down)
    os.write(writing, b"c")
    a_turn()
    assert heard.empty()
    assert made.fileno() == -1
    for end in (reading, writing):
        os.close(end)
    assert [str(event["failure"].value) for event in logged if "failure" in event] == ["a bug"]
    logged.clear()

"""The contract's matrix: each test runs for every pump and every kind of legs."""

from collections.abc import Iterator

import pytest

from tests.contracts.tunnels import LEGS, PUMPS, Connect, Legs, NativePumps, Pumps, Tunnel
from tests.harness import in_reactor
from wsrelay.control.pumps import missing


@pytest.fixture(params=PUMPS, ids=lambda kind: kind.__name__)
def pumps(request: pytest.FixtureRequest) -> Iterator[Pumps]:
    if request.param is NativePumps and (why := missing()):
        pytest.skip(why)
    made: Pumps = in_reactor(request.param)
    in_reactor(made.factory.open)
    in_reactor(made.settle)
    yield made
    in_reactor(made.factory.shut)
    assert in_reactor(made.idle_calls) == 0


@pytest.fixture(params=LEGS, ids=str)
def legs(request: pytest.FixtureRequest) -> Legs:
    kind: Legs = request.param
    return kind


@pytest.fixture
def connect(pumps: Pumps, legs: Legs) -> Iterator[Connect]:
    """Make a tunnel's legs and their far ends; its `start` is the handoff. Nothing of it is left after the test."""
    tunnels: list[Tunnel] = []

    def make(buffers: int = 0) -> Tunnel:
        tunnels.append(Tunnel(pumps, legs, buffers))
        return tunnels[-1]

    yield make
    assert in_reactor(pumps.idle_calls) <= 1, "a timer for each tunnel"
    for tunnel in tunnels:
        tunnel.dispose()

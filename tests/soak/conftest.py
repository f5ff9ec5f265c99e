"""A relay and an upstream for the tests of the soak, and connections picked for what they do."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator

import attrs
import pytest

from soak import kinds, relay, resources
from soak.load import UpstreamProcess, upstream
from soak.plans import Plan, Port
from soak.relay import Relay
from soak.resources import Holding
from soak.results import Done, Wanted
from soak.rounds import Ports, Soak
from tests.soak.middleman import Middleman

SEED = 5
PATIENCE = 20.0
"""Seconds; only what is lost takes so long."""


@attrs.define
class Stage:
    """What a soak plays on, kept for several tests. Each takes connections that none before it had."""

    runner: asyncio.Runner
    relay: Relay
    upstream: UpstreamProcess
    start: Holding
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def pick(self, kind: str, port: Port, fits: Callable[[Plan], bool] = lambda _: True) -> Plan:
        """The next connection of a kind that fits."""
        while True:
            plan = kinds.plan(SEED, next(self._numbers) + 1)
            if (plan.kind, plan.port) == (kind, port) and fits(plan):
                return plan

    def soak(self, ports: Ports, patience: float = PATIENCE) -> Soak:
        """A soak with nothing done yet, of which rounds are not run."""
        done = Done(self.relay.pump, Wanted(SEED, 0, 1_000_000, patience))
        soak = Soak(done.wanted, self.relay, self.upstream, ports, done, lambda _: None)
        done.holdings[0] = self.start  # since then the relay may have kept a pipe or two
        return soak

    def violations(self, plans: list[Plan], middleman: Middleman | None = None) -> list[str]:
        """Play connections at the same time, somebody between them and the relay, and judge."""
        return self.runner.run(self._play(plans, middleman or Middleman()))

    async def _play(self, plans: list[Plan], middleman: Middleman) -> list[str]:
        async with middleman.between(self.relay.ports) as ports:
            soak = self.soak(ports)
            await asyncio.gather(*(soak.load.play(plan.number) for plan in plans))
            await soak.judge()
        return told(soak.done)


def told(done: Done) -> list[str]:
    """Every violation, in words."""
    return [f"{violation.what}: {violation.text}" for violation in done.violations]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        ends = upstream(SEED, PATIENCE, ())
        upstream_process = runner.run(ends.__aenter__())
        stack.callback(lambda: runner.run(ends.__aexit__(None, None, None)))
        folder = tmp_path_factory.mktemp("relay")
        under_test = stack.enter_context(relay.running("auto", folder, upstream_process.ports))
        yield Stage(runner, under_test, upstream_process, resources.holding(under_test.pid))
        assert under_test.stop(PATIENCE) == []
        assert under_test.alarms() == []

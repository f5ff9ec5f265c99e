"""The order of measuring: rounds, workloads, rows, and within a row one proxy after the other, so that what is compared
is measured within seconds. Who is first changes with the round. Prints progress on standard error only.
"""

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench import programs, proxies
from bench.kinds import Variant
from bench.programs import Echo
from bench.proxies import Proxy, Running
from bench.results import Results, Sample
from bench.running import Failed
from bench.workloads import Scale, Setting, Workload


@attrs.define
class Bench:
    """What stays the same for the whole run."""

    found: Sequence[Proxy]
    workloads: Sequence[Workload]
    scale: Scale
    certificate: Path
    cores: tuple[int, int]
    """The proxy's, and the one of load and upstream."""
    results: Results

    def run(self, rounds: int) -> None:
        """Measure everything that many times; failures become notes."""
        for number in range(rounds):
            turn = number % len(self.found)
            order = [*self.found[turn:], *self.found[:turn]]
            self._round(number, order)

    def _round(self, number: int, order: Sequence[Proxy]) -> None:
        started = time.monotonic()
        with contextlib.ExitStack() as lives:
            running: dict[str, tuple[Running, Echo, contextlib.ExitStack]] = {}
            for workload in self.workloads:
                for variant in workload.variants:
                    for proxy in order:
                        if variant.kind in proxy.kinds and (proxy.write or not workload.fresh):
                            self._measure(number, workload, variant, proxy, running, lives)
                say(f"round {number + 1}: {workload.name} done, {time.monotonic() - started:.0f} s")

    def _measure(
        self,
        number: int,
        workload: Workload,
        variant: Variant,
        proxy: Proxy,
        running: dict[str, tuple[Running, Echo, contextlib.ExitStack]],
        lives: contextlib.ExitStack,
    ) -> None:
        try:
            with contextlib.ExitStack() as own:
                if workload.fresh:
                    runs, echo = self._start(proxy, own)
                else:
                    if proxy.name not in running:
                        life = lives.enter_context(contextlib.ExitStack())
                        running[proxy.name] = (*self._start(proxy, life), life)
                    runs, echo, _ = running[proxy.name]
                values = workload.run(Setting(runs, echo, self.cores[1]), variant, self.scale)
        except (Failed, OSError) as failure:
            note = f"{proxy.name}, {workload.name}, {variant.name}: {failure}"
            say(note)
            self.results.notes.append(note)
            if proxy.name in running and not workload.fresh:  # the next row gets a new one
                running.pop(proxy.name)[2].close()
            return
        if values:
            self.results.samples.append(Sample(workload.name, variant.name, proxy.name, number, values))

    def _start(self, proxy: Proxy, life: contextlib.ExitStack) -> tuple[Running, Echo]:
        """A proxy with an upstream of its own: ports that one proxy's connects have used up must not slow the next."""
        echo = life.enter_context(programs.echo(self.cores[1]))
        return life.enter_context(proxies.running(proxy, self.cores[0], self.certificate, echo)), echo


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)

"""The bar: what the relay must reach, and whether it did in this run. No other part judges."""

from collections.abc import Sequence

import attrs

from bench.results import PEERS, Results

SLACK = 1.05
"""Medians of one machine's rounds differ by so much from one run to the next."""
SUBJECTS = ("wsrelay-native", "wsrelay-reactor")


@attrs.frozen
class Bar:
    """One requirement: a figure of one row, against others' or by itself."""

    what: str
    workload: str
    variant: str
    value: str
    limit: float
    to: tuple[str, ...] = ("nginx",)
    """Whose smallest figure is one; empty: the limit is the figure itself."""

    def unit(self) -> str:
        """What the limit is a multiple of."""
        if not self.to:
            return "kB" if self.value == "memory" else "×"
        return "× nginx" if self.to == ("nginx",) else "× best peer"

    def measured(self, results: Results, subject: str) -> float | None:
        """The figure in the limit's unit, or None where one of the two is missing."""
        if self.to:
            return results.ratio(self.workload, self.variant, subject, self.value, self.to)
        found = results.median(self.workload, self.variant, subject, self.value)
        return found / 1e3 if found is not None and self.value == "memory" else found


@attrs.frozen
class Verdict:
    """A requirement, and what became of it."""

    bar: Bar
    subject: str
    measured: float | None

    def word(self) -> str:
        """Met, met within the slack, not met, or not measured."""
        if self.measured is None:
            return "not measured"
        if self.measured <= self.bar.limit:
            return "met"
        return "met within 5 %" if self.measured <= self.bar.limit * SLACK else "NOT MET"


def per_kind(what: str, workload: str, value: str, limit: float, to: tuple[str, ...] = ("nginx",)) -> list[Bar]:
    """The same requirement plain, with TLS, and at layer 4."""
    return [Bar(what, workload, variant, value, limit, to) for variant in ("plain", "TLS", "L4")]


BARS: Sequence[Bar] = [
    *per_kind("CPU a small message, 64 tunnels", "small", "cpu", 1.0),
    Bar("CPU a GB, bulk", "bulk", "TLS", "cpu", 0.5),
    Bar("CPU a GB, bulk", "bulk", "TLS", "cpu", 0.8, PEERS),
    Bar("CPU a GB, bulk", "bulk", "plain", "cpu", 0.7, PEERS),
    Bar("CPU a GB, bulk", "bulk", "L4", "cpu", 0.7, PEERS),
    Bar("CPU a connect", "connect", "TLS", "cpu", 1.4),
    Bar("CPU a connect", "connect", "TLS resumed", "cpu", 1.5),
    Bar("CPU a connect", "connect", "plain", "cpu", 2.5),
    Bar("CPU a connect", "connect", "L4", "cpu", 2.5),
    Bar("memory an idle tunnel", "idle", "TLS", "memory", 24.0, ()),
    Bar("memory an idle tunnel", "idle", "TLS ML-KEM", "memory", 31.0, ()),
    Bar("memory an idle tunnel", "idle", "plain", "memory", 4.5, ()),
    Bar("memory an idle tunnel", "idle", "L4", "memory", 4.5, ()),
    *per_kind("CPU a message, most tunnels ÷ 64", "crowd", "growth", 1.2, ()),
    *per_kind("p99 while 200 connects a second arrive", "arrivals", "p99", 1.5),
]


def verdicts(results: Results) -> list[Verdict]:
    """What the measured workloads must reach: the native pump where it was measured, otherwise the reactor's."""
    subject = next((name for name in SUBJECTS if any(sample.proxy == name for sample in results.samples)), SUBJECTS[0])
    done = {sample.workload for sample in results.samples}
    return [Verdict(bar, subject, bar.measured(results, subject)) for bar in BARS if bar.workload in done]

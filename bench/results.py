"""The figures of a run: every one that was measured, medians over the rounds, ratios. Measures nothing."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

PEERS = ("nginx", "haproxy", "caddy")


@attrs.frozen
class Sample:
    """What one workload came to in one round."""

    workload: str
    variant: str
    proxy: str
    round: int
    values: dict[str, float]


@attrs.define
class Results:
    """One run."""

    command: str
    machine: dict[str, str]
    proxies: dict[str, str]
    """Name and version, in the order of the tables."""
    scale: dict[str, Any]
    notes: list[str] = attrs.field(factory=list)
    """What was skipped, and what failed."""
    samples: list[Sample] = attrs.field(factory=list)

    def rounds(self) -> int:
        """How many rounds left a figure."""
        return len({sample.round for sample in self.samples})

    def median(self, workload: str, variant: str, proxy: str, value: str) -> float | None:
        """The median over the rounds, or None where nothing was measured."""
        found = [
            sample.values[value]
            for sample in self.samples
            if (sample.workload, sample.variant, sample.proxy) == (workload, variant, proxy) and value in sample.values
        ]
        return statistics.median(found) if found else None

    def ratio(self, workload: str, variant: str, proxy: str, value: str, to: Iterable[str]) -> float | None:
        """A median, divided by the smallest of the same figure of others."""
        own = self.median(workload, variant, proxy, value)
        others = [self.median(workload, variant, other, value) for other in to]
        known = [other for other in others if other]
        return own / min(known) if own is not None and known else None

    def variants(self, workload: str) -> list[str]:
        """The rows that a workload has, in the order of measuring."""
        return list(dict.fromkeys(sample.variant for sample in self.samples if sample.workload == workload))

    def medians(self) -> list[dict[str, Any]]:
        """Every median, for a machine to read."""
        rows: dict[tuple[str, str, str], list[str]] = {}
        for sample in self.samples:
            names = rows.setdefault((sample.workload, sample.variant, sample.proxy), [])
            names += [name for name in sample.values if name not in names]
        return [
            {"workload": row[0], "variant": row[1], "proxy": row[2]} | {name: self.median(*row, name) for name in names}
            for row, names in rows.items()
        ]

    def to_json(self, bar: list[dict[str, Any]]) -> str:
        """The whole run as JSON; medians and bar are computed from the samples, and are not read back."""
        return json.dumps(attrs.asdict(self) | {"medians": self.medians(), "bar": bar}, indent=1) + "\n"


def from_json(path: Path) -> Results:
    """A run that was written with `to_json`."""
    data = json.loads(path.read_text())
    samples = [Sample(**sample) for sample in data.pop("samples")]
    return Results(
        **{name: data[name] for name in ("command", "machine", "proxies", "scale", "notes")}, samples=samples
    )

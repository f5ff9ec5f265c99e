"""The figures as tables: aligned text for a terminal, Markdown for the documentation. Measures and judges nothing."""

from collections.abc import Sequence

import attrs

from bench.bar import Verdict
from bench.results import PEERS, Results
from bench.workloads import WORKLOADS, Workload

NAMES = {"nginx": "nginx", "haproxy": "HAProxy", "caddy": "Caddy"}
CPU = {"message": "µs a message", "connect": "µs a connect", "GB": "s a GB"}
RATIO = {"cpu": "of CPU", "p50": "of p50", "p99": "of p99", "memory": "of memory"}


@attrs.frozen
class Table:
    """A title, a head, and rows of text; the first two columns are names, the others figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def as_text(self) -> str:
        """Aligned columns."""
        widths = [max(len(row[column]) for row in [self.head, *self.rows]) for column in range(len(self.head))]
        lines = [
            "  ".join(
                cell.ljust(width) if index < 2 else cell.rjust(width) for index, (cell, width) in enumerate(pairs)
            )
            for pairs in (list(zip(row, widths, strict=True)) for row in [self.head, *self.rows])
        ]
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in lines)])

    def as_markdown(self) -> str:
        """A heading and a table."""
        rule = ["---" if index < 2 else "---:" for index in range(len(self.head))]
        lines = ["| " + " | ".join(row) + " |" for row in [self.head, rule, *self.rows]]
        return "\n".join([f"**{self.title}**", "", *lines])


def figure(value: float | None) -> str:
    """Three digits or so; a dash for what was not measured."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def of_workload(results: Results, workload: Workload) -> Table:
    """One row for each variant and proxy; columns that stay empty are left out."""
    rate = "MB/s" if workload.unit == "GB" else f"{workload.unit}s/s"
    columns = {
        rate: "rate",
        "p50 µs": "p50",
        "p99 µs": "p99",
        f"CPU {CPU.get(workload.unit, '')}": "cpu",
        "kB a tunnel": "memory",
        "load %": "load",
        "connects/s": "connects",
    }
    rows: list[list[str]] = []
    for variant in results.variants(workload.name):
        for proxy in results.proxies:
            values = [results.median(workload.name, variant, proxy, value) for value in columns.values()]
            if all(value is None for value in values):
                continue
            shown = [
                value / 1e3 if value is not None and name == "memory" else value
                for name, value in zip(columns.values(), values, strict=True)
            ]
            ratios = [results.ratio(workload.name, variant, proxy, workload.key, [peer]) for peer in PEERS]
            rows.append([variant, proxy, *(figure(value) for value in [*shown, *ratios])])
    head = ["", "", *columns, *(f"÷ {NAMES[peer]}" for peer in PEERS)]
    full = [index for index in range(len(head)) if index < 2 or any(row[index] != "–" for row in rows)]
    title = f"{workload.name}: {workload.title} (ratios {RATIO[workload.key]})"
    return Table(title, [head[index] for index in full], [[row[index] for index in full] for row in rows])


def of_crowd(results: Results, workload: Workload) -> Table:
    """CPU a message by the number of tunnels that stand open."""
    counts = [int(count) for count in results.scale["crowd"]]
    rows = [
        [variant, proxy, *(figure(results.median("crowd", variant, proxy, f"cpu_{count}")) for count in counts),
         figure(results.median("crowd", variant, proxy, "growth"))]
        for variant in results.variants("crowd")
        for proxy in results.proxies
        if results.median("crowd", variant, proxy, "growth") is not None
    ]  # fmt: skip
    head = ["", "", *(f"{count:,} open" for count in counts), f"{counts[-1]:,} ÷ {counts[0]:,}"]
    return Table(f"{workload.name}: {workload.title} (CPU µs a message)", head, rows)


def tables(results: Results) -> list[Table]:
    """One for each workload that left a figure."""
    found = [
        of_crowd(results, workload) if workload.name == "crowd" else of_workload(results, workload)
        for workload in WORKLOADS
    ]
    return [table for table in found if table.rows]


def of_bar(verdicts: Sequence[Verdict]) -> Table:
    """Every requirement with what was measured; no rows where there are none."""
    subject = verdicts[0].subject if verdicts else ""
    rows = [
        [
            verdict.bar.what,
            verdict.bar.variant,
            f"≤ {verdict.bar.limit:.1f} {verdict.bar.unit()}",
            figure(verdict.measured),
            verdict.word(),
        ]
        for verdict in verdicts
    ]
    return Table(f"The bar, for {subject}", ["", "", "bar", "measured", ""], rows)

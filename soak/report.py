"""Shows what a soak came to, for a person and as JSON. Judges nothing."""

import json
from collections import Counter
from collections.abc import Sequence

import attrs

from soak.results import Done, KindDone

_MOST_SHOWN = 40
"""Violations that are printed; the first ones say the most."""


def as_text(done: Done, command: str) -> str:
    """The figures, then the violations with how to see them again."""
    rows = [("", "connections", "exchanges", "MB up", "MB down", "ends"), *map(_row, sorted(done.kinds.items()))]
    rows.append(_row(("together", _together(done))))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    at_once = f"{done.at_once:.0f} at a time ({done.wanted.connections} were asked for)"
    lines = [f"{done.pump} pump, seed {done.wanted.seed}: {done.seconds:.0f} s, {at_once}"]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:5], widths[1:], strict=True)),
        ]
        lines.append(f"  {'  '.join(cells)}  {row[5]}".rstrip())
    return "\n".join([*lines, *_relay(done), *_violations(done, command)])


def as_json(done: Sequence[Done]) -> str:
    """Everything, for programs."""
    return json.dumps([attrs.asdict(one) for one in done], indent=1) + "\n"


def _together(done: Done) -> KindDone:
    found = KindDone()
    for kind in done.kinds.values():
        found.connections += kind.connections
        found.exchanges += kind.exchanges
        found.bytes_up += kind.bytes_up
        found.bytes_down += kind.bytes_down
        found.ends += kind.ends
    return found


def _row(item: tuple[str, KindDone]) -> tuple[str, ...]:
    name, kind = item
    ends = ", ".join(f"{count} {end}" for end, count in _sorted(kind.ends))
    megabytes = (f"{count / 1e6:.1f}" for count in (kind.bytes_up, kind.bytes_down))
    return (name, f"{kind.connections}", f"{kind.exchanges}", *megabytes, ends)


def _sorted(ends: Counter[str]) -> list[tuple[str, int]]:
    return sorted(ends.items(), key=lambda item: -item[1])


def _relay(done: Done) -> list[str]:
    start, *rest = done.holdings
    if not rest:
        return []
    memory = " ".join(f"{holding.pss_bytes / 1e6:.1f}" for holding in rest)
    end = rest[-1]
    return [
        f"  the relay: {end.cpu_seconds - start.cpu_seconds:.1f} s of CPU; memory {start.pss_bytes / 1e6:.1f} MB at "
        f"the start, then {memory} after the warm-up and each round",
        f"  descriptors {dict(start.descriptors)} at the start, {dict(end.descriptors)} at the end; "
        f"threads {start.threads} and {end.threads}; {done.nameless} connections without a label",
    ]


def _violations(done: Done, command: str) -> list[str]:
    if not done.violations:
        return ["  nothing lost, nothing mixed, nothing left over"]
    shown = [f"  VIOLATION {one.what}: {one.text}" for one in done.violations[:_MOST_SHOWN]]
    more = len(done.violations) - len(shown)
    return [*shown, *[f"  and {more} more"] * bool(more), f"  to see it again: {command} --pump {done.pump}"]

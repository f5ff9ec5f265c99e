"""What the relay's process holds, from the kernel, and whether it is back where it began. Changes nothing about it."""

import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import attrs

from bench import measure

PIPES_A_THREAD = 64
"""Descriptors of pipes that a thread of the native pump keeps for the next tunnel (32 pipes, `pump/pipes.h`)."""

_SETTLE_SECONDS = 0.1


@attrs.frozen
class Holding:
    """What a process holds at one moment."""

    descriptors: Mapping[str, int]
    """How many of each kind: socket, pipe, anon_inode, file."""
    threads: int
    pss_bytes: int
    cpu_seconds: float

    @property
    def count(self) -> int:
        """All descriptors."""
        return sum(self.descriptors.values())


def holding(pid: int) -> Holding:
    """Look at a process."""
    kinds: Counter[str] = Counter()
    process = Path(f"/proc/{pid}")
    for name in (process / "fd").iterdir():
        try:
            target = os.readlink(name)
        except FileNotFoundError:  # closed since
            continue
        kind = target.partition(":")[0]
        kinds[kind if not target.startswith("/") else "file"] += 1
    threads = sum(1 for _ in (process / "task").iterdir())
    return Holding(kinds, threads, measure.pss_bytes(pid), measure.cpu_seconds(pid))


def left_over(start: Holding, now: Holding, pipes: int) -> list[str]:
    """What a process without a single session holds more, or less, than before its first one.

    Args:
        start: Before its first session.
        now: Without any.
        pipes: How many descriptors of pipes it may keep.
    """
    found = []
    for kind in sorted({*start.descriptors, *now.descriptors}):
        before, after = start.descriptors.get(kind, 0), now.descriptors.get(kind, 0)
        spare = pipes if kind == "pipe" else 0
        if not before <= after <= before + spare:
            found.append(f"descriptors: {after} of the kind {kind}, and {before} at the start")
    if now.threads != start.threads:
        found.append(f"threads: {now.threads}, and {start.threads} at the start")
    return found


def settled(pid: int, start: Holding, pipes: int, patience: float) -> tuple[Holding, list[str]]:
    """Wait until a process holds no more than at its start, or patience ends; what it holds, and what is left over."""
    deadline = time.monotonic() + patience
    measure.wait_until_quiet(pid)
    while True:
        now = holding(pid)
        found = left_over(start, now, pipes)
        if not found or time.monotonic() > deadline:
            return now, found
        time.sleep(_SETTLE_SECONDS)


FRAGMENTS_BYTES = 8 * 1024 * 1024
"""How much memory may grow after the warm-up and be no leak: what a larger burst than any before leaves half used. With
300 connections at a time it went up by 6 MB in the first five minutes, and up and down by 2 from then on."""

BYTES_A_CONNECTION = 64
"""How much it may grow for each connection: the smallest thing that could be left of one, a record, takes 500."""


def grown(warm: Holding, now: Holding, connections: int) -> list[str]:
    """Whether memory has grown by more than fragments since the warm-up, with so many connections in between."""
    most = FRAGMENTS_BYTES + BYTES_A_CONNECTION * connections
    growth = now.pss_bytes - warm.pss_bytes
    if growth <= most:
        return []
    return [
        f"memory: {now.pss_bytes / 1e6:.1f} MB, and {warm.pss_bytes / 1e6:.1f} MB after the warm-up; that is "
        f"{growth / max(connections, 1):.0f} bytes for each of {connections} connections; {most / 1e6:.1f} MB may be"
    ]

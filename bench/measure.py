"""What a process and its children have cost: CPU and memory, from the kernel. Changes nothing about them."""

import time
from pathlib import Path

PROC = Path("/proc")

# clock_gettime(2), clock_getcpuclockid(3): the CPU clock of another process is named by its inverted pid. It counts in
# nanoseconds and includes threads that have ended; /proc/PID/stat has ticks of 10 ms, and schedstat one live thread.
SCHEDULED = 2


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for thread in (PROC / str(pid) / "task").iterdir():
        for child in (thread / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its living descendants, threads that have ended included."""
    return sum(time.clock_gettime(((~one) << 3) | SCHEDULED) for one in family(pid))


def pss_of(smaps_rollup: str) -> int:
    """Bytes of proportional set size in the text of a `smaps_rollup`: what is shared counts in parts."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no Pss in {smaps_rollup!r}")


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process and its living descendants."""
    return sum(pss_of((PROC / str(one) / "smaps_rollup").read_text()) for one in family(pid))


def wait_until_quiet(pid: int, longest: float = 3.0) -> None:
    """Return once a process does next to nothing (1 % of a core for 50 ms), or after `longest` seconds."""
    deadline = time.monotonic() + longest
    spent = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(0.05)
        before, spent = spent, cpu_seconds(pid)
        if spent - before < 0.0005:
            return

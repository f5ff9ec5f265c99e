"""Starting and ending other programs: pinned, found when they fail, never left behind. Knows nothing of proxies."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from bench import measure

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE = 20.0
"""Seconds for a program to start or to end."""


class Failed(Exception):
    """A program did not start, or ended, or said that something was wrong; with what it printed."""


def cores() -> tuple[int, int]:
    """The core for the proxy, and the one for load and upstream; the same one where there is no second."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


def descriptor_limit() -> int:
    """How many descriptors a process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def start(
    command: Sequence[str | Path],
    core: int,
    output: IO[bytes],
    *,
    pipes: bool = False,
    niceness: int = 0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[str]:
    """Start a program on a core, with every descriptor it may have; what it prints goes to `output`.

    It is outside the terminal's process group, so that Ctrl-C ends it through us and in order; and the kernel ends it
    if this process is killed. With `pipes` its standard input and output are ours.
    """

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        os.nice(niceness)
        limit = descriptor_limit()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
        stdout=subprocess.PIPE if pipes else output,
        stderr=output,
        env={**os.environ, **(environment or {})},
        cwd=folder,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - this process has one thread
    )


def stop(process: subprocess.Popen[str]) -> None:
    """End a program and what it has started."""
    if process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        family = measure.family(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago. Another program may be quicker: try again then."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def wait_until_accepting(process: subprocess.Popen[str], ports: Sequence[int]) -> None:
    """Return once a program accepts on every port.

    Raises:
        Failed: it has ended, or does not accept in time.
    """
    deadline = time.monotonic() + PATIENCE
    for port in ports:
        while True:
            if process.poll() is not None:
                raise Failed(f"ended with status {process.returncode} at its start")
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            if time.monotonic() > deadline:
                raise Failed(f"does not accept on port {port}")
            time.sleep(0.02)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM unwind this process as Ctrl-C does, so that what it started is ended."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

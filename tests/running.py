"""The relay as a person starts it: a process of its own, its output read line by line as it comes."""

import contextlib
import os
import queue
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.harness import PATIENCE_SECONDS, Wire

ROOT = Path(__file__).resolve().parent.parent

# A shell starts what it puts into the background with SIGINT ignored; the tests do not fail for that.
_HEARS_CTRL_C = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
# Both work without the console scripts, which an interpreter outside a virtual environment may not have beside it.
TWISTD = [
    sys.executable,
    "-c",
    _HEARS_CTRL_C + "sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()",
]
TWIST = [sys.executable, "-c", _HEARS_CTRL_C + "runpy.run_module('twisted', run_name='__main__', alter_sys=True)"]


def environment() -> dict[str, str]:
    """Our own, with this tree's package and plugin first."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


NOTHING: Mapping[str, str] = MappingProxyType({})


class Running:
    """A process that runs until it is told to end, or ends by itself. Its two outputs are read as one."""

    def __init__(self, command: Sequence[str], folder: Path, variables: Mapping[str, str] = NOTHING) -> None:
        """Start it in `folder`, with `variables` on top of `environment()`."""
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self._clients: list[Wire] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def line(self, pattern: str) -> re.Match[str]:
        """Wait for the next line in which `pattern` is found."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                raise AssertionError(f"no line with {pattern!r} came after\n" + "\n".join(self.seen)) from None
            self.seen.append(line)
            if found := re.search(pattern, line):
                return found
            if not line and not self._reading.is_alive():
                raise AssertionError(f"it ended without a line with {pattern!r}:\n" + "\n".join(self.seen))

    @property
    def pid(self) -> int:
        return self._process.pid

    def port(self) -> int:
        """Wait for the next listener's line; its port."""
        return int(self.line(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def connect(self, port: int) -> Wire:
        """A client of one of its listeners."""
        self._clients.append(Wire(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)))
        return self._clients[-1]

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end; the status, negative for a signal. The rest of the output is in `seen`."""
        status: int | None = None
        try:
            status = self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reading.join(PATIENCE_SECONDS)
        while not self._lines.empty():
            self.seen.append(self._lines.get())
        assert status is not None, "it had to be killed after\n" + "\n".join(self.seen)
        return status

    def dispose(self) -> None:
        """End it in any case, and whatever it has started."""
        for client in self._clients:
            client.close()
        # As long as its first process has not been waited for, the group's number is nobody else's.
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reading.join(PATIENCE_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Daemon:
    """A process that is nobody's child any more, known by its pidfile."""

    def __init__(self, pidfile: Path) -> None:
        self._pid = int(pidfile.read_text())
        self._handle = os.pidfd_open(self._pid)

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._handle, number)

    def ended(self) -> bool:
        """Wait for the end; False if it does not come."""
        waiting = select.poll()
        waiting.register(self._handle, select.POLLIN)
        return bool(waiting.poll(PATIENCE_SECONDS * 1000))

    def dispose(self) -> None:
        """End it in any case."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        os.close(self._handle)

"""The relay as its users start it: twistd with a configuration file, ports from what it prints, its end by SIGTERM."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from bench.configurations import checkout
from bench.running import Failed
from soak.plans import Port
from soak.resources import PIPES_A_THREAD
from wsrelay.control import pumps
from wsrelay.control.demo_certificate import make_certificate

# Works where the console script is not beside the interpreter. First of all it asks the kernel to be ended with us
# (prctl(2), PR_SET_PDEATHSIG), which between fork and exec is no safe thing to do where there are threads.
_PROGRAM = """
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
sys.argv[0] = "twistd"
from twisted.scripts.twistd import run
run()
"""

_START_SECONDS = 30.0

# Longer than the load's patience: what is lost must not be covered up by a limit of time, and a busy machine is slow
# enough to reach the ordinary ones. They have tests of their own.
_LIMITS = ("tls_handshake", "request_head", "connect", "response_head", "http_idle", "write_stall", "linger")
_LIMIT = "10m"
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
_PUMP = re.compile(r"tunnels are moved by the (\w+) pump")

# What twistd writes when something of ours has gone wrong; and lines the access log could not take.
_ALARMS = re.compile(r"Traceback|Unhandled|\[[^]]*#(?:error|critical)\]|a bug ended|a line is lost")


@attrs.frozen
class Relay:
    """The relay while it runs."""

    process: subprocess.Popen[bytes]
    ports: Mapping[Port, int]
    pump: str
    certificate: Path
    access_log: Path
    output: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def pipes(self) -> int:
        """How many descriptors of pipes it may keep."""
        return pumps.cores() * PIPES_A_THREAD if self.pump == "native" else 0

    def alarms(self) -> list[str]:
        """What is in its output and must not be."""
        lines = self.output.read_text(errors="replace").splitlines()
        at = [index for index, line in enumerate(lines) if _ALARMS.search(line)]
        return ["\n    ".join(lines[index : index + 20]) for index in at[:5]]

    def hang_up(self) -> None:
        """SIGHUP, as logrotate and `systemctl reload` send it; no session may notice."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self, patience: float) -> list[str]:
        """SIGTERM, with no session left; what was wrong with its end."""
        if (status := self.process.poll()) is not None:
            return [f"the relay has ended by itself with status {status}"]
        self.process.terminate()
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return [f"the relay has not ended {patience:g} s after SIGTERM"]
        # twistd ends itself with the signal once it has stopped in order.
        return [] if status in (0, -signal.SIGTERM) else [f"the relay has ended with status {status} after SIGTERM"]


def pumps_here() -> list[str]:
    """The pumps that can be used on this machine."""
    return ["reactor"] if pumps.missing() else ["native", "reactor"]


def configuration(pump: str, certificate: str, key: str, access_log: str, ports: Mapping[str, Sequence[int]]) -> str:
    """Four listeners, and routes to two upstream groups; ports are the kernel's choice."""
    tls = f'tls = [ {{ chain = "{certificate}", key = "{key}" }} ]'
    groups = "\n".join(
        f'[[upstream]]\nname = "{name}"\nservers = {[f"127.0.0.1:{port}" for port in servers]}'
        for name, servers in ports.items()
    )
    routes = "\n".join(f'[[route]]\npath = "/{name}"\nupstream = "{name}"' for name in ("one", "two", "dead"))
    limits = "\n".join(f'{name} = "{_LIMIT}"' for name in _LIMITS)
    return f"""
[relay]
pump = "{pump}"
access_log = "{access_log}"
access_log_format = "json"

[timeouts]
{limits}

[[listen]]
name = "http"
address = "127.0.0.1:0"

[[listen]]
name = "https"
address = "127.0.0.1:0"
{tls}

[[listen]]
name = "tcp"
address = "127.0.0.1:0"
mode = "tcp"
upstream = "raw"

[[listen]]
name = "tls"
address = "127.0.0.1:0"
mode = "tcp"
upstream = "raw-tls"
{tls}

{groups}

{routes}
"""


@contextlib.contextmanager
def running(pump: str, folder: Path, upstream_ports: Mapping[str, Sequence[int]]) -> Iterator[Relay]:
    """Run a relay of this checkout in front of the upstream.

    Raises:
        Failed: It does not start; with what it printed.
    """
    made = make_certificate(folder)
    access_log, output, file = folder / "access.log", folder / "output", folder / "wsrelay.toml"
    file.write_text(configuration(pump, str(made.chain), str(made.key), str(access_log), upstream_ports))
    command = [sys.executable, "-c", _PROGRAM, "-n", "--pidfile=", "wsrelay", "--config", str(file)]
    with output.open("wb") as written:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=checkout(),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        ports, used = _wait_until_listening(process, output)
        yield Relay(process, ports, used, made.chain, access_log, output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], output: Path) -> tuple[dict[Port, int], str]:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        said = output.read_text(errors="replace")
        if found := _PUMP.search(said):
            listening = [int(port) for port in _LISTENING.findall(said)]
            return dict(zip(Port, listening, strict=True)), found[1]
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed("the relay does not start; it printed:\n  " + "\n  ".join(said.splitlines()[-20:]))
        time.sleep(0.05)

"""The two C programs: compiled where needed, started, spoken to. What they do is described at the top of each."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from bench.kinds import Kind, Variant
from bench.running import Failed, start, stop

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER / "build"
SOURCES = {"load": ("load.c", "histogram.h"), "echo": ("echo.c",)}
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion")


def compiled() -> None:
    """Compile what is older than its source.

    Raises:
        Failed: no compiler, no OpenSSL headers, or a mistake in a source.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Failed("the bench needs a C compiler (Debian: apt-get install gcc libssl-dev)")
    BUILD.mkdir(exist_ok=True)
    for name, sources in SOURCES.items():
        program = BUILD / name
        newest = max((FOLDER / source).stat().st_mtime for source in sources)
        if program.exists() and program.stat().st_mtime > newest:
            continue
        command: list[str | Path] = [compiler, *FLAGS, "-o", program, FOLDER / sources[0], "-lssl", "-lcrypto"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            hint = " (Debian: apt-get install libssl-dev)" if "openssl/" in done.stderr else ""
            raise Failed(f"{sources[0]} does not compile{hint}:\n{done.stderr}")


@attrs.frozen
class Echo:
    """The upstream, while it runs."""

    pid: int
    http: int
    """The port that expects an upgrade first."""
    tcp: int
    """The port that echoes from the first byte."""

    def port(self, kind: Kind) -> int:
        """Where a tunnel of a kind ends."""
        return self.tcp if kind is Kind.L4 else self.http


@contextlib.contextmanager
def echo(core: int) -> Iterator[Echo]:
    """Run the upstream."""
    with tempfile.TemporaryFile() as output:
        process = start([BUILD / "echo"], core, output, pipes=True)
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            yield Echo(process.pid, ports["http"], ports["tcp"])
        finally:
            stop(process)


@attrs.frozen
class Done:
    """What a command of the load came to."""

    units: int
    """Messages, bytes, connects or tunnels."""
    seconds: float
    p50_us: float = 0
    p99_us: float = 0
    resumed: int = 0


class Load:
    """One load generator, while it runs."""

    def __init__(self, process: subprocess.Popen[str], output: "tempfile._TemporaryFileWrapper[bytes]") -> None:
        self.pid = process.pid
        self._process, self._output = process, output

    def begin(self, command: str) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `finish` says why
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def finish(self) -> Done:
        """Wait for the command's answer.

        Raises:
            Failed: the load has ended, with its sentence.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._output.seek(0)
            raise Failed(self._output.read().decode(errors="replace").strip() or "the load ended without a word")
        return Done(**json.loads(line))

    def ask(self, command: str) -> Done:
        """Send a command and wait for its answer."""
        self.begin(command)
        return self.finish()


@contextlib.contextmanager
def load(port: int, variant: Variant, core: int, niceness: int = 0) -> Iterator[Load]:
    """Run a load generator towards a port."""
    with tempfile.NamedTemporaryFile() as output:
        command: list[str | Path] = [BUILD / "load", str(port), variant.kind.value, variant.groups]
        process = start(command, core, output.file, pipes=True, niceness=niceness)
        try:
            yield Load(process, output)
        finally:
            stop(process)


def can_offer(groups: str) -> bool:
    """Say whether the load's OpenSSL knows a key share."""
    command: list[str | Path] = [BUILD / "load", "1", "tls", groups]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0

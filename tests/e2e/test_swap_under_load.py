"""Certificates that change while thousands of tunnels are open and clients keep coming: nobody may notice.

The load and its upstream are the bench's programs in C, in processes of their own. The load ends with a sentence at the
first handshake that fails and at the first byte that comes back changed or not at all, so that what it has finished
was without fault. It signs for nothing: whether the certificate is the right one is what the probes here look at.
"""

import contextlib
import json
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from bench.programs import BUILD, Done, Load, compiled
from soak.resources import PIPES_A_THREAD, holding, settled
from tests.harness import PATIENCE_SECONDS
from tests.running import TWISTD, Running
from tests.tls import Authority, Issued
from wsrelay.control import pumps
from wsrelay.control.renewal import LOOK_SECONDS

pytestmark = [pytest.mark.e2e, pytest.mark.long]

TUNNELS = 5_000
MESSAGES_PER_SECOND = 500
HANDSHAKES_PER_SECOND, RESUMED_PER_SECOND = 50, 10
CALM_SECONDS, SWAP_SECONDS = 10, 60

# "Within seconds": two looks at the files, one behind the other, and as long again for a busy machine.
SOON_SECONDS = 4 * LOOK_SECONDS
# "At once" is less than one look; on average half a look would pass before the next one.
AT_ONCE_SECONDS = LOOK_SECONDS / 2
PROBE_SECONDS = 0.02

CONFIG = """
[relay]
access_log = "off"
pump = "{pump}"
[limits]
connections = 6000
[timeouts]
tunnel_idle = "1h"
[[listen]]
name = "public"
address = "127.0.0.1:0"
tls = [{{ chain = "{live}/chain.pem", key = "{live}/key.pem" }}]
[[upstream]]
name = "app"
servers = ["127.0.0.1:{port}"]
[[route]]
path = "/wss"
upstream = "app"
"""


class Files:
    """What the configuration names: `live`, a symbolic link to the folder that has chain and key."""

    def __init__(self, folder: Path, first: Issued) -> None:
        self._folder, self._count = folder, 0
        self.live = folder / "live"
        self.by_symlink(first)

    def by_symlink(self, new: Issued) -> None:
        """A fresh folder, and the link moved to it in one step, as certbot and Kubernetes do."""
        self._count += 1
        target, link = self._folder / f"version{self._count}", self._folder / "next"
        target.mkdir()
        (target / "chain.pem").write_bytes(new.chain.read_bytes())
        (target / "key.pem").write_bytes(new.key.read_bytes())
        link.symlink_to(target)
        link.replace(self.live)

    def by_rename(self, new: Issued) -> None:
        """Each file replaced in one step, so that for a moment the two do not belong together."""
        self.replace("chain.pem", new.chain.read_bytes())
        self.replace("key.pem", new.key.read_bytes())

    def replace(self, name: str, content: bytes) -> None:
        fresh = self.live / f"{name}.new"
        fresh.write_bytes(content)
        fresh.replace(self.live / name)

    def in_place(self, new: Issued, meanwhile: Callable[[], None]) -> None:
        """Written over, with a pause in the middle of the chain."""
        content = new.chain.read_bytes()
        with (self.live / "chain.pem").open("wb") as chain:
            chain.write(content[: len(content) // 2])
            chain.flush()
            meanwhile()
            chain.write(content[len(content) // 2 :])
        (self.live / "key.pem").write_bytes(new.key.read_bytes())


@attrs.frozen
class Probes:
    """Clients that look which certificate is served; each of them verifies it."""

    port: int
    authority: Authority

    def one(self) -> bytes:
        """The leaf that a new handshake gets."""
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as plain,
            self.authority.trusting().wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            shown = secure.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    def until(self, new: Issued, old: Issued, limit: float) -> float:
        """Wait for a new certificate; seconds until the first handshake that got it. Until then all get the old one."""
        began = time.monotonic()
        while (shown := self.one()) != new.sent[0]:
            assert shown == old.sent[0], "neither the new certificate nor the one before it"
            assert time.monotonic() - began < limit, f"the new certificate is not served after {limit} s"
            select.select([], [], [], PROBE_SECONDS)
        took = time.monotonic() - began
        assert took < limit
        assert self.one() == new.sent[0], "and back again"
        return took

    def keep(self, old: Issued, seconds: float) -> None:
        """The same certificate for so long."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            assert self.one() == old.sent[0]
            select.select([], [], [], PROBE_SECONDS)


@contextlib.contextmanager
def c_program(*command: str) -> Iterator[tuple["subprocess.Popen[str]", "tempfile._TemporaryFileWrapper[bytes]"]]:
    """One of the bench's programs, spoken to by its standard input and output."""
    with tempfile.NamedTemporaryFile() as errors:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [BUILD / command[0], *command[1:]], stdin=pipe, stdout=pipe, stderr=errors, text=True, bufsize=1
        )
        try:
            yield process, errors
        finally:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def load(port: int) -> Iterator[Load]:
    with c_program("load", str(port), "tls") as (process, errors):
        yield Busy(process, errors)


class Busy(Load):
    """A load that can say whether its command is still under way."""

    def __init__(self, process: "subprocess.Popen[str]", errors: "tempfile._TemporaryFileWrapper[bytes]") -> None:
        super().__init__(process, errors)
        assert process.stdout is not None
        self._answers = process.stdout

    @property
    def busy(self) -> bool:
        return not select.select([self._answers], [], [], 0)[0]


@pytest.fixture
def echo_port() -> Iterator[int]:
    compiled()
    with c_program("echo") as (process, _):
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["http"])


def connects(seconds: int, rate: int, how: str) -> str:
    """The load's command for so many handshakes, each with an upgrade and one message behind it."""
    return f"connect {seconds * rate} 400 {rate} {how}"


@attrs.define
class Figures:
    """What happened, for whoever wants to quote it."""

    pump: str
    lines: list[str] = attrs.field(factory=list)

    def add(self, what: str, done: Done, wanted: int) -> None:
        self.lines.append(
            f"  {what}: {done.units} handshakes, {wanted - done.units} failed, {done.resumed} of them resumed, "
            f"p50 {done.p50_us / 1000:.2f} ms, p99 {done.p99_us / 1000:.2f} ms"
        )

    def __str__(self) -> str:
        return "\n".join([f"certificate swaps under {TUNNELS} TLS tunnels, {self.pump} pump:", *self.lines])


@pytest.mark.parametrize("pump", ["native", "reactor"])
def test_nobody_notices_a_change_of_certificates(
    program: Callable[..., Running], echo_port: int, tmp_path: Path, pump: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if pump == "native" and (why := pumps.missing()):
        pytest.skip(why)
    authority = Authority(tmp_path)
    old = authority.issue("localhost")
    files = Files(tmp_path, old)
    (tmp_path / "wsrelay.toml").write_text(CONFIG.format(pump=pump, live=files.live, port=echo_port))
    running = program(*TWISTD, "-n", "--pidfile=", "wsrelay", "--config", str(tmp_path / "wsrelay.toml"))
    port = running.port()
    running.line(f"moved by the {pump} pump")
    probes, figures = Probes(port, authority), Figures(pump)
    with load(port) as tunnels, load(port) as full, load(port) as resumed:
        opened = tunnels.ask(f"open {TUNNELS}")
        assert opened.units == TUNNELS
        before = holding(running.pid)
        tunnels.begin(f"echo {CALM_SECONDS + SWAP_SECONDS} {TUNNELS} {MESSAGES_PER_SECOND}")
        calm = full.ask(connects(CALM_SECONDS, HANDSHAKES_PER_SECOND, "full"))
        figures.add("before", calm, CALM_SECONDS * HANDSHAKES_PER_SECOND)

        full.begin(connects(SWAP_SECONDS, HANDSHAKES_PER_SECOND, "full"))
        resumed.begin(connects(SWAP_SECONDS, RESUMED_PER_SECOND, "resumed"))
        swaps(running, files, probes, authority, old, figures)
        assert isinstance(full, Busy)
        assert full.busy, "the handshakes were over before the last change"
        for what, each, rate in (("full", full, HANDSHAKES_PER_SECOND), ("resumed", resumed, RESUMED_PER_SECOND)):
            done = each.finish()
            figures.add(f"during the changes, {what}", done, SWAP_SECONDS * rate)
            assert done.units == SWAP_SECONDS * rate
        assert done.resumed > done.units / 2, "clients with a ticket have to be spared most handshakes"

        moved = tunnels.finish()
        each_once = tunnels.ask(f"echo 0.001 {TUNNELS} 0")
        assert each_once.units >= TUNNELS, "a tunnel does not echo any more"
        figures.lines.append(
            f"  tunnels: {moved.units} messages meanwhile, p50 {moved.p50_us / 1000:.2f} ms, "
            f"p99 {moved.p99_us / 1000:.2f} ms; each of {TUNNELS} echoes afterwards"
        )
        pipes = pumps.cores() * PIPES_A_THREAD if pump == "native" else 0
        after, left = settled(running.pid, before, pipes, PATIENCE_SECONDS)
        assert left == []
        figures.lines.append(
            f"  memory: {before.pss_bytes / 1e6:.1f} MB before, {after.pss_bytes / 1e6:.1f} MB after; "
            f"descriptors {before.count} and {after.count}"
        )
    running.signal(signal.SIGTERM)
    running.ended()
    assert not [line for line in running.seen if "Traceback" in line or "Unhandled" in line or "critical" in line]
    with capsys.disabled():
        print(f"\n{figures}")


def swaps(running: Running, files: Files, probes: Probes, authority: Authority, old: Issued, figures: Figures) -> None:
    """Change the certificate in every way; each change is the next one's `old`."""
    took: dict[str, float] = {}

    def until(new: Issued, how: str, limit: float = SOON_SECONDS) -> Issued:
        took[how] = probes.until(new, old, limit)
        running.line("new handshakes get")
        return new

    files.by_rename(new := authority.issue("localhost"))
    old = until(new, "renamed")

    def half_written() -> None:
        probes.keep(old, 3 * LOOK_SECONDS)

    files.in_place(new := authority.issue("localhost"), half_written)
    old = until(new, "written in place")

    files.by_symlink(new := authority.issue("localhost"))
    old = until(new, "link moved")

    # A pair that does not belong together: noticed by itself, then asked for, and both times nothing changes.
    files.replace("chain.pem", (new := authority.issue("localhost")).chain.read_bytes())
    probes.keep(old, 5 * LOOK_SECONDS)
    assert "key" in running.line("cannot be renewed: (.*); still served")[1]
    running.signal(signal.SIGHUP)
    running.line("cannot be renewed")
    probes.keep(old, LOOK_SECONDS / 2)
    files.replace("key.pem", new.key.read_bytes())
    old = until(new, "mended")

    for turn in range(3):
        files.by_symlink(new := authority.issue("localhost"))
        running.signal(signal.SIGHUP)
        old = until(new, f"SIGHUP {turn + 1}", AT_ONCE_SECONDS)
    figures.lines.append("  served after: " + ", ".join(f"{how} {seconds:.2f} s" for how, seconds in took.items()))

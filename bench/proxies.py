"""The proxies, each configured as its users would: found, started on their core, ended. Knows nothing of workloads.

All of them end TLS with the same P-256 key, write no access log, and let one worker do the work, since there is one
core. What differs from an everyday configuration is the number of connections, which is set for the largest workload.
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from bench import configurations
from bench.kinds import Kind
from bench.programs import Echo
from bench.running import Failed, free_ports, start, stop, wait_until_accepting

ALL = frozenset(Kind)
NGINX_VERSION, NGINX_OPENSSL = r"nginx/(\S+)", r"(OpenSSL \S+)"
HAPROXY_VERSION, HAPROXY_OPENSSL = r"version (\d+(?:\.\d+)*)", r"Running on OpenSSL version : (OpenSSL \S+)"
GO_VERSION = r"^go\s+(go\S+)"
STARTS = 3
"""How often a start is tried: a port that was free may be taken when the proxy binds it."""


@attrs.frozen
class Proxy:
    """A proxy that is installed here."""

    name: str
    version: str
    write: Callable[[configurations.Place], list[str]] | None
    """Writes the configuration and returns the command; None for `direct`, where no proxy is."""
    kinds: frozenset[Kind] = ALL
    environment: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Running:
    """A proxy while it runs; `pid` is None for `direct`."""

    pid: int | None
    ports: Mapping[Kind, int]


def printed(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints, on both outputs; nothing when it cannot be run."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
            env=None if environment is None else dict(environment),
        )  # fmt: skip
    except OSError:
        return ""
    return done.stdout


def program(name: str) -> str | None:
    """Where a program is; servers stand in folders that not everybody's PATH has."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def first(pattern: str, text: str) -> str:
    """The first group of a pattern's first match, or a question mark."""
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else "?"


def wsrelay(pump: str) -> Proxy | str:
    """The relay of this checkout with one of its pumps, run by the interpreter that runs the bench."""
    version = printed(configurations.SCRIPTS / "wsrelay", "version", environment=configurations.checkout())
    if not version.startswith("wsrelay "):
        return f"wsrelay-{pump}: skipped, `wsrelay version` cannot be run beside this Python"
    if pump == "native" and not re.search(r"^pump native", version, re.MULTILINE):
        return "wsrelay-native: skipped, `wsrelay version` does not list the native pump"
    number, openssl = first(r"^wsrelay (\S+)", version), first(r"^OpenSSL (\S+)", version)

    def write(place: configurations.Place) -> list[str]:
        return configurations.wsrelay(place, pump)

    return Proxy(f"wsrelay-{pump}", f"{number} ({openssl})", write, environment=configurations.checkout())


def nginx() -> Proxy | str:
    """Debian's nginx; layer 4 where it has the stream module."""
    found = program("nginx")
    if found is None:
        return "nginx: skipped, not installed"
    text = printed(found, "-V")
    modules = Path(first(r"--modules-path=(\S+)", text))
    stream: str | None = None
    if re.search(r"--with-stream( |$)", text, re.MULTILINE):
        stream = ""
    elif (modules / "ngx_stream_module.so").exists():
        stream = f"load_module {modules / 'ngx_stream_module.so'};"

    def write(place: configurations.Place) -> list[str]:
        return configurations.nginx(place, found, stream)

    version = f"{first(NGINX_VERSION, text)} ({first(NGINX_OPENSSL, text)})"
    return Proxy("nginx", version, write, ALL if stream is not None else ALL - {Kind.L4})


def haproxy() -> Proxy | str:
    """Debian's HAProxy."""
    found = program("haproxy")
    if found is None:
        return "haproxy: skipped, not installed"
    text = printed(found, "-vv")
    version = f"{first(HAPROXY_VERSION, text)} ({first(HAPROXY_OPENSSL, text)})"
    return Proxy("haproxy", version, lambda place: configurations.haproxy(place, found))


def caddy() -> Proxy | str:
    """Debian's Caddy, which has no layer 4."""
    found = program("caddy")
    if found is None:
        return "caddy: skipped, not installed"
    version = f"{printed(found, 'version').split()[0]} ({first(GO_VERSION, printed(found, 'build-info'))})"
    return Proxy(
        "caddy", version, lambda place: configurations.caddy(place, found), ALL - {Kind.L4}, {"GOMAXPROCS": "1"}
    )


def direct() -> Proxy:
    """No proxy: the load talks to the upstream. The floor; there is no TLS, for the upstream has none."""
    return Proxy("direct", "", None, ALL - {Kind.TLS})


FINDERS: Mapping[str, Callable[[], Proxy | str]] = {
    "wsrelay-native": lambda: wsrelay("native"),
    "wsrelay-reactor": lambda: wsrelay("reactor"),
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
    "direct": direct,
}


@contextlib.contextmanager
def running(proxy: Proxy, core: int, certificate: Path, upstream: Echo) -> Iterator[Running]:
    """Run a proxy in front of the upstream.

    Raises:
        Failed: it does not start; with the last lines it printed.
    """
    if proxy.write is None:
        yield Running(None, {kind: upstream.port(kind) for kind in proxy.kinds})
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name, (Path(name) / "output").open("w+b") as output:
        folder = Path(name)
        folder.chmod(0o755)  # a worker that gives up root still reads here
        for attempt in range(STARTS):
            ports = dict(zip(Kind, free_ports(len(Kind)), strict=True))
            place = configurations.Place(folder, ports, certificate, upstream)
            process = start(proxy.write(place), core, output, environment=proxy.environment, folder=folder)
            try:
                try:
                    wait_until_accepting(process, [ports[kind] for kind in proxy.kinds])
                except Failed as failure:
                    if attempt + 1 < STARTS and process.poll() is not None:
                        continue
                    output.seek(0)
                    said = output.read().decode(errors="replace").strip().splitlines()[-20:]
                    raise Failed(f"{proxy.name} {failure}; it printed:\n  " + "\n  ".join(said)) from None
                yield Running(process.pid, ports)
                return
            finally:
                stop(process)

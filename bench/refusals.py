"""What a refused connection costs: the relay's `connections_per_address` beside nginx's `limit_conn`, in one run.

    python -m bench.refusals [--rounds N] [--connects N]

One client holds the only connection that its address may have, and then a flood from the same address is refused:
closed at accept by the relay, answered with 503 by nginx, which has to read a request first. Measured is the CPU of
the proxy for each, with the logs that both write when nobody says otherwise, and without any log.
"""

import argparse
import contextlib
import os
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import configurations, measure, proxies, running

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {errors};
events {{ worker_connections 1024; }}
http {{
    access_log {log};
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    limit_conn_zone $binary_remote_addr zone=each:1m;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ limit_conn each 1; proxy_pass http://127.0.0.1:{upstream}; }}
    }}
}}
"""

WSRELAY = """
[relay]
access_log = "{log}"
[limits]
connections_per_address = 1
[[listen]]
address = "127.0.0.1:{port}"
[[upstream]]
name = "app"
servers = ["127.0.0.1:{upstream}"]
[[route]]
path = "/"
upstream = "app"
"""


def nginx(folder: Path, port: int, upstream: int, *, logs: bool) -> list[str]:
    """One worker, as `bench.configurations` has it."""
    log, errors = (f"{folder}/access.log", f"{folder}/error.log") if logs else ("off", "/dev/null crit")
    text = NGINX.format(folder=folder, port=port, upstream=upstream, log=log, errors=errors)
    (folder / "nginx.conf").write_text(text)
    return [proxies.program("nginx") or "nginx", "-p", str(folder), "-c", f"{folder}/nginx.conf"]


def wsrelay(folder: Path, port: int, upstream: int, *, logs: bool) -> list[str]:
    """One listener."""
    log = f"{folder}/access.log" if logs else "off"
    (folder / "wsrelay.toml").write_text(WSRELAY.format(port=port, upstream=upstream, log=log))
    twistd = str(configurations.SCRIPTS / "twistd")
    return [twistd, "-n", "--pidfile=", "wsrelay", "--config", f"{folder}/wsrelay.toml"]


Write = Callable[..., list[str]]
PROXIES: dict[str, Write] = {"nginx": nginx, "wsrelay": wsrelay}


def refused(port: int) -> bool:
    """Try once; whether it was refused."""
    with socket.create_connection(("127.0.0.1", port), running.PATIENCE) as client:
        answer = b""
        with contextlib.suppress(ConnectionError):
            client.sendall(REQUEST)
            while data := client.recv(4096):
                answer += data
        return not answer or answer.startswith(b"HTTP/1.1 503 ")


@contextlib.contextmanager
def held(port: int, upstream: socket.socket) -> Iterator[None]:
    """Hold the one connection that may be: a request that its upstream does not answer."""
    with socket.create_connection(("127.0.0.1", port), running.PATIENCE) as client:
        client.sendall(REQUEST)
        with contextlib.closing(upstream.accept()[0]):
            yield


def cost(write: Write, connects: int, *, logs: bool) -> float:
    """µs of the proxy's CPU for a refused connection."""
    core = running.cores()[0]
    with contextlib.ExitStack() as open_until:
        folder = Path(open_until.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        output = open_until.enter_context((folder / "output").open("w+b"))
        upstream = open_until.enter_context(socket.create_server(("127.0.0.1", 0)))
        (port,) = running.free_ports(1)
        command = write(folder, port, upstream.getsockname()[1], logs=logs)
        process = running.start(command, core, output, environment=configurations.checkout(), folder=folder)
        open_until.callback(running.stop, process)
        running.wait_until_accepting(process, [port])
        measure.wait_until_quiet(process.pid)
        open_until.enter_context(held(port, upstream))
        for _ in range(connects // 10):
            refused(port)
        measure.wait_until_quiet(process.pid)
        before = measure.cpu_seconds(process.pid)
        if not all(refused(port) for _ in range(connects)):
            raise running.Failed("a connection was not refused")
        measure.wait_until_quiet(process.pid)
        return (measure.cpu_seconds(process.pid) - before) / connects * 1e6


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.refusals", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connects", type=int, default=4000)
    wanted = parser.parse_args()
    os.sched_setaffinity(0, {running.cores()[1]})
    for logs in (True, False):
        found: dict[str, list[float]] = {name: [] for name in PROXIES}
        for _ in range(wanted.rounds):
            for name, write in PROXIES.items():
                found[name].append(cost(write, wanted.connects, logs=logs))
        medians = {name: statistics.median(values) for name, values in found.items()}
        print("with logs" if logs else "without logs")
        for name, values in found.items():
            shown = " ".join(f"{value:.0f}" for value in values)
            print(f"  {name:8} {medians[name]:6.1f} µs a refused connection (rounds: {shown})")
        print(f"  ratio    {medians['wsrelay'] / medians['nginx']:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

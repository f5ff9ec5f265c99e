"""CPU of the relay against nginx for two workloads, in one run: `small` (echo in open tunnels) and `connect`.

    python bench/against_nginx.py [--rounds 3]

Each proxy runs alone on core 0; load and upstream share core 1. What is compared is the proxy's own CPU time a unit,
from the kernel's accounting of all its processes, so that a slow load generator changes the rate but not the figure.
Rounds are interleaved; the table gives medians and the ratio to nginx. Loopback only. Needs nginx and openssl.
"""

import argparse
import base64
import contextlib
import hashlib
import multiprocessing
import os
import select
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"x3JJHMbDL1EzLkh9GBhXDw=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + GUID).digest())
REQUEST = (
    b"GET /wss HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: https://localhost\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nCache-Control: no-cache\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    + ACCEPT
    + b"\r\n\r\n"
)
MESSAGE = bytes(128)
TUNNELS = 64
MESSAGES = 60_000
CONNECTS = 1_500

NGINX = """
worker_processes 1; daemon off; error_log stderr crit; pid {folder}/nginx.pid; worker_rlimit_nofile 10000;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; proxy_read_timeout 3600s;
    }}
  }}
}}
"""

RELAY = """
[relay]
access_log = "off"
[[listen]]
address = "127.0.0.1:{plain}"
[[listen]]
address = "127.0.0.1:{tls}"
tls = [ {{ chain = "chain.pem", key = "key.pem" }} ]
[[upstream]]
name = "echo"
servers = ["127.0.0.1:{upstream}"]
[[route]]
path = "/"
upstream = "echo"
"""


def serve_echo(listening: socket.socket) -> None:
    """The upstream: answers any head with the 101, then echoes."""
    os.sched_setaffinity(0, {1})
    poll = select.epoll()
    poll.register(listening, select.EPOLLIN)
    open_: dict[int, tuple[socket.socket, bool]] = {}
    while True:
        for number, _ in poll.poll():
            if number == listening.fileno():
                connected, _ = listening.accept()
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_[connected.fileno()] = (connected, False)
                poll.register(connected, select.EPOLLIN)
                continue
            connected, switched = open_[number]
            try:
                data = connected.recv(65536)
                if data and switched:
                    connected.sendall(data)
                elif data.endswith(b"\r\n\r\n"):
                    connected.sendall(ANSWER)
                    open_[number] = (connected, True)
            except ConnectionError:
                data = b""
            if not data:
                del open_[number]
                connected.close()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, from /proc (in ticks of 10 ms)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)


def connect(port: int, tls: ssl.SSLContext | None) -> socket.socket:
    """A client through its upgrade."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        client = tls.wrap_socket(client, server_hostname="localhost")
    client.sendall(REQUEST)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(4096)
    assert head.startswith(b"HTTP/1.1 101"), head
    return client


def small(port: int, tls: ssl.SSLContext | None, pid: int) -> float:
    """Microseconds of the proxy's CPU for one echoed message of 128 bytes, 64 tunnels open."""
    clients = {client.fileno(): client for client in (connect(port, tls) for _ in range(TUNNELS))}
    poll = select.epoll()
    for number, client in clients.items():
        poll.register(number, select.EPOLLIN)
        client.sendall(MESSAGE)
    before, done = cpu_seconds(pid), 0
    while done < MESSAGES:
        for number, _ in poll.poll():
            clients[number].recv(4096)
            clients[number].sendall(MESSAGE)
            done += 1
    spent = cpu_seconds(pid) - before
    for client in clients.values():
        client.close()
    return spent / done * 1e6


def connects(port: int, tls: ssl.SSLContext | None, pid: int) -> float:
    """Microseconds of the proxy's CPU for connect, upgrade, one echo, close."""
    before = cpu_seconds(pid)
    for _ in range(CONNECTS):
        client = connect(port, tls)
        client.sendall(MESSAGE)
        client.recv(4096)
        client.close()
    return (cpu_seconds(pid) - before) / CONNECTS * 1e6


@contextlib.contextmanager
def running(command: list[str], ports: list[int]) -> Iterator[int]:
    """A proxy on core 0, once it accepts; its pid."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {0})  # at once, so that its own children inherit it
    try:
        for port in ports:
            while process.poll() is None:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                time.sleep(0.05)
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> None:
    """Run, print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--rounds", type=int, default=3)
    rounds = arguments.parse_args().rounds
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    echo = multiprocessing.get_context("fork").Process(target=serve_echo, args=(listening,), daemon=True)
    echo.start()
    os.sched_setaffinity(0, {1})
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), free_ports(4)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem",
             "-out", folder / "chain.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        upstream = listening.getsockname()[1]
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, plain=ports[0], tls=ports[1], upstream=upstream))
        (folder / "wsrelay.toml").write_text(RELAY.format(plain=ports[2], tls=ports[3], upstream=upstream))
        twistd = str(Path(sys.executable).parent / "twistd")
        commands = {
            "nginx": (["nginx", "-c", str(folder / "nginx.conf"), "-p", name], ports[:2]),
            "wsrelay": ([twistd, "-n", "--pidfile=", "wsrelay", "--config", str(folder / "wsrelay.toml")], ports[2:]),
        }
        workloads: list[tuple[str, Callable[..., float], ssl.SSLContext | None]] = [
            ("small, plain", small, None), ("small, TLS", small, tls),
            ("connect, plain", connects, None), ("connect, TLS", connects, tls),
        ]  # fmt: skip
        found: dict[tuple[str, str], list[float]] = {}
        with running(*commands["nginx"]) as nginx, running(*commands["wsrelay"]) as relay:
            pids = {"nginx": (nginx, ports[:2]), "wsrelay": (relay, ports[2:])}
            for _ in range(rounds):
                for title, workload, context in workloads:
                    for proxy, (pid, (plain, secure)) in pids.items():
                        port = secure if context else plain
                        found.setdefault((title, proxy), []).append(workload(port, context, pid))
    echo.terminate()
    print(f"{'µs of CPU a unit':20}{'nginx':>10}{'wsrelay':>10}{'ratio':>8}   (medians of {rounds} rounds)")
    for title, _, _ in workloads:
        nginx_figure, relay_figure = (statistics.median(found[title, proxy]) for proxy in ("nginx", "wsrelay"))
        print(f"{title:20}{nginx_figure:10.0f}{relay_figure:10.0f}{relay_figure / nginx_figure:8.2f}")


if __name__ == "__main__":
    main()

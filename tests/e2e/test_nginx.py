"""nginx in front of the relay and behind it, with the configuration that everybody copies."""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, unix_connect
from websockets.sync.client import connect as connect_tcp

from tests.e2e.peers import Upstream, configuration, needed
from tests.harness import PATIENCE_SECONDS, Relay, Wire
from tests.running import Running

pytestmark = pytest.mark.e2e

CONFIG = """
USER
daemon off;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path a; uwsgi_temp_path b; scgi_temp_path c;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    server {
        listen unix:FOLDER/nginx.sock;
        location / {
            proxy_pass UPSTREAM;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            MORE
        }
        location /file { alias FOLDER/file; default_type text/plain; }
    }
}
"""
FORWARDING = """
            proxy_set_header X-Real-IP 203.0.113.9;
            proxy_set_header X-Forwarded-For 203.0.113.9;
            proxy_set_header X-Forwarded-Proto https;
"""
FILE = b"0123456789" * 100_000

Nginx = Callable[..., str]


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    """Start nginx on a UNIX socket, whose path this gives."""
    program = needed("nginx", "nginx")
    # pytest's own folders have paths too long for a UNIX socket.
    with tempfile.TemporaryDirectory(prefix="wsrelay-nginx-") as folder:
        (Path(folder) / "file").write_bytes(FILE)
        started: list[Running] = []

        def start(upstream: str, more: str = "") -> str:
            # As root its workers would be nobody, who cannot read the folder.
            text = CONFIG.replace("USER", "user root;" if os.geteuid() == 0 else "").replace("FOLDER", folder)
            (Path(folder) / "nginx.conf").write_text(text.replace("UPSTREAM", upstream).replace("MORE", more))
            started.append(Running([program, "-p", folder, "-c", f"{folder}/nginx.conf"], Path(folder)))
            started[-1].line("start worker process ")
            return f"{folder}/nginx.sock"

        try:
            yield start
        finally:
            for each in started:
                each.dispose()


def exchange_much(client: ClientConnection) -> None:
    for message in ("hello", b"\x00" * 300_000):
        client.send(message)
        assert client.recv(PATIENCE_SECONDS) == message
    assert client.ping().wait(PATIENCE_SECONDS)


def fields(client: ClientConnection) -> dict[str, str]:
    return {name.lower(): value for name, value in json.loads(client.recv(PATIENCE_SECONDS))}


def test_nginx_in_front_is_believed_where_it_is_trusted(
    relay: Callable[..., Relay], echo: Upstream, nginx: Nginx
) -> None:
    trusting = relay(configuration(echo.plain, "", before='trusted_proxies = ["127.0.0.1"]'))
    path = nginx(f"http://127.0.0.1:{trusting.port()}", FORWARDING)
    with unix_connect(path, "ws://example.com/head") as client:
        got = fields(client)
        exchange_much(client)
    assert (got["host"], got["x-real-ip"], got["x-forwarded-proto"]) == ("example.com", "203.0.113.9", "https")
    assert got["x-forwarded-for"] == "203.0.113.9, 127.0.0.1"


def test_nginx_in_front_is_not_believed_where_it_is_not(
    relay: Callable[..., Relay], echo: Upstream, nginx: Nginx
) -> None:
    wary = relay(configuration(echo.plain, ""))
    path = nginx(f"http://127.0.0.1:{wary.port()}", FORWARDING)
    with unix_connect(path, "ws://example.com/head") as client:
        got = fields(client)
    assert (got["x-real-ip"], got["x-forwarded-for"]) == ("127.0.0.1", "127.0.0.1")
    assert got["x-forwarded-proto"] == "http"


def test_a_refusal_of_the_relay_comes_through_nginx(relay: Callable[..., Relay], nginx: Nginx) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: refused, and nobody else gets the port
        refusing = relay(configuration(closed.getsockname()[1], ""))
        path = nginx(f"http://127.0.0.1:{refusing.port()}")
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(path)
            client = Wire(plain)
            client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
            answer = client.read_all()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"X-Wsrelay-Reason: upstream-refused\r\n" in answer


def behind(nginx: Nginx, relay: Callable[..., Relay], echo: Upstream) -> Relay:
    path = nginx(f"http://127.0.0.1:{echo.plain}")
    return relay(configuration(0, "").replace("127.0.0.1:0", f"unix:{path}", 1))


def test_nginx_behind_carries_a_websocket(relay: Callable[..., Relay], echo: Upstream, nginx: Nginx) -> None:
    through = behind(nginx, relay, echo)
    with connect_tcp(f"ws://localhost:{through.port()}/head") as client:
        got = fields(client)
        exchange_much(client)
    assert (got["host"], got["x-forwarded-proto"]) == ("localhost", "http")


def test_nginx_behind_serves_files_over_one_connection(
    relay: Callable[..., Relay], echo: Upstream, nginx: Nginx
) -> None:
    client = behind(nginx, relay, echo).connect()
    for _ in range(3):
        client.send(b"GET /file HTTP/1.1\r\nHost: example.com\r\n\r\n")
        head = client.read_head()
        assert b"\r\nContent-Length: 1000000\r\n" in head
        assert client.read(len(FILE)) == FILE
    client.send(b"HEAD /file HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert b"\r\nContent-Length: 1000000\r\n" in client.read_head()
    client.send(b"GET /file HTTP/1.1\r\nHost: example.com\r\nRange: bytes=10-19\r\nConnection: close\r\n\r\n")
    head = client.read_head()
    assert head.startswith(b"HTTP/1.1 206 ")
    assert client.read_all() == b"0123456789"

"""The servers that the relay is held to, and the upstream behind all of them.

nginx and HAProxy do TLS as Debian's packages have it, where a user adds nothing but the certificate.
"""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.graders import end
from tests.e2e.peers import needed
from tests.harness import PATIENCE_SECONDS
from tests.tls import Issued

NGINX = """
USER
daemon off;
pid nginx.pid;
error_log stderr;
events { worker_connections 768; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path a; uwsgi_temp_path b; scgi_temp_path c;
    # These are the words of Debian's nginx.conf; its OpenSSL leaves 1.2 and 1.3 of them.
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    gzip on;
    server {
        listen 127.0.0.1:PORT ssl;
        server_name localhost;
        ssl_certificate CHAIN;
        ssl_certificate_key KEY;
        location / {
            proxy_pass http://127.0.0.1:UPSTREAM;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
        }
    }
}
"""

# The global lines are those of Debian's haproxy.cfg, which has them from Mozilla's "intermediate".
HAPROXY = """
global
    ssl-default-bind-ciphers INTERMEDIATE
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend graded
    bind fd@DESCRIPTOR ssl crt BOTH
    default_backend app
backend app
    server app 127.0.0.1:UPSTREAM
""".replace(
    "INTERMEDIATE",
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    ":ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    ":DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384",
)


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        # Some probes end with a reset, which comes as far as this at layer 4.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "6")
        # Graders look for these; they are the application's to send.
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(b"hello\n")

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """A test that succeeds prints nothing."""


@contextlib.contextmanager
def hello_server() -> Iterator[int]:
    """An upstream that answers every request with 200; its port. Most probes never come so far as to ask."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(PATIENCE_SECONDS)


@contextlib.contextmanager
def nginx(folder: Path, issued: Issued, upstream: int) -> Iterator[int]:
    """Nginx for a block; its port."""
    program = needed("nginx", "nginx")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        text = NGINX.replace("CHAIN", str(issued.chain)).replace("KEY", str(issued.key))
        text = text.replace("PORT", str(_port(listening))).replace("UPSTREAM", str(upstream))
        # As root its workers would be nobody, who cannot write into the folder.
        (folder / "nginx.conf").write_text(text.replace("USER", "user root;" if os.geteuid() == 0 else ""))
        # Sockets by their numbers, as one nginx hands them to the next: so the port is ours before it starts.
        inherited = {"NGINX": f"{listening.fileno()};"}
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        with _serving(command, folder, listening, inherited):
            yield _port(listening)


@contextlib.contextmanager
def haproxy(folder: Path, issued: Issued, upstream: int) -> Iterator[int]:
    """HAProxy for a block; its port."""
    program = needed("haproxy", "haproxy")
    (folder / "both.pem").write_bytes(issued.chain.read_bytes() + issued.key.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        text = HAPROXY.replace("DESCRIPTOR", str(listening.fileno())).replace("BOTH", str(folder / "both.pem"))
        (folder / "haproxy.cfg").write_text(text.replace("UPSTREAM", str(upstream)))
        with _serving([program, "-db", "-f", str(folder / "haproxy.cfg")], folder, listening, {}):
            yield _port(listening)


def _port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


@contextlib.contextmanager
def _serving(
    command: Sequence[str], folder: Path, listening: socket.socket, variables: dict[str, str]
) -> Iterator[None]:
    # Connections wait in the socket's queue until the program is up, so nobody has to wait for that.
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **variables}, pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            yield
            assert process.poll() is None, (folder / "output").read_text()
        finally:
            end(process)

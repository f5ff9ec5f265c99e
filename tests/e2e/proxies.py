"""nginx and HAProxy with ports of their own, and clients, for tests in front of them and behind them."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.peers import needed
from tests.harness import PATIENCE_SECONDS, Wire
from tests.running import Running

# Another address of loopback than everybody's own, for clients: so none is taken for the other.
CLIENT = "127.0.0.8"

_NGINX = """
MODULES
USER
daemon off;
pid nginx.pid;
error_log stderr notice;
worker_processes 1;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path a; uwsgi_temp_path b; scgi_temp_path c;
    HTTP
}
stream {
    access_log off;
    STREAM
}
"""
_HAPROXY = """
global
    nbthread 1
    log stdout format raw local0
    tune.ssl.default-dh-param 2048
defaults
    log global
    timeout connect 20s
    timeout client 20s
    timeout server 20s
"""


class Proxies:
    """Starts them; whatever still runs at the end is ended, and what is connected is closed."""

    def __init__(self) -> None:
        # pytest's own folders have paths too long for a UNIX socket.
        self.folder = Path(tempfile.mkdtemp(prefix="wsrelay-proxies-"))
        self._started: list[Running] = []
        self._connected: list[socket.socket] = []

    def nginx(self, http: str = "", stream: str = "", ports: int = 1) -> list[int]:
        """Start nginx with these blocks, in which PORT0 … are its ports; those ports, once it accepts."""
        program = needed("nginx", "nginx")
        # As root its workers would be nobody, who cannot read the folder.
        user = "user root;" if os.geteuid() == 0 else ""
        text = _NGINX.replace("MODULES", _stream_module(program)).replace("USER", user)
        text = text.replace("HTTP", http).replace("STREAM", stream)
        running, found = self._start("nginx.conf", text, ports, program, "-p", str(self.folder), "-c")
        running.line("start worker process ")
        return found

    def haproxy(self, text: str, ports: int = 1) -> tuple[Running, list[int]]:
        """Start HAProxy with these sections, in which FD0 … are its sockets; what it prints, and their ports."""
        return self._start("haproxy.cfg", _HAPROXY + text, ports, needed("haproxy", "haproxy"), "-db", "-f")

    def connect(self, port: int, source: str = CLIENT, tls: ssl.SSLContext | None = None) -> Wire:
        """A client of any port."""
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS, source_address=(source, 0))
        self._connected.append(tls.wrap_socket(plain, server_hostname="localhost") if tls else plain)
        return Wire(self._connected[-1])

    def _start(self, name: str, text: str, ports: int, *command: str) -> tuple[Running, list[int]]:
        file = self.folder / f"{len(self._started)}-{name}"
        file.write_text(text)
        script = str(Path(__file__).with_name("inheriting.py"))
        running = Running([sys.executable, script, str(file), str(ports), *command, str(file)], self.folder)
        self._started.append(running)
        return running, [int(running.line(r"^port (\d+)$")[1]) for _ in range(ports)]

    def dispose(self) -> None:
        """End them all."""
        for connected in self._connected:
            connected.close()
        for each in self._started:
            each.dispose()
        shutil.rmtree(self.folder)


def _stream_module(nginx: str) -> str:
    """What loads nginx's stream module: nothing where it is built in. A skip where there is none."""
    said = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr.split()
    if "--with-stream" in said:
        return ""
    folders = [word.partition("=")[2] for word in said if word.startswith("--modules-path=")]
    for folder in folders:
        if (found := Path(folder) / "ngx_stream_module.so").is_file():
            return f"load_module {found};"
    pytest.skip("nginx has no stream module; on Debian and Ubuntu: apt install libnginx-mod-stream")

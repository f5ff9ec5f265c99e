"""What each proxy's users would write, and the command that runs it. Text only; nothing is started here."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

from bench.kinds import Kind
from bench.programs import Echo
from bench.running import descriptor_limit

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent
TUNNELS = 9_500
"""The 9,000 of the largest workload, and some air."""


@attrs.frozen
class Place:
    """Where a configuration is written, and what it must name."""

    folder: Path
    ports: Mapping[Kind, int]
    certificate: Path
    """A folder with chain.pem, key.pem, and both.pem (what HAProxy wants)."""
    upstream: Echo


def checkout() -> dict[str, str]:
    """An environment in which this checkout's relay is the one that runs."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def written(place: Place, name: str, text: str) -> str:
    """Write a configuration; return its path."""
    path = place.folder / name
    path.write_text(text)
    return str(path)


def wsrelay(place: Place, pump: str) -> list[str]:
    """A listener for each kind, one route."""
    text = f"""
[relay]
pump = "{pump}"
access_log = "off"

[[listen]]
address = "127.0.0.1:{place.ports[Kind.PLAIN]}"

[[listen]]
address = "127.0.0.1:{place.ports[Kind.TLS]}"
tls = [ {{ chain = "{place.certificate}/chain.pem", key = "{place.certificate}/key.pem" }} ]

[[listen]]
address = "127.0.0.1:{place.ports[Kind.L4]}"
mode = "tcp"
upstream = "chat-tcp"

[[upstream]]
name = "chat"
servers = ["127.0.0.1:{place.upstream.http}"]

[[upstream]]
name = "chat-tcp"
servers = ["127.0.0.1:{place.upstream.tcp}"]

[[route]]
path = "/wss"
upstream = "chat"
"""
    return [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "wsrelay", "--config", written(place, "wsrelay.toml", text)]


def nginx(place: Place, program: str, stream: str | None) -> list[str]:
    """The lines that everybody copies, with the timeout that lets a tunnel live. `stream` loads the module."""
    layer4 = f"""
stream {{
  access_log off;
  server {{
    listen 127.0.0.1:{place.ports[Kind.L4]};
    proxy_pass 127.0.0.1:{place.upstream.tcp};
    proxy_timeout 3600s;
  }}
}}
"""
    text = f"""
{stream or ""}
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptor_limit()};
error_log stderr crit;
pid {place.folder}/nginx.pid;
# Both legs count; and with less than a sixteenth free, nginx closes connections that have not sent a request yet.
events {{ worker_connections {TUNNELS * 5 // 2}; }}
http {{
  access_log off;
  # Folders of our own, so that it starts without root.
  client_body_temp_path {place.folder}/body;
  proxy_temp_path {place.folder}/proxy;
  fastcgi_temp_path {place.folder}/fastcgi;
  uwsgi_temp_path {place.folder}/uwsgi;
  scgi_temp_path {place.folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{place.ports[Kind.PLAIN]};
    listen 127.0.0.1:{place.ports[Kind.TLS]} ssl;
    ssl_certificate {place.certificate}/chain.pem;
    ssl_certificate_key {place.certificate}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    location /wss {{
      proxy_pass http://127.0.0.1:{place.upstream.http};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout 3600s;
    }}
  }}
}}
{layer4 if stream is not None else ""}
"""
    return [program, "-p", str(place.folder), "-c", written(place, "nginx.conf", text)]


def haproxy(place: Place, program: str) -> list[str]:
    """Its usual timeouts, and the one for tunnels."""
    text = f"""
global
    nbthread 1
    maxconn {TUNNELS}

defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
    timeout tunnel 1h

frontend public
    option forwardfor
    bind 127.0.0.1:{place.ports[Kind.PLAIN]}
    bind 127.0.0.1:{place.ports[Kind.TLS]} ssl crt {place.certificate}/both.pem
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    default_backend chat

frontend public-tcp
    mode tcp
    bind 127.0.0.1:{place.ports[Kind.L4]}
    default_backend chat-tcp

backend chat
    server one 127.0.0.1:{place.upstream.http}

backend chat-tcp
    mode tcp
    server one 127.0.0.1:{place.upstream.tcp}
"""
    return [program, "-db", "-f", written(place, "haproxy.cfg", text)]


def caddy(place: Place, program: str) -> list[str]:
    """Two sites; the rest it does by itself."""
    text = f"""
{{
    admin off
    auto_https off
    storage file_system {place.folder}/storage
}}
http://localhost:{place.ports[Kind.PLAIN]} {{
    bind 127.0.0.1
    reverse_proxy /wss 127.0.0.1:{place.upstream.http}
}}
https://localhost:{place.ports[Kind.TLS]} {{
    bind 127.0.0.1
    tls {place.certificate}/chain.pem {place.certificate}/key.pem
    reverse_proxy /wss 127.0.0.1:{place.upstream.http}
}}
"""
    return [program, "run", "--adapter", "caddyfile", "--config", written(place, "Caddyfile", text)]

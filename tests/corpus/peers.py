"""Other proxies in front of the scripted upstreams, each configured for the corpus's routes as its users would.

Text and processes only; what is asked of them stands in `compare`.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from bench.proxies import program
from bench.running import Failed, free_ports, stop, wait_until_accepting
from tests.corpus.place import configuration
from tests.running import TWISTD, environment
from tests.tls import Issued

_NGINX = """
USER
daemon off;
worker_processes 1;
error_log stderr crit;
pid FOLDER/nginx.pid;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/a; uwsgi_temp_path FOLDER/b; scgi_temp_path FOLDER/c;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  client_max_body_size 64k;
  set_real_ip_from 127.0.0.2;
  real_ip_header X-Forwarded-For;
  proxy_http_version 1.1;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  proxy_set_header Host $http_host;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  upstream app { server 127.0.0.1:APP; }
  upstream admin { server 127.0.0.1:ADMIN; }
  upstream tenant { server 127.0.0.1:TENANT; }
  ssl_certificate CHAIN;
  ssl_certificate_key KEY;
  server {
    listen 127.0.0.1:PLAIN default_server;
    listen 127.0.0.1:TLS ssl default_server;
    location / { proxy_pass http://app; }
    location /admin { proxy_pass http://admin; }
    location = /exact { proxy_pass http://admin; }
    location ~ ^/re/[0-9]+$ { proxy_pass http://admin; }
    location /api/ { proxy_pass http://app/v1/; }
    location /ws { proxy_pass http://app; }
    location /only-ws { if ($http_upgrade = '') { return 426; } proxy_pass http://app; }
    location /no-ws { if ($http_upgrade) { return 403; } proxy_pass http://app; }
    location /hello { return 200 "hello\\n"; }
    location /moved { return 308 https://app.example$request_uri; }
  }
  server {
    listen 127.0.0.1:PLAIN;
    listen 127.0.0.1:TLS ssl;
    server_name tenant.example *.wild.example;
    location / { proxy_pass http://tenant; }
  }
}
"""

_HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
    timeout tunnel 1h
frontend public
    bind 127.0.0.1:PLAIN
    bind 127.0.0.1:TLS ssl crt BOTH
    option forwardfor except 127.0.0.2
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    http-request set-header X-Real-IP %[src]
    acl upgrades req.hdr(Upgrade) -m found
    acl tenant req.hdr(Host),host_only -i tenant.example
    acl tenant req.hdr(Host),host_only -m end -i .wild.example
    http-request return status 200 content-type text/plain string "hello\\n" if { path_beg /hello } !tenant
    http-request redirect code 308 prefix https://app.example if { path_beg /moved } !tenant
    http-request return status 426 hdr Upgrade websocket if { path_beg /only-ws } !upgrades !tenant
    http-request deny if { path_beg /no-ws } upgrades !tenant
    http-request replace-path /api(/.*)? /v1\\1 if { path_beg /api } !tenant
    use_backend tenant if tenant
    use_backend admin if { path_beg /admin }
    use_backend admin if { path /exact }
    use_backend admin if { path_reg ^/re/[0-9]+$ }
    default_backend app
backend app
    server one 127.0.0.1:APP
backend admin
    server one 127.0.0.1:ADMIN
backend tenant
    server one 127.0.0.1:TENANT
"""

_CADDY = """
{
    admin off
    auto_https off
    storage file_system FOLDER/storage
    servers {
        protocols h1
    }
}
(app) {
    reverse_proxy 127.0.0.1:APP {
        trusted_proxies 127.0.0.2/32
    }
}
(admin) {
    reverse_proxy 127.0.0.1:ADMIN {
        trusted_proxies 127.0.0.2/32
    }
}
(tenant) {
    reverse_proxy 127.0.0.1:TENANT {
        trusted_proxies 127.0.0.2/32
    }
}
(routes) {
    request_body {
        max_size 64KiB
    }
    @tenant host tenant.example *.wild.example
    handle @tenant {
        import tenant
    }
    @admin path /admin /admin/* /exact
    handle @admin {
        import admin
    }
    @re path_regexp ^/re/[0-9]+$
    handle @re {
        import admin
    }
    handle_path /api/* {
        rewrite * /v1{uri}
        import app
    }
    @plain {
        path /only-ws*
        not header Upgrade *
    }
    respond @plain 426
    @upgrade {
        path /no-ws*
        header Upgrade *
    }
    respond @upgrade 403
    handle /hello* {
        respond "hello
"
    }
    handle /moved* {
        redir https://app.example{uri} 308
    }
    handle {
        import app
    }
}
http://:PLAIN {
    bind 127.0.0.1
    import routes
}
https://:TLS {
    bind 127.0.0.1
    tls CHAIN KEY
    import routes
}
"""


@attrs.frozen
class Site:
    """What a configuration has to name."""

    folder: Path
    plain: int
    tls: int
    upstreams: Mapping[str, int]
    issued: Issued

    def filled(self, text: str) -> str:
        """The text with its words in capitals replaced."""
        words = {
            "USER": "user root;" if os.geteuid() == 0 else "",  # as nobody, its workers could not read the folder
            "FOLDER": str(self.folder),
            "PLAIN": str(self.plain),
            "TLS": str(self.tls),
            "CHAIN": str(self.issued.chain),
            "KEY": str(self.issued.key),
            "BOTH": str(self.folder / "both.pem"),
            **{group.upper(): str(port) for group, port in self.upstreams.items()},
        }
        for word, value in words.items():
            for before in (" ", "\n", ":"):
                text = text.replace(f"{before}{word}", f"{before}{value}")
        return text

    def written(self, name: str, text: str) -> str:
        """Write a file; its path."""
        (self.folder / name).write_text(text)
        return str(self.folder / name)


Write = Callable[[Site], list[str]]


def _nginx(found: str) -> Write:
    return lambda site: [found, "-p", str(site.folder), "-c", site.written("nginx.conf", site.filled(_NGINX))]


def _haproxy(found: str) -> Write:
    def write(site: Site) -> list[str]:
        site.written("both.pem", site.issued.chain.read_text() + site.issued.key.read_text())
        return [found, "-db", "-f", site.written("haproxy.cfg", site.filled(_HAPROXY))]

    return write


def _caddy(found: str) -> Write:
    def write(site: Site) -> list[str]:
        return [found, "run", "--adapter", "caddyfile", "--config", site.written("Caddyfile", site.filled(_CADDY))]

    return write


def _wsrelay(site: Site) -> list[str]:
    chain, key = str(site.issued.chain), str(site.issued.key)
    text = configuration(dict(site.upstreams), chain, key, plain=site.plain, tls=site.tls)
    path = site.written("wsrelay.toml", f'[relay]\naccess_log = "off"\n{text}')
    return [*TWISTD, "-n", "--pidfile=", "wsrelay", "--config", path]


def installed() -> dict[str, Write]:
    """The proxies that are here, wsrelay first."""
    peers: dict[str, Write] = {"wsrelay": _wsrelay}
    for name, make in (("nginx", _nginx), ("haproxy", _haproxy), ("caddy", _caddy)):
        if found := program(name):
            peers[name] = make(found)
        else:
            print(f"{name}: left out, it is not installed", file=sys.stderr)
    return peers


@contextlib.contextmanager
def running(write: Write, upstreams: Mapping[str, int], issued: Issued) -> Iterator[tuple[int, int]]:
    """Run one of them for a block; its ports, plain and TLS.

    Raises:
        Failed: It does not start; with what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="corpus-") as name, (Path(name) / "output").open("w+b") as output:
        plain, tls = free_ports(2)
        command = write(Site(Path(name), plain, tls, upstreams, issued))
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=name, env=environment(), text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            try:
                wait_until_accepting(process, (plain, tls))
            except Failed as failure:
                said = (Path(name) / "output").read_text(errors="replace")
                raise Failed(f"{command[0]} {failure}; it printed:\n{said[-3000:]}") from None
            yield plain, tls
        finally:
            stop(process)

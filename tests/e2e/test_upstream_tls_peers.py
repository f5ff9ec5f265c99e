"""nginx and HAProxy as upstreams under TLS: whom they were asked for, what they were shown, what they resumed."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from websockets.sync.client import connect

from tests.e2e.peers import Upstream, needed
from tests.e2e.test_nginx import exchange_much
from tests.harness import Relay, Wire
from tests.net.tls_upstreams import MIDDLE, ROOT, STRANGER, configuration, identified, leaf, trusting
from tests.running import TWISTD, Running
from wsrelay.control import pumps

pytestmark = pytest.mark.e2e

NAME = "app.internal"
SHOWN = leaf(NAME)
US = leaf("relay.example", common="the relay")
FILE = b"0123456789" * 100_000

NGINX = """
USER
daemon off;
pid FOLDER/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path a; uwsgi_temp_path b; scgi_temp_path c;
    ssl_session_cache shared:SSL:1m;
    server {
        listen unix:FOLDER/app.sock ssl;
        ssl_certificate FOLDER/shown.pem;
        ssl_certificate_key FOLDER/shown.pem;
        ssl_protocols VERSIONS;
        ASKING
        location / {
            proxy_pass http://127.0.0.1:ECHO;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $host;
        }
        location /facts {
            default_type text/plain;
            return 200 "$ssl_server_name|$ssl_client_s_dn|$ssl_session_reused|$ssl_protocol|$connection";
        }
        location /file { alias FOLDER/file; default_type text/plain; }
    }
}
"""
NGINX_ASKING = "ssl_client_certificate FOLDER/root.pem; ssl_verify_client on; ssl_verify_depth 3;"

HAPROXY = """
global
    maxconn 64
    stats timeout 10s
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend app
    bind unix@FOLDER/app.sock ssl crt FOLDER/shown.pem VERSIONS ASKING
    http-request return status 200 content-type text/plain lf-string FACTS if { path /facts }
    default_backend echo
backend echo
    server echo 127.0.0.1:ECHO
"""
HAPROXY_FACTS = "%[ssl_fc_sni]|CN=%[ssl_c_s_dn(cn)]|%[ssl_fc_is_resumed]|%[ssl_fc_protocol]|%[rand]"
HAPROXY_ASKING = "ca-file FOLDER/root.pem verify required"


@attrs.frozen
class Facts:
    """What an upstream says of its connection."""

    server_name: str
    client: str
    resumed: bool
    version: str

    @classmethod
    def of(cls, text: str) -> "Facts":
        name, client, resumed, version, _ = text.split("|")
        return cls(name, client.removeprefix("CN="), resumed in ("r", "1"), version)


@attrs.frozen
class Program:
    """One of the two, and how it is told what to do."""

    name: str
    folder: Path
    echo: Upstream
    started: list[Running]

    @property
    def address(self) -> str:
        return f"unix:{self.folder}/app.sock"

    def start(self, *, asking: bool = False, version: str = "") -> None:
        """Start it; with `version`, such as `TLSv1.2`, it speaks no other."""
        if self.name == "nginx":
            text = NGINX.replace("ASKING", NGINX_ASKING if asking else "")
            text = text.replace("VERSIONS", version or "TLSv1.2 TLSv1.3")
            # As root its workers would be nobody, who cannot read the folder.
            text = text.replace("USER", "user root;" if os.geteuid() == 0 else "")
            command = ["-p", str(self.folder), "-c"]
            ready = "start worker process "
        else:
            text = HAPROXY.replace("ASKING", HAPROXY_ASKING if asking else "").replace("FACTS", HAPROXY_FACTS)
            text = text.replace("VERSIONS", f"ssl-min-ver {version} ssl-max-ver {version}" if version else "")
            command = ["-W", "-db", "-f"]
            ready = "Loading success"
        file = self.folder / f"{self.name}.conf"
        file.write_text(text.replace("FOLDER", str(self.folder)).replace("ECHO", str(self.echo.plain)))
        self.started.append(Running([needed(self.name, self.name), *command, str(file)], self.folder))
        self.started[-1].line(ready)


@pytest.fixture(params=["nginx", "haproxy"])
def server(request: pytest.FixtureRequest, echo: Upstream) -> Iterator[Program]:
    """Nginx or HAProxy on a UNIX socket, not started yet."""
    # pytest's own folders have paths too long for a UNIX socket.
    with tempfile.TemporaryDirectory(prefix="wsrelay-") as name:
        folder = Path(name)
        (folder / "shown.pem").write_bytes(SHOWN.pem + MIDDLE.pem + SHOWN.key_pem)
        (folder / "root.pem").write_bytes(ROOT.pem)
        (folder / "file").write_bytes(FILE)
        made = Program(request.param, folder, echo, [])
        try:
            yield made
        finally:
            for each in made.started:
                each.dispose()


def front(server: Program, folder: Path, *more: str, pump: str = "auto", trusted: object = ROOT) -> str:
    parts = ", ".join([f'server_name = "{NAME}"', trusting(folder, trusted), *more])  # type: ignore[arg-type]
    return configuration([server.address], parts, before=f'pump = "{pump}"')


def get(client: Wire, target: str = "/facts") -> tuple[bytes, bytes]:
    """One request; the answer's head and body."""
    client.send(f"GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n".encode())
    head = client.read_head()
    length = next(
        int(line.partition(b":")[2]) for line in head.splitlines() if line.lower().startswith(b"content-length:")
    )
    return head, client.read(length)


def facts(client: Wire) -> Facts:
    head, content = get(client)
    assert head.startswith(b"HTTP/1.1 200 "), head + content
    return Facts.of(content.decode())


@pytest.mark.parametrize("pump", ["native", "reactor"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_websocket_goes_through_tls_to_them(
    relay: Callable[..., Relay], server: Program, tmp_path: Path, pump: str, version: str
) -> None:
    if pump == "native" and (why := pumps.missing()):
        pytest.skip(why)
    server.start(version=version)
    running = relay(front(server, tmp_path, pump=pump))
    with connect(f"ws://localhost:{running.port()}/") as client:
        exchange_much(client)
    line = running.line(event="close")
    assert line["outcome"] in ("client-closed", "upstream-closed")
    assert line["upstream"] == server.address


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_they_are_asked_by_name_and_resume_sessions(
    relay: Callable[..., Relay], server: Program, tmp_path: Path, version: str
) -> None:
    server.start(version=version)
    running = relay(front(server, tmp_path))
    seen = [facts(running.connect()) for _ in range(3)]
    assert [each.server_name for each in seen] == [NAME] * 3
    assert [each.version for each in seen] == [version] * 3
    assert [each.resumed for each in seen] == [False, True, True]


# HAProxy 2.6 has no number of a connection to tell, and serves no files.


@pytest.mark.parametrize("server", ["nginx"], indirect=True)
def test_one_client_has_one_connection_to_it(relay: Callable[..., Relay], server: Program, tmp_path: Path) -> None:
    server.start()
    client = relay(front(server, tmp_path)).connect()
    connections = {get(client)[1].rpartition(b"|")[2] for _ in range(3)}
    assert len(connections) == 1


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_they_get_our_certificate_where_they_ask_for_it(
    relay: Callable[..., Relay], server: Program, tmp_path: Path, version: str
) -> None:
    server.start(asking=True, version=version)
    running = relay(front(server, tmp_path, identified(tmp_path, US, MIDDLE)))
    assert [facts(running.connect()).client for _ in range(3)] == ["the relay"] * 3
    with connect(f"ws://localhost:{running.port()}/") as client:
        exchange_much(client)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("ours", ["none", "of a stranger"])
def test_without_a_certificate_that_they_trust_nothing_of_theirs_is_seen(
    relay: Callable[..., Relay], server: Program, tmp_path: Path, ours: str, version: str
) -> None:
    """Nginx does the handshake all the same and answers 400 by itself; HAProxy ends it with an alert."""
    server.start(asking=True, version=version)
    own = [] if ours == "none" else [identified(tmp_path, leaf("relay.example", by=STRANGER))]
    running = relay(front(server, tmp_path, *own))
    head, content = get(running.connect())
    if server.name == "nginx":
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"SSL certificate" in content
        assert b"X-Wsrelay-Reason" not in head
    else:
        assert head.startswith(b"HTTP/1.1 502 ")
        line = running.line(event="exchange")
        if version == "TLSv1.3" and line["reason"] == "upstream-closed":
            return  # the request was on its way already, and the end of the connection overtook the alert
        assert b"\r\nX-Wsrelay-Reason: upstream-tls\r\n" in head
        detail = line["detail"]
        assert any(words in detail for words in ("certificate required", "handshake failure", "unknown ca")), detail


def test_they_are_not_believed_without_their_authority(
    relay: Callable[..., Relay], server: Program, tmp_path: Path
) -> None:
    server.start()
    running = relay(front(server, tmp_path, trusted=STRANGER))
    head, _ = get(running.connect())
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"\r\nX-Wsrelay-Reason: upstream-certificate\r\n" in head
    assert "issuer" in running.line(event="exchange")["detail"]


@pytest.mark.parametrize("server", ["nginx"], indirect=True)
def test_a_large_file_comes_whole(relay: Callable[..., Relay], server: Program, tmp_path: Path) -> None:
    server.start()
    client = relay(front(server, tmp_path)).connect()
    for _ in range(3):
        assert get(client, "/file")[1] == FILE


def test_bytes_before_our_own_end_are_read_by_them(
    relay: Callable[..., Relay], server: Program, tmp_path: Path
) -> None:
    """A request whose client has said its end already is still answered: close_notify ends one direction only."""
    server.start()
    client = relay(front(server, tmp_path)).connect()
    client.send(b"GET /facts HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read_all().startswith(b"HTTP/1.1 200 ")


# What belongs to the process.


def test_a_relay_without_ca_believes_the_systems_store(
    server: Program, program: Callable[..., Running], tmp_path: Path
) -> None:
    server.start()
    file = tmp_path / "wsrelay.toml"
    file.write_text(configuration([server.address], f'server_name = "{NAME}"'))
    store = str(server.folder / "root.pem")
    running = program(*TWISTD, "-n", "--pidfile=", "wsrelay", "--config", str(file), SSL_CERT_FILE=store)
    assert facts(running.connect(running.port())).server_name == NAME


def test_an_upstream_that_is_not_verified_is_named_at_the_start_with_the_reason(
    server: Program, program: Callable[..., Running], tmp_path: Path
) -> None:
    server.start()
    file = tmp_path / "wsrelay.toml"
    parts = f'server_name = "{NAME}", verify = false, insecure_reason = "a lab of ours"'
    file.write_text(configuration([server.address], parts))
    running = program(*TWISTD, "-n", "--pidfile=", "wsrelay", "--config", str(file))
    port = running.port()
    running.line("tunnels are moved by")
    assert facts(running.connect(port)).server_name == NAME
    assert [line for line in running.seen if "app" in line and "a lab of ours" in line], running.seen

"""One port and one name for everything: nginx keeps its site over h2, WebSockets and HTTP/1.1 are the relay's.

Real programs on both sides: nginx with h2 behind `alpn`, curl, the `websockets` package and Chromium before it.
"""

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.e2e.browser import Tab, chromium
from tests.e2e.peers import Edge, Upstream, needed, open_websocket
from tests.harness import PATIENCE_SECONDS, Relay
from tests.running import Running
from tests.tls import Authority, Issued

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
    default_type text/html;
    server {
        listen 127.0.0.1:PORT ssl http2 reuseport LISTEN;
        ssl_certificate CHAIN;
        ssl_certificate_key KEY;
        location / { return 200 "<title>site</title><p>$server_protocol $ssl_server_name $FROM</p>"; }
    }
}
"""
MUCH = b"0123456789" * 100_000


@attrs.frozen
class Port:
    """The relay's port, where everything is."""

    relay: Relay
    edge: Edge

    def curl(self, *arguments: str, path: str = "/") -> tuple[str, str]:
        """The version of HTTP that curl has spoken, and what it got."""
        command = [needed("curl", "curl"), "-sS", "--cacert", str(self.edge.root), "-w", "\n%{http_version}"]
        done = subprocess.run(
            [*command, *arguments, self.edge.url("http", path)],
            capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        content, _, version = done.stdout.rpartition("\n")
        return version, content


@pytest.fixture
def site(issued: Issued) -> Iterator[Callable[..., str]]:
    """Start nginx with h2 on a loopback port; its address."""
    program = needed("nginx", "nginx")
    with tempfile.TemporaryDirectory(prefix="wsrelay-nginx-") as folder, socket.socket() as held:
        # Bound and not listening, it keeps the port for nginx, which shares it.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        started: list[Running] = []

        def start(listen: str = "") -> str:
            # As root its workers would be nobody.
            words = {
                "USER": "user root;" if os.geteuid() == 0 else "",
                "PORT": str(held.getsockname()[1]),
                "LISTEN": listen,
                "CHAIN": str(issued.chain),
                "KEY": str(issued.key),
                "FROM": "proxy_protocol_addr" if listen else "remote_addr",
            }
            text = CONFIG
            for word, meant in words.items():
                text = text.replace(word, meant)
            (Path(folder) / "nginx.conf").write_text(text)
            started.append(Running([program, "-p", folder, "-c", f"{folder}/nginx.conf"], Path(folder)))
            started[-1].line("start worker process ")
            return f"127.0.0.1:{words['PORT']}"

        try:
            yield start
        finally:
            for each in started:
                each.dispose()


@pytest.fixture
def port(
    relay: Callable[..., Relay],
    authority: Authority,
    issued: Issued,
    root: Path,
    echo: Upstream,
    site: Callable[..., str],
) -> Callable[..., Port]:
    """Start nginx, and the relay on one port for both."""

    def start(pump: str = "auto", proxy: bool = False) -> Port:
        address = site("proxy_protocol" if proxy else "")
        running = relay(
            f'pump = "{pump}"\n[[listen]]\naddress = "127.0.0.1:0"\ntls = [{issued.toml}]\nalpn = {{ "h2" = "site" }}\n'
            f'[[upstream]]\nname = "site"\nservers = ["{address}"]\n{"send_proxy = 2" if proxy else ""}\n'
            f'[[upstream]]\nname = "app"\nservers = ["127.0.0.1:{echo.plain}"]\n'
            '[[route]]\npath = "/"\nupstream = "app"\n'
            '[[route]]\npath = "/here"\nrespond = { body = "the relay" }\n'
        )
        return Port(running, Edge("one port", running.port(), authority.trusting(), root))

    return start


PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])


@PUMPS
@pytest.mark.parametrize("version", [(), ("--tls-max", "1.2")], ids=["1.3", "1.2"])
def test_who_offers_h2_gets_the_site_over_h2(port: Callable[..., Port], pump: str, version: tuple[str, ...]) -> None:
    here = port(pump)
    spoken, content = here.curl("--http2", *version)
    assert spoken == "2"
    assert "HTTP/2.0 localhost 127.0.0.1" in content
    opened = here.relay.line(event="open")
    assert (opened["route"], opened["sni"], opened["tls"]) == ("site", "localhost", None)
    assert here.relay.line(event="close")["outcome"] in ("client-closed", "client-reset")


@pytest.mark.parametrize("arguments", [("--http1.1",), ("--no-alpn",)])
def test_who_offers_no_h2_is_served_by_the_relay(port: Callable[..., Port], arguments: tuple[str, ...]) -> None:
    here = port()
    assert here.curl(*arguments, path="/here") == ("1.1", "the relay")
    assert here.relay.line(event="exchange")["sni"] == "localhost"


@PUMPS
def test_a_websocket_is_the_relays(port: Callable[..., Port], pump: str) -> None:
    here = port(pump)
    with open_websocket(here.edge) as client:
        for message in ("hello", MUCH):
            client.send(message)
            assert client.recv(PATIENCE_SECONDS) == message
    opened = here.relay.line(event="open")
    assert (opened["status"], opened["sni"]) == (101, "localhost")
    assert opened["tls"] == "TLSv1.3"


@PUMPS
def test_both_go_on_side_by_side(port: Callable[..., Port], pump: str) -> None:
    here = port(pump)
    with open_websocket(here.edge) as client:
        for number in range(5):
            assert here.curl("--http2")[0] == "2"
            client.send(f"still here {number}")
            assert client.recv(PATIENCE_SECONDS) == f"still here {number}"


def test_the_site_is_told_who_the_client_is(port: Callable[..., Port]) -> None:
    """In a PROXY line, which is all that can be said to it without touching its TLS."""
    _, content = port(proxy=True).curl("--http2", "--interface", "127.0.0.3")
    assert "HTTP/2.0 localhost 127.0.0.3" in content


# A browser, which does both from one page.


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with chromium() as opened:
        yield opened


TALK = """(globalThis.talk ??= Object.assign(new WebSocket('wss://localhost:PORT/'), {
  onopen() { this.send('hello from the page') }, onmessage(event) { document.title = event.data } }))
  && document.title === 'hello from the page'"""


@PUMPS
def test_a_browser_has_its_page_over_h2_and_its_websocket_from_the_relay(
    tab: Tab, port: Callable[..., Port], pump: str
) -> None:
    here = port(pump)
    tab.open(f"https://localhost:{here.edge.port}/")
    assert tab.when("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    assert "HTTP/2.0 localhost" in tab.when("document.querySelector('p').textContent")
    assert tab.when(TALK.replace("PORT", str(here.edge.port)))
    talked = here.relay.line(event="open", status=101)
    assert (talked["tls"], talked["sni"]) == ("TLSv1.3", "localhost")
    assert tab.complaints == []

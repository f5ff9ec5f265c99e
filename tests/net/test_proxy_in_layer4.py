"""PROXY lines that come in, layer 4: they are taken off, what follows is not touched, and the log knows the client."""

import ssl
import threading
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, RawServer, Wire
from tests.net.proxied import EXPECTING, GOOD, PROXY, Start, layer4
from tests.proxylines import SOURCE, local, tlv, v1, v2
from tests.tls import Authority, HandPlayed

BYTES = bytes(range(256)) * 300


@pytest.mark.parametrize(("line", "address"), [good[1:] for good in GOOD], ids=[good[0] for good in GOOD])
def test_bytes_behind_the_line_arrive_untouched_and_the_log_names_the_client(
    relay: Start, upstream: RawServer, line: bytes, address: str
) -> None:
    running = relay(layer4(upstream))
    client = running.connect()
    client.send(line + b"close")
    server = upstream.accept()
    assert server.read(5) == b"close"
    server.send(b"\x00answer")
    assert client.read(7) == b"\x00answer"
    client.finish()
    assert server.read_all() == b""
    server.finish()
    assert client.read_all() == b""
    for event in ("open", "close"):
        logged = running.next_line()
        assert (logged["event"], logged["real_ip"]) == (event, address)
        assert logged["client"] == f"{PROXY}:{client.socket.getsockname()[1]}"
    assert (logged["to_upstream"], logged["to_client"]) == (5, 7)


@pytest.mark.parametrize("pump", ["reactor", "auto"])
@pytest.mark.parametrize("line", [v1(), v2(tlv(0x02, b"a"))], ids=["v1", "v2"])
def test_nothing_is_lost_where_line_and_much_data_are_cut_anywhere(
    relay: Start, upstream: RawServer, line: bytes, pump: str
) -> None:
    running = relay(layer4(upstream, more=f'pump = "{pump}"\n'))
    for cut in (*range(1, len(line) + 3), len(line) + 1000, len(line) + 65536):
        client = running.connect()
        data = line + BYTES
        client.send(data[:cut])
        running.settle()
        sending = client.send_aside(data[cut:])
        server = upstream.accept()
        assert server.read(len(BYTES)) == BYTES
        sending.join(PATIENCE_SECONDS)
        client.close()
        assert server.ending() == b""
        server.close()


@pytest.mark.parametrize("line", [v1(), v2(), local()], ids=["v1", "v2", "local"])
def test_end_right_behind_the_line_is_passed_on(relay: Start, upstream: RawServer, line: bytes) -> None:
    running = relay(layer4(upstream))
    client = running.connect()
    client.send(line)
    client.finish()
    server = upstream.accept()
    assert server.read_all() == b""
    server.send(b"late")
    server.finish()
    assert client.read_all() == b"late"
    assert running.line(event="close")["real_ip"] == (PROXY if line == local() else SOURCE)


def test_second_line_is_the_upstreams(relay: Start, upstream: RawServer) -> None:
    client = relay(layer4(upstream)).connect()
    client.send(v1() + v2() + b"!")
    assert upstream.accept().read(len(v2()) + 1) == v2() + b"!"


def test_unix_listener(relay: Start, upstream: RawServer, tmp_path: Path) -> None:
    text = layer4(upstream, trusting='trusted_proxies = ["unix:"]\n')
    running = relay(text.replace("127.0.0.1:0", f"unix:{tmp_path}/in", 1))
    client = running.connect_unix(f"{tmp_path}/in")
    client.send(v1() + b"close")
    assert upstream.accept().read(5) == b"close"
    logged = running.next_line()
    assert (logged["client"], logged["real_ip"]) == ("unix:", SOURCE)


def test_listener_without_accept_proxy_passes_a_line_on_as_any_bytes(relay: Start, upstream: RawServer) -> None:
    running = relay(layer4(upstream).replace(EXPECTING, ""))
    client = running.connect()
    client.send(v1())
    assert upstream.accept().read(len(v1())) == v1()
    assert running.next_line()["real_ip"] == PROXY


# TLS that is passed on by its ClientHello, which is looked at behind the line.


class TlsUpstream:
    """An upstream that ends TLS itself, and answers what it has read."""

    def __init__(self, upstream: RawServer, authority: Authority) -> None:
        issued = authority.issue("localhost")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(issued.chain, issued.key)
        self._upstream = upstream
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._context.wrap_socket(self._upstream.accept().socket, server_side=True) as server:
            server.sendall(b"got " + server.recv(100))

    def done(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


def greet(client: Wire, played: HandPlayed) -> None:
    played.listen()
    played.send_rest(b"hello", client.send)
    assert played.read(b"hello") == b"got hello"


@pytest.mark.parametrize("cut", ["one segment", "two segments", "byte by byte"])
@pytest.mark.parametrize("line", [v1(), v2(tlv(0x02, b"elsewhere"))], ids=["v1", "v2"])
@pytest.mark.parametrize("by", ['sni = { "localhost" = "app" }\n', ""], ids=["by name", "all of it"])
def test_tls_passes_untouched_behind_the_line(
    relay: Start, upstream: RawServer, tmp_path: Path, line: bytes, cut: str, by: str
) -> None:
    authority = Authority(tmp_path)
    serving = TlsUpstream(upstream, authority)
    running = relay(layer4(upstream, listen=by))
    client = running.connect()
    played = HandPlayed(client, authority.trusting())
    hello = played.step()
    if cut == "one segment":
        client.send(line + hello)
    elif cut == "two segments":
        client.send(line)
        running.settle()
        client.send(hello)
    else:
        for place, byte in enumerate(line + hello):
            client.send(bytes([byte]))
            if place < len(line) + 20:
                running.settle()
    greet(client, played)
    serving.done()
    assert running.next_line()["real_ip"] == SOURCE

"""Layer 4: bytes in, bytes out, unread; TLS ends here or passes through."""

import ssl
import threading
from pathlib import Path

import pytest

from tests.harness import PATIENCE_SECONDS, HandTime, Relay, Wire
from tests.tls import Authority

BIG = bytes(range(251)) * 40_000


def layer4(*servers: str, more: str = "") -> str:
    names = ", ".join(f'"{server}"' for server in servers)
    return f"""
[[listen]]
address = "127.0.0.1:0"
mode = "tcp"
upstream = "raw"
{more}
[[upstream]]
name = "raw"
servers = [{names}]
"""


def opened(running: Relay, upstream) -> tuple[Wire, Wire]:
    client = running.connect()
    return client, upstream.accept()


def test_bytes_cross_both_ways_and_the_log_names_both_ends(relay, upstream):
    running = relay(layer4(upstream.address))
    client, server = opened(running, upstream)
    line = running.next_line()
    expected = {
        "event": "open", "route": "raw", "upstream": upstream.address, "real_ip": "127.0.0.1",
        "method": None, "status": None, "tls": None,
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    server.send(b"220 ready\r\n")
    assert client.read(11) == b"220 ready\r\n"
    client.send(b"\x00\xff\r\n\r\nGET")
    assert server.read(9) == b"\x00\xff\r\n\r\nGET"
    client.finish()
    assert server.read_all() == b""
    server.finish()
    assert client.read_all() == b""
    closed = running.next_line()
    assert (closed["event"], closed["outcome"], closed["to_upstream"], closed["to_client"]) == (
        "close",
        "client-closed",
        9,
        11,
    )


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_close_passes_and_the_other_direction_goes_on(relay, upstream, first):
    running = relay(layer4(upstream.address))
    client, server = opened(running, upstream)
    early, late = (client, server) if first == "client" else (server, client)
    early.send(b"request")
    early.finish()
    assert late.read_all() == b"request"
    late.send_aside(BIG)
    assert early.read(len(BIG)) == BIG
    late.finish()
    assert early.read_all() == b""
    assert running.line(event="close")["outcome"] == f"{first}-closed"


def test_what_the_client_sends_before_the_upstream_is_there_arrives_first(relay, upstream, full):
    """Bytes, and an end, while the first server of the group is still being tried."""
    over = HandTime()
    running = relay(layer4(full.address, upstream.address), over)
    client = running.connect()
    client.send(b"early bird")
    client.finish()
    running.settle()
    assert upstream.nobody_came()
    over.passes(5)
    server = upstream.accept()
    assert server.read_all() == b"early bird"
    server.send(b"worm")
    server.finish()
    assert client.read_all() == b"worm"
    assert running.line(event="close")["outcome"] == "client-closed"


@pytest.mark.parametrize("reason", ["upstream-refused", "upstream-connect-timeout"])
def test_client_is_reset_where_no_upstream_can_be_had(relay, nobody, full, reason):
    over = HandTime()
    address = nobody if reason == "upstream-refused" else full.address
    running = relay(layer4(address), over)

    def call() -> None:
        client = running.connect()
        client.send(b"hello")
        running.settle()
        over.passes(5)
        client.read_all()

    # The reset may be quicker than the client is to notice that it is connected.
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        call()
    line = running.next_line()
    assert (line["event"], line["outcome"], line["reason"]) == ("failed", "upstream-unreached", reason)
    assert address in line["detail"]


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_reset_of_one_end_is_a_reset_for_the_other(relay, upstream, who):
    running = relay(layer4(upstream.address))
    client, server = opened(running, upstream)
    running.next_line()
    gone, other = (client, server) if who == "client" else (server, client)
    gone.send(b"last words")
    running.settle()
    gone.reset()
    assert other.read(10) == b"last words"
    assert other.was_reset()
    assert running.next_line()["outcome"] == f"{who}-reset"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_tls_ends_here_and_the_upstream_gets_plain_bytes(relay, upstream, authority):
    running = relay(layer4(upstream.address, more=f"tls = [ {authority.issue('localhost').toml} ]"))
    client = running.connect_tls(authority.trusting())
    server = upstream.accept()
    client.send(b"in the clear")
    assert server.read(12) == b"in the clear"
    server.send(b"back")
    assert client.read(4) == b"back"
    assert running.next_line()["tls"] == "TLSv1.3"


def test_upstream_is_not_dialled_before_the_handshake_is_done(relay, upstream, authority):
    running = relay(layer4(upstream.address, more=f"tls = [ {authority.issue('localhost').toml} ]"))
    client = running.connect()
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    client.ending()
    line = running.next_line()
    assert (line["event"], line["outcome"]) == ("failed", "tls-failed")
    assert upstream.nobody_came()


def test_tls_passes_through_untouched(relay, upstream, authority):
    """The handshake is between the client and the upstream: certificate and protocol are the upstream's own."""
    running = relay(layer4(upstream.address))
    certificate = authority.issue("localhost")
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(certificate.chain, certificate.key)
    offered.set_alpn_protocols(["h2"])
    said: list[bytes] = []

    def serve() -> None:
        with offered.wrap_socket(upstream.accept().socket, server_side=True) as server:
            said.append(server.recv(6))
            server.sendall(b"answer")

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    wanted = authority.trusting()
    wanted.set_alpn_protocols(["h2"])
    client = running.connect_tls(wanted)
    assert client.socket.selected_alpn_protocol() == "h2"
    client.send(b"secret")
    assert client.read(6) == b"answer"
    serving.join(PATIENCE_SECONDS)
    assert said == [b"secret"]
    assert running.next_line()["tls"] is None

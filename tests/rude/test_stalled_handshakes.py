"""TLS that stalls at each of its steps, and connects that say nothing at all: none holds anything for long."""

import os

import pytest

from tests.harness import HandTime, Relay
from tests.rude.scene import GET, HERE, PLAIN, TLS_1_2, TLS_1_3
from tests.rude.tls_by_hand import TlsByHand
from tests.tls import Authority

VERSIONS = pytest.mark.parametrize("carrier", [TLS_1_2, TLS_1_3])
PUMPS = pytest.mark.parametrize("pump", ["reactor", "native"])


def part_of_hello(size: int):
    def stall(client: TlsByHand) -> None:
        client.wire.send(client.step()[:size])

    return stall


def hello_but_its_last_byte(client: TlsByHand) -> None:
    client.wire.send(client.step()[:-1])


def hello_then_nothing(client: TlsByHand) -> None:
    client.wire.send(client.step())
    client.wire.socket.recv(5)


def answer_read_then_nothing(client: TlsByHand) -> None:
    """Everything that the relay says first is read and understood, and not answered."""
    client.wire.send(client.step())
    client.listen()
    client.step()


def half_of_the_last_message(client: TlsByHand) -> None:
    last = client.last_flight()
    client.wire.send(last[: len(last) // 2])


def all_but_the_last_byte(client: TlsByHand) -> None:
    client.wire.send(client.last_flight()[:-1])


STALLS = [
    pytest.param(part_of_hello(0), id="nothing"),
    pytest.param(part_of_hello(3), id="half a record header"),
    pytest.param(part_of_hello(5), id="a record header"),
    pytest.param(part_of_hello(100), id="half a ClientHello"),
    hello_but_its_last_byte,
    hello_then_nothing,
    answer_read_then_nothing,
    half_of_the_last_message,
    all_but_the_last_byte,
]


@PUMPS
@VERSIONS
@pytest.mark.parametrize("stall", STALLS)
def test_a_handshake_that_stalls_at_any_step_is_given_up(scene, upstream, carrier, stall, pump):
    running = scene.open(carrier, more=f'pump = "{pump}"\n')
    timers = scene.over.timers
    client = scene.by_hand(carrier)
    stall(client)
    running.settle()
    scene.over.passes(9.9)
    assert running.sessions == 1
    scene.over.passes(0.2)
    line = running.line(event="failed")
    assert (line["outcome"], line["tls"]) == ("tls-timeout", None)
    assert client.wire.was_reset()
    assert running.sessions == 0
    assert scene.over.timers == timers, "more than the relay's own"
    assert upstream.nobody_came()


@VERSIONS
def test_a_handshake_that_is_done_in_the_last_moment_is_done(scene, upstream, carrier):
    scene.open(carrier)
    client = scene.by_hand(carrier)
    last = client.last_flight()
    scene.over.passes(9.9)
    client.wire.send(last)
    client.hear_the_end()
    scene.wait_until_secured()
    client.wire.send(client.seal(HERE))
    scene.over.passes(9)
    client.read_until(b"here")


def layer4(upstream, authority: Authority | None) -> str:
    tls = f"tls = [{authority.issue('localhost').toml}]\n" if authority else ""
    return (
        f'[[listen]]\naddress = "127.0.0.1:0"\nmode = "tcp"\nupstream = "raw"\n{tls}'
        f'[[upstream]]\nname = "raw"\nservers = ["{upstream.address}"]\n'
    )


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"], ids=["nothing", "a little"])
def test_a_stalled_handshake_at_layer_4_dials_nobody(relay, upstream, tmp_path, sent):
    over = HandTime()
    running = relay(layer4(upstream, Authority(tmp_path)), over)
    client = running.connect()
    client.send(sent)
    running.settle()
    over.passes(10)
    assert running.line(event="failed")["outcome"] == "tls-timeout"
    assert client.was_reset()
    assert upstream.nobody_came()


def test_a_silent_connect_at_layer_4_is_a_tunnel_and_idle_after_tunnel_idle(relay, upstream):
    over = HandTime()
    running = relay('pump = "reactor"\n' + layer4(upstream, None), over)
    client = running.connect()
    server = upstream.accept()
    running.line(event="open")
    over.passes(3599)
    assert running.sessions == 1
    over.passes(2)
    assert running.line(event="close")["outcome"] == "idle"
    assert (client.read_all(), server.read_all()) == (b"", b"")


def everybody_is_let_go(running: Relay, over: HandTime, count: int, seconds: float) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    clients = [running.connect() for _ in range(count)]
    while running.sessions < count:
        pass
    over.passes(seconds)
    assert running.sessions == 0
    for client in clients:
        client.ending()
        client.close()
    running.forget_clients()
    running.settle()
    # The relay's ends are gone as well as those of this test.
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.mark.parametrize("carrier", [PLAIN, TLS_1_3])
def test_five_hundred_silent_connects_hold_nothing_after_their_time(scene, carrier):
    everybody_is_let_go(scene.open(carrier), scene.over, 500, 10)


def test_silent_connects_do_not_keep_others_out_for_longer_than_their_time(scene):
    running = scene.open(more="[limits]\nconnections = 20\n")
    silent = [running.connect() for _ in range(20)]
    while running.sessions < 20:
        pass
    assert running.connect().ending() == b""
    scene.over.passes(10)
    client = running.connect()
    client.send(HERE)
    client.read_until(b"here")
    assert [one.ending() for one in silent] == [b""] * 20


@pytest.mark.parametrize("carrier", [PLAIN, TLS_1_2, TLS_1_3])
def test_a_connect_that_says_nothing_behind_a_kept_connection_is_let_go_in_order(scene, upstream, carrier):
    running = scene.open(carrier)
    client = scene.client(carrier)
    server = scene.served(client)
    scene.over.passes(74)
    assert running.sessions == 1
    # A second request on the same connection begins the time anew.
    client.send(GET)
    assert server.read_head()
    server.send(b"HTTP/1.1 204 No\r\n\r\n")
    client.read_head()
    running.settle()
    scene.over.passes(74)
    assert running.sessions == 1
    scene.over.passes(1)
    assert client.read_all() == b"", "no orderly end"
    assert server.read_all() == b"", "the upstream's connection is given back in order"
    assert running.sessions == 0

"""The demo as a whole: its settings, its upstream's address, what it tells a person, and its service."""

import os
import shlex
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from wsrelay.config.settings import Certificate, Mode, TcpAddress, ToUpstream
from wsrelay.control import demo
from wsrelay.control.demo import DemoService, Ports, banner, settings, start_upstream, upstream_address

CERTIFICATE = Certificate(Path("/tmp/a folder/demo-certificate.pem"), Path("/tmp/a folder/demo-key.pem"))


def test_the_demo_listens_on_loopback_only_on_the_promised_ports(tmp_path: Path) -> None:
    listeners = settings(tmp_path, TcpAddress("127.0.0.1", 9)).listeners
    assert [str(listener.address) for listener in listeners] == ["127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:8444"]
    assert [listener.mode for listener in listeners] == [Mode.HTTP, Mode.HTTP, Mode.TCP]
    assert [bool(listener.tls) for listener in listeners] == [False, True, False]


def test_other_ports_can_be_chosen(tmp_path: Path) -> None:
    listeners = settings(tmp_path, TcpAddress("127.0.0.1", 9), Ports(0, 0, 0)).listeners
    assert [str(listener.address) for listener in listeners] == ["127.0.0.1:0"] * 3
    assert len({listener.name for listener in listeners}) == 3


def test_everything_leads_to_the_one_upstream(tmp_path: Path) -> None:
    address = upstream_address(tmp_path)
    made = settings(tmp_path, address)
    (group,) = made.upstreams
    assert group.servers == (address,)
    assert made.listeners[2].upstream == group.name
    assert {route.path.text: route.action for route in made.routes} == {
        b"/": ToUpstream(group.name),
        b"/wss": ToUpstream(group.name),
    }


def test_an_end_is_quick(tmp_path: Path) -> None:
    assert settings(tmp_path, TcpAddress("127.0.0.1", 9)).timeouts.drain == 1.0


def test_the_certificate_is_made_where_the_settings_say(tmp_path: Path) -> None:
    (certificate,) = settings(tmp_path, TcpAddress("127.0.0.1", 9)).listeners[1].tls
    assert certificate.chain.parent == tmp_path
    assert stat.S_IMODE(certificate.key.stat().st_mode) == 0o600


def test_the_upstream_listens_on_a_private_unix_socket(tmp_path: Path) -> None:
    reactor = MemoryReactorClock()
    start_upstream(reactor, upstream_address(tmp_path))
    ((path, factory, _, mode, _),) = reactor.unixServers
    assert (path, mode) == (str(tmp_path / "upstream.sock"), 0o600)
    assert factory.buildProtocol(None) is not factory.buildProtocol(None)


def test_the_upstream_can_listen_on_a_loopback_port_too() -> None:
    reactor = MemoryReactorClock()
    start_upstream(reactor, TcpAddress("127.0.0.1", 0))
    ((port, _, _, interface),) = reactor.tcpServers
    assert (port, interface) == (0, "127.0.0.1")


def test_the_banner_names_three_addresses_and_a_command_for_each() -> None:
    text = banner(Ports(1080, 1443, 1444), CERTIFICATE)
    for address in ("https://localhost:1443/", "http://localhost:1080/", "http://localhost:1444/"):
        assert address in text
        assert f"{address}head" in text
    assert max(len(line) for line in text.splitlines() if "Sec-WebSocket" not in line and "SSL_CERT" not in line) < 120


def websocket_commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if "/wss" in line]


def test_the_websocket_commands_trust_the_demo_s_own_certificate() -> None:
    secure, plain, layer4 = websocket_commands(banner(Ports(), CERTIFICATE))
    assert secure[0] == f"SSL_CERT_FILE={CERTIFICATE.chain}"
    assert secure[-3:] == ["-m", "websockets", "wss://localhost:8443/wss"]
    assert plain[-1] == "ws://localhost:8080/wss"
    assert layer4[-1] == "ws://localhost:8444/wss"


def test_without_the_websockets_program_the_commands_need_only_curl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    commands = websocket_commands(banner(Ports(), CERTIFICATE))
    assert [command[0] for command in commands] == ["curl"] * 3
    assert [command[-1] for command in commands] == [
        "https://localhost:8443/wss",
        "http://localhost:8080/wss",
        "http://localhost:8444/wss",
    ]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[DemoService, list[str]]]:
    """A demo on ports of the system's choice, and what it said."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said: list[str] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    yield DemoService(MemoryReactorClock(), Ports(0, 0, 0), said.append), said
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_service_says_what_to_try_with_the_ports_it_got(service: tuple[DemoService, list[str]]) -> None:
    demo_service, said = service
    demo_service.privilegedStartService()
    assert said == []
    demo_service.startService()
    assert demo_service.relay is not None
    ports = [int(listening.name.rpartition(":")[2]) for listening in demo_service.relay.listening]
    assert all(ports)
    assert all(f"localhost:{port}/" in said[0] for port in ports)
    demo_service.stopService()


def test_the_service_leaves_nothing_behind(service: tuple[DemoService, list[str]], tmp_path: Path) -> None:
    demo_service, _ = service
    demo_service.startService()
    (folder,) = tmp_path.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(os.listdir(folder)) == ["demo-certificate.pem", "demo-key.pem"]
    stopped: list[object] = []
    demo_service.stopService().addBoth(stopped.append)
    assert stopped == [None]
    assert list(tmp_path.iterdir()) == []

"""Addresses that clients come to: binding them, saying why not, and accepting whatever happens."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from twisted.python.systemd import ListenFDs

from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, Wire, http, raw_server
from wsrelay.config.settings import ListenAddress, SystemdAddress, TcpAddress, UnixAddress
from wsrelay.net.listening import CannotListen, bind

ROOT = Path(__file__).resolve().parent.parent.parent
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOTHING = ListenFDs([], [])
RESPOND = """
[[listen]]
address = "%s"
[[route]]
path = "/"
respond = { body = "fine" }
"""


@pytest.fixture
def bound() -> Iterator[Callable[..., socket.socket]]:
    """Bind an address, until the end of the test."""
    with ExitStack() as opened:
        yield lambda address, inherited=NOTHING: opened.enter_context(bind(address, inherited))


def why_not(address: ListenAddress, inherited: ListenFDs = NOTHING) -> str:
    with pytest.raises(CannotListen) as caught:
        bind(address, inherited).close()
    return str(caught.value)


def test_address_in_use_is_named_with_its_cause(bound):
    port = bound(TcpAddress("127.0.0.1", 0)).getsockname()[1]
    text = why_not(TcpAddress("127.0.0.1", port))
    assert text.startswith(f"cannot listen on 127.0.0.1:{port}: Address already in use")


def test_address_of_another_machine_is_named_with_its_cause():
    assert "cannot listen on 203.0.113.1:443: Cannot assign requested address" in why_not(
        TcpAddress("203.0.113.1", 443)
    )


def test_both_families_may_use_one_port(bound):
    port = bound(TcpAddress("0.0.0.0", 0)).getsockname()[1]
    assert bound(TcpAddress("::", port)).getsockname()[1] == port


def test_stale_socket_file_is_replaced(bound, tmp_path):
    path = str(tmp_path / "relay.sock")
    with socket.socket(socket.AF_UNIX) as before:
        before.bind(path)
        before.listen()
    listening = bound(UnixAddress(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert listening.getsockname() == path


def test_socket_file_in_use_is_left_alone(bound, tmp_path):
    path = str(tmp_path / "relay.sock")
    bound(UnixAddress(path))
    assert f"cannot listen on unix:{path}: Address already in use" in why_not(UnixAddress(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_busy_server_on_a_socket_file_is_not_waited_for(tmp_path):
    """Its queue is full: a connect that waits would keep us from starting."""
    path = str(tmp_path / "relay.sock")
    with raw_server(family=socket.AF_UNIX, name=path, backlog=0), socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        assert "Address already in use" in why_not(UnixAddress(path))
    assert Path(path).exists()


def test_other_files_are_not_removed(tmp_path):
    path = tmp_path / "relay.sock"
    path.write_text("precious")
    assert f"cannot listen on unix:{path}: " in why_not(UnixAddress(str(path)))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["missing/relay.sock", "x" * 200])
def test_path_that_cannot_be_is_named_with_its_cause(tmp_path, name):
    text = why_not(UnixAddress(f"{tmp_path}/{name}"))
    assert text.startswith(f"cannot listen on unix:{tmp_path}/{name}: ")
    assert "No such file" in text or "too long" in text


def test_socket_of_systemd_is_found_by_its_name(bound):
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        inherited = ListenFDs([first.fileno(), second.fileno()], ["plain", "secure"])
        found = bound(SystemdAddress("secure"), inherited)
        assert found.getsockname() == second.getsockname()
        assert not found.getblocking()


def test_two_sockets_of_systemd_with_one_name_are_refused_rather_than_one_of_them_forgotten():
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        inherited = ListenFDs([first.fileno(), second.fileno()], ["web", "web"])
        assert "two sockets of one name" in why_not(SystemdAddress("web"), inherited)


def test_socket_that_systemd_has_not_passed_is_named_beside_those_it_has():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        text = why_not(SystemdAddress("secure"), ListenFDs([listening.fileno()], ["plain"]))
    assert "systemd:secure" in text
    assert "plain" in text


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_socket_of_systemd_that_does_not_listen_is_refused(kind):
    with socket.socket(socket.AF_INET, kind) as wrong:
        wrong.bind(("127.0.0.1", 0))
        assert "systemd:web" in why_not(SystemdAddress("web"), ListenFDs([wrong.fileno()], ["web"]))


def test_start_fails_where_one_address_cannot_be_had(relay, bound, logged, capfd):
    port = bound(TcpAddress("127.0.0.1", 0)).getsockname()[1]
    with pytest.raises(SystemExit) as caught:
        relay(RESPOND % "127.0.0.1:0" + f'[[listen]]\naddress = "127.0.0.1:{port}"')
    assert f"127.0.0.1:{port}" in str(caught.value.code)
    logged[:] = [event for event in logged if f"127.0.0.1:{port}" not in str(event.get("text"))]


def test_unix_listener_serves_says_so_and_takes_its_file_away(relay, tmp_path):
    path = str(tmp_path / "relay.sock")
    running = relay(RESPOND % f"unix:{path}")
    client = running.connect_unix(path)
    client.send(GET)
    assert client.read_until(b"fine").startswith(b"HTTP/1.1 200 ")
    line = running.next_line()
    assert (line["client"], line["real_ip"], line["listener"]) == ("unix:", "unix:", f"unix:{path}")
    client.close()
    running.stop()
    assert not os.path.exists(path)


def test_over_the_limit_clients_are_closed_at_once_until_there_is_room(relay, upstream):
    running = relay(http(upstream, more="[limits]\nconnections = 2"))
    first, second = running.connect(), running.connect()
    second.send(UPGRADE)
    server = upstream.accept()
    server.read_head()
    server.send(SWITCHED)
    second.read_head()  # a tunnel counts as well
    running.settle()
    third = running.connect()
    assert third.ending() == b""
    assert running.line(event="failed")["outcome"] == "over-limit"
    first.close()
    running.settle()
    fourth = running.connect()
    fourth.send(GET)
    upstream.accept().read_head()


def test_many_clients_at_once_are_all_accepted(relay):
    """More than are accepted in one turn of the reactor."""
    running = relay(RESPOND % "127.0.0.1:0")
    clients = [running.connect() for _ in range(200)]
    for client in clients:
        client.send(GET)
    for client in clients:
        assert client.read_until(b"fine")


def test_running_out_of_descriptors_is_survived(upstream):
    """In a process of its own, which may have 40: those it serves go on, the others wait, and then it is their turn."""
    command = f"ulimit -n 40; exec {sys.executable} -m twisted --log-format text wsrelay --listen 127.0.0.1:0"
    process = subprocess.Popen(
        ["sh", "-c", f"{command} --upstream {upstream.address}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    waiting: list[Wire] = []
    try:
        port = int(said(process, "listening on 127.0.0.1:").partition("listening on 127.0.0.1:")[2].split()[0])
        served = Wire(socket.create_connection(("127.0.0.1", port)))
        served.send(GET)
        server = upstream.accept()
        server.read_head()
        server.send(OK)
        assert served.read(len(OK)) == OK
        waiting.extend(Wire(socket.create_connection(("127.0.0.1", port))) for _ in range(60))
        assert "Too many open files" in said(process, "no connection can be accepted")
        served.send(GET)
        server.read_head()
        server.send(OK)
        assert served.read(len(OK)) == OK
        for wire in waiting[:-1]:
            wire.close()
        said(process, "accepting on 127.0.0.1")
        waiting[-1].send(GET)
        last = upstream.accept()
        last.read_head()
        last.send(OK)
        assert waiting[-1].read(len(OK)) == OK
        served.close()
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)
        for wire in waiting:
            wire.close()


def said(process: subprocess.Popen[str], text: str) -> str:
    """Wait for a line of a process with this text."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"the process ended without saying {text!r}:\n" + "".join(seen))

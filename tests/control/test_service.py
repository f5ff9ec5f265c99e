"""The service as a process: how it starts, how it refuses to start, what signals do, how it ends."""

import contextlib
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.control.processes import CONFIG, FOREGROUND, RUNNERS, Config, Run
from tests.harness import PATIENCE_SECONDS, SWITCHED, UPGRADE, RawServer, Wire
from tests.running import TWISTD, Daemon, Running, environment
from tests.tls import Authority
from wsrelay.control.pumps import cores


def own_answer(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connected:
        client = Wire(connected)
        client.send(b"GET /own HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        return client.read_all()


def tunnel(process: Running, port: int, upstream: RawServer) -> tuple[Wire, Wire]:
    """An open tunnel: the client's end and the upstream's."""
    client = process.connect(port)
    client.send(UPGRADE)
    far = upstream.accept()
    far.read_head()
    far.send(SWITCHED)
    client.read_head()
    return client, far


def echoes(client: Wire, far: Wire) -> bool:
    client.send(b"there")
    far.send(far.read(5)[::-1])
    return client.read(5) == b"ereht"


# Start.


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS.keys())
def test_a_request_is_served(run: Run, config: Config, runner: list[str]) -> None:
    process = run([*runner, "wsrelay", "--config", config()])
    assert own_answer(process.port()).endswith(b"\r\n\r\nhere")
    process.signal(signal.SIGTERM)
    assert process.ended() == -signal.SIGTERM
    assert not any("Traceback" in line for line in process.seen)


def test_a_daemon_serves_and_stops_on_sigterm(run: Run, config: Config, tmp_path: Path) -> None:
    pidfile, logfile = tmp_path / "twistd.pid", tmp_path / "twistd.log"
    parent = run([*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}", "wsrelay", "--config", config()])
    assert parent.ended() == 0, parent.seen
    daemon = Daemon(pidfile)
    try:
        # The parent has waited for the start, so the line is there.
        (told,) = [line for line in logfile.read_text().splitlines() if "listening on" in line]
        assert own_answer(int(told.rpartition(":")[2].split()[0])).endswith(b"here")
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGTERM)
        assert daemon.ended()
        assert "Traceback" not in logfile.read_text()
        assert not pidfile.exists()
    finally:
        daemon.dispose()


def test_a_start_prints_one_line_per_listener_and_the_pump(run: Run, config: Config, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost").toml
    more = f"""
[[listen]]
name = "secure"
address = "127.0.0.1:0"
tls = [{issued}]
[[listen]]
name = "four"
address = "127.0.0.1:0"
mode = "tcp"
upstream = "app"
[[listen]]
name = "four-secure"
address = "127.0.0.1:0"
mode = "tcp"
upstream = "app"
tls = [{issued}]
[[listen]]
name = "redirecting"
address = "127.0.0.1:0"
redirect = "https"
[[listen]]
address = "unix:relay.sock"
"""
    process = run([*FOREGROUND, "wsrelay", "--config", config(CONFIG + more)])
    port = process.port()
    process.line("pump")
    # Twisted takes SIGTERM over when the reactor runs, which an answer proves.
    own_answer(port)
    kinds = [line.partition("(")[2].rstrip(")") for line in process.seen if "listening on" in line]
    assert kinds == [
        "http and ws",
        "https and wss",
        "layer 4",
        "layer 4, TLS ends here",
        "http, redirects to https",
        "http and ws",
    ]
    assert f"listening on unix:{tmp_path}/relay.sock" in "\n".join(process.seen)
    assert sum("pump" in line for line in process.seen) == 1
    process.signal(signal.SIGTERM)
    process.ended()
    assert not (tmp_path / "relay.sock").exists()


# Starts that fail.


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS.keys())
def test_an_address_that_is_taken_fails_the_start_in_one_line(
    run: Run, config: Config, upstream: RawServer, runner: list[str], tmp_path: Path
) -> None:
    first = '[[listen]]\naddress = "unix:first.sock"\n[[listen]]'
    text = CONFIG.replace("[[listen]]", first).replace("127.0.0.1:0", upstream.address)
    process = run([*runner, "wsrelay", "--config", config(text)])
    assert process.ended() == 1
    expected = f"cannot listen on {upstream.address}: Address already in use"
    assert sum(f"wsrelay: {expected}" in line for line in process.seen) == 1, process.seen
    assert not any("Traceback" in line for line in process.seen)
    assert not (tmp_path / "first.sock").exists()


def test_a_daemon_that_cannot_start_says_so_to_whoever_started_it(
    config: Config, upstream: RawServer, tmp_path: Path
) -> None:
    pidfile, logfile = tmp_path / "twistd.pid", tmp_path / "twistd.log"
    text = CONFIG.replace("127.0.0.1:0", upstream.address)
    done = subprocess.run(
        [*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}", "wsrelay", "--config", config(text)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"cannot listen on {upstream.address}" in done.stderr
    assert f"cannot listen on {upstream.address}: Address already in use" in logfile.read_text()
    assert "Traceback" not in logfile.read_text()
    # It has told its parent before it removes the file.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        daemon = Daemon(pidfile)
        daemon.ended()
        daemon.dispose()
    assert not pidfile.exists()


def test_an_access_log_that_cannot_be_opened_fails_the_start(run: Run, config: Config, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    text = CONFIG.replace('"off"', f'"{tmp_path}/loop"')
    process = run([*FOREGROUND, "wsrelay", "--config", config(text)])
    assert process.ended() == 1
    assert any("wsrelay: " in line and "/loop" in line for line in process.seen)
    assert not any("Traceback" in line for line in process.seen)


# Signals.


def test_sighup_is_one_line_and_no_harm(run: Run, config: Config, upstream: RawServer) -> None:
    process = run([*FOREGROUND, "wsrelay", "--config", config()])
    port = process.port()
    client, far = tunnel(process, port, upstream)
    process.signal(signal.SIGHUP)
    process.line("SIGHUP: .*cannot reload")
    assert echoes(client, far)
    assert own_answer(port).endswith(b"here")


def test_sighup_reopens_the_access_log(run: Run, config: Config, tmp_path: Path) -> None:
    log, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    process = run([*FOREGROUND, "wsrelay", "--config", config(CONFIG.replace('"off"', f'"{log}"'))])
    port = process.port()
    own_answer(port)
    log.rename(rotated)
    process.signal(signal.SIGHUP)
    process.line("SIGHUP: the access log is reopened")
    own_answer(port)
    assert [len(file.read_text().splitlines()) for file in (rotated, log)] == [1, 1]


@pytest.mark.parametrize("hard", [300, 15_000])
def test_a_descriptor_limit_is_raised_as_far_as_it_goes_and_a_lower_one_named(
    run: Run, config: Config, hard: int
) -> None:
    limited = ["/bin/sh", "-c", f'ulimit -Sn 256; ulimit -Hn {hard}; exec "$@"', "sh"]
    process = run([*limited, *FOREGROUND, "wsrelay", "--config", config(CONFIG + "[limits]\nconnections = 1000\n")])
    process.port()
    soft = Path(f"/proc/{process.pid}/limits").read_text().partition("Max open files")[2].split()[0]
    wanted = 2064 + 68 * cores()  # two a session and some more, and what each of the native threads may need
    warned = any(f"limits.connections = 1000 may need {wanted} descriptors" in line for line in process.seen)
    assert (int(soft), warned) == ((min(wanted, hard), wanted > hard))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS.keys())
def test_a_tunnel_may_go_on_after_the_signal_and_the_process_ends_with_it(
    run: Run, config: Config, upstream: RawServer, runner: list[str], number: signal.Signals
) -> None:
    process = run([*runner, "wsrelay", "--config", config()])
    port = process.port()
    client, far = tunnel(process, port, upstream)
    process.signal(number)
    process.line("1 session.* 30 s to end")
    assert echoes(client, far)
    with pytest.raises(ConnectionRefusedError):
        process.connect(port)
    client.finish()
    assert far.read_all() == b""
    far.close()
    assert process.ended() == -number


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_everything_at_once(
    run: Run, config: Config, upstream: RawServer, second: signal.Signals
) -> None:
    process = run([*FOREGROUND, "wsrelay", "--config", config(timeouts='drain = "1h"')])
    client, far = tunnel(process, process.port(), upstream)
    process.signal(signal.SIGTERM)
    process.line("to end")
    process.signal(second)
    assert process.ended() == -signal.SIGTERM
    assert not client.was_reset()
    assert not far.was_reset()


def test_the_end_of_the_window_closes_tunnels(run: Run, config: Config, upstream: RawServer) -> None:
    process = run([*FOREGROUND, "wsrelay", "--config", config(timeouts="drain = 0.1")])
    client, far = tunnel(process, process.port(), upstream)
    process.signal(signal.SIGTERM)
    assert client.read_all() == b""
    assert far.read_all() == b""
    assert process.ended() == -signal.SIGTERM


def test_a_request_under_way_is_answered_before_the_end(run: Run, config: Config, upstream: RawServer) -> None:
    process = run([*FOREGROUND, "wsrelay", "--config", config()])
    client = process.connect(process.port())
    client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    far = upstream.accept()
    far.read_head()
    process.signal(signal.SIGTERM)
    process.line("to end")
    far.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
    answer = client.read_all()
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"done")
    client.close()
    assert process.ended() == -signal.SIGTERM


def test_an_idle_client_does_not_hold_up_the_end(run: Run, config: Config) -> None:
    process = run([*FOREGROUND, "wsrelay", "--config", config(timeouts='drain = "1h"')])
    port = process.port()
    _, kept = process.connect(port), process.connect(port)
    kept.send(b"GET /own HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert kept.read_until(b"here")
    process.signal(signal.SIGTERM)
    assert process.ended() == -signal.SIGTERM


def test_ctrl_c_ends_the_demo_although_a_tunnel_is_open(run: Run, tmp_path: Path) -> None:
    application = tmp_path / "demo.tac"
    application.write_text("""
from twisted.application.service import Application
from twisted.internet import reactor
from wsrelay.control.demo import DemoService, Ports
application = Application("demo")
DemoService(reactor, Ports(0, 0, 0)).setServiceParent(application)
""")
    process = run([*FOREGROUND, "-o", "-y", str(application)])
    client = process.connect(process.port())
    process.line("wsrelay demo")
    client.send(UPGRADE)
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    process.signal(signal.SIGINT)
    assert process.ended() == -signal.SIGINT
    assert not any("Traceback" in line for line in process.seen)

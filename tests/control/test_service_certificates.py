"""The service as a process, and its certificates: what a start says of them, and what SIGHUP does with them."""

import signal
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.logger import LogEvent, LogLevel

from tests.control.processes import CONFIG, FOREGROUND, RUNNERS, Config, Run
from tests.harness import RawServer, in_reactor
from tests.tls import Authority, Client, context
from wsrelay.config import load
from wsrelay.control.service import CannotStart, RelayService

SECURE = CONFIG.replace('"127.0.0.1:0"', '"127.0.0.1:0"\nname = "secure"\ntls = [ISSUED]')


# The start.


def test_a_start_says_what_stands_before_http(run: Run, config: Config, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost").toml
    listeners = {
        "accept_proxy = true": "http and ws, behind a PROXY line",
        f"tls = [{issued}]\naccept_proxy = true": "https and wss, behind a PROXY line",
        f'tls = [{issued}]\nsni = {{ "a.example" = "app" }}': "https and wss, some names and protocols passed on",
        'mode = "tcp"\nalpn = { "h2" = "app" }': "layer 4, some names and protocols passed on",
        f'mode = "tcp"\nupstream = "app"\ntls = [{issued}]\nalpn = {{ "h2" = "app" }}\naccept_proxy = true': (
            "layer 4, TLS ends here, behind a PROXY line, some names and protocols passed on"
        ),
    }
    more = "".join(
        f'[[listen]]\nname = "{number}"\naddress = "127.0.0.1:0"\n{listen}\n' for number, listen in enumerate(listeners)
    )
    text = CONFIG.replace('access_log = "off"', 'access_log = "off"\ntrusted_proxies = ["127.0.0.1"]') + more
    process = run([*FOREGROUND, "wsrelay", "--config", config(text)])
    process.line("pump")
    kinds = [line.partition("(")[2].rstrip(")") for line in process.seen if "listening on" in line]
    assert kinds == ["http and ws", *listeners.values()]


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS.keys())
def test_a_broken_certificate_fails_the_start_in_one_line(
    run: Run, config: Config, runner: list[str], tmp_path: Path
) -> None:
    issued = Authority(tmp_path).issue("localhost")
    issued.key.write_bytes(issued.chain.read_bytes())
    process = run([*runner, "wsrelay", "--config", config(SECURE.replace("ISSUED", issued.toml))])
    assert process.ended() in (1, 64)  # twist has a status of its own for usage
    told = [line for line in process.seen if issued.key.name in line]
    assert len(told) == 1, process.seen
    assert "expected a private key" in told[0]
    assert not any("Traceback" in line or "listening" in line for line in process.seen)


def test_a_certificate_that_breaks_after_the_configuration_was_read_fails_the_start(
    config: Config, upstream: RawServer, tmp_path: Path, logged: list[LogEvent]
) -> None:
    """In one line that names the file; and no listener stays open, not even those before it."""
    issued = Authority(tmp_path).issue("localhost")
    text = SECURE.replace("[[listen]]", '[[listen]]\naddress = "unix:first.sock"\n[[listen]]')
    settings = load.read(Path(config(text.replace("ISSUED", issued.toml)))).settings
    issued.key.write_bytes(b"")
    service = RelayService(settings, reactor)  # type: ignore[arg-type]  # a module, to mypy
    with pytest.raises(CannotStart, match=rf"^wsrelay: .*{issued.key.name}: expected a private key"):
        in_reactor(service.privilegedStartService)
    assert [event["log_level"] for event in logged] == [LogLevel.error]
    assert service.listening == []
    assert not (tmp_path / "first.sock").exists()


# SIGHUP.


def leaf(port: int) -> bytes:
    """What a client is shown, DER."""
    client = Client(port, context())
    client.close()
    return client.chain[0]


def test_sighup_reads_certificates_again_at_once_and_says_what_is_served(
    run: Run, config: Config, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    old, new = authority.issue("localhost"), authority.issue("localhost")
    process = run([*FOREGROUND, "wsrelay", "--config", config(SECURE.replace("ISSUED", old.toml))])
    port = process.port()
    process.signal(signal.SIGHUP)
    # A look at files that have not changed says nothing, so this is the answer to the signal.
    process.line("secure: new handshakes get localhost .ecdsa. until 3000-01-01")
    assert leaf(port) == old.sent[0]
    for source, target in ((new.chain, old.chain), (new.key, old.key)):
        target.write_bytes(source.read_bytes())
    process.signal(signal.SIGHUP)
    process.line("SIGHUP")
    process.line("secure: new handshakes get localhost")
    assert leaf(port) == new.sent[0]


def test_sighup_with_a_broken_certificate_says_so_and_harms_nobody(run: Run, config: Config, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost")
    process = run([*FOREGROUND, "wsrelay", "--config", config(SECURE.replace("ISSUED", issued.toml))])
    port = process.port()
    issued.chain.write_bytes(issued.chain.read_bytes()[:-9])
    process.signal(signal.SIGHUP)
    process.line(rf"secure: certificates cannot be renewed: .*{issued.chain.name}.*; still served: localhost")
    assert leaf(port) == issued.sent[0]
    process.signal(signal.SIGTERM)
    assert process.ended() == -signal.SIGTERM
    assert not any("Traceback" in line for line in process.seen)

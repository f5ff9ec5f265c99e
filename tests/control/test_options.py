"""The options of `twistd wsrelay`: three ways to say what to do, and every mistake told before anything opens."""

import subprocess
from pathlib import Path

import pytest
from twisted.application.service import IService, IServiceMaker
from twisted.plugin import getPlugins
from twisted.python import usage

from tests.harness import PATIENCE_SECONDS
from tests.running import TWISTD, environment
from tests.tls import Authority
from wsrelay import __version__
from wsrelay.config.settings import TcpAddress, ToUpstream
from wsrelay.control.demo import DemoService
from wsrelay.control.options import Options, makeService
from wsrelay.control.service import RelayService

GOOD = '[[listen]]\naddress = "127.0.0.1:0"\n[[route]]\npath = "/"\nrespond = { body = "here" }\n'


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


def mistake(*arguments: str) -> str:
    """What is said of arguments that are wrong."""
    with pytest.raises(usage.UsageError) as caught:
        parsed(*arguments)
    return str(caught.value)


def twistd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TWISTD, "-n", "--pidfile=", "wsrelay", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip


# The three ways.


def test_a_file_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "wsrelay.toml"
    file.write_text(GOOD)
    loaded = parsed("--config", str(file)).loaded
    assert loaded is not None
    assert loaded.settings.listeners[0].address == TcpAddress("127.0.0.1", 0)


def test_the_quick_form_says_what_to_do(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost")
    listen = ["--listen", "127.0.0.1:8443", "--tls-chain", str(issued.chain), "--tls-key", str(issued.key)]
    loaded = parsed(*listen, "--upstream", "127.0.0.1:8888", "--path", "/wss").loaded
    assert loaded is not None
    ((listener,), (group,), (route,)) = loaded.settings.listeners, loaded.settings.upstreams, loaded.settings.routes
    assert (listener.address, listener.tls[0].chain) == (TcpAddress("127.0.0.1", 8443), issued.chain)
    assert group.servers == (TcpAddress("127.0.0.1", 8888),)
    assert (route.path.text, route.action) == (b"/wss", ToUpstream(group.name))


def test_a_port_alone_means_every_address() -> None:
    loaded = parsed("--listen", "8443", "--upstream", "127.0.0.1:8888").loaded
    assert loaded is not None
    assert loaded.settings.listeners[0].address == TcpAddress("0.0.0.0", 8443)


def test_the_demo_needs_nothing_else() -> None:
    assert parsed("--demo").loaded is None


# Mistakes.


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--demo", "--config", "x.toml"],
        ["--demo", "--listen", "443"],
        ["--config", "x.toml", "--listen", "443", "--upstream", "127.0.0.1:1"],
        ["--demo", "--path", "/wss"],
        ["--config", "x.toml", "--tls-key", "k.pem"],
    ],
)
def test_exactly_one_way_is_to_be_chosen(arguments: list[str]) -> None:
    text = mistake(*arguments)
    for option in ("--config", "--listen", "--upstream", "--demo"):
        assert option in text


@pytest.mark.parametrize("arguments", [["--listen", "443"], ["--upstream", "127.0.0.1:1"], ["--path", "/wss"]])
def test_the_quick_form_needs_two_options(arguments: list[str]) -> None:
    assert mistake(*arguments) == "the quick form needs both --listen and --upstream"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--listen", "70000", "--upstream", "127.0.0.1:1"], "--listen: "),
        (["--listen", "8080", "--upstream", "nowhere"], "--upstream: "),
        (["--listen", "8080", "--upstream", "127.0.0.1:1", "--path", "wss"], "--path: "),
        (["--listen", "8080", "--upstream", "127.0.0.1:1", "--tls-key", "key.pem"], "--tls-chain: "),
        (["--listen", "8080", "--upstream", "127.0.0.1:1", "--tls-chain", "chain.pem"], "--tls-key: "),
    ],
)
def test_a_mistake_in_the_quick_form_is_told_under_its_option(arguments: list[str], option: str) -> None:
    assert f"\n{option}" in mistake(*arguments)


def test_every_mistake_of_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "wsrelay.toml"
    file.write_text(GOOD + '[timeouts]\nrequest_haed = "1s"\nlinger = "soon"\n')
    text = mistake("--config", str(file))
    assert f"{file}:7:1: timeouts.request_haed: " in text
    assert f"{file}:8:10: timeouts.linger: " in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere.toml") in mistake("--config", str(tmp_path / "nowhere.toml"))


def test_an_option_that_does_not_exist_is_named() -> None:
    assert "lisen" in mistake("--lisen", "443")


# As a person sees it.


def test_a_bad_file_ends_twistd_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(GOOD.replace("address", "adress"))
    done = twistd(tmp_path, "--config", "bad.toml")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "bad.toml:2:1: listen[0].adress: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [[], ["--demo", "--config", "x.toml"]], ids=["no way", "two ways"])
def test_no_way_and_two_ways_end_twistd_with_status_1(tmp_path: Path, arguments: list[str]) -> None:
    done = twistd(tmp_path, *arguments)
    assert done.returncode == 1
    assert "say one of: --config FILE, or --listen with --upstream, or --demo" in done.stdout + done.stderr


def test_the_version_is_told(tmp_path: Path) -> None:
    done = twistd(tmp_path, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"wsrelay {__version__}")


def test_the_mistake_stands_last_where_it_is_seen(tmp_path: Path) -> None:
    done = twistd(tmp_path, "--listen", "443")
    assert (done.stdout + done.stderr).rstrip().endswith("the quick form needs both --listen and --upstream")


# The service.


def test_twistd_and_twist_find_the_plugin() -> None:
    (maker,) = [each for each in getPlugins(IServiceMaker) if each.tapname == "wsrelay"]
    assert maker.options is Options
    assert maker.makeService is makeService


def test_the_service_is_the_relay_or_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wsrelay.toml"
    file.write_text(GOOD)
    service = makeService(parsed("--config", str(file)))
    assert isinstance(service, RelayService)
    assert IService.providedBy(service)
    assert not service.listening
    assert isinstance(makeService(parsed("--demo")), DemoService)
    assert capsys.readouterr().err == ""


def test_warnings_are_printed_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate without its intermediate is allowed, and the reason for many support cases."""
    issued = Authority(tmp_path).issue("localhost")
    mark = b"-----END CERTIFICATE-----\n"
    issued.chain.write_bytes(issued.chain.read_bytes().partition(mark)[0] + mark)
    file = tmp_path / "wsrelay.toml"
    file.write_text(GOOD.replace("[[route]]", f"tls = [{issued.toml}]\n[[route]]"))
    makeService(parsed("--config", str(file)))
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {file}:3:")
    assert "is missing from the file" in said

"""Which pump a process takes, and what it says where there is no choice."""

import sys
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet import reactor

import wsrelay.pump
from wsrelay.config import load
from wsrelay.config.settings import Pump, Settings
from wsrelay.control import pumps
from wsrelay.net import takeover
from wsrelay.net.handshakes import ReactorHandshakes
from wsrelay.net.splice import ReactorPumpFactory

native_handshakes = pytest.importorskip("wsrelay.pump.handshakes", reason="the native pump was not built")
native_pump = pytest.importorskip("wsrelay.pump.native", reason="the native pump was not built")

CONFIG = """
[[listen]]
address = "127.0.0.1:0"
[[upstream]]
name = "app"
servers = ["127.0.0.1:1"]
[[route]]
path = "/"
upstream = "app"
"""


def settings(folder: Path, relay: str) -> Settings:
    file = folder / "wsrelay.toml"
    file.write_text(f'[relay]\naccess_log = "off"\n{relay}\n{CONFIG}')
    return load.read(file).settings


def choose(folder: Path, relay: str) -> pumps.Movers:
    return pumps.choose(settings(folder, relay), reactor)  # type: ignore[arg-type]  # a module, to mypy


@pytest.mark.parametrize("relay", ["", 'pump = "auto"', 'pump = "native"', "pump_threads = 3"])
def test_the_native_pump_is_taken_where_it_is_there(tmp_path: Path, relay: str) -> None:
    movers = choose(tmp_path, relay)
    assert isinstance(movers.pumps, native_pump.NativePumpFactory)
    assert isinstance(movers.handshakes, native_handshakes.NativeHandshakes)
    assert (movers.pumps.name, movers.why_not_native) == ("native", "")


def test_the_reactor_pump_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    movers = choose(tmp_path, 'pump = "reactor"')
    assert isinstance(movers.pumps, ReactorPumpFactory)
    assert isinstance(movers.handshakes, ReactorHandshakes)
    assert (movers.pumps.name, movers.why_not_native) == ("reactor", "")


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("native", "handshakes", "bell", "_native"):
        monkeypatch.setitem(sys.modules, f"wsrelay.pump.{name}", None)
        monkeypatch.delattr(wsrelay.pump, name)
    return "not built"


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> str:
    """As if pyOpenSSL had another name for what a connection wraps."""
    monkeypatch.setattr(SSL.Connection, "_ssl", property(), raising=False)
    return "has changed"


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> str:
    """As if the C were of another version than the Python over it."""
    monkeypatch.setattr(takeover, "FUNCTIONS", takeover.FUNCTIONS[1:])
    return "install wsrelay again"


@pytest.mark.parametrize("fault", ["not_built", "changed", "stale"])
def test_without_it_auto_takes_the_reactor_and_says_why(
    tmp_path: Path, request: pytest.FixtureRequest, fault: str
) -> None:
    text = request.getfixturevalue(fault)
    movers = choose(tmp_path, "")
    assert movers.pumps.name == "reactor"
    assert text in movers.why_not_native
    assert pumps.missing() == movers.why_not_native


@pytest.mark.parametrize("fault", ["not_built", "changed"])
def test_without_it_native_is_an_error(tmp_path: Path, request: pytest.FixtureRequest, fault: str) -> None:
    text = request.getfixturevalue(fault)
    with pytest.raises(pumps.NoNativePump, match=text):
        choose(tmp_path, 'pump = "native"')


def test_nothing_is_missing_here() -> None:
    assert pumps.missing() == ""


def test_every_kind_of_pump_can_be_asked_for(tmp_path: Path) -> None:
    for kind in Pump:
        assert choose(tmp_path, f'pump = "{kind.value}"').pumps.name in ("native", "reactor")


def test_there_is_at_least_one_core() -> None:
    assert pumps.cores() >= 1

"""The service as a process, and certificates that renew, for each test that wants them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.control.processes import CONFIG, Config, Run
from tests.control.renewed import authority_in
from tests.harness import RawServer
from tests.running import Running
from tests.tls import Authority, Issued


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start processes in `tmp_path`; whatever still runs after the test is ended."""
    started: list[Running] = []

    def start(command: Sequence[str]) -> Running:
        started.append(Running(command, tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.dispose()


@pytest.fixture
def config(tmp_path: Path, upstream: RawServer) -> Config:
    """Write a configuration; its path."""

    def write(text: str = CONFIG, timeouts: str = "") -> str:
        file = tmp_path / "wsrelay.toml"
        file.write_text(text.replace("UPSTREAM", upstream.address).replace("TIMEOUTS", timeouts))
        return str(file)

    return write


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return authority_in(tmp_path / "issued")


@pytest.fixture
def old(authority: Authority) -> Issued:
    return authority.issue("localhost")

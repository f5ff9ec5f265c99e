"""Configurations in a folder of their own, and certificates to name in them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.issuing import issue
from wsrelay.config import load


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the configuration, which is the working directory too: places read `site.toml:1:1`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mistakes(site: Path) -> Callable[[str], list[str]]:
    """Load a text and return its mistakes as an operator sees them; none for a good one."""

    def told(text: str) -> list[str]:
        (site / "site.toml").write_bytes(text.encode())
        try:
            load.read(Path("site.toml"))
        except load.ConfigError as error:
            return [str(mistake) for mistake in error.mistakes]
        return []

    return told


@pytest.fixture
def loaded(site: Path) -> Callable[[str], load.Loaded]:
    """Load a text that is good."""

    def read(text: str) -> load.Loaded:
        (site / "site.toml").write_bytes(text.encode())
        return load.read(Path("site.toml"))

    return read


@pytest.fixture
def pems(site: Path) -> Path:
    """A good certificate in `tls/fullchain.pem` with its key in `tls/privkey.pem`."""
    folder = site / "tls"
    folder.mkdir()
    root = issue("Root")
    middle = issue("Middle", root)
    leaf = issue("example.com", middle, names=("example.com", "www.example.com"))
    (folder / "fullchain.pem").write_bytes(leaf.pem + middle.pem)
    (folder / "privkey.pem").write_bytes(leaf.key_pem)
    return folder

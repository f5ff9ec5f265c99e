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
    """A good certificate in `tls/fullchain.pem` with its key in `tls/privkey.pem`, and what examples name beside it.

    `tls/ca.pem` and `tls/clients.pem` are authorities, `tls/client.pem` and `tls/client.key` a client's certificate.
    """
    folder = site / "tls"
    folder.mkdir()
    root = issue("Root")
    middle = issue("Middle", root)
    leaf = issue("example.com", middle, names=("example.com", "www.example.com"))
    (folder / "fullchain.pem").write_bytes(leaf.pem + middle.pem)
    (folder / "privkey.pem").write_bytes(leaf.key_pem)
    for name in ("ca.pem", "clients.pem"):
        (folder / name).write_bytes(root.pem)
    client = issue("relay", middle, names=("relay.test",))
    (folder / "client.pem").write_bytes(client.pem + middle.pem)
    (folder / "client.key").write_bytes(client.key_pem)
    return folder

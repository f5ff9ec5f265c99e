"""Servers that do not serve, as the tests of the net room have them, and the scene of most tests here."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import RawServer, Relay
from tests.net.conftest import full, nobody
from tests.net.test_session_matrix import world
from tests.rude.scene import Scene

__all__ = ["full", "nobody", "scene", "world"]


@pytest.fixture
def scene(relay: Callable[..., Relay], upstream: RawServer, tmp_path: Path) -> Scene:
    """A relay that is to be started, an upstream played by hand, and time in the test's hands."""
    return Scene(relay, upstream, tmp_path)

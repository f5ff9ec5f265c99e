"""The targets by name, and what of wsrelay each instruments. Imports nothing of wsrelay: that is done under atheris."""

import importlib
from typing import Protocol

CORE = ("wsrelay.core",)
TARGETS = {
    "head": CORE,
    "body": CORE,
    "upgrade": CORE,
    "hopbyhop": CORE,
    "routing": CORE,
    "forwarded": CORE,
    "proxyline": CORE,
    "clienthello": CORE,
    "exchange": (*CORE, "wsrelay.net"),
}


class Target(Protocol):
    """What each module of a target has."""

    SEEDS: tuple[tuple[bytes, str], ...]
    """Choices, and which part of a case goes behind them: an attribute of `seeds.Case`."""

    RARE: tuple[tuple[bytes, str], ...]
    """The same, for the cases of our own only."""

    def check(self, data: bytes) -> None:
        """Assert what must hold for these bytes."""


def load(name: str) -> Target:
    """A target's module."""
    module: Target = importlib.import_module(f"fuzz.{name}")
    return module

"""The finds of finds.toml, as values."""

import tomllib
from pathlib import Path

import attrs


@attrs.frozen
class Find:
    """An input that once broke something."""

    name: str
    target: str
    why: str
    input: bytes


def all_finds() -> list[Find]:
    """Every one, in the order of the file."""
    tables = tomllib.loads(Path(__file__).with_name("finds.toml").read_text())["find"]
    return [Find(one["name"], one["target"], one["why"], one["input"].encode("latin-1")) for one in tables]

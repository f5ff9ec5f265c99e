"""From files or options to `Settings`: the one way in for the start and for `wsrelay check`."""

import os
from pathlib import Path

import attrs

from wsrelay.config import build, includes, on_disk, reach, references, rules, tables
from wsrelay.config.document import Document, Report, Source, Spot
from wsrelay.config.mistakes import CannotRead, ConfigError, KeyPath, Mistake
from wsrelay.config.positions import Marks
from wsrelay.config.settings import Settings

__all__ = ["CannotRead", "ConfigError", "Loaded", "Mistake", "quick", "read"]


@attrs.frozen
class Loaded:
    """A checked configuration, and what is allowed in it but probably not meant."""

    settings: Settings
    warnings: tuple[Mistake, ...] = ()
    """In file order; to be shown to the operator."""


def read(path: Path) -> Loaded:
    """Read a configuration file and whatever it includes.

    Args:
        path: Places in mistakes name the file as it is written here. Every path in the settings comes out absolute.

    Raises:
        CannotRead: The file itself cannot be opened or read.
        ConfigError: With every mistake, in file order; a syntax error comes alone.
    """
    report = Report()
    document = includes.read(path, report)
    return _checked(document, report)


def quick(
    listen: str, upstream: str, chain: str | None = None, key: str | None = None, path: str | None = None
) -> Loaded:
    """Make a configuration of one listener, one upstream and one route from options.

    Args:
        listen: `--listen`: an address, or a port alone, which means every IPv4 address.
        upstream: `--upstream`: the address of one server.
        chain: `--tls-chain`: seen from the working directory, like `key`; both or neither.
        key: `--tls-key`.
        path: `--path`: as in a route; None = `/`.

    Raises:
        ConfigError: With every mistake, each under its option (`--listen: expected …`).
    """
    table: dict[str, object] = {"address": f"0.0.0.0:{listen}" if listen.isdecimal() else listen}
    if chain is not None or key is not None:
        table["tls"] = [{name: file for name, file in (("chain", chain), ("key", key)) if file is not None}]
    document = Document(
        {
            "listen": [table],
            "upstream": [{"name": "upstream", "servers": [upstream]}],
            "route": [{"path": path or "/", "upstream": "upstream"}],
        },
        _option_spots(),
    )
    try:
        loaded = _checked(document, Report())
    except ConfigError as error:
        raise ConfigError(_without_paths(error.mistakes)) from None
    return attrs.evolve(loaded, warnings=_without_paths(loaded.warnings))


def _checked(document: Document, report: Report) -> Loaded:
    found = tables.read(document, report)
    for room in (rules, references, reach, on_disk):
        room.check(found, document, report)
    if report.mistakes:
        raise ConfigError(report.mistakes)
    return Loaded(build.settings(found, document), report.warnings)


_OPTIONS: tuple[tuple[str, tuple[KeyPath, ...]], ...] = (
    ("--listen", ((), ("listen", 0, "address"))),
    ("--tls-chain", (("listen", 0, "tls", 0, "chain"),)),
    ("--tls-key", (("listen", 0, "tls", 0, "key"),)),
    ("--upstream", (("upstream", 0, "servers", 0),)),
    ("--path", (("route", 0, "path"),)),
)


def _option_spots() -> dict[KeyPath, Spot]:
    """Options instead of places in a file; a missing one is told under its own name too."""
    nowhere = Marks((0, 0), (0, 0))
    folder = Path(os.getcwd())
    return {
        path: Spot(Source(option, folder, order), nowhere)
        for order, (option, paths) in enumerate(_OPTIONS)
        for path in paths
    }


def _without_paths(mistakes: tuple[Mistake, ...]) -> tuple[Mistake, ...]:
    return tuple(attrs.evolve(mistake, path="") for mistake in mistakes)

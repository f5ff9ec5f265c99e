"""What is wrong with a configuration, and where: values that people and programs read. Finds nothing itself."""

import json
import re

import attrs

KeyPath = tuple[str | int, ...]
"""The way to a value: keys, and indexes (from 0) into arrays."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@attrs.frozen(order=True)
class Place:
    """A character in a file: `site.toml:12:5`. Lines and columns count from 1, columns in characters."""

    file: str
    """As the operator wrote it; for the quick form the option, such as `--listen`."""
    line: int
    """0 where there is no file, only an option."""
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@attrs.frozen
class Mistake:
    """One thing that is wrong, or (among warnings) that is allowed and probably not meant."""

    text: str
    """What was expected and what was seen; one sentence, without the place."""
    path: str = ""
    """The key, such as `listen[0].tls[1].chain` (indexes from 0); empty where there is none."""
    place: Place | None = None

    def __str__(self) -> str:
        """The line that an operator sees: `site.toml:12:5: timeouts.request_haed: unknown key; …`."""
        return ": ".join(str(part) for part in (self.place, self.path, self.text) if part)


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        mistakes: All of them, in file order; never empty.
    """

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


class CannotRead(Exception):
    """The configuration file itself cannot be read; the text says which and why."""


def written(path: KeyPath) -> str:
    """Write a path as an operator would: `listen[0].tls[1].chain`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text

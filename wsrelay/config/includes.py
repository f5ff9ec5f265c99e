"""Reads a file and whatever it includes into one document: lists are appended, a value set twice is a mistake."""

import glob
import os
import re
import tomllib
from pathlib import Path

from wsrelay.config import positions
from wsrelay.config.document import Document, Report, Source, Spot
from wsrelay.config.mistakes import CannotRead, ConfigError, KeyPath, Mistake, written
from wsrelay.config.positions import Mark, Marks

# 4 MiB are some 30,000 routes; more is not a configuration but a wrong file.
_MAX_BYTES = 4 << 20
# Files that include files that include …: nobody reads deeper than this, and a circle ends.
_MAX_DEPTH = 8
# One file for each customer is a habit; a glob over a home directory is an accident.
_MAX_FILES = 1000
_START: Mark = (1, 1)
_TOMLLIB_PLACE = re.compile(
    r"(?P<text>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)
_INCLUDE = "include"


def read(path: Path, report: Report) -> Document:
    """Read a configuration file with its includes, depth first.

    Args:
        path: As the operator named it; places name it the same way.
        report: Gets what is wrong with includes, and values that are set twice.

    Raises:
        CannotRead: The file itself cannot be read.
        ConfigError: A syntax error, in any of the files: alone, for nothing else can be judged.
    """
    try:
        raw = _contents(path)
    except (OSError, ValueError) as error:
        raise CannotRead(f"{path}: cannot read: {_why(error)}") from error
    tree = _Tree(report)
    tree.add(str(path), path, raw, depth=0)
    return Document(tree.data, tree.spots)


class _Tree:
    """The tree as it grows, one file after the other."""

    def __init__(self, report: Report) -> None:
        self.data: dict[str, object] = {}
        self.spots: dict[KeyPath, Spot] = {}
        self._report = report
        self._sources: dict[str, Source] = {}

    def add(self, label: str, path: Path, raw: bytes, depth: int) -> None:
        # A file name may hold bytes that are no text; places must be printable.
        label = label.encode(errors="replace").decode()
        source = Source(label, Path(os.path.abspath(path)).parent, order=len(self._sources))
        self._sources[os.path.realpath(path)] = source
        data, marks = _parse(source, raw)
        spots = {key: Spot(source, mark) for key, mark in marks.items()}
        patterns = data.pop(_INCLUDE, [])
        self.spots.setdefault((), Spot(source, Marks(_START, _START)))
        _Merge(self.data, self.spots, spots, self._report).merge(data)
        self._include(source, patterns, spots, depth + 1)

    def _include(self, source: Source, patterns: object, spots: dict[KeyPath, Spot], depth: int) -> None:
        if not isinstance(patterns, list):
            self._refuse(spots, (_INCLUDE,), 'expected an array of file names, such as ["conf.d/*.toml"]')
            return
        for position, pattern in enumerate(patterns):
            if not isinstance(pattern, str) or not pattern or "\0" in pattern:
                self._refuse(spots, (_INCLUDE, position), 'expected a file name, such as "conf.d/*.toml"')
                continue
            for name in _names(source.folder, pattern):
                self._include_one(source, name, spots, (_INCLUDE, position), depth)

    def _include_one(self, source: Source, name: str, spots: dict[KeyPath, Spot], path: KeyPath, depth: int) -> None:
        label = os.path.join(os.path.dirname(source.label), name)
        file = source.folder / name
        if before := self._sources.get(os.path.realpath(file)):
            self._refuse(spots, path, f"{before.label} was read already; includes must not form a circle or overlap")
        elif depth > _MAX_DEPTH:
            self._refuse(spots, path, f"{label}: includes go more than {_MAX_DEPTH} files deep")
        elif len(self._sources) >= _MAX_FILES:
            self._refuse(spots, path, f"more than {_MAX_FILES} files are included")
        else:
            try:
                raw = _contents(file)
            except (OSError, ValueError) as error:
                self._refuse(spots, path, f"{label}: cannot read: {_why(error)}")
                return
            self.add(label, file, raw, depth)

    def _refuse(self, spots: dict[KeyPath, Spot], path: KeyPath, text: str) -> None:
        spot = spots[path]
        self._report.mistake_at(spot.source, spot.marks.value, written(path), text)


class _Merge:
    """One file's values laid into the tree, and its places with them."""

    def __init__(
        self, tree: dict[str, object], spots: dict[KeyPath, Spot], new_spots: dict[KeyPath, Spot], report: Report
    ) -> None:
        self._tree = tree
        self._spots = spots
        self._new_spots = new_spots
        self._report = report
        self._shifts: dict[KeyPath, int] = {}  # appended lists, and how many elements stood there before

    def merge(self, new: dict[str, object]) -> None:
        self._tables(self._tree, new, ())
        for path, spot in self._new_spots.items():
            # Keeps the first place of what stands in several files; a value set twice has its first place kept too.
            self._spots.setdefault(self._moved(path), spot)

    def _tables(self, old: dict[str, object], new: dict[str, object], above: KeyPath) -> None:
        for key, value in new.items():
            path = (*above, key)
            if key not in old:
                old[key] = value
                continue
            present = old[key]
            if isinstance(present, dict) and isinstance(value, dict):
                self._tables(present, value, path)
            elif isinstance(present, list) and isinstance(value, list):
                self._shifts[path] = len(present)
                present.extend(value)
            else:
                spot = self._new_spots[path]
                text = f"set twice; first at {self._spots[path].key}"
                self._report.mistake_at(spot.source, spot.marks.key, written(path), text)

    def _moved(self, path: KeyPath) -> KeyPath:
        for depth, part in enumerate(path):
            if isinstance(part, int):
                return (*path[:depth], part + self._shifts.get(path[:depth], 0), *path[depth + 1 :])
        return path


def _names(folder: Path, pattern: str) -> list[str]:
    if glob.has_magic(pattern):
        return sorted(glob.glob(pattern, root_dir=folder, recursive=True))
    return [pattern]


def _contents(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES >> 20} MiB")
    return raw


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _parse(source: Source, raw: bytes) -> tuple[dict[str, object], dict[KeyPath, Marks]]:
    text = _decoded(source, raw)
    try:
        return tomllib.loads(text), positions.index(text)
    except RecursionError:
        raise _syntax(source, _START, "arrays or tables are nested too deeply") from None
    except ValueError as error:
        match = _TOMLLIB_PLACE.fullmatch(str(error))
        if match is None:
            raise _syntax(source, _START, str(error)) from None
        mark = (int(match["line"]), int(match["column"])) if match["line"] else _end(text)
        raise _syntax(source, mark, _sentence(match["text"])) from None


def _decoded(source: Source, raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise _syntax(source, _START, "the file begins with a byte order mark; save it as UTF-8 without one")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        mark = _end(raw[: error.start].decode())
        raise _syntax(source, mark, f"not UTF-8: byte 0x{raw[error.start]:02x}") from None


def _end(text: str) -> Mark:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:]


def _syntax(source: Source, mark: Mark, text: str) -> ConfigError:
    return ConfigError((Mistake(f"syntax: {text}", place=source.place(mark)),))

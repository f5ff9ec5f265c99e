"""One configuration tree, the place of every part of it, and the report on what is wrong there."""

from collections.abc import Mapping
from pathlib import Path

import attrs

from wsrelay.config.mistakes import KeyPath, Mistake, Place, written
from wsrelay.config.positions import Mark, Marks


@attrs.frozen
class Source:
    """A file that the tree was read from, or the command line."""

    label: str
    """As mistakes name it."""
    folder: Path
    """Absolute; what relative paths in the file start from."""
    order: int
    """0 for the first file read: mistakes are told in this order."""

    def place(self, mark: Mark) -> Place:
        """A place in this file."""
        return Place(self.label, *mark)


@attrs.frozen
class Spot:
    """Where a part of the tree was written."""

    source: Source
    marks: Marks

    @property
    def key(self) -> Place:
        """Where the key begins."""
        return self.source.place(self.marks.key)

    @property
    def value(self) -> Place:
        """Where the value begins."""
        return self.source.place(self.marks.value)


@attrs.frozen
class Document:
    """A tree merged from one or more sources."""

    data: Mapping[str, object]
    spots: Mapping[KeyPath, Spot]
    """Of every part of `data`, and of () for the whole."""

    def known(self, path: KeyPath) -> KeyPath:
        """The longest beginning of `path` that was written down."""
        while path not in self.spots:
            path = path[:-1]
        return path

    def spot(self, path: KeyPath) -> Spot:
        """Where `path` was written, or what should contain it."""
        return self.spots[self.known(path)]

    def absolute(self, path: KeyPath, name: str) -> Path:
        """A file name in the value at `path`, seen from the folder of the file that says it."""
        return self.spot(path).source.folder / name

    def rows(self, key: str) -> list[object]:
        """The elements of a top-level array; none if it is no array."""
        value = self.data.get(key)
        return value if isinstance(value, list) else []


class Report:
    """Collects mistakes and warnings, and tells them in file order, each once."""

    def __init__(self) -> None:
        self._mistakes: dict[tuple[int, Place, Mistake], None] = {}
        self._warnings: dict[tuple[int, Place, Mistake], None] = {}

    def mistake(self, document: Document, path: KeyPath, text: str) -> None:
        """A value is wrong, or something is missing from it."""
        spot = document.spot(path)
        self.mistake_at(spot.source, spot.marks.value, written(path), text)

    def wrong_key(self, document: Document, path: KeyPath, text: str) -> None:
        """A key should not be there, whatever its value."""
        spot = document.spot(path)
        self.mistake_at(spot.source, spot.marks.key, written(path), text)

    def mistake_at(self, source: Source, mark: Mark, path: str, text: str) -> None:
        """Something is wrong that is not in a document yet."""
        place = source.place(mark)
        self._mistakes[source.order, place, Mistake(text, path, place)] = None

    def warning(self, document: Document, path: KeyPath, text: str) -> None:
        """A value is allowed and probably not meant."""
        spot = document.spot(path)
        self._warnings[spot.source.order, spot.value, Mistake(text, written(path), spot.value)] = None

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """All mistakes so far, in file order."""
        return _in_order(self._mistakes)

    @property
    def warnings(self) -> tuple[Mistake, ...]:
        """All warnings so far, in file order."""
        return _in_order(self._warnings)


def _in_order(found: Mapping[tuple[int, Place, Mistake], None]) -> tuple[Mistake, ...]:
    return tuple(mistake for _, _, mistake in sorted(found, key=lambda entry: entry[:2]))

"""Where each key and value of a TOML document stands: `tomllib` keeps no positions, so this walks the text again.

Only for text that `tomllib` has accepted: it finds the same keys, and checks no grammar.
"""

import re
import tomllib
from bisect import bisect_right

import attrs

from wsrelay.config.mistakes import KeyPath

Mark = tuple[int, int]
"""Line and column, from 1; the column counts characters, as in tomllib's messages."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*+")
_SPACE = re.compile(r"[ \t]*+")
_KEY = re.compile(r"""(?P<bare>[A-Za-z0-9_-]++)|"(?P<basic>(?:[^"\\\n]|\\.)*+)"|'(?P<literal>[^'\n]*+)'""")
# The two long strings may end in up to five quotation marks, of which two belong to the text (TOML 1.0 'String').
_STRING = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{3,5}'''
    r"""|'''(?:[^']|'{1,2}(?!'))*+'{3,5}"""
    r'''|"(?:[^"\\\n]|\\.)*+"'''
    r"""|'[^'\n]*+'""",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]++")


@attrs.frozen
class Marks:
    """The two ends of interest: for an array element both are the element's start, for a table its header's key."""

    key: Mark
    value: Mark


def index(text: str) -> dict[KeyPath, Marks]:
    """Find every table, key, value and array element of a valid document.

    A table that only dotted keys or deeper headers imply stands where it is first named.

    Raises:
        RecursionError: Arrays are nested hundreds deep; tomllib raises the same.
    """
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.found


class _Walk:
    """One pass over a document; `at` is the offset of what comes next."""

    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, Marks] = {}
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._tables: dict[KeyPath, int] = {}  # arrays of tables, and how many elements each has so far

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> KeyPath:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        *parents, (name, offset) = self._keys()
        path: KeyPath = ()
        for parent, parent_offset in parents:
            path = self._element((*path, parent))
            self._imply(path, parent_offset)
        path = (*path, name)
        marks = Marks(self._mark(offset), self._mark(offset))
        if brackets == 2:
            self.found.setdefault(path, marks)
            self._tables[path] = self._tables.get(path, 0) + 1
            path = self._element(path)
        self.found[path] = marks
        self._at += brackets
        return path

    def _element(self, path: KeyPath) -> KeyPath:
        # A header below an array of tables means its newest element (TOML 1.0 'Array of Tables').
        count = self._tables.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: KeyPath) -> None:
        *parents, (name, offset) = self._keys()
        path = table
        for parent, parent_offset in parents:
            path = (*path, parent)
            self._imply(path, parent_offset)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value((*path, name), self._mark(offset))

    def _imply(self, path: KeyPath, offset: int) -> None:
        if path not in self.found:
            self.found[path] = Marks(self._mark(offset), self._mark(offset))

    def _keys(self) -> list[tuple[str, int]]:
        keys = []
        while True:
            self._skip(_SPACE)
            match = self._take(_KEY)
            keys.append((_name(match), match.start()))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _value(self, path: KeyPath, key: Mark) -> None:
        self.found[path] = Marks(key, self._mark(self._at))
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        position = 0
        while self._another("]"):
            self._value((*path, position), self._mark(self._at))
            position += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._another("}"):
            self._pair(path)

    def _another(self, closing: str) -> bool:
        """Go to the next element, or past the closing bracket."""
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)
        if self._text[self._at] != closing:
            return True
        self._at += 1
        return False

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise AssertionError(f"not the TOML that tomllib reads, at offset {self._at}")
        self._at = match.end()
        return match

    def _mark(self, offset: int) -> Mark:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def _name(match: re.Match[str]) -> str:
    if match["bare"] is not None:
        return match["bare"]
    if match["literal"] is not None:
        return match["literal"]
    basic = match["basic"]
    if "\\" not in basic:
        return basic
    # Escapes are left to the parser that already took them: one reading of them, not two.
    unescaped: str = tomllib.loads(f'name = "{basic}"')["name"]
    return unescaped

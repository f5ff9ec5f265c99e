import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config import positions
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.positions import Mark, Marks

EXAMPLE = Path(__file__).resolve().parents[2] / "conf" / "wsrelay.example.toml"

# No surrogates (TOML has none), no DEL (JSON does not escape it, TOML wants it escaped).
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x7f")
PRINTABLE = st.characters(exclude_categories=["Cs", "Cc"])
KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True) | st.text(CHARACTERS, max_size=5)
SPACES = st.sampled_from(["", " ", "\t", "   "])
COMMENTS = st.text(PRINTABLE, max_size=8).map(lambda text: f"# {text}")
SCALARS = st.sampled_from(
    ["1", "-0.5", "0x1F", "true", "inf", "1979-05-27", "07:32:00", "1979-05-27 07:32:00Z", "1979-05-27T07:32:00-08:00"]
)


class Writer:
    """Writes TOML in many layouts, and notes where it put what."""

    def __init__(self, data: st.DataObject) -> None:
        self.text = ""
        self.expected: dict[KeyPath, Marks] = {}
        self._data = data
        self._newline = self._one_of("\n", "\r\n")

    def _draw(self, strategy: st.SearchStrategy[str]) -> str:
        return self._data.draw(strategy)

    def _one_of(self, *choices: str) -> str:
        return self._draw(st.sampled_from(choices))

    def _count(self, most: int) -> int:
        return self._data.draw(st.integers(0, most))

    def _names(self, most: int) -> list[str]:
        return self._data.draw(st.lists(KEYS, max_size=most, unique=True))

    def mark(self) -> Mark:
        return self.text.count("\n") + 1, len(self.text) - self.text.rfind("\n")

    def space(self) -> None:
        self.text += self._draw(SPACES)

    def end_line(self) -> None:
        self.space()
        for _ in range(1 + self._count(1)):
            self.text += self._one_of("", self._draw(COMMENTS)) + self._newline
        self.space()

    def blank(self) -> None:
        """Between elements of an array: anything that is no element."""
        if self._count(1):
            self.end_line()
        self.space()

    def key(self, name: str) -> Mark:
        mark = self.mark()
        forms = [json.dumps(name, ensure_ascii=False), json.dumps(name)]
        if any(ord(character) > 0xFFFF for character in name):
            forms.pop()  # JSON escapes these as two surrogates
        if re.fullmatch("[A-Za-z0-9_-]+", name):
            forms.append(name)
        if re.fullmatch(r"[^'\x00-\x1f\x7f]*", name):
            forms.append(f"'{name}'")
        self.text += self._one_of(*forms)
        return mark

    def dot(self) -> None:
        self.space()
        self.text += "."
        self.space()

    def pair(self, table: KeyPath, name: str, depth: int) -> None:
        """`name = value`, or `name.b.c = value` with each part noted."""
        path = (*table, name)
        key = self.key(name)
        for part in self._names(2) if depth else []:
            self.expected[path] = Marks(key, key)
            self.dot()
            key = self.key(part)
            path = (*path, part)
        self.space()
        self.text += "="
        self.space()
        self.value(path, key, depth)

    def value(self, path: KeyPath, key: Mark | None, depth: int) -> None:
        mark = self.mark()
        self.expected[path] = Marks(key or mark, mark)
        kind = self._one_of("scalar", "string", *(("array", "table") if depth else ()))
        if kind == "array":
            self.array(path, depth - 1)
        elif kind == "table":
            self.inline_table(path, depth - 1)
        else:
            self.text += self._draw(SCALARS) if kind == "scalar" else self.string()

    def array(self, path: KeyPath, depth: int) -> None:
        self.text += "["
        count = self._count(3)
        for position in range(count):
            self.blank()
            self.value((*path, position), None, depth)
            self.blank()
            self.text += "," if position < count - 1 else self._one_of("", ",")
        self.blank()
        self.text += "]"

    def inline_table(self, path: KeyPath, depth: int) -> None:
        self.text += "{"
        for position, name in enumerate(self._names(3)):
            self.text += "," if position else ""
            self.space()
            self.pair(path, name, depth)
            self.space()
        self.space()
        self.text += "}"

    def string(self) -> str:
        quotes = self._one_of('"', "'", '"""', "'''")
        body = self._draw(st.text(st.sampled_from("ab#=[]{},.\\\"'é聊 "), max_size=8))
        if quotes[0] == "'":
            body = body.replace("'", "" if quotes == "'" else "' ")
        else:
            body = body.replace("\\", "\\\\").replace('"', '\\"' if quotes == '"' else '" ')
        if len(quotes) == 1:
            return quotes + body + quotes
        # Up to two quotation marks may stand before the closing three.
        return quotes + self._one_of("", self._newline) + body + self._newline + quotes[:1] * self._count(2) + quotes

    def pairs(self, table: KeyPath) -> None:
        for name in self._names(3):
            self.pair(table, name, depth=2)
            self.end_line()

    def header(self, path: KeyPath, *, array: bool) -> None:
        self.text += "[[" if array else "["
        self.space()
        names = [part for part in path if isinstance(part, str)]
        for part in names[:-1]:
            self.key(part)
            self.dot()
        key = self.key(names[-1])
        self.space()
        self.text += "]]" if array else "]"
        self.end_line()
        if array:
            self.expected.setdefault(path[:-1], Marks(key, key))
        self.expected[path] = Marks(key, key)

    def document(self) -> None:
        self.end_line()
        self.pairs(())
        names = [name for name in self._names(3) if (name,) not in self.expected]
        for name in names:
            if self._count(1):
                self.header((name,), array=False)
                self.pairs((name,))
                continue
            for element in range(1 + self._count(2)):
                self.header((name, element), array=True)
                self.pairs((name, element))
                below: KeyPath = (name, element, "below")
                if below not in self.expected and self._count(1):
                    self.header(below, array=False)
                    self.pairs(below)


def paths(value: object, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every way into a parsed document."""
    parts: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    for part, inner in parts:
        yield (*above, part)
        yield from paths(inner, (*above, part))


@given(st.data())
def test_every_part_of_a_document_is_found_where_it_was_written(data: st.DataObject) -> None:
    writer = Writer(data)
    writer.document()
    found = positions.index(writer.text)
    assert found == writer.expected
    assert set(found) == set(paths(tomllib.loads(writer.text)))


def test_a_key_is_found_at_its_first_character_and_a_value_too() -> None:
    found = positions.index('[timeouts]\n  "request_head" = "10s" # ten\nlinger.x={ a = 1, b = [ 2,\n\t3 ] }\n')
    assert found == {
        ("timeouts",): Marks((1, 2), (1, 2)),
        ("timeouts", "request_head"): Marks((2, 3), (2, 20)),
        ("timeouts", "linger"): Marks((3, 1), (3, 1)),
        ("timeouts", "linger", "x"): Marks((3, 8), (3, 10)),
        ("timeouts", "linger", "x", "a"): Marks((3, 12), (3, 16)),
        ("timeouts", "linger", "x", "b"): Marks((3, 19), (3, 23)),
        ("timeouts", "linger", "x", "b", 0): Marks((3, 25), (3, 25)),
        ("timeouts", "linger", "x", "b", 1): Marks((4, 2), (4, 2)),
    }


def test_a_header_below_an_array_of_tables_means_its_newest_element() -> None:
    found = positions.index("[[a]]\n[a.b]\n[[a]]\n[a.b]\n[[a.b.c]]\n[[a.b.c]]\nx = 1\n")
    assert found["a", 0, "b"].key == (2, 4)
    assert found["a", 1, "b"].key == (4, 4)
    assert found["a", 1, "b", "c", 1, "x"] == Marks((7, 1), (7, 5))
    assert ("a", 0, "b", "c") not in found


def test_a_table_stands_at_its_own_header_rather_than_where_a_deeper_one_implied_it() -> None:
    assert positions.index("[a.b]\n[a]\n")["a",].key == (2, 2)
    assert positions.index("[a.b]\n")["a",].key == (1, 2)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_are_counted_in_long_strings_too(newline: str) -> None:
    text = newline.join(['a = """', '[x] # "quoted"', '"""""', "b = '''", "'' = 1", "'''", "c = 1"])
    assert positions.index(text)["c",] == Marks((7, 1), (7, 5))


def test_columns_count_characters_and_not_bytes() -> None:
    assert positions.index('"聊天" = "é"')["聊天",] == Marks((1, 1), (1, 8))


def test_the_example_is_found_whole() -> None:
    text = EXAMPLE.read_text()
    found = positions.index(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    lines = text.splitlines()
    for path, marks in found.items():
        if isinstance(path[-1], str):
            line, column = marks.key
            assert lines[line - 1][column - 1 :].removeprefix('"').startswith(path[-1])


def test_a_long_document_takes_time_in_proportion() -> None:
    """Ten thousand routes are found at once; a rescan for each line would take minutes."""
    text = "[[route]]\npath = '/x'\nupstream = \"chat\"\n" * 10_000
    assert positions.index(text)["route", 9999, "path"] == Marks((29999, 1), (29999, 8))

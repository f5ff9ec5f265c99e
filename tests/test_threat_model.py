"""docs/threat-model.md against the tree: what it names exists, and every bound has the value that it says."""

import ast
import operator
import re
import tomllib
from pathlib import Path

import pytest

from wsrelay.config.settings import Limits, Timeouts

ROOT = Path(__file__).resolve().parent.parent
CODE, TESTS = ROOT / "wsrelay", ROOT / "tests"
CASES = TESTS / "corpus" / "cases"
TEXT = (ROOT / "docs" / "threat-model.md").read_text("utf-8")

# Where numbers that bound something may stand. What the configuration may say is in operator.md.
ROOMS = ("core", "net", "pump", "control")

# Numbers that bound nothing, or what another number bounds already: of other people's interfaces, digits of a port or
# an address, shares of a bound, the least that is left of one.
NO_BOUNDS = {
    "core/authority.py _LITERAL",
    "core/authority.py _NAME",
    "core/chunked.py _SIZE_LINE",
    "core/server_name.py _NAME",
    "core/proxytext.py _PORT",
    "core/chunked.py _PADDED_SIZE_LINE",
    "core/forwarded.py _ELEMENT",
    "net/admission.py _HOST_BITS_OF_IPV6",
    "net/deadlines.py _LEAST_SECONDS",
    "net/tls.py _OP_PRIORITIZE_CHACHA",
    "net/legs.py _SIOCOUTQNSD",
    "pump/leg.c SIOCOUTQNSD",
    "pump/crew.h NANOSECONDS",
    "pump/handshake.c SWEEP_SECONDS",
    "control/access_log_targets.py _NOTICE",
    "control/access_log_targets.py _INFO",
    "control/access_log_targets.py _FILE_MODE",
    "control/pumps.py _SWEEPS_A_LIMIT",
    "control/pumps.py _DESCRIPTORS_A_THREAD",
    "control/pumps.py _DESCRIPTORS_FOR_PIPES",
    "control/service.py _DESCRIPTORS_A_SESSION",
    "control/service.py _OTHER_DESCRIPTORS",
}
UNITS = {"": 1.0, "s": 1.0, "KiB": 1024.0, "MiB": 1024.0**2}


def chapter(title: str) -> str:
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return text


def rows(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without their headings."""
    found = []
    for table in re.findall(r"^\|.*\n\|[-|: ]+\|\n((?:\|.*\n?)+)", text, re.MULTILINE):
        found += [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in table.splitlines()]
    return found


def in_backticks(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


THREATS = rows(chapter("Threats, and what is done"))
BOUNDS = rows(chapter("Every bound"))


def cases() -> set[str]:
    return {case["name"] for file in CASES.glob("*.toml") for case in tomllib.loads(file.read_text("utf-8"))["case"]}


def names_of_tests(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


def test_every_threat_has_a_defence_in_a_file_and_something_that_shows_it() -> None:
    assert len(THREATS) > 40
    for row in THREATS:
        assert len(row) == 3, row
        _, defence, shown = row
        assert in_backticks(shown), row
        assert not re.sub(r"`[^`]+`|, ", "", shown), "something in the third column is neither a test nor a case"
        assert re.search(r"`[a-z]+/\w+\.(py|c|h)`", defence), row


def test_every_test_that_is_named_exists() -> None:
    named = [one.split("::") for one in in_backticks(TEXT) if "::" in one]
    assert len(named) > 50
    for path, name in named:
        assert name.startswith("test_")
        assert name in names_of_tests(TESTS / path), f"{path}::{name}"


def test_every_case_of_the_corpus_that_is_named_exists() -> None:
    named = [one for row in THREATS for one in in_backticks(row[2]) if "::" not in one]
    files, known = [one for one in named if one.endswith(".toml")], cases()
    assert len(files) > 20
    assert {file for file in files if not (CASES / file).is_file()} == set()
    assert {one for one in named if one not in files} <= known
    assert "cl-te" in known


def test_every_file_that_is_named_exists() -> None:
    named = {one.split()[0] for one in in_backticks(TEXT) if re.fullmatch(r"[a-z]+/\w+\.(py|c|h)( \w+)?", one)}
    named -= {"tests/test_threat_model.py"}
    assert len(named) > 25
    assert {one for one in named if not (CODE / one).is_file()} == set()


# The bounds.

OPERATORS = {ast.Mult: operator.mul, ast.Pow: operator.pow, ast.Sub: operator.sub, ast.LShift: operator.lshift}


def number(expression: str) -> float | None:
    """The value of an expression such as `64 * 1024`; None if it is something else."""

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as found):
                return found
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
                return OPERATORS[type(sign)](value(left), value(right))
        raise ValueError

    try:
        return value(ast.parse(expression.strip(), mode="eval").body)
    except (ValueError, SyntaxError):
        return None


def definitions(path: Path) -> dict[str, float]:
    """The numbers that a file defines: constants, the greatest repetition of a pattern, sizes of caches."""
    text, found = path.read_text("utf-8"), {}
    if path.suffix == ".py":
        for name, said in re.findall(r"^(_?[A-Z][A-Z0-9_]*)(?:: [^=\n]+)? = (.+?)(?:  #.*)?$", text, re.MULTILINE):
            repeated = re.findall(r"\{\d+,(\d+)\}", said) if said.startswith("re.compile") else []
            if (value := float(max(map(int, repeated))) if repeated else number(said)) is not None:
                found[name] = value
        for size, name in re.findall(r"^@functools\.lru_cache\(maxsize=(\d+)\).*\ndef (\w+)", text, re.MULTILINE):
            found[name] = float(size)
    else:
        for name, said in re.findall(r"^#define (\w+) (\(?[0-9].*?)(?:/\*.*)?$", text, re.MULTILINE):
            if (value := number(said)) is not None:
                found[name] = value / 1e9 if name.endswith("_NANOSECONDS") else value
    return found


def value_of(place: str) -> float:
    table, dot, name = place.partition(".")
    if " " not in place and dot:
        return float(getattr({"limits": Limits(), "timeouts": Timeouts()}[table], name))
    path, name = place.split()
    return definitions(CODE / path)[name]


@pytest.mark.parametrize("row", BOUNDS, ids=lambda row: row[2])
def test_a_bound_has_the_value_that_the_page_says(row: list[str]) -> None:
    said = re.fullmatch(r"([0-9.]+)(?: (s|KiB|MiB))?", row[1])
    assert said, row
    expected = float(said[1]) * UNITS[said[2] or ""]
    assert value_of(row[2].strip("`")) == pytest.approx(expected, rel=1e-12)


def test_every_setting_that_is_a_limit_stands_on_the_page() -> None:
    settings = {f"limits.{name}" for name in Limits.__slots__} | {f"timeouts.{name}" for name in Timeouts.__slots__}
    settings -= {one for one in settings if one.endswith("__weakref__")}
    assert settings == {place for row in BOUNDS for place in in_backticks(row[2]) if " " not in place}


def test_every_number_in_the_code_is_on_the_page_or_bounds_nothing() -> None:
    """A new constant is either a bound, and then people want to read it here, or is added above."""
    places = {
        f"{path.relative_to(CODE)} {name}"
        for room in ROOMS
        for path in sorted((CODE / room).glob("*.[pch]*"))
        if not path.name.startswith("demo") and path.suffix in (".py", ".c", ".h")
        for name in definitions(path)
    }
    listed = {place for row in BOUNDS for place in in_backticks(row[2]) if place.split()[0].split("/")[0] in ROOMS}
    assert places - NO_BOUNDS == listed
    assert places >= NO_BOUNDS, "something in the list above is gone"


@pytest.mark.parametrize(
    ("said", "value"),
    [("64 * 1024", 65536), ("(64 * 1024)", 65536), ("2**63 - 1", 2**63 - 1), ("0.5", 0.5), ("frozenset()", None)],
)
def test_an_expression_is_read_as_its_value(said: str, value: float | None) -> None:
    assert number(said) == value

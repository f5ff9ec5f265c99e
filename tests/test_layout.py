"""The shape of the tree: every module has its tests, and what is shipped is what the repository shows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for path in (ROOT / "wsrelay").rglob("*.py") if path.name != "__init__.py")


def does_something(source: str) -> bool:
    """Say whether a module holds behaviour: a function other than a magic method, with more than a docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__"):
            body = [one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
            if body:
                return True
    return False


def is_tested(path: Path) -> bool:
    """Say whether a module has its own test file, or a test file of its room names it in an import."""
    module = path.relative_to(ROOT).with_suffix("")
    package, name = ".".join(module.parts[:-1]), module.name
    room = ROOT / "tests" / Path(*module.parts[1:-1])
    if any(room.glob(f"test_{name}*.py")):
        return True
    imported = re.compile(
        rf"import {package}\.{name}\b|from {package}\.{name} import|from {package} import [\w\s,(]*\b{name}\b"
    )
    return any(imported.search(test.read_text()) for test in room.glob("test_*.py"))


def test_every_module_with_behaviour_is_tested_in_the_same_place() -> None:
    """`wsrelay/core/head.py` is tested by `tests/core/test_head.py`, or by a file beside it that imports it."""
    untested = [
        str(path.relative_to(ROOT)) for path in MODULES if does_something(path.read_text()) and not is_tested(path)
    ]
    assert not untested, "\n".join(untested)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    return 1", True),
        ("class A:\n    async def f(self):\n        await x", True),
        ("class A:\n    x: int\n    def __str__(self):\n        return 'a'", False),
        ("class A(Protocol):\n    def f(self) -> int:\n        'A promise.'\n        ...", False),
    ],
)
def test_values_and_promises_need_no_test_file_of_their_own(source: str, expected: bool) -> None:
    assert does_something(source) is expected


def test_what_conf_shows_is_what_is_shipped() -> None:
    shown = {path.relative_to(ROOT / "conf"): path for path in (ROOT / "conf").rglob("*") if path.is_file()}
    assert Path("wsrelay.example.toml") in shown
    different = [
        str(name)
        for name, path in shown.items()
        if not (copy := ROOT / "wsrelay" / "data" / name).is_file() or copy.read_bytes() != path.read_bytes()
    ]
    assert different == []


def test_twisteds_own_folders_stay_open_for_other_plugins() -> None:
    """An __init__.py there would hide Twisted itself, or keep twistd from looking for plugins in that folder."""
    assert [path.name for path in (ROOT / "twisted").rglob("*.py")] == ["wsrelay_plugin.py"]

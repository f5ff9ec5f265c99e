"""Who may know whom (DESIGN: the rooms). Reads the imports of every module, those inside functions included."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted([*(ROOT / "wsrelay").rglob("*.py"), *(ROOT / "twisted").rglob("*.py")])

# Imports go down only. `pump` is the optional native one: it knows three modules of net and what their types are made
# of, and only control knows it.
ROOMS = {
    "plugin": {"control"},
    "control": {"control", "net", "core", "config", "pump", "data"},
    "tools": {"tools", "control", "net", "core", "config", "data"},
    "pump": {"pump", "wsrelay.net.splice", "wsrelay.net.handshakes", "wsrelay.net.legs", "wsrelay.core.outcomes"},
    "net": {
        "net",
        "core",
        "wsrelay.config.settings",
        "wsrelay.config.networks",
        "wsrelay.config.certificates",
        "wsrelay.config.chains",
    },
    "core": {"core", "wsrelay.config.settings", "wsrelay.config.networks"},
    "config": {"config"},
}

# A sans-IO room has no socket, no clock and no log, and nothing that hides one of them.
IO = {"socket", "time", "logging", "asyncio", "select", "selectors", "ssl", "socketserver", "threading", "subprocess"}
CORE_MAY_IMPORT = (set(sys.stdlib_module_names) - IO) | {"attrs", "wsrelay"}

# Comes with a package that we declare, which pins its range: a bound of our own could only contradict it.
CARRIED = {"zope": "twisted", "cryptography": "pyopenssl", "pydantic_core": "pydantic"}


def name_of(path: Path) -> str:
    """Return the dotted name of a module of this tree."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the room that a dotted name lies in: `wsrelay.net.session` in net, `wsrelay.__version__` in none."""
    if module.startswith("twisted.plugins"):
        return "plugin"
    top, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    return room if top == "wsrelay" and (room in ROOMS or (ROOT / "wsrelay" / room).is_dir()) else ""


def imports(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield every name that a module imports, dotted and absolute; `from a import b` yields `a.b`."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (start, node.module) if part)
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node).endswith("internet.reactor"):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def is_within(name: str, module: str) -> bool:
    """Say whether a dotted name is a module or something in it."""
    return name == module or name.startswith(module + ".")


def wrongs(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Return a sentence for each import that the rules forbid."""
    room = room_of(module)
    found = []
    for name in imports(module, source, is_package=is_package):
        allowed = ROOMS.get(room, set())
        if room_of(name) and room_of(name) not in allowed and not any(is_within(name, one) for one in allowed):
            found.append(f"{module} ({room or 'no room'}) may not import {name}")
        if room == "core" and name.split(".")[0] not in CORE_MAY_IMPORT:
            found.append(f"{module} is sans-IO and may not import {name}")
        if name.endswith("internet.reactor") and room not in {"control", "tools"}:
            found.append(f"{module} takes its reactor as an argument and may not import {name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    assert wrongs(name_of(path), path.read_text(), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wsrelay.core.head", "import wsrelay.net.legs"),
        ("wsrelay.core.head", "from wsrelay.net import legs"),
        ("wsrelay.core.head", "from wsrelay import net"),
        ("wsrelay.core.head", "from ..net import legs"),
        ("wsrelay.core.head", "from .. import net"),
        ("wsrelay.core.head", "from wsrelay.config import load"),
        ("wsrelay.core.head", "def f():\n    import socket"),
        ("wsrelay.core.head", "from time import monotonic"),
        ("wsrelay.core.head", "import twisted"),
        ("wsrelay.core.head", "from OpenSSL import SSL"),
        ("wsrelay.core.head", "import pydantic"),
        ("wsrelay.config.load", "from wsrelay.core import head"),
        ("wsrelay.net.session", "from wsrelay.control import service"),
        ("wsrelay.net.session", "from wsrelay.pump import native"),
        ("wsrelay.net.session", "from wsrelay.tools import command"),
        ("wsrelay.net.session", "from wsrelay.config import load"),
        ("wsrelay.net.session", "from wsrelay.config.load import settings_from"),
        ("wsrelay.net.session", "import importlib\nimportlib.import_module('wsrelay.control.service')"),
        ("wsrelay.net.session", "def f():\n    from twisted.internet import reactor"),
        ("wsrelay.net.session", "import twisted.internet.reactor"),
        ("wsrelay.net.session", "from twisted import internet\ninternet.reactor.stop()"),
        ("wsrelay.pump.native", "from wsrelay.net import session"),
        ("wsrelay.control.service", "from wsrelay.tools import command"),
        ("wsrelay", "from wsrelay.core import head"),
        ("twisted.plugins.wsrelay_plugin", "from wsrelay.net import session"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert wrongs(module, source) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wsrelay.core.head", "import re, attrs\nfrom wsrelay.core.refusal import Refusal"),
        ("wsrelay.core.routing", "from wsrelay.config.settings import Route"),
        ("wsrelay.core.routing", "from wsrelay.config import settings"),
        ("wsrelay.net.tls", "from wsrelay.config.certificates import Pem"),
        ("wsrelay.net.session", "from . import legs\nfrom ..core import head\nimport socket"),
        ("wsrelay.pump.native", "from wsrelay.net.splice import Handoff"),
        ("wsrelay.control.service", "from wsrelay.config import load\nfrom wsrelay.pump import native"),
        ("wsrelay.control.service", "def f():\n    from twisted.internet import reactor"),
        ("wsrelay.tools.command", "from wsrelay import __version__\nfrom wsrelay.control import demo"),
    ],
)
def test_an_allowed_import_is_let_pass(module: str, source: str) -> None:
    assert wrongs(module, source) == []


def test_every_package_that_is_imported_is_declared() -> None:
    """What happens to be there through somebody else's dependency may be gone tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {requirement.split(">=")[0] for requirement in project["dependencies"]}
    provided_by = packages_distributions()
    undeclared = set()
    for path in MODULES:
        for name in imports(name_of(path), path.read_text(), is_package=path.name == "__init__.py"):
            top = name.split(".")[0]
            distributions = {one.lower() for one in provided_by.get(top, [top])} | {CARRIED.get(top, top)}
            if top not in sys.stdlib_module_names and top != "wsrelay" and not distributions & declared:
                undeclared.add(f"{name_of(path)}: {top}")
    assert undeclared == set()


@pytest.mark.parametrize("module", ["net.session", "net.tls_leg", "net.takeover", "control.service"])
def test_a_module_can_be_the_first_that_is_imported(module: str) -> None:
    """Two that import each other work in one order only."""
    done = subprocess.run([sys.executable, "-c", f"import wsrelay.{module}"], cwd=ROOT, capture_output=True, timeout=60)
    assert done.stderr == b""


def test_no_import_of_ours_installs_a_reactor() -> None:
    """`twistd -r` chooses the reactor after it has read the plugin's options; an installed one cannot be changed."""
    everything = ", ".join(name_of(path) for path in MODULES)
    program = f"import sys, {everything}; print('twisted.internet.reactor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


@pytest.mark.parametrize("folder", ["wsrelay", "twisted", "tests", "bench", "fuzz", "soak"])
def test_no_file_is_longer_than_400_lines(folder: str) -> None:
    """A longer file is two rooms in one; a reader holds about 250 lines."""
    long = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py") if path.read_text().count("\n") > 400}
    assert long == set()

"""The plugin that lets no skip pass, run as a person runs it: in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SKIPS = {
    "in the test": "import pytest\ndef test_a():\n    pytest.skip('no such program')",
    "by a mark": "import pytest\n@pytest.mark.skipif(True, reason='no such program')\ndef test_a(): pass",
    "of a fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no such program')\ndef test_a(f): pass",
    "of a module": "import pytest\npytest.skip('no such program', allow_module_level=True)",
}


def run_pytest(folder: Path, source: str, no_skip: str) -> subprocess.CompletedProcess[str]:
    """Run one test file with the plugin, away from this tree's configuration."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WSRELAY_NO_SKIP": no_skip}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.no_skip", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS.keys())
def test_a_skip_fails_the_run_and_its_reason_is_shown(tmp_path: Path, source: str) -> None:
    done = run_pytest(tmp_path, source, no_skip="1")
    assert done.returncode != 0
    assert "no such program" in done.stdout


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS.keys())
def test_a_skip_is_a_skip_where_nobody_forbids_it(tmp_path: Path, source: str) -> None:
    done = run_pytest(tmp_path, source, no_skip="")
    assert "1 skipped" in done.stdout
    assert "failed" not in done.stdout


def test_an_expected_failure_is_not_a_skip(tmp_path: Path) -> None:
    source = "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\ndef test_b(): pass"
    assert run_pytest(tmp_path, source, no_skip="1").returncode == 0

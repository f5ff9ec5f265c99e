"""The `wsrelay` command as a person runs it."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import twisted
from click.testing import CliRunner, Result
from OpenSSL import SSL

import wsrelay
from wsrelay.control.pumps import missing
from wsrelay.tools import command

GOOD = '[[listen]]\naddress = "127.0.0.1:80"\n[[route]]\npath = "/"\nrespond = {}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(name: str) -> Result:
    return CliRunner().invoke(command.main, ["check", name])


def test_a_good_file_is_said_to_be_good(folder: Path) -> None:
    Path("site.toml").write_text(GOOD)
    result = check("site.toml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "site.toml: good\n", "")


def test_warnings_are_told_and_the_file_is_good_all_the_same(folder: Path) -> None:
    Path("site.toml").write_text(f'{GOOD}[[upstream]]\nname = "u"\nservers = ["a:1"]\n')
    result = check("site.toml")
    assert result.exit_code == 0
    assert result.stdout == "site.toml: good\n"
    assert result.stderr == 'warning: site.toml:7:8: upstream[0].name: no route or listener uses the upstream "u"\n'


def test_every_mistake_is_told_and_the_exit_status_is_one(folder: Path) -> None:
    Path("site.toml").write_text(f'{GOOD}[timeouts]\nrequest_haed = "10s"\n  connect = "0s"\n')
    result = check("site.toml")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "site.toml:7:1: timeouts.request_haed: unknown key; nearest known key: request_head",
        "site.toml:8:13: timeouts.connect: expected a duration above 0, found 0",
        "2 mistakes",
    ]


def test_a_syntax_error_is_told_alone(folder: Path) -> None:
    Path("site.toml").write_text("[relay\n")
    result = check("site.toml")
    assert result.exit_code == 1
    assert result.stderr.startswith("site.toml:1:7: syntax: ")
    assert result.stderr.endswith("\n1 mistake\n")


def test_a_file_that_cannot_be_read_has_an_exit_status_of_its_own(folder: Path) -> None:
    result = check("missing.toml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "missing.toml: cannot read: No such file or directory\n"


def test_version_says_what_a_bug_report_needs() -> None:
    result = CliRunner().invoke(command.main, ["version"])
    assert result.exit_code == 0
    said = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert said.keys() == {"wsrelay", "Python", "Twisted", "pyOpenSSL", "OpenSSL", "pump"}
    assert said["wsrelay"] == wsrelay.__version__
    assert said["Python"] == platform.python_version()
    assert said["Twisted"] == twisted.__version__
    assert f"OpenSSL {said['OpenSSL']}".encode() == SSL.OpenSSL_version(SSL.OPENSSL_VERSION)
    assert said["pump"] == (f"reactor; the native one is not there: {why}" if (why := missing()) else "native")


def test_a_check_needs_neither_twisted_nor_a_reactor(folder: Path) -> None:
    Path("site.toml").write_text(GOOD)
    program = (
        "import sys; from wsrelay.tools.command import main;"
        "main(['check', 'site.toml'], standalone_mode=False);"
        "sys.exit('twisted' in sys.modules)"
    )
    root = str(Path(wsrelay.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": root}, check=False, timeout=60)
    assert done.returncode == 0

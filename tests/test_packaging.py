"""Every way to install wsrelay lets twistd find it, in a virtual environment that held nothing of it before.

The environments see the dependencies of the interpreter that runs the tests through a .pth file: that is quick, and
pip installs only what is under test. Nothing else of this tree is visible, which the first assertion shows each time.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What a fresh clone would not have; the rest is copied, because a build writes into the tree it builds.
NOT_CLONED = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "node_modules", "__pycache__", "dropin.cache", ".*_cache"
)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program without this process's Python settings; return what it printed, or fail with it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


class CleanPlace:
    """A virtual environment without wsrelay, and a folder beside it from which no source tree can be seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        venv.create(folder / "venv", symlinks=True, with_pip=False)
        program = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(run(self.python, "-c", program, cwd=folder).strip())
        # A folder named in a .pth file does not have its own .pth files read: an editable install there stays unseen.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        assert not self.twistd_lists_wsrelay()

    def pip_install(self, *what: str | Path) -> None:
        """Install without dependencies; what the running interpreter has installed counts for nothing."""
        pip = (sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check")
        run(*pip, "install", "--quiet", "--no-deps", "--ignore-installed", *what, cwd=self.folder)

    def twistd_lists_wsrelay(self) -> bool:
        """Say whether `twistd --help` has a line for the subcommand."""
        program = "from twisted.scripts.twistd import run; run()"
        listed = run(self.python, "-P", "-c", program, "--help", cwd=self.folder)
        return any(line.split()[:1] == ["wsrelay"] for line in listed.splitlines())

    def run_python(self, program: str) -> str:
        """Run a program with the environment's interpreter."""
        return run(self.python, "-P", "-c", program, cwd=self.folder)


@pytest.fixture
def place(tmp_path: Path) -> CleanPlace:
    return CleanPlace(tmp_path)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "wsrelay", ignore=NOT_CLONED))


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, clone, cwd=folder)
    (built,) = folder.iterdir()
    return built


def test_twistd_lists_wsrelay_after_an_install_from_the_tree(place: CleanPlace, clone: Path) -> None:
    place.pip_install(clone)
    assert place.twistd_lists_wsrelay()


def test_twistd_lists_wsrelay_after_an_editable_install(place: CleanPlace, clone: Path) -> None:
    """The usual editable install of setuptools is a finder that twistd, which scans folders, cannot see."""
    place.pip_install("--editable", clone)
    assert place.twistd_lists_wsrelay()


def test_twistd_lists_wsrelay_after_an_install_from_a_wheel(place: CleanPlace, wheel: Path) -> None:
    place.pip_install(wheel)
    assert place.twistd_lists_wsrelay()


def test_an_installed_wheel_brings_the_command_and_the_shipped_files(place: CleanPlace, wheel: Path) -> None:
    place.pip_install(wheel)
    program = "import wsrelay.data; print(*wsrelay.data.__path__)"
    data = Path(place.run_python(program).strip())
    assert place.folder in data.parents
    assert {path.name for path in (ROOT / "wsrelay" / "data").iterdir()} - {"__pycache__"} == {
        path.name for path in data.iterdir()
    } - {"__pycache__"}
    assert (place.python.parent / "wsrelay").is_file()


def test_the_wheel_puts_exactly_one_file_into_twisteds_folder(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/wsrelay_plugin.py"]


def test_the_wheel_holds_every_module_and_nothing_of_the_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "wsrelay").rglob("*.py")}
    assert modules <= names
    assert {name.split("/")[0] for name in names} == {"wsrelay", "twisted"}


def test_the_source_archive_holds_what_a_packager_needs(clone: Path, tmp_path: Path) -> None:
    program = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", program, cwd=clone)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    for name in ("LICENSE", "README.md", "CHANGES.md", "Makefile", "tests/no_skip.py", "conf/wsrelay.example.toml"):
        assert name in names
    assert not [name for name in names if "node_modules" in name or name.endswith((".pyc", "dropin.cache"))]

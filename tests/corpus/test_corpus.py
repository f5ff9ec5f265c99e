"""The corpus as a whole: how much there is, and that it is read strictly."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus.cases import FOLDER, CorpusError, load

FILES = sorted(FOLDER.glob("*.toml"))
CASE = 'name = "a-case"\nwhy = "a sentence that says why"\nsend = ["GET / HTTP/1.1\\r\\n\\r\\n"]\nstatus = [200]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of case files from their texts."""

    def make(*texts: str) -> Path:
        for number, text in enumerate(texts):
            (tmp_path / f"file{number}.toml").write_text(text)
        return tmp_path

    return make


def test_there_are_at_least_250_cases() -> None:
    assert len(load()) >= 250


def test_there_are_at_least_110_cases_of_smuggling() -> None:
    assert sum(case.family.startswith(("smuggling-", "bodies")) for case in load()) >= 110


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_family_says_in_its_first_line_what_it_is(file: Path) -> None:
    first, second = file.read_text().split("\n")[:2]
    assert first.startswith("# ")
    assert len(first) > 20
    assert not second.startswith("[["), "the comment stands apart from the first case"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_family_has_cases(file: Path) -> None:
    assert tomllib.loads(file.read_text())["case"]


def test_every_name_is_there_once(folder: Callable[..., Path]) -> None:
    one = f"[[case]]\n{CASE}"
    with pytest.raises(CorpusError, match="there twice: a-case"):
        load(folder(one, one))


def test_a_good_case_is_read(folder: Callable[..., Path]) -> None:
    (case,) = load(folder(f'# A family.\n[[case]]\n{CASE}fields = {{ host = ["a", "\\u00ff"] }}\n'))
    assert (case.name, case.family) == ("a-case", "file0")
    assert case.fields == {"host": (b"a", b"\xff")}
    assert case.sent == b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("status = [200]", "status = [200]\nstatsu = [200]"),
        ("status = [200]", ""),
        ("status = [200]", 'status = ["200"]'),
        ("status = [200]", "status = [20]"),
        ('why = "a sentence that says why"', ""),
        ('why = "a sentence that says why"', 'why = "short"'),
        ('"a-case"', '"A case"'),
        ("status = [200]", 'status = [400]\nreason = "no-such-reason"'),
        ("status = [200]", 'status = [502]\nreason = "bad-framing"'),
        ("status = [200]", 'status = [400]\nreason = "bad-framing"\ntarget = "/"'),
        ("status = [200]", "status = [200]\ntunnel = true"),
        ("status = [200]", "status = [200]\nsockets = false\ncore = false"),
        ("status = [200]", "status = [200]\nbroken = true\ncloses = false"),
        ("status = [200]", 'status = [200]\nfields = { Host = ["a"] }'),
        ("status = [200]", 'status = [200]\nupstream_lacks = [""]'),
        ("status = [200]", 'status = [200]\nfamily = "x"'),
        ("[[case]]", "unknown = 1\n[[case]]"),
        ("\\r\\n\\r\\n", "\\u0100"),
        ('["GET', '[{ end = false }, "GET'),
        ('["GET', '[{ close = true }, "GET'),
        ('["GET', '[{ wait = 101 }, "GET'),
        ('["GET', '[{ repeat = "a" }, "GET'),
        ('["GET', '[{ repeat = "a", times = 0 }, "GET'),
        ("status = [200]", 'status = [200]\nupstream = [[{ end = true }]]'),
        ("status = [200]", "status = [200"),
    ],
)  # fmt: skip
def test_a_case_that_says_what_it_cannot_say_is_an_error(folder: Callable[..., Path], old: str, new: str) -> None:
    text = f"[[case]]\n{CASE}"
    assert old in text
    with pytest.raises(CorpusError, match="file0.toml"):
        load(folder(text.replace(old, new, 1)))

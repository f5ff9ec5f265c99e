import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wsrelay.config import includes, load
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import CannotRead, ConfigError
from wsrelay.config.settings import UnixAddress

SITE = '[[listen]]\naddress = "127.0.0.1:80"\n[[route]]\npath = "/"\nrespond = {}\n'


def read(text: str | bytes) -> tuple[Document, list[str]]:
    Path("site.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    report = Report()
    document = includes.read(Path("site.toml"), report)
    return document, [str(mistake) for mistake in report.mistakes]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a = \n", "site.toml:1:5: syntax: invalid value"),
        (b"[relay]\n  pump 1\n", "site.toml:2:8: syntax: expected '=' after a key in a key/value pair"),
        (b"[relay]\r\npump = [1, 2\r\n", "site.toml:3:1: syntax: unclosed array"),
        (b"a = 1\na = 2\n", "site.toml:2:6: syntax: cannot overwrite a value"),
        (
            b"\xef\xbb\xbfa = 1\n",
            "site.toml:1:1: syntax: the file begins with a byte order mark; save it as UTF-8 without one",
        ),
        ("a = 1\nb = '聊".encode() + b"\xff'\n", "site.toml:2:7: syntax: not UTF-8: byte 0xff"),
        (b"a = " + b"[" * 20_000, "site.toml:1:1: syntax: arrays or tables are nested too deeply"),
    ],
)
def test_a_syntax_error_is_told_with_its_place(site: Path, text: bytes, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert [str(mistake) for mistake in error.value.mistakes] == [told]


def test_a_number_that_is_too_long_for_python_is_a_syntax_error(site: Path) -> None:
    with pytest.raises(ConfigError, match=r"^site.toml:1:1: syntax: exceeds the limit|^site.toml:1:1: syntax: Exceeds"):
        read("a = " + "9" * 5000)


def test_a_syntax_error_comes_alone(mistakes: Callable[[str], list[str]]) -> None:
    assert mistakes('lissten = 1\n[relay]\npump = "x"\nadmin\n') == [
        "site.toml:4:6: syntax: expected '=' after a key in a key/value pair"
    ]


def test_a_syntax_error_in_an_included_file_comes_alone_too(site: Path) -> None:
    Path("a.toml").write_text("x =")
    with pytest.raises(ConfigError) as error:
        read('include = ["a.toml", "missing.toml"]\n')
    assert [str(mistake) for mistake in error.value.mistakes] == ["a.toml:1:4: syntax: invalid value"]


@pytest.mark.parametrize("name", ["missing.toml", "folder", "folder/../missing.toml"])
def test_a_file_that_cannot_be_read_is_said_to_be_so(site: Path, name: str) -> None:
    Path("folder").mkdir()
    with pytest.raises(CannotRead, match=f"^{name}: cannot read: (No such file or directory|Is a directory)$"):
        load.read(Path(name))


def test_a_file_of_more_than_four_mebibytes_is_not_read(site: Path) -> None:
    Path("site.toml").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(CannotRead, match="^site.toml: cannot read: larger than 4 MiB$"):
        load.read(Path("site.toml"))


def test_lists_of_included_files_are_appended_in_order(site: Path) -> None:
    Path("conf.d").mkdir()
    for name in ("b", "a"):
        Path(f"conf.d/{name}.toml").write_text(
            f'[[route]]\npath = "/{name}"\n[relay]\ntrusted_proxies = ["::{name}"]\n'
        )
    document, told = read('include = ["conf.d/*.toml"]\n[[route]]\npath = "/main"\n')
    assert told == []
    assert document.data == {
        "route": [{"path": "/main"}, {"path": "/a"}, {"path": "/b"}],
        "relay": {"trusted_proxies": ["::a", "::b"]},
    }
    assert str(document.spot(("route", 2, "path")).value) == "conf.d/b.toml:2:8"
    assert str(document.spot(("relay", "trusted_proxies", 1)).value) == "conf.d/b.toml:4:20"


def test_a_pattern_that_matches_nothing_is_fine(site: Path) -> None:
    assert read('include = ["conf.d/*.toml"]\n')[1] == []


def test_a_plain_name_must_exist(site: Path) -> None:
    assert read('include = [\n  "a.toml",\n]\n')[1] == [
        "site.toml:2:3: include[0]: a.toml: cannot read: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('include = "a.toml"', 'site.toml:1:11: include: expected an array of file names, such as ["conf.d/*.toml"]'),
        ("include = [3]", 'site.toml:1:12: include[0]: expected a file name, such as "conf.d/*.toml"'),
        ('include = [""]', 'site.toml:1:12: include[0]: expected a file name, such as "conf.d/*.toml"'),
        (r'include = ["a\u0000"]', 'site.toml:1:12: include[0]: expected a file name, such as "conf.d/*.toml"'),
    ],
)
def test_an_include_is_an_array_of_names(site: Path, text: str, told: str) -> None:
    assert read(text)[1] == [told]


def test_a_value_set_in_two_files_is_a_mistake_that_names_both_places(site: Path) -> None:
    Path("a.toml").write_text('[relay]\naccess_log = "off"\n  pump = "auto"\n')
    document, told = read('include = ["a.toml"]\n[relay]\npump = "reactor"\n')
    assert told == ["a.toml:3:3: relay.pump: set twice; first at site.toml:3:1"]
    assert document.data == {"relay": {"pump": "reactor", "access_log": "off"}}


def test_a_table_here_and_an_array_there_is_a_mistake(site: Path) -> None:
    Path("a.toml").write_text("[listen]\nx = 1\n")
    assert read('include = ["a.toml"]\n[[listen]]\n')[1] == ["a.toml:1:2: listen: set twice; first at site.toml:2:3"]


def test_names_in_an_included_file_start_from_its_own_folder(site: Path) -> None:
    (site / "deep/er").mkdir(parents=True)
    Path("deep/one.toml").write_text('include = ["er/two.toml"]\n')
    Path("deep/er/two.toml").write_text('[[listen]]\naddress = "unix:a.sock"\n')
    Path("site.toml").write_text('include = ["deep/one.toml"]\n[[route]]\npath = "/"\nrespond = {}\n')
    listener = load.read(Path("site.toml")).settings.listeners[0]
    assert listener.address == UnixAddress(str(site / "deep/er/a.sock"))


def test_an_included_file_is_named_as_seen_from_the_first(site: Path) -> None:
    Path("deep").mkdir()
    Path("deep/one.toml").write_text("x = 1\n")
    Path("deep/site.toml").write_text('include = ["one.toml"]\n' + SITE)
    with pytest.raises(ConfigError, match=r"^deep/one.toml:1:1: x: unknown key"):
        load.read(Path("deep/site.toml"))


@pytest.mark.parametrize("name", ["site.toml", "./site.toml", "*.toml", "link.toml"])
def test_a_file_that_includes_itself_is_a_mistake(site: Path, name: str) -> None:
    if name == "link.toml":
        os.symlink("site.toml", name)
    assert read(f'include = ["{name}"]\n')[1] == [
        "site.toml:1:12: include[0]: site.toml was read already; includes must not form a circle or overlap"
    ]


def test_a_file_that_two_others_include_is_a_mistake(site: Path) -> None:
    Path("a.toml").write_text('include = ["b.toml"]\n')
    Path("b.toml").write_text("")
    assert read('include = ["a.toml", "b.toml"]\n')[1] == [
        "site.toml:1:22: include[1]: b.toml was read already; includes must not form a circle or overlap"
    ]


def test_includes_go_eight_files_deep(site: Path) -> None:
    for depth in range(1, 10):
        Path(f"{depth}.toml").write_text(f'include = ["{depth + 1}.toml"]\n' if depth < 9 else "")
    assert read('include = ["1.toml"]\n')[1] == ["8.toml:1:12: include[0]: 9.toml: includes go more than 8 files deep"]


def test_at_most_a_thousand_files_are_read(site: Path) -> None:
    for number in range(1000):
        Path(f"x{number:04}.toml").write_text("")
    assert read('include = ["x*.toml"]\n')[1] == ["site.toml:1:12: include[0]: more than 1000 files are included"]


def test_mistakes_are_told_in_the_order_of_the_files(site: Path) -> None:
    Path("a.toml").write_text("y = 1\n")
    Path("b.toml").write_text("z = 1\n")
    Path("site.toml").write_text(f'include = ["b.toml", "a.toml"]\nx = 1\n{SITE}')
    with pytest.raises(ConfigError) as error:
        load.read(Path("site.toml"))
    assert [str(mistake.place) for mistake in error.value.mistakes] == ["site.toml:2:1", "b.toml:1:1", "a.toml:1:1"]


def test_a_file_name_that_is_no_text_is_told_in_a_way_that_can_be_printed(site: Path) -> None:
    name = os.fsdecode(b"\xff.toml")
    Path(name).write_text("x = ")
    with pytest.raises(ConfigError) as error:
        load.read(Path(name))
    assert str(error.value).encode() == b"?.toml:1:5: syntax: invalid value"

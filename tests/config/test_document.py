from pathlib import Path

from wsrelay.config.document import Document, Report, Source, Spot
from wsrelay.config.positions import Marks

FIRST = Source("site.toml", Path("/etc/wsrelay"), 0)
SECOND = Source("a.toml", Path("/srv"), 1)
DOCUMENT = Document(
    {"b": {"c": 1}, "a": [1]},
    {
        (): Spot(FIRST, Marks((1, 1), (1, 1))),
        ("b",): Spot(SECOND, Marks((1, 1), (1, 5))),
        ("b", "c"): Spot(SECOND, Marks((1, 7), (1, 11))),
        ("a",): Spot(FIRST, Marks((3, 1), (3, 5))),
        ("a", 0): Spot(FIRST, Marks((3, 6), (3, 6))),
    },
)


def test_mistakes_are_told_in_file_order_and_each_once() -> None:
    report = Report()
    for _ in range(2):
        report.mistake(DOCUMENT, ("b", "c"), "one")
        report.wrong_key(DOCUMENT, ("b", "c"), "two")
        report.mistake(DOCUMENT, ("a", 0), "three")
        report.mistake(DOCUMENT, ("z",), "four")
    assert [str(mistake) for mistake in report.mistakes] == [
        "site.toml:1:1: z: four",
        "site.toml:3:6: a[0]: three",
        "a.toml:1:7: b.c: two",
        "a.toml:1:11: b.c: one",
    ]
    assert report.warnings == ()


def test_warnings_are_kept_apart() -> None:
    report = Report()
    report.warning(DOCUMENT, ("b",), "hm")
    assert [str(warning) for warning in report.warnings] == ["a.toml:1:5: b: hm"]
    assert report.mistakes == ()


def test_what_is_missing_stands_where_it_should_have_been() -> None:
    assert DOCUMENT.known(("b", "x", 3, "y")) == ("b",)
    assert str(DOCUMENT.spot(("b", "x")).key) == "a.toml:1:1"


def test_a_file_name_starts_from_the_folder_of_the_file_that_says_it() -> None:
    assert DOCUMENT.absolute(("b", "c"), "x.pem") == Path("/srv/x.pem")
    assert DOCUMENT.absolute(("a", 0), "x.pem") == Path("/etc/wsrelay/x.pem")
    assert DOCUMENT.absolute(("a", 0), "/x.pem") == Path("/x.pem")


def test_rows_are_the_elements_of_an_array_and_of_nothing_else() -> None:
    assert DOCUMENT.rows("a") == [1]
    assert DOCUMENT.rows("b") == DOCUMENT.rows("z") == []

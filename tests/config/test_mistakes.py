import pytest

from wsrelay.config.mistakes import ConfigError, KeyPath, Mistake, Place, written


def test_a_mistake_reads_place_key_and_sentence() -> None:
    mistake = Mistake("unknown key", "timeouts.request_haed", Place("site.toml", 12, 5))
    assert str(mistake) == "site.toml:12:5: timeouts.request_haed: unknown key"


def test_a_mistake_of_an_option_has_no_line() -> None:
    assert str(Mistake("expected a port", place=Place("--listen", 0, 0))) == "--listen: expected a port"


def test_a_mistake_without_a_place_is_its_key_and_sentence() -> None:
    assert str(Mistake("expired", "chain")) == "chain: expired"


def test_an_error_tells_every_mistake_on_its_line() -> None:
    assert str(ConfigError((Mistake("one", "a"), Mistake("two", "b")))) == "a: one\nb: two"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("listen", 0, "tls", 1, "chain"), "listen[0].tls[1].chain"),
        (("a b", "c.d", "é"), '"a b"."c.d"."é"'),
        (("",), '""'),
        (("a\n",), r'"a\n"'),
    ],
)
def test_a_path_is_written_as_in_toml(path: KeyPath, text: str) -> None:
    assert written(path) == text

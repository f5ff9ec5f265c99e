import pytest

from wsrelay.config import words
from wsrelay.config.settings import Mode

KEYS = ["request_head", "response_head", "connect", "tunnel_idle"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("request_haed", "request_head"),
        ("Request-Head", "request_head"),
        ("conect", "connect"),
        ("tunel-idel", "tunnel_idle"),
        ("zzz", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_the_nearest_word_is_the_one_that_was_meant(word: str, meant: str | None) -> None:
    assert words.nearest(word, KEYS) == meant


def test_words_are_listed_as_a_sentence_needs_them() -> None:
    assert [words.listed(some) for some in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        '"a"',
        '"a" or "b"',
        '"a", "b" or "c"',
    ]


def test_a_choice_is_one_of_its_words() -> None:
    read = words.choice(Mode, later=("udp",))
    assert read("tcp") is Mode.TCP
    for value, told in (
        ("TCP", 'expected "http" or "tcp", found "TCP"'),
        (1, 'expected "http" or "tcp", found 1'),
        ("udp", '"udp" is not supported yet; expected "http" or "tcp"'),
    ):
        with pytest.raises(ValueError, match=f"^{told}$"):
            read(value)

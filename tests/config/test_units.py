from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config import units

FACTORS = {"s": 1, "m": 60, "h": 3600}
SIZES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@given(number=st.integers(1, 8000), unit=st.sampled_from("smh"))
def test_a_duration_is_a_number_and_a_unit(number: int, unit: str) -> None:
    assert units.duration(f"{number}{unit}") == number * FACTORS[unit]


@given(st.integers(1, 366 * 86400) | st.floats(0.001, 366 * 86400))
def test_a_number_alone_is_seconds(number: float) -> None:
    assert units.duration(number) == number


def test_a_duration_may_have_a_fraction() -> None:
    assert units.duration("1.5h") == 5400


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, "0s", "0h"])
def test_zero_is_a_duration_only_where_it_means_something(zero: object) -> None:
    assert units.duration_or_zero(zero) == 0
    with pytest.raises(ValueError, match="expected a duration above 0, found 0"):
        units.duration(zero)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", 'found ""'),
        ("10", 'found "10"'),
        ("10 s", 'found "10 s"'),
        ("10S", 'found "10S"'),
        ("-1s", 'found "-1s"'),
        ("1e3s", 'found "1e3s"'),
        ("٣s", 'found "٣s"'),
        ("10s\n", r'found "10s\\n"'),
        (-1, "found -1"),
        (float("nan"), "found nan"),
        (True, "found true"),
        (["10s"], "found an array"),
        ({"s": 1}, "found a table"),
        (date(2026, 1, 1), "found a date or time"),
        ("500ms", 'found "500ms"; milliseconds are written as a number of seconds: 0.5'),
        ("30d", 'found "30d"; days are written as hours: 720h'),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(value: object, found: str) -> None:
    with pytest.raises(
        ValueError, match=f'^expected a duration such as "10s", "5m", "1h" or a number of seconds, {found}$'
    ):
        units.duration(value)


@pytest.mark.parametrize("value", [float("inf"), 366 * 86400 + 1, "8785h", 10**400])
def test_a_duration_of_more_than_a_year_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="^expected a duration of at most a year, found "):
        units.duration_or_zero(value)


def test_what_others_are_told_to_remember_may_be_ten_years() -> None:
    assert (units.long_duration("17520h"), units.long_duration(0)) == (63_072_000, 0)
    with pytest.raises(ValueError, match="^expected a duration of at most 10 years, found "):
        units.long_duration(3660 * 86400 + 1)


@given(number=st.integers(0, 1024), unit=st.sampled_from(list(SIZES)))
def test_a_size_is_a_number_and_a_unit(number: int, unit: str) -> None:
    assert units.size(f"{number}{unit}") == number * SIZES[unit]


@given(st.integers(0, 2**40))
def test_a_number_alone_is_bytes(number: int) -> None:
    assert units.size(number) == number


@pytest.mark.parametrize("value", ["", "64", "1.5MiB", "64 KiB", -1, 1.0, True, [], None])
def test_what_is_no_size_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match='^expected a size such as "64KiB", "1MiB" or a number of bytes, found '):
        units.size(value)


@pytest.mark.parametrize(
    ("value", "meant"), [("64kb", "64KiB"), ("1M", "1MiB"), ("2 GB", "2GiB"), ("64kib", "64KiB"), ("8K", "8KiB")]
)
def test_a_size_in_other_units_is_refused_with_what_was_meant(value: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f'; did you mean "{meant}"\\?$'):
        units.size(value)


def test_a_size_beyond_a_tebibyte_is_refused() -> None:
    with pytest.raises(ValueError, match='^expected a size of at most 1024GiB, found "1025GiB"$'):
        units.size("1025GiB")


@given(st.text())
def test_any_text_is_taken_or_refused_and_nothing_else(text: str) -> None:
    for read in (units.duration, units.size):
        try:
            read(text)
        except ValueError as error:
            told = str(error)
        else:
            told = "expected"
        assert told.startswith("expected")


@pytest.mark.parametrize("value", [0, 11, True, 5.0, "5", None])
def test_a_count_is_a_whole_number_within_its_bounds(value: object) -> None:
    assert units.count(5, 1, 10) == 5
    with pytest.raises(ValueError, match="^expected a whole number from 1 to 10, found "):
        units.count(value, 1, 10)


def test_what_was_seen_is_cut_and_never_leaves_its_line() -> None:
    assert units.seen("x" * 81) == f'"{"x" * 80}"…'
    assert units.seen("\x1b[2J\n") == r'"\u001b[2J\n"'
    assert units.seen("聊天") == '"聊天"'

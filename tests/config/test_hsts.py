"""Strict-Transport-Security (`hsts`), RFC 6797 6.1."""

import re

import pytest

from wsrelay.config import hsts


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("8760h", 31_536_000), ("17520h", 63_072_000), (63_072_000, 63_072_000), (0, 0), ("0s", 0), ("1.5m", 90)],
)
def test_an_age_is_whole_seconds(value: object, seconds: int) -> None:
    found = hsts.max_age(value)
    assert (found, type(found)) == (seconds, int)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("0.5s", 'expected whole seconds, found "0.5s"'),
        (0.1, "expected whole seconds, found 0.1"),
        ("90000h", 'expected a duration of at most 10 years, found "90000h"'),
        (-1, 'expected a duration such as "10s"'),
        ("1y", 'expected a duration such as "10s"'),
    ],
)
def test_what_is_no_age_is_refused(value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        hsts.max_age(value)


@pytest.mark.parametrize(
    ("include_subdomains", "preload", "value"),
    [
        (False, False, b"max-age=7"),
        (True, False, b"max-age=7; includeSubDomains"),
        (False, True, b"max-age=7; preload"),
        (True, True, b"max-age=7; includeSubDomains; preload"),
    ],
)
def test_a_field_has_the_directives_that_were_said(include_subdomains: bool, preload: bool, value: bytes) -> None:
    assert hsts.field(max_age=7, include_subdomains=include_subdomains, preload=preload) == value

"""Single values (`values`); those that only name other rooms' words are tested with their tables in test_tables."""

import re
from collections.abc import Callable

import pytest

from wsrelay.config import values

Read = Callable[[object], object]


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (values.yes_or_no, True),
        (values.yes_or_no, False),
        (values.proxy_version, 1),
        (values.proxy_version, 2),
        (values.upstream_of, "site-2.a_b"),
        (values.reason, "the appliance cannot do better"),
        (values.name, "x" * 64),
    ],
)
def test_a_good_value_comes_as_it_is(read: Read, value: object) -> None:
    assert read(value) is value


@pytest.mark.parametrize(
    ("read", "value", "told"),
    [
        (values.yes_or_no, 0, "expected true or false, found 0"),
        (values.yes_or_no, "true", 'expected true or false, found "true"'),
        (values.proxy_version, 0, "expected 1 (text) or 2 (binary), found 0; for none leave the key out"),
        (values.proxy_version, 1.0, "expected 1 (text) or 2 (binary), found 1.0; for none leave the key out"),
        (values.proxy_version, "v2", 'expected 1 (text) or 2 (binary), found "v2"; for none leave the key out'),
        (values.upstream_of, {"com": "u"}, "expected the name of an upstream, found a table; a key with dots needs"),
        (values.upstream_of, ["u"], 'expected a name of at most 64 letters, digits, ".", "_" and "-", found an array'),
        (values.reason, "", 'expected a reason in words, found ""'),
        (values.reason, "\t", 'expected a reason in words, found "\\t"'),
        (values.reason, True, "expected a reason in words, found true"),
        (values.name, "x" * 65, 'expected a name of at most 64 letters, digits, ".", "_" and "-", found "xx'),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(read: Read, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        read(value)

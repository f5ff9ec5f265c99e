"""Origins as an operator writes them; what they match is tested where they are asked, in tests/core/test_admission."""

import re

import pytest

from wsrelay.config.origins import FORMS, origin


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("example.com", f'expected {FORMS}, found "example.com"; did you mean "https://example.com"?'),
        ("localhost:3000", f'expected {FORMS}, found "localhost:3000"; did you mean "https://localhost:3000"?'),
        (
            "https://example.com/",
            f'expected {FORMS}, found "https://example.com/"; an origin ends with the host: "https://example.com"',
        ),
        (
            "https://example.com/app?x=1",
            f'expected {FORMS}, found "https://example.com/app?x=1"; an origin ends with the host: '
            '"https://example.com"',
        ),
        (
            "wss://example.com",
            'expected the origin of the page, found "wss://example.com"; did you mean "https://example.com"?',
        ),
        ("https://user@example.com", f'expected {FORMS}, found "https://user@example.com"'),
        ("https://", f'expected {FORMS}, found "https://"'),
        ("", f'expected {FORMS}, found ""'),
        (3, f"expected {FORMS}, found 3"),
        ("https://exa mple.com", 'expected a host name, found "exa mple.com"'),
        ("https://a.*.com", 'expected a host name, found "a.*.com"'),
        ("https://*.", "expected a domain of your own"),
        ("https://*.com", 'expected a domain of your own after "*.", found "https://*.com"'),
        ("https://*.127.0.0.1", 'expected a domain of your own after "*."'),
        ("https://*:8443", 'expected "https://*" without a port'),
        ("ABSENT", f'expected {FORMS}, found "ABSENT"; did you mean "absent"?'),
        ("https://example.com:", 'expected a port from 1 to 65535, found ""'),
        ("https://example.com:99999", 'expected a port from 1 to 65535, found "99999"'),
        ("https://bücher.example", "expected the ASCII form of the name (xn--bcher-kva.example)"),
    ],
)
def test_what_is_no_origin_is_told_with_what_was_meant(value, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        origin(value)

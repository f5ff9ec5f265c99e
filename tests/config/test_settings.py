"""Settings that can be asked something (`settings`)."""

import pytest

from wsrelay.config.settings import Passing

PASSING = Passing(
    names={"chat.example.com": "chat", "*.example.com": "site"},
    protocols={b"acme-tls/1": "acme", b"h2": "pages", b"http/1.1": "old"},
)


@pytest.mark.parametrize(
    ("server_name", "protocols", "group"),
    [
        ("chat.example.com", [], "chat"),
        ("www.example.com", [], "site"),
        ("chat.example.com", [b"h2"], "chat"),
        ("a.www.example.com", [], None),
        ("example.com", [], None),
        ("com", [], None),
        ("", [], None),
        ("", [b"h2", b"http/1.1"], "pages"),
        ("other.test", [b"http/1.1", b"h2"], "pages"),
        ("other.test", [b"h2", b"acme-tls/1"], "acme"),
        ("other.test", [b"H2", b"h3"], None),
    ],
)
def test_a_name_counts_before_a_protocol_and_the_exact_one_before_the_wildcard(
    server_name: str, protocols: list[bytes], group: str | None
) -> None:
    assert PASSING.group_for(server_name, protocols) == group


def test_nothing_is_passed_on_where_nothing_is_said() -> None:
    assert not Passing()
    assert Passing().group_for("a.test", [b"h2"]) is None
    assert Passing(names={"a.test": "u"})
    assert Passing(protocols={b"h2": "u"})

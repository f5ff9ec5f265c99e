"""Names and protocols that a ClientHello can ask for (`server_names`)."""

import re

import pytest

from wsrelay.config import server_names

FORMS = '"a.example.com" or "*.example.com"'


@pytest.mark.parametrize(
    "value", ["a.example.com", "*.example.com", "A.Example.com", "localhost", "xn--bcher-kva.test"]
)
def test_a_server_name_comes_as_it_is_written(value: str) -> None:
    """Its place in the file is found by it; what folds case comes later."""
    assert server_names.server_name(value) == value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", f'expected {FORMS}, found ""'),
        (3, f"expected {FORMS}, found 3"),
        ("*", f"expected {FORMS}; what no name here is for goes where the listener itself says"),
        (".example.com", f'expected {FORMS}, found ".example.com"; did you mean "*.example.com"?'),
        ("10.0.0.1", f'expected {FORMS}, found "10.0.0.1"; clients name no addresses (RFC 6066 3)'),
        ("[::1]", f'expected {FORMS}, found "[::1]"; clients name no addresses (RFC 6066 3)'),
        ("2001:db8::1", f'expected {FORMS}, found "2001:db8::1"; clients name no addresses (RFC 6066 3)'),
        ("a.test:443", f'expected {FORMS} without a port, found "a.test:443"; did you mean "a.test"?'),
        ("a.test.", 'expected a host name without a dot at the end, found "a.test."'),
        ("bücher.test", "expected the ASCII form of the name (xn--bcher-kva.test), found"),
        ("a.*.test", 'expected a host name, found "a.*.test"'),
        ("a*.test", 'expected a host name, found "a*.test"'),
        ("*.*.test", 'expected a host name, found "*.test"'),
        ("*.", 'expected a host name, found ""'),
        ("a test", 'expected a host name, found "a test"'),
    ],
)
def test_what_no_client_asks_for_is_refused(value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        server_names.server_name(value)


@pytest.mark.parametrize(
    ("value", "name"),
    [("App.internal", "app.internal"), ("10.0.0.1", "10.0.0.1"), ("[2001:DB8:0::1]", "2001:db8::1")],
)
def test_an_upstream_is_known_by_one_name_or_address(value: str, name: str) -> None:
    assert server_names.own_name(value) == name


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", 'expected a host name such as "app.internal", found ""'),
        (True, 'expected a host name such as "app.internal", found true'),
        ("*.internal", 'expected one host name, such as the certificate is for, found "*.internal"'),
        ("app:443", 'expected a host name without a port, found "app:443"'),
        ("[::1]:443", 'expected a host name without a port, found "[::1]:443"'),
        ("::1", 'expected an IPv6 address in brackets, such as "[::1]", found "::1"'),
        ("app.internal.", "expected a host name without a dot at the end"),
    ],
)
def test_what_no_certificate_is_for_is_refused(value: object, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        server_names.own_name(value)


@pytest.mark.parametrize("value", ["h2", "http/1.1", "acme-tls/1", "x" * 255, "é" * 127])
def test_a_protocol_is_any_text_that_fits(value: str) -> None:
    assert server_names.protocol(value) == value


@pytest.mark.parametrize("value", ["", "x" * 256, "é" * 128, "h2,http/1.1", "h2 ", "h2;http/1.1", 2])
def test_what_is_not_one_protocol_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='^expected one protocol of ALPN, such as "h2" or "http/1.1", found '):
        server_names.protocol(value)


@pytest.mark.parametrize("protocols", [["h2"], ["h2", "http/1.1"], ["acme-tls/1", "h2", "imap"], ["http/1.0", "h2"]])
def test_there_is_no_doubt_about_protocols_that_clients_offer(protocols: list[str]) -> None:
    assert list(server_names.protocol_doubts(protocols)) == []


@pytest.mark.parametrize(
    ("protocols", "doubts"),
    [
        (["http/2"], [("http/2", 'never reached: no client offers it by that name; did you mean "h2"?')]),
        (["H2"], [("H2", 'never reached: no client offers it by that name; did you mean "h2"?')]),
        (["h2c", "h2"], [("h2c", 'never reached: no client offers it by that name; did you mean "h2"?')]),
        (["HTTP/1.1"], [("HTTP/1.1", 'never reached: no client offers it by that name; did you mean "http/1.1"?')]),
        (["wss"], [("wss", 'never reached: no client offers it by that name; did you mean "http/1.1"?')]),
        (["h3-29"], [("h3-29", "never reached: HTTP/3 is offered over QUIC, and not here")]),
        (
            ["http/1.1", "imap", "h2"],
            [("h2", "hardly ever reached: who offers h2 offers http/1.1 too, which stands before it")],
        ),
    ],
)
def test_protocols_that_clients_do_not_offer_are_told(protocols: list[str], doubts: list[tuple[str, str]]) -> None:
    assert list(server_names.protocol_doubts(protocols)) == doubts


def test_a_name_lies_below_every_domain_that_it_ends_with() -> None:
    assert server_names.domains(["a.b.example", "*.c.example", "localhost"]) == {"b.example", "c.example", "example"}
    assert server_names.domains([]) == frozenset()

"""Keys of one table that need or exclude each other (`rules`)."""

from collections.abc import Callable

import pytest

from wsrelay.config import load, rules

Told = Callable[[str], list[str]]

UPSTREAM = '[[upstream]]\nname = "u"\nservers = ["a:1"]\n'  # three lines
DENIED_TOO = "deny has it too, and deny wins; allow alone already keeps everybody else out"
ROUTE = '[[route]]\npath = "/"\n'


def site(listen: str = "", route: str = 'upstream = "u"') -> str:
    return f'{UPSTREAM}[[listen]]\naddress = "a:80"\n{listen}\n{ROUTE}{route}\n'


def test_a_configuration_needs_a_listener(mistakes: Told) -> None:
    assert mistakes("") == ["site.toml:1:1: listen: missing; expected at least one [[listen]] with an address"]


@pytest.mark.parametrize(
    ("listen", "told"),
    [
        (
            'mode = "tcp"',
            [
                '4:3: listen[0].upstream: missing; mode = "tcp" sends every connection to an upstream,'
                " or by sni and alpn to several"
            ],
        ),
        (
            'redirect = "https"\nmode = "tcp"\nupstream = "u"',
            ['6:1: listen[0].redirect: not with mode = "tcp", which reads no requests'],
        ),
        ('upstream = "u"', ['6:1: listen[0].upstream: only with mode = "tcp"; in mode "http" a [[route]] names it']),
        (
            'allow = ["::1"]\ndeny = ["::1"]',
            [f"6:10: listen[0].allow[0]: {DENIED_TOO}"],
        ),
    ],
)
def test_keys_of_a_listener_that_do_not_go_together_are_told(mistakes: Told, listen: str, told: list[str]) -> None:
    text = site(listen)
    if "tcp" in listen:  # then a second listener is for the route
        text += '[[listen]]\naddress = "b:80"\n'
    assert mistakes(text) == [f"site.toml:{line}" for line in told]


def test_a_redirect_to_https_is_not_for_clients_that_use_it(mistakes: Told) -> None:
    listen = '[[listen]]\naddress = "b:443"\ntls = [{ chain = "c", key = "k" }]\nredirect = "https"\n'
    told = "site.toml:13:1: listen[1].redirect: not with tls: a client that is here uses https already"
    assert told in mistakes(site() + listen)


@pytest.mark.parametrize("key", ['upstrem = "u"', 'snni = { "a" = "u" }', 'sni = { "a:1" = "u" }'])
def test_nothing_is_called_missing_beside_a_key_that_is_not_understood(mistakes: Told, key: str) -> None:
    assert [line for line in mistakes(site(f'mode = "tcp"\n{key}')) if "missing" in line] == []


def test_a_mode_that_is_wrong_is_not_taken_for_http(mistakes: Told) -> None:
    told = mistakes(site('mode = "tpc"\nupstream = "u"'))
    assert told == ['site.toml:6:8: listen[0].mode: expected "http" or "tcp", found "tpc"']


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ("", ["7:3: route[0]: expected one of upstream, redirect and respond, found none"]),
        ('upstream = "u"\nrespond = {}', ["10:1: route[0].respond: not with upstream: a route does one thing"]),
        (
            'respond = {}\nredirect = { to = "/" }\nupstream = "u"',
            [
                "9:1: route[0].respond: not with upstream: a route does one thing",
                "10:1: route[0].redirect: not with upstream: a route does one thing",
            ],
        ),
        ('respond = {}\nrewrite = "/"', ["10:1: route[0].rewrite: only with upstream"]),
        ('redirect = { to = "/" }\nhost_header = "upstream"', ["10:1: route[0].host_header: only with upstream"]),
        (
            'respond = { status = 204, body = "x" }',
            ["9:27: route[0].respond.body: not with status 204, which has no content (RFC 9110 6.4.1)"],
        ),
        ("respond = { status = 304 }", []),
        ('respond = {}\norigins = ["absent"]', ["10:1: route[0].origins: only with upstream"]),
        (
            'upstream = "u"\nwebsocket = "refuse"\norigins = ["absent"]',
            ['11:1: route[0].origins: not with websocket = "refuse": nobody may open one here'],
        ),
        ('upstream = "u"\norigins = []', ["10:11: route[0].origins: expected at least one element"]),
        ('upstream = "u"\nallow = []', ["10:9: route[0].allow: expected at least one element"]),
        ('upstream = "u"\nallow = ["10.0.0.0/8", "unix:"]\ndeny = ["10.1.0.0/16", "::/0"]', []),
        (
            'upstream = "u"\nallow = ["10.0.0.0/8", "unix:"]\ndeny = ["0.0.0.0/0", "unix:"]',
            [
                f"10:10: route[0].allow[0]: {DENIED_TOO}",
                f"10:24: route[0].allow[1]: {DENIED_TOO}",
            ],
        ),
        ("static = {}", ["9:1: route[0].static: not supported yet"]),
        ('upstrem = "u"\nrewrite = "/"', ["9:1: route[0].upstrem: unknown key; nearest known key: upstream"]),
        (
            "upstream = 3",
            ['9:12: route[0].upstream: expected a name of at most 64 letters, digits, ".", "_" and "-", found 3'],
        ),
    ],
)
def test_a_route_does_exactly_one_thing(mistakes: Told, route: str, told: list[str]) -> None:
    assert mistakes(site(route=route)) == [f"site.toml:{line}" for line in told]


def test_time_limits_that_no_route_can_have_are_warned_about(loaded: Callable[[str], load.Loaded]) -> None:
    timeouts = "timeouts = { connect = 1, tls_handshake = 1, request_head = 1, http_idle = 1, drain = 1 }"
    warnings = loaded(site(route=f'upstream = "u"\n{timeouts}')).warnings
    assert [warning.path.rpartition(".")[2] for warning in warnings] == list(rules.NOT_OF_A_ROUTE)
    assert str(warnings[0]) == (
        "site.toml:10:43: route[0].timeouts.tls_handshake: has no effect on a route; it belongs into [timeouts]"
    )

"""What nobody can reach (`reach`)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsrelay.config import load

Told = Callable[[str], list[str]]
ROUTE = '[[route]]\npath = "/"\nrespond = {}\n'


def listeners(*addresses: str) -> str:
    return ROUTE + "".join(f'[[listen]]\nname = "l{row}"\naddress = "{each}"\n' for row, each in enumerate(addresses))


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("0.0.0.0:80", "0.0.0.0:80", ""),
        ("localhost:80", "127.0.0.1:80", ""),
        ("0.0.0.0:80", "127.0.0.1:80", " (0.0.0.0:80 and 127.0.0.1:80 overlap)"),
        ("127.0.0.1:80", "0.0.0.0:80", " (127.0.0.1:80 and 0.0.0.0:80 overlap)"),
        ("[::]:80", "[::1]:80", " ([::]:80 and [::1]:80 overlap)"),
        ("[::0]:80", "[0::]:80", ""),
        ("0.0.0.0:80", "example.com:80", " (0.0.0.0:80 and example.com:80 overlap)"),
        ("unix:a.sock", "unix:./a.sock", ""),
        ("systemd:a", "systemd:a", ""),
    ],
)
def test_two_listeners_on_one_address_are_a_mistake(mistakes: Told, first: str, second: str, overlap: str) -> None:
    told = f"site.toml:9:11: listen[1].address: site.toml:6:11 listens on this address already{overlap}"
    assert mistakes(listeners(first, second)) == [told]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("0.0.0.0:80", "0.0.0.0:81"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("0.0.0.0:80", "[::]:80"),
        ("0.0.0.0:80", "[::1]:80"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("unix:a.sock", "unix:b.sock"),
        ("systemd:a", "systemd:b"),
    ],
)
def test_two_listeners_on_two_addresses_are_fine(mistakes: Told, first: str, second: str) -> None:
    assert mistakes(listeners(first, second)) == []


def test_an_overlap_is_told_beside_other_mistakes_of_the_same_listener(mistakes: Told) -> None:
    told = mistakes(listeners("a:80", "a:80") + "tls = []\n")
    assert [line.partition(": ")[2][:18] for line in told] == ["listen[1].address:", "listen[1].tls: exp"]


def routes(*lines: str) -> str:
    listen = "".join(f'[[listen]]\nname = "{name}"\naddress = "{name}:80"\n' for name in "abc")
    return listen + "".join(f"[[route]]\n{each}\nrespond = {{}}\n" for each in lines)


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        ('path = "/x"', 'path = "/x"', ""),
        ('path = "=/x"', 'path = "=/x"', ""),
        ('path = "~^/x"', 'path = "~^/x"', ""),
        ('path = "/x%40"', 'path = "/x@"', ""),
        ('path = "/x%2f"', 'path = "/x%2F"', ""),
        ('path = "/聊天"', 'path = "/%E8%81%8A%E5%A4%A9"', ""),
        ('path = "/x"\nhost = "Example.com"', 'path = "/x"\nhost = "example.com"', ""),
        ('path = "/x"', 'path = "/x"\nlisten = ["a"]', ""),
        ('path = "/x"\nlisten = ["a", "b"]', 'path = "/x"\nlisten = ["c", "b"]', " on b"),
        ('path = "/x"\nlisten = ["a", "b"]', 'path = "/x"', " on a, b"),
    ],
)
def test_a_route_behind_one_like_it_is_never_reached(mistakes: Told, first: str, second: str, where: str) -> None:
    row = 13 + first.count("\n")
    assert mistakes(routes(first, second, 'path = "/"')) == [
        f"site.toml:{row}:3: route[1]: never reached{where}: the route at site.toml:10:3 has the same host and path"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('path = "/x"', 'path = "=/x"'),
        ('path = "/x"', 'path = "/x/"'),
        ('path = "/x"', 'path = "/X"'),
        ('path = "/x%2Fy"', 'path = "/x/y"'),
        ('path = "/x"', 'path = "~/x"'),
        ('path = "/x"', 'path = "/x"\nhost = "a"'),
        ('path = "/x"\nhost = "a"', 'path = "/x"\nhost = "*.a"'),
        ('path = "/x"\nlisten = ["a"]', 'path = "/x"\nlisten = ["b", "c"]'),
    ],
)
def test_routes_that_differ_are_both_reached(mistakes: Told, first: str, second: str) -> None:
    assert mistakes(routes(first, second, 'path = "/"')) == []


def test_a_twin_is_told_although_every_listener_has_a_mistake(mistakes: Told) -> None:
    told = mistakes(f'[[listen]]\naddress = "a"\n{ROUTE}{ROUTE}')
    assert len(told) == 2
    assert told[1].startswith("site.toml:6:3: route[1]: never reached: ")


def test_routes_without_a_listener_that_takes_requests_are_never_reached(mistakes: Told) -> None:
    assert mistakes(f'{ROUTE}[[listen]]\naddress = "a:80"\nredirect = "https"\n') == [
        'site.toml:1:3: route[0]: never reached: no listener of mode "http" takes requests'
    ]


def test_a_listener_without_any_route_is_a_mistake(mistakes: Told) -> None:
    text = '[[listen]]\naddress = "a:80"\n'
    told = "no [[route]] is for this listener: every request would get 404"
    assert mistakes(text) == [f"site.toml:1:3: listen[0]: {told}"]
    elsewhere = '[[listen]]\naddress = "b:80"\n[[route]]\npath = "/"\nlisten = ["b:80"]\nrespond = {}\n'
    assert mistakes(text + elsewhere) == [f"site.toml:1:3: listen[0]: {told}"]


def test_a_listener_is_not_called_idle_where_a_route_could_not_be_read(mistakes: Told) -> None:
    text = '[[listen]]\naddress = "a:80"\n[[route]]\npath = "/"\nlisten = "a:80"\nrespond = {}\n'
    assert mistakes(text) == ['site.toml:5:10: route[0].listen: expected an array, found "a:80"']


RAW = '[[upstream]]\nname = "raw"\nservers = ["raw:1"]\n'
TLS = 'tls = [{ chain = "tls/fullchain.pem", key = "tls/privkey.pem" }]\n'


def edge(*lines: str) -> str:
    """A listener with TLS from the seventh line on, and a route for its other clients."""
    return f'{ROUTE}{RAW}[[listen]]\nname = "edge"\naddress = "a:443"\n{TLS}' + "".join(f"{each}\n" for each in lines)


def warnings(loaded: Callable[[str], load.Loaded], text: str) -> list[str]:
    return [str(warning) for warning in loaded(text).warnings]


def test_protocols_that_no_client_offers_are_warned_about(pems: Path, loaded: Callable[[str], load.Loaded]) -> None:
    assert warnings(loaded, edge('alpn = { "http/2" = "raw", "h3" = "raw" }')) == [
        'site.toml:11:21: listen[0].alpn."http/2": never reached: no client offers it by that name; did you mean "h2"?',
        "site.toml:11:35: listen[0].alpn.h3: never reached: HTTP/3 is offered over QUIC, and not here",
    ]
    assert warnings(loaded, edge('alpn = { h2 = "raw", "acme-tls/1" = "raw" }')) == []


def test_routes_that_are_left_without_clients_are_warned_about(
    pems: Path, loaded: Callable[[str], load.Loaded]
) -> None:
    alpn = 'alpn = { "http/1.1" = "raw" }'
    assert warnings(loaded, edge(alpn)) == [
        'site.toml:11:23: listen[0].alpn."http/1.1": leaves hardly a client to the routes: browsers offer http/1.1 for'
        " WebSockets, and beside h2 for pages"
    ]
    layer4 = edge(alpn, 'mode = "tcp"', 'upstream = "raw"').replace(TLS, "")
    assert warnings(loaded, f'{layer4}[[listen]]\naddress = "b:80"\n') == []


def route(host: str, *lines: str) -> str:
    return f'[[route]]\nhost = "{host}"\npath = "/"\nrespond = {{}}\n' + "".join(f"{each}\n" for each in lines)


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("a.test", False),
        ("A.test", False),
        ("x.b.test", False),
        ("x.y.b.test", True),
        ("b.test", True),
        # Below it are names that are not passed on.
        ("*.b.test", True),
        ("c.test", True),
    ],
)
def test_a_route_whose_host_is_passed_on_is_never_reached(
    pems: Path, loaded: Callable[[str], load.Loaded], host: str, reached: bool
) -> None:
    text = edge('sni = { "a.test" = "raw", "*.b.test" = "raw" }') + route(host)
    told = f"site.toml:13:8: route[1].host: never reached: sni passes on every client that asks for {host.lower()}"
    assert [line for line in warnings(loaded, text) if "never reached" in line] == ([] if reached else [told])


@pytest.mark.parametrize(
    ("lines", "reached"), [("", True), ('listen = ["edge"]', False), ('listen = ["edge", "plain"]', True)]
)
def test_a_route_is_reached_where_any_listener_of_its_own_does_not_pass_it_on(
    pems: Path, loaded: Callable[[str], load.Loaded], lines: str, reached: bool
) -> None:
    text = edge('sni = { "a.test" = "raw" }') + '[[listen]]\nname = "plain"\naddress = "a:80"\n'
    found = warnings(loaded, text + route("a.test", lines))
    assert any("never reached" in line for line in found) is not reached

"""Names across tables (`references`)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsrelay.config import load, references
from wsrelay.config.schema import ListenTable

Told = Callable[[str], list[str]]


def test_an_unknown_upstream_is_told_with_the_nearest_known(mistakes: Told) -> None:
    text = """
[[listen]]
address = "a:1"
mode = "tcp"
upstream = "chta"
[[listen]]
address = "a:2"
[[upstream]]
name = "chat"
servers = ["a:3"]
[[route]]
path = "/"
upstream = "xyz"
"""
    assert mistakes(text) == [
        'site.toml:5:12: listen[0].upstream: no upstream has the name "chta"; nearest known name: "chat"',
        'site.toml:13:12: route[0].upstream: no upstream has the name "xyz"; known names: "chat"',
    ]


def test_an_upstream_with_a_mistake_of_its_own_is_not_unknown(mistakes: Told) -> None:
    text = (
        '[[listen]]\naddress = "a:1"\n[[route]]\npath = "/"\nupstream = "u"\n[[upstream]]\nname = "u"\nservers = []\n'
    )
    assert mistakes(text) == ["site.toml:8:11: upstream[0].servers: expected at least one element"]


def test_an_upstream_that_nobody_names_is_a_warning(loaded: Callable[[str], load.Loaded]) -> None:
    text = '[[listen]]\naddress = "a:1"\n[[route]]\npath = "/"\nrespond = {}\n'
    text += '[[upstream]]\nname = "u"\nservers = ["a:1"]\n'
    assert [str(warning) for warning in loaded(text).warnings] == [
        'site.toml:7:8: upstream[0].name: no route or listener uses the upstream "u"'
    ]


def test_two_upstreams_or_listeners_of_one_name_are_told_with_the_first(mistakes: Told) -> None:
    text = """
[[listen]]
name = "x"
address = "a:1"
mode = "tcp"
upstream = "u"
[[listen]]
name = "x"
address = "a:2"
mode = "tcp"
upstream = "u"
[[upstream]]
name = "u"
servers = ["a:3"]
[[upstream]]
name = "u"
servers = ["a:4"]
"""
    assert mistakes(text) == [
        'site.toml:8:8: listen[1].name: "x" is the name of another one already, at site.toml:3:8',
        'site.toml:16:8: upstream[1].name: "u" is the name of another one already, at site.toml:13:8',
    ]


def test_two_listeners_on_ports_that_the_kernel_chooses_need_names(mistakes: Told) -> None:
    text = '[[listen]]\naddress = "a:0"\n[[listen]]\naddress = "a:0"\n{}[[route]]\npath = "/"\nrespond = {{}}\n'
    assert mistakes(text.format("")) == [
        "site.toml:4:11: listen[1].address: two listeners go by a:0; give this one a name"
    ]
    assert mistakes(text.format('name = "second"\n')) == []


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("public", None),
        ("[::1]:80", None),
        ("unix:local.sock", None),
        ("systemd:x", None),
        ("pubic", 'no listener has the name "pubic"; nearest known name: "public"'),
        ("raw", 'the listener "raw" is of mode "tcp": it has no routes'),
        ("old", 'the listener "old" redirects everything: it has no routes'),
    ],
)
def test_a_route_names_listeners_that_have_routes(mistakes: Told, wanted: str, told: str | None) -> None:
    text = f"""
[[route]]
path = "/here"
listen = ["{wanted}"]
upstream = "u"
[[route]]
path = "/"
upstream = "u"
[[listen]]
name = "public"
address = "a:1"
[[listen]]
address = "[::1]:80"
[[listen]]
address = "unix:local.sock"
[[listen]]
address = "systemd:x"
[[listen]]
name = "raw"
address = "a:3"
mode = "tcp"
upstream = "u"
[[listen]]
name = "old"
address = "a:4"
redirect = "https"
[[upstream]]
name = "u"
servers = ["a:5"]
"""
    assert mistakes(text) == ([f"site.toml:4:11: route[0].listen[0]: {told}"] if told else [])


def test_a_listener_with_a_mistake_of_its_own_is_not_unknown(mistakes: Told) -> None:
    text = '[[listen]]\nname = "x"\naddress = "a"\n[[route]]\npath = "/"\nlisten = ["x"]\nrespond = {}\n'
    assert len(mistakes(text)) == 1


def test_a_listener_goes_by_its_address_where_it_has_no_name() -> None:
    assert references.name(ListenTable.model_validate({"address": "[::0]:80"})) == "[::]:80"
    assert references.name(ListenTable.model_validate({"address": "a:80", "name": "x"})) == "x"


def test_a_long_list_of_names_is_cut(mistakes: Told) -> None:
    upstreams = "".join(f'[[upstream]]\nname = "{number}"\nservers = ["a:1"]\n' for number in range(100, 130))
    text = f'[[listen]]\naddress = "a:1"\n[[route]]\npath = "/"\nupstream = "zzz"\n{upstreams}'
    assert mistakes(text)[0].endswith('"117", "118", "119"')


PASSING = """
[[upstream]]
name = "chat"
servers = ["a:3"]
[[upstream]]
name = "secure"
servers = ["a:4"]
tls = {}
[[listen]]
address = "a:2"
mode = "tcp"
"""


def test_upstreams_behind_names_and_protocols_must_exist_and_count_as_used(
    mistakes: Told, loaded: Callable[[str], load.Loaded]
) -> None:
    wrong = 'sni = { "Chat.test" = "chta", "x.test" = "chat" }\nalpn = { h2 = "caht", "http/1.1" = "zzz" }\n'
    assert mistakes(PASSING + wrong) == [
        'site.toml:12:23: listen[0].sni."Chat.test": no upstream has the name "chta"; nearest known name: "chat"',
        'site.toml:13:15: listen[0].alpn.h2: no upstream has the name "caht"; nearest known name: "chat"',
        'site.toml:13:36: listen[0].alpn."http/1.1": no upstream has the name "zzz"; known names: "chat", "secure"',
    ]
    for right in ('sni = { "x.test" = "chat" }\n', 'alpn = { h2 = "chat" }\n'):
        assert [str(warning) for warning in loaded(PASSING + right).warnings] == [
            'site.toml:6:8: upstream[1].name: no route or listener uses the upstream "secure"'
        ]


TWICE = (
    '"secure" has tls of its own, and TLS inside TLS is what no server expects; name an upstream without, for the'
    " client's own TLS reaches it"
)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('sni = { "x.test" = "secure" }', ['12:20: listen[0].sni."x.test"']),
        ('alpn = { h2 = "secure" }', ["12:15: listen[0].alpn.h2"]),
        # What is not passed on is the client's TLS as well.
        ('alpn = { h2 = "chat" }\nupstream = "secure"', ["13:12: listen[0].upstream"]),
        # A client that speaks no TLS gets some on the way.
        ('upstream = "secure"', []),
    ],
)
def test_tls_that_passes_through_gets_none_around_it(mistakes: Told, lines: str, told: list[str]) -> None:
    assert mistakes(f"{PASSING}{lines}\n") == [f"site.toml:{place}: {TWICE}" for place in told]


def test_what_is_ended_here_may_go_on_in_tls(pems: Path, mistakes: Told) -> None:
    tls = 'tls = [{ chain = "tls/fullchain.pem", key = "tls/privkey.pem" }]\n'
    assert mistakes(f'{PASSING}alpn = {{ h2 = "chat" }}\nupstream = "secure"\n{tls}') == []


def test_one_upstream_for_tls_and_for_plain_bytes_is_a_warning(
    pems: Path, loaded: Callable[[str], load.Loaded]
) -> None:
    tls = 'tls = [{ chain = "tls/fullchain.pem", key = "tls/privkey.pem" }]\n'
    text = PASSING.replace("tls = {}\n", "") + f'{tls}alpn = {{ h2 = "chat" }}\n'
    both = '"chat" gets the client\'s TLS from here, and plain bytes from site.toml:{}; make it two upstreams'
    unused = 'site.toml:6:8: upstream[1].name: no route or listener uses the upstream "secure"'
    layer4 = loaded(f'{text}upstream = "chat"\n').warnings
    assert [str(warning) for warning in layer4] == [
        unused,
        f"site.toml:12:15: listen[0].alpn.h2: {both.format('13:12')}",
    ]
    route = '[[route]]\npath = "/"\nupstream = "chat"\n'
    layer7 = loaded(text.replace('mode = "tcp"', "") + route).warnings
    assert [str(warning) for warning in layer7] == [
        unused,
        f"site.toml:12:15: listen[0].alpn.h2: {both.format('15:12')}",
    ]
    apart = text.replace('= "chat" }', '= "secure" }').replace('mode = "tcp"', "") + route
    assert loaded(apart).warnings == ()


@pytest.mark.parametrize(
    ("server", "tls", "warned"),
    [("a:443", "", True), ("a:8443", "", False), ("a:443", "tls = {}", False), ("unix:a.sock", "", False)],
)
def test_requests_to_the_port_of_https_most_likely_want_tls(
    loaded: Callable[[str], load.Loaded], server: str, tls: str, warned: bool
) -> None:
    text = '[[listen]]\naddress = "b:1"\n[[route]]\npath = "/"\nupstream = "u"\n'
    text += f'[[upstream]]\nname = "u"\nservers = ["a:1", "{server}"]\n{tls}\n'
    told = "site.toml:8:19: upstream[0].servers[1]: port 443 is https, and without tls it gets plain HTTP; say tls = {}"
    assert [str(warning) for warning in loaded(text).warnings] == ([told] if warned else [])


def test_layer_4_may_reach_the_port_of_https_as_it_is(loaded: Callable[[str], load.Loaded]) -> None:
    text = '[[listen]]\naddress = "b:1"\nmode = "tcp"\nupstream = "u"\n'
    assert loaded(f'{text}[[upstream]]\nname = "u"\nservers = ["a:443"]\n').warnings == ()

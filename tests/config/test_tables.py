"""What is wrong with single values: the exact line that an operator sees."""

from collections.abc import Callable

import pytest

from wsrelay.config import origins, schema

# Good by itself, so that one mistake of a test stands alone; the tests add to it.
SITE = """[[listen]]
address = "127.0.0.1:80"
[[upstream]]
name = "u"
servers = ["a:1"]
[[route]]
path = "/"
upstream = "u"
"""
LISTEN = '[[route]]\npath = "/"\nrespond = {}\n[[listen]]\naddress = "127.0.0.1:80"\n'
UPSTREAM = (
    '[[listen]]\naddress = "a:80"\n[[route]]\npath = "/"\nupstream = "u"\n[[upstream]]\nname = "u"\nservers = ["a:1"]\n'
)

FORMS = '"host:port", "[::1]:port", "unix:/path"'

Told = Callable[[str], list[str]]


def test_the_texts_that_these_tests_add_to_are_good(mistakes: Told) -> None:
    assert [mistakes(text) for text in (SITE, LISTEN, UPSTREAM)] == [[], [], []]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("lissten = 1", "1:1: lissten: unknown key; nearest known key: listen"),
        ("zzz = 1", "1:1: zzz: unknown key; known keys: relay, timeouts, limits, listen, upstream, route, include"),
        (
            "relay = 1",
            "1:9: relay: expected a table with pump, pump_threads, trusted_proxies, access_log, access_log_format,"
            " found 1",
        ),
        ("relay.pumpe = 1", "1:7: relay.pumpe: unknown key; nearest known key: pump"),
        ('relay.pump = "fast"', '1:14: relay.pump: expected "auto", "native" or "reactor", found "fast"'),
        ("relay.pump = true", '1:14: relay.pump: expected "auto", "native" or "reactor", found true'),
        ("relay.pump_threads = -1", "1:22: relay.pump_threads: expected a whole number from 0 to 256, found -1"),
        ('relay.pump_threads = "2"', '1:22: relay.pump_threads: expected a whole number from 0 to 256, found "2"'),
        ('relay.admin = "127.0.0.1:9180"', "1:7: relay.admin: not supported yet"),
        ('relay.trusted_proxies = "::1"', '1:25: relay.trusted_proxies: expected an array, found "::1"'),
        (
            'relay.trusted_proxies = ["::1", "::2/8"]',
            '1:33: relay.trusted_proxies[1]: expected a network without host bits, found "::2/8"; did you mean "::/8"?',
        ),
        (
            'relay.access_log = "stdot"',
            '1:20: relay.access_log: expected "stdout", "journal", "off" or a file name, found "stdot";'
            ' did you mean "stdout"?',
        ),
        (
            'relay.access_log = ""',
            '1:20: relay.access_log: expected "stdout", "journal", "off" or a file name, found ""',
        ),
        ('relay.access_log_format = "xml"', '1:27: relay.access_log_format: expected "text" or "json", found "xml"'),
        ('timeouts.request_haed = "1s"', "1:10: timeouts.request_haed: unknown key; nearest known key: request_head"),
        ("timeouts.head_bytes = 1", "1:10: timeouts.head_bytes: unknown key here; it belongs into [limits]"),
        ('timeouts.connect = "0s"', "1:20: timeouts.connect: expected a duration above 0, found 0"),
        (
            "timeouts.drain = true",
            '1:18: timeouts.drain: expected a duration such as "10s", "5m", "1h" or a number of seconds, found true',
        ),
        ("limits.connections = 0", "1:22: limits.connections: expected a whole number from 1 to 10000000, found 0"),
        ("limits.head_bytes = 1023", "1:21: limits.head_bytes: expected a size from 1KiB to 1MiB, found 1023"),
        ("limits.head_fields = 7", "1:22: limits.head_fields: expected a whole number from 8 to 10000, found 7"),
        (
            'limits.body_bytes = "1mb"',
            '1:21: limits.body_bytes: expected a size such as "64KiB", "1MiB" or a number of bytes, found "1mb";'
            ' did you mean "1MiB"?',
        ),
        (
            "limits.connections_per_address = -1",
            "1:34: limits.connections_per_address: expected a whole number from 0 to 10000000, found -1",
        ),
        (
            'limits.handshakes_per_second = "5"',
            '1:32: limits.handshakes_per_second: expected a whole number from 0 to 10000000, found "5"',
        ),
    ],
)
def test_a_mistake_in_a_single_table_is_told_where_it_stands(mistakes: Told, line: str, told: str) -> None:
    assert mistakes(f"{line}\n{SITE}") == [f"site.toml:{told}"]


@pytest.mark.parametrize("key", ["tunnel_idle", "drain"])
def test_never_and_at_once_are_written_as_zero(mistakes: Told, key: str) -> None:
    assert mistakes(f"timeouts.{key} = 0\n{SITE}") == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("adress = 1", "6:1: listen[0].adress: unknown key; nearest known key: address"),
        (
            'name = "a b"',
            '6:8: listen[0].name: expected a name of at most 64 letters, digits, ".", "_" and "-", found "a b"',
        ),
        ('mode = "udp"', '6:8: listen[0].mode: expected "http" or "tcp", found "udp"'),
        ("tls = []", "6:7: listen[0].tls: expected at least one element"),
        ('tls = "a"', '6:7: listen[0].tls: expected an array, found "a"'),
        ('tls = ["a"]', '6:8: listen[0].tls[0]: expected a table with chain, key, found "a"'),
        (
            'tls = [{ key = "k" }]',
            "6:8: listen[0].tls[0].chain: missing; expected a PEM file with the certificate chain, leaf first",
        ),
        (
            'tls = [{ chain = "c", key = "" }]',
            '6:29: listen[0].tls[0].key: expected a file name, found ""',
        ),
        ('redirect = "http"', '6:12: listen[0].redirect: expected "https", found "http"'),
        ("accept_proxy = 1", "6:16: listen[0].accept_proxy: expected true or false, found 1"),
        ("client_ca = true", "6:13: listen[0].client_ca: expected a file name, found true"),
        (
            'client_certificate = "optional"',
            '6:22: listen[0].client_certificate: expected "require" or "request", found "optional"',
        ),
        ('unknown_sni = "refuse"', '6:15: listen[0].unknown_sni: expected "default" or "reject", found "refuse"'),
        ("tls_min = 1.2", '6:11: listen[0].tls_min: expected "1.2" or "1.3", found 1.2'),
        ('tls_min = "1.0"', '6:11: listen[0].tls_min: expected "1.2" or "1.3", found "1.0"'),
        (
            'ciphers = "BEST"',
            '6:11: listen[0].ciphers: expected a list of OpenSSL such as "ECDHE+AESGCM:ECDHE+CHACHA20", found "BEST",'
            " which has no suite",
        ),
        (
            'hsts = "365d"',
            '6:8: listen[0].hsts: expected a duration such as "10s", "5m", "1h" or a number of seconds, found "365d";'
            " days are written as hours: 8760h",
        ),
        (
            "hsts = true",
            '6:8: listen[0].hsts: expected a duration such as "10s", "5m", "1h" or a number of seconds, found true',
        ),
        (
            "hsts = { preload = true }",
            '6:8: listen[0].hsts.max_age: missing; expected a duration such as "8760h"',
        ),
        (
            'hsts = { max_age = "1h", preload = "yes" }',
            '6:36: listen[0].hsts.preload: expected true or false, found "yes"',
        ),
        (
            'hsts = { max_age = "1h", subdomains = true }',
            "6:26: listen[0].hsts.subdomains: unknown key; nearest known key: include_subdomains",
        ),
        (
            'sni = "u"',
            '6:7: listen[0].sni: expected a table such as { "a.example.com" = "name of an upstream" }, found "u"',
        ),
        ("sni = {}", "6:7: listen[0].sni: expected at least one key"),
        (
            'sni = { "a.test:443" = "u" }',
            '6:9: listen[0].sni."a.test:443": expected "a.example.com" or "*.example.com" without a port,'
            ' found "a.test:443"; did you mean "a.test"?',
        ),
        (
            'sni.a.test = "u"',
            "6:5: listen[0].sni.a: expected the name of an upstream, found a table; a key with dots needs quotation"
            " marks",
        ),
        (
            'alpn = ["h2"]',
            '6:8: listen[0].alpn: expected a table such as { "h2" = "name of an upstream" }, found an array',
        ),
        (
            'alpn = { "h2, http/1.1" = "u" }',
            '6:10: listen[0].alpn."h2, http/1.1": expected one protocol of ALPN, such as "h2" or "http/1.1",'
            ' found "h2, http/1.1"',
        ),
        (
            'client_headers = "X-A"',
            '6:18: listen[0].client_headers: expected a table such as { X-Client-Subject = "subject" }, found "X-A"',
        ),
        (
            'client_headers = { X-A = "cn" }',
            '6:26: listen[0].client_headers.X-A: expected "subject", "names", "fingerprint" or "certificate",'
            ' found "cn"',
        ),
        (
            'client_headers = { Cookie = "subject" }',
            "6:20: listen[0].client_headers.Cookie: expected a field of your own, such as X-Client-Subject;"
            " Cookie has a meaning already",
        ),
    ],
)
def test_a_mistake_in_a_listener_is_told_where_it_stands(mistakes: Told, line: str, told: str) -> None:
    assert f"site.toml:{told}" in mistakes(f"{LISTEN}{line}\n")


def test_a_listener_needs_an_address(mistakes: Told) -> None:
    assert mistakes('[[route]]\npath = "/"\nrespond = {}\n[[listen]]\nname = "x"\n') == [
        'site.toml:4:3: listen[0].address: missing; expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME"'
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('balance = "fair"', '9:11: upstream[0].balance: expected "round_robin", found "fair"'),
        ('balance = "hash"', '9:11: upstream[0].balance: "hash" is not supported yet; expected "round_robin"'),
        (
            'balance = "least_tunnels"',
            '9:11: upstream[0].balance: "least_tunnels" is not supported yet; expected "round_robin"',
        ),
        ('hash = "client"', "9:1: upstream[0].hash: not supported yet"),
        (
            "tls = true",
            "9:7: upstream[0].tls: expected {} or a table with server_name, ca, verify, insecure_reason, chain, key,"
            " found true",
        ),
        (
            "tls.verify_host = false",
            "9:5: upstream[0].tls.verify_host: unknown key; nearest known key: verify",
        ),
        ('tls.verify = "no"', '9:14: upstream[0].tls.verify: expected true or false, found "no"'),
        (
            'tls = { verify = false, insecure_reason = " " }',
            '9:43: upstream[0].tls.insecure_reason: expected a reason in words, found " "',
        ),
        (
            "send_proxy = true",
            "9:14: upstream[0].send_proxy: expected 1 (text) or 2 (binary), found true; for none leave the key out",
        ),
        ("health = {}", "9:1: upstream[0].health: not supported yet"),
        ("fails = 3", "9:1: upstream[0].fails: not supported yet"),
        ("server = 3", "9:1: upstream[0].server: unknown key; nearest known key: servers"),
    ],
)
def test_a_mistake_in_an_upstream_is_told_where_it_stands(mistakes: Told, line: str, told: str) -> None:
    assert mistakes(f"{UPSTREAM}{line}\n") == [f"site.toml:{told}"]


def test_balance_may_say_what_happens_anyway(mistakes: Told) -> None:
    assert mistakes(f'{UPSTREAM}balance = "round_robin"\n') == []


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ("[]", "8:11: upstream[0].servers: expected at least one element"),
        ('"a:1"', '8:11: upstream[0].servers: expected an array, found "a:1"'),
        ("[3]", f"8:12: upstream[0].servers[0]: expected {FORMS} or a table with address, found 3"),
        ("[{}]", '8:12: upstream[0].servers[0].address: missing; expected "host:port", "[::1]:port" or "unix:/path"'),
        (
            '["a:1", "b"]',
            '8:19: upstream[0].servers[1]: expected "host:port", "[::1]:port" or "unix:/path", found "b" without'
            " a port",
        ),
        ('[{ address = "a:0" }]', '8:24: upstream[0].servers[0].address: expected a port from 1 to 65535, found "0"'),
        ('[{ address = "a:1", weight = 2 }]', "8:31: upstream[0].servers[0].weight: not supported yet"),
        ('[{ address = "a:1", backup = true }]', "8:31: upstream[0].servers[0].backup: not supported yet"),
    ],
)
def test_a_mistake_in_a_server_is_told_where_it_stands(mistakes: Told, servers: str, told: str) -> None:
    assert mistakes(UPSTREAM.replace('["a:1"]', servers)) == [f"site.toml:{told}"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("listen = []", "9:10: route[0].listen: expected at least one element"),
        ("listen = [1]", "9:11: route[0].listen[0]: expected text in quotation marks, found 1"),
        ('host = "a:80"', '9:8: route[0].host: expected a host without a port, found "a:80"'),
        ('rewrite = "x"', '9:11: route[0].rewrite: expected a path that begins with "/", found "x"'),
        (
            'host_header = "preserv"',
            '9:15: route[0].host_header: expected "preserve", "upstream" or a host, found "preserv";'
            ' did you mean "preserve"?',
        ),
        ('websocket = "deny"', '9:13: route[0].websocket: expected "allow", "refuse" or "require", found "deny"'),
        ('timeouts = "1s"', '9:12: route[0].timeouts: expected a table with tls_handshake, request_head, connect, '
         'response_head, http_idle, tunnel_idle, write_stall, linger, drain, found "1s"'),
        ("timeouts.linger = 0", "9:19: route[0].timeouts.linger: expected a duration above 0, found 0"),
        ("timeouts.lingr = 1", "9:10: route[0].timeouts.lingr: unknown key; nearest known key: linger"),
        ("static = {}", "9:1: route[0].static: not supported yet"),
        ("set_request = {}", "9:1: route[0].set_request: not supported yet"),
        ("remove_request = []", "9:1: route[0].remove_request: not supported yet"),
        ("set_response = {}", "9:1: route[0].set_response: not supported yet"),
        ("remove_response = []", "9:1: route[0].remove_response: not supported yet"),
        ("origins = [1]", f"9:12: route[0].origins[0]: expected {origins.FORMS}, found 1"),
        ("cors = {}", "9:1: route[0].cors: not supported yet"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_route_is_told_where_it_stands(mistakes: Told, line: str, told: str) -> None:
    assert mistakes(f"{SITE}{line}\n") == [f"site.toml:{told}"]


def test_a_route_needs_a_path(mistakes: Told) -> None:
    assert mistakes('[[listen]]\naddress = "a:80"\n[[route]]\nrespond = {}\n') == [
        'site.toml:3:3: route[0].path: missing; expected "/prefix", "=/exact" or "~regex"'
    ]


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ('redirect = "/x"', '7:12: route[0].redirect: expected a table with to, status, found "/x"'),
        (
            "redirect = { status = 302 }",
            '7:12: route[0].redirect.to: missing; expected a URL or path, such as "https://example.com{uri}"',
        ),
        (
            'redirect = { to = "/x", status = 200 }',
            "7:34: route[0].redirect.status: expected 301, 302, 303, 307 or 308, found 200",
        ),
        (
            'redirect = { to = "/x", statsu = 301 }',
            "7:25: route[0].redirect.statsu: unknown key; nearest known key: status",
        ),
        ("respond = { status = 101 }", "7:22: route[0].respond.status: expected a status from 200 to 599, found 101"),
        ("respond = { status = true }", "7:22: route[0].respond.status: expected a status from 200 to 599, found true"),
        ("respond = { body = 1 }", "7:20: route[0].respond.body: expected text, found 1"),
    ],
)
def test_a_mistake_in_an_answer_is_told_where_it_stands(mistakes: Told, action: str, told: str) -> None:
    text = f'[[listen]]\naddress = "a:80"\n\n\n[[route]]\npath = "/"\n{action}\n'
    assert mistakes(text) == [f"site.toml:{told}"]


def test_one_bracket_where_two_belong_is_explained(mistakes: Told) -> None:
    assert mistakes('[listen]\naddress = "a:80"\n') == [
        "site.toml:1:2: listen: expected [[listen]], with two brackets, found a table"
    ]


@pytest.mark.parametrize("key", list(schema.ARRAYS))
def test_what_is_no_array_of_tables_is_told(mistakes: Told, key: str) -> None:
    assert f"site.toml:1:1: {key}: expected [[{key}]] tables, found 3" in mistakes(f"{key} = 3\n")


def test_an_element_that_is_no_table_is_told(mistakes: Told) -> None:
    assert mistakes('listen = [3]\nroute = [{ path = "/", respond = {} }]\n') == [
        "site.toml:1:11: listen[0]: expected a table with name, address, mode, tls, unknown_sni, tls_min, ciphers,"
        " hsts, client_ca, client_certificate, client_headers, sni, alpn, accept_proxy, upstream, redirect, allow,"
        " deny, found 3"
    ]


def test_no_key_is_both_taken_and_refused_for_later() -> None:
    tables = [*schema.TABLES.values(), *schema.ARRAYS.values(), *schema.INNER.values()]
    assert [table.__name__ for table in tables if table.LATER & table.model_fields.keys()] == []


def test_two_mistakes_in_one_table_are_both_told_and_also_what_they_hide(mistakes: Told) -> None:
    """The route's upstream is unknown; that is said although its path and its host are wrong too."""
    assert mistakes('[[listen]]\naddress = "a:80"\n[[route]]\npath = "x"\nhost = "*"\nupstream = "nope"\n') == [
        'site.toml:4:8: route[0].path: expected a path as "/prefix", "=/exact" or "~regex", found "x"',
        'site.toml:5:8: route[0].host: expected a host such as "example.com" or "*.example.com"; for any host leave'
        " the key out",
        'site.toml:6:12: route[0].upstream: no upstream has the name "nope"; known names: none',
    ]

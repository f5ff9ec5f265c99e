"""Keys about TLS and PROXY lines that need or exclude each other (`tls_rules`)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsrelay.config import load

Told = Callable[[str], list[str]]
Load = Callable[[str], load.Loaded]

TLS = 'tls = [{ chain = "tls/fullchain.pem", key = "tls/privkey.pem" }]\n'
CA = f'{TLS}client_ca = "tls/clients.pem"\n'


def site(listen: str, mode: str = "http", upstream: str = "") -> str:
    """Twelve lines, and then a listener's own ones from the 13th on; one beside it is for the route."""
    text = '[[listen]]\naddress = "b:80"\n[[route]]\npath = "/"\nupstream = "u"\n[[upstream]]\nname = "v"\n'
    text += f'servers = ["v:1"]\n{upstream or "# nothing"}\n[[listen]]\naddress = "a:443"\nmode = "{mode}"\n{listen}\n'
    return f'{text}[[upstream]]\nname = "u"\nservers = ["u:1"]\n'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('unknown_sni = "reject"', "unknown_sni: only with tls, whose certificates it is about"),
        ('tls_min = "1.3"', "tls_min: only with tls: what passes through untouched is between the client and"),
        ('ciphers = "ECDHE+AESGCM"', "ciphers: only with tls: what passes through untouched is between the client and"),
        ('hsts = "1h"', "hsts: only with tls: browsers ignore it on plain HTTP (RFC 6797 8.1); say it on the listener"),
        ('client_ca = "tls/ca.pem"', "client_ca: only with tls: a client's certificate comes with its handshake"),
        ('client_certificate = "require"', "client_certificate: only with client_ca, which says whose certificates"),
        ('client_headers = { X-A = "names" }', "client_headers: only with client_ca: without it no client is asked"),
        ('sni = { "a.test" = "v" }', 'sni: only with tls, for what is not passed on; or with mode = "tcp", which'),
        ('alpn = { h2 = "v" }', 'alpn: only with tls, for what is not passed on; or with mode = "tcp", which needs'),
    ],
)
def test_a_key_that_needs_another_one_is_told_what_that_is(pems: Path, mistakes: Told, line: str, told: str) -> None:
    (found,) = mistakes(site(line))
    assert found.startswith(f"site.toml:13:1: listen[1].{told}")
    # One that is not understood may be the one that is missing.
    assert len(mistakes(site(f"{line}\ntlss = []"))) == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('hsts = "1h"', 'not with mode = "tcp", which writes no answers; the upstream has to send it'),
        (
            'client_headers = { X-A = "names" }',
            'not with mode = "tcp", which writes no fields; send_proxy = 2 tells the upstream the name',
        ),
    ],
)
@pytest.mark.parametrize("tls", ["", CA])
def test_layer_4_says_nothing_in_http(pems: Path, mistakes: Told, line: str, told: str, tls: str) -> None:
    key = line.partition(" ")[0]
    text = site(f'{line}\nupstream = "v"\n{tls}', mode="tcp")
    assert mistakes(text) == [f"site.toml:13:1: listen[1].{key}: {told}"]


@pytest.mark.parametrize("passing", ['sni = { "a.test" = "v" }', 'alpn = { h2 = "v" }'])
def test_layer_4_may_pass_on_and_refuse_the_rest(pems: Path, mistakes: Told, passing: str) -> None:
    assert mistakes(site(passing, mode="tcp")) == []
    assert mistakes(site(f'{passing}\nupstream = "v"', mode="tcp")) == []
    assert mistakes(site(f'{passing}\nupstream = "u"\n{TLS}', mode="tcp")) == []
    assert mistakes(site(f"{passing}\n{TLS}", mode="tcp")) == [
        "site.toml:10:3: listen[1].upstream: missing; what is not passed on ends here with tls, and its bytes go to an"
        " upstream; or leave tls out"
    ]


def test_nothing_is_passed_on_where_no_client_speaks_tls(mistakes: Told) -> None:
    assert mistakes(site('redirect = "https"\nsni = { "a.test" = "v" }\nalpn = { h2 = "v" }')) == [
        "site.toml:14:1: listen[1].sni: not with redirect: such a listener speaks plain HTTP",
        "site.toml:15:1: listen[1].alpn: not with redirect: such a listener speaks plain HTTP",
    ]


def test_a_server_name_is_said_once_in_any_case(pems: Path, mistakes: Told) -> None:
    assert mistakes(site(f'{TLS}sni = {{ "A.test" = "v", "b.test" = "v", "a.Test" = "v" }}')) == [
        'site.toml:14:41: listen[1].sni."a.Test": the same name as A.test'
    ]


def test_suites_of_tls_1_2_are_not_for_tls_1_3(pems: Path, mistakes: Told) -> None:
    assert mistakes(site(f'{TLS}ciphers = "ECDHE+AESGCM"\ntls_min = "1.3"')) == [
        'site.toml:14:1: listen[1].ciphers: not with tls_min = "1.3": the list is for TLS 1.2, and TLS 1.3 has its own'
    ]


def test_doubts_about_suites_are_warnings(pems: Path, loaded: Load) -> None:
    warning, _unused = loaded(site(f'{TLS}ciphers = "ECDHE+AESGCM:RC4"')).warnings[::-1]
    assert str(warning) == ('site.toml:14:11: listen[1].ciphers: "RC4" has no effect: this OpenSSL has no such suite')


@pytest.mark.parametrize(
    ("hsts", "good"),
    [
        ('max_age = "8760h", include_subdomains = true, preload = true', True),
        ("max_age = 31535999, include_subdomains = true, preload = true", False),
        ('max_age = "8760h", preload = true', False),
        ('max_age = "1h", include_subdomains = true', True),
    ],
)
def test_only_what_the_list_of_browsers_takes_may_ask_for_it(pems: Path, mistakes: Told, hsts: str, good: bool) -> None:
    told = 'listen[1].hsts.preload: only with include_subdomains = true and a max_age of "8760h" or more, as'
    assert [told in line for line in mistakes(site(f"{TLS}hsts = {{ {hsts} }}"))] == ([] if good else [True])


def test_two_fields_that_readers_take_for_one_are_a_mistake(pems: Path, mistakes: Told) -> None:
    text = site(f'{CA}client_headers = {{ X-Subject = "subject", X_SUBJECT = "names", X-Names = "names" }}')
    assert mistakes(text) == [
        "site.toml:15:43: listen[1].client_headers.X_SUBJECT: many readers take it for X-Subject, which is there too"
    ]


def test_client_cert_holds_the_certificate(pems: Path, mistakes: Told) -> None:
    text = site(f'{CA}client_headers = {{ Client-Cert = "subject" }}')
    assert mistakes(text) == [
        'site.toml:15:34: listen[1].client_headers.Client-Cert: expected "certificate", which is what readers of'
        " Client-Cert look for (RFC 9440)"
    ]
    assert mistakes(text.replace('"subject"', '"certificate"')) == []


@pytest.mark.parametrize(
    ("more", "upstream", "warned"),
    [
        ("", "", True),
        ("", "send_proxy = 1", True),
        ("", "send_proxy = 2", False),
        ('client_headers = { X-A = "names" }', "", False),
    ],
)
def test_a_certificate_that_changes_nothing_is_warned_about(
    pems: Path, loaded: Load, more: str, upstream: str, warned: bool
) -> None:
    """Whoever asks for certificates and serves everybody just the same believes more to be protected than is."""
    found = loaded(site(f'{CA}client_certificate = "request"\n{more}', upstream=upstream)).warnings
    told = [line for line in map(str, found) if "no client_headers say who has one" in line]
    assert [line.partition(": clients")[0] for line in told] == (
        ["site.toml:15:22: listen[1].client_certificate"] if warned else []
    )


@pytest.mark.parametrize(
    ("address", "trusted", "told"),
    [
        ("a:443", "[]", "and there are none; name there what stands in front"),
        ("a:443", '["unix:"]', "and no network is; name there what stands in front"),
        ("unix:a.sock", '["10.0.0.0/8"]', 'and nobody on a UNIX socket is; add "unix:" there'),
        ("a:443", '["10.0.0.0/8"]', None),
        ("unix:a.sock", '["unix:"]', None),
        ("systemd:a", '["unix:"]', None),
        ("systemd:a", "[]", "and there are none; name there what stands in front"),
    ],
)
def test_a_proxy_line_is_believed_of_somebody(mistakes: Told, address: str, trusted: str, told: str | None) -> None:
    text = site("accept_proxy = true").replace("a:443", address)
    needs = "each connection must come from one of relay.trusted_proxies"
    assert mistakes(f"{text}[relay]\ntrusted_proxies = {trusted}\n") == (
        [f"site.toml:13:16: listen[1].accept_proxy: {needs}, {told}"] if told else []
    )


def test_proxies_that_could_not_be_read_are_not_called_missing(mistakes: Told) -> None:
    assert len(mistakes(site("accept_proxy = true") + '[relay]\ntrusted_proxies = ["x"]\n')) == 1
    assert mistakes(site("accept_proxy = false")) == []


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ('chain = "tls/client.pem"', "9:9: upstream[0].tls.chain: only with key: a certificate takes both"),
        ('key = "tls/client.key"', "9:9: upstream[0].tls.key: only with chain: a certificate takes both"),
        (
            "verify = false",
            "9:18: upstream[0].tls.verify: needs insecure_reason, which says why; an authority of your own is better"
            " trusted by ca",
        ),
        (
            'insecure_reason = "x"',
            "9:9: upstream[0].tls.insecure_reason: only with verify = false; a verified upstream needs no excuse",
        ),
        (
            'insecure_reason = "x", verify = true',
            "9:9: upstream[0].tls.insecure_reason: only with verify = false; a verified upstream needs no excuse",
        ),
        (
            'verify = false, insecure_reason = "x", ca = "tls/ca.pem"',
            "9:48: upstream[0].tls.ca: not with verify = false, which asks nobody",
        ),
        ("", None),
        ('verify = false, insecure_reason = "x"', None),
        ('ca = "tls/ca.pem", chain = "tls/client.pem", key = "tls/client.key"', None),
    ],
)
def test_whom_an_upstream_is_verified_by_is_said_in_full(
    pems: Path, mistakes: Told, tls: str, told: str | None
) -> None:
    assert mistakes(site("", upstream=f"tls = {{ {tls} }}")) == ([f"site.toml:{told}"] if told else [])


@pytest.mark.parametrize("more", ["", 'verify = false, insecure_reason = "x"'])
def test_a_socket_has_no_name_of_its_own(mistakes: Told, more: str) -> None:
    text = site("", upstream=f"tls = {{ {more} }}").replace('["v:1"]', '["v:1", "unix:v.sock"]')
    assert mistakes(text) == [
        "site.toml:8:19: upstream[0].servers[1]: with tls it needs server_name: a socket has no host that a certificate"
        " could be for"
    ]
    named = 'server_name = "v.test"' + (f", {more}" if more else "")
    assert mistakes(text.replace(f"tls = {{ {more} }}", f"tls = {{ {named} }}")) == []


@pytest.mark.parametrize(
    ("server", "tls", "warned"),
    [
        ("127.0.0.1:8443", "", True),
        ("[::1]:8443", "", True),
        ("10.1.2.3:8443", "", True),
        ("localhost:8443", "", True),
        ("9.9.9.9:8443", "", False),
        ("v.test:8443", "", False),
        ("127.0.0.1:8443", 'server_name = "v.test"', False),
        ("127.0.0.1:8443", 'ca = "tls/ca.pem"', False),
        ("127.0.0.1:8443", 'verify = false, insecure_reason = "x"', False),
    ],
)
def test_an_address_that_no_public_authority_vouches_for_is_warned_about(
    pems: Path, loaded: Load, server: str, tls: str, warned: bool
) -> None:
    text = site("", upstream=f"tls = {{ {tls} }}").replace("v:1", server)
    told = [line for line in map(str, loaded(text).warnings) if "no public authority" in line]
    assert [line.partition(" vouches")[0] for line in told] == (
        ["site.toml:8:12: upstream[0].servers[0]: no public authority"] if warned else []
    )


def test_an_address_that_could_not_be_read_is_not_judged(mistakes: Told) -> None:
    text = site("accept_proxy = true").replace('"a:443"', '"unix"') + '[relay]\ntrusted_proxies = ["10.0.0.0/8"]\n'
    assert [line.partition(": expected")[0] for line in mistakes(text)] == ["site.toml:11:11: listen[1].address"]

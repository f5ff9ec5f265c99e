"""Whom certificates are for, against what clients ask for (`coverage`)."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.config.issuing import issue
from wsrelay.config import coverage, load
from wsrelay.config.settings import Passing

Load = Callable[[str], load.Loaded]

# Its own listener takes the routes that another one does not.
SITE = """
[[listen]]
name = "plain"
address = "a:80"
[[route]]
path = "/"
respond = {}
[[upstream]]
name = "raw"
servers = ["raw:443"]
[[listen]]
name = "public"
address = "a:443"
"""


def certificate(folder: Path, *names: str, rsa_key: bool = False) -> str:
    """Write a certificate for these names, and return the element of `tls` that it is."""
    key = rsa.generate_private_key(65537, 2048) if rsa_key else None
    own = issue("CA", names=names, key=key)
    file = f"{names[0].strip('*.[]:').replace(':', '-')}{'-rsa' if rsa_key else ''}.pem"
    (folder / file).write_bytes(own.pem + own.key_pem)
    return f'{{ chain = "{file}", key = "{file}" }}'


def told(found: load.Loaded) -> list[str]:
    unused = "upstream[0].name"
    return [str(each).removeprefix("site.toml:") for each in found.warnings if each.path != unused]


def route(host: str, path: str = "/", listen: str = "") -> str:
    return f'[[route]]\nhost = "{host}"\npath = "{path}"\nrespond = {{}}\n{listen}\n'


@pytest.mark.parametrize(
    "host", ["example.com", "Example.com", "www.example.com", "*.example.com", "10.0.0.1", "[2001:db8::1]", "*.x.test"]
)
def test_a_host_that_a_certificate_is_for_is_fine(site: Path, loaded: Load, host: str) -> None:
    names = ("example.com", "*.example.com", "10.0.0.1", "2001:db8::1", "a.b.x.test")
    tls = f"tls = [{certificate(site, *names)}]\n"
    assert told(loaded(SITE + tls + route(host))) == []


@pytest.mark.parametrize(
    ("host", "who"),
    [
        ("other.test", "other.test"),
        # A wildcard is for one label, and none at all is not one (RFC 9525 6.3).
        ("a.b.example.com", "a.b.example.com"),
        ("example.com", "example.com"),
        ("*.b.example.com", "*.b.example.com"),
        ("*.test", "*.test"),
        ("10.0.0.2", "10.0.0.2"),
        ("[2001:db8::2]", "2001:db8::2"),
    ],
)
def test_a_host_that_no_certificate_is_for_is_named(site: Path, loaded: Load, host: str, who: str) -> None:
    tls = f"tls = [{certificate(site, '*.example.com', '10.0.0.1')}, {certificate(site, 'x.example')}]\n"
    assert told(loaded(SITE + tls + route(host))) == [
        f"16:8: route[1].host: no certificate of the listener public is for {who}: clients get the one for"
        " *.example.com, and refuse it"
    ]
    assert told(loaded(SITE + tls + 'unknown_sni = "reject"\n' + route(host)))[-1].endswith(
        f'is for {who}: unknown_sni = "reject" refuses every client that asks for it'
    )


@pytest.mark.parametrize(
    ("listen", "warned"), [("", True), ('listen = ["public"]', True), ('listen = ["plain"]', False)]
)
def test_only_routes_of_the_listener_count(site: Path, loaded: Load, listen: str, warned: bool) -> None:
    tls = f"tls = [{certificate(site, 'example.com')}]\n"
    assert (told(loaded(SITE + tls + route("other.test", listen=listen))) != []) is warned


def test_a_host_is_named_once_for_each_listener(site: Path, loaded: Load) -> None:
    tls = f"tls = [{certificate(site, 'example.com')}]\n"
    second = f'[[listen]]\nname = "second"\naddress = "b:443"\n{tls}'
    hosts = route("other.test", "/a") + route("other.test", "/b")
    found = told(loaded(SITE + tls + second + hosts))
    assert [line.partition(": no certificate of the listener ")[2].partition(" ")[0] for line in found] == [
        "public",
        "second",
    ]
    assert {line.partition(" ")[0] for line in found} == {"20:8:"}


def test_nothing_is_said_of_hosts_while_a_certificate_could_not_be_read(site: Path) -> None:
    """It may be just the one for them."""
    text = SITE + f'tls = [{certificate(site, "example.com")}, {{ chain = "no.pem", key = "no.pem" }}]\n'
    (site / "site.toml").write_text(text + route("other.test"))
    with pytest.raises(load.ConfigError) as error:
        load.read(Path("site.toml"))
    assert {mistake.path for mistake in error.value.mistakes} == {"listen[1].tls[1].chain", "listen[1].tls[1].key"}


def test_layer_4_has_no_hosts(site: Path, loaded: Load) -> None:
    tls = f'mode = "tcp"\nupstream = "raw"\ntls = [{certificate(site, "example.com")}]\n'
    assert told(loaded(SITE + tls + route("other.test"))) == []


def test_a_host_that_is_passed_on_needs_no_certificate_here(site: Path, loaded: Load) -> None:
    tls = f'tls = [{certificate(site, "example.com")}]\nsni = {{ "Other.test" = "raw" }}\n'
    assert [line for line in told(loaded(SITE + tls + route("other.test"))) if "no certificate" in line] == []


def test_a_certificate_whose_every_name_is_passed_on_is_never_shown(site: Path, loaded: Load) -> None:
    first, second = certificate(site, "example.com"), certificate(site, "a.test", "*.b.test")
    text = f'{SITE}tls = [{first}, {second}]\nsni = {{ "*.b.test" = "raw", "A.test" = "raw" }}\n'
    assert told(loaded(text)) == ["14:64: listen[1].tls[1]: never shown: sni passes on every name that it is for"]
    assert told(loaded(text.replace('"A.test" = "raw"', '"c.test" = "raw"'))) == []


def test_the_first_certificate_may_be_left_for_those_who_refuse_it(site: Path, loaded: Load) -> None:
    text = f'{SITE}tls = [{certificate(site, "a.test")}]\nsni = {{ "a.test" = "raw" }}\n'
    place = "14:8: listen[1].tls[0]: "
    assert told(loaded(text)) == [
        f"{place}sni passes on every name that it is for: only clients that ask for another one get it, and refuse it"
    ]
    assert told(loaded(f'{text}unknown_sni = "reject"\n')) == [
        f"{place}never shown: sni passes on every name that it is for"
    ]


def test_who_uses_an_address_names_no_server_and_is_rejected(site: Path, loaded: Load) -> None:
    reject = 'unknown_sni = "reject"\n'
    some = f"tls = [{certificate(site, 'example.com', '10.0.0.1')}]\n"
    assert told(loaded(SITE + some)) == []
    assert told(loaded(SITE + some + reject)) == [
        "15:15: listen[1].unknown_sni: refuses clients that use the address 10.0.0.1, which a certificate is for: they"
        " name no server (RFC 6066 3)"
    ]
    none = f"tls = [{certificate(site, '10.0.0.1')}]\n"
    assert told(loaded(SITE + none + reject)) == [
        "15:15: listen[1].unknown_sni: refuses every client: no certificate is for a host name, and nothing else is"
        " asked for"
    ]


def test_a_certificate_that_no_suite_is_for_is_a_warning(site: Path, loaded: Load) -> None:
    both = f"tls = [{certificate(site, 'a.test')}, {certificate(site, 'a.test', rsa_key=True)}]\n"
    assert told(loaded(f'{SITE}{both}ciphers = "ECDHE+AESGCM"\n')) == []
    assert told(loaded(f'{SITE}{both}ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"\n')) == [
        "15:11: listen[1].ciphers: no suite for rsa keys: clients of TLS 1.2 cannot get the certificate of a.test"
    ]


def test_a_listener_passes_on_what_its_names_cover() -> None:
    passing = Passing(names={"a.test": "u", "*.b.test": "u"}, protocols={b"h2": "u"})
    hosts = ["a.test", "x.b.test", "b.test", "x.y.b.test", "x.a.test"]
    assert [host for host in hosts if coverage.passes_on(passing, host)] == ["a.test", "x.b.test"]

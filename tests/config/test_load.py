"""Whole configurations: every key reaches the settings, and the quick form says the same."""

import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest

from tests.config.issuing import issue
from wsrelay.config import build, load, schema
from wsrelay.config.networks import Access, Networks
from wsrelay.config.settings import (
    AccessLog,
    Certificate,
    ClientCertificate,
    ClientFact,
    HostHeader,
    Limits,
    Listener,
    LogFormat,
    Mode,
    Origins,
    Passing,
    PathKind,
    PathPattern,
    Pump,
    RedirectTo,
    Respond,
    Route,
    Settings,
    SystemdAddress,
    TcpAddress,
    Timeouts,
    TlsPolicy,
    TlsVersion,
    ToUpstream,
    UnixAddress,
    UnknownSni,
    Upstream,
    UpstreamTls,
    WebSocketPolicy,
)

CONF = Path(__file__).resolve().parents[2] / "conf"
DATA = Path(build.__file__).resolve().parents[1] / "data"
EXAMPLES = sorted(path.name for path in CONF.glob("*.toml"))

Load = Callable[[str], load.Loaded]


def test_the_smallest_configuration_has_every_default(loaded: Load) -> None:
    text = '[[listen]]\naddress = "127.0.0.1:80"\n[[route]]\npath = "/"\nrespond = {}\n'
    assert loaded(text) == load.Loaded(
        Settings(
            listeners=(Listener(name="127.0.0.1:80", address=TcpAddress("127.0.0.1", 80)),),
            routes=(Route(path=PathPattern(PathKind.PREFIX, b"/"), action=Respond(), name="*/"),),
        )
    )


EVERYTHING = """
[relay]
pump = "reactor"
trusted_proxies = ["10.0.0.0/8", "unix:", "::1"]
access_log = "logs.txt"
access_log_format = "json"
[timeouts]
tls_handshake = 1
request_head = 2
connect = 3
response_head = 4
http_idle = 5
tunnel_idle = 0
write_stall = "1m"
linger = "1h"
drain = 0
[limits]
connections = 7
connections_per_address = 5
handshakes_per_second = 3
head_bytes = "64KiB"
head_fields = 9
body_bytes = "1MiB"
[[listen]]
name = "public"
address = "[::]:443"
mode = "http"
tls = [{ chain = "tls/fullchain.pem", key = "tls/privkey.pem" }]
unknown_sni = "reject"
tls_min = "1.3"
hsts = { max_age = "17520h", include_subdomains = true, preload = true }
client_ca = "tls/clients.pem"
client_certificate = "request"
client_headers = { X-Subject = "subject", x-names = "names", X-Print = "fingerprint", Client-Cert = "certificate" }
sni = { "Shop.example.net" = "raw", "*.example.net" = "raw" }
alpn = { "acme-tls/1" = "raw", h2 = "raw" }
accept_proxy = true
[[listen]]
address = "unix:run/raw.sock"
mode = "tcp"
upstream = "u"
[[listen]]
address = "systemd:old"
redirect = "https"
allow = ["192.0.2.0/24", "unix:"]
[[upstream]]
name = "u"
servers = ["App.internal:80", { address = "unix:/run/a.sock" }, "unix:b.sock"]
balance = "round_robin"
tls = { server_name = "App.internal", ca = "tls/ca.pem", chain = "tls/client.pem", key = "tls/client.key" }
send_proxy = 2
[[upstream]]
name = "raw"
servers = ["raw.internal:443"]
send_proxy = 1
[[upstream]]
name = "old"
servers = ["old.internal:443"]
tls = { verify = false, insecure_reason = "the appliance cannot do better" }
[[route]]
host = "old.example.com"
path = "/"
upstream = "old"
[[route]]
host = "Example.com"
path = "/wss"
listen = ["public"]
upstream = "u"
rewrite = "/v2"
host_header = "upstream"
websocket = "require"
origins = ["https://example.com", "absent"]
allow = ["10.0.0.0/8"]
deny = ["10.1.0.0/16", "10.2.0.0/16"]
timeouts = { tunnel_idle = "10m", connect = 0.5 }
[[route]]
host = "*.example.com"
path = "~^/a$"
redirect = { to = "https://example.com{uri}", status = 301 }
[[route]]
path = "=/health"
respond = { status = 418, body = "ok\\n" }
websocket = "refuse"
[[route]]
path = "/"
upstream = "u"
host_header = "app:8080"
"""


def test_every_key_reaches_the_settings(pems: Path, loaded: Load) -> None:
    general = Timeouts(1, 2, 3, 4, 5, 0, 60, 3600, 0)
    folder = pems.parent
    settings = loaded(EVERYTHING).settings
    routes = settings.routes
    assert attrs.evolve(settings, routes=()) == Settings(
        listeners=(
            Listener(
                name="public",
                address=TcpAddress("::", 443),
                tls=(Certificate(pems / "fullchain.pem", pems / "privkey.pem"),),
                policy=TlsPolicy(
                    minimum=TlsVersion.TLS_1_3,
                    unknown_sni=UnknownSni.REJECT,
                    client_ca=pems / "clients.pem",
                    client_certificate=ClientCertificate.REQUEST,
                    client_headers=(
                        (b"X-Subject", ClientFact.SUBJECT),
                        (b"x-names", ClientFact.NAMES),
                        (b"X-Print", ClientFact.FINGERPRINT),
                        (b"Client-Cert", ClientFact.CERTIFICATE),
                    ),
                ),
                hsts=b"max-age=63072000; includeSubDomains; preload",
                passing=Passing(
                    names={"shop.example.net": "raw", "*.example.net": "raw"},
                    protocols={b"acme-tls/1": "raw", b"h2": "raw"},
                ),
                accept_proxy=True,
            ),
            Listener(
                name="unix:run/raw.sock",
                address=UnixAddress(str(folder / "run/raw.sock")),
                mode=Mode.TCP,
                upstream="u",
            ),
            Listener(
                name="systemd:old",
                address=SystemdAddress("old"),
                redirect_to_https=True,
                access=Access(allow=Networks((ip_network("192.0.2.0/24"),), unix=True)),
            ),
        ),
        upstreams=(
            Upstream(
                "u",
                (TcpAddress("app.internal", 80), UnixAddress("/run/a.sock"), UnixAddress(str(folder / "b.sock"))),
                UpstreamTls(
                    server_name="app.internal",
                    ca=pems / "ca.pem",
                    certificate=Certificate(pems / "client.pem", pems / "client.key"),
                ),
                send_proxy=2,
            ),
            Upstream("raw", (TcpAddress("raw.internal", 443),), send_proxy=1),
            Upstream("old", (TcpAddress("old.internal", 443),), UpstreamTls(verify=False)),
        ),
        pump=Pump.REACTOR,
        trusted_proxies=Networks((ip_network("10.0.0.0/8"), ip_network("::1")), unix=True),
        access_log=AccessLog(str(folder / "logs.txt"), LogFormat.JSON),
        timeouts=general,
        limits=Limits(7, 5, 3, 65536, 9, 1 << 20),
    )
    assert routes == (
        Route(
            path=PathPattern(PathKind.PREFIX, b"/"),
            action=ToUpstream("old"),
            host=b"old.example.com",
            timeouts=general,
            name="old.example.com/",
        ),
        Route(
            path=PathPattern(PathKind.PREFIX, b"/wss"),
            action=ToUpstream("u", b"/v2", HostHeader.UPSTREAM),
            host=b"example.com",
            listen=("public",),
            websocket=WebSocketPolicy.REQUIRE,
            origins=Origins(re.compile(rb"https://example\.com(?::443)?", re.DOTALL), absent=True),
            access=Access(
                allow=Networks((ip_network("10.0.0.0/8"),)),
                deny=Networks((ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"))),
            ),
            timeouts=attrs.evolve(general, tunnel_idle=600, connect=0.5),
            name="example.com/wss",
        ),
        Route(
            path=PathPattern(PathKind.REGEX, b"^/a$", re.compile(b"^/a$")),
            action=RedirectTo("https://example.com{uri}", 301),
            host=b"*.example.com",
            timeouts=general,
            name="*.example.com~^/a$",
        ),
        Route(
            path=PathPattern(PathKind.EXACT, b"/health"),
            action=Respond(418, b"ok\n"),
            websocket=WebSocketPolicy.REFUSE,
            timeouts=general,
            name="*=/health",
        ),
        Route(
            path=PathPattern(PathKind.PREFIX, b"/"),
            action=ToUpstream("u", host_header=b"app:8080"),
            timeouts=general,
            name="*/",
        ),
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_good_and_warns_of_nothing(pems: Path, name: str) -> None:
    (pems.parent / name).write_bytes((CONF / name).read_bytes())
    assert load.read(Path(name)).warnings == ()


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_shipped_as_it_is_shown(name: str) -> None:
    assert (DATA / name).read_bytes() == (CONF / name).read_bytes()


def test_the_example_says_every_key_and_the_true_defaults(pems: Path) -> None:
    name = "wsrelay.example.toml"
    text = (CONF / name).read_text()
    (pems.parent / name).write_text(text)
    settings = load.read(Path(name)).settings
    assert (settings.timeouts, settings.limits, settings.pump) == (Timeouts(), Limits(), Pump.AUTO)
    assert settings.access_log == AccessLog()
    tables = [*schema.TABLES.values(), *schema.ARRAYS.values(), *schema.INNER.values()]
    keys = {key for table in tables for key in table.model_fields}
    assert {key for key in keys if not re.search(rf"(?m)(^|[ {{]){key} = ", text)} == set()
    later = {key for table in tables for key in table.LATER} - keys
    assert {key for key in later if re.search(rf"(?m)(^|[ {{#]){key} = ", text)} == set()


def test_the_quick_form_is_one_listener_one_upstream_and_one_route(site: Path) -> None:
    assert load.quick("443", "127.0.0.1:8888") == load.Loaded(
        Settings(
            listeners=(Listener(name="0.0.0.0:443", address=TcpAddress("0.0.0.0", 443)),),
            upstreams=(Upstream("upstream", (TcpAddress("127.0.0.1", 8888),)),),
            routes=(Route(path=PathPattern(PathKind.PREFIX, b"/"), action=ToUpstream("upstream"), name="*/"),),
        )
    )


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("localhost:80", TcpAddress("localhost", 80)),
        ("[::]:443", TcpAddress("::", 443)),
        ("unix:/run/a.sock", UnixAddress("/run/a.sock")),
        ("0", TcpAddress("0.0.0.0", 0)),
    ],
)
def test_the_quick_form_listens_on_any_address(listen: str, address: object) -> None:
    assert load.quick(listen, "a:1").settings.listeners[0].address == address


def test_paths_of_the_quick_form_start_from_the_working_directory(pems: Path) -> None:
    settings = load.quick("443", "unix:a.sock", "tls/fullchain.pem", "tls/privkey.pem", "/wss").settings
    assert settings.listeners[0].tls == (Certificate(pems / "fullchain.pem", pems / "privkey.pem"),)
    assert settings.upstreams[0].servers == (UnixAddress(str(pems.parent / "a.sock")),)
    assert settings.routes[0].path == PathPattern(PathKind.PREFIX, b"/wss")


def quick_mistakes(*arguments: str | None) -> list[str]:
    with pytest.raises(load.ConfigError) as error:
        load.quick(*arguments)  # type: ignore[arg-type]  # some are None
    return [str(mistake) for mistake in error.value.mistakes]


def test_every_option_that_is_wrong_is_told_under_its_name(site: Path) -> None:
    assert quick_mistakes("x", "http://a", "no.pem", None, "wss") == [
        '--listen: expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME", found "x" without a port',
        "--tls-key: missing; expected a PEM file with the private key",
        '--upstream: expected "host:port", "[::1]:port" or "unix:/path", found the URL "http://a"; leave the scheme and'
        " the path out",
        '--path: expected a path as "/prefix", "=/exact" or "~regex", found "wss"',
    ]


def test_a_key_needs_its_chain(site: Path) -> None:
    assert quick_mistakes("443", "a:1", None, "k.pem", None) == [
        "--tls-chain: missing; expected a PEM file with the certificate chain, leaf first"
    ]


def test_files_of_the_quick_form_are_checked(site: Path) -> None:
    assert quick_mistakes("443", "a:1", "c.pem", "k.pem", None) == [
        f"--tls-chain: {site}/c.pem: cannot read: No such file or directory",
        f"--tls-key: {site}/k.pem: cannot read: No such file or directory",
    ]


def test_warnings_of_the_quick_form_have_their_option_too(pems: Path) -> None:
    leaf = issue("a.test", issue("CA"), names=("a.test",))
    (pems / "leaf.pem").write_bytes(leaf.pem + leaf.key_pem)
    (warning,) = load.quick("443", "a:1", "tls/leaf.pem", "tls/leaf.pem").warnings
    assert str(warning).startswith("--tls-chain: the certificate for a.test stands alone")


def test_thousands_of_routes_are_checked_in_a_second(mistakes: Callable[[str], list[str]]) -> None:
    """Right or wrong: work in proportion to their number. Comparing each with each would take minutes."""
    listen = '[[listen]]\naddress = "a:80"\n[[upstream]]\nname = "u"\nservers = ["a:1"]\n'
    routes = "".join(f'[[route]]\nhost = "h{number}.test"\npath = "/"\nupstream = "u"\n' for number in range(4_000))
    assert mistakes(listen + routes) == []
    assert len(mistakes(listen + routes.replace('upstream = "u"\n', "upstreem = 1\n"))) == 4_000

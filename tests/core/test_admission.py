from ipaddress import ip_network

import pytest

from wsrelay.config import origins
from wsrelay.config.networks import Access, Networks
from wsrelay.config.settings import PathKind, PathPattern, Respond, Route, WebSocketPolicy
from wsrelay.core.admission import admit
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.upgrade import Plain, Upgrade

UPGRADE = Upgrade(b"", b"")


def route(**settings) -> Route:
    return Route(path=PathPattern(PathKind.PREFIX, b"/"), action=Respond(), **settings)


def asked(fields: str = "") -> RequestHead:
    head = RequestReader(HeadLimits(64 * 1024, 128)).feed(
        f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode("latin-1")
    )
    assert head is not None
    return head


def refused(a_route: Route, kind: Plain | Upgrade, head: RequestHead, address: str = "192.0.2.1") -> Refusal:
    with pytest.raises(Refusal) as caught:
        admit(a_route, kind, head, address)
    return caught.value


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        (WebSocketPolicy.ALLOW, Plain()),
        (WebSocketPolicy.ALLOW, UPGRADE),
        (WebSocketPolicy.REFUSE, Plain()),
        (WebSocketPolicy.REQUIRE, UPGRADE),
    ],
)
def test_a_route_admits_what_its_websocket_setting_says(setting, kind):
    admit(route(websocket=setting), kind, asked(), "192.0.2.1")


@pytest.mark.parametrize(
    ("setting", "kind", "reason"),
    [
        (WebSocketPolicy.REFUSE, UPGRADE, Reason.WEBSOCKET_REFUSED),
        (WebSocketPolicy.REQUIRE, Plain(), Reason.WEBSOCKET_REQUIRED),
    ],
)
def test_a_route_refuses_what_its_websocket_setting_says(setting, kind, reason):
    refusal = refused(route(websocket=setting), kind, asked())
    assert refusal.reason is reason
    assert ((b"Upgrade", b"websocket") in refusal.fields) is (reason is Reason.WEBSOCKET_REQUIRED)


OFFICE = Networks((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::1"])
@pytest.mark.parametrize("kind", [Plain(), UPGRADE])
def test_allow_admits_its_networks_and_nobody_else(address, kind):
    allowing = route(access=Access(allow=OFFICE))
    admit(allowing, kind, asked(), address)
    for stranger in ("11.0.0.1", "2001:db9::1", "unix:"):
        assert refused(allowing, kind, asked(), stranger).reason is Reason.ADDRESS_DENIED


def test_deny_wins_over_allow():
    without_guests = route(access=Access(allow=OFFICE, deny=Networks((ip_network("10.9.0.0/16"),))))
    admit(without_guests, Plain(), asked(), "10.8.255.255")
    assert refused(without_guests, Plain(), asked(), "10.9.0.0").reason is Reason.ADDRESS_DENIED


def test_a_client_on_a_unix_socket_is_admitted_where_allow_says_so():
    admit(route(access=Access(allow=Networks(unix=True))), Plain(), asked(), "unix:")
    assert refused(route(access=Access(deny=Networks(unix=True))), Plain(), asked(), "unix:")


def of(*allowed: str) -> Route:
    return route(origins=origins.origins([origins.origin(text) for text in allowed]))


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com", "HTTPS://Example.COM"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:443", "https://example.com"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("https://*.example.com", "https://a.example.com"),
        ("https://*.example.com", "https://a.b.example.com"),
        ("https://[2001:DB8:0::1]", "https://[2001:db8::1]"),
        ("weapp://*", "weapp://wechat-game-runtime"),
        ("weapp://wechat-game-runtime", "weapp://wechat-game-runtime"),
        ("null", "null"),
        ("*", "https://anything.example:1"),
        ("*", ""),
    ],
)
def test_a_page_of_an_allowed_origin_may_open_a_websocket(allowed, sent):
    admit(of("https://other.example", allowed), UPGRADE, asked(f"Origin: {sent}\r\n"), "192.0.2.1")


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("https://example.com", "http://example.com"),
        ("https://example.com", "https://example.com.evil.example"),
        ("https://example.com", "https://evilexample.com"),
        ("https://example.com", "https://example.com:8443"),
        ("https://example.com", "https://example.com:4430"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com", "https://user@example.com"),
        ("https://example.com", "https://exampleXcom"),
        ("https://example.com", "xhttps://example.com"),
        ("https://example.com", "https://example.com https://evil.example"),
        ("https://example.com", "null"),
        ("https://example.com", ""),
        ("https://*.example.com", "https://example.com"),
        ("https://*.example.com", "https://.example.com"),
        ("https://*.example.com", "https://evil.example/.example.com"),
        ("https://*.example.com", "https://evil.example#.example.com"),
        ("https://*.example.com", "https://a.example.com.evil.example"),
        ("weapp://*", "weapp://"),
        ("weapp://*", "weapp://a/b"),
        ("null", "nullx"),
        ("absent", "https://example.com"),
        ("absent", ""),
    ],
)
def test_a_page_of_any_other_origin_may_not(allowed, sent):
    assert refused(of(allowed), UPGRADE, asked(f"Origin: {sent}\r\n")).reason is Reason.ORIGIN_REFUSED


def test_a_client_without_origin_needs_the_word_absent():
    admit(of("https://example.com", "absent"), UPGRADE, asked(), "192.0.2.1")
    assert refused(of("https://example.com"), UPGRADE, asked()).reason is Reason.ORIGIN_REFUSED
    assert refused(of("*"), UPGRADE, asked()).reason is Reason.ORIGIN_REFUSED


def test_origins_say_nothing_about_plain_requests():
    admit(of("https://example.com"), Plain(), asked("Origin: https://evil.example\r\n"), "192.0.2.1")

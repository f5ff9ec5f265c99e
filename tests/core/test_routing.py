import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrelay.config.settings import PathKind, PathPattern, Respond, Route, ToUpstream
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.routing import Match, RouteTable


def route(path: str, host: str | None = None, *, rewrite: str | None = None, listen: tuple[str, ...] | None = None):
    """A route written as in the configuration: `/prefix`, `=/exact`, `~regex`."""
    mark = path[0] if path[0] in "=~" else ""
    text = path.removeprefix(mark).encode()
    regex = re.compile(text) if mark == "~" else None
    return Route(
        path=PathPattern(PathKind(mark) if mark else PathKind.PREFIX, text, regex),
        action=ToUpstream("app", rewrite=rewrite.encode() if rewrite is not None else None),
        host=host.encode() if host else None,
        listen=listen,
        name=f"{host or ''}{path}",
    )


def asked(target: str, host: str | None = "example.com", *, method: str = "GET") -> RequestHead:
    version, line = ("1.1", f"Host: {host}\r\n") if host else ("1.0", "")
    head = RequestReader(HeadLimits(64 * 1024, 128)).feed(f"{method} {target} HTTP/{version}\r\n{line}\r\n".encode())
    assert head is not None
    return head


def resolve(routes: list[Route], head: RequestHead) -> Match:
    return RouteTable(tuple(routes), "public").resolve(head)


def found(routes: list[Route], target: str, host: str | None = "example.com") -> str:
    return resolve(routes, asked(target, host)).route.name


def refused(routes: list[Route], target: str, host: str | None = "example.com") -> Reason:
    with pytest.raises(Refusal) as caught:
        resolve(routes, asked(target, host))
    return caught.value.reason


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", "example.com/"),
        ("EXAMPLE.com:8443", "example.com/"),
        ("example.com.", "example.com/"),
        ("a.example.com", "*.example.com/"),
        ("a.b.example.com", "*.b.example.com/"),
        ("x.a.b.example.com", "*.b.example.com/"),
        ("a.c.example.com", "*.example.com/"),
        ("b.example.com", "b.example.com/"),
        ("notexample.com", "/"),
        ("example.com.evil", "/"),
        ("[2001:db8::1]", "/"),
        (None, "/"),
    ],
)
def test_the_most_specific_host_wins(host, expected):
    routes = [route("/", h) for h in (None, "*.example.com", "*.b.example.com", "example.com", "b.example.com")]
    assert found(routes, "/", host) == found(routes[::-1], "/", host) == expected


def test_a_wildcard_needs_a_label_in_its_place():
    assert refused([route("/", "*.example.com")], "/", "example.com") is Reason.NO_ROUTE


def test_a_more_specific_host_wins_over_a_more_specific_path():
    assert found([route("=/wss"), route("/", "example.com")], "/wss") == "example.com/"


def test_a_route_without_a_host_serves_every_host():
    """The other routes of a host do not hide it."""
    routes = [route("/wss", "example.com"), route("/api", "*.com"), route("/health")]
    assert found(routes, "/health") == "/health"
    assert found(routes, "/api") == "*.com/api"


def test_a_host_with_a_route_for_everything_is_closed():
    routes = [route("/", "example.com"), route("/health")]
    assert found(routes, "/health") == "example.com/"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/wss", "=/wss"),
        ("/wss/", "~^/wss/$"),
        ("/wss/x", "/wss"),
        ("/wss/deep/x", "/wss/deep"),
        ("/wss/deeper", "/wss"),
        ("/wssfoo", "/"),
        ("/a.php", "~php$"),
        ("/wss/deep/a.php", "~php$"),
        ("/", "/"),
    ],
)
def test_exact_goes_before_pattern_goes_before_the_longest_prefix(path, expected):
    routes = [route(p) for p in ("/", "/wss", "/wss/deep", "=/wss", "~php$", "~^/wss/$")]
    assert found(routes, path) == expected


def test_patterns_are_tried_in_file_order():
    assert found([route("~b"), route("~a")], "/ab") == "~b"


def test_a_pattern_that_nobody_compiled_is_compiled():
    bare = Route(path=PathPattern(PathKind.REGEX, b"^/x$"), action=Respond())
    assert resolve([bare], asked("/x")).route is bare


def test_of_two_equal_routes_the_first_counts():
    first, second = route("/a"), Route(path=PathPattern(PathKind.PREFIX, b"/a"), action=Respond(), name="second")
    assert resolve([first, second], asked("/a")).route is first


@pytest.mark.parametrize(("path", "matches"), [("/wss/", True), ("/wss/x", True), ("/wss", False), ("/wssx/", False)])
def test_a_prefix_with_a_slash_at_its_end_wants_that_slash(path, matches):
    assert found([route("/wss/"), route("/")], path) == ("/wss/" if matches else "/")


@pytest.mark.parametrize("path", ["/WSS", "/wssfoo", "/w"])
def test_a_prefix_takes_whole_segments_in_their_own_case(path):
    assert refused([route("/wss")], path) is Reason.NO_ROUTE


def test_only_the_routes_of_the_listener_count():
    routes = [route("/", listen=("other",)), route("/a", listen=("other", "public"))]
    assert found(routes, "/a") == "/a"
    assert refused(routes, "/b") is Reason.NO_ROUTE


def test_the_asterisk_is_no_path():
    with pytest.raises(Refusal) as caught:
        resolve([route("/")], asked("*", method="OPTIONS"))
    assert caught.value.reason is Reason.NO_ROUTE


def test_without_routes_nothing_is_found():
    assert refused([], "/") is Reason.NO_ROUTE


@pytest.mark.parametrize("escaped", ["/%61dmin/x", "/%61%64%6D%69%6e", "/ad%6Din?/"])
def test_an_escaped_letter_is_no_way_around_a_route(escaped):
    for path in ("/admin", "~^/admin"):
        assert found([route("/"), route(path)], escaped) == path


@pytest.mark.parametrize("sent", ["/caf%C3%A9", "/caf%c3%a9"])
@pytest.mark.parametrize("written", ["/café", "/caf%c3%a9", "/caf%C3%A9", "/c%61f%C3%a9"])
def test_a_path_may_be_configured_escaped_or_not(written, sent):
    """CVE-2026-27587: the case of the digits must not matter."""
    assert found([route("/"), route(written)], sent) == written


AMBIGUOUS = ["/public%2Fadmin", "/public%2fadmin", "/public%5Cadmin", "/public//admin", "/public/;x/admin"]
AMBIGUOUS += ["/public;x=1/admin", "/public/admin;x", "/public/%61dmin%3bx", "/public%252Fadmin", "//public/admin"]


@pytest.mark.parametrize("target", AMBIGUOUS)
@pytest.mark.parametrize("secret", ["/public/admin", "=/public/admin", "~^/public/admin$"])
def test_a_path_that_another_reading_would_route_elsewhere_is_refused(target, secret):
    """AUT-09, CVE-2025-66490."""
    assert refused([route("/"), route("/public"), route(secret)], target) is Reason.BAD_TARGET


@pytest.mark.parametrize("target", AMBIGUOUS)
def test_a_path_that_goes_the_same_way_in_every_reading_is_forwarded_as_it_came(target):
    """`/projects/group%2Fname` is an honest path of well-known programs."""
    assert resolve([route("/"), route("/other")], asked(target + "?q=%2F..")).target == f"{target}?q=%2F..".encode()


def test_an_ambiguous_path_is_judged_against_the_routes_of_its_own_host():
    routes = [route("/", "example.com"), route("/public/admin", "other.example")]
    assert found(routes, "/public%2Fadmin") == "example.com/"


@pytest.mark.parametrize("target", ["/wss/../admin", "/wss/..%2fadmin", "/wss/%2e%2e/admin", "/wss/..;/a", "/a%00b"])
def test_a_way_upwards_is_refused_even_where_one_route_serves_all(target):
    """AUT-09: with a rewrite it would lead out of the upstream's folder."""
    assert refused([route("/", rewrite="/inner")], target) is Reason.BAD_TARGET


@pytest.mark.parametrize("target", ["/admin%0A", "/admin%0d%0a"])
def test_an_escaped_line_end_is_no_way_around_a_pattern_nor_a_way_to_it(target):
    """AUT-10: neither our pattern's `$` nor the upstream's may take it for /admin."""
    routes = [route("~^/admin$"), route("/")]
    assert refused(routes, target) is Reason.BAD_TARGET
    assert resolve(routes, asked(f"{target}/x")) == Match(routes[1], f"{target}/x".encode())


@pytest.mark.parametrize(
    ("path", "rewrite", "target", "expected"),
    [
        ("/wss", "/", "/wss", "/"),
        ("/wss", "/", "/wss/", "/"),
        ("/wss", "/", "/wss/a/b", "/a/b"),
        ("/wss", "/", "/wss?a=/b", "/?a=/b"),
        ("/wss", "/in", "/wss", "/in"),
        ("/wss", "/in", "/wss/", "/in/"),
        ("/wss", "/in", "/wss/a", "/in/a"),
        ("/wss", "/in/", "/wss/a", "/in/a"),
        ("/wss", "/in/", "/wss", "/in/"),
        ("/wss/", "/in", "/wss/a", "/in/a"),
        ("/wss/", "/in/", "/wss/", "/in/"),
        ("/", "/in", "/", "/in/"),
        ("/", "/in", "/a?b", "/in/a?b"),
        ("/a/b", "/", "/a/b/c//d", "/c//d"),
        ("/wss", "/", "/wss//evil.example", "/evil.example"),
        ("/wss", "/", "/%77ss/a%2Fb/%7e", "/a%2Fb/%7e"),
        ("=/wss", "/in", "/wss?x", "/in?x"),
        ("~^/w", "/in", "/wss/a?x", "/in?x"),
        ("/wss", None, "/wss/%7e?x=%20", "/wss/%7e?x=%20"),
    ],
)
def test_a_rewrite_replaces_the_prefix_and_keeps_the_rest_byte_for_byte(path, rewrite, target, expected):
    assert resolve([route(path, rewrite=rewrite)], asked(target)).target == expected.encode()


def test_a_route_that_answers_by_itself_keeps_the_target():
    fixed = Route(path=PathPattern(PathKind.PREFIX, b"/"), action=Respond())
    assert resolve([fixed], asked("/a?b")) == Match(fixed, b"/a?b")


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_a_host_is_found_among_any_number(count):
    """CVE-2026-27588: another comparison, with another treatment of case, above a hundred hosts."""
    routes = [route("/", f"h{number}.example.com") for number in range(count)] + [route("/")]
    table = RouteTable(tuple(routes), "public")
    for number in (0, count // 2, count - 1):
        head = asked("/", f"H{number}.Example.COM")
        assert table.resolve(head).route.name == f"h{number}.example.com/"
    assert table.resolve(asked("/", f"h{count}.example.com")).route.name == "/"


def slowly(routes: list[Route], path: bytes) -> Route | None:
    """The longest matching prefix, by the definition."""
    matching = [r for r in routes if path == r.path.text or path.startswith(r.path.text.rstrip(b"/") + b"/")]
    return max(matching, key=lambda r: len(r.path.text), default=None)


PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aa"]), max_size=5).map(lambda parts: "/" + "/".join(parts))


@given(st.sets(PATHS, max_size=8), PATHS)
def test_the_longest_prefix_is_found_as_by_comparing_each(prefixes, path):
    routes = [route(prefix) for prefix in sorted(prefixes)]
    expected = slowly(routes, path.encode())
    if expected is None:
        assert refused(routes, path) is Reason.NO_ROUTE
    else:
        assert resolve(routes, asked(path)).route is expected

"""Target: reading a path, finding its route, and the target that goes upstream."""

import functools
import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from fuzz.inputs import Input, check_reason, fed, tried
from fuzz.routes import TABLES
from wsrelay.config.settings import PathKind, Route, ToUpstream
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.core.routing import Match, RouteTable

SEEDS = ((b"\0\0\0\0", "send"), (b"\1\1\0\0", "send"), (b"\1\2\0\0", "send"))
RARE: tuple[tuple[bytes, str], ...] = ()

_LIMITS = HeadLimits(32 * 1024, 128)
_REASONS = frozenset({Reason.BAD_TARGET, Reason.NO_ROUTE})
_RESOLVERS = tuple(RouteTable(routes, "plain") for routes in TABLES)
_VISIBLE = frozenset(range(0x21, 0x7F))
_HOSTS = (b"app.example", b"tenant.example", b"a.wild.example", b"wild.example", b"")
# How many of an upstream's steps are tried one after the other; five bring every path of the seeds to its end.
_STEPS = 5


def check(data: bytes) -> None:
    """A request head, or a target alone."""
    given = Input.of(data)
    if given is None:
        return
    message = given.message
    if given.kind % 2:
        message = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (message, _HOSTS[given.cuts[0] % 4])
    head, _ = fed(RequestReader(_LIMITS), [message])
    if not isinstance(head, RequestHead):
        return
    table = given.limits % len(TABLES)
    match = tried(lambda: _RESOLVERS[table].resolve(head))
    check_reason(match, _REASONS)
    if isinstance(match, Refusal):
        # A path that is its own only reading is refused for no other reason than that no route has it.
        if re.fullmatch(rb"[A-Za-z0-9/_-]*", head.path) and b"//" not in head.path:
            assert match.reason is Reason.NO_ROUTE
            assert _route_of(TABLES[table], head.host, head.path) is None
        return
    _check_route(match, head, TABLES[table])
    _check_target(match, head)


def _check_route(match: Match, head: RequestHead, routes: tuple[Route, ...]) -> None:
    """However an upstream reads the path, the route is the same one."""
    readings = _readings(head.path)
    for reading in readings:
        found = _route_of(routes, head.host, reading)
        assert found is match.route, f"{head.path!r} went to {match.route.name}; read as {reading!r} it is {found}"
    assert not any(b"/../" in reading + b"/" or b"/./" in reading + b"/" for reading in readings), "a dot segment"


def _check_target(match: Match, head: RequestHead) -> None:
    """What goes upstream is what came, but for the prefix, and is a target again."""
    target, action = match.target, match.route.action
    assert set(target) <= _VISIBLE
    assert target[:1] == b"/" or target == b"*"
    again, _ = fed(RequestReader(_LIMITS), [b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target])
    assert target == b"*" or (isinstance(again, RequestHead) and again.target == target)
    if not isinstance(action, ToUpstream) or action.rewrite is None:
        assert target == head.target
        return
    path, query = target[: len(target) - len(head.query)], target[len(target) - len(head.query) :]
    assert query == head.query
    assert not path.startswith(b"//"), "two slashes begin another host's name to some (RFC 3986 4.2)"
    if match.route.path.kind is not PathKind.PREFIX:
        assert path == action.rewrite
        return
    stem = action.rewrite.rstrip(b"/")
    assert path == action.rewrite or path.startswith(stem + b"/")
    if path != action.rewrite:
        kept = path[len(stem) + 1 :]
        assert head.path.endswith(kept), "the tail keeps its bytes"
        gone = unquote_to_bytes(head.path[: len(head.path) - len(kept)]).rstrip(b"/")
        assert gone == match.route.path.text.rstrip(b"/"), (gone, match.route.path.text)


def _decoded(path: bytes) -> bytes:
    return unquote_to_bytes(path)


def _cut(path: bytes) -> bytes:
    return re.sub(rb";[^/]*", b"", path)


def _merged(path: bytes) -> bytes:
    return re.sub(rb"/+", b"/", path)


def _turned(path: bytes) -> bytes:
    return path.replace(b"\\", b"/")


_WAYS: tuple[Callable[[bytes], bytes], ...] = (_cut, _merged, _turned)


@functools.lru_cache(maxsize=4096)
def _readings(path: bytes) -> frozenset[bytes]:
    """What upstreams make of a path: decoded once or twice, and whatever they do besides, in any order.

    No path is matched undecoded: every upstream decodes at least once before it routes.
    """
    found: set[tuple[bytes, int]] = {(path, 0)}
    for _ in range(_STEPS):
        more = {(_decoded(one), times + 1) for one, times in found if times < 2}
        more |= {(way(one), times) for one, times in found if times for way in _WAYS}
        if more <= found:
            break
        found |= more
    return frozenset(one for one, times in found if times)


def _route_of(routes: tuple[Route, ...], host: bytes, path: bytes) -> Route | None:
    """The route by the rules of CONFIG.md, in the simplest way there is."""
    for wanted in _hosts(host):
        here = [route for route in routes if route.host == wanted]
        exact = [route for route in here if route.path.kind is PathKind.EXACT and route.path.text == path]
        patterns = [route for route in here if route.path.kind is PathKind.REGEX and _searched(route, path)]
        prefixes = [route for route in here if route.path.kind is PathKind.PREFIX and _covers(route.path.text, path)]
        prefixes.sort(key=lambda route: -len(route.path.text))
        for route in (*exact, *patterns, *prefixes):
            return route
    return None


def _hosts(host: bytes) -> list[bytes | None]:
    labels = host.split(b".")
    return [host, *(b"*." + b".".join(labels[at:]) for at in range(1, len(labels))), None]


def _covers(prefix: bytes, path: bytes) -> bool:
    return path == prefix or path.startswith(prefix if prefix.endswith(b"/") else prefix + b"/")


def _searched(route: Route, path: bytes) -> bool:
    # `$` matches before a newline too; that is Python's, and no upstream's.
    return re.search(route.path.text.replace(b"$", rb"\Z"), path) is not None

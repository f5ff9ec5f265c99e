"""From a request's host and path to a route and the target that the upstream gets. Knows nothing of what a route does.

Which route: of all that match, the one with the most specific host (the name itself, then the longest `*.` wildcard,
then routes without a host); among those `=` before `~` before prefixes; `~` in file order, prefixes longest first.
A host's routes do not hide those of less specific hosts: a route without a host means every host, so one `/health`
serves all. Who wants a host closed gives it a route for `/`. Duplicates: the first in the file.

What is compared is `paths.Path`; what is forwarded are the client's own bytes.
"""

import re
from collections.abc import Iterable

import attrs

from wsrelay.config.settings import PathKind, Route, ToUpstream
from wsrelay.core import paths
from wsrelay.core.head import RequestHead
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal


@attrs.frozen
class Match:
    """What a request resolved to."""

    route: Route
    target: bytes
    """Path and query for the upstream, rewritten where the route says so."""


@attrs.frozen
class _HostRoutes:
    """The routes of one host, or of one wildcard, or of any host."""

    exact: dict[bytes, Route]
    patterns: tuple[tuple[re.Pattern[bytes], Route], ...]
    prefixes: dict[bytes, Route]
    lengths: tuple[int, ...]
    """Of the prefixes, longest first: a thousand prefixes have a few dozen, and each costs one look-up."""

    @classmethod
    def of(cls, routes: list[Route]) -> "_HostRoutes":
        exact: dict[bytes, Route] = {}
        prefixes: dict[bytes, Route] = {}
        patterns = []
        for route in routes:
            if route.path.kind is PathKind.REGEX:
                patterns.append((route.path.regex or re.compile(route.path.text), route))
            else:
                table = exact if route.path.kind is PathKind.EXACT else prefixes
                table.setdefault(paths.comparable(route.path.text), route)
        return cls(exact, tuple(patterns), prefixes, tuple(sorted({len(prefix) for prefix in prefixes}, reverse=True)))

    def find(self, path: bytes) -> Route | None:
        route = self.exact.get(path)
        if route is not None:
            return route
        for pattern, route in self.patterns:
            if pattern.search(path):
                return route
        for length in self.lengths:
            prefix = path[:length]
            route = self.prefixes.get(prefix)
            # Whole segments: /wss takes /wss and /wss/x, not /wssx.
            if route is not None and (prefix == path or prefix.endswith(b"/") or path[length : length + 1] == b"/"):
                return route
        return None


class RouteTable:
    """The routes of one listener, indexed: the cost of a look-up does not grow with their number.

    Only `~` routes are tried one after the other; how long an expression takes is the operator's affair.
    """

    def __init__(self, routes: tuple[Route, ...], listener: str) -> None:
        by_host: dict[bytes | None, list[Route]] = {}
        for route in routes:
            if route.listen is None or listener in route.listen:
                by_host.setdefault(route.host, []).append(route)
        self._any = _HostRoutes.of(by_host.pop(None, []))
        tables = {host: _HostRoutes.of(found) for host, found in by_host.items() if host is not None}
        self._names = {host: table for host, table in tables.items() if not host.startswith(b"*.")}
        # `*.example.com` stands under `.example.com`. It takes a.example.com and a.b.example.com, as nginx's does, but
        # not example.com itself.
        self._suffixes = {host[1:]: table for host, table in tables.items() if host.startswith(b"*.")}

    def resolve(self, head: RequestHead) -> Match:
        """Find the route of a request and the target for its upstream.

        Raises:
            Refusal: NO_ROUTE where nothing matches; BAD_TARGET for a path that the upstream could read as another
                one, so that another route would have matched (see `paths`).
        """
        path = paths.read(head.path)
        tables = tuple(self._tables(head.host))
        route = _find(tables, path.text)
        for other in path.others:
            if _find(tables, other) is not route:
                raise Refusal(
                    Reason.BAD_TARGET,
                    "the path has escapes, // or ; in it, by which it can be read as one that another route is for",
                )
        if route is None:
            raise Refusal(Reason.NO_ROUTE, "no route matches this host and path")
        return Match(route, _target(route, head))

    def _tables(self, host: bytes) -> Iterable[_HostRoutes]:
        """The tables that cover a host, the most specific first."""
        if host in self._names:
            yield self._names[host]
        if self._suffixes:
            # The grammar of Host bounds its length, and with it the number of labels.
            dot = host.find(b".")
            while dot != -1:
                if host[dot:] in self._suffixes:
                    yield self._suffixes[host[dot:]]
                dot = host.find(b".", dot + 1)
        yield self._any


def _find(tables: tuple[_HostRoutes, ...], path: bytes) -> Route | None:
    for table in tables:
        route = table.find(path)
        if route is not None:
            return route
    return None


def _target(route: Route, head: RequestHead) -> bytes:
    action = route.action
    if not isinstance(action, ToUpstream) or action.rewrite is None:
        return head.target
    if route.path.kind is not PathKind.PREFIX:
        return action.rewrite + head.query
    # The prefix is counted off in segments, not in bytes: the client may have escaped some of its letters. An escaped
    # slash is no slash to either, so both count the same.
    depth = route.path.text.rstrip(b"/").count(b"/") + 1
    segments = head.path.split(b"/", depth)
    if len(segments) <= depth:
        return action.rewrite + head.query
    # One slash at the joint, whatever was there: a target that begins with two is another host to some (RFC 3986 4.2).
    return action.rewrite.rstrip(b"/") + b"/" + segments[depth].lstrip(b"/") + head.query

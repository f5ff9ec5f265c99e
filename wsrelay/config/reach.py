"""What nobody can reach: a second listener on an address, a route behind one like it, a listener without routes, and
what stands behind connections that are passed on.
"""

from collections import defaultdict
from ipaddress import ip_address

from wsrelay.config import coverage, patterns, server_names
from wsrelay.config.addresses import is_wildcard
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.references import name, passing
from wsrelay.config.schema import ListenTable
from wsrelay.config.settings import Mode, PathKind, SystemdAddress, TcpAddress, UnixAddress
from wsrelay.config.tables import Tables

_EVERYWHERE = ""  # no listener's name: makes two routes without `listen` meet though no listener is sound


def check(tables: Tables, document: Document, report: Report) -> None:
    """Report what would never get a connection or a request."""
    _addresses(tables, document, report)
    _twins(tables, document, report)
    _protocols(tables, document, report)
    _passed_on(tables, document, report)
    if not tables.all_sound("listen", "name", "address", "mode", "redirect") or not tables.listen:
        return
    if not any(_has_routes(listen) for listen in tables.listen.values()):
        for row in tables.route:
            report.mistake(document, ("route", row), 'never reached: no listener of mode "http" takes requests')
    elif tables.all_sound("route", "listen"):
        _idle_listeners(tables, document, report)


def _has_routes(listen: ListenTable) -> bool:
    return listen.mode is Mode.HTTP and listen.redirect is None


def _addresses(tables: Tables, document: Document, report: Report) -> None:
    taken: dict[str | int, list[tuple[str, KeyPath]]] = defaultdict(list)
    for row, table in tables.listen.items():
        path: KeyPath = ("listen", row, "address")
        if path in tables.unsound:
            continue
        group: str | int
        match table.address:
            case TcpAddress(port=0):
                continue  # the kernel chooses a free port
            case TcpAddress(host, port):
                group, place = port, "127.0.0.1" if host == "localhost" else host
            case UnixAddress(file):
                group, place = "unix", str(document.absolute(path, file))
            case SystemdAddress(place):
                group = "systemd"
        for other, first in taken[group]:
            if _overlap(place, other):
                text = f"{document.spot(first).value} listens on this address already"
                covers = "" if place == other else f" ({_as_written(other, group)} and {table.address} overlap)"
                report.mistake(document, path, text + covers)
                break
        taken[group].append((place, path))


def _as_written(host: str, port: str | int) -> str:
    return str(TcpAddress(host, port)) if isinstance(port, int) else f"{port}:{host}"


def _overlap(one: str, other: str) -> bool:
    if one == other:
        return True
    return _covers(one, other) or _covers(other, one)


def _covers(wide: str, narrow: str) -> bool:
    return is_wildcard(wide) and _family(narrow) in (None, _family(wide))


def _family(host: str) -> int | None:
    # 0.0.0.0 and [::] do not overlap: IPv6 listeners take IPv6 only, as in nginx since 1.3.4.
    try:
        return ip_address(host).version
    except ValueError:
        return None


def _twins(tables: Tables, document: Document, report: Report) -> None:
    everywhere = frozenset(name(listen) for listen in tables.listen.values()) | {_EVERYWHERE}
    before: dict[tuple[bytes | None, PathKind, bytes], list[tuple[frozenset[str], int]]] = defaultdict(list)
    for row, route in tables.route.items():
        if not tables.sound("route", row, "listen", "host", "path"):
            continue
        listeners = everywhere if route.listen is None else frozenset(route.listen)
        same = before[route.host, route.path.kind, patterns.compared(route.path)]
        for others, first in same:
            if both := listeners & others:
                where = "" if both == listeners else f" on {', '.join(sorted(both))}"
                place = document.spot(("route", first)).key
                text = f"never reached{where}: the route at {place} has the same host and path"
                report.mistake(document, ("route", row), text)
                break
        same.append((listeners, row))


def _idle_listeners(tables: Tables, document: Document, report: Report) -> None:
    if any(route.listen is None for route in tables.route.values()):
        return
    named = {wanted for route in tables.route.values() for wanted in route.listen or ()}
    for row, listen in tables.listen.items():
        if _has_routes(listen) and name(listen) not in named:
            report.mistake(document, ("listen", row), "no [[route]] is for this listener: every request would get 404")


def _protocols(tables: Tables, document: Document, report: Report) -> None:
    for row, listen in tables.listen.items():
        alpn = listen.alpn or {}
        for protocol, doubt in server_names.protocol_doubts(alpn):
            report.warning(document, ("listen", row, "alpn", protocol), doubt)
        if "http/1.1" in alpn and _has_routes(listen) and tables.sound("listen", row, "mode"):
            text = (
                "leaves hardly a client to the routes: browsers offer http/1.1 for WebSockets, and beside h2 for pages"
            )
            report.warning(document, ("listen", row, "alpn", "http/1.1"), text)


def _passed_on(tables: Tables, document: Document, report: Report) -> None:
    """Clients name the same host to TLS and to HTTP, so a route's host may be passed on before there is a request."""
    listeners = {name(listen): passing(listen) for listen in tables.listen.values() if _has_routes(listen)}
    if not any(listeners.values()):
        return
    for row, route in tables.route.items():
        if route.host is None or not tables.sound("route", row, "listen"):
            continue
        host = route.host.decode()
        of_route = [each for called, each in listeners.items() if route.listen is None or called in route.listen]
        if of_route and all(coverage.passes_on(each, host) for each in of_route) and not host.startswith("*."):
            text = f"never reached: sni passes on every client that asks for {host}"
            report.warning(document, ("route", row, "host"), text)

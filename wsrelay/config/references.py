"""What tables say about each other: names that must exist, and must be said once."""

from collections.abc import Iterable, Iterator, Mapping

from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.schema import ListenTable
from wsrelay.config.settings import Mode, Passing, TcpAddress
from wsrelay.config.tables import Tables
from wsrelay.config.tls_rules import PASSING
from wsrelay.config.words import nearest

_HTTPS_PORT = 443


def check(tables: Tables, document: Document, report: Report) -> None:
    """Report every name that nothing has, that two things have, and every upstream that nothing names."""
    _upstreams(tables, document, report)
    _listener_names(tables, document, report)
    _listeners_of_routes(tables, document, report)


def name(listen: ListenTable) -> str:
    """What routes and logs call a listener: its address where it has no name."""
    return str(listen.address) if listen.name is None else listen.name


def passing(listen: ListenTable) -> Passing:
    """Which connections a listener passes on, as it is asked once it runs."""
    return Passing(
        names={server_name.lower(): upstream for server_name, upstream in (listen.sni or {}).items()},
        protocols={protocol.encode(): upstream for protocol, upstream in (listen.alpn or {}).items()},
    )


def _upstreams(tables: Tables, document: Document, report: Report) -> None:
    # Also of tables with a mistake: their names are not unknown.
    written: dict[str, KeyPath] = {}
    for row, table in enumerate(document.rows("upstream")):
        said = table.get("name") if isinstance(table, dict) else None
        if isinstance(said, str):
            _once(said, ("upstream", row, "name"), written, document, report)
    used = set()
    for said, path in _named(tables):
        used.add(said)
        _exists(said, path, "upstream", written, document, report)
    _untouched(tables, document, report)
    _plain_too(tables, document, report)
    _forgotten_tls(tables, document, report)
    for unused in written.keys() - used:
        report.warning(document, written[unused], f'no route or listener uses the upstream "{unused}"')


def _named(tables: Tables) -> Iterator[tuple[str, KeyPath]]:
    """Every upstream that something names, and where it does."""
    for row, route in tables.route.items():
        if route.upstream is not None:
            yield route.upstream, ("route", row, "upstream")
    for row, listen in tables.listen.items():
        if listen.upstream is not None:
            yield listen.upstream, ("listen", row, "upstream")
        yield from _passed_on(listen, row)


def _passed_on(listen: ListenTable, row: int) -> Iterator[tuple[str, KeyPath]]:
    """The upstreams that get connections with their TLS untouched by what their ClientHello says."""
    for key in PASSING:
        for said, upstream in (getattr(listen, key) or {}).items():
            yield upstream, ("listen", row, key, said)


def _untouched(tables: Tables, document: Document, report: Report) -> None:
    """Where TLS passes through, none of ours may be around it."""
    secured = {table.name for table in tables.upstream.values() if table.tls is not None}
    for row, listen in tables.listen.items():
        passed_on = list(_passed_on(listen, row))
        # Beside these every client speaks TLS, so what is not passed on does too, where it is not ended here.
        if passed_on and listen.mode is Mode.TCP and listen.tls is None and tables.sound("listen", row, "mode", "tls"):
            passed_on += [(listen.upstream, ("listen", row, "upstream"))] if listen.upstream else []
        for upstream, path in passed_on:
            if upstream in secured:
                text = (
                    f'"{upstream}" has tls of its own, and TLS inside TLS is what no server expects; name an upstream'
                    " without, for the client's own TLS reaches it"
                )
                report.mistake(document, path, text)


def _plain_too(tables: Tables, document: Document, report: Report) -> None:
    """No server takes TLS and plain bytes at one address, but a name like "site" stands for both too easily."""
    plain: dict[str, KeyPath] = {}
    for row, route in tables.route.items():
        if route.upstream is not None:
            plain.setdefault(route.upstream, ("route", row, "upstream"))
    for row, listen in tables.listen.items():
        if listen.mode is Mode.TCP and listen.tls and listen.upstream is not None:
            plain.setdefault(listen.upstream, ("listen", row, "upstream"))
    for row, listen in tables.listen.items():
        for upstream, path in _passed_on(listen, row):
            if upstream in plain:
                place = document.spot(plain[upstream]).value
                text = f'"{upstream}" gets the client\'s TLS from here, and plain bytes from {place};'
                report.warning(document, path, f"{text} make it two upstreams")


def _forgotten_tls(tables: Tables, document: Document, report: Report) -> None:
    routed = {route.upstream for route in tables.route.values()}
    for row, table in tables.upstream.items():
        if table.name not in routed or not tables.sound("upstream", row, "name", "servers", "tls") or table.tls:
            continue
        for position, server in enumerate(table.servers):
            if isinstance(server.address, TcpAddress) and server.address.port == _HTTPS_PORT:
                text = f"port {_HTTPS_PORT} is https, and without tls it gets plain HTTP; say tls = {{}}"
                report.warning(document, ("upstream", row, "servers", position), text)


def _listener_names(tables: Tables, document: Document, report: Report) -> None:
    written: dict[str, KeyPath] = {}
    for row, listen in tables.listen.items():
        if not tables.sound("listen", row, "name", "address"):
            continue
        if listen.name is not None:
            _once(listen.name, ("listen", row, "name"), written, document, report)
        elif name(listen).endswith(":0") and name(listen) in written:
            # The kernel chooses two ports, but what would a route call them?
            text = f"two listeners go by {name(listen)}; give this one a name"
            report.mistake(document, ("listen", row, "address"), text)
        else:
            written.setdefault(name(listen), ("listen", row, "address"))


def _listeners_of_routes(tables: Tables, document: Document, report: Report) -> None:
    kinds = dict.fromkeys(_written_names(document), "")
    kinds |= {
        name(listen): _kind(listen)
        for row, listen in tables.listen.items()
        if tables.sound("listen", row, "name", "address")
    }
    for row, route in tables.route.items():
        for position, wanted in enumerate(route.listen or ()):
            path = ("route", row, "listen", position)
            _exists(wanted, path, "listener", kinds, document, report)
            if kinds.get(wanted):
                report.mistake(document, path, f'the listener "{wanted}" {kinds[wanted]}: it has no routes')


def _written_names(document: Document) -> Iterable[str]:
    """The names of listeners that have a mistake elsewhere are known all the same."""
    for table in document.rows("listen"):
        said = table.get("name", table.get("address")) if isinstance(table, dict) else None
        if isinstance(said, str):
            yield said


def _kind(listen: ListenTable) -> str:
    if listen.mode is Mode.TCP:
        return 'is of mode "tcp"'
    return "redirects everything" if listen.redirect else ""


def _once(said: str, path: KeyPath, written: dict[str, KeyPath], document: Document, report: Report) -> None:
    if said in written:
        text = f'"{said}" is the name of another one already, at {document.spot(written[said]).value}'
        report.mistake(document, path, text)
    else:
        written[said] = path


def _exists(
    said: str, path: KeyPath, kind: str, written: Mapping[str, object], document: Document, report: Report
) -> None:
    if said not in written:
        report.mistake(document, path, f'no {kind} has the name "{said}"; {_instead(said, written)}')


def _instead(said: str, known: Iterable[str]) -> str:
    names = list(known)
    if near := nearest(said, names):
        return f'nearest known name: "{near}"'
    return "known names: " + (", ".join(f'"{known}"' for known in names[:20]) or "none")

"""What tables say about each other: names that must exist, and must be said once."""

from collections.abc import Iterable, Mapping

from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.schema import ListenTable
from wsrelay.config.settings import Mode
from wsrelay.config.tables import Tables
from wsrelay.config.words import nearest


def check(tables: Tables, document: Document, report: Report) -> None:
    """Report every name that nothing has, that two things have, and every upstream that nothing names."""
    _upstreams(tables, document, report)
    _listener_names(tables, document, report)
    _listeners_of_routes(tables, document, report)


def name(listen: ListenTable) -> str:
    """What routes and logs call a listener: its address where it has no name."""
    return str(listen.address) if listen.name is None else listen.name


def _upstreams(tables: Tables, document: Document, report: Report) -> None:
    # Also of tables with a mistake: their names are not unknown.
    written: dict[str, KeyPath] = {}
    for row, table in enumerate(document.rows("upstream")):
        said = table.get("name") if isinstance(table, dict) else None
        if isinstance(said, str):
            path = ("upstream", row, "name")
            _once(said, path, written, document, report)
    used = set()
    for key, rows in (("listen", tables.listen), ("route", tables.route)):
        for row, naming in rows.items():
            if naming.upstream is not None:
                used.add(naming.upstream)
                _exists(naming.upstream, (key, row, "upstream"), "upstream", written, document, report)
    for unused in written.keys() - used:
        report.warning(document, written[unused], f'no route or listener uses the upstream "{unused}"')


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

"""What the keys of one table ask of each other: pairs that need or exclude one another."""

from collections.abc import Collection

from wsrelay.config import patterns, tls_rules
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.networks import Network
from wsrelay.config.schema import ListenTable, RouteTable
from wsrelay.config.settings import Mode, WebSocketPolicy
from wsrelay.config.tables import Tables

_ACTIONS = ("upstream", "redirect", "respond")

NOT_OF_A_ROUTE = ("tls_handshake", "request_head", "http_idle", "drain")
"""Time limits that run before a route is known or after it is left, or are the service's as a whole."""


def check(tables: Tables, document: Document, report: Report) -> None:
    """Report every pair of keys that cannot stand together, or alone."""
    if not document.data.get("listen"):
        report.mistake(document, ("listen",), "missing; expected at least one [[listen]] with an address")
    for row, listen in tables.listen.items():
        if tables.sound("listen", row, "mode"):
            _listen(listen, row, tables, document, report)
            tls_rules.listen(listen, row, _said("listen", row, document), tables, document, report)
    for row, upstream in tables.upstream.items():
        tls_rules.upstream(upstream, row, tables, document, report)
    for row, route in tables.route.items():
        _route(route, row, tables, document, report)


def _listen(listen: ListenTable, row: int, tables: Tables, document: Document, report: Report) -> None:
    path: KeyPath = ("listen", row)
    said = _said("listen", row, document)
    _access(listen, path, document, report)
    if listen.mode is Mode.TCP:
        if "upstream" not in said and tables.spelled("listen", row):
            _rest(path, said, document, report)
        if "redirect" in said:
            report.wrong_key(document, (*path, "redirect"), 'not with mode = "tcp", which reads no requests')
        return
    if "upstream" in said:
        report.wrong_key(document, (*path, "upstream"), 'only with mode = "tcp"; in mode "http" a [[route]] names it')
    if "redirect" in said and "tls" in said:
        report.wrong_key(document, (*path, "redirect"), "not with tls: a client that is here uses https already")


def _rest(path: KeyPath, said: Collection[str], document: Document, report: Report) -> None:
    """Without `upstream` a listener of mode tcp must know what becomes of what it gets."""
    if not any(key in said for key in tls_rules.PASSING):
        text = 'missing; mode = "tcp" sends every connection to an upstream, or by sni and alpn to several'
        report.mistake(document, (*path, "upstream"), text)
    elif "tls" in said:
        text = "missing; what is not passed on ends here with tls, and its bytes go to an upstream; or leave tls out"
        report.mistake(document, (*path, "upstream"), text)


def _route(route: RouteTable, row: int, tables: Tables, document: Document, report: Report) -> None:
    path: KeyPath = ("route", row)
    said = _said("route", row, document)
    actions = [key for key in _ACTIONS if key in said]
    if not actions and tables.spelled("route", row):
        report.mistake(document, path, "expected one of upstream, redirect and respond, found none")
    for extra in actions[1:]:
        report.wrong_key(document, (*path, extra), f"not with {actions[0]}: a route does one thing")
    _access(route, path, document, report)
    if "origins" in said and route.websocket is WebSocketPolicy.REFUSE:
        report.wrong_key(document, (*path, "origins"), 'not with websocket = "refuse": nobody may open one here')
    for key in ("rewrite", "host_header", "origins"):
        if key in said and "upstream" not in said and (actions or tables.spelled("route", row)):
            report.wrong_key(document, (*path, key), "only with upstream")
    if route.respond is not None and route.respond.body and not patterns.has_content(route.respond.status):
        text = f"not with status {route.respond.status}, which has no content (RFC 9110 6.4.1)"
        report.wrong_key(document, (*path, "respond", "body"), text)
    if route.timeouts is not None:
        for key in NOT_OF_A_ROUTE:
            if getattr(route.timeouts, key) is not None:
                text = "has no effect on a route; it belongs into [timeouts]"
                report.warning(document, (*path, "timeouts", key), text)


def _access(table: ListenTable | RouteTable, path: KeyPath, document: Document, report: Report) -> None:
    """What is denied as a whole is allowed in vain; most often somebody meant `deny` to be the rest."""
    for position, allowed in enumerate(table.allow or ()):
        if any(_within(allowed, denied) for denied in table.deny):
            text = "deny has it too, and deny wins; allow alone already keeps everybody else out"
            report.mistake(document, (*path, "allow", position), text)


def _within(inner: Network | None, outer: Network | None) -> bool:
    if inner is None or outer is None:
        return inner is outer
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _said(array: str, row: int, document: Document) -> Collection[str]:
    """The keys of a row, whatever their values: a bad value does not make its key missing."""
    table = document.rows(array)[row]
    return table.keys() if isinstance(table, dict) else ()

"""Tables without a mistake become `Settings`: defaults filled in, paths made absolute. Judges nothing."""

from pathlib import Path
from typing import TypeVar

import attrs

from wsrelay.config import ciphers, hsts, on_disk, origins
from wsrelay.config.document import Document
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.networks import EVERYBODY, Access, Networks
from wsrelay.config.references import name, passing
from wsrelay.config.schema import ListenTable, RouteTable, TimeoutsTable, UpstreamTable, UpstreamTlsTable
from wsrelay.config.settings import (
    AccessLog,
    HostHeader,
    Limits,
    Listener,
    PathKind,
    RedirectTo,
    Respond,
    Route,
    Settings,
    SystemdAddress,
    TcpAddress,
    Timeouts,
    TlsPolicy,
    ToUpstream,
    UnixAddress,
    Upstream,
    UpstreamTls,
)
from wsrelay.config.tables import Tables

_Elsewhere = TypeVar("_Elsewhere", bound=TcpAddress | SystemdAddress)


def settings(tables: Tables, document: Document) -> Settings:
    """Make the settings; to be called only after every check has passed."""
    timeouts = _timeouts(Timeouts(), tables.timeouts)
    return Settings(
        listeners=tuple(_listener(listen, ("listen", row), document) for row, listen in tables.listen.items()),
        upstreams=tuple(_upstream(table, ("upstream", row), document) for row, table in tables.upstream.items()),
        routes=tuple(_route(table, timeouts) for table in tables.route.values()),
        pump=tables.relay.pump,
        pump_threads=tables.relay.pump_threads,
        trusted_proxies=Networks.of(tables.relay.trusted_proxies),
        access_log=AccessLog(on_disk.log_target(tables, document), tables.relay.access_log_format),
        timeouts=timeouts,
        limits=attrs.evolve(Limits(), **tables.limits.model_dump(exclude_none=True)),
    )


def _timeouts(general: Timeouts, own: TimeoutsTable | None) -> Timeouts:
    return general if own is None else attrs.evolve(general, **own.model_dump(exclude_none=True))


def _listener(table: ListenTable, path: KeyPath, document: Document) -> Listener:
    return Listener(
        name=name(table),
        address=_absolute(table.address, (*path, "address"), document),
        mode=table.mode,
        tls=tuple(
            on_disk.certificate(certificate, (*path, "tls", position), document)
            for position, certificate in enumerate(table.tls or ())
        ),
        policy=_policy(table, path, document),
        hsts=b"" if table.hsts is None else hsts.field(**table.hsts.model_dump()),
        passing=passing(table),
        accept_proxy=table.accept_proxy,
        upstream=table.upstream,
        redirect_to_https=table.redirect is not None,
        access=_access(table),
    )


def _policy(table: ListenTable, path: KeyPath, document: Document) -> TlsPolicy:
    return TlsPolicy(
        minimum=table.tls_min,
        ciphers=table.ciphers or ciphers.OURS,
        unknown_sni=table.unknown_sni,
        client_ca=_file(table.client_ca, (*path, "client_ca"), document),
        client_certificate=table.client_certificate,
        client_headers=tuple((name.encode(), fact) for name, fact in (table.client_headers or {}).items()),
    )


def _file(name: str | None, path: KeyPath, document: Document) -> Path | None:
    return None if name is None else document.absolute(path, name)


def _upstream(table: UpstreamTable, path: KeyPath, document: Document) -> Upstream:
    servers = tuple(
        _absolute(server.address, (*path, "servers", position), document)
        for position, server in enumerate(table.servers)
    )
    return Upstream(
        name=table.name,
        servers=servers,
        tls=None if table.tls is None else _upstream_tls(table.tls, (*path, "tls"), document),
        send_proxy=table.send_proxy or 0,
    )


def _upstream_tls(table: UpstreamTlsTable, path: KeyPath, document: Document) -> UpstreamTls:
    return UpstreamTls(
        server_name=table.server_name,
        ca=_file(table.ca, (*path, "ca"), document),
        verify=table.verify,
        certificate=on_disk.own_certificate(table, path, document),
    )


def _absolute(address: _Elsewhere | UnixAddress, path: KeyPath, document: Document) -> _Elsewhere | UnixAddress:
    if isinstance(address, UnixAddress):
        return UnixAddress(str(document.absolute(path, address.path)))
    return address


def _route(table: RouteTable, timeouts: Timeouts) -> Route:
    host = table.host.decode() if table.host else "*"
    mark = "" if table.path.kind is PathKind.PREFIX else table.path.kind.value
    return Route(
        path=table.path,
        action=_action(table),
        host=table.host,
        listen=None if table.listen is None else tuple(table.listen),
        websocket=table.websocket,
        origins=None if table.origins is None else origins.origins(table.origins),
        access=_access(table),
        timeouts=_timeouts(timeouts, table.timeouts),
        name=f"{host}{mark}{table.path.text.decode()}",
    )


def _access(table: ListenTable | RouteTable) -> Access:
    if table.allow is None and not table.deny:
        return EVERYBODY
    return Access(None if table.allow is None else Networks.of(table.allow), Networks.of(table.deny))


def _action(table: RouteTable) -> ToUpstream | RedirectTo | Respond:
    if table.upstream is not None:
        host_header = HostHeader.PRESERVE if table.host_header is None else table.host_header
        return ToUpstream(table.upstream, table.rewrite, host_header)
    if table.redirect is not None:
        return RedirectTo(table.redirect.to, table.redirect.status)
    if table.respond is not None:
        return Respond(table.respond.status, table.respond.body)
    raise AssertionError("rules.check lets no route without an action pass")

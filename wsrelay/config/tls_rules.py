"""What the keys of one table about TLS and PROXY lines ask of each other: pairs that need or exclude one another."""

from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import ip_address

import attrs

from wsrelay.config import ciphers, client_fields, hsts
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.schema import ListenTable, UpstreamTable, UpstreamTlsTable
from wsrelay.config.settings import ClientCertificate, ClientFact, Mode, TcpAddress, TlsVersion, UnixAddress
from wsrelay.config.tables import Tables

PASSING = ("sni", "alpn")
"""Keys of a listener that pass connections on with their TLS untouched."""

# What has no meaning without another key, and what to do instead.
_NEEDS = (
    ("unknown_sni", "tls", "only with tls, whose certificates it is about"),
    ("tls_min", "tls", "only with tls: what passes through untouched is between the client and the upstream"),
    ("ciphers", "tls", "only with tls: what passes through untouched is between the client and the upstream"),
    ("hsts", "tls", "only with tls: browsers ignore it on plain HTTP (RFC 6797 8.1); say it on the listener with tls"),
    ("client_ca", "tls", "only with tls: a client's certificate comes with its handshake"),
    ("client_certificate", "client_ca", "only with client_ca, which says whose certificates are taken"),
    ("client_headers", "client_ca", "only with client_ca: without it no client is asked for a certificate"),
)
_NOT_IN_MODE_TCP = {
    "hsts": 'not with mode = "tcp", which writes no answers; the upstream has to send it',
    "client_headers": 'not with mode = "tcp", which writes no fields; send_proxy = 2 tells the upstream the name',
}
_TRUSTED: KeyPath = ("relay", "trusted_proxies")


@attrs.frozen
class _Table:
    """One table of an array, and where to say what is wrong with it."""

    path: KeyPath
    said: Collection[str]
    """Its keys, whatever their values."""
    tables: Tables
    document: Document
    report: Report

    def sound(self, *keys: str) -> bool:
        array, row = self.path
        return self.tables.sound(str(array), int(row), *keys)

    def lacks(self, key: str) -> bool:
        """Whether a key is missing, and does not stand there misspelled."""
        return key not in self.said and self.path not in self.tables.misspelled

    def wrong_key(self, text: str, *keys: str | int) -> None:
        self.report.wrong_key(self.document, (*self.path, *keys), text)

    def mistake(self, text: str, *keys: str | int) -> None:
        self.report.mistake(self.document, (*self.path, *keys), text)

    def warning(self, text: str, *keys: str | int) -> None:
        self.report.warning(self.document, (*self.path, *keys), text)


def listen(
    listen: ListenTable, row: int, said: Collection[str], tables: Tables, document: Document, report: Report
) -> None:
    """Report what cannot stand together in a listener whose mode is sound; `said` has its keys, sound or not."""
    table = _Table(("listen", row), said, tables, document, report)
    for key, needed, text in _NEEDS:
        if key in said and listen.mode is Mode.TCP and key in _NOT_IN_MODE_TCP:
            table.wrong_key(_NOT_IN_MODE_TCP[key], key)
        elif key in said and table.lacks(needed):
            table.wrong_key(text, key)
    _passing(listen, table)
    _policy(listen, table)
    _client_certificates(listen, table)
    if listen.accept_proxy and _TRUSTED not in tables.unsound:
        _accept_proxy(listen, table)


def upstream(upstream: UpstreamTable, row: int, tables: Tables, document: Document, report: Report) -> None:
    """Report what cannot stand together in the `tls` of an upstream."""
    if upstream.tls is not None:
        table = _Table(("upstream", row), (), tables, document, report)
        _verification(upstream.name, upstream.tls, table)
        if upstream.tls.server_name is None and table.sound("servers"):
            _names_of_servers(upstream, upstream.tls, table)


def _passing(listen: ListenTable, table: _Table) -> None:
    for key in PASSING:
        if key not in table.said or listen.mode is Mode.TCP:
            continue
        if "redirect" in table.said:
            table.wrong_key("not with redirect: such a listener speaks plain HTTP", key)
        elif table.lacks("tls"):
            table.wrong_key('only with tls, for what is not passed on; or with mode = "tcp", which needs none', key)
    for first, second in _twice(listen.sni or (), str.lower):
        table.wrong_key(f"the same name as {first}", "sni", second)


def _policy(listen: ListenTable, table: _Table) -> None:
    if listen.ciphers:
        if listen.tls_min is TlsVersion.TLS_1_3:
            table.wrong_key('not with tls_min = "1.3": the list is for TLS 1.2, and TLS 1.3 has its own', "ciphers")
        for doubt in ciphers.doubts(listen.ciphers):
            table.warning(doubt, "ciphers")
    said = listen.hsts
    if said is not None and said.preload and (not said.include_subdomains or said.max_age < hsts.PRELOADED_SECONDS):
        text = 'only with include_subdomains = true and a max_age of "8760h" or more, as hstspreload.org asks'
        table.mistake(text, "hsts", "preload")


def _client_certificates(listen: ListenTable, table: _Table) -> None:
    fields = listen.client_headers or {}
    for first, second in _twice(fields, client_fields.folded):
        table.wrong_key(f"many readers take it for {first}, which is there too", "client_headers", second)
    for field, fact in fields.items():
        if client_fields.folded(field) == client_fields.CERTIFICATE_FIELD and fact is not ClientFact.CERTIFICATE:
            text = f'expected "{ClientFact.CERTIFICATE.value}", which is what readers of {field} look for (RFC 9440)'
            table.mistake(text, "client_headers", field)
    told = "client_headers" in table.said or any(up.send_proxy == 2 for up in table.tables.upstream.values())
    if listen.client_certificate is ClientCertificate.REQUEST and not told:
        text = "clients without a certificate are served all the same, and no client_headers say who has one"
        table.warning(text, "client_certificate")


def _accept_proxy(listen: ListenTable, table: _Table) -> None:
    trusted = table.tables.relay.trusted_proxies
    needs = "each connection must come from one of relay.trusted_proxies"
    if not trusted:
        table.mistake(f"{needs}, and there are none; name there what stands in front", "accept_proxy")
    elif not table.sound("address"):
        return
    elif isinstance(listen.address, UnixAddress) and None not in trusted:
        table.mistake(f'{needs}, and nobody on a UNIX socket is; add "unix:" there', "accept_proxy")
    elif isinstance(listen.address, TcpAddress) and not any(trusted):
        table.mistake(f"{needs}, and no network is; name there what stands in front", "accept_proxy")


def _verification(name: str, tls: UpstreamTlsTable, table: _Table) -> None:
    for key, other in (("chain", "key"), ("key", "chain")):
        if getattr(tls, key) is not None and getattr(tls, other) is None:
            table.wrong_key(f"only with {other}: a certificate takes both", "tls", key)
    if tls.verify:
        if tls.insecure_reason is not None:
            table.wrong_key("only with verify = false; a verified upstream needs no excuse", "tls", "insecure_reason")
        return
    if tls.insecure_reason is None:
        text = "needs insecure_reason, which says why; an authority of your own is better trusted by ca"
        table.mistake(text, "tls", "verify")
    else:
        text = f'anybody on the way can pose as the upstream "{name}" ({tls.insecure_reason})'
        table.warning(text, "tls", "verify")
    if tls.ca is not None:
        table.wrong_key("not with verify = false, which asks nobody", "tls", "ca")


def _names_of_servers(upstream: UpstreamTable, tls: UpstreamTlsTable, table: _Table) -> None:
    for position, server in enumerate(upstream.servers):
        if isinstance(server.address, UnixAddress):
            text = "with tls it needs server_name: a socket has no host that a certificate could be for"
            table.mistake(text, "servers", position)
        elif tls.verify and tls.ca is None and _is_private(server.address.host):
            text = (
                f"no public authority vouches for {server.address.host}: say in tls.server_name whom the certificate"
                " is for, or in tls.ca whose word counts"
            )
            table.warning(text, "servers", position)


def _is_private(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost"


def _twice(names: Iterable[str], same: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Each name that is another one's in a different spelling, behind that one."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(same(name), name)
        if first != name:
            yield first, name

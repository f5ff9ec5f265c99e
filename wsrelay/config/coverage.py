"""Whom certificates are for, against what a listener is asked for: the hosts of its routes, `sni`, `ciphers`."""

from collections.abc import Iterator, Mapping

import attrs

from wsrelay.config import chains, ciphers, server_names
from wsrelay.config.certificates import LoadedCertificate, covers
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.references import name, passing
from wsrelay.config.schema import ListenTable
from wsrelay.config.settings import Mode, Passing, TlsVersion, UnknownSni
from wsrelay.config.tables import Tables


@attrs.frozen
class _Served:
    """A listener with every certificate that it has."""

    row: int
    listen: ListenTable
    loaded: Mapping[int, LoadedCertificate]
    """By their place in `tls`; none is missing."""
    passing: Passing

    @property
    def path(self) -> KeyPath:
        return ("listen", self.row)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for certificate in self.loaded.values() for name in certificate.names)

    @property
    def rejects(self) -> bool:
        return self.listen.unknown_sni is UnknownSni.REJECT


def check(
    loaded: Mapping[int, Mapping[int, LoadedCertificate]], tables: Tables, document: Document, report: Report
) -> None:
    """Warn of hosts without a certificate, and of certificates that nobody can get.

    Args:
        loaded: The certificates that could be read, by listener and by place in its `tls`.
        tables: What was said.
        document: Where it stands.
        report: Where warnings go.
    """
    for row, found in loaded.items():
        listen = tables.listen.get(row)
        keys = ("mode", "tls", "sni", "unknown_sni", "tls_min", "ciphers")
        if not found or listen is None or len(found) != len(listen.tls or ()) or not tables.sound("listen", row, *keys):
            continue
        served = _Served(row, listen, found, passing(listen))
        for path, text in (*_hidden(served), *_rejected(served), *_without_suites(served)):
            report.warning(document, (*served.path, *path), text)
        if listen.mode is Mode.HTTP and tables.sound("listen", row, "name", "address"):
            for path, text in _uncovered(served, tables):
                report.warning(document, path, text)


def passes_on(passing: Passing, host: str) -> bool:
    """Whether clients that ask for this host are passed on by its name, and so get no certificate and no route."""
    return passing.group_for(host, ()) is not None


def _hidden(served: _Served) -> Iterator[tuple[KeyPath, str]]:
    for position, certificate in served.loaded.items():
        if not certificate.names or not all(passes_on(served.passing, name) for name in certificate.names):
            continue
        if position or served.rejects:
            yield ("tls", position), "never shown: sni passes on every name that it is for"
        else:
            text = (
                "sni passes on every name that it is for: only clients that ask for another one get it, and refuse it"
            )
            yield ("tls", position), text


def _rejected(served: _Served) -> Iterator[tuple[KeyPath, str]]:
    if not served.rejects:
        return
    addresses = [name for name in served.names if chains.address(name) is not None]
    if len(addresses) == len(served.names):
        yield ("unknown_sni",), "refuses every client: no certificate is for a host name, and nothing else is asked for"
    elif addresses:
        text = f"refuses clients that use the address {addresses[0]}, which a certificate is for: they name no server"
        yield ("unknown_sni",), f"{text} (RFC 6066 3)"


def _without_suites(served: _Served) -> Iterator[tuple[KeyPath, str]]:
    said = served.listen.ciphers
    if not said or served.listen.tls_min is TlsVersion.TLS_1_3:
        return
    for certificate in {each.key_type: each for each in served.loaded.values()}.values():
        if not ciphers.serves(said, certificate.key_type):
            whose = chains.who(certificate.chain[0])
            text = f"no suite for {certificate.key_type.value} keys: clients of TLS 1.2 cannot get the certificate of"
            yield ("ciphers",), f"{text} {whose}"


def _uncovered(served: _Served, tables: Tables) -> Iterator[tuple[KeyPath, str]]:
    names, called = served.names, name(served.listen)
    domains = server_names.domains(names)
    first = chains.who(served.loaded[0].chain[0])
    told = set()
    for row, route in tables.route.items():
        if route.host is None or route.host in told or not tables.sound("route", row, "host", "listen"):
            continue
        host = route.host.decode().removeprefix("[").removesuffix("]")
        # A route's wildcard takes names of any depth; whoever has a certificate for one of them may mean just that.
        covered = host[2:] in domains if host.startswith("*.") else covers(names, host)
        if covered or passes_on(served.passing, host) or not (route.listen is None or called in route.listen):
            continue
        told.add(route.host)
        if served.rejects:
            outcome = 'unknown_sni = "reject" refuses every client that asks for it'
        else:
            outcome = f"clients get the one for {first}, and refuse it"
        yield ("route", row, "host"), f"no certificate of the listener {called} is for {host}: {outcome}"

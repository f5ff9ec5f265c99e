"""What a configuration needs from the disk: certificates, keys, authorities, a folder for the log, paths that fit."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from wsrelay.config import addresses, certificates, coverage
from wsrelay.config.certificates import LoadedCertificate
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import ConfigError, KeyPath
from wsrelay.config.schema import CertificateTable, UpstreamTlsTable
from wsrelay.config.settings import Certificate, UnixAddress
from wsrelay.config.tables import Tables
from wsrelay.config.values import LOG_WORDS


def check(tables: Tables, document: Document, report: Report) -> None:
    """Report every file that cannot be read or used, and what clients may stumble over in certificates."""
    loaded = {row: _certificates(listed, row, document, report) for row, listed in tables.certificates.items()}
    coverage.check(loaded, tables, document, report)
    for row, listen in tables.listen.items():
        if listen.client_ca is not None:
            _authorities(listen.client_ca, ("listen", row, "client_ca"), document, report)
    for row, upstream in tables.upstream.items():
        if upstream.tls is not None:
            _upstream_tls(upstream.tls, ("upstream", row, "tls"), document, report)
    _sockets(tables, document, report)
    target = tables.relay.access_log
    if target not in LOG_WORDS:
        _log_file(document.absolute(("relay", "access_log"), target), document, report)


def certificate(table: CertificateTable, path: KeyPath, document: Document) -> Certificate:
    """The two files of a certificate, as absolute paths."""
    return Certificate(
        chain=document.absolute((*path, "chain"), table.chain), key=document.absolute((*path, "key"), table.key)
    )


def log_target(tables: Tables, document: Document) -> str:
    """Where the access log goes: a word, or an absolute path."""
    target = tables.relay.access_log
    return target if target in LOG_WORDS else str(document.absolute(("relay", "access_log"), target))


def own_certificate(table: UpstreamTlsTable, path: KeyPath, document: Document) -> Certificate | None:
    """The two files of what an upstream is shown, as absolute paths; None where it is shown nothing."""
    if table.chain is None or table.key is None:
        return None
    return certificate(CertificateTable(chain=table.chain, key=table.key), path, document)


def _certificates(
    listed: Mapping[int, CertificateTable], row: int, document: Document, report: Report
) -> dict[int, LoadedCertificate]:
    loaded: dict[int, LoadedCertificate] = {}
    for position, table in listed.items():
        path = ("listen", row, "tls", position)
        found = _certificate(certificate(table, path, document), certificates.load, path, document, report)
        if found is not None:
            _shadowed(found, loaded.values(), path, document, report)
            loaded[position] = found
    return loaded


def _certificate(
    files: Certificate,
    load: Callable[[Certificate], LoadedCertificate],
    path: KeyPath,
    document: Document,
    report: Report,
) -> LoadedCertificate | None:
    try:
        loaded = load(files)
    except ConfigError as error:
        for mistake in error.mistakes:
            report.mistake(document, (*path, mistake.path), mistake.text)
        return None
    for warning in loaded.warnings:
        report.warning(document, (*path, "chain"), warning)
    return loaded


def _upstream_tls(table: UpstreamTlsTable, path: KeyPath, document: Document, report: Report) -> None:
    if table.ca is not None:
        _authorities(table.ca, (*path, "ca"), document, report)
    own = own_certificate(table, path, document)
    if own is not None:
        _certificate(own, certificates.load_own, path, document, report)


def _authorities(file: str, path: KeyPath, document: Document, report: Report) -> None:
    try:
        loaded = certificates.load_authorities(document.absolute(path, file))
    except ConfigError as error:
        for mistake in error.mistakes:
            report.mistake(document, path, mistake.text)
        return
    for warning in loaded.warnings:
        report.warning(document, path, warning)


def _shadowed(
    found: LoadedCertificate, earlier: Collection[LoadedCertificate], path: KeyPath, document: Document, report: Report
) -> None:
    names = {name for other in earlier if other.key_type is found.key_type for name in other.names}
    if found.names and names.issuperset(found.names):
        text = f"never chosen: certificates before it have the same names and {found.key_type.value} keys too"
        report.warning(document, path, text)


def _sockets(tables: Tables, document: Document, report: Report) -> None:
    paths: list[tuple[KeyPath, object]] = [
        (("listen", row, "address"), table.address) for row, table in tables.listen.items()
    ]
    for row, table in tables.upstream.items():
        paths += [(("upstream", row, "servers", at), server.address) for at, server in enumerate(table.servers)]
    for path, address in paths:
        if isinstance(address, UnixAddress) and path in document.spots:
            file = document.absolute(path, address.path)
            try:
                addresses.unix_path(str(file))
            except ValueError as error:
                report.mistake(document, path, str(error))


def _log_file(file: Path, document: Document, report: Report) -> None:
    path = ("relay", "access_log")
    if file.is_dir():
        report.mistake(document, path, f"expected a file, found the folder {file}")
    elif not file.parent.is_dir():
        report.mistake(document, path, f"there is no folder {file.parent}")

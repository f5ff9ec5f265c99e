"""What a configuration needs from the disk: chains, keys, a folder for the access log, socket paths that fit."""

from pathlib import Path

from wsrelay.config import addresses, certificates
from wsrelay.config.certificates import LoadedCertificate
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import ConfigError, KeyPath
from wsrelay.config.schema import LOG_WORDS, CertificateTable
from wsrelay.config.settings import Certificate, UnixAddress
from wsrelay.config.tables import Tables


def check(tables: Tables, document: Document, report: Report) -> None:
    """Report every file that cannot be read or used, and what clients may stumble over in certificates."""
    for row, listed in tables.certificates.items():
        loaded: list[LoadedCertificate] = []
        for position, table in listed.items():
            path = ("listen", row, "tls", position)
            found = _certificate(table, path, document, report)
            if found is not None:
                _shadowed(found, loaded, path, document, report)
                loaded.append(found)
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


def _certificate(
    table: CertificateTable, path: KeyPath, document: Document, report: Report
) -> LoadedCertificate | None:
    try:
        loaded = certificates.load(certificate(table, path, document))
    except ConfigError as error:
        for mistake in error.mistakes:
            report.mistake(document, (*path, mistake.path), mistake.text)
        return None
    for warning in loaded.warnings:
        report.warning(document, (*path, "chain"), warning)
    return loaded


def _shadowed(
    found: LoadedCertificate, earlier: list[LoadedCertificate], path: KeyPath, document: Document, report: Report
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

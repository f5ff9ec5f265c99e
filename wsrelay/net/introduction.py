"""How a client is introduced to upstreams that want a PROXY line. Knows nothing of how such a line is written."""

from typing import Any

import attrs
from cryptography import x509
from OpenSSL import SSL

from wsrelay.core.forwarded import UNIX
from wsrelay.core.proxyline import Endpoint, ProxyLine, Secure
from wsrelay.net import client_certificate, sockets
from wsrelay.net.legs import Leg
from wsrelay.net.record import SessionRecord


def introduce(
    leg: Leg, record: SessionRecord, address: str, line: ProxyLine | None, certificate: x509.Certificate | None
) -> ProxyLine:
    """Who the client of the latest request is.

    Args:
        leg: The client's, open.
        record: The session's; its `real_ip` is the client's own address.
        address: The connecting one, without port, or `unix:`.
        line: What a PROXY line has said of the connection; what it knows of TLS is passed on.
        certificate: The client's, verified here; None where it has shown none.
    """
    source, destination = _ends(leg, record, address, line)
    if source is not None and source.host != record.real_ip != UNIX:
        # A client that is known by X-Forwarded-For alone: nobody knows its port, and TLS here was its proxy's.
        return ProxyLine(Endpoint(record.real_ip, 0), destination, authority=record.sni)
    said = ProxyLine(source, destination, authority=record.sni)
    connection = leg.connection
    if connection is not None:
        secure = _secured(connection, record, certificate)
        return attrs.evolve(said, protocol=connection.get_alpn_proto_negotiated(), secure=secure)
    return said if line is None else attrs.evolve(said, protocol=line.protocol, secure=line.secure)


def _ends(
    leg: Leg, record: SessionRecord, address: str, line: ProxyLine | None
) -> tuple[Endpoint | None, Endpoint | None]:
    if line is not None and line.source is not None:
        return line.source, line.destination
    # The record has the kernel's text: `203.0.113.9:4711`, or `unix:`, which has no number behind it.
    port = record.client.rpartition(":")[2]
    if not port:
        return None, None
    return Endpoint(address, int(port)), _endpoint(leg.connected.family, leg.connected.getsockname())


def _secured(connection: SSL.Connection, record: SessionRecord, certificate: x509.Certificate | None) -> Secure:
    return Secure(
        version=record.tls,
        cipher=connection.get_cipher_name() or "",
        common_name="" if certificate is None else client_certificate.common_name(certificate),
        verified=certificate is not None,
        resumed=certificate is not None and record.resumed,
    )


def _endpoint(family: int, name: Any) -> Endpoint:
    return Endpoint(sockets.host_of(family, name), int(name[1]))

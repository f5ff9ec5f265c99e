"""Requests as the hop rewrites them: what the tests of `hopbyhop` ask and compare."""

from ipaddress import ip_network

from wsrelay.config.networks import Networks
from wsrelay.core import hopbyhop
from wsrelay.core.body import Framing, NoBody
from wsrelay.core.forwarded import ClientFacts
from wsrelay.core.head import HeadLimits, RequestHead, RequestReader

LIMITS = HeadLimits(max_bytes=32 * 1024, max_fields=128)
PROXIES = Networks((ip_network("10.0.0.0/8"),))
STRANGER = ClientFacts.of("203.0.113.9", secure=True, proxies=PROXIES)
FRIEND = ClientFacts.of("10.0.0.1", secure=False, proxies=PROXIES)
IDENTITY = [
    (b"X-Real-IP", b"203.0.113.9"),
    (b"X-Forwarded-For", b"203.0.113.9"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Forwarded-Host", b"example.com"),
]
HANDSHAKE = [
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
    b"Sec-WebSocket-Version: 13",
    b"Origin: https://example.com",
]


def asked(*lines: bytes, start: bytes = b"GET /a?b=c HTTP/1.1") -> RequestHead:
    head = RequestReader(LIMITS).feed(b"\r\n".join([start, b"Host: example.com", *lines, b"", b""]))
    assert head is not None
    return head


def parts(written: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The start line and the fields of a written head, which must be exactly one."""
    head, blank, rest = written.partition(b"\r\n\r\n")
    assert (blank, rest) == (b"\r\n\r\n", b"")
    start, *lines = head.split(b"\r\n")
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return start, fields


def sent(
    head: RequestHead, facts: ClientFacts = STRANGER, *, framing: Framing | None = None, upgrade: bool = False
) -> list[tuple[bytes, bytes]]:
    """The fields that the upstream gets."""
    written = hopbyhop.request(
        head, facts, target=head.target, host=head.authority, framing=framing or NoBody(), upgrade=upgrade
    )
    again = RequestReader(LIMITS).feed(written)
    assert again is not None
    fields = parts(written)[1]
    assert tuple(fields) == again.fields
    return fields


def kept(head: RequestHead, facts: ClientFacts = STRANGER, *, upgrade: bool = False) -> list[bytes]:
    """The lower-case names of the client's fields that cross: without Host and the identity that we add."""
    ours = {b"host", b"x-real-ip", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
    return [name.lower() for name, _ in sent(head, facts, upgrade=upgrade) if name.lower() not in ours]

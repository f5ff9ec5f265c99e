"""ClientHellos, written by hand or by OpenSSL, and cut into records of any size (RFC 8446 4.1.2 and 5.1)."""

import contextlib
import struct
from collections.abc import Iterator

from OpenSSL import SSL

from tests.tls import context

# RFC 8446 5.1: what most clients put into the header of their first record; TLS 1.0, for the sake of old middleboxes.
RECORD_VERSION = b"\x03\x01"
# RFC 8446 4.1.2: the version inside stays that of TLS 1.2.
VERSION = b"\x03\x03"
# RFC 6066 3, RFC 7301 3.1, RFC 8701: an extension that nobody knows.
SERVER_NAME, ALPN, GREASE = 0, 16, 0x1A1A
# RFC 8446 6: a fatal alert of one byte of description, unrecognized_name (RFC 6066 3).
UNRECOGNIZED_NAME = b"\x02\x70"


def counted(data: bytes, size: int) -> bytes:
    """Data behind its own length in `size` bytes."""
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack("!H", kind) + counted(data, 2)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    """The extension with these names, of which a client may send one of each kind."""
    return extension(SERVER_NAME, counted(b"".join(bytes([kind]) + counted(name, 2) for name in names), 2))


def alpn(*protocols: bytes) -> bytes:
    return extension(ALPN, counted(b"".join(counted(each, 1) for each in protocols), 2))


def message(*extensions: bytes, version: bytes = VERSION) -> bytes:
    """A ClientHello with these extensions, no record around it; its one suite is ECDHE-ECDSA with AES-GCM."""
    body = version + bytes(range(32)) + b"\x00" + counted(b"\xc0\x2b", 2) + b"\x01\x00"
    return b"\x01" + counted(body + counted(b"".join(extensions), 2), 3)


def records(message: bytes, size: int = 16384, version: bytes = RECORD_VERSION) -> bytes:
    """A handshake message in as many records as it takes."""
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16" + version + counted(piece, 2) for piece in pieces)


def hello(name: bytes | None = None, protocols: tuple[bytes, ...] = (), *, size: int = 16384) -> bytes:
    """A ClientHello as it is sent; it ends with the extension that nobody knows, so that nothing asked for is last."""
    asked = [server_name(name)] if name is not None else []
    asked += [alpn(*protocols)] if protocols else []
    return records(message(*asked, extension(GREASE, b"\x00")), size)


def without_share(name: bytes) -> bytes:
    """One of TLS 1.3 that brings no key share, and so has to be sent twice (RFC 8446 4.2.8, 4.1.4)."""
    groups, signatures = b"\x00\x1d\x00\x17", b"\x04\x03\x08\x04"
    asked = [server_name(name), extension(43, counted(b"\x03\x04", 1)), extension(51, counted(b"", 2))]
    asked += [extension(10, counted(groups, 2)), extension(13, counted(signatures, 2))]
    written = message(*asked)
    # The suite is one of TLS 1.3 here, and a session id of 32 bytes is what most clients send.
    return records(written.replace(b"\xc0\x2b\x01\x00", b"\x13\x01\x01\x00", 1))


def of_openssl(name: str | None, protocols: tuple[bytes, ...] = ()) -> tuple[SSL.Connection, bytes]:
    """A client without a socket, and its first bytes: 1.5 kB, most of which is a share of X25519MLKEM768."""
    client = SSL.Connection(context(alpn=protocols), None)
    if name is not None:
        client.set_tlsext_host_name(name.encode())
    client.set_connect_state()
    return client, step(client)


def step(client: SSL.Connection, received: bytes = b"") -> bytes:
    """Go as far as these bytes lead; what is to be sent then."""
    if received:
        client.bio_write(received)
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    return b"".join(_out(client))


def _out(client: SSL.Connection) -> Iterator[bytes]:
    while True:
        try:
            yield client.bio_read(65536)
        except SSL.WantReadError:
            return

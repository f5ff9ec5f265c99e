"""What a TLS client asks for first: its ClientHello. Knows nothing of certificates, of routes, or of who answers it."""

import attrs

from wsrelay.core import server_name
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

MOST_BYTES = 16 * 1024
"""The most bytes of a connection that are looked at, the headers of the records included.

Browsers send 0.5 kB, with a post-quantum key share (X25519MLKEM768, 1.2 kB) about 2 kB, and Encrypted Client Hello adds
less than 1 kB; a ticket to resume with may be some kB. 16 KiB: as nginx (`preread_buffer_size`), HAProxy
(`tune.bufsize`), Envoy and BoringSSL. OpenSSL takes 128 KiB, which nobody sends.
"""

# The smallest records that TLS lets anybody ask for hold 64 bytes (RFC 8449 4), so 32 of them hold a hello of today.
# Some clients cut it smaller, to hide the name from filters on their way. With 128, a look takes some 50 microseconds.
_MOST_RECORDS = 128
# Extensions, and protocols. IANA lists some 60 and 40, browsers send 20 and 2; 16 KiB of empty ones take 3 ms to read.
_MOST_PARTS = 128
# A record begins with its type, a version and its length (RFC 8446 5.1); a message with its type and length (4).
_RECORD_HEADER, _HANDSHAKE = 5, 22
_MESSAGE_HEADER, _CLIENT_HELLO = 4, 1
# The shortest one has no session id, one cipher suite, one compression method, and no extensions (RFC 5246 7.4.1.2).
_LEAST_BODY = 2 + 32 + 1 + (2 + 2) + (1 + 1)

_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = b"\0"
# RFC 8446 4.1.2.
_MOST_SESSION_ID = 32
# What else connections begin with, by the first byte: the commonest mistakes of a configuration, on either side.
_OTHERS = {13: "a PROXY header of version 2", 21: "a TLS alert", 23: "encrypted data of TLS"}


@attrs.frozen
class ClientHello:
    """What of a ClientHello decides where its connection goes. With Encrypted Client Hello, the outer one's."""

    server_name: str
    """Lower case, without a dot at the end; empty if the client names none."""
    protocols: tuple[bytes, ...]
    """What ALPN offers, in the client's order (RFC 7301 3.1); empty if it offers nothing."""


def read(data: bytes) -> ClientHello | int:
    """Read the ClientHello that a connection begins with.

    Nothing is kept between two calls. They are few if the caller waits for as many bytes as it is told to, and each
    looks at record headers only until the last record is there.

    Args:
        data: Everything that has come so far; there may be more behind the hello.

    Returns:
        The hello, or how many bytes a whole one has at least: more than there are, and `MOST_BYTES` at most.

    Raises:
        Refusal: CLIENT_HELLO for what is not TLS, and for a hello that is malformed (RFC 8446 4.1.2, 5.1), longer than
            `MOST_BYTES`, or cut into more than 128 records; for more than 128 extensions or protocols.
    """
    # The first byte tells TLS from everything else, and there are requests shorter than the shortest hello.
    if not data:
        return 1
    fragments, needed = _fragments(data)
    if needed > len(data):
        return needed
    return _hello(b"".join([data[fragment] for fragment in fragments])[_MESSAGE_HEADER:])


def _fragments(data: bytes) -> tuple[list[slice], int]:
    """Where the parts of the message are, as far as is known, and how many bytes there must be for all of it."""
    fragments: list[slice] = []
    start = b""
    left = _MESSAGE_HEADER + _LEAST_BODY
    at = 0
    while left > 0:
        size = _fragment_size(data, at)
        if size is None:
            return fragments, _bounded(at + _RECORD_HEADER + left)
        fragment = slice(at + _RECORD_HEADER, at + _RECORD_HEADER + size)
        fragments.append(fragment)
        at = _bounded(fragment.stop)
        left -= size
        if len(start) < _MESSAGE_HEADER:
            # Its length is in the bytes that have come now, perhaps; until then it is the shortest there is.
            start += data[fragment][: _MESSAGE_HEADER - len(start)]
            left += _longer(start)
        # RFC 8446 5.1: a ClientHello ends with a record, since the keys may change behind it.
        if left < 0 and len(start) == _MESSAGE_HEADER:
            raise _refusal("does not end where its record ends (RFC 8446 5.1)")
        if left > 0 and len(fragments) == _MOST_RECORDS:
            raise _refusal(f"is cut into more than {_MOST_RECORDS} records")
    return fragments, at


def _fragment_size(data: bytes, at: int) -> int | None:
    """How much of the message is in the record that begins here; None while its header is not whole."""
    header = data[at : at + _RECORD_HEADER]
    if header and header[0] != _HANDSHAKE:
        if at:
            raise _refusal(f"is cut by a record of type {header[0]} (RFC 8446 5.1)")
        raise _refusal(f"is missing: the connection begins with {_other(header[0])}")
    # Of the version the second byte counts for nothing (RFC 8446 5.1); what is not 3.x is another protocol.
    if len(header) > 1 and header[1] != 3:
        raise _refusal(f"is in a record of version {header[1]}.x, which is not TLS (RFC 8446 5.1)")
    if len(header) < _RECORD_HEADER:
        return None
    size = int.from_bytes(header[3:])
    if not size:
        raise _refusal("is cut by an empty record (RFC 8446 5.1)")
    return size


def _longer(start: bytes) -> int:
    """How much longer a message is than the shortest ClientHello, from as much of its header as there is."""
    if start and start[0] != _CLIENT_HELLO:
        raise _refusal(f"is missing: the first TLS message is of type {start[0]} (RFC 8446 4)")
    if len(start) < _MESSAGE_HEADER:
        return 0
    size = int.from_bytes(start[1:])
    if size < _LEAST_BODY:
        raise _refusal(f"has {size} bytes, and the shortest one has {_LEAST_BODY} (RFC 8446 4.1.2)")
    return size - _LEAST_BODY


def _bounded(needed: int) -> int:
    if needed > MOST_BYTES:
        raise _refusal(f"is longer than the {MOST_BYTES} bytes that are looked at, with the headers of its records")
    return needed


def _other(first: int) -> str:
    """What begins with this byte, in a few words."""
    if first in _OTHERS:
        return _OTHERS[first]
    if chr(first).isascii() and chr(first).isalpha():
        return "text, such as plain HTTP or a PROXY line"
    return f"the byte {first:#04x}" + (", as SSL 2.0 does" if first >= 0x80 else "")


class _Vectors:
    """Bytes in which every part has its length before it (RFC 8446 3.4), read from the front."""

    def __init__(self, content: bytes, whose: str) -> None:
        self._content = content
        self._whose = whose
        self._at = 0
        self._parts = 0

    def __bool__(self) -> bool:
        return self._at < len(self._content)

    def take(self, size: int) -> bytes:
        """The next bytes, so many of them."""
        begin, self._at = self._at, self._at + size
        if self._at > len(self._content):
            raise self.refusal("is shorter than a length in it says")
        return self._content[begin : self._at]

    def vector(self, width: int) -> bytes:
        """The next part, whose length has `width` bytes."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise self.refusal(f"has more than {_MOST_PARTS} entries")
        return self.take(int.from_bytes(self.take(width)))

    def end(self) -> None:
        """Make sure that nothing is left."""
        if self:
            raise self.refusal("is longer than the lengths in it say")

    def refusal(self, fault: str) -> Refusal:
        """What is wrong, in a sentence that says where."""
        return Refusal(Reason.CLIENT_HELLO, f"{self._whose} {fault}")


def _hello(body: bytes) -> ClientHello:
    """Read what a ClientHello message holds (RFC 8446 4.1.2). Its version is not judged: whoever answers it does."""
    hello = _Vectors(body, "the ClientHello")
    hello.take(2 + 32)
    if len(hello.vector(1)) > _MOST_SESSION_ID:
        raise hello.refusal(f"has a session id of more than {_MOST_SESSION_ID} bytes (RFC 8446 4.1.2)")
    suites = hello.vector(2)
    if not suites or len(suites) % 2:
        raise hello.refusal("has no cipher suites, or half of one (RFC 8446 4.1.2)")
    if not hello.vector(1):
        raise hello.refusal("has no compression method, not even null (RFC 8446 4.1.2)")
    # RFC 5246 7.4.1.2: whether there are any extensions is told by the length of the message.
    extensions = _Vectors(hello.vector(2) if hello else b"", "the list of extensions in the ClientHello")
    hello.end()
    found: dict[int, bytes] = {}
    while extensions:
        kind = int.from_bytes(extensions.take(2))
        if kind in found:
            raise extensions.refusal(f"has number {kind} twice (RFC 8446 4.2)")
        found[kind] = extensions.vector(2)
    return ClientHello(
        server_name=_server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else "",
        protocols=_protocols(found[_ALPN]) if _ALPN in found else (),
    )


def _server_name(extension: bytes) -> str:
    """The name in a server_name extension (RFC 6066 3).

    There is exactly one, and it is a host name: no other type was ever defined, OpenSSL and BoringSSL refuse what
    else may stand here, and a second name would be read by one server and not by the next.
    """
    names = _list(extension, "the server_name extension")
    if names.take(1) != _HOST_NAME:
        raise names.refusal("has a name that is no host name (RFC 6066 3)")
    name = names.vector(2)
    if names:
        raise names.refusal("has more than one name (RFC 6066 3)")
    read = server_name.read(name)
    if read is None:
        raise names.refusal("has a name that is empty, too long, or not made of letters, digits, '-', '_' and '.'")
    return read


def _protocols(extension: bytes) -> tuple[bytes, ...]:
    """The protocols in an ALPN extension (RFC 7301 3.1): one at least, none of them empty."""
    names = _list(extension, "the ALPN extension")
    protocols = []
    while names:
        protocols.append(names.vector(1))
    if not all(protocols):
        raise names.refusal("has a protocol without a name (RFC 7301 3.1)")
    return tuple(protocols)


def _list(extension: bytes, whose: str) -> _Vectors:
    """The list that is all of an extension, and is not empty."""
    whole = _Vectors(extension, whose)
    content = whole.vector(2)
    whole.end()
    if not content:
        raise whole.refusal("is an empty list")
    return _Vectors(content, whose)


def _refusal(fault: str) -> Refusal:
    return Refusal(Reason.CLIENT_HELLO, f"the ClientHello {fault}")

"""ClientHellos put together by hand, piece by piece, so that each piece can be wrong.

Every length is written by `Writer.vector`, which makes one of them wrong if asked.
"""

from collections.abc import Iterator, Sequence

import attrs
import pytest

from wsrelay.core import clienthello
from wsrelay.core.clienthello import ClientHello
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

Extensions = Sequence[tuple[int, bytes]]

SERVER_NAME, ALPN, TICKET, VERSIONS, KEY_SHARE, ECH = 0, 16, 35, 43, 51, 0xFE0D
# What clients send that has nothing to do with us: GREASE (RFC 8701), a key share as long as that of X25519MLKEM768.
GREASE: Extensions = ((0x1A1A, b""), (0x2A2A, b"\0"))
LONG_SHARE = (KEY_SHARE, b"\x04\xc6\x11\xec\x04\xc0" + b"\x5a" * 1216)
# Two suites of TLS 1.2 and one of 1.3, all of which OpenSSL has.
SUITES = b"\xc0\x2b\xc0\x2f\x13\x01"


@attrs.define
class Writer:
    """Writes vectors (RFC 8446 3.4): a length, and what it counts."""

    wrong: int = -1
    """Which of them has a wrong length; -1 for none. The innermost come first."""
    by: int = 0
    written: int = 0

    def vector(self, content: bytes, width: int = 2) -> bytes:
        size = len(content) + (self.by if self.written == self.wrong else 0)
        self.written += 1
        return (size % 256**width).to_bytes(width) + content

    def name(self, name: bytes, kind: int = 0) -> tuple[int, bytes]:
        return SERVER_NAME, self.vector(bytes([kind]) + self.vector(name))

    def alpn(self, *protocols: bytes) -> tuple[int, bytes]:
        return ALPN, self.vector(b"".join([self.vector(protocol, 1) for protocol in protocols]))

    def body(
        self,
        extensions: Extensions | None = (),
        *,
        session: bytes = b"",
        suites: bytes = SUITES,
        compression: bytes = b"\0",
        version: bytes = b"\3\3",
    ) -> bytes:
        """What is in a ClientHello; None for a hello that has no list of extensions."""
        written = version + b"\x55" * 32 + self.vector(session, 1) + self.vector(suites) + self.vector(compression, 1)
        if extensions is None:
            return written
        return written + self.vector(b"".join([kind.to_bytes(2) + self.vector(data) for kind, data in extensions]))

    def message(self, body: bytes, kind: int = 1) -> bytes:
        return bytes([kind]) + self.vector(body, 3)

    def record(self, fragment: bytes, kind: int = 22, version: bytes = b"\3\1") -> bytes:
        return bytes([kind]) + version + self.vector(fragment)


def records(message: bytes, sizes: Sequence[int] = ()) -> bytes:
    """A message in records of these sizes, and one with the rest."""
    pieces = []
    for size in sizes:
        pieces.append(message[:size])
        message = message[size:]
    return b"".join([Writer().record(piece) for piece in (*pieces, message) if piece])


def message(name: bytes | None = None, protocols: Sequence[bytes] = (), more: Extensions = ()) -> bytes:
    """A hello as clients send them, with no records around it yet."""
    writer = Writer()
    named = [] if name is None else [writer.name(name)]
    offered = [writer.alpn(*protocols)] if protocols else []
    return writer.message(writer.body([*named, *offered, *more]))


def looks(data: bytes) -> Iterator[tuple[int, ClientHello | int]]:
    """What a caller learns who always waits for as many bytes as it is told to: how many it had, and what was read."""
    have = 0
    while have <= len(data):
        seen = clienthello.read(data[:have])
        yield have, seen
        if isinstance(seen, ClientHello):
            return
        assert have < seen <= clienthello.MOST_BYTES
        have = seen


def read(data: bytes) -> ClientHello:
    """The hello that these bytes begin with, the same however many of them are there."""
    *before, (end, hello) = looks(data)
    assert isinstance(hello, ClientHello)
    assert before
    assert clienthello.read(data) == clienthello.read(data + b"\x17\3\3\0\1tail") == hello
    for have in range(end):
        needed = clienthello.read(data[:have])
        assert isinstance(needed, int), have
        assert have < needed <= end
    return hello


def refused(data: bytes) -> str:
    """Why these bytes are refused, as they are and with more behind them."""
    with pytest.raises(Refusal) as with_tail:
        clienthello.read(data + b"\x16\3\3\0\1\0" * 3)
    with pytest.raises(Refusal) as refusal:
        clienthello.read(data)
    assert refusal.value.reason is with_tail.value.reason is Reason.CLIENT_HELLO
    assert refusal.value.detail == with_tail.value.detail
    assert refusal.value.detail.isascii()
    assert refusal.value.detail.isprintable()
    return refusal.value.detail

"""How marked bytes go through a tunnel: as they are at layer 4, in WebSocket frames (RFC 6455 5.2) behind a 101.

The masking key of a client is zero: its payload then crosses as it is, which no relay may care about.
"""

from typing import Protocol

_BINARY, _CLOSE = 0x82, 0x88
_MASKED = 0x80
_NORMAL_CLOSURE = b"\x03\xe8"


class Coding(Protocol):
    """Turns payload into a connection's bytes, and back."""

    def encode(self, payload: bytes) -> bytes:
        """One message."""

    def last(self) -> bytes:
        """What is said before an orderly end."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes that arrived; the payload in them, of incomplete messages too."""


class Raw:
    """Bytes as they are."""

    def encode(self, payload: bytes) -> bytes:
        """The same."""
        return payload

    def last(self) -> bytes:
        """Nothing."""
        return b""

    def feed(self, data: bytes) -> bytes:
        """The same."""
        return data


class BadFrame(Exception):
    """A frame that was not sent like this."""


class Frames:
    """Binary messages of one frame each, then a close frame."""

    def __init__(self, *, client: bool) -> None:
        """`client` masks what it sends and gets what is not masked; the upstream the other way round."""
        self._mask = (_MASKED, bytes(4)) if client else (0, b"")
        self._expected = 0 if client else _MASKED
        self._head = b""
        self._left = 0
        self._closing = False

    def encode(self, payload: bytes) -> bytes:
        """One frame."""
        return self._frame(_BINARY, payload)

    def last(self) -> bytes:
        """A close frame that says 1000."""
        return self._frame(_CLOSE, _NORMAL_CLOSURE)

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        bit, key = self._mask
        count = len(payload)
        if count < 126:
            length = bytes([bit | count])
        elif count < 1 << 16:
            length = bytes([bit | 126]) + count.to_bytes(2, "big")
        else:
            length = bytes([bit | 127]) + count.to_bytes(8, "big")
        return bytes([opcode]) + length + key + payload

    def feed(self, data: bytes) -> bytes:
        """The payload of binary frames.

        Raises:
            BadFrame: A head that `encode` does not write.
        """
        found, at = [], 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                if not self._closing:
                    found.append(piece)
            else:
                self._head += data[at : at + 1]
                at += 1
                self._take_head()
        return b"".join(found)

    def _take_head(self) -> None:
        head = self._head
        if self._closing or (head[0] not in (_BINARY, _CLOSE)):
            raise BadFrame(f"a frame begins with {head.hex()}")
        if len(head) < 2:
            return
        if head[1] & _MASKED != self._expected:
            raise BadFrame(f"a frame begins with {head.hex()}")
        short = head[1] & 0x7F
        wide = {126: 2, 127: 8}.get(short, 0)
        if len(head) < 2 + wide + (4 if self._expected else 0):
            return
        self._left = int.from_bytes(head[2 : 2 + wide], "big") if wide else short
        self._closing = head[0] == _CLOSE
        if self._expected and head[-4:] != bytes(4):
            raise BadFrame(f"a frame begins with {head.hex()}")
        self._head = b""

"""How each end knows which connection it has before it: by its address, its Host, its target, its label. Names only."""

import base64
import hashlib

LABEL_BYTES = 12
_MAGIC = b"SOAK"

# A connection's own loopback address (Linux has all of 127.0.0.0/8), so that the access log and X-Forwarded-For name
# it. 127.0.x.y is left to those who really are at home there.
_FIRST = 127 << 24 | 1 << 16
MOST_CONNECTIONS = 0xFD0000

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


def source_of(number: int) -> str:
    """The address from which connection `number` comes."""
    return ".".join(str(byte) for byte in (_FIRST + number).to_bytes(4, "big"))


def number_of(address: str) -> int | None:
    """The connection that comes from `address:port`, or None for any other client."""
    try:
        found = int.from_bytes(bytes(map(int, address.partition(":")[0].split("."))), "big") - _FIRST
    except ValueError:
        return None
    return found if 0 < found < MOST_CONNECTIONS else None


def host_of(number: int) -> str:
    """The Host field of its requests."""
    return f"soak-{number}.test"


def label(number: int) -> bytes:
    """What a connection at layer 4 begins with."""
    return _MAGIC + number.to_bytes(LABEL_BYTES - len(_MAGIC), "big")


def labelled(data: bytes) -> int | None:
    """The connection of a label, or None for other bytes."""
    return int.from_bytes(data[len(_MAGIC) :], "big") if data.startswith(_MAGIC) else None


def key_of(number: int) -> str:
    """The Sec-WebSocket-Key of a connection."""
    return base64.b64encode(hashlib.blake2b(b"%d" % number, digest_size=16).digest()).decode()


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept for a key (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()

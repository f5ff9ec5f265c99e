"""Type, length, value: what stands behind the addresses in a PROXY header of version 2 (2.2), and its check sum.

Knows no type's meaning. Sections are those of HAProxy's doc/proxy-protocol.txt.
"""

import re
import struct
from collections.abc import Collection, Mapping

from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal

_HEAD = struct.Struct("!BH")
# Texts go to logs and into header fields: no controls of C0 and C1, nothing that ends a line or turns its direction in
# Unicode, no halves of characters.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def parse(block: bytes, at: int, kinds: Mapping[int, int]) -> dict[int, slice]:
    """Find the TLVs of some types in `block`, whose first TLV begins at `at`; the others are skipped (2.2).

    Args:
        block: Ends where the last TLV does.
        at: At most the length of `block`.
        kinds: Type to the most bytes that its value may have.

    Returns:
        Where in `block` the value of each type stands that is there.

    Raises:
        Refusal: PROXY_HEADER where the TLVs do not end with `block`, one of these is too long, or there twice: two
            readers could take different ones.
    """
    found: dict[int, slice] = {}
    while at < len(block):
        if at + _HEAD.size > len(block):
            raise wrong("ends within the type and length of a TLV")
        kind, length = _HEAD.unpack_from(block, at)
        at += _HEAD.size
        if at + length > len(block):
            raise wrong(f"ends within the value of TLV 0x{kind:02x}")
        if kind in kinds:
            if kind in found:
                raise wrong(f"has TLV 0x{kind:02x} twice")
            if length > kinds[kind]:
                raise wrong(f"has TLV 0x{kind:02x} with {length} bytes, and {kinds[kind]} are allowed")
            found[kind] = slice(at, at + length)
        at += length
    return found


def read_text(value: bytes) -> str:
    """A value that is text.

    Raises:
        Refusal: PROXY_HEADER where it is not UTF-8, or has controls in it.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise wrong("has a text that is not UTF-8") from None
    if _UNSAFE.search(text):
        raise wrong("has a text with controls in it")
    return text


def write(kind: int, value: bytes) -> bytes:
    """One TLV."""
    return _HEAD.pack(kind, len(value)) + value


def write_texts(texts: Collection[tuple[int, str]], most: int) -> bytes:
    """TLVs for those of the texts that are not empty, have no controls, and at most so many bytes.

    The others are left out: cut or cleaned, they would be somebody else's.
    """
    safe = [(kind, text.encode()) for kind, text in texts if text and not _UNSAFE.search(text)]
    return b"".join(write(kind, value) for kind, value in safe if len(value) <= most)


def crc32c(data: bytes) -> int:
    """The check sum of 2.2.3, which is CRC32C of RFC 3720 12.1."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRCS[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def wrong(what: str) -> Refusal:
    """A header of version 2 that is to be refused."""
    return Refusal(Reason.PROXY_HEADER, f"the PROXY header {what} (2.2)")


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # the polynomial 0x11EDC6F41, from its low end
    return byte


_CRCS = tuple(_crc_of(byte) for byte in range(256))

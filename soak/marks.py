"""The mark that every byte carries: a keyed counter stream, and what checks it. Knows nothing of sockets.

A stream belongs to one direction of one exchange of one connection. A byte that is foreign, lost, doubled, changed or
out of order differs from what its place demands, with the chance of a false match 1 in 256 for one byte and none for
a few. AES in counter mode, since any place in it can be had without what is before, and it costs 1 ns a byte.
"""

import enum
import hashlib
from collections.abc import Iterable

import attrs
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

_BLOCK = 16
_ZEROS = memoryview(bytes(256 * 1024))

SHOWN = 48
"""Bytes of the two sides of a difference that are kept: enough to find them elsewhere without doubt."""

_PATTERN = 12
_NEAR = 4 * 1024 * 1024
"""How far from its place a byte of the own stream is looked for: more than all that may be on its way at once."""


class Way(enum.Enum):
    """Which direction of an exchange or a tunnel."""

    UP = "up"
    DOWN = "down"


@attrs.frozen
class Name:
    """Which stream."""

    seed: int
    connection: int
    exchange: int
    way: Way

    def __str__(self) -> str:
        return f"{self.connection}.{self.exchange} {self.way.value}"


class Marks:
    """A stream, taken piece by piece."""

    def __init__(self, name: Name, offset: int = 0) -> None:
        """Begin at `offset`."""
        key = hashlib.blake2b(f"{name.seed}:{name}".encode(), digest_size=_BLOCK).digest()
        block, skipped = divmod(offset, _BLOCK)
        self._cipher = Cipher(AES(key), CTR(block.to_bytes(_BLOCK, "big"))).encryptor()
        self._cipher.update(_ZEROS[:skipped])

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count <= len(_ZEROS):
            return self._cipher.update(_ZEROS[:count])
        return b"".join(self.take(min(len(_ZEROS), count - done)) for done in range(0, count, len(_ZEROS)))


@attrs.frozen
class Difference:
    """Where a stream went wrong, and up to `SHOWN` bytes of both sides from there."""

    offset: int
    expected: bytes
    found: bytes


class WrongBytes(Exception):
    """What arrived is not what the stream has there."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(f"at byte {difference.offset}")
        self.difference = difference


class Running:
    """The count and the hash of what has gone one way so far."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.blake2b(digest_size=8)

    def add(self, data: bytes) -> None:
        """Count more bytes."""
        self.count += len(data)
        self._hash.update(data)

    def digest(self) -> str:
        """The hash of all of them."""
        return self._hash.hexdigest()


class Check(Running):
    """Bytes that arrive, each compared with what its place demands."""

    def __init__(self, name: Name) -> None:
        super().__init__()
        self._marks = Marks(name)

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            WrongBytes: They are not the next bytes of the stream; those before the difference are counted.
        """
        expected = self._marks.take(len(data))
        if data == expected:
            self.add(data)
            return
        right = next(index for index, (one, other) in enumerate(zip(data, expected, strict=True)) if one != other)
        self.add(data[:right])
        shown = slice(right, right + SHOWN)
        raise WrongBytes(Difference(self.count, expected[shown], data[shown]))


def explain(name: Name, difference: Difference, others: Iterable[tuple[Name, int]]) -> str:
    """Say where wrong bytes come from, as far as that can be found.

    Args:
        name: The stream they were taken for.
        difference: Where it went wrong.
        others: Streams that they may belong to, and how long each is at most.
    """
    found = difference.found
    for start in range(max(1, len(found) - _PATTERN + 1)):
        pattern = found[start : start + _PATTERN]
        if len(pattern) < _PATTERN:
            break
        begin = max(0, difference.offset - _NEAR)
        window = Marks(name, begin).take(difference.offset - begin + _NEAR)
        at = window.find(pattern)
        if at >= 0:
            return _moved(start, begin + at - difference.offset - start)
        for other, length in others:
            at = Marks(other).take(min(length, _NEAR)).find(pattern)
            if at >= 0 and other != name:
                return f"from the {start + 1}. on they are {other}, from its byte {at} on"
        if start > _PATTERN:
            break  # a search costs 20 ms for each stream; what is not found by now is of no stream
    return "they belong to no stream that was looked at"


def _moved(changed: int, shift: int) -> str:
    if shift > 0:
        return f"{shift} bytes are missing, and the stream goes on behind them"
    if shift < 0:
        return f"{-shift} bytes are there twice, or were put in"
    return f"{changed} bytes are changed, and the stream goes on in its place"

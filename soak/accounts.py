"""What one end saw of one exchange or tunnel, as it goes from the upstream's process to the load's. Judges nothing."""

import json
from typing import Any

import attrs

from soak.marks import Difference, Running


@attrs.define
class Account:
    """One end of one exchange or tunnel."""

    connection: int
    exchange: int
    side: str
    """`client` or `upstream`."""
    sent: int = 0
    """Marked bytes that were given to the kernel, or tried to; bodies, payloads."""
    sent_hash: str = ""
    got: int = 0
    got_hash: str = ""
    raw_sent: int = 0
    """In a tunnel: every byte, frame headers too."""
    raw_got: int = 0
    finished: bool = False
    """Everything was sent, and the end said in order."""
    complete: bool = False
    """The other side's bytes ended in order: a body's end, FIN, close_notify."""
    end: str = ""
    """How the connection was seen to end, where it was."""
    status: int = 0
    """Of the answer, as sent or as received; 101 in a tunnel, at layer 4 too."""
    reason: str = ""
    """The relay's, where it answered by itself."""
    wrong: Difference | None = None
    """Where the bytes that arrived were not the right ones."""
    problems: list[str] = attrs.field(factory=list)
    """What must not happen, in words."""

    def note(self, sent: Running, got: Running) -> None:
        """Take over the counts and the hashes."""
        self.sent, self.sent_hash = sent.count, sent.digest()
        self.got, self.got_hash = got.count, got.digest()

    def to_json(self) -> str:
        """One line."""
        return json.dumps(attrs.asdict(self, value_serializer=_written))


def from_json(line: bytes | str) -> Account:
    """Read a line of `Account.to_json`."""
    found: dict[str, Any] = json.loads(line)
    if (wrong := found["wrong"]) is not None:
        found["wrong"] = Difference(wrong["offset"], bytes.fromhex(wrong["expected"]), bytes.fromhex(wrong["found"]))
    return Account(**found)


def _written(_: object, __: object, value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value

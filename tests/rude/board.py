"""Who has asked what, and who has said what: what both judges of the state machine look things up in."""

from typing import TYPE_CHECKING

import attrs

from tests.rude.asked import Asked
from tests.rude.said import Said

if TYPE_CHECKING:
    from tests.rude.client_end import ClientEnd
    from tests.rude.server_end import ServerEnd


@attrs.define
class Board:
    """Everybody of one run.

    Attributes:
        draining: Whether the relay has begun to stop.
        hurried: Whether a limit of time may have ended something: then less has to arrive.
    """

    clients: "list[ClientEnd]" = attrs.field(factory=list)
    servers: "list[ServerEnd]" = attrs.field(factory=list)
    asked: "dict[bytes, tuple[ClientEnd, Asked]]" = attrs.field(factory=dict)
    said: "dict[bytes, tuple[Said, ServerEnd]]" = attrs.field(factory=dict)
    draining: bool = False
    hurried: bool = False

    def asked_in(self, request_line: bytes) -> "tuple[ClientEnd, Asked]":
        """Who asked what this request line belongs to."""
        tag = request_line.split(b" ")[1].rpartition(b"/")[2]
        assert tag in self.asked, f"a request that nobody has made: {request_line!r}"
        return self.asked[tag]

    def answers_to(self, asked: Asked) -> "list[tuple[Said, ServerEnd]]":
        """All that upstreams have begun to say to a request."""
        return [one for one in self.said.values() if one[0].asked is asked]

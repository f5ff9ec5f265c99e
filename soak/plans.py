"""What a connection is going to do, as values. Plays nothing; `kinds` and `tunnel_kinds` deal them out."""

import enum

import attrs

from soak.wires import READ_BYTES, How

CLIENT, UPSTREAM = "client", "upstream"


class Port(enum.Enum):
    """Which of the relay's listeners."""

    HTTP = "http"
    HTTPS = "https"
    TCP = "tcp"
    """Layer 4."""
    TLS = "tls"
    """Layer 4, and TLS ends at the relay."""

    @property
    def secure(self) -> bool:
        """Whether the client speaks TLS."""
        return self in (Port.HTTPS, Port.TLS)

    @property
    def layer4(self) -> bool:
        """Whether the relay reads no HTTP there."""
        return self in (Port.TCP, Port.TLS)


SMALL_BUFFER = 16 * 1024
"""Of a slow reader: what it receives ahead hides its slowness."""


@attrs.frozen
class Reading:
    """How somebody reads: at most `piece` bytes at a time, with a pause after each for some seconds."""

    piece: int = READ_BYTES
    pause: float = 0.0
    slow_for: float = 0.0
    """Seconds from the first byte on; then the rest comes as fast as it can."""
    buffer: int = 0
    """SO_RCVBUF of a client, so that slowness is felt; 0 leaves the kernel's choice. Of an upstream, its server's."""


BRISK = Reading()

PACED_SECONDS = 1.0
"""By the clock: on a busy machine a pause takes as long as ten should."""

# Tunnels.


@attrs.frozen
class Send:
    """Send so many marked bytes, at most `piece` in one write, with a pause after each for `PACED_SECONDS`."""

    count: int
    piece: int = READ_BYTES
    pause: float = 0.0


@attrs.frozen
class Await:
    """Wait until so many marked bytes have arrived in all."""

    count: int


@attrs.frozen
class AwaitEnd:
    """Wait for the other side's end."""


@attrs.frozen
class Pause:
    """Do nothing."""

    seconds: float


@attrs.frozen
class Finish:
    """Say our end in order; reading goes on until the other side's."""


@attrs.frozen
class Cut:
    """End it all."""

    how: How


Step = Send | Await | AwaitEnd | Pause | Finish | Cut


@attrs.frozen
class Part:
    """One end of a tunnel. It reads all the while."""

    steps: tuple[Step, ...]
    reading: Reading = BRISK

    @property
    def how_cut(self) -> How | None:
        """How this end cuts the tunnel, if it does."""
        return next((step.how for step in self.steps if isinstance(step, Cut)), None)

    @property
    def count(self) -> int:
        """Marked bytes that it sends."""
        return sum(step.count for step in self.steps if isinstance(step, Send))


@attrs.frozen
class TunnelPlan:
    """A WebSocket, or a connection at layer 4."""

    client: Part
    upstream: Part
    first: str = ""
    """Who ends first; empty where both may."""
    early: int = 0
    """Bytes the client sends before it has seen the 101; at layer 4, behind the label at once."""
    delay: float = 0.0
    """Before the 101, or before the upstream begins."""
    together: int = 0
    """Bytes the upstream sends in one write with its 101."""
    abandoned: How | None = None
    """The client does not wait for the 101."""

    @property
    def is_cut(self) -> bool:
        """Whether either end cuts it on purpose."""
        return bool(self.abandoned or self.client.how_cut or self.upstream.how_cut)

    def count(self, side: str) -> int:
        """Marked bytes that a side sends, if nothing is cut."""
        return self.early + self.client.count if side == CLIENT else self.together + self.upstream.count


# HTTP.


class Framing(enum.Enum):
    """How a body is delimited."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@attrs.frozen
class Body:
    """A body, how it is sent, and how whoever gets it reads."""

    framing: Framing = Framing.NONE
    count: int = 0
    piece: int = READ_BYTES
    pause: float = 0.0
    reading: Reading = BRISK


NO_BODY = Body()


@attrs.frozen
class ExchangePlan:
    """One request and its answer."""

    method: str = "GET"
    body: Body = NO_BODY
    answer: Body = NO_BODY
    status: int = 200
    expects: bool = False
    """The client waits for 100 before it sends the body."""
    interim: int = 0
    """How many 103 the upstream sends first."""
    early: bool = False
    """The upstream answers before it has read the body, and ends its connection then, in order."""
    delay: float = 0.0
    """Of the upstream, before it answers."""
    closes: bool = False
    """The upstream announces that it closes its connection."""
    drops: bool = False
    """The upstream closes its connection without a word."""
    think: float = 0.0
    """Of the client, before it asks."""


class Where(enum.Enum):
    """Where in an exchange it is cut."""

    HEAD = "head"
    BODY = "body"
    WAITING = "waiting"
    ANSWER = "answer"


@attrs.frozen
class HttpCut:
    """How the last exchange of a connection is cut."""

    side: str
    where: Where
    after: int
    """Bytes of the body, or of the answer."""
    how: How


class Ending(enum.Enum):
    """How the client's connection ends after the last answer."""

    CLOSE = "close"
    """The last request says so, and the relay ends it."""
    FIN = "fin"
    """The client ends it."""
    RESET = "reset"
    """The client resets the idle connection."""
    HALF_CLOSE = "half-close"
    """The client says its end right behind its last request, and reads on."""


@attrs.frozen
class Conversation:
    """Exchanges on one connection."""

    exchanges: tuple[ExchangePlan, ...]
    ending: Ending
    pipelined: bool = False
    minor: int = 1
    trickle: int = 1
    """Pieces in which each head is sent."""
    cut: HttpCut | None = None


@attrs.frozen
class Declined:
    """An upgrade that the upstream answers with ordinary HTTP."""

    status: int
    answer: Body
    early: int
    """Bytes the client sends before it has the answer; no one may ever see them."""
    delay: float


@attrs.frozen
class Refused:
    """A request that the relay answers by itself."""

    request: bytes
    status: int
    reason: str
    reaches_upstream: bool = False
    """Its head is right, so that the upstream has got it before what is wrong comes."""


@attrs.frozen
class Probe:
    """A client that only looks: it sends next to nothing, and leaves."""

    sends: bytes
    how: How


@attrs.frozen
class Plan:
    """Everything that both ends need to know of a connection."""

    seed: int
    number: int
    kind: str
    port: Port
    group: str
    """The upstream group it has to reach."""
    what: TunnelPlan | Conversation | Declined | Refused | Probe

    def __str__(self) -> str:
        return f"connection {self.number} ({self.kind} over {self.port.value})"

    @property
    def path(self) -> str:
        """What a request's target begins with."""
        return f"/{self.group}/{self.number}"

"""What a soak is to be, and what it came to, as values. Measures and judges nothing."""

from collections import Counter
from collections.abc import Sequence

import attrs

from soak.resources import Holding

ROUND_SECONDS = 60.0
"""Between two silences. What both ends tell is kept as long, about 1 kB a connection."""

WARM_UP_SHARE = 0.2


@attrs.frozen
class Wanted:
    """What a soak is to be."""

    seed: int
    seconds: float
    connections: int
    patience: float
    only: tuple[str, ...] = ()

    @property
    def rounds(self) -> list[float]:
        """Seconds of each round, the warm-up first."""
        warm = min(ROUND_SECONDS, WARM_UP_SHARE * self.seconds)
        count = max(1, round((self.seconds - warm) / ROUND_SECONDS))
        return [warm, *[(self.seconds - warm) / count] * count]


@attrs.frozen
class Violation:
    """Something that must not be."""

    what: str
    """A connection with its kind, or the relay's process."""
    text: str


@attrs.define
class KindDone:
    """What one kind of traffic came to."""

    connections: int = 0
    exchanges: int = 0
    """Plain exchanges and tunnels that reached the upstream."""
    bytes_up: int = 0
    """Marked bytes that arrived at the upstream, each checked."""
    bytes_down: int = 0
    ends: Counter[str] = attrs.field(factory=Counter)
    """By the relay's own outcome."""


@attrs.define
class Done:
    """What a soak came to."""

    pump: str
    wanted: Wanted
    kinds: dict[str, KindDone] = attrs.field(factory=dict)
    violations: list[Violation] = attrs.field(factory=list)
    holdings: list[Holding] = attrs.field(factory=list)
    """At the start, after the warm-up, after each round."""
    connections: list[int] = attrs.field(factory=list)
    """Of each round."""
    nameless: int = 0
    may_be_nameless: int = 0
    """Connections at layer 4 that were cut so early that the upstream never knew which."""
    seconds: float = 0.0
    at_once: float = 0.0
    """Connections that were going at a time, on average."""

    def violate(self, what: object, texts: Sequence[str]) -> None:
        """Add violations."""
        self.violations += [Violation(str(what), text) for text in texts]

"""The three ways a tunnel is carried, and the rows a workload has. Values only."""

import enum

import attrs


class Kind(enum.Enum):
    """How the client's leg is carried; the upstream's is plain always. The value is the word of `load.c`."""

    PLAIN = "http"
    TLS = "tls"
    L4 = "tcp"


@attrs.frozen
class Variant:
    """One row of a workload: its name in the tables, and what the load must do for it."""

    name: str
    kind: Kind
    resumed: bool = False
    """TLS: with a ticket of an earlier connection."""
    groups: str = "X25519"
    """TLS: the client's key share."""


PLAIN = Variant("plain", Kind.PLAIN)
TLS = Variant("TLS", Kind.TLS)
L4 = Variant("L4", Kind.L4)
RESUMED = Variant("TLS resumed", Kind.TLS, resumed=True)
MLKEM = Variant("TLS ML-KEM", Kind.TLS, groups="X25519MLKEM768")

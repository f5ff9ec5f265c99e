"""How a session ended: one closed list for the log, the metrics and the tests.

`docs/reasons.md` explains each to an operator; a test compares the two.
"""

import enum


class Side(enum.Enum):
    """Which of a session's two connections is meant."""

    CLIENT = "client"
    UPSTREAM = "upstream"


class Loss(enum.Enum):
    """How a connection went away when it did not end in order (with FIN, or close_notify under TLS)."""

    RESET = "reset"
    """A RST, or the kernel gave the connection up (keep-alive, TCP_USER_TIMEOUT, unreachable)."""
    TRUNCATED = "truncated"
    """TLS only: FIN without close_notify, which an attacker on the path can forge (RFC 8446 6.1)."""
    TLS = "tls-error"
    """A record that does not decrypt, a fatal alert, a failed handshake."""
    STALLED = "stalled"
    """Still there, but bytes waited for it, or were owed by it, and none moved in time."""
    BUG = "bug"
    """An error of ours while its bytes were moved; the log has the traceback."""


class Outcome(enum.Enum):
    """How a session ended. Every session has exactly one."""

    # Sessions that never became tunnels.
    SILENT = "silent"
    """The client connected and sent nothing: a probe, or a browser's spare connection."""
    SERVED = "served"
    """Plain HTTP, ended in order after at least one request."""
    REFUSED = "refused"
    """The last request got an answer of our own; the reason stands beside it."""
    DECLINED = "declined"
    """The upstream answered an upgrade with something other than 101, and that answer was relayed."""
    CLIENT_LEFT = "client-left"
    """The client went away inside a request or before its answer was complete."""
    UPSTREAM_LEFT = "upstream-left"
    """The upstream went away inside its answer: the client saw a broken one."""
    UPSTREAM_UNREACHED = "upstream-unreached"
    """Layer 4: no upstream connection could be made; the reason stands beside it."""
    TLS_FAILED = "tls-failed"
    """The client's TLS handshake failed."""
    TLS_TIMEOUT = "tls-timeout"
    """The client's TLS handshake was not done in time."""
    OVER_LIMIT = "over-limit"
    """Closed at accept: one of `[limits]` was reached; the reason says which."""
    DENIED = "denied"
    """Closed at accept: the listener's `allow` and `deny` do not let its address in."""

    # Tunnels.
    CLIENT_CLOSED = "client-closed"
    """Both directions ended in order, the client's first."""
    UPSTREAM_CLOSED = "upstream-closed"
    """Both directions ended in order, the upstream's first."""
    CLIENT_RESET = "client-reset"
    UPSTREAM_RESET = "upstream-reset"
    CLIENT_TRUNCATED = "client-truncated"
    UPSTREAM_TRUNCATED = "upstream-truncated"
    CLIENT_TLS_ERROR = "client-tls-error"
    UPSTREAM_TLS_ERROR = "upstream-tls-error"
    IDLE = "idle"
    """No byte in either direction for `tunnel_idle`."""
    CLIENT_STALLED = "client-stalled"
    """Bytes waited for the client and none moved for `write_stall`."""
    UPSTREAM_STALLED = "upstream-stalled"
    """Bytes waited for the upstream and none moved for `write_stall`."""
    CLIENT_LINGERED = "client-lingered"
    """The upstream had closed, and the client was silent for `linger` without closing too."""
    UPSTREAM_LINGERED = "upstream-lingered"
    """The client had closed, and the upstream was silent for `linger` without closing too."""

    # Either.
    DRAINED = "drained"
    """Ended by us because the service stops."""
    BUG = "bug"
    """An error of ours: the log has the traceback."""

    @classmethod
    def of_loss(cls, side: Side, loss: Loss) -> "Outcome":
        """The tunnel outcome for a connection that was lost rather than closed."""
        return cls.BUG if loss is Loss.BUG else cls(f"{side.value}-{loss.value}")

    @classmethod
    def closed_by(cls, side: Side) -> "Outcome":
        """The tunnel outcome for an orderly end that `side` began."""
        return cls(f"{side.value}-closed")

    @classmethod
    def lingered(cls, side: Side) -> "Outcome":
        """The tunnel outcome when `side` stayed silent after the other one had closed."""
        return cls(f"{side.value}-lingered")

"""What is known of a session: the record that outlives its HTTP life, and what an observer is told.

A tunnel keeps only this record in Python, so it is small: strings a person will want in the log, and numbers.
"""

from collections.abc import Hashable
from typing import Protocol

import attrs

from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason


@attrs.define(eq=False)
class SessionRecord:
    """One client connection, from accept to its outcome. Owned by the session; observers only read.

    Times are `IReactorTime.seconds()`, so only differences mean anything.
    """

    id: str
    """Short and unique within the process's life; in every log line and in every answer of our own."""
    listener: str
    client: str
    """Who connected to us: `address:port`, or `unix:`."""
    opened_at: float
    tls: str = ""
    """Protocol version such as `TLSv1.3`; empty without TLS of ours."""
    resumed: bool = False
    """Whether the TLS handshake went on from an earlier session."""
    sni: str = ""
    """The server name in the client's ClientHello, or what a PROXY line says it was; empty where nobody has looked."""
    real_ip: str = ""
    """The client's own address: the connecting one, or what trusted proxies said."""
    method: str = ""
    host: str = ""
    target: str = ""
    """Path and query of the latest request as sent, at most 256 characters; the log redacts the query."""
    route: str = ""
    """The route's name, or the upstream group's at layer 4."""
    upstream: str = ""
    """The server that was dialled last; empty before."""
    reason: Reason | None = None
    """Why the latest request got an answer of our own."""
    detail: str = ""
    """For a person: what exactly went wrong, with addresses; for the log only."""
    outcome: Outcome | None = None
    """Set once, at the end."""
    counted_as: Hashable = None
    """Under what `Admission` counts it; None where it does not."""

    def forget_request(self) -> None:
        """Begin with the next request: nothing of the one before it stays."""
        self.real_ip = self.method = self.host = self.target = self.route = self.upstream = self.detail = ""
        self.reason = None


@attrs.frozen
class ExchangeFacts:
    """One plain exchange, at its end."""

    status: int
    """What the client was answered; 0 when it left before any answer."""
    request_bytes: int
    """Body bytes read from the client, without framing."""
    response_bytes: int
    """Body bytes sent to the client, without framing."""
    seconds: float
    """From the request's complete head to the answer's last byte."""


@attrs.frozen
class TunnelFacts:
    """One tunnel, at its end."""

    to_upstream: int
    """Bytes moved from the client to the upstream after the handoff."""
    to_client: int
    """Bytes moved from the upstream to the client after the handoff, the 101 not counted."""
    seconds: float
    """From the handoff to the end."""
    idle_seconds: float
    """Silence before the end, both directions: a round number such as 60.0 names a timeout on the way."""


class Observer(Protocol):
    """Who is told what sessions do: logs and metrics. Called on the reactor thread; must not raise or block."""

    def secured(self, record: SessionRecord) -> None:
        """A client's TLS handshake is done."""

    def exchanged(self, record: SessionRecord, facts: ExchangeFacts) -> None:
        """A plain exchange is over, one answered by ourselves included."""

    def tunnel_opened(self, record: SessionRecord) -> None:
        """A session has become a tunnel."""

    def tunnel_ended(self, record: SessionRecord, facts: TunnelFacts) -> None:
        """A tunnel is over; `record.outcome` says how."""

    def session_failed(self, record: SessionRecord) -> None:
        """A session ended without any exchange or tunnel: TLS failed, upstream unreached, over the limit, a bug."""

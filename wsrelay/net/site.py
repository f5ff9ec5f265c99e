"""Everything that sessions of one listener need, as one immutable value.

A reload makes a new one; sessions keep the one they began with.
"""

import attrs

from wsrelay.config.networks import Networks
from wsrelay.config.settings import Limits, Listener, Timeouts
from wsrelay.core.head import HeadLimits
from wsrelay.core.routing import RouteTable
from wsrelay.net.admission import Admission
from wsrelay.net.dialing import Dialer
from wsrelay.net.handshakes import Handshakes
from wsrelay.net.legs import Reactor
from wsrelay.net.live import Live
from wsrelay.net.record import Observer
from wsrelay.net.splice import PumpFactory
from wsrelay.net.tls import Contexts


@attrs.frozen(eq=False)
class Site:
    """What a session is given at its accept and keeps to its end."""

    listener: Listener
    contexts: Contexts | None
    """TLS by server name; None without TLS of ours."""
    routes: RouteTable
    timeouts: Timeouts
    limits: Limits
    proxies: Networks
    dialer: Dialer
    pumps: PumpFactory
    handshakes: Handshakes
    live: Live
    admission: Admission
    observer: Observer
    reactor: Reactor
    reserved: frozenset[bytes] = frozenset()
    """Folded names of fields that only we may send upstream: `client_headers` of all listeners."""
    by_hello: bool = attrs.field(init=False)
    """Whether what a client's ClientHello says decides anything."""
    head_limits: HeadLimits = attrs.field(init=False)
    """The bounds of a head, in the form its readers take."""

    @by_hello.default
    def _by_hello(self) -> bool:
        return bool(self.listener.passing) or (self.contexts is not None and self.contexts.by_name)

    @head_limits.default
    def _head_limits(self) -> HeadLimits:
        return HeadLimits(max_bytes=self.limits.head_bytes, max_fields=self.limits.head_fields)

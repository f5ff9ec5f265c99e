"""A session after its handoff: the record and the pump, and nothing else. Knows nothing of HTTP."""

from wsrelay.core.outcomes import Outcome
from wsrelay.net.record import SessionRecord, TunnelFacts
from wsrelay.net.site import Site
from wsrelay.net.splice import Handoff


class Tunnel:
    """One tunnel in `site.live`, until the pump tells its outcome."""

    __slots__ = ("_began", "_pump", "_record", "_site", "_told")

    def __init__(self, handoff: Handoff, site: Site, record: SessionRecord) -> None:
        """Start the pump."""
        self._site = site
        self._record = record
        self._began = site.reactor.seconds()
        self._pump = site.pumps.start(handoff)
        site.live.add(self)
        site.observer.tunnel_opened(record)
        self._told = self._pump.done.addCallback(self._ended)

    def wind_down(self) -> None:
        """Nothing to do: a tunnel may use the whole window."""

    def end_now(self) -> None:
        """End at once."""
        self._pump.stop(Outcome.DRAINED)

    def _ended(self, outcome: Outcome) -> None:
        site, record, counts = self._site, self._record, self._pump.counts()
        record.outcome = outcome
        facts = TunnelFacts(
            to_upstream=counts.to_upstream,
            to_client=counts.to_client,
            seconds=site.reactor.seconds() - self._began,
            idle_seconds=min(counts.silent_to_upstream, counts.silent_to_client),
        )
        site.observer.tunnel_ended(record, facts)
        site.admission.leave(record)
        site.live.remove(self)

"""Clients' TLS handshakes in numbers: done, resumed, and failed by name and cause. Bounded, whatever clients send.

The sign that a chain is incomplete is a rise of `tls-unknown-ca` for one name; docs/tls.md says what each cause means.
"""

from collections import Counter

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason
from wsrelay.net.record import ExchangeFacts, Observer, SessionRecord

# How often the log has a line, if anything has failed: seldom enough to be read, often enough to be in time.
_TELL_SECONDS = 600.0

# Causes in one such line, the most frequent first: it stays one line.
_MOST_TOLD = 10

NOT_OURS = "(another name)"
NOT_SAID = "(no name)"

_TLS = frozenset({Outcome.TLS_FAILED, Outcome.TLS_TIMEOUT})


class TlsCounts:
    """An observer that counts, and passes everything on to another one.

    Attributes:
        done: Handshakes that succeeded.
        resumed: Of those, how many went on from an earlier session.
        failed: How many did not, by server name and reason. Names are those of certificates and of `sni`; all others
            are counted as one, since clients choose them.
    """

    log = Logger()

    def __init__(self, inner: Observer, clock: IReactorTime) -> None:
        """Nothing is counted yet."""
        self._inner = inner
        self._names: frozenset[str] = frozenset()
        self._told = Counter[tuple[str, Reason]]()
        self._told_done = 0
        self._telling = LoopingCall(self._tell)
        self._telling.clock = clock
        self.done = 0
        self.resumed = 0
        self.failed = Counter[tuple[str, Reason]]()
        # What is not about TLS costs nothing more than without this.
        self.tunnel_opened = inner.tunnel_opened
        self.tunnel_ended = inner.tunnel_ended

    def know(self, names: frozenset[str]) -> None:
        """Count failures for these names, `*.` names too, each under its own."""
        self._names |= names

    def start(self) -> None:
        """Tell the log from time to time."""
        self._ended = self._telling.start(_TELL_SECONDS, now=False)

    def stop(self) -> None:
        """Tell the log no more."""
        if self._telling.running:
            self._telling.stop()

    def secured(self, record: SessionRecord) -> None:
        """Count a handshake that is done."""
        self.done += 1
        self.resumed += record.resumed
        self._inner.secured(record)

    def exchanged(self, record: SessionRecord, facts: ExchangeFacts) -> None:
        """Count a client that has spoken HTTP without TLS, and was told so."""
        if record.reason is Reason.PLAIN_HTTP:
            self.failed[self._name(record.sni), record.reason] += 1
        self._inner.exchanged(record, facts)

    def session_failed(self, record: SessionRecord) -> None:
        """Count a handshake that has failed."""
        if record.outcome in _TLS and record.reason is not None:
            self.failed[self._name(record.sni), record.reason] += 1
        self._inner.session_failed(record)

    def _name(self, sni: str) -> str:
        if not sni:
            return NOT_SAID
        wildcard = "*." + sni.partition(".")[2]
        return next((name for name in (sni, wildcard) if name in self._names), NOT_OURS)

    def _tell(self) -> None:
        new = self.failed - self._told
        done, self._told_done = self.done - self._told_done, self.done
        self._told = self.failed.copy()
        if new:
            causes = ", ".join(f"{name} {reason.word} {count}" for (name, reason), count in new.most_common(_MOST_TOLD))
            self.log.info(
                "TLS in the last {minutes:g} minutes: {done} handshakes, {failed} failed: {causes}",
                minutes=_TELL_SECONDS / 60,
                done=done,
                failed=new.total(),
                causes=causes,
            )

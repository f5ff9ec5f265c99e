"""Who may come in at accept, and how many from where: the counts behind `[limits]`. One for the process.

Counts cost nothing where their limit is 0. Knows of a session only its record, which keeps what it is counted under.
"""

from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime

from wsrelay.config.networks import EVERYBODY, Networks
from wsrelay.config.settings import Limits, Listener
from wsrelay.core.forwarded import parse_address
from wsrelay.core.outcomes import Outcome
from wsrelay.core.reasons import Reason
from wsrelay.core.refusal import Refusal
from wsrelay.net.live import Live
from wsrelay.net.record import SessionRecord

# RFC 6177 2: a single site gets at least a /64 of IPv6, and its hosts change their address in it as they like.
_HOST_BITS_OF_IPV6 = 64


class Admission:
    """The counts. On the reactor thread only."""

    def __init__(self, limits: Limits, proxies: Networks, live: Live, clock: IReactorTime) -> None:
        """Nobody is in.

        Args:
            limits: What holds.
            proxies: Whose own addresses are not counted, since each speaks for many clients.
            live: Everybody who is in.
            clock: For the rate.
        """
        self._limits = limits
        self._proxies = proxies
        self._live = live
        self._bucket = _Bucket(limits.handshakes_per_second, clock) if limits.handshakes_per_second else None
        # Never more entries than `limits.connections`, since each stands for one that is in.
        self._inside: dict[Hashable, int] = {}

    def turns_away(self, record: SessionRecord, address: str, listener: Listener) -> bool:
        """Whether a connection has to be closed at accept; then its record says why. Otherwise it is counted.

        Args:
            record: The connection's.
            address: Its address, without port, or `unix:`.
            listener: Where it was accepted.
        """
        if listener.accept_proxy:
            # Its PROXY line will say whom it speaks for, and `access` is about that one.
            if not self._proxies.covers(parse_address(address)):
                return _turned_away(record, Outcome.DENIED, Reason.PROXY_UNTRUSTED)
        elif listener.access is not EVERYBODY and not listener.access.admits(parse_address(address)):
            return _turned_away(record, Outcome.DENIED, Reason.ADDRESS_DENIED)
        if len(self._live) >= self._limits.connections:
            return _turned_away(record, Outcome.OVER_LIMIT, Reason.CONNECTION_LIMIT)
        place = self._place(address)
        if self._is_full(place):
            return _turned_away(record, Outcome.OVER_LIMIT, Reason.ADDRESS_LIMIT)
        if self._bucket is not None and not self._bucket.take():
            return _turned_away(record, Outcome.OVER_LIMIT, Reason.CONNECTION_RATE)
        self._enter(record, place)
        return False

    def claim(self, record: SessionRecord) -> None:
        """Count a trusted proxy's connection under the client whose request came last, `record.real_ip`.

        Raises:
            Refusal: ADDRESS_LIMIT where that client has too many already.
        """
        place = self._place(record.real_ip)
        if place == record.counted_as:
            return
        self.leave(record)
        if self._is_full(place):
            raise Refusal(Reason.ADDRESS_LIMIT, "there are too many connections from the client's address")
        self._enter(record, place)

    def leave(self, record: SessionRecord) -> None:
        """The connection is over, or counts under no address any more."""
        place, record.counted_as = record.counted_as, None
        if place is None:
            return
        if self._inside[place] > 1:
            self._inside[place] -= 1
        else:
            del self._inside[place]

    def _place(self, address: str) -> Hashable:
        """What an address is counted under; None where it is not."""
        if not self._limits.connections_per_address:
            return None
        parsed = parse_address(address)
        if parsed is None or self._proxies.covers(parsed):
            return None
        return int(parsed) if parsed.version == 4 else (6, int(parsed) >> _HOST_BITS_OF_IPV6)

    def _is_full(self, place: Hashable) -> bool:
        return place is not None and self._inside.get(place, 0) >= self._limits.connections_per_address

    def _enter(self, record: SessionRecord, place: Hashable) -> None:
        record.counted_as = place
        if place is not None:
            self._inside[place] = self._inside.get(place, 0) + 1


class _Bucket:
    """A token bucket: as many a second as its size, and all of them at once after a second of quiet."""

    def __init__(self, size: int, clock: IReactorTime) -> None:
        self._size = size
        self._clock = clock
        self._tokens = float(size)
        self._filled_at = clock.seconds()

    def take(self) -> bool:
        now = self._clock.seconds()
        # A clock that was set back must not stop everybody.
        passed = max(0.0, now - self._filled_at)
        self._filled_at = now
        self._tokens = min(self._size, self._tokens + passed * self._size)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _turned_away(record: SessionRecord, outcome: Outcome, reason: Reason) -> bool:
    # The reason says all, and a flood of these has to be cheap: no text is made here.
    record.outcome, record.reason = outcome, reason
    return True

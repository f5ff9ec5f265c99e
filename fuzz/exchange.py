"""Target: a whole session over connections in memory, with both sides cut, ended and reset anywhere.

What must hold is put down in the checks below: one outcome, everything closed, nothing upstream that no good request
has put there, and on both sides whole messages that h11 reads, unless a RST says that something is missing.
"""

import random

from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from fuzz import script
from fuzz.composing import changed, composed
from fuzz.downwards import check_client, replies_of
from fuzz.expected import asked
from fuzz.inputs import Input
from fuzz.played import LAYER_4, PLAIN, PROXIES, TO_HTTPS, Played
from fuzz.upwards import check_delivered, check_upstreams
from wsrelay.core.forwarded import ClientFacts
from wsrelay.core.outcomes import Outcome

SEEDS = ((b"\0\0\0\0", "script"), (b"\1\1\x17\x13", "script"))
RARE: tuple[tuple[bytes, str], ...] = ((b"\0\x10\0\0", "script"), (b"\0\x0c\0\0", "script"), (b"\3\1\0\0", "script"))

_ADDRESSES = ("198.51.100.7", "127.0.0.2")
_TUNNELS = frozenset(
    {Outcome.IDLE, Outcome.DRAINED}
    | {
        Outcome(f"{side}-{how}")
        for side in ("client", "upstream")
        for how in ("closed", "reset", "stalled", "lingered")
    }
)
_bad: list[LogEvent] = []


def _note(event: LogEvent) -> None:
    if "log_failure" in event or event.get("log_level") is LogLevel.critical:
        _bad.append(event)


globalLogPublisher.addObserver(_note)  # type: ignore[arg-type]  # zope's interface of a function


def mutate(data: bytes, chooser: random.Random) -> bytes | None:
    """Another input, or None where the bytes may be mutated blindly."""
    draw = chooser.random()
    if draw < 0.1:
        return composed(chooser)
    return changed(data, chooser) if draw < 0.4 else None


def check(data: bytes) -> None:
    """One session."""
    given = Input.of(data)
    if given is None:
        return
    listener = (PLAIN, PLAIN, PLAIN, TO_HTTPS, LAYER_4)[given.limits // 4 % 5]
    address = _ADDRESSES[given.limits % 2]
    played = Played(script.read(given.message), address, listener, given.cuts)
    _check_log()
    played.run(ends=not given.kind & 1, opens=not given.kind & 2)
    _check_end(played)
    if listener is LAYER_4:
        _check_layer_4(played)
        return
    facts = ClientFacts.of(address, secure=False, proxies=PROXIES)
    found = asked(bytes(played.client.sent), facts, to_https=listener is TO_HTTPS)
    check_upstreams(played, list(found.requests), facts)
    check_client(played, found, [reply for wire in played.dialled.wires for reply in replies_of(wire)])


def _check_log() -> None:
    """Nothing has gone wrong unseen. An error that nobody handled is told when its Deferred is freed: maybe late."""
    told = "\n".join(str(event.get("log_failure", event)) for event in _bad)
    _bad.clear()
    assert not told, told


def _check_end(played: Played) -> None:
    """One outcome, and nothing left."""
    told, outcome = played.told, played.record.outcome
    _check_log()
    assert not len(played.live), "the session never ends"
    assert outcome is not None
    assert outcome is not Outcome.BUG
    assert told.opened <= 1
    assert told.opened == len(told.tunnels)
    assert told.failed + told.opened <= 1, "two ends were told"
    assert told.failed + told.opened + len(told.exchanges) or outcome in (Outcome.SILENT, Outcome.DRAINED), outcome
    assert not told.opened or outcome in _TUNNELS
    assert played.client.closed, "the client's leg is open"
    assert all(wire.closed for wire in played.dialled.wires), "an upstream's leg is open"
    assert not played.turns.readers
    assert not played.turns.writers
    assert not played.turns.timers, "a timer is left"


def _check_layer_4(played: Played) -> None:
    client, wires = played.client, played.dialled.wires
    assert len(wires) <= 1
    for wire in wires:
        assert client.sent.startswith(wire.got)
        assert wire.sent.startswith(client.got)
        check_delivered(played, bytes(client.sent), wire)
    assert wires or not client.got

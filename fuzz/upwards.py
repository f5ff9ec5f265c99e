"""What of a session reached its upstreams, against what its client had asked for. Part of the target `exchange`."""

from typing import Any

from fuzz import oracle
from fuzz.crossing import check_crossing, check_identity, passing_trailers
from fuzz.expected import Asked
from fuzz.inputs import fed
from fuzz.played import HEADS, Played
from fuzz.upgrade import accept_of
from fuzz.wires import Wire
from wsrelay.core.forwarded import ClientFacts
from wsrelay.core.head import ResponseHead, ResponseReader
from wsrelay.core.outcomes import Outcome


def check_upstreams(played: Played, requests: list[Asked], facts: ClientFacts) -> None:
    """Whole requests of this client, in its order; what is cut short ends with RST."""
    at = -1
    last = len(played.dialled.wires) - 1
    for number, wire in enumerate(played.dialled.wires):
        data = bytes(wire.got)
        tunnel = number == last and played.told.opened
        while data:
            message = oracle.request(data)
            if message is None:
                assert not wire.ended or wire.aborted, "half a head, and then an orderly end"
                break
            at = _place(message, requests, at, facts)
            one = requests[at]
            _check_request(message, one, wire)
            if one.switches:
                _check_switch(played, message, one, wire, tunnel=bool(tunnel))
                break
            data = message.rest
            if not message.complete:
                break
    if played.told.opened:
        assert requests[-1].switches


def _place(message: oracle.Message, requests: list[Asked], last: int, facts: ClientFacts) -> int:
    """Which request of the client this is: one after the last one, or that one again where it may be repeated."""
    fault: AssertionError | None = None
    places = list(range(last + 1, len(requests)))
    if last >= 0 and requests[last].may_repeat:
        places.append(last)
    for number in places:
        one = requests[number]
        if (one.head.method, one.target) != (message.head.method, message.head.target):
            continue
        try:
            check_crossing(message.fields, one.head, switches=one.switches)
            check_identity(message.fields, one.head, facts)
        except AssertionError as this:
            fault = fault or this
        else:
            return number
    raise fault or AssertionError(f"{message.head} is no request that the client may send")


def _check_request(message: oracle.Message, one: Asked, wire: Wire) -> None:
    assert one.content.startswith(message.content), (one.content, message.content)
    if message.complete:
        assert one.complete, "a whole request was made of a broken one"
        assert message.content == one.content
        assert message.trailers == passing_trailers(one.trailers, one.head.fields)
    else:
        assert not wire.ended or wire.aborted or one.switches, "half a request, and then an orderly end"


def _check_switch(played: Played, message: oracle.Message, one: Asked, wire: Wire, *, tunnel: bool) -> None:
    """Not one byte of the client before a 101 that proves itself (RFC 6455 4.2.2)."""
    if not tunnel:
        assert message.rest == b"", "bytes behind an upgrade that nobody has granted"
        return
    pumps = played.pumps
    assert pumps.before is not None
    head = len(wire.got) - len(message.rest)
    assert len(pumps.before) + pumps.waiting == head, "more than the request before the handoff"
    promised = pumps.promised
    reply: Any = None
    while reply is None or (isinstance(reply, ResponseHead) and reply.status in range(102, 200)) or _continues(reply):
        reply, promised = fed(ResponseReader(HEADS), [promised])
        assert isinstance(reply, ResponseHead), "a tunnel without an answer"
    assert reply.status == 101
    key = dict(message.head.headers)[b"sec-websocket-key"]
    assert reply.values(b"sec-websocket-accept") == (accept_of(key),)
    assert one.rest.startswith(message.rest), "what goes through the tunnel is not what the client sent"
    check_delivered(played, one.rest, wire, message.rest)


def _continues(reply: object) -> bool:
    return isinstance(reply, ResponseHead) and reply.status == 100


def check_delivered(played: Played, sent: bytes, wire: Wire, got: bytes | None = None) -> None:
    """What ended in order has all of its bytes."""
    if played.record.outcome in (Outcome.CLIENT_CLOSED, Outcome.UPSTREAM_CLOSED):
        assert sent == (bytes(wire.got) if got is None else got), "the client's bytes are not complete"

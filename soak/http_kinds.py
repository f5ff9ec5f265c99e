"""What plain HTTP connections do: each function deals out one, from dice. Knows nothing of ports."""

from random import Random

import attrs

from soak.plans import (
    BRISK,
    CLIENT,
    NO_BODY,
    Body,
    Conversation,
    Ending,
    ExchangePlan,
    Framing,
    HttpCut,
    Reading,
    Where,
)
from soak.tunnel_kinds import KIB, MIB, all_buffers, much, size, slow, stopped
from soak.wires import How


def _body(dice: Random, framings: list[Framing], count: int) -> Body:
    piece = dice.choice([1 * KIB, 16 * KIB, 64 * KIB, dice.randint(1, 3) if count < 500 else 64 * KIB])
    return Body(dice.choice(framings), count, piece)


def _exchange(dice: Random) -> ExchangePlan:
    """An ordinary one, of any method."""
    method = dice.choice(["GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS"])
    body = NO_BODY
    if method in ("POST", "PUT"):
        body = _body(dice, [Framing.LENGTH, Framing.CHUNKED], size(dice))
    status = dice.choices([200, 204, 304, 404, 500], [80, 5, 3, 8, 4])[0]
    if status in (204, 304):
        answer = NO_BODY
    else:
        answer = _body(dice, [Framing.LENGTH, Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE], size(dice))
    return ExchangePlan(
        method,
        body,
        answer,
        status,
        expects=body.count > 0 and dice.random() < 0.2,
        interim=dice.choice([0, 0, 0, 0, 1, 3]),
        delay=dice.choice([0.0, 0.0, dice.uniform(0, 0.2)]),
        closes=answer.framing is Framing.CLOSE or dice.random() < 0.1,
    )


def _some_for_later(dice: Random) -> tuple[int, Reading]:
    """So much that the last of it, and its end, may have to wait on the way."""
    return all_buffers(dice), stopped(dice)


def _trickle(dice: Random) -> int:
    return dice.choice([1, 1, 1, 1, 2, 5])


def _ending(dice: Random) -> Ending:
    return dice.choice([Ending.CLOSE, Ending.FIN, Ending.FIN, Ending.RESET])


def single(dice: Random) -> Conversation:
    """One exchange."""
    return Conversation((_exchange(dice),), _ending(dice), trickle=_trickle(dice))


def kept(dice: Random) -> Conversation:
    """Several, one after the other."""
    exchanges = [
        attrs.evolve(_exchange(dice), think=dice.choice([0.0, 0.0, dice.uniform(0, 0.3), dice.uniform(0, 3)]))
        for _ in range(dice.randint(2, 10))
    ]
    return Conversation(tuple(exchanges), _ending(dice), trickle=_trickle(dice))


def pipelined(dice: Random) -> Conversation:
    """Several, asked at once."""
    exchanges = [attrs.evolve(_exchange(dice), expects=False) for _ in range(dice.randint(2, 12))]
    return Conversation(tuple(exchanges), dice.choice([*Ending]), pipelined=True, trickle=dice.choice([1, 1, 3]))


def large(dice: Random) -> Conversation:
    """A large answer; two of three are read slowly at first."""
    count, reading = dice.choice([(much(dice) * 2, BRISK), (much(dice) * 2, slow(dice)), _some_for_later(dice)])
    answer = attrs.evolve(_body(dice, [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE], count), reading=reading)
    exchange = ExchangePlan(answer=answer, closes=answer.framing is Framing.CLOSE)
    return Conversation((exchange,), _ending(dice))


def upload(dice: Random) -> Conversation:
    """A large request body; two of three are read slowly at first."""
    count, reading = dice.choice([(much(dice) * 2, BRISK), (much(dice) * 2, slow(dice)), _some_for_later(dice)])
    body = attrs.evolve(_body(dice, [Framing.LENGTH, Framing.CHUNKED], count), reading=reading)
    answer = _body(dice, [Framing.LENGTH, Framing.CHUNKED], size(dice))
    return Conversation((ExchangePlan("POST", body, answer, expects=dice.random() < 0.3),), _ending(dice))


def old(dice: Random) -> Conversation:
    """HTTP/1.0: no chunks, so what the upstream sends in chunks ends with the connection."""
    exchange = _exchange(dice)
    body = attrs.evolve(exchange.body, framing=Framing.LENGTH) if exchange.body.count else NO_BODY
    exchange = attrs.evolve(exchange, body=body, expects=False, interim=0)
    return Conversation((exchange,), Ending.CLOSE, minor=0, trickle=_trickle(dice))


def half_closed(dice: Random) -> Conversation:
    """A client that says its end behind its last request, and waits for the answer."""
    exchanges = [attrs.evolve(_exchange(dice), expects=False) for _ in range(dice.randint(1, 3))]
    exchanges[-1] = attrs.evolve(exchanges[-1], delay=dice.uniform(0, 0.3))
    return Conversation(tuple(exchanges), Ending.HALF_CLOSE, pipelined=dice.random() < 0.5)


def early_answer(dice: Random) -> Conversation:
    """The upstream has said all it has to say while most of the body is still to come."""
    body = _body(dice, [Framing.LENGTH, Framing.CHUNKED], 2 * MIB + much(dice))
    answer = _body(dice, [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE], size(dice))
    return Conversation((ExchangePlan("POST", body, answer, 413, early=True, closes=True),), Ending.CLOSE)


def dropped(dice: Random) -> Conversation:
    """The upstream closes an idle connection whenever it likes; whoever may ask again does, and nobody notices."""
    exchanges: list[ExchangePlan] = []
    for _ in range(dice.randint(2, 6)):
        answer = _body(dice, [Framing.LENGTH, Framing.CHUNKED], size(dice))
        think = dice.choice([0.0, 0.0, 0.0, 0.01, 0.2])
        exchanges.append(ExchangePlan("GET", NO_BODY, answer, drops=dice.random() < 0.6, think=think))
    return Conversation(tuple(exchanges), _ending(dice), pipelined=dice.random() < 0.3)


def cut(dice: Random, ways: list[How], side: str) -> Conversation:
    """The client or the upstream cuts the last exchange."""
    body = _body(dice, [Framing.LENGTH, Framing.CHUNKED], 1 + size(dice))
    answer = _body(dice, [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE], 1 + size(dice))
    method = dice.choice(["GET", "POST"])
    where = dice.choice([Where.BODY, Where.WAITING, Where.ANSWER, *[Where.HEAD] * (side == CLIENT)])
    if where is Where.BODY:
        method = "POST"
    exchange = ExchangePlan(method, body if method == "POST" else NO_BODY, answer, closes=True)
    if where is Where.WAITING:
        exchange = attrs.evolve(exchange, delay=dice.uniform(0, 0.4))
    # A request that came over a kept connection may be repeated, and then it is cut twice.
    before = [_exchange(dice) for _ in range(dice.randint(0, 3))] if side == CLIENT else []
    count = answer.count if where is Where.ANSWER else body.count
    found = HttpCut(side, where, dice.randrange(count), dice.choice(ways))
    return Conversation((*before, exchange), Ending.RESET, trickle=_trickle(dice), cut=found)

"""Deals out plans: what connection N of a seed does. The same number always gets the same, at both ends."""

from collections.abc import Callable, Mapping
from random import Random

import attrs

from soak import http_kinds, refusals, tunnel_kinds
from soak.plans import CLIENT, UPSTREAM, Plan, Port, TunnelPlan
from soak.wires import How

What = Callable[[Random, Port], object]

GROUPS = ("one", "two")
"""The upstream groups of layer 7."""
RAW = {Port.TCP: "raw", Port.TLS: "raw-tls"}
"""The upstream groups of layer 4."""

_LAYER7 = (Port.HTTP, Port.HTTPS)
_LAYER4 = (Port.TCP, Port.TLS)
_ALL = (*_LAYER7, *_LAYER4)


@attrs.frozen
class Kind:
    """A kind of traffic."""

    weight: float
    ports: tuple[Port, ...]
    deal: What


def _tunnel(make: Callable[[Random], TunnelPlan]) -> What:
    return lambda dice, _: tunnel_kinds.hastened(dice, make(dice))


def _ways(port: Port, side: str) -> list[How]:
    return [How.RESET, How.RESET, How.LEAVE, *[How.TRUNCATE] * (port.secure and side == CLIENT)]


def _cut(side: str) -> What:
    return lambda dice, port: tunnel_kinds.hastened(dice, tunnel_kinds.cut(dice, _ways(port, side), side))


def _abandoned(dice: Random, port: Port) -> TunnelPlan:
    plan = tunnel_kinds.hastened(dice, tunnel_kinds.echo(dice))
    return attrs.evolve(plan, delay=dice.uniform(0, 0.2), abandoned=dice.choice(_ways(port, CLIENT)))


def _cut_http(side: str) -> What:
    return lambda dice, port: http_kinds.cut(dice, _ways(port, side), side)


def _http(make: Callable[[Random], object]) -> What:
    return lambda dice, _: make(dice)


KINDS: Mapping[str, Kind] = {
    "http": Kind(8, _LAYER7, _http(http_kinds.single)),
    "http-kept": Kind(8, _LAYER7, _http(http_kinds.kept)),
    "http-pipelined": Kind(4, _LAYER7, _http(http_kinds.pipelined)),
    "http-large": Kind(4, _LAYER7, _http(http_kinds.large)),
    "http-upload": Kind(4, _LAYER7, _http(http_kinds.upload)),
    "http-old": Kind(2, _LAYER7, _http(http_kinds.old)),
    "http-half-closed": Kind(3, _LAYER7, _http(http_kinds.half_closed)),
    "http-early-answer": Kind(2, _LAYER7, _http(http_kinds.early_answer)),
    "http-dropped": Kind(3, _LAYER7, _http(http_kinds.dropped)),
    "http-client-cuts": Kind(5, _LAYER7, _cut_http(CLIENT)),
    "http-upstream-cuts": Kind(5, _LAYER7, _cut_http(UPSTREAM)),
    "declined": Kind(4, _LAYER7, _http(refusals.declined)),
    "refused": Kind(5, _LAYER7, _http(refusals.refused)),
    "unreached": Kind(1, _LAYER7, _http(refusals.unreached)),
    "probe": Kind(3, _ALL, refusals.probe),
    "echo": Kind(10, _ALL, _tunnel(tunnel_kinds.echo)),
    "chatter": Kind(7, _ALL, _tunnel(tunnel_kinds.chatter)),
    "up": Kind(5, _ALL, _tunnel(tunnel_kinds.up)),
    "down": Kind(5, _ALL, _tunnel(tunnel_kinds.down)),
    "both": Kind(5, _ALL, _tunnel(tunnel_kinds.both)),
    "slow-reader": Kind(5, _ALL, _tunnel(tunnel_kinds.slow_reader)),
    "stopped-reader": Kind(5, _ALL, _tunnel(tunnel_kinds.stopped_reader)),
    "half-close": Kind(7, _ALL, _tunnel(tunnel_kinds.half_close)),
    "resting": Kind(30, _ALL, _tunnel(tunnel_kinds.resting)),
    "client-cuts": Kind(9, _ALL, _cut(CLIENT)),
    "upstream-cuts": Kind(9, _ALL, _cut(UPSTREAM)),
    "abandoned": Kind(3, _LAYER7, _abandoned),
}


def plan(seed: int, number: int, only: tuple[str, ...] = ()) -> Plan:
    """What connection `number` does.

    Args:
        seed: Of the whole run.
        number: At least 1.
        only: The kinds to choose from; all of them where it is empty.
    """
    dice = Random(f"{seed}:{number}")
    names = only or tuple(KINDS)
    name = dice.choices(names, [KINDS[name].weight for name in names])[0]
    port = dice.choice(KINDS[name].ports)
    group = RAW.get(port) or dice.choice(GROUPS)
    what = KINDS[name].deal(dice, port)
    return Plan(seed, number, name, port, group, what)  # type: ignore[arg-type]  # each deals one of Plan's

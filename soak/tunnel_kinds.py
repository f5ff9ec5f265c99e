"""What tunnels do: each function deals out one, from dice. Knows nothing of ports or of WebSocket."""

from random import Random

import attrs

from soak.plans import (
    BRISK,
    CLIENT,
    SMALL_BUFFER,
    UPSTREAM,
    Await,
    AwaitEnd,
    Cut,
    Finish,
    Part,
    Pause,
    Reading,
    Send,
    Step,
    TunnelPlan,
)
from soak.wires import READ_BYTES, How

KIB, MIB = 1024, 1024 * 1024

# A message in a game or a chat; most fit one segment.
_SMALL = 125


def size(dice: Random) -> int:
    """A number of bytes: most are small, a few are more than all buffers on the way hold."""
    low, high = dice.choices(
        [(0, _SMALL), (_SMALL, 4 * KIB), (4 * KIB, 128 * KIB), (128 * KIB, MIB), (2 * MIB, 6 * MIB)],
        [35, 35, 22, 7, 1],
    )[0]
    return dice.randint(low, high)


def much(dice: Random) -> int:
    """More than one read, up to 2 MiB."""
    return round(64 * KIB * 2 ** dice.uniform(0, 5))


def all_buffers(dice: Random) -> int:
    """About what all buffers on the way hold, so that the end may come while the last bytes wait in the relay.

    On loopback the kernel takes 4 MB before a sender has to wait (Linux 6; net.ipv4.tcp_wmem).
    """
    return dice.randint(3 * MIB, 9 * MIB // 2)


def slow(dice: Random) -> Reading:
    """A reader that takes little for a second or three, and then the rest at once."""
    piece, pause = dice.choice([1 * KIB, 4 * KIB, 16 * KIB]), dice.uniform(0.005, 0.03)
    return Reading(piece, pause, dice.uniform(0.5, 3), dice.choice([0, SMALL_BUFFER]))


def stopped(dice: Random) -> Reading:
    """A reader that takes next to nothing for a second or two, and then the rest at once."""
    return Reading(1 * KIB, 0.4, dice.uniform(0.5, 2), SMALL_BUFFER)


def echo(dice: Random) -> TunnelPlan:
    """One asks, the other answers, in turns."""
    sides: dict[str, list[Step]] = {CLIENT: [], UPSTREAM: []}
    sent = dict.fromkeys(sides, 0)
    asking, answering = dice.sample([CLIENT, UPSTREAM], 2)
    for _ in range(dice.randint(1, 30)):
        sent[asking] += (asked := 1 + min(size(dice), 256 * KIB))
        sides[asking].append(Send(asked))
        sides[answering].append(Await(sent[asking]))
        if dice.random() < 0.2:
            sides[dice.choice([asking, answering])].append(Pause(dice.uniform(0, 0.5)))
        sent[answering] += (answered := 1 + min(size(dice), 256 * KIB))
        sides[answering].append(Send(answered))
        sides[asking].append(Await(sent[answering]))
    return _ended(dice, sides)


def chatter(dice: Random) -> TunnelPlan:
    """Many small messages, both ways at once, nobody waits."""

    def part() -> list[Step]:
        piece, pause = dice.randint(1, _SMALL), dice.choice([0.0, 0.0, 0.002])
        return [
            Send(piece * dice.randint(20, 200 if pause else 1_000), piece, pause) for _ in range(dice.randint(1, 3))
        ]

    return _ended(dice, {CLIENT: part(), UPSTREAM: part()})


def up(dice: Random) -> TunnelPlan:
    """Much, to the upstream alone."""
    return _ended(dice, {CLIENT: [_bulk(dice)], UPSTREAM: []}, first=CLIENT)


def down(dice: Random) -> TunnelPlan:
    """Much, to the client alone."""
    return _ended(dice, {CLIENT: [], UPSTREAM: [_bulk(dice)]}, first=UPSTREAM)


def both(dice: Random) -> TunnelPlan:
    """Much, both ways at once."""
    return _ended(dice, {CLIENT: [_bulk(dice)], UPSTREAM: [_bulk(dice)]})


def slow_reader(dice: Random) -> TunnelPlan:
    """Much, to somebody who takes it slowly."""
    sender, reader = dice.sample([CLIENT, UPSTREAM], 2)
    count = 512 * KIB + much(dice)
    sides: dict[str, list[Step]] = {sender: [Send(count)], reader: []}
    if dice.random() < 0.5:  # the other direction must not suffer
        sides[reader] = [Send(400, 20, 0.02)]
    return _ended(dice, sides, first=sender, readings={reader: slow(dice)})


def stopped_reader(dice: Random) -> TunnelPlan:
    """Some, and its end, to somebody who takes next to nothing for a second: the last of it has to wait on the way."""
    sender, reader = dice.sample([CLIENT, UPSTREAM], 2)
    sides: dict[str, list[Step]] = {sender: [Send(all_buffers(dice))], reader: []}
    return _ended(dice, sides, first=sender, readings={reader: stopped(dice)})


def half_close(dice: Random) -> TunnelPlan:
    """One side ends early; the other goes on for long."""
    first, other = dice.sample([CLIENT, UPSTREAM], 2)
    goes_on: list[Step] = []
    for _ in range(dice.randint(2, 6)):
        goes_on += [Send(size(dice)), Pause(dice.uniform(0, 0.3))]
    sides: dict[str, list[Step]] = {first: [Send(size(dice)), Finish()], other: [AwaitEnd(), *goes_on, Finish()]}
    return TunnelPlan(Part(tuple(sides[CLIENT])), Part(tuple(sides[UPSTREAM])), first)


def resting(dice: Random) -> TunnelPlan:
    """What most tunnels of an evening do: a word now and then."""
    sides: dict[str, list[Step]] = {CLIENT: [], UPSTREAM: []}
    for steps in sides.values():
        for _ in range(dice.randint(1, 3)):
            steps += [Send(dice.randint(1, _SMALL)), Pause(dice.uniform(0.3, 2.5))]
    return _ended(dice, sides)


def cut(dice: Random, ways: list[How], side: str) -> TunnelPlan:
    """Any of the others, but one side cuts it at some point, in one of these ways."""
    whole = dice.choice([echo, echo, chatter, up, down, both, slow_reader, half_close])(dice)
    part: Part = getattr(whole, side)
    at = dice.randrange(len(part.steps))
    steps = list(part.steps[:at])
    if isinstance(step := part.steps[at], Send):
        steps.append(attrs.evolve(step, count=dice.randint(0, step.count)))
    if dice.random() < 0.5:
        steps.append(Pause(dice.uniform(0, 0.1)))
    steps.append(Cut(dice.choice(ways)))
    done = attrs.evolve(part, steps=tuple(steps))
    whole = attrs.evolve(whole, first="")
    return attrs.evolve(whole, client=done) if side == CLIENT else attrs.evolve(whole, upstream=done)


def hastened(dice: Random, plan: TunnelPlan) -> TunnelPlan:
    """The same, but what each side sends first may come before, or in one piece with, the 101."""
    client, upstream = plan.client.steps, plan.upstream.steps
    plan = attrs.evolve(plan, delay=dice.choice([0.0, 0.0, dice.uniform(0, 0.3)]))
    if dice.random() < 0.4 and client and isinstance(begin := client[0], Send):
        plan = attrs.evolve(plan, early=begin.count, client=attrs.evolve(plan.client, steps=client[1:]))
    if dice.random() < 0.3 and upstream and isinstance(begin := upstream[0], Send) and begin.count <= 2 * READ_BYTES:
        plan = attrs.evolve(plan, together=begin.count, upstream=attrs.evolve(plan.upstream, steps=upstream[1:]))
    return plan


def _bulk(dice: Random) -> Send:
    return Send(much(dice), dice.choice([1_000, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB]))


def _ended(
    dice: Random, sides: dict[str, list[Step]], first: str = "", readings: dict[str, Reading] | None = None
) -> TunnelPlan:
    """Add how it ends: one side first, and the other may have last words; or both without waiting."""
    if not first and dice.random() < 0.2:
        for steps in sides.values():
            steps.append(Finish())
    else:
        first = first or dice.choice([CLIENT, UPSTREAM])
        other = UPSTREAM if first == CLIENT else CLIENT
        sides[first].append(Finish())
        last_words: list[Step] = [Send(size(dice))] if dice.random() < 0.4 else []
        sides[other] += [AwaitEnd(), *last_words, Finish()]
    readings = readings or {}
    return TunnelPlan(
        Part(tuple(sides[CLIENT]), readings.get(CLIENT, BRISK)),
        Part(tuple(sides[UPSTREAM]), readings.get(UPSTREAM, BRISK)),
        first,
    )

"""A case over real sockets: its client, a relay, the scripted upstreams; and what was seen of it."""

from typing import Protocol

import attrs

from tests.corpus.cases import Case
from tests.corpus.clients import MARK, Client, Connected
from tests.corpus.playing import Reached
from tests.corpus.scripts import Script
from tests.corpus.upstream import ScriptedUpstreams
from tests.corpus.verdict import Seen


class Place(Protocol):
    """Something that relays, and lets itself be looked at."""

    upstreams: ScriptedUpstreams

    def connect(self, case: Case) -> Connected:
        """A client's connection for this case."""

    def pause(self) -> None:
        """Return when what was sent has been taken."""

    def settle(self) -> None:
        """Return when nothing of the case's connection goes on any more."""

    def log_lines(self) -> tuple[str, ...] | None:
        """The lines of the access log since the last time."""


def run(case: Case, place: Place) -> Seen:
    """Play the case and look at everything that can be seen of it."""
    place.upstreams.play(Script(case.upstream, echo=case.tunnel))
    client = Client(case, place.connect(case), place.pause)
    try:
        client.play()
        client.read_expected()
        end, after = _conclude(case, client)
    finally:
        client.close()
        place.settle()
    reached = place.upstreams.collect()
    seen = _seen(case, client, reached)
    return attrs.evolve(seen, end=end, after=after, log=place.log_lines())


def _conclude(case: Case, client: Client) -> tuple[str, tuple[int, ...] | None]:
    """What a client does after its last answer; how the relay ended before it was asked to, and what `after` got."""
    after = None
    if case.tunnel:
        client.send_mark()
    elif case.needs_close:
        client.read_to_close()
    elif case.closes is False:
        after = client.ask_after()
    end = client.end
    client.finish()
    client.read_to_end()
    return end, after


def _seen(case: Case, client: Client, reached: tuple[Reached, ...]) -> Seen:
    answers, received = client.asked_after
    faults = [*client.answers.faults]
    for each in reached:
        faults += [f"at {each.group}: {fault}" for fault in each.faults]
        if each.raw and 101 not in case.status:
            faults.append(f"at {each.group}: bytes went up behind a 101 that no client got: {each.raw!r}")
    return Seen(
        finals=tuple(client.answers.finals[:answers]),
        interims=tuple(client.answers.interims),
        received=client.received[:received],
        arrived=tuple(request for each in reached for request in each.requests),
        reached=b"".join(each.received for each in reached),
        faults=tuple(faults),
        tunnel=tunnel_fault(case, client, reached) if case.tunnel else None,
    )


def early_bytes(case: Case) -> bytes:
    """What the client sends behind the head that asks for an upgrade."""
    sent = case.sent
    asked = sent.lower().find(b"\nupgrade:")
    return sent[asked:].partition(b"\r\n\r\n")[2] if asked >= 0 else b""


def tunnel_fault(case: Case, client: Client, reached: tuple[Reached, ...]) -> str:
    """What is wrong with what went through the tunnel; empty for nothing."""
    switched = [each for each in reached if each.switched]
    if len(switched) != 1:
        return f"{len(switched)} upstream connections have switched"
    to_upstream = early_bytes(case) + MARK
    to_client = switched[0].after_switch + to_upstream
    if switched[0].raw != to_upstream:
        return f"the upstream should have got {to_upstream!r}, and got {switched[0].raw!r}"
    if client.answers.raw != to_client:
        return f"the client should have got {to_client!r}, and got {client.answers.raw!r}"
    return ""

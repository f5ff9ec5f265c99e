"""Clients and upstreams that do anything at any time, around a real relay: whatever they do, what must hold holds.

Every step is judged as soon as the relay has come to rest; the judges are in `client_end`, `server_end` and `play`.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.rude import asked as asking
from tests.rude import said as saying
from tests.rude.far_end import FarEnd
from tests.rude.ground import Ground
from tests.rude.play import ALL, Play

PICK = st.integers(min_value=0, max_value=5)
# Mostly all of it; else a byte, a part of a head, most of a head, more than a read.
MOST = st.sampled_from([ALL] * 6 + [1, 17, 120, 66_000])
SECONDS = st.sampled_from([0.4] * 5 + [4.9, 5] * 2 + [10, 29, 30, 60, 75, 3_600])
WAYS = st.sampled_from(["stops reading or begins again", "ends", "resets"])
# So many interim answers before the final one: 16 may pass.
INTERIMS = st.sampled_from([0] * 6 + [1, 2, 16, 17])
READS = st.sampled_from([True] * 4 + [False])
# What an upstream does when it has answered, or instead.
THEN = st.sampled_from([""] * 6 + ["ends", "resets", "ends instead"])
MOST_CLIENTS = 3


def alive(far: FarEnd) -> bool:
    """Whether it has not left. What the kernel has told it plays no part: the next step must not hang on its pace."""
    return not far.left


def speaks(far: FarEnd) -> bool:
    return far.speaks


def pick_of(able: list[Any], pick: int) -> Any:
    return able[pick % len(able)]


def only_where(condition: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule of which nothing comes where this does not hold.

    Hypothesis's own preconditions decide what is drawn next, and then that hangs on the kernel's pace: the same draws
    would be another story in the next run, which it refuses.
    """

    def guarded(act: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(act)
        def perhaps(self: Any, **drawn: Any) -> None:
            if condition(self):
                act(self, **drawn)

        return perhaps

    return guarded


class Machine(RuleBasedStateMachine):
    """The rules."""

    ground: Ground

    @initialize(drain_at=st.integers(min_value=5, max_value=80))
    def start(self, drain_at: int) -> None:
        self.play = Play(self.ground)
        self.steps = 0
        self.drain_at = drain_at

    # Clients.

    @rule(raw=st.sampled_from([False] * 5 + [True]))
    @only_where(lambda self: not self.play.relay.drained and len(self.play.clients(alive)) < MOST_CLIENTS)
    def client_connects(self, raw: bool) -> None:
        self.play.connect(raw=raw)

    @rule(pick=PICK, recipe=asking.ASKED, most=MOST)
    @only_where(lambda self: self.play.clients(speaks))
    def client_speaks(self, pick: int, recipe: asking.Recipe, most: int) -> None:
        """It goes on with what it has begun, or asks something."""
        client = pick_of(self.play.clients(speaks), pick)
        if not client.unsent:
            self.play.begin(client, recipe)
        self.play.push(client, most)

    @rule(pick=PICK, how=WAYS)
    @only_where(lambda self: self.play.clients(alive))
    def client_behaves(self, pick: int, how: str) -> None:
        self.play.behave(pick_of(self.play.clients(alive), pick), how)

    # Upstreams. Whether one is there hangs on the relay, so these are always possible, and something comes of most.

    @rule(pick=PICK, recipe=saying.TO_PLAIN, to_upgrade=saying.TO_UPGRADE, size=asking.SIZES, most=MOST)
    def upstream_speaks(
        self, pick: int, recipe: saying.Recipe, to_upgrade: saying.Recipe, size: int, most: int
    ) -> None:
        """Who waits is accepted; else one goes on, or answers what it owes an answer to, or talks unasked."""
        play = self.play
        if play.accept() or not (able := play.servers(speaks)):
            return
        server = pick_of(able, pick)
        # What has come in the meantime decides whether it is an answer.
        server.look(play.board)
        if server.unsent or (server.said and server.said[-1].until_close):
            pass  # Behind a body without a length, everything is that body.
        elif server.raw or server.switched:
            server.unsent = asking.marked(play.tag(b"s"), size)
        elif server.owed:
            play.say(server, to_upgrade if server.owed.upgrade else recipe, most)
            return
        elif server.asked and server.reads:
            play.babble(server, recipe)
            return
        play.push(server, most)

    @rule(pick=PICK, how=WAYS)
    def upstream_behaves(self, pick: int, how: str) -> None:
        if able := self.play.servers(alive):
            self.play.behave(pick_of(able, pick), how)

    # Both: the straight way to where the other rules find most to break.

    @rule(
        pick=PICK,
        reads=READS,
        recipe=asking.GOOD,
        before=INTERIMS,
        interim=saying.INTERIMS,
        final=saying.FINALS,
        most=MOST,
        then=THEN,
    )
    @only_where(lambda self: not self.play.relay.drained)
    def a_request_is_answered(
        self,
        pick: int,
        reads: bool,
        recipe: asking.Recipe,
        before: int,
        interim: saying.Recipe,
        final: saying.Recipe,
        most: int,
        then: str,
    ) -> None:
        client = self._idle(pick)
        client.reads = client.reads and reads
        asked = self.play.ask(client, recipe)
        for _ in range(before):
            self.play.answer(asked, interim, ALL)
        server = self.play.answer(asked, final if then != "ends instead" else None, most)
        if server is not None and then:
            self.play.behave(server, then)

    @rule(pick=PICK, reads=READS, recipe=asking.UPGRADES, early=asking.SIZES, answer=saying.TO_UPGRADE, most=MOST)
    @only_where(lambda self: not self.play.relay.drained)
    def an_upgrade_is_answered(
        self, pick: int, reads: bool, recipe: asking.Recipe, early: int, answer: saying.Recipe, most: int
    ) -> None:
        client = self._idle(pick)
        client.reads = client.reads and reads
        asked = self.play.ask(client, recipe)
        if early:
            self.play.ask(client, asking.Frames(early))
        self.play.answer(asked, answer, most)

    def _idle(self, pick: int) -> Any:
        """A client that waits for nothing, a new one where there is none."""
        able = self.play.clients(lambda one: one.speaks and not (one.raw or one.unsent or one.awaits))
        return pick_of(able, pick) if able else self.play.connect(raw=False)

    # The world.

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.play.pass_time(seconds)

    @rule()
    @only_where(lambda self: self.steps >= self.drain_at and not self.play.relay.drained)
    def drain_begins(self) -> None:
        self.play.drain()

    @invariant()
    def all_is_well(self) -> None:
        self.steps += 1
        self.play.look()
        self.play.check()

    def teardown(self) -> None:
        if hasattr(self, "play"):
            self.play.end()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[Machine]]:
    ground = Ground(tmp_path, secure=request.param)
    yield type("Machine", (Machine,), {"ground": ground})
    ground.close()


def unhurried(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=60,
        derandomize=False,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    )


def test_whatever_both_ends_do_what_must_hold_holds(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=unhurried(120))


@pytest.mark.long
def test_whatever_both_ends_do_for_long_what_must_hold_holds(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=unhurried(10_000))

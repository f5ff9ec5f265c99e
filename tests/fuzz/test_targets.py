"""Every target's check on its seeds, and on each input that once broke something. Needs no atheris."""

import gc
import itertools
import random
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from fuzz import exchange, script, seeds
from fuzz.composing import composed
from fuzz.inputs import CHOICES, Input
from fuzz.played import PLAIN, Played
from fuzz.targets import TARGETS, load
from tests.fuzz.finds import Find, all_finds
from wsrelay.net.deadlines import Deadline
from wsrelay.net.legs import Leg
from wsrelay.net.session import Session
from wsrelay.net.stream import Stream

FINDS = all_finds()
MOST_FAILURES = 5
# A second and a half.
COMPOSED = 1000


@pytest.mark.parametrize("name", TARGETS)
def test_what_must_hold_holds_for_every_seed(name: str) -> None:
    target = load(name)
    tried = 0
    failures = []
    for seed in seeds.inputs(target):
        tried += 1
        try:
            target.check(seed)
        except Exception as error:  # the seeds that fail are named, and one of them must not hide the others
            failures.append(f"{seed!r}: {type(error).__name__}: {error}")
    assert failures[:MOST_FAILURES] == []
    assert tried >= len(target.SEEDS) * 8, "there are seeds without the corpus too"


def test_what_must_hold_holds_for_sessions_put_together_at_random() -> None:
    """The same ones each time: a search makes others."""
    for seed in range(COMPOSED):
        data = composed(random.Random(seed))
        try:
            exchange.check(data)
        except Exception as error:
            pytest.fail(f"seed {seed}, {data!r}: {type(error).__name__}: {error}")


def test_sessions_that_are_over_leave_nothing_in_memory() -> None:
    def living() -> int:
        gc.collect()
        return sum(isinstance(one, Session | Leg | Stream | Deadline | Deferred) for one in gc.get_objects())

    def play(seed: int) -> None:
        data = Input.of(composed(random.Random(seed)))
        assert data is not None
        Played(script.read(data.message), "127.0.0.2", PLAIN, data.cuts).run(ends=True, opens=True)

    play(0)
    before = living()
    for seed in range(200):
        play(seed)
    assert living() <= before


@pytest.mark.parametrize("find", FINDS, ids=lambda find: find.name)
def test_what_was_found_once_is_right_now(find: Find) -> None:
    load(find.target).check(find.input)


def test_finds_are_told_apart_and_say_why() -> None:
    assert len({find.name for find in FINDS}) == len(FINDS)
    assert all(find.why and find.target in TARGETS and len(find.input) >= CHOICES for find in FINDS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_shortest_inputs_are_inputs_too(name: str) -> None:
    check = load(name).check
    for choices in itertools.product((0, 1, 2, 3, 255), repeat=2):
        for message in (b"", b"\0", b"\r\n", b"\xfe", b"\xfeW", b"\r\n\r\n"):
            check(bytes((*choices, 0, 0)) + message)
            check(bytes(choices[:1]))


def test_every_token_of_the_dictionary_is_one_that_libfuzzer_reads() -> None:
    """It ends the whole search at a line that it does not understand."""
    lines = (Path(seeds.__file__).with_name("http.dict")).read_text().splitlines()
    tokens = [line.partition("=")[2] for line in lines if line and not line.startswith("#")]
    assert len(tokens) > 50
    for token in tokens:
        assert token[0] == token[-1] == '"'
        assert token.isascii()
        assert token.isprintable()
        assert '"' not in token[1:-1]
        unescaped = token.encode().decode("unicode_escape")
        assert len(unescaped) > 2

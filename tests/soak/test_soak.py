"""The soak in its shortest form, as a person runs it: both pumps, every kind of traffic, nothing violated.

What it did is counted, since one that did nothing would find nothing. The long form is `python -m soak`.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.configurations import ROOT
from soak import kinds, relay, report
from soak.__main__ import arguments, repeated
from soak.load import upstream
from soak.plans import Port
from soak.relay import pumps_here
from soak.results import ROUND_SECONDS, Done, Violation, Wanted
from soak.rounds import Soak

pytestmark = pytest.mark.e2e

SEED = 0
SECONDS = 12
"""And what its last connections take. Both pumps run at once, so together they take half a minute."""

NUMBERS = 100
"""So many connections are to come even on a busy machine, and all kinds are among them."""

LONGEST = 180
"""Seconds after which something hangs."""


@pytest.fixture(scope="module")
def soaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """A soak of each pump, all at the same time."""
    folder = tmp_path_factory.mktemp("soak")
    begun = {}
    for pump in pumps_here():
        command = [sys.executable, "-m", "soak", "--minutes", f"{SECONDS / 60}", "--connections", "60",
                   "--pump", pump, "--seed", f"{SEED}", "--json", f"{folder / pump}"]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        begun[pump] = (process, folder / pump)
    yield begun
    for process, _ in begun.values():
        process.terminate()  # which ends what it has started, too
        process.communicate(timeout=LONGEST)


@pytest.mark.parametrize("pump", ["native", "reactor"])
def test_nothing_is_lost_and_nothing_mixed(soaks: dict[str, tuple[subprocess.Popen[str], Path]], pump: str) -> None:
    if pump not in soaks:
        pytest.skip("the native pump was not built here")
    process, file = soaks[pump]
    printed, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, printed
    assert "nothing lost, nothing mixed, nothing left over" in printed
    (done,) = json.loads(file.read_text())
    assert (done["pump"], done["violations"]) == (pump, [])
    check_enough_was_done(done)


def check_enough_was_done(done: dict[str, Any]) -> None:
    by_kind: dict[str, dict[str, Any]] = done["kinds"]
    assert sum(kind["connections"] for kind in by_kind.values()) == sum(done["connections"]) >= NUMBERS
    assert all(done["connections"])  # in the warm-up and behind it
    assert {name.partition(" ")[0] for name in by_kind} == set(kinds.KINDS)
    assert {name.partition(" ")[2] for name in by_kind} == {port.value for port in Port}
    for way in ("bytes_up", "bytes_down"):
        assert sum(kind[way] for kind in by_kind.values()) > 5_000_000
    ends = {end for kind in by_kind.values() for end in kind["ends"]}
    assert ends >= {"served", "refused", "declined", "client-left", "upstream-left", "client-closed", "upstream-closed",
                    "client-reset", "upstream-reset"}  # fmt: skip
    start, *later = done["holdings"]
    assert later[-1]["cpu_seconds"] - start["cpu_seconds"] > 0.5


def test_what_is_violated_is_told_with_the_way_to_see_it_again_and_the_exit_status_says_so() -> None:
    """Nobody who rests is patient enough for that."""
    command = [sys.executable, "-m", "soak", "--minutes", "0.02", "--connections", "5", "--pump", "reactor",
               "--seed", "3", "--kinds", "resting", "--patience", "0.01"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 1, done.stderr
    assert "nothing moved for 0.01 s while reading" in done.stdout
    again = "python -m soak --minutes 0.02 --connections 5 --seed 3 --kinds resting --pump reactor"
    assert done.stdout.splitlines()[-1] == f"  to see it again: {again}"


@pytest.mark.parametrize("seconds", [1.0, 60.0, 300.0, 1800.0])
def test_rounds_take_as_long_as_is_wanted_and_begin_with_a_warm_up(seconds: float) -> None:
    warm, *rounds = Wanted(1, seconds, 300, 60.0).rounds
    assert warm + sum(rounds) == pytest.approx(seconds)
    assert 0 < warm <= ROUND_SECONDS
    assert rounds
    assert max(rounds) < 1.5 * ROUND_SECONDS


def test_all_kinds_are_among_the_first_connections() -> None:
    """Otherwise the test above would fail by chance on a slow machine, with a seed badly chosen."""
    plans = [kinds.plan(SEED, number) for number in range(1, NUMBERS + 1)]
    assert {plan.kind for plan in plans} == set(kinds.KINDS)


def test_the_command_that_is_printed_plays_the_same_again() -> None:
    given = arguments(["--minutes", "2.5", "--connections", "40", "--kinds", "up", "echo"])
    again = arguments(repeated(given, 77).split()[3:])
    assert again == arguments(["--minutes", "2.5", "--connections", "40", "--kinds", "up", "echo", "--seed", "77"])


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--connections", "0"], ["--pump", "none"], ["--kinds", "none"]])
def test_a_command_line_that_makes_no_sense_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments(wrong)
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_relay_that_dies_is_told_of_and_nothing_else_breaks(tmp_path: Path) -> None:
    said: list[str] = []

    async def soak() -> Done:
        wanted = Wanted(3, 2.0, 5, 5.0, ("resting",))
        done = Done("reactor", wanted)
        async with upstream(wanted.seed, wanted.patience, wanted.only) as ends:
            with relay.running("reactor", tmp_path, ends.ports) as under_test:
                dying = asyncio.get_running_loop().call_later(0.5, under_test.process.kill)
                await Soak(wanted, under_test, ends, under_test.ports, done, said.append).run()
                dying.cancel()
                done.violate("the relay's end", under_test.stop(wanted.patience))
        return done

    done = asyncio.run(soak())
    assert Violation("the relay's end", "the relay has ended by itself with status -9") in done.violations
    assert len(done.violations) > 1
    assert "VIOLATION the relay's end" in report.as_text(done, "python -m soak")

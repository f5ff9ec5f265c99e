"""What an operator hears of renewal, what fails and what is tried again; what is read without a change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import LogEvent, LogLevel, formatEvent

from tests.control.renewing import HOUR, Recorder, Scene, said
from wsrelay.config.mistakes import ConfigError, Mistake
from wsrelay.control.renewal import LOOK_SECONDS, Watched


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.dispose()


@pytest.fixture
def site(scene: Scene) -> Recorder:
    return scene.listener("site")


def test_half_of_a_pair_changes_nothing_is_said_once_and_the_other_half_heals_it(
    scene: Scene, site: Recorder, logged: list[LogEvent]
) -> None:
    renewal = scene.start(site)
    chain, key = site.files
    key.write_text("new")
    scene.looks(3)
    assert (dict(renewal.failing), logged) == ({}, [])
    scene.looks(50)
    assert (site.renewals, renewal.renewed) == ([], 0)
    assert renewal.failing == {"site": "they do not agree; at all"}
    told = "site: certificates cannot be renewed: they do not agree; at all; still served: the first"
    assert said(logged, LogLevel.error) == [told]
    chain.write_text("new")
    scene.looks(2)
    assert (site.renewals, renewal.renewed, dict(renewal.failing)) == (["new"], 1, {})
    assert said(logged, LogLevel.error) == [told]
    assert said(logged, LogLevel.info) == ["site: new handshakes get new"]


def test_each_new_way_of_failing_is_said(scene: Scene, site: Recorder, logged: list[LogEvent]) -> None:
    renewal = scene.start(site)
    site.files[0].write_text("half")
    scene.looks(5)
    site.files[0].unlink()
    scene.looks(5)
    assert renewal.failing == {"site": f"{site.files[0]}: No such file or directory"}
    assert len(said(logged, LogLevel.error)) == 2


def test_files_that_are_gone_are_said_and_served_when_they_are_back(
    scene: Scene, site: Recorder, logged: list[LogEvent]
) -> None:
    renewal = scene.start(site)
    for file in site.files:
        file.rename(file.with_suffix(".away"))
    scene.looks(50)
    assert "site" in renewal.failing
    assert len(said(logged, LogLevel.error)) == 1
    for file in site.files:
        file.with_suffix(".away").rename(file)
    scene.looks(2)
    assert (site.renewals, dict(renewal.failing)) == (["old"], {})
    assert said(logged, LogLevel.info) == ["site: new handshakes get old"]


def test_a_failure_is_tried_again_every_hour_and_said(scene: Scene, site: Recorder, logged: list[LogEvent]) -> None:
    """What lies outside the files, such as a lack of descriptors, leaves no mark on them when it ends."""
    renewal = scene.start(site)
    site.write("new")
    site.bug = ConfigError((Mistake("key.pem: cannot read: Too many open files", "key"),))
    scene.looks(4)
    scene.clock.pump([60] * 59)
    assert len(said(logged, LogLevel.error)) == 1
    scene.clock.pump([60, 60, 0])
    assert len(said(logged, LogLevel.error)) == 2
    site.bug = None
    scene.clock.pump([60] * 62)
    assert (site.renewals, dict(renewal.failing)) == (["new"], {})
    assert said(logged, LogLevel.info) == ["site: new handshakes get new"]


def test_every_day_all_is_read_again_and_warnings_are_said(scene: Scene, logged: list[LogEvent]) -> None:
    """Keys of session tickets are as old as the context, and an operator has to hear that a certificate expires."""
    one, two = scene.listener("one"), scene.listener("two")
    two.warnings = ("EXPIRES within a day",)
    renewal = scene.start(one, two)
    scene.clock.pump([60] * (24 * 60 - 1))
    scene.turns()
    assert renewal.renewed == 0
    scene.clock.advance(60)
    scene.turns()
    assert (one.renewals, two.renewals, renewal.renewed) == (["old"], ["old"], 2)
    assert [formatEvent(event) for event in logged] == ["two: EXPIRES within a day"]
    scene.clock.pump([60] * 24 * 60)
    scene.turns()
    assert len(one.renewals) == 2


def test_the_day_counts_from_the_last_time_that_they_were_read(scene: Scene, site: Recorder) -> None:
    scene.start(site)
    scene.clock.pump([HOUR] * 20)
    site.write("new")
    scene.looks(2)
    scene.clock.pump([HOUR] * 23)
    assert site.renewals == ["new"]
    scene.clock.pump([HOUR, 0])
    assert site.renewals == ["new", "new"]


def test_a_clock_that_is_put_back_does_not_put_off_renewal(scene: Scene, site: Recorder) -> None:
    scene.clock.advance(10 * 365 * 24 * HOUR)
    scene.start(site)
    scene.looks(1)
    scene.clock.rightNow = 1_000.0
    for call in scene.clock.getDelayedCalls():  # those of a reactor wait for its clock; ours is to be judged here
        call.reset(LOOK_SECONDS)
    scene.looks(1)
    assert site.renewals == ["old"]
    site.write("new")
    scene.looks(2)
    assert site.renewals == ["old", "new"]
    scene.clock.pump([HOUR] * 24)
    scene.turns()
    assert site.renewals == ["old", "new", "new"]


def test_when_asked_everything_is_read_at_once_and_said(scene: Scene, logged: list[LogEvent]) -> None:
    one, two, bad = scene.listener("one"), scene.listener("two"), scene.listener("bad")
    two.write("new")
    renewal = scene.start(one, two, bad)
    bad.files[0].unlink()
    renewal.look_now()
    scene.turns()
    assert (one.renewals, two.renewals) == (["old"], ["new"])
    assert list(renewal.failing) == ["bad"]
    assert said(logged, LogLevel.info) == ["one: new handshakes get old", "two: new handshakes get new"]
    (error,) = said(logged, LogLevel.error)
    assert error.startswith("bad: ")
    assert error.endswith("bad-chain.pem: No such file or directory; still served: the first")
    scene.looks(10)
    assert renewal.renewed == 2


def test_what_was_read_when_asked_is_not_read_again(scene: Scene, site: Recorder) -> None:
    renewal = scene.start(site)
    site.write("new")
    scene.looks(1)
    renewal.look_now()
    scene.looks(10)
    assert site.renewals == ["new"]


def test_each_time_that_it_is_asked_it_answers(scene: Scene, site: Recorder, logged: list[LogEvent]) -> None:
    renewal = scene.start(site)
    for _ in range(3):
        renewal.look_now()
        scene.turns()
    assert len(said(logged, LogLevel.info)) == 3
    scene.clock.pump([24 * HOUR, 0])
    assert renewal.renewed == 4
    assert len(said(logged, LogLevel.info)) == 3


def test_when_asked_a_failure_is_said_at_once(scene: Scene, site: Recorder, logged: list[LogEvent]) -> None:
    renewal = scene.start(site)
    site.files[0].write_text("half")
    scene.looks(2)
    assert logged == []
    renewal.look_now()
    scene.turns()
    assert len(said(logged, LogLevel.error)) == 1
    scene.looks(50)
    assert len(said(logged, LogLevel.error)) == 1


def test_asked_twice_in_a_turn_it_reads_once(scene: Scene, site: Recorder) -> None:
    renewal = scene.start(site)
    renewal.look_now()
    renewal.look_now()
    scene.turns()
    assert site.renewals == ["old"]


def test_one_listener_is_renewed_in_a_turn_of_the_reactor(scene: Scene) -> None:
    every = [scene.listener(str(number)) for number in range(4)]
    renewal = scene.start(*every)
    renewal.look_now()
    for turn in range(4):
        assert renewal.renewed == turn
        scene.clock.advance(0)
    assert [each.renewals for each in every] == [["old"]] * 4


def test_a_bug_in_one_is_logged_and_the_others_are_renewed(scene: Scene, logged: list[LogEvent]) -> None:
    one, two = scene.listener("one"), scene.listener("two")
    renewal = scene.start(one, two)
    one.bug = ZeroDivisionError("oh")
    one.write("new")
    two.write("new")
    scene.looks(50)
    assert two.renewals == ["new"]
    assert renewal.failing == {"one": "a bug: ZeroDivisionError('oh')"}
    assert [event["log_failure"].type for event in logged if "log_failure" in event] == [ZeroDivisionError]
    logged[:] = [event for event in logged if "log_failure" not in event]
    one.bug = None
    one.write("newer")
    scene.looks(2)
    assert (one.renewals, dict(renewal.failing)) == (["newer"], {})


def test_warnings_of_a_renewal_are_said(scene: Scene, site: Recorder, logged: list[LogEvent]) -> None:
    site.warnings = ("a {brace} in it", "another")
    scene.start(site)
    site.write("new")
    scene.looks(2)
    assert said(logged, LogLevel.warn) == ["site: a {brace} in it", "site: another"]


def test_without_words_for_what_is_served_it_says_so(scene: Scene, site: Recorder, logged: list[LogEvent]) -> None:
    renewal = scene.make(Watched("site", site.files, site.renew))
    renewal.look_now()
    scene.turns()
    site.files[0].unlink()
    renewal.look_now()
    scene.turns()
    told = [formatEvent(event) for event in logged]
    assert told[0] == "site: new handshakes get what is in the files now"
    assert told[1].endswith("; still served: what was served before")


def test_what_fails_can_be_read_and_not_written(scene: Scene, site: Recorder) -> None:
    with pytest.raises(TypeError):
        scene.start(site).failing["site"] = "x"  # type: ignore[index]

"""A limit of time for a block: kept once, from its beginning, and gone with the block."""

import pytest
from twisted.internet.task import Clock

from wsrelay.net.deadlines import Deadline

LATE = TimeoutError("late")


def late() -> Exception:
    return LATE


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_time_that_is_up_is_told_once_with_the_error(clock: Clock) -> None:
    told: list[Exception] = []
    with Deadline(clock, 10, told.append, late):
        clock.advance(9.9)
        assert told == []
        clock.advance(0.2)
        assert told == [LATE]
        clock.advance(100)
    assert told == [LATE]
    assert clock.getDelayedCalls() == []


def test_a_block_that_ends_in_time_leaves_nothing(clock: Clock) -> None:
    told: list[Exception] = []
    with Deadline(clock, 10, told.append, late):
        clock.advance(9)
    assert clock.getDelayedCalls() == []
    clock.advance(100)
    assert told == []


def test_a_block_that_fails_leaves_nothing_and_its_error_passes(clock: Clock) -> None:
    with pytest.raises(KeyError), Deadline(clock, 10, pytest.fail, late):
        raise KeyError
    assert clock.getDelayedCalls() == []


def test_the_error_is_only_made_when_it_is_needed(clock: Clock) -> None:
    made: list[Exception] = []

    def make() -> Exception:
        made.append(LATE)
        return LATE

    with Deadline(clock, 10, pytest.fail, make):
        clock.advance(9)
    assert made == []


def test_zero_is_no_limit(clock: Clock) -> None:
    with Deadline(clock, 0, pytest.fail, late):
        assert clock.getDelayedCalls() == []
        clock.advance(1e9)


def test_the_limit_runs_from_the_blocks_beginning_and_not_from_the_values(clock: Clock) -> None:
    told: list[Exception] = []
    deadline = Deadline(clock, 10, told.append, late)
    clock.advance(9)
    with deadline:
        clock.advance(9)
        assert told == []


def test_time_that_begins_later_runs_from_then(clock: Clock) -> None:
    told: list[Exception] = []
    deadline = Deadline(clock, 10, told.append, late)
    clock.advance(100)
    deadline.start()
    clock.advance(6)
    deadline.start()  # it has begun already
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(3.9)
    assert told == []
    clock.advance(0.2)
    assert told == [LATE]
    deadline.start()  # time was up, once
    deadline.stop()
    assert clock.getDelayedCalls() == []


def test_a_deadline_that_was_stopped_does_not_begin_any_more(clock: Clock) -> None:
    deadline = Deadline(clock, 10, pytest.fail, late)
    deadline.stop()
    deadline.start()
    assert clock.getDelayedCalls() == []


def test_a_deadline_that_is_stopped_in_time_leaves_nothing(clock: Clock) -> None:
    deadline = Deadline(clock, 10, pytest.fail, late)
    deadline.start()
    deadline.stop()
    deadline.stop()
    assert clock.getDelayedCalls() == []


def test_progress_begins_the_limit_anew_and_standing_still_ends_it(clock: Clock) -> None:
    told: list[Exception] = []
    moved = [0]
    with Deadline(clock, 10, told.append, late, progress=lambda: moved[0]):
        for _ in range(5):
            clock.advance(6)
            moved[0] += 1
            clock.advance(4)
            assert told == []
        clock.advance(9)
        assert told == []
        clock.advance(1)
        assert told == [LATE]
        clock.advance(100)
    assert told == [LATE]
    assert clock.getDelayedCalls() == []


def test_progress_is_kept_within_twice_the_limit(clock: Clock) -> None:
    told: list[Exception] = []
    moved = [0]
    with Deadline(clock, 10, told.append, late, progress=lambda: moved[0]):
        clock.advance(0.1)
        moved[0] += 1
        clock.advance(9.9)
        clock.advance(9.9)
        assert told == []
        clock.advance(0.1)
        assert told == [LATE]


def test_a_block_with_progress_that_ends_leaves_nothing(clock: Clock) -> None:
    moved = [0]
    with Deadline(clock, 10, pytest.fail, late, progress=lambda: moved[0]):
        moved[0] += 1
        clock.advance(10)
        assert len(clock.getDelayedCalls()) == 1
    assert clock.getDelayedCalls() == []

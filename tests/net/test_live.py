"""The table of living sessions, and how a drain ends them."""

import pytest
from twisted.internet.task import Clock

from wsrelay.net.live import Live


class Living:
    """A session as the table sees it: leaves when wound down if it is idle, and when it is ended."""

    def __init__(self, live: Live, *, idle: bool = False) -> None:
        self.asked: list[str] = []
        self._live = live
        self._idle = idle
        live.add(self)

    def wind_down(self) -> None:
        self.asked.append("wind down")
        if self._idle:
            self._live.remove(self)

    def end_now(self) -> None:
        self.asked.append("end now")
        self._live.remove(self)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(clock: Clock) -> Live:
    return Live(clock)


def test_it_counts_who_was_added_and_not_removed(live: Live) -> None:
    one = Living(live)
    Living(live)
    assert len(live) == 2
    live.remove(one)
    live.remove(one)
    assert len(live) == 1
    assert not live.draining


def test_a_drain_of_nobody_is_done_at_once(live: Live, clock: Clock) -> None:
    done = live.drain(30)
    assert done.called
    assert live.draining
    assert clock.getDelayedCalls() == []


def test_a_drain_is_done_when_the_last_session_has_left_by_itself(live: Live, clock: Clock) -> None:
    idle, busy, other = Living(live, idle=True), Living(live), Living(live)
    done = live.drain(30)
    assert [each.asked for each in (idle, busy, other)] == [["wind down"]] * 3
    assert len(live) == 2
    live.remove(busy)
    assert not done.called
    live.remove(other)
    assert done.called
    assert clock.getDelayedCalls() == []
    assert "end now" not in busy.asked + other.asked


def test_a_drain_of_idle_sessions_is_done_at_once(live: Live, clock: Clock) -> None:
    for _ in range(3):
        Living(live, idle=True)
    assert live.drain(30).called
    assert clock.getDelayedCalls() == []


def test_sessions_that_are_left_after_the_window_are_ended(live: Live, clock: Clock) -> None:
    left = [Living(live), Living(live)]
    done = live.drain(30)
    clock.advance(29)
    assert not done.called
    clock.advance(1)
    assert [each.asked for each in left] == [["wind down", "end now"]] * 2
    assert done.called
    assert len(live) == 0


def test_a_session_that_becomes_a_tunnel_meanwhile_is_waited_for(live: Live, clock: Clock) -> None:
    """At its handoff the tunnel is added before the session leaves."""
    session = Living(live)
    done = live.drain(30)
    tunnel = Living(live)
    live.remove(session)
    assert not done.called
    clock.advance(30)
    assert tunnel.asked == ["end now"]
    assert done.called


def test_all_can_be_ended_without_a_drain(live: Live) -> None:
    all_of_them = [Living(live) for _ in range(3)]
    live.end_all()
    assert [each.asked for each in all_of_them] == [["end now"]] * 3
    assert len(live) == 0
    assert not live.draining

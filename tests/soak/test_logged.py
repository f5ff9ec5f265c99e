"""Each way in which the access log may be wrong about a connection is found."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from soak import logged
from soak.accounts import Account
from soak.judge import Seen
from soak.plans import (
    CLIENT,
    UPSTREAM,
    AwaitEnd,
    Body,
    Conversation,
    Cut,
    Declined,
    Ending,
    ExchangePlan,
    Finish,
    Framing,
    HttpCut,
    Part,
    Plan,
    Port,
    Probe,
    Refused,
    Send,
    TunnelPlan,
    Where,
)
from soak.wires import How

WHOLE = TunnelPlan(Part((Send(100), Finish())), Part((AwaitEnd(), Send(50), Finish())), first=CLIENT)
OPEN = {"event": "open", "session": "a-1", "status": 101, "outcome": None}
CLOSE = {"event": "close", "session": "a-1", "outcome": "client-closed", "to_upstream": 114, "to_client": 56}

CLIENT_ENDED = Account(5, 0, CLIENT, sent=100, got=50, raw_sent=114, raw_got=56, status=101)
UPSTREAM_ENDED = Account(5, 0, UPSTREAM, sent=50, got=100, raw_sent=56, raw_got=114, status=101)


def wrongs(what: Any, lines: list[dict[str, Any]], port: Port = Port.HTTP, **client: Any) -> list[str]:
    plan = Plan(1, 5, "kind", port, "one", what)
    return logged.wrongs(Seen(plan, [attrs.evolve(CLIENT_ENDED, **client)], [UPSTREAM_ENDED]), lines)


def test_a_tunnel_has_one_line_for_each_of_its_ends() -> None:
    assert wrongs(WHOLE, [OPEN, CLOSE]) == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [OPEN],
        [CLOSE],
        [CLOSE, OPEN],
        [OPEN, OPEN, CLOSE],
        [OPEN, CLOSE, CLOSE],
        [OPEN, CLOSE | {"session": "a-2"}],
        [OPEN, CLOSE | {"to_upstream": 113}],
        [OPEN, CLOSE | {"to_upstream": 115}],
        [OPEN, CLOSE | {"to_client": 50}],
        [OPEN, CLOSE | {"outcome": "upstream-closed"}],
        [OPEN, CLOSE | {"outcome": "client-reset"}],
        [OPEN, CLOSE | {"outcome": "client-lingered"}],
        [OPEN, CLOSE | {"outcome": "bug"}],
    ],
)
def test_a_wrong_line_of_a_tunnel_is_found(lines: list[dict[str, Any]]) -> None:
    assert len(wrongs(WHOLE, lines)) == 1


def test_where_both_may_end_first_either_outcome_is_right() -> None:
    either = attrs.evolve(WHOLE, first="")
    assert wrongs(either, [OPEN, CLOSE]) == wrongs(either, [OPEN, CLOSE | {"outcome": "upstream-closed"}]) == []


CUT = attrs.evolve(WHOLE, client=Part((Send(100), Cut(How.RESET))), first="")
RESET = CLOSE | {"outcome": "client-reset", "to_upstream": 120, "to_client": 56}


def test_of_a_tunnel_that_was_cut_the_log_counts_no_more_than_was_sent_and_no_less_than_arrived() -> None:
    sent = {"raw_sent": 130, "raw_got": 40}
    assert wrongs(CUT, [OPEN, RESET], **sent) == []
    assert wrongs(CUT, [OPEN, RESET | {"to_upstream": 131}], **sent) != []
    assert wrongs(CUT, [OPEN, RESET | {"to_upstream": 113}], **sent) != []
    assert wrongs(CUT, [OPEN, RESET | {"to_client": 39}], **sent) != []
    assert wrongs(CUT, [OPEN, RESET | {"to_client": 57}], **sent) != []
    assert wrongs(CUT, [OPEN, RESET | {"outcome": "client-closed"}], **sent) != []
    assert wrongs(CUT, [OPEN], **sent) != []


def test_a_tunnel_that_was_cut_before_it_opened_has_one_line_or_none() -> None:
    nothing = {"got": 0, "raw_got": 0}
    failed = {"event": "failed", "session": "a-1", "outcome": "client-left"}
    assert wrongs(CUT, [], **nothing) == wrongs(CUT, [failed], **nothing) == []
    assert wrongs(CUT, [failed, failed], **nothing) != []
    assert wrongs(CUT, [failed]) != []  # for the client has got something


@pytest.mark.parametrize(
    ("how", "port", "allowed"),
    [
        (How.RESET, Port.TCP, {"client-reset"}),
        (How.RESET, Port.TLS, {"client-reset", "client-truncated"}),
        (How.LEAVE, Port.TCP, {"client-reset", "client-closed", "upstream-closed"}),
        (How.TRUNCATE, Port.TLS, {"client-reset", "client-truncated", "upstream-closed"}),
        (How.LEAVE, Port.TLS, {"client-reset", "client-truncated", "upstream-closed"}),
    ],
)
def test_how_a_client_goes_says_which_outcomes_are_right(how: How, port: Port, allowed: set[str]) -> None:
    what = attrs.evolve(CUT, client=Part((Cut(how),)))
    every = {f"{side}-{end}" for side in (CLIENT, UPSTREAM) for end in ("closed", "reset", "truncated", "stalled")}
    right = {one for one in every if wrongs(what, [OPEN, RESET | {"outcome": one}], port, raw_sent=130) == []}
    assert right == allowed


POST = ExchangePlan("POST", Body(Framing.LENGTH, 100), Body(Framing.CHUNKED, 50))
HEAD = ExchangePlan("HEAD", answer=Body(Framing.LENGTH, 50))
TWO = Conversation((POST, HEAD), Ending.FIN)
FIRST = {
    "event": "exchange",
    "session": "a-1",
    "target": "/one/5.0",
    "method": "POST",
    "status": 200,
    "request_bytes": 100,
    "response_bytes": 50,
}
SECOND = FIRST | {"target": "/one/5.1", "method": "HEAD", "request_bytes": 0, "response_bytes": 0}


def test_each_exchange_has_a_line_in_its_turn() -> None:
    assert wrongs(TWO, [FIRST, SECOND]) == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [FIRST],
        [SECOND, FIRST],
        [FIRST, FIRST, SECOND],
        [FIRST | {"status": 502}, SECOND],
        [FIRST | {"request_bytes": 99}, SECOND],
        [FIRST | {"response_bytes": 51}, SECOND],
        [FIRST | {"target": "/one/6.0"}, SECOND],
        [FIRST, SECOND | {"session": "a-2"}],
        [FIRST, SECOND, {"event": "failed", "session": "a-1", "outcome": "client-left"}],
    ],
)
def test_a_wrong_line_of_an_exchange_is_found(lines: list[dict[str, Any]]) -> None:
    assert len(wrongs(TWO, lines)) == 1


def test_an_exchange_that_was_cut_has_one_line_or_none() -> None:
    cut = attrs.evolve(TWO, cut=HttpCut(CLIENT, Where.WAITING, 0, How.RESET))
    left = SECOND | {"status": 0, "outcome": "client-left"}
    assert wrongs(cut, [FIRST]) == wrongs(cut, [FIRST, left]) == []
    assert wrongs(cut, [FIRST, left, left]) != []
    assert wrongs(cut, [FIRST, OPEN]) != []
    assert wrongs(cut, []) != []


def test_what_is_refused_or_declined_has_one_line_with_its_reason() -> None:
    refused = {"event": "exchange", "session": "a-1", "status": 400, "reason": "bad-host", "outcome": "refused"}
    what = Refused(b"GET", 400, "bad-host")
    assert wrongs(what, [refused]) == []
    for lines in ([], [refused, refused], [refused | {"reason": None}], [refused | {"outcome": None}]):
        assert wrongs(what, lines) != []
    declined = {"event": "exchange", "session": "a-1", "status": 403, "outcome": "declined", "response_bytes": 50}
    upgrade = Declined(403, Body(Framing.LENGTH, 50), 0, 0.0)
    assert wrongs(upgrade, [declined]) == []
    assert wrongs(upgrade, [declined | {"response_bytes": 49}]) != []


def test_a_probe_has_hardly_any_line() -> None:
    what = Probe(b"", How.LEAVE)
    assert wrongs(what, []) == wrongs(what, [OPEN, CLOSE], Port.TCP) == []
    assert wrongs(what, [OPEN, CLOSE]) != []
    assert wrongs(what, [OPEN], Port.TCP) != []


def test_the_log_is_read_on_from_where_it_was_left(tmp_path: Path) -> None:
    log = logged.AccessLog(tmp_path / "access.log")
    assert log.new_lines() == []
    with (tmp_path / "access.log").open("a") as file:
        for number in range(3):
            file.write(json.dumps({"client": f"127.1.0.{number + 1}:99", "session": f"{number}"}) + "\n")
            file.flush()
            assert [line["session"] for line in log.new_lines()] == [f"{number}"]
    assert log.new_lines() == []


def test_lines_are_sorted_by_connection_and_strangers_kept_apart() -> None:
    lines = [{"client": "127.1.0.5:1"}, {"client": "127.0.0.1:2"}, {"client": "127.1.0.5:3"}, {"client": "127.1.0.6:1"}]
    assert logged.by_connection(lines) == {5: [lines[0], lines[2]], None: [lines[1]], 6: [lines[3]]}

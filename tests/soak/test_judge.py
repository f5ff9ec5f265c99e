"""Each way in which the two ends may differ is found, and what may be is let pass."""

from typing import Any

import attrs
import pytest

from soak import judge
from soak.accounts import Account, from_json
from soak.judge import Seen
from soak.marks import Difference
from soak.plans import (
    CLIENT,
    NO_BODY,
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

LENGTH = Framing.LENGTH
WHOLE = TunnelPlan(Part((Send(100), Finish())), Part((AwaitEnd(), Send(50), Finish())), first=CLIENT)
CUT = TunnelPlan(Part((Send(100), Cut(How.RESET))), WHOLE.upstream)
POST = Conversation((ExchangePlan("POST", Body(LENGTH, 100), Body(LENGTH, 50)),), Ending.FIN)


def plan(what: Any, port: Port = Port.HTTP) -> Plan:
    return Plan(1, 5, "kind", port, "one", what)


def account(side: str, sent: int, got: int, **more: Any) -> Account:
    """One that has seen and done all in order, and whose hashes follow the counts."""
    hashes = {"sent_hash": f"hash{sent}", "got_hash": f"hash{got}"}
    given = {"finished": True, "complete": True, "end": "orderly", "status": 101} | hashes | more
    return Account(5, 0, side, sent=sent, got=got, **given)


CLIENT_WHOLE, UPSTREAM_WHOLE = account(CLIENT, 100, 50), account(UPSTREAM, 50, 100)


def wrongs(what: Any, client: list[Account], upstream: list[Account], port: Port = Port.HTTP) -> list[str]:
    return judge.wrongs(Seen(plan(what, port), client, upstream))


def changed(one: Account, **what: Any) -> Account:
    return attrs.evolve(one, **what)


# Tunnels.


def test_a_whole_tunnel_is_right() -> None:
    assert wrongs(WHOLE, [CLIENT_WHOLE], [UPSTREAM_WHOLE]) == []


@pytest.mark.parametrize(
    ("client", "upstream", "said"),
    [
        ({}, {"got": 99, "got_hash": "hash99"}, "looks complete, and is not: 100 bytes were sent and 99 arrived"),
        ({}, {"got": 101}, "100 bytes were sent and 101 arrived"),
        ({}, {"got_hash": "another"}, "looks complete, and is not"),
        ({}, {"complete": False, "end": "reset"}, "complete: False"),
        ({"got": 0, "got_hash": "hash0"}, {}, "from upstream to client"),
        ({"complete": False, "end": "truncated"}, {}, "'truncated'"),
        ({"finished": False}, {}, "looks complete, and was cut"),
        ({"finished": False}, {"complete": False}, "said to its end: False"),
        ({"status": 502, "reason": "upstream-closed"}, {}, "an upgrade was answered 502 upstream-closed"),
        ({"problems": ["nothing moved"]}, {}, "client, exchange 0: nothing moved"),
        ({}, {"wrong": Difference(7, b"right", b"wrong")}, f"at 7, expected {b'right'.hex()}, found {b'wrong'.hex()}"),
        ({"sent": 90, "sent_hash": "hash"}, {"got": 90, "got_hash": "hash"}, "has sent 90 bytes instead of 100"),
    ],
)
def test_whatever_a_tunnel_lacks_is_found(client: dict[str, Any], upstream: dict[str, Any], said: str) -> None:
    (found,) = wrongs(WHOLE, [changed(CLIENT_WHOLE, **client)], [changed(UPSTREAM_WHOLE, **upstream)])
    assert said in found


def test_a_tunnel_that_never_reached_the_upstream_is_found() -> None:
    assert wrongs(WHOLE, [CLIENT_WHOLE], []) == ["the tunnel never reached the upstream"]


def test_a_tunnel_that_reached_the_upstream_twice_is_found() -> None:
    assert wrongs(WHOLE, [CLIENT_WHOLE], [UPSTREAM_WHOLE] * 2) == ["the tunnel reached the upstream more than once"]


CLIENT_CUT = account(CLIENT, 100, 20, finished=False, complete=False, end="")


@pytest.mark.parametrize("got", [0, 60, 100])
def test_what_was_cut_may_have_arrived_in_part(got: int) -> None:
    upstream = account(UPSTREAM, 50, got, complete=False, finished=False, end="reset")
    assert wrongs(CUT, [CLIENT_CUT], [upstream]) == []


@pytest.mark.parametrize("got", [60, 100])
def test_what_was_cut_must_not_look_complete(got: int) -> None:
    (found,) = wrongs(CUT, [CLIENT_CUT], [account(UPSTREAM, 50, got)])
    assert "from client to upstream: looks complete, and was cut" in found


def test_what_was_cut_must_not_have_grown() -> None:
    (found,) = wrongs(CUT, [CLIENT_CUT], [account(UPSTREAM, 50, 101, complete=False)])
    assert "100 bytes were sent and 101 arrived" in found


def test_a_tunnel_that_was_cut_before_it_was_one_is_right() -> None:
    assert wrongs(CUT, [changed(CLIENT_CUT, status=0)], []) == []
    assert wrongs(CUT, [CLIENT_CUT], []) == []


LEFT = TunnelPlan(Part((Send(100), Cut(How.LEAVE))), WHOLE.upstream)


def test_fin_without_close_notify_is_an_end_only_behind_the_other_sides() -> None:
    client = changed(CLIENT_CUT, got=50, got_hash="hash50")
    assert wrongs(LEFT, [client], [account(UPSTREAM, 50, 100)], Port.HTTPS) == []
    (found,) = wrongs(LEFT, [client], [account(UPSTREAM, 50, 100, finished=False)], Port.HTTPS)
    assert "looks complete, and was cut" in found
    (found,) = wrongs(LEFT, [client], [account(UPSTREAM, 50, 99)], Port.HTTPS)
    assert "looks complete, and is not" in found


# HTTP.


CLIENT_ANSWERED, UPSTREAM_ANSWERED = (changed(one, status=200) for one in (CLIENT_WHOLE, UPSTREAM_WHOLE))


def test_a_whole_exchange_is_right() -> None:
    assert wrongs(POST, [CLIENT_ANSWERED], [UPSTREAM_ANSWERED]) == []


@pytest.mark.parametrize(
    ("client", "upstream", "said"),
    [
        ({"status": 404}, {}, "was answered 404"),
        ({"status": 200, "reason": "no-route"}, {}, "no-route"),
        ({"complete": False}, {}, "from upstream to client"),
        ({}, {"complete": False}, "from client to upstream"),
        ({}, {"got": 40, "got_hash": "hash40"}, "looks complete, and is not"),
        ({"sent": 10, "sent_hash": "h"}, {"got": 10, "got_hash": "h"}, "has sent 10 bytes instead of 100"),
    ],
)
def test_whatever_an_exchange_lacks_is_found(client: dict[str, Any], upstream: dict[str, Any], said: str) -> None:
    (found,) = wrongs(POST, [changed(CLIENT_ANSWERED, **client)], [changed(UPSTREAM_ANSWERED, **upstream)])
    assert said in found


@pytest.mark.parametrize("times", [0, 2])
def test_an_exchange_reaches_the_upstream_once(times: int) -> None:
    (found,) = wrongs(POST, [CLIENT_ANSWERED], [UPSTREAM_ANSWERED] * times)
    assert f"reached the upstream {times} times" in found


def test_a_request_that_nobody_sent_is_found() -> None:
    (found,) = wrongs(POST, [CLIENT_ANSWERED], [UPSTREAM_ANSWERED, changed(UPSTREAM_ANSWERED, exchange=1)])
    assert "a request that nobody sent" in found


def test_an_early_answer_leaves_the_request_alone() -> None:
    early = attrs.evolve(POST, exchanges=(attrs.evolve(POST.exchanges[0], early=True),))
    client = changed(CLIENT_ANSWERED, finished=False, sent=70)
    assert wrongs(early, [client], [changed(UPSTREAM_ANSWERED, complete=False, got=60)]) == []
    assert wrongs(early, [changed(client, complete=False)], [UPSTREAM_ANSWERED]) != []


def cut_by(side: str, where: Where) -> Conversation:
    return attrs.evolve(POST, ending=Ending.RESET, cut=HttpCut(side, where, 10, How.RESET))


def test_an_answer_that_was_cut_must_not_look_complete() -> None:
    what = cut_by(UPSTREAM, Where.ANSWER)
    upstream = changed(UPSTREAM_ANSWERED, sent=10, sent_hash="hash10", finished=False)
    client = changed(CLIENT_ANSWERED, got=10, got_hash="hash10", complete=False)
    assert wrongs(what, [client], [upstream]) == []
    (found,) = wrongs(what, [changed(client, complete=True)], [upstream])
    assert "looks complete, and was cut" in found


def test_a_request_that_was_cut_must_not_look_complete() -> None:
    what = cut_by(CLIENT, Where.BODY)
    client = changed(CLIENT_ANSWERED, sent=10, sent_hash="hash10", finished=False, complete=False, got=0)
    upstream = changed(UPSTREAM_ANSWERED, got=10, got_hash="hash10", complete=False, sent=0, finished=False)
    assert wrongs(what, [client], [upstream]) == []
    assert wrongs(what, [client], []) == []
    (found,) = wrongs(what, [client], [changed(upstream, complete=True)])
    assert "looks complete, and was cut" in found


def test_who_gets_no_answer_is_told_so() -> None:
    what = cut_by(UPSTREAM, Where.WAITING)
    upstream = changed(UPSTREAM_ANSWERED, sent=0, sent_hash="", finished=False)
    client = changed(CLIENT_ANSWERED, got=0, complete=False)
    assert wrongs(what, [changed(client, status=502, reason="upstream-closed")], [upstream]) == []
    assert wrongs(what, [changed(client, status=504, reason="upstream-timeout")], [upstream]) != []
    assert wrongs(what, [changed(client, status=0)], [upstream]) != []


DECLINED = Declined(403, Body(LENGTH, 50), 10, 0.0)


def test_a_declined_upgrade_brings_the_whole_answer() -> None:
    client, upstream = (changed(one, status=403) for one in (CLIENT_WHOLE, UPSTREAM_WHOLE))
    assert wrongs(DECLINED, [client], [upstream]) == []
    assert wrongs(DECLINED, [changed(client, got=49)], [upstream]) != []
    assert wrongs(DECLINED, [changed(client, complete=False)], [upstream]) != []
    assert wrongs(DECLINED, [changed(client, status=101)], [upstream]) != []
    assert wrongs(DECLINED, [client], []) != []


REFUSED = Refused(b"GET", 400, "bad-host")


def test_what_is_refused_reaches_nobody() -> None:
    client = changed(CLIENT_WHOLE, status=400, reason="bad-host")
    assert wrongs(REFUSED, [client], []) == []
    assert wrongs(REFUSED, [client], [UPSTREAM_WHOLE]) != []
    assert wrongs(REFUSED, [changed(client, reason="bad-target")], []) != []
    assert wrongs(REFUSED, [changed(client, complete=False)], []) != []


def test_a_bad_body_may_have_begun_but_never_looks_complete() -> None:
    what = attrs.evolve(REFUSED, reaches_upstream=True)
    client = changed(CLIENT_WHOLE, status=400, reason="bad-host")
    assert wrongs(what, [client], [changed(UPSTREAM_WHOLE, complete=False)]) == []
    assert wrongs(what, [client], [UPSTREAM_WHOLE]) != []


def test_a_probe_reaches_nobody() -> None:
    assert wrongs(Probe(b"", How.LEAVE), [CLIENT_CUT], []) == []
    assert wrongs(Probe(b"", How.LEAVE), [CLIENT_CUT], [UPSTREAM_WHOLE]) != []


def test_an_account_crosses_between_processes_as_it_is() -> None:
    full = changed(CLIENT_WHOLE, wrong=Difference(3, b"\x00\xff", b"\x01"), problems=["one", "two"])
    assert from_json(full.to_json()) == full
    assert from_json(CLIENT_WHOLE.to_json()) == CLIENT_WHOLE


def test_a_search_goes_as_far_as_the_longest_stream() -> None:
    assert judge.length_of(plan(WHOLE), CLIENT) == 100
    assert judge.length_of(plan(POST), UPSTREAM) == 50
    assert judge.length_of(plan(Conversation((ExchangePlan(body=NO_BODY),), Ending.FIN)), CLIENT) == 0

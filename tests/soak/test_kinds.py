"""What is dealt out can be played to its end, and is the same at both ends."""

from collections import Counter

import pytest

from soak import naming
from soak.kinds import KINDS, plan
from soak.plans import (
    CLIENT,
    PACED_SECONDS,
    UPSTREAM,
    Await,
    Conversation,
    Cut,
    Finish,
    Pause,
    Plan,
    Port,
    Refused,
    Send,
    TunnelPlan,
    Where,
)
from soak.wires import PATIENCE, How

PLANS = [plan(3, number) for number in range(1, 3001)]
TUNNELS = [(one, one.what) for one in PLANS if isinstance(one.what, TunnelPlan)]
CONVERSATIONS = [(one, one.what) for one in PLANS if isinstance(one.what, Conversation)]


def test_a_number_gets_the_same_plan_each_time_whatever_came_before() -> None:
    assert [plan(3, number) for number in range(3000, 2900, -1)] == PLANS[-1:-101:-1]
    assert plan(4, 1) != PLANS[0] or plan(4, 2) != PLANS[1]


def test_every_kind_comes_on_every_port_it_has() -> None:
    came = {(one.kind, one.port) for one in PLANS}
    assert came == {(name, port) for name, kind in KINDS.items() for port in kind.ports}


def test_only_the_kinds_that_are_wanted_come() -> None:
    assert {plan(3, number, ("up", "refused")).kind for number in range(100)} == {"up", "refused"}


def test_nobody_waits_for_bytes_that_the_other_side_never_sends() -> None:
    for one, what in TUNNELS:
        for part, other in ((what.client, UPSTREAM), (what.upstream, CLIENT)):
            if not what.is_cut:
                assert all(step.count <= what.count(other) for step in part.steps if isinstance(step, Await)), one


def test_each_end_of_a_tunnel_finishes_once_and_last_unless_it_is_cut() -> None:
    for one, what in TUNNELS:
        for part in (what.client, what.upstream):
            ends = [step for step in part.steps if isinstance(step, Finish | Cut)]
            assert ends == list(part.steps[-1:]), one
            assert isinstance(ends[0], Cut) == (part.how_cut is not None)
        assert not (what.client.how_cut and what.upstream.how_cut)


def test_nobody_pauses_for_longer_than_a_tenth_of_the_patience() -> None:
    for one, what in TUNNELS:
        for part in (what.client, what.upstream):
            pauses = sum(step.seconds for step in part.steps if isinstance(step, Pause))
            pauses += sum(PACED_SECONDS for step in part.steps if isinstance(step, Send) and step.pause)
            assert pauses + part.reading.slow_for < PATIENCE / 10, one
    for one, conversation in CONVERSATIONS:
        assert all(exchange.think + exchange.delay < PATIENCE / 10 for exchange in conversation.exchanges), one


def test_an_upstream_cuts_only_what_cannot_be_asked_for_again() -> None:
    """The relay repeats a request that a kept connection has lost, and it would be cut a second time."""
    for one, what in CONVERSATIONS:
        if what.cut is not None and what.cut.side == UPSTREAM:
            assert len(what.exchanges) == 1, one
            assert what.cut.where is not Where.HEAD


def test_an_upstream_that_drops_its_connection_is_asked_only_what_may_be_repeated() -> None:
    for one, what in CONVERSATIONS:
        for exchange, after in zip(what.exchanges, what.exchanges[1:], strict=False):
            assert not exchange.drops or (after.method == "GET" and after.body.count == 0), one


def test_truncation_is_for_clients_under_tls() -> None:
    ways: Counter[tuple[str, bool]] = Counter()
    for one, what in TUNNELS:
        for side, part in ((CLIENT, what.client), (UPSTREAM, what.upstream)):
            if part.how_cut is How.TRUNCATE:
                ways[side, one.port.secure] += 1
    assert set(ways) == {(CLIENT, True)}


def test_what_is_refused_never_names_an_upstream_of_its_own() -> None:
    """So that a request which gets through is known for one that should not have."""
    for one in PLANS:
        if isinstance(one.what, Refused) and b"{path}" in one.what.request:
            assert one.path.encode() in one.what.request.replace(b"{path}", one.path.encode())
            assert one.path == f"/{one.group}/{one.number}"


@pytest.mark.parametrize("number", [1, 255, 256, 65_535, 65_536, naming.MOST_CONNECTIONS - 1])
def test_a_connection_is_known_by_its_address(number: int) -> None:
    assert naming.number_of(f"{naming.source_of(number)}:4711") == number
    assert naming.source_of(number).startswith("127.")
    assert not naming.source_of(number).endswith(".255.255.255")


@pytest.mark.parametrize("address", ["127.0.0.1:4711", "127.0.0.255:1", "unix:", "[::1]:4711", "192.0.2.1:80"])
def test_strangers_are_no_connection_of_the_soak(address: str) -> None:
    assert naming.number_of(address) is None


def test_a_label_names_its_connection_and_nothing_else_is_one() -> None:
    assert len(naming.label(77)) == naming.LABEL_BYTES
    assert naming.labelled(naming.label(77)) == 77
    assert naming.labelled(b"GET / HTTP/1") is None


def test_the_accept_value_is_that_of_the_rfc() -> None:
    """RFC 6455 1.3 has this pair."""
    assert naming.accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_layer_4_leads_to_groups_of_its_own() -> None:
    of_port: dict[Port, set[str]] = {}
    one: Plan
    for one in PLANS:
        of_port.setdefault(one.port, set()).add(one.group)
    assert of_port == {
        Port.HTTP: {"one", "two"},
        Port.HTTPS: {"one", "two"},
        Port.TCP: {"raw"},
        Port.TLS: {"raw-tls"},
    }

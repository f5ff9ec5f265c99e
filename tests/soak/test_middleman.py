"""What a relay must never do is done by somebody between it and the load, and is found, to the byte."""

import re
from collections.abc import Callable

import pytest

from soak.naming import LABEL_BYTES
from soak.plans import Conversation, Ending, Framing, Plan, Port, TunnelPlan
from tests.soak.conftest import Stage
from tests.soak.middleman import Middleman, Mischief, changed, doubled, dropped, ended, repeated, swapped

pytestmark = pytest.mark.e2e

PLACE = 50_000


def is_long(plan: Plan) -> bool:
    assert isinstance(plan.what, TunnelPlan)
    return min(plan.what.count("client"), plan.what.count("upstream")) > 2 * PLACE


def place_of(pattern: str, violations: list[str]) -> int:
    """The offset in the only violation that fits."""
    (found,) = [match for violation in violations if (match := re.search(pattern, violation))]
    return int(found[1])


@pytest.mark.parametrize("port", Port)
def test_who_does_nothing_is_not_accused(stage: Stage, port: Port) -> None:
    plans = [stage.pick(kind, port) for kind in ("both", "echo", "half-close", "client-cuts", "upstream-cuts")]
    if not port.layer4:
        plans += [stage.pick(kind, port) for kind in ("http-kept", "http-pipelined", "declined", "refused")]
    assert stage.violations(plans) == []


@pytest.mark.parametrize(
    ("mischief", "said"),
    [
        (changed, "1 bytes are changed"),
        (dropped, "1 bytes are missing"),
        (doubled, "1 bytes are there twice"),
        (swapped, "2 bytes are changed"),
    ],
)
def test_one_wrong_byte_on_the_way_up_is_found_at_its_place(
    stage: Stage, mischief: Callable[[int], Mischief], said: str
) -> None:
    plan = stage.pick("both", Port.TCP, is_long)
    violations = stage.violations([plan], Middleman(up=mischief(PLACE)))
    # Of two like bytes, which is dropped cannot be told; a doubled one shows at the next place.
    assert place_of(r"upstream, exchange 0: wrong bytes at (\d+)", violations) - (PLACE - LABEL_BYTES) in (0, 1, 2)
    assert any(said in violation for violation in violations)
    assert [violation for violation in violations if f"connection {plan.number} " not in violation] == []


def test_one_wrong_byte_on_the_way_down_is_found_at_its_place(stage: Stage) -> None:
    violations = stage.violations([stage.pick("both", Port.TCP, is_long)], Middleman(down=changed(PLACE)))
    assert place_of(r"client, exchange 0: wrong bytes at (\d+)", violations) == PLACE


def test_two_connections_that_change_places_are_found_out(stage: Stage) -> None:
    plans = [stage.pick("both", Port.TCP, is_long) for _ in range(2)]
    violations = stage.violations(plans, Middleman(cross_after=PLACE))
    # Who is found out first ends both.
    places = re.findall(r"upstream, exchange 0: wrong bytes at (\d+)", "\n".join(violations))
    assert set(map(int, places)) == {PLACE - LABEL_BYTES}
    assert any(
        f"connection {plan.number} (both over tcp): wrong bytes: from the 1. on they are {other.number}.0 up"
        in violation
        for violation in violations
        for plan, other in (plans, plans[::-1])
    )


def test_an_end_in_order_that_comes_too_early_is_found(stage: Stage) -> None:
    violations = stage.violations([stage.pick("up", Port.TCP, lambda plan: True)], Middleman(up=ended(5_000)))
    assert any("looks complete, and is not" in violation for violation in violations)


def is_up(plan: Plan) -> bool:
    assert isinstance(plan.what, TunnelPlan)
    return plan.what.count("upstream") == 0


def test_the_very_last_byte_is_missed(stage: Stage) -> None:
    """Nothing comes behind it that could be wrong."""
    plan = stage.pick("up", Port.TCP, is_up)
    assert isinstance(plan.what, TunnelPlan)
    count = plan.what.count("client")
    violations = stage.violations([plan], Middleman(up=dropped(LABEL_BYTES + count - 1)))
    assert any(f"{count} bytes were sent and {count - 1} arrived" in violation for violation in violations)


def answers_at_length(plan: Plan) -> bool:
    assert isinstance(plan.what, Conversation)
    answer = plan.what.exchanges[0].answer
    return answer.framing is Framing.LENGTH and answer.count > 2 * PLACE


def test_a_wrong_byte_of_an_answer_is_found(stage: Stage) -> None:
    plan = stage.pick("http-large", Port.HTTP, answers_at_length)
    violations = stage.violations([plan], Middleman(down=changed(PLACE)))
    # Its head is before it.
    assert PLACE - 300 < place_of(r"client, exchange 0: wrong bytes at (\d+)", violations) < PLACE


def test_a_request_that_comes_twice_is_found(stage: Stage) -> None:
    """As by a relay that repeats what it must not."""

    def is_short(plan: Plan) -> bool:
        assert isinstance(plan.what, Conversation)
        (exchange,) = plan.what.exchanges
        asks = exchange.method == "GET" and plan.what.trickle == 1 and exchange.status == 200
        return asks and plan.what.ending is Ending.FIN

    plan = stage.pick("http", Port.HTTP, is_short)
    violations = stage.violations([plan], Middleman(up=repeated))
    assert violations
    assert [violation for violation in violations if f"connection {plan.number} " not in violation] == []


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_wrong_byte_under_tls_is_an_end_that_nobody_wanted(stage: Stage, way: str) -> None:
    plan = stage.pick("both", Port.TLS, is_long)
    assert stage.violations([plan], Middleman(**{way: changed(PLACE)})) != []

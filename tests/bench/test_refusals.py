"""The comparison of refused connections, with few of them: that every one is refused, and counted."""

import pytest

from bench import proxies, refusals


@pytest.mark.parametrize("name", refusals.PROXIES)
@pytest.mark.parametrize("logs", [True, False])
def test_a_flood_is_refused_by_each_proxy_and_its_cost_is_measured(name: str, logs: bool) -> None:
    if name == "nginx" and proxies.program("nginx") is None:
        pytest.skip("nginx is not installed")
    assert refusals.cost(refusals.PROXIES[name], 30, logs=logs) > 0

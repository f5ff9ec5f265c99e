import json
from pathlib import Path

import pytest

from bench.results import from_json
from tests.bench.figures import a_run


def test_a_median_is_not_moved_by_one_bad_round() -> None:
    assert a_run().median("small", "TLS", "wsrelay-native", "cpu") == 9.0


def test_a_ratio_is_of_medians_and_to_the_best_of_the_others() -> None:
    results = a_run()
    assert results.ratio("small", "TLS", "wsrelay-native", "cpu", ["nginx"]) == pytest.approx(9 / 11)
    assert results.ratio("small", "TLS", "haproxy", "cpu", ["haproxy", "nginx", "caddy"]) == pytest.approx(20 / 11)


def test_what_was_not_measured_has_no_ratio() -> None:
    results = a_run()
    assert results.median("bulk", "TLS", "nginx", "cpu") is None
    assert results.ratio("small", "TLS", "nginx", "cpu", ["caddy"]) is None
    assert results.ratio("small", "TLS", "caddy", "cpu", ["nginx"]) is None


def test_a_run_comes_back_from_its_json(tmp_path: Path) -> None:
    results = a_run()
    written = results.to_json([])
    (tmp_path / "run.json").write_text(written)
    assert from_json(tmp_path / "run.json") == results
    row = next(row for row in json.loads(written)["medians"] if row["proxy"] == "nginx")
    assert (row["workload"], row["variant"], row["cpu"]) == ("small", "TLS", 11.0)

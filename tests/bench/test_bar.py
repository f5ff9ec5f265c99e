import attrs
import pytest

from bench.bar import Bar, Verdict, verdicts
from tests.bench.figures import a_run

LIMIT = Bar("something", "small", "TLS", "cpu", 1.0)


@pytest.mark.parametrize(
    ("measured", "word"),
    [(None, "not measured"), (0.9, "met"), (1.0, "met"), (1.05, "met within 5 %"), (1.06, "NOT MET")],
)
def test_a_bar_counts_as_met_within_five_percent(measured: float | None, word: str) -> None:
    assert Verdict(LIMIT, "wsrelay-native", measured).word() == word


def test_each_bar_is_measured_in_its_own_unit() -> None:
    found = {(each.bar.workload, each.bar.variant): each for each in verdicts(a_run())}
    assert found["small", "TLS"].word() == "met"
    assert (found["connect", "plain"].measured, found["connect", "plain"].word()) == (10.0, "NOT MET")
    assert (found["idle", "plain"].measured, found["idle", "plain"].bar.unit()) == (4.4, "kB")
    assert (found["crowd", "plain"].measured, found["crowd", "plain"].word()) == (1.24, "met within 5 %")
    assert found["small", "plain"].word() == "not measured"
    assert ("bulk", "TLS") not in found


def test_the_reactor_is_judged_where_there_is_no_native_pump() -> None:
    results = a_run()
    assert {each.subject for each in verdicts(results)} == {"wsrelay-native"}
    results.samples = [attrs.evolve(sample, proxy="wsrelay-reactor") for sample in results.samples]
    assert {each.subject for each in verdicts(results)} == {"wsrelay-reactor"}

from xml.etree import ElementTree

import pytest

from bench import charts
from tests.bench.figures import a_run

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(("value", "expected"), [(47, (50, 10)), (9.2, (10, 2)), (800, (800, 100)), (0.7, (0.7, 0.1))])
def test_an_axis_ends_at_a_round_number(value: float, expected: tuple[float, float]) -> None:
    assert charts.ceiling(value) == pytest.approx(expected)


@pytest.mark.parametrize("draw", charts.CHARTS.values(), ids=charts.CHARTS)
def test_a_chart_says_what_it_shows_and_stays_inside(draw: charts.Chart) -> None:
    drawn = draw(a_run())
    assert drawn is not None
    root = ElementTree.fromstring(drawn)
    words = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert "µs of CPU a message" in words
    assert any(word.startswith("python -m bench --rounds 3") for word in words)
    assert {"wsrelay-native", "nginx", "haproxy"} <= set(words)
    for element in root.iter(f"{SVG}rect"):
        assert float(element.get("x", 0)) + float(element.get("width", 0)) <= charts.WIDTH
        assert float(element.get("y", 0)) + float(element.get("height", 0)) <= charts.HEIGHT


@pytest.mark.parametrize("draw", charts.CHARTS.values(), ids=charts.CHARTS)
def test_without_figures_there_is_no_chart(draw: charts.Chart) -> None:
    results = a_run()
    results.samples = []
    assert draw(results) is None

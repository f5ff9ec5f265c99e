import pytest

from bench.bar import verdicts
from bench.table import Table, figure, of_bar, tables
from tests.bench.figures import a_run


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.516, "0.52"), (12.34, "12.3"), (123.4, "123"), (123456.0, "123,456")]
)
def test_a_figure_has_three_digits_or_so(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_a_terminal_gets_aligned_columns() -> None:
    table = Table("title", ["", "", "figure"], [["TLS", "nginx", "1.00"], ["plain", "direct", "123,456"]])
    assert table.as_text() == "title\n                  figure\n  TLS    nginx      1.00\n  plain  direct  123,456"


def test_markdown_gets_a_rule_that_puts_figures_to_the_right() -> None:
    lines = Table("title", ["", "", "figure"], [["TLS", "nginx", "1.00"]]).as_markdown().splitlines()
    assert lines == ["**title**", "", "|  |  | figure |", "| --- | --- | ---: |", "| TLS | nginx | 1.00 |"]


def test_a_run_fits_in_120_columns() -> None:
    results = a_run()
    shown = [*tables(results), of_bar(verdicts(results))]
    assert [len(table.rows) for table in shown[:-1]] == [3, 3, 3, 3]
    assert max(len(line) for table in shown for line in table.as_text().splitlines()) <= 120


def test_columns_without_a_figure_are_left_out() -> None:
    idle = next(table for table in tables(a_run()) if table.title.startswith("idle"))
    assert idle.head == ["", "", "kB a tunnel", "÷ nginx", "÷ HAProxy"]
    assert idle.rows[0] == ["plain", "wsrelay-native", "4.40", "1.00", "1.00"]

"""The part of docs/performance.md that a run writes. The text around it is written by people and stays as it is."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from bench import charts
from bench.bar import verdicts
from bench.results import Results
from bench.table import Table, of_bar, tables

BEGIN = "<!-- From here to the end mark everything is written by the bench: make bench -->"
END = "<!-- The end of what the bench writes -->"


def machine(results: Results) -> str:
    """What was measured, where, and with which command."""
    about = results.machine
    versions = [f"{name} {version}" for name, version in results.proxies.items() if version]
    lines = [
        f"- Machine: {about['processor']}, {about['memory']}; {about['kernel']}, {about['system']}; {about['cores']}",
        f"- Proxies (and what they do TLS with): {', '.join(versions)}; Python {about['python']}",
        f"- Load: OpenSSL {about['openssl']}",
        f"- Command: `{results.command}`, {results.rounds()} round{'s' * (results.rounds() != 1)}",
        *(f"- {note.splitlines()[0]}" for note in results.notes),
    ]
    return "\n".join(textwrap.fill(line, 118, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def generated(results: Results) -> str:
    """The text between the two marks."""
    shown: Sequence[Table] = [of_bar(verdicts(results)), *tables(results)]
    return "\n\n".join(["", machine(results), *(table.as_markdown() for table in shown if table.rows), ""])


def with_figures(page: str, results: Results) -> str:
    """A page with the part between its marks replaced.

    Raises:
        ValueError: the marks are not there, once each and in this order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marks for the figures")
    return before + begin + generated(results) + end + after


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the charts for which there are figures; return where."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, chart in charts.CHARTS.items():
        drawn = chart(results)
        if drawn is not None:
            (folder / name).write_text(drawn)
            written.append(folder / name)
    return written


def write(results: Results, folder: Path) -> list[Path]:
    """Put the figures and the charts into the documentation; return what was written."""
    path = folder / "performance.md"
    path.write_text(with_figures(path.read_text(), results))
    return [path, *draw(results, folder)]

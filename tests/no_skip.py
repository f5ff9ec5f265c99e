"""A pytest plugin: with WSRELAY_NO_SKIP=1 in the environment a skipped test is a failed one.

A skip says that a program is missing. On a person's machine that is fine; where everything was installed for
the run, it means that something was not tested. Loaded with `-p tests.no_skip`.
"""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _refuse_skip(report: Report) -> Report:
    """Turn a skip into a failure that keeps its reason; an expected failure (xfail) is not a skip."""
    if os.environ.get("WSRELAY_NO_SKIP") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and WSRELAY_NO_SKIP=1 allows none. {reason}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module may be skipped while it is read (pytest.importorskip)."""
    return _refuse_skip((yield))

"""A pytest plugin that reports each failure immediately.

pytest prints failures at the end, and a run with a time limit may not reach it.
"""

from __future__ import annotations

import pytest

from benchmarks.gpu.results import record

MAX_TEXT = 1800
"""Maximum characters of a traceback that are recorded."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record a failed test with the end of its traceback."""
    if report.failed:
        text = report.longreprtext[-MAX_TEXT:]
        record("failed test", test=report.nodeid, when=report.when, text=text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Record the number of tests by outcome."""
    counts = {name: len(reports) for name, reports in terminalreporter.stats.items() if name}
    record("tests", **{name.replace(" ", "_"): count for name, count in counts.items()})

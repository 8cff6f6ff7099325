"""Settings of every test run: of the unit tests, of the chapters (nbval) and of the site."""

import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

# The tests' tensors are small: a second thread costs more than it gives, and where other programs
# run beside, a great deal more. Set before PyTorch is imported; kernels of chapters inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before srnn is imported, whose functions it makes checked ones of.
import shapes

# Set where nothing is expected to be missing: a skipped test is then a failed one.
NO_SKIP = os.environ.get("SRNN_NO_SKIP", "") not in ("", "0")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("nbval", default=False):
        from execute_book import quiet_ipython

        settings = tempfile.TemporaryDirectory()
        config.add_cleanup(settings.cleanup)
        os.environ.pop("MPLBACKEND", None)
        os.environ.update(quiet_ipython(Path(settings.name)))


def pytest_runtest_setup() -> None:
    shapes.begin()


def _fail_where_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {why} (SRNN_NO_SKIP is set, so this is a failure)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_where_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_where_skipped(report)
    return report

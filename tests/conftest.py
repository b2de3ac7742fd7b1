"""Fixtures that run a test at every level, thread count and dtype, between guard bytes."""

import signal

import harness
import numpy as np
import pytest

import fastreg
from fastreg._core import _kernels

# A shell's background job ignores Ctrl-C, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=_kernels.levels())
def level(request):
    """Every instruction-set level of this CPU in turn."""
    with harness.at_level(request.param):
        yield request.param


@pytest.fixture(params=harness.THREADS, ids=lambda n: f"{n}threads")
def threads(request):
    """Every thread count in turn."""
    with fastreg.num_threads(request.param):
        yield request.param


@pytest.fixture(params=harness.DTYPES, ids=lambda t: t.__name__)
def dtype(request):
    """Both element types in turn."""
    return request.param


@pytest.fixture
def guarded():
    """A maker of arrays between guard bytes, which are checked when the test ends."""
    guard = harness.Guarded()
    yield guard
    guard.check()


@pytest.fixture
def fixed_rng():
    """A generator of the same values always: where a bound is of usual rounding or curvature."""
    return np.random.default_rng(20150322)


@pytest.fixture
def rng():
    """A generator of other values in every run of continuous integration; see `harness.SEED`."""
    return np.random.default_rng(harness.SEED)


def pytest_report_header():
    """Say which seed repeats this run."""
    return f"kernels' data: FASTREG_TEST_SEED={harness.SEED}"


def pytest_terminal_summary(terminalreporter):
    """Say it at the end as well: a quiet run has no header."""
    if terminalreporter.verbosity < 0:
        terminalreporter.write_line(pytest_report_header())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Say so again where a test with data of this run has failed."""
    report = yield
    if report.failed and "rng" in item.fixturenames:
        report.sections.append(("data", f"to repeat: FASTREG_TEST_SEED={harness.SEED}"))
    return report

"""Fixtures that run a test at every level, thread count and dtype, between guard bytes."""

import harness
import numpy as np
import pytest

import fastreg
from fastreg._core import _kernels


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
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(20150322)

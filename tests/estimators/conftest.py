"""Tests of `fastreg.sklearn`; its folder has a name of its own, which shadows no package."""

import importlib.util

import pytest

if importlib.util.find_spec("sklearn") is None:  # the extra 'sklearn' is not installed
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def global_random_seed():
    """The fixture of scikit-learn's own tests."""
    return 42

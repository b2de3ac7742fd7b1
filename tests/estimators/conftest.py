"""Tests of `fastreg.sklearn`; its folder has a name of its own, which shadows no package."""

import pytest

pytest.importorskip("sklearn", reason="needs the extra 'sklearn'")


@pytest.fixture
def global_random_seed():
    """The fixture of scikit-learn's own tests."""
    return 42

"""Torch draws the same values in every run: bounds are of usual rounding."""

import pytest


@pytest.fixture(autouse=True)
def _seeded():
    torch = pytest.importorskip("torch")
    torch.manual_seed(20150322)

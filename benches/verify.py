"""Proof that a result is right, asked for before its time is taken."""

import numpy as np


def assert_same_bits(ours, reference):
    """Accept the same dtype, shape and bits only, those of zeros and NaN included."""
    ours, reference = (array.view(f"u{array.itemsize}") for array in (ours, reference))
    np.testing.assert_array_equal(ours, reference, strict=True)


def assert_rounded(ours, exact, ulps=16):
    """Accept errors of some units in the last place of the largest value of a float64 result."""
    unit = np.finfo(ours.dtype).eps * np.abs(exact).max()
    np.testing.assert_allclose(ours, exact, rtol=0, atol=ulps * unit)

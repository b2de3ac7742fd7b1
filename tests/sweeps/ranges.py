"""Magnitudes over the whole range of each dtype, and numbers compared with mpmath's."""

import mpmath
import numpy as np
import pytest

mpmath.mp.prec = 2200  # squares of 1e300 beside epsilon
MP = np.vectorize(mpmath.mpf, otypes=[object])
SCALES = {
    np.float32: [10.0**k for k in (*range(-37, 38, 5), -40, 38)],
    np.float64: [10.0**k for k in (*range(-300, 301, 50), -155, 155)],
}
CASES = [
    pytest.param(dtype, scale, id=f"{np.dtype(dtype).name} {scale:g}")
    for dtype, scales in SCALES.items()
    for scale in scales
]
X0 = np.array([[0.5, -1.0, 2.0], [1.25, 0.75, -1.5], [-0.25, 1.0, 1.0], [2.0, -0.5, 0.25]])


def exact(values):
    """The same numbers in mpmath's arithmetic."""
    return MP(np.asarray(values, np.float64))


def close(found, wanted, dtype, ulps=64, slack=None):
    """Equal to rounding: relative to the element (or to `slack`), and to the subnormal grid."""
    ends = np.finfo(dtype)
    found, wanted = np.atleast_1d(np.asarray(found)), np.atleast_1d(np.asarray(wanted, object))
    assert found.shape == wanted.shape
    for got, want in zip(found.ravel(), wanted.ravel(), strict=True):
        if abs(want) > ends.max:
            continue  # not representable
        size = max(abs(want), slack or 0)
        room = ulps * (float(ends.eps) * size + mpmath.mpf(float(ends.smallest_subnormal)))
        assert abs(mpmath.mpf(float(got)) - want) <= room, (got, mpmath.nstr(want, 9))


def logistic(z):
    return 1 / (1 + mpmath.exp(-z)) if z > -1e5 else mpmath.mpf(0)

"""Powers and cosines of one number: rounded as well as can be, and the same bits everywhere."""

import math

import mpmath
import numpy as np
import pytest

from fastreg._core import functions
from fastreg.reference import scalars as twin


def ulps(found, exact):
    """How far off a value is."""
    return float(abs(mpmath.mpf(found) - exact) / mpmath.mpf(float(np.spacing(abs(float(exact))))))


def arguments(rng, n=600):
    """Bases and exponents of optimizers, schedules and others."""
    for _ in range(n):
        base = rng.choice([0.9, 0.999, 0.95, 0.96, rng.uniform(0.01, 2), 10 ** rng.uniform(-5, 5)])
        yield float(base), float(rng.choice([rng.integers(1, 3000), rng.uniform(-9, 9)]))


def test_powers_are_rounded_as_well_as_can_be(fixed_rng):
    with mpmath.workprec(160):
        for x, y in arguments(fixed_rng):
            exact = mpmath.mpf(x) ** mpmath.mpf(y)
            if 1e-300 < exact < 1e300:
                assert ulps(functions.power(x, y), exact) <= 0.55, (x, y)
            share = x % 1.0
            missing = 1 - (1 - mpmath.mpf(share)) ** mpmath.mpf(abs(y))
            assert ulps(functions.missing_power(share, abs(y)), missing) <= 0.55, (share, y)


def test_powers_have_the_bits_of_their_twin(rng):
    ends = [(0.9, 2.0**62), (2.0, 1e9), (0.5, 1074.0), (0.5, 1050.5), (5e-324, 0.5), (0.0, 2.0)]
    for x, y in [*arguments(rng), *ends]:
        assert functions.power(x, y) == twin.power(x, y), (x, y)


def test_powers_of_special_values():
    for x, y in [(0.0, 0.0), (0.0, 3.0), (1.0, 5e300), (math.inf, 2.0), (math.inf, -1.0)]:
        assert functions.power(x, y) == twin.power(x, y) == math.pow(x, y)
    assert functions.power(2.0, 1e9) == math.inf and functions.power(0.5, 1e9) == 0.0
    assert math.isnan(functions.power(math.nan, 2.0))
    assert functions.missing_power(0.0, 3.0) == 0.0 and functions.missing_power(1.0, 3.0) == 1.0


@pytest.mark.parametrize("high", [3.2, 26000.0])
def test_cosines_are_rounded_as_well_as_can_be(high, fixed_rng):
    with mpmath.workprec(160):
        for x in fixed_rng.uniform(0, high, 600).tolist():
            assert ulps(functions.cosine(x), mpmath.cos(mpmath.mpf(x))) <= 0.55, x
            assert ulps(functions.sine(x), mpmath.sin(mpmath.mpf(x))) <= 0.55, x
    assert functions.cosine(0.0) == 1.0 and functions.sine(0.0) == 0.0

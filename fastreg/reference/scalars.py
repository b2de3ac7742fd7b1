"""Powers of single numbers, to the last digit but rarely: two floats for a value and its rest."""

from __future__ import annotations

import math

from fastreg.reference.functions import LOG2_E, MAGIC_64, product_rest

__all__ = ["power"]

THIRD, SIXTH = (1 / 3, 2.0**-54 / 3), (1 / 6, 2.0**-55 / 3)


def power(x: float, y: float) -> float:
    """``x ** y`` of numbers, x at least 0.

    The logarithm and the exponential are pairs of floats, a value and what rounding took.

    Examples
    --------
    >>> power(0.9, 2.0), power(0.0, 3.0), power(2.0, -1.0)
    (0.81, 0.0, 0.5)
    """
    if y == 0.0 or x == 1.0:
        return 1.0
    if not 0.0 < x < math.inf:
        return x if y > 0.0 else 1.0 / x if x else math.inf
    high, low = log_pair(x)
    rough = y * high
    if not -800.0 < rough < 800.0:
        return math.inf if rough > 0 else 0.0
    return exp_pair(*total(rough, product_rest(y, high) + y * low))


def total(a: float, b: float) -> tuple[float, float]:
    """``a + b`` as a pair (Knuth)."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def plus(a: float, b: tuple[float, float]) -> tuple[float, float]:
    """The sum of a number and a pair."""
    high, low = total(a, b[0])
    return total(high, low + b[1])


def times(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """The product of two pairs."""
    return total(a[0] * b[0], product_rest(a[0], b[0]) + (a[0] * b[1] + a[1] * b[0]))


def log_pair(x: float) -> tuple[float, float]:
    """The logarithm of a positive number."""
    m, e = math.frexp(x)
    if m < 0.7071067811865476:
        m, e = 2.0 * m, e - 1
    above, below = plus(-1.0, (m, 0.0)), plus(1.0, (m, 0.0))
    first = above[0] / below[0]
    rest = ((above[0] - first * below[0]) - product_rest(first, below[0])) + (
        above[1] - first * below[1]
    )
    s = total(first, rest / below[0])
    z = times(s, s)
    p = 1.0 / 25
    for k in range(23, 4, -2):
        p = p * z[0] + 1.0 / k
    cubic = times(times(s, z), plus(p * z[0], THIRD))
    half = plus(s[0], total(s[1] + cubic[1], cubic[0]))
    doubled = 2.0 * half[0], 2.0 * half[1]
    return plus(e * 6.93147180369123816490e-01, plus(e * 1.90821492927058770002e-10, doubled))


def exp_pair(high: float, low: float) -> float:
    """``e^x``, x a pair from -800 to 800."""
    n = (high * LOG2_E + MAGIC_64) - MAGIC_64
    rough, lost = total(high, -n * 6.93147180369123816490e-01)
    r = plus(rough, total(lost + low, -n * 1.90821492927058770002e-10))
    q = 1.0 / 18
    for k in range(17, 4, -1):
        q = (q * r[0] + 1.0) * (1.0 / k)
    third_order = plus(r[0] * ((q * r[0] + 1.0) * (1.0 / 24)), SIXTH)
    rise = times(r, plus(1.0, times(r, plus(0.5, times(r, third_order)))))
    high, low = plus(1.0, rise)
    half = math.floor(n * 0.5)
    first = (high + low) * 2.0**half if half >= -1022 else 0.0
    return first * math.ldexp(1.0, int(n) - half)

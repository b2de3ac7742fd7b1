"""Matrix products, one fused multiply-add after the other."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["matmul"]

BLOCK = 256  # values of k whose products are chained before the chain is added


def matmul(a: Any, b: Any) -> Any:
    """Return ``a @ b``: blocks of k in order, in each a chain of multiply-adds that begins at 0."""
    rows, cols = np.atleast_2d(a), b if b.ndim == 2 else b[:, None]
    depth, chains = len(cols), []
    for begin in range(0, max(depth, 1), BLOCK):
        chains.append(np.zeros((len(rows), cols.shape[1]), a.dtype))
        for k in range(begin, min(depth, begin + BLOCK)):
            chains[-1] = fma(rows[:, k, None], cols[None, k], chains[-1])
    total = chains[0]
    with np.errstate(all="ignore"):
        for chain in chains[1:]:
            total = total + chain
    return total.reshape(a.shape[:-1] + b.shape[1:])[()]


def fma(a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c``, rounded once."""
    with np.errstate(all="ignore"):
        return fma_float(a, b, c) if c.dtype == np.float32 else fma_double(a, b, c)


def two_sum(a: Any, b: Any) -> Any:
    """Return the rounded sum and its error (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def sum_to_odd(a: Any, b: Any) -> Any:
    """Return ``a + b`` rounded to odd: what is inexact ends in a 1, so rounding again is safe."""
    s, error = two_sum(a, b)
    is_even = np.ascontiguousarray(s).view(np.int64) % 2 == 0
    other = np.nextafter(s, np.copysign(np.inf, error))
    return np.where((error != 0) & is_even & np.isfinite(s), other, s)


def fma_float(a: Any, b: Any, c: Any) -> Any:
    """Sum to odd in float64, where a product of float32 is exact (Boldo & Melquiond, 2008)."""
    return sum_to_odd(a.astype(np.float64) * b, c.astype(np.float64)).astype(np.float32)


def fma_double(a: Any, b: Any, c: Any) -> Any:
    """Sum the product, its error and c so that only the last sum rounds (Boldo & Melquiond).

    Far from 1, where the error of the product is not a number or the sum is subnormal, and where
    a factor is 0 or not finite, other rules hold.
    """
    product, error = two_product(a, b)
    low, lowest = two_sum(c, error)
    high, rest = two_sum(product, low)
    result = high + sum_to_odd(lowest, rest)
    plain = a * b + c
    size_a, size_b, size_c = np.abs(a), np.abs(b), np.abs(c)
    is_near = (size_a > 2.0**-400) & (size_a < 2.0**400) & (size_b > 2.0**-400)
    is_near &= (size_b < 2.0**400) & (size_c < 2.0**900) & ((size_c > 2.0**-900) | (c == 0))
    is_plain = (a == 0) | (b == 0) | ~(np.isfinite(a) & np.isfinite(b) & np.isfinite(c))
    result = np.where(is_plain, plain, result)
    a, b, _ = np.broadcast_arrays(a, b, c)
    for place in np.argwhere(~is_near & ~is_plain):
        result[tuple(place)] = exact(*(x[tuple(place)] for x in (a, b, c)))
    return result


def two_product(a: Any, b: Any) -> Any:
    """Return the rounded product and its error (Dekker)."""
    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    p = a * b
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def halves(x: Any) -> Any:
    """Return two numbers of 26 bits whose sum is ``x`` (Veltkamp)."""
    t = 134217729.0 * x
    high = t - (t - x)
    return high, x - high


def exact(a: Any, b: Any, c: Any) -> Any:
    """Compute in fractions."""
    total = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    try:
        return float(total)
    except OverflowError:
        return np.copysign(np.inf, float(total > 0) - 0.5)

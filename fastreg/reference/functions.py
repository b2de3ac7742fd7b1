"""Exponential, logarithm, hyperbolic tangent and error function, in fixed arithmetic.

Every operation is one of + - * /, or a move of bits, in the order of the kernels, so that the
bits are the same on every machine. Each function takes an array of float32 or float64 and
computes in that dtype. They are within 2 ulp of the exact values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["erf", "exp", "log", "log1p", "tanh"]

# Coefficients from the highest power: Cephes (exp in double, log in float), fdlibm (log in double);
# best polynomials (exp in float, tanh, erf, mills).
TANH_32 = (
    -0.006096714176237583,
    0.020997179672122,
    -0.05385090783238411,
    0.1333276927471161,
    -0.333333283662796,
)
TANH_64 = (
    -1.724487449484433e-05,
    7.959955735264808e-05,
    -0.00023077616269519857,
    0.0005874372860094381,
    -0.001455309297534642,
    0.0035920589774734554,
    -0.008863229830925709,
    0.021869488260559115,
    -0.05396825396139557,
    0.13333333333326658,
    -0.3333333333333332,
)
ERF_32 = (
    7.875874871e-05,
    -0.0008016864303,
    0.005189087242,
    -0.02685421146,
    0.1128359437,
    -0.3761262596,
    0.1283791661,
)
ERF_64 = (
    -7.795898827002142e-10,
    1.3720064546777686e-08,
    -1.6208483801871705e-07,
    1.6447424703317362e-06,
    -1.492473690741966e-05,
    0.00012055294904839707,
    -0.0008548325975389692,
    0.0052239776071164225,
    -0.02686617064323777,
    0.11283791670945006,
    -0.37612638903183543,
    0.12837916709551256,
)
MILLS_32 = (
    -0.000147864921,
    -0.0001314415131,
    0.001382467104,
    -0.0006009939825,
    -0.01000504196,
    0.03587909788,
    -0.06439545751,
    0.05720005557,
    0.02799926139,
    -0.1934069395,
    0.9441064,
)
MILLS_64 = (
    3.9688144611243204e-10,
    8.694404649963016e-09,
    2.268129999225358e-08,
    -3.776275451406326e-08,
    -2.0222259511342484e-07,
    5.6111193653913395e-09,
    1.0864201655225154e-06,
    8.04193275923504e-07,
    -5.216078399131316e-06,
    -6.861107888989034e-06,
    2.725025740417064e-05,
    4.2498833419642013e-05,
    -0.00017570556200847284,
    -0.00018886021864601035,
    0.0013897940917866408,
    -0.0005712462345348642,
    -0.010004757171974842,
    0.03587219496212655,
    -0.06439567485662646,
    0.05720072810701107,
    0.027999269448858968,
    -0.19340695465305074,
    0.9441064130196893,
)
LOG_32 = (
    0.070376836292,
    -0.1151461031,
    0.1167699874,
    -0.12420140846,
    0.14249322787,
    -0.16668057665,
    0.20000714765,
    -0.24999993993,
    0.33333331174,
)
LOG_64 = (
    0.14798198605116586,
    0.15313837699209373,
    0.1818357216161805,
    0.22222198432149784,
    0.2857142874366239,
    0.3999999999940942,
    0.6666666666666735,
)
EXP_32 = (
    0.001381459878757596,
    0.008368716575205326,
    0.04166838899254799,
    0.1666652113199234,
    0.4999999403953552,
)
POWER_32 = (
    0.0001559467702,
    0.001340664385,
    0.009617692976,
    0.05550310551,
    0.2402265278,
    0.693147215,
    1.0,
)
EXP_SHORT = (
    0.0013836835744798386,
    0.008374824030662809,
    0.04166822618847284,
    0.1666642007244514,
    0.49999992075100985,
    1.0000000363446397,
    1.0,
)
EXP_LONG = (
    2.748843242522173e-07,
    2.763978461400876e-06,
    2.480191781217471e-05,
    0.00019841171345220726,
    0.0013888888498912756,
    0.008333333384696242,
    0.04166666666842739,
    0.16666666666557656,
    0.49999999999997286,
    1.0000000000000064,
    1.0,
)

MAGIC_32, MAGIC_64 = 1.5 * 2**23, 1.5 * 2**52  # adding it rounds to an integer
LN_2_32, LN_2_64 = (0.693359375, -2.12194440e-4), (6.93145751953125e-1, 1.42860682030941723212e-6)
ROOT_HALF_32, ROOT_HALF_64 = np.uint32(0x3F3504F3), np.uint64(0x3FE6A09E667F3BCD)
LOG2_E, LN_2 = 1.4426950408889634074, 0.69314718055994530942
GELU_ROOT, GELU_ROOT_REST = 1.5957691216057308, float.fromhex("-0x1.cbc0d30ebfd15p-54")
GELU_CUBIC, GELU_CUBIC_REST = 0.07135481627260025, float.fromhex("-0x1.3023b0e5fbc6ep-58")


def exp(x: Array) -> Array:
    """``e^x``.

    Examples
    --------
    >>> exp(np.array([-np.inf, 0.0, 1.0])).round(4).tolist()
    [0.0, 1.0, 2.7183]
    """
    with np.errstate(all="ignore"):
        first, last = exp_parts(x)
        return first * last


def log(x: Array) -> Array:
    """The natural logarithm.

    Examples
    --------
    >>> log(np.array([0.0, 1.0, 2.0])).round(4).tolist()
    [-inf, 0.0, 0.6931]
    """
    low, scale, power = (
        (np.finfo(np.float32).tiny, 2.0**24, 16.635532333438687)
        if is_single(x)
        else (np.finfo(np.float64).tiny, 2.0**54, 37.429947750237048)
    )
    with np.errstate(all="ignore"):
        tiny = x < low
        value = log_normal(np.where(tiny, x * scale, x), x.dtype.type(0))
        value = value - np.where(tiny, x.dtype.type(power), x.dtype.type(0))
        value = np.where(x - x == 0, value, x)
        return np.where(x > 0, value, np.where(x == 0, x.dtype.type(-np.inf), x.dtype.type(np.nan)))


def log1p(x: Array) -> Array:
    """``log(1 + x)`` for x at least 0.

    Examples
    --------
    >>> log1p(np.array([0.0, 1e-20, 1.0])).tolist()
    [0.0, 1e-20, 0.6931471805599453]
    """
    with np.errstate(all="ignore"):
        u = 1 + x
        lost = np.where(x < 1, x - (u - 1), 1 - (u - x))
        return np.where(x - x == 0, log_normal(u, lost / u), x)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent.

    Examples
    --------
    >>> tanh(np.array([-np.inf, 0.0, 1.0])).round(4).tolist()
    [-1.0, 0.0, 0.7616]
    """
    with np.errstate(all="ignore"):
        size, z = np.abs(x), x * x
        near = (x * z) * polynomial(TANH_32 if is_single(x) else TANH_64, z) + x
        if is_single(x):
            t = np.minimum(size, 20) * 2.8853900817779268  # 2 / ln 2
            n = (t + MAGIC_32) - MAGIC_32
            e = polynomial(POWER_32, t - n) * power_of_2(n)
        else:
            r, n = reduced(np.minimum(size + size, 80))
            e = (1 + rise(r)) * power_of_2(n)
        return np.copysign(np.where(size >= 0.625, 1 - 2 / (e + 1), near), x)


def erf(x: Array) -> Array:
    """The error function.

    Examples
    --------
    >>> erf(np.array([-np.inf, 0.0, 1.0])).round(4).tolist()
    [-1.0, 0.0, 0.8427]
    """
    with np.errstate(all="ignore"):
        size, z = np.abs(x), x * x
        near = x * polynomial(ERF_32 if is_single(x) else ERF_64, z) + x
        a = np.where(size > 8, x.dtype.type(8), size)
        far = 1 - exp(-(a * a)) * mills(a * 1.4142135623730951)
        return np.where(size < 1, near, np.copysign(far, x))


def is_single(x: Any) -> bool:
    """Whether it is float32."""
    return x.dtype == np.float32


def polynomial(coefficients: Any, x: Any) -> Any:
    """By Horner's rule, the highest power first."""
    p = coefficients[0]
    for c in coefficients[1:]:
        p = p * x + c
    return p


def power_of_2(n: Any) -> Any:
    """2 to an integer that is a float, made of its bits."""
    if is_single(n):
        return (((n + MAGIC_32).view(np.uint32) + np.uint32(127)) << 23).view(np.float32)
    return (((n + MAGIC_64).view(np.uint64) + np.uint64(1023)) << np.uint64(52)).view(np.float64)


def scaled(p: Any, n: Any) -> Any:
    """``p 2^n`` as two factors, the second a power of 2."""
    half = np.floor(n * 0.5)
    return p * power_of_2(half), power_of_2(n - half)


def reduced(x: Any) -> Any:
    """Return r and n of ``x = n ln 2 + r``."""
    magic, (c, d) = (MAGIC_32, LN_2_32) if is_single(x) else (MAGIC_64, LN_2_64)
    n = (x * LOG2_E + magic) - magic
    return (x - n * c) - n * d, n


def rise(r: Any) -> Any:
    """``e^r - 1``, r up to half of ln 2 on either side."""
    rr = r * r
    if is_single(r):
        return polynomial(EXP_32, r) * rr + r
    p = r * polynomial(
        (1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1), rr
    )
    q = polynomial(
        (3.00198505138664455042e-6, 2.52448340349684104192e-3, 2.27265548208155028766e-1, 2.0), rr
    )
    return 2 * (p / (q - p))


def exp_parts(x: Any) -> Any:
    """``e^x`` as two factors, the second a power of 2, to be multiplied by last."""
    low, high = (-176, 89) if is_single(x) else (-1418, 710)  # at the lower both factors are 0
    r, n = reduced(np.clip(x, low, high))
    return scaled(1 + rise(r), n)


def log_normal(u: Any, c: Any) -> Any:
    """``log(u) + c`` for positive normal u and small c."""
    if is_single(u):
        bits = u.view(np.uint32) - ROOT_HALF_32
        e = (bits.view(np.int32) >> 23).astype(np.float32)
        f = ((bits & np.uint32(0x7FFFFF)) + ROOT_HALF_32).view(np.float32) - 1
        z = f * f
        rest = ((f * z) * polynomial(LOG_32, f) + (c - e * 2.12194440e-4)) - 0.5 * z
        return e * 0.693359375 + (f + rest)
    bits = u.view(np.uint64) - ROOT_HALF_64
    e = ((bits + np.uint64(0x3FF0000000000000)) >> np.uint64(52)).astype(np.float64) - 1023
    f = ((bits & np.uint64(0xFFFFFFFFFFFFF)) + ROOT_HALF_64).view(np.float64) - 1
    s = f / (2 + f)
    z, half = s * s, 0.5 * f * f
    rest = s * (half + polynomial(LOG_64, z) * z) + (e * 1.90821492927058770002e-10 + c)
    return e * 6.93147180369123816490e-01 - ((half - rest) - f)


def mills(a: Any) -> Any:
    """``2 exp(a^2 / 2) Phi(-a)`` for a at least 0."""
    q = (a - 4) / (a + 4)
    return polynomial(MILLS_32 if is_single(a) else MILLS_64, q) / (1 + a)


def reduced_wide(x: Any) -> Any:
    """Return r and n of ``x = n ln 2 + r``, x a float64, r to a float32's digits and many more."""
    n = (x * LOG2_E + MAGIC_64) - MAGIC_64
    return x - n * LN_2, n


def exp_wide(x: Any, rest: Any, dtype: Any) -> Any:
    """``e^(x + rest)`` as two factors in this dtype, from float64, x at most 0."""
    if dtype == np.float64:
        e, last = exp_parts(x)
        return e + e * rest, last
    r, n = reduced_wide(np.maximum(x, -176.0))
    return scaled(1 + rise(r.astype(np.float32)), n.astype(np.float32))


def exp_wholly(x: Any, coefficients: Any) -> Any:
    """``e^x``, x a float64 from -700 to 700."""
    r, n = reduced_wide(x)
    return polynomial(coefficients, r) * power_of_2(n)


def product_rest(a: Any, b: Any) -> Any:
    """``a b`` less its rounded value (Dekker, 1971)."""
    wide_a, wide_b = 134217729.0 * a, 134217729.0 * b
    a_high, b_high = wide_a - (wide_a - a), wide_b - (wide_b - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - a * b) + (a_high * b_low + a_low * b_high)) + a_low * b_low


def exp_square(x: Any) -> Any:
    """``exp(-x^2 / 2)`` as two factors."""
    wide = x.astype(np.float64)
    return exp_wide(wide * wide * -0.5, product_rest(wide, wide) * -0.5, x.dtype)


def exp_cubic(x: Any) -> Any:
    """``exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))`` as two factors, x a float64."""
    square = x * x
    cubic = GELU_CUBIC * square
    total = GELU_ROOT + cubic
    cubic_rest = product_rest(GELU_CUBIC, square) + (
        GELU_CUBIC * product_rest(x, x) + GELU_CUBIC_REST * square
    )
    part = total - GELU_ROOT
    total_rest = ((GELU_ROOT - (total - part)) + (cubic - part)) + (cubic_rest + GELU_ROOT_REST)
    return exp_wide(-(total * x), -(product_rest(total, x) + total_rest * x), x.dtype)


def gelu(x: Any) -> Any:
    """The logistic function of ``GELU_ROOT x + GELU_CUBIC x^3``, times x."""
    with np.errstate(all="ignore"):
        if is_single(x):
            a = np.clip(x, -14, 14).astype(np.float64)
            e = exp_wholly(a * (-GELU_ROOT - GELU_CUBIC * (a * a)), EXP_SHORT)
            return (np.maximum(x, -14).astype(np.float64) / (1 + e)).astype(np.float32)
        first, last = exp_cubic(np.minimum(np.abs(x), 1024))
        total = 1 + first * last
        return np.where(x >= 0, x / total, np.maximum(x, -1024) * first / total * last)


def gelu_slope(dy: Any, x: Any) -> Any:
    """The derivative of `gelu` times ``dy``."""
    with np.errstate(all="ignore"):
        a = np.clip(x, *((-14, 14) if is_single(x) else (-1024, 1024))).astype(np.float64)
        square, above = a * a, x >= 0
        steep = a * (GELU_ROOT + (3 * GELU_CUBIC) * square)
        if is_single(x):
            e = exp_wholly(a * (-GELU_ROOT - GELU_CUBIC * square), EXP_LONG)
            total = 1 + e
            return ((total + steep * e) / (total * total) * dy).astype(np.float32)
        first, last = exp_cubic(np.abs(a))
        e = first * last
        total = 1 + e
        inner = np.where(above, e, 1.0) * steep
        slope = np.where(above, 1.0, first) * (total + inner) / (total * total)
        return slope * dy * np.where(above, 1.0, last)

"""N-02c: functions of one element and their slopes, and maps of penalties, against exact ones.

Half of a function's points are spread over all exponents, those of subnormal numbers too, and half
over the numbers where it bends. An ulp is the distance of neighbours at the exact value.

mpmath judges float64. A formula of float32 is computed in NumPy's longest floats, with C's error
function of float64, to ten digits more than float32 has: mpmath judges where these leave a doubt.
What needs no function but arithmetic is judged so in float64, too.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from charter import Broken, row
from rows_steps import LONG, like, root, spacing

import fastreg
from fastreg import nn
from fastreg._core import _kernels
from fastreg.nn.links import log_sigmoid

AMOUNT, OTHER = 0.3, 0.07  # of penalties: no float32
C_ERF = {
    "erf": np.frompyfunc(math.erf, 1, 1),
    "erfc": np.frompyfunc(math.erfc, 1, 1),
}


def either(name):
    """A function of mpmath's or NumPy's numbers."""

    def called(x):
        if isinstance(x, mpmath.mpf):
            return getattr(mpmath, name)(x)
        if name in C_ERF:
            return C_ERF[name](x.astype(float)).astype(LONG)
        return getattr(np, name)(x)

    return called


exp, log, log1p, tanh, erf, erfc, sign = map(
    either, ("exp", "log", "log1p", "tanh", "erf", "erfc", "sign")
)


def positive(x):
    return (x + abs(x)) / 2


def logistic(x):
    return 1 / (1 + exp(-x))


def bell(x):
    """The logistic function's slope."""
    e = exp(-abs(x))
    return e / (1 + e) ** 2


def steepness(x):
    """What the gate of GELU's form with tanh is the logistic function of, and its slope."""
    steep = root(like(8 / mpmath.pi, x))
    return steep * (x + 0.044715 * x**3), steep * (1 + 3 * 0.044715 * x**2)


def gate(x):
    return logistic(steepness(x)[0])


def gelu_slope(x):
    inner, slope = steepness(x)
    return logistic(inner) + x * bell(inner) * slope


def normal(x):
    return erfc(-x / root(like(mpmath.mpf(2), x))) / 2


def normal_gelu_slope(x):
    return normal(x) + x * exp(-x * x / 2) / root(like(2 * mpmath.pi, x))


def threshold(x):
    return sign(x) * positive(abs(x) - AMOUNT)


def always(value):
    return lambda x: value + 0 * x


@dataclasses.dataclass(frozen=True)
class Map:
    """A function as it is made and as it is, and the ulps that float32 and float64 may lose.

    From ``-wide`` to ``wide`` it bends; numbers beyond ``far`` give what ``far`` gives, or
    themselves if they are positive and it ``rises``. Where terms cancel, an ulp is that of a term.
    """

    made: Callable[..., Any]
    exact: Callable[..., Any]
    ulps: tuple
    wide: float = 40.0
    far: float = 2000.0
    rises: bool = False
    positive: bool = False
    term: Callable[..., Any] = always(0)
    simple: bool = False  # whether it is nothing but arithmetic


def function(name):
    return lambda x: _kernels.activate("N-02c", name, x)


def slope(layer):
    """The gradient of a layer's input where that of its output is 1."""

    def made(x):
        here = layer()
        here.forward(x)
        return here.backward(np.ones_like(x))

    return made


def exact_gelu():
    return nn.GELU(exact=True)


MAPS = {
    "exp": Map(function("exp"), exp, (2, 2), wide=745),
    "log": Map(function("log"), log, (2, 2), far=np.inf, positive=True),
    "log1p": Map(function("log1p"), log1p, (2, 2), far=np.inf, positive=True),
    "erf": Map(function("erf"), erf, (2, 2), wide=8, far=50),
    "tanh": Map(lambda x: nn.Tanh().forward(x), tanh, (2, 2)),
    "sigmoid": Map(lambda x: nn.Sigmoid().forward(x), logistic, (2, 2), wide=745),
    "log_sigmoid": Map(
        log_sigmoid, lambda x: -positive(-x) - log1p(exp(-abs(x))), (2, 2), wide=745, far=np.inf
    ),
    "GELU": Map(
        lambda x: nn.GELU().forward(x), lambda x: x * gate(x), (1, 4), wide=25, far=100, rises=True
    ),
    "exact GELU": Map(
        lambda x: exact_gelu().forward(x), lambda x: x * normal(x), (6, 6), far=100, rises=True
    ),
    "the slope of tanh": Map(slope(nn.Tanh), lambda x: 4 * bell(2 * x), (5, 5), wide=375),
    "the slope of sigmoid": Map(slope(nn.Sigmoid), bell, (5, 5), wide=745),
    "the slope of GELU": Map(slope(nn.GELU), gelu_slope, (1, 8), wide=25, far=100, term=gate),
    "the slope of exact GELU": Map(
        slope(exact_gelu), normal_gelu_slope, (8, 8), far=100, term=normal
    ),
    "LeakyReLU": Map(
        lambda x: nn.LeakyReLU(AMOUNT).forward(x),
        lambda x: positive(x) - AMOUNT * positive(-x),
        (2, 0.5), far=np.inf, simple=True,
    ),
    "soft_threshold": Map(
        lambda x: fastreg.soft_threshold(x, AMOUNT), threshold,
        (1, 0.5), wide=1, far=np.inf, term=always(AMOUNT), simple=True,
    ),
    "l2_gradient": Map(
        lambda x: fastreg.l2_gradient(x, AMOUNT), lambda x: AMOUNT * x,
        (2, 0.5), far=np.inf, simple=True,
    ),
    "the gradient of an elastic net": Map(
        lambda x: fastreg.ElasticNet(AMOUNT, OTHER).gradient(x),
        lambda x: AMOUNT * sign(x) + OTHER * x,
        (2, 1), far=np.inf, simple=True,
    ),
}  # fmt: skip


def points(rng, dtype, one, n):
    """Numbers of all exponents, and of where a map bends."""
    ends = np.finfo(dtype)
    low = ends.minexp - ends.nmant
    power = (np.arange(n) + rng.integers(ends.maxexp - low)) % (ends.maxexp - low) + low
    x = np.ldexp(rng.uniform(0.5, 1, n) * rng.choice([-1, 1], n), power + 1)
    x[::2] = rng.uniform(-one.wide, one.wide, x[::2].size)
    x = np.clip(x, -ends.max, ends.max).astype(dtype)
    return np.abs(x) + (x == 0) if one.positive else x


def wanted(one, x):
    """The exact value, in the arithmetic of x."""
    if isinstance(x, mpmath.mpf):
        inside = mpmath.mpf(max(-one.far, min(one.far, x)))
        return x if x > one.far and one.rises else one.exact(inside)
    inside = one.exact(np.clip(x, -one.far, one.far))
    return np.where(x > one.far, x, inside) if one.rises else inside


def lost(one, x, got):
    """The ulps that are lost of the exact value, by mpmath."""
    x, ends = mpmath.mpf(float(x)), np.finfo(got.dtype)
    exact = wanted(one, x)
    if abs(exact) > ends.max:
        return 0.0 if abs(got) >= ends.max and (got > 0) == (exact > 0) else np.inf
    term = one.term(mpmath.mpf(max(-one.far, min(one.far, x))))
    size = got.dtype.type(max(abs(exact), term))
    return float(abs(mpmath.mpf(float(got)) - exact) / mpmath.mpf(float(np.spacing(size))))


def in_doubt(one, x, got, ulps):
    """The points that are not seen to be good without mpmath."""
    if x.dtype == np.float64 and not (one.simple and np.finfo(LONG).nmant > 60):
        return range(x.size)
    exact = wanted(one, x.astype(LONG))
    size = np.maximum(np.abs(exact), one.term(np.clip(x.astype(LONG), -one.far, one.far)))
    doubt = size * 16 * np.finfo(LONG).eps if one.simple else size * 2.0**-36
    far = np.abs(got.astype(LONG) - exact)
    return np.flatnonzero(~(far <= ulps * spacing(size, x.dtype) - doubt))


def checked(rng, name, one, dtype, n):
    x, ulps = points(rng, dtype, one, n), one.ulps[dtype == np.float64]
    with np.errstate(all="ignore"):
        found = one.made(x)
        places = in_doubt(one, x, found, ulps)
    for k in places:
        if not lost(one, x[k], found[k]) <= ulps:  # NaN is not
            exact = wanted(one, mpmath.mpf(float(x[k])))
            raise Broken(f"{name} of {x[k]!r} is {found[k]!r}, not {exact}")


def rough_tail(patch):
    """Tails of GELU that are 10⁻¹³ of themselves off."""
    plain = nn.GELU.forward

    def forward(self, X):
        Y = plain(self, X)
        if X.dtype == np.float64:
            np.multiply(Y, 1 + 1e-13, out=Y, where=X < -5)
        return Y

    patch.setattr(nn.GELU, "forward", forward)


def short_strength(patch):
    """A gradient of L2 whose strength was a float32."""
    plain = fastreg.l2_gradient
    patch.setattr(fastreg, "l2_gradient", lambda W, much: plain(W, float(np.float32(much))))


@row(
    "N-02c",
    "exp, log and log1p of positive numbers, erf, tanh, the sigmoid and its logarithm are exact (mpmath) to 2 ulp, GELU to 1 in float32 and 4 in float64, its exact form to 6, slopes of tanh and the sigmoid to 5, those of both GELU to 8 of their largest term's (of one to 1 in float32), LeakyReLU, the soft threshold and the gradients of L2 and of an elastic net to 2, a million points per function and type",
    "points",
    lacks="slopes times gradients other than 1, and products, losses and norms, whose bits are N-01's",
    full=2_000_000 * len(MAPS),
    short=len(MAPS) * 200,
    faults=(rough_tail, short_strength),
)
def exact_functions(n):
    rng, each = np.random.default_rng(), max(1, n // (2 * len(MAPS)))
    with mpmath.workprec(110):
        for name, one in MAPS.items():
            for dtype in (np.float32, np.float64):
                checked(rng, name, one, dtype, each)
    return each * 2 * len(MAPS)

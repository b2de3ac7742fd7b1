"""N-02: first steps of every rule against exact ones.

A formula is computed in NumPy's longest floats. Where their own rounding could change the verdict,
mpmath has the last word, so a verdict is that of 50 digits.

An ulp is the distance of neighbours at a number. A rule of Adam's kind rounds nine times or more
on the way to its step, each time by half an epsilon at most. All of that together could make nine
ulp where the step is just below a power of two, but roundings seldom agree: of 4 million steps of
Adam in float64, 128 lost more than 4 ulp and none 5. So the limits of such rules are 4 ulp for all
but one point in two thousand, and 6 for each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from charter import Broken, row

import fastreg

LONG, TINY = np.longdouble, 1e-8
MU = BETA = 0.9
BETA2 = 0.999
CHUNK = 2_000  # points with one learning rate


def root(x):
    return mpmath.sqrt(x) if isinstance(x, mpmath.mpf) else np.sqrt(x)


def like(constant, x):
    """A number of mpmath's in the arithmetic of x."""
    return constant if isinstance(x, mpmath.mpf) else LONG(mpmath.nstr(constant, 30))


def plain(g, rate):
    return rate * g


def ahead(g, rate):
    """Nesterov's step."""
    return rate * g + MU * (rate * g)


def sign(g, rate):
    return rate * (g / abs(g))


def by_size(epsilon):
    """Gradients by their size and epsilon."""
    return lambda g, rate: rate * g / (abs(g) + epsilon)


def by_root(share, epsilon):
    """Gradients by the root of a share of their square and epsilon."""
    return lambda g, rate: rate * g / root(like(mpmath.mpf(share), g) * g * g + epsilon)


def by_share(share, epsilon, *, again=False):
    """The same with epsilon after the root; the share's root is in the step once more or not."""

    def step(g, rate):
        part = root(like(mpmath.mpf(share), g))
        return (part if again else 1) * rate * g / (part * abs(g) + epsilon)

    return step


def by_both(g, rate):
    """Epsilon inside of the root and after it."""
    return rate * g / (root(g * g + TINY) + TINY)


def adadelta(g, rate):
    return rate * g * root(1e-6 / (like(mpmath.mpf(1 - 0.9), g) * g * g + 1e-6))


def nesterov_adam(share):
    """Adam's step times what g and the mean of it weigh together."""
    return lambda g, rate: like(share(), g) * by_size(TINY)(g, rate)


def nadam_share():
    now, then = (BETA * (1 - mpmath.mpf(0.96) ** (t * mpmath.mpf(0.004)) / 2) for t in (1, 2))
    return 1 + then * (1 - mpmath.mpf(BETA)) / (1 - now * then)


def optax_share():
    beta = mpmath.mpf(BETA)
    return 1 + beta * (1 - beta) / (1 - beta**2)


def norm(x):
    return mpmath.sqrt(mpmath.fsum(x, squared=True))


def lars(w, g):
    ratio = mpmath.mpf(0.001) * norm(map(float, w)) / norm(map(float, g))
    return lambda g, rate: rate * like(ratio, g) * g


def lamb(w, g):
    one = by_size(1e-6)
    ratio = norm(map(float, w)) / norm(one(mpmath.mpf(float(x)), 1) for x in g)
    return lambda g, rate: like(ratio, g) * one(g, rate)


@dataclasses.dataclass(frozen=True)
class First:
    """A rule's first step from zeros, and the ulps that may be lost of it and of the parameter."""

    made: Callable[[float], Any]
    step: Callable[..., Any]
    ulps: int
    of_param: float = 0.5
    decay: float = 0.0
    found: Callable[..., Any] = lambda optimizer, param: param
    whole: bool = False  # whether its step is made for a whole tensor: step(w, g)(g, rate)


def spread(made, **options):
    """A rule with options, of which the learning rate is still open."""
    return lambda rate: made(rate, **options)


centred = (mpmath.mpf(0.9) * (1 - mpmath.mpf(0.9)), TINY)
squared = (1 - 0.9, TINY)
rms, adam = fastreg.RMSprop, fastreg.Adam
outside = {"epsilon": TINY, "beta": 0.9, "compat": "torch"}
RULES = {
    "SGD": First(fastreg.SGD, plain, 2),
    "Momentum": First(fastreg.Momentum, plain, 2),
    "Momentum of Keras": First(spread(fastreg.Momentum, compat="keras"), plain, 2),
    "Nesterov": First(spread(fastreg.Momentum, nesterov=True), ahead, 3),
    "Nesterov of Keras": First(spread(fastreg.Momentum, nesterov=True, compat="keras"), ahead, 4),
    "Lion": First(fastreg.Lion, sign, 2),
    "AdaGrad": First(fastreg.AdaGrad, by_root(1, TINY), 4),
    "AdaGrad of torch": First(
        spread(fastreg.AdaGrad, epsilon=TINY, compat="torch"), by_size(TINY), 4
    ),
    "RMSprop": First(rms, by_root(*squared), 4),
    "RMSprop of torch": First(spread(rms, **outside), by_share(*squared), 6),
    "RMSprop with momentum": First(spread(rms, momentum=MU), by_root(*squared), 6),
    "RMSprop with momentum of Keras": First(
        spread(rms, epsilon=TINY, momentum=MU, compat="keras"), by_root(*squared), 6
    ),
    "centred RMSprop": First(spread(rms, centered=True), by_root(*centred), 6),
    "centred RMSprop of torch": First(
        spread(rms, centered=True, **outside), by_share(*centred), 6
    ),
    "centred RMSprop with momentum": First(
        spread(rms, centered=True, momentum=MU), by_root(*centred), 6
    ),
    "Adadelta": First(fastreg.Adadelta, adadelta, 4),
    "Adam": First(adam, by_size(TINY), 6),
    "Adam of Keras": First(
        spread(adam, epsilon=TINY, compat="keras"), by_share(1 - BETA2, TINY, again=True), 6
    ),
    "AMSGrad": First(spread(adam, amsgrad=True), by_size(TINY), 6),
    "AMSGrad of Optax": First(spread(adam, amsgrad=True, compat="optax"), by_size(TINY), 6),
    "AdamW": First(fastreg.AdamW, by_size(TINY), 6, of_param=2.5, decay=0.01),
    "NAdam": First(fastreg.NAdam, nesterov_adam(nadam_share), 6),
    "NAdam of Optax": First(
        spread(fastreg.NAdam, compat="optax"), nesterov_adam(optax_share), 6
    ),
    "RAdam": First(fastreg.RAdam, plain, 4),
    "Adamax": First(fastreg.Adamax, by_size(TINY), 6),
    "Adamax of Keras": First(
        spread(fastreg.Adamax, epsilon=TINY, compat="keras"), by_size(TINY), 6
    ),
    "Yogi": First(spread(fastreg.Yogi, initial_accumulator=0.0), by_size(1e-3), 6),
    "Adan": First(fastreg.Adan, by_size(TINY), 6),
    "Adan of Optax": First(spread(fastreg.Adan, compat="optax"), by_both, 6),
    "z of ScheduleFreeAdamW": First(
        fastreg.ScheduleFreeAdamW, by_size(TINY), 6, found=lambda optimizer, _: optimizer.z["w"]
    ),
    "ScheduleFreeAdamW": First(fastreg.ScheduleFreeAdamW, by_size(TINY), 6, of_param=3.0),
    "LARS": First(fastreg.LARS, lars, 6, whole=True),
    "LAMB": First(fastreg.LAMB, lamb, 6, whole=True),
}  # fmt: skip
TYPES = (np.float32, np.float64)
PROMISE = (
    "a first step of every rule, in each library's form that has a formula of its own, is exact "
    "(mpmath) to ½ ulp of the parameter, or 2½ to 3 where the rule multiplies the parameter, and "
    "to ulps of the step: 2 for SGD, Momentum and Lion, 3 or 4 with Nesterov, 4 for AdaGrad, "
    "RMSprop, Adadelta and RAdam, 6 for LARS and LAMB, whose one factor is a whole tensor's, and "
    "for all others 6, and 4 for all but one point in 2,000"
)


def numbers(rng, dtype, low, high, n):
    """Numbers of both signs, as many of each exponent from low to high."""
    power = (np.arange(n) + rng.integers(high - low)) % (high - low) + low
    size = np.minimum(np.ldexp(rng.uniform(1, 2, n).astype(dtype), power), np.finfo(dtype).max)
    return size * rng.choice([-1, 1], n).astype(dtype)


def points(rng, dtype, n, middle):
    """Parameters and gradients: of all exponents but the lowest, or of the middle ones.

    Below, a rule's m has lost digits. Of four parameters, one is 0, one is about 1, and two are of
    any size that leaves room for a step.
    """
    low, high = np.finfo(dtype).minexp + 8, np.finfo(dtype).maxexp
    if middle:
        low, high = low // 4, high // 4
    g = rng.permutation(numbers(rng, dtype, low, high, n))
    w = numbers(rng, dtype, low, high - 2, n)
    w[::4] = 0
    w[1::4] = numbers(rng, dtype, -10, 10, w[1::4].size)
    return w, g


def taken(rule, rate, w, g):
    optimizer, params = rule.made(rate), {"w": w.copy()}
    with np.errstate(all="ignore"):
        optimizer.update(params, {"w": g})
    return rule.found(optimizer, params["w"])


def spacing(x, dtype):
    """The ulp of each number that is x rounded, in long floats."""
    return np.spacing(np.abs(x).astype(dtype)).astype(LONG)


def limits(rule, w, exact, move, got):
    """What a parameter's ulps and an ulp of its step are."""
    dtype = w.dtype.type
    size = np.maximum(np.abs(got), np.abs(exact).astype(dtype))
    if rule.of_param > 0.5:
        size = np.maximum(size, np.abs(w))
    return rule.of_param * spacing(size, dtype), spacing(move, dtype)


def judged(name, rule, rate, step, w, g, got):
    """How many of the points lose more than 4 ulp of the step; none may lose more than allowed."""
    long_w, move = w.astype(LONG), step(g.astype(LONG), rate)
    exact = long_w * (1 - LONG(rate) * rule.decay) - move
    far = np.abs(got.astype(LONG) - exact)
    of_param, ulp = limits(rule, w, exact, move, got)
    doubt = 16 * np.finfo(LONG).eps * (np.abs(long_w) + np.abs(move) + np.abs(exact))
    over = far - of_param - rule.ulps * ulp
    for k in np.flatnonzero(~(over <= -doubt)):  # and what is NaN
        x, slope = mpmath.mpf(float(w[k])), mpmath.mpf(float(g[k]))
        wanted = x * (1 - mpmath.mpf(rate) * rule.decay) - step(slope, rate)
        allowed = mpmath.mpf(float(of_param[k])) + rule.ulps * mpmath.mpf(float(ulp[k]))
        if not abs(mpmath.mpf(float(got[k])) - wanted) <= allowed:
            raise Broken(f"{name} at {rate}: {w[k]!r} less {g[k]!r} is {got[k]!r}, not {wanted}")
    return int((far > of_param + 4 * ulp).sum())


def drawn(rng, rule, dtype, rate, n):
    """Points, and a rule's step; one parameter of four is of its step's size."""
    w, g = points(rng, dtype, n, rule.whole)
    if rule.whole:
        return w, g, rule.step(w, g)
    share, quarter = numbers(rng, LONG, -12, 0, w[3::4].size), LONG(np.finfo(dtype).max) / 4
    near = rule.step(g[3::4].astype(LONG), rate) * share
    w[3::4] = np.clip(near, -quarter, quarter)
    return w, g, rule.step


def checked(rng, name, rule, dtype, n):
    """n points of one rule, with many learning rates."""
    beyond = 0
    for begin in range(0, n, CHUNK):
        rate = float(10 ** rng.uniform(-4, -0.5))
        w, g, step = drawn(rng, rule, dtype, rate, min(CHUNK, n - begin))
        beyond += judged(name, rule, rate, step, w, g, taken(rule, rate, w, g))
    if beyond > 2 + n // 2_000 and not rule.whole:
        raise Broken(f"{name}: {beyond} of {n} lose more than 4 ulp of the step")


def two_ulps_more(patch):
    """Updates that round their parameters upwards, twice."""
    plain = fastreg.SGD.update

    def update(self, params, grads):
        plain(self, params, grads)
        params["w"][...] = np.nextafter(np.nextafter(params["w"], np.inf), np.inf)

    patch.setattr(fastreg.SGD, "update", update)


def not_numbers(patch):
    """Steps that end in NaN."""
    plain = fastreg.Adam.update

    def update(self, params, grads):
        plain(self, params, grads)
        params["w"][...] = np.nan

    patch.setattr(fastreg.Adam, "update", update)


def another_mean(patch):
    """NAdam, whose momentum schedule is two thousandths off."""
    plain = fastreg.NAdam.__init__
    patch.setattr(
        fastreg.NAdam,
        "__init__",
        lambda self, *given, **options: plain(self, *given, **{"momentum_decay": 0.006, **options}),
    )


@row(
    "N-02",
    PROMISE,
    "points",
    lacks="gradients of the lowest eight exponents, for LARS and LAMB those of the lowest and the highest quarter, options other than these forms' own, limits and penalties of gradients, the steps after the first against exact ones (their bits are N-01's), 16-bit parameters and states of fewer bits",
    full=2_000_000 * len(RULES),
    short=10_000,
    faults=(two_ulps_more, not_numbers, another_mean),
    needs=lambda: "" if np.finfo(LONG).nmant > 60 else "needs floats longer than float64",
)
def exact_steps(n):
    rng, each = np.random.default_rng(), max(4, n // (2 * len(RULES)))
    with mpmath.workdps(50):
        for name, rule in RULES.items():
            for dtype in TYPES:
                checked(rng, name, rule, dtype, each)
    return each * 2 * len(RULES)

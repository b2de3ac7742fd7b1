"""N-02b to N-05 and N-11: numbers against exact arithmetic."""

import functools
from fractions import Fraction

import mpmath
import numpy as np
from charter import Broken, kept_by, row

import fastreg
from fastreg import nn, reference, schedule
from fastreg._core import _kernels


def one_term_lost(patch):
    """Sums without their largest term's last bits."""
    plain = fastreg.l1_regularization_loss

    def loss(weights, strength):
        return np.nextafter(np.nextafter(plain(weights, strength), 0), 0)

    patch.setattr(fastreg, "l1_regularization_loss", loss)


@row(
    "N-02b",
    "sums of L1 and L2 penalties are within 1 ulp of float32 or 2 of float64 of exact ones, over the whole range and with terms far apart",
    "sums",
    full=10_000,
    short=40,
    planted=400,
    faults=(one_term_lost,),
)
def exact_sums(n):
    rng = np.random.default_rng()
    for k in range(n):
        dtype, ulps, widest = ((np.float32, 1, 15), (np.float64, 2, 120))[k % 2]
        spread = rng.uniform(0, widest)
        size = int(10 ** rng.uniform(0, 4))
        w = (rng.choice([-1, 1], size) * 10 ** rng.uniform(-spread, spread, size)).astype(dtype)
        exact = [Fraction(float(x)) for x in w]
        for name, got, want in (
            ("L1", fastreg.l1_regularization_loss([w], 1.0), sum(map(abs, exact))),
            ("L2", fastreg.l2_regularization_loss([w], 1.0), sum(x * x for x in exact) / 2),
        ):
            ulp = Fraction(float(np.spacing(dtype(float(want)))))
            if abs(Fraction(float(got)) - want) > ulps * ulp:
                raise Broken(f"{name} of {size} {dtype.__name__}: {got!r}, not {float(want)!r}")
    return 2 * n


def variance_off(patch):
    """Variances that are ten units in the last place off."""
    plain = _kernels.batch_statistics

    def statistics(X, epsilon):
        found = plain(X, epsilon)
        found[1] *= 1 + 10 * np.finfo(X.dtype).eps
        return found

    patch.setattr(_kernels, "batch_statistics", statistics)


kept_by(
    "N-03",
    "means and variances against exact rationals, with means up to 10⁷ times the spread; none of constant data",
    "tests/norm/test_batch.py::test_statistics_against_exact_rationals",
    "tests/norm/test_batch.py::test_a_large_mean_comes_out_right",
    "tests/norm/test_batch.py::test_constant_columns_have_variance_zero",
    "tests/norm/test_batch_statistics.py::test_running_statistics_follow_the_chapter",
    "tests/norm/test_rows.py::test_statistics_against_exact_rationals",
    "tests/norm/test_rows.py::test_a_large_mean_comes_out_right",
    "tests/norm/test_rows.py::test_constant_rows_have_variance_zero",
    lacks="other data than the tests' own, to which the bounds belong",
    times=1,
    faults=(variance_off,),
    slow=True,
)


def slope_off(patch):
    """Gradients that are 10⁻¹¹ of themselves off."""
    for layer in (fastreg.BatchNorm, fastreg.LayerNorm):
        plain = layer.backward
        patch.setattr(
            layer, "backward", lambda self, dY, plain=plain: plain(self, dY) * (1 + 1e-11)
        )


def normed(x, axis, mean=True):
    """The formula of a normalisation over an object array of mpmath's numbers."""
    n = x.shape[axis]
    centred = x - x.sum(axis=axis, keepdims=True) / n if mean else x
    square = (centred * centred).sum(axis=axis, keepdims=True) / n
    return centred / np.vectorize(mpmath.sqrt, otypes=[object])(square + mpmath.mpf(1e-5))


def cross_entropy(x, labels):
    e = np.vectorize(mpmath.exp, otypes=[object])(x)
    p = e / e.sum(axis=1, keepdims=True)
    return -sum(mpmath.log(p[i, k]) for i, k in enumerate(labels)) / len(x)


def slopes(loss, x):
    """Central differences of a function of an array, in 50 digits."""
    step = mpmath.mpf(10) ** -20
    exact = np.vectorize(lambda v: mpmath.mpf(float(v)), otypes=[object])(x)
    found = np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        ends = []
        for sign in (1, -1):
            moved = exact.copy()
            moved[place] += sign * step
            ends.append(loss(moved))
        found[place] = float((ends[0] - ends[1]) / (2 * step))
    return found


@row(
    "N-04",
    "gradients of BatchNorm, LayerNorm, RMSNorm and softmax cross-entropy are those of 50-digit differences, to 10⁻¹² of the largest of them and of the terms that they are sums of",
    "shapes",
    full=2_000,
    short=8,
    faults=(slope_off,),
)
def exact_slopes(n):
    rng = np.random.default_rng()
    for k in range(n):
        rows, cols = rng.integers(2, 6, 2)
        x, dy = rng.standard_normal((2, rows, cols)) * 10 ** rng.uniform(-1, 1)
        with mpmath.workdps(50):
            if k % 4 == 3:
                labels = rng.integers(0, cols, rows)
                got = nn.softmax_cross_entropy(x, labels)[1]
                loss = functools.partial(cross_entropy, labels=labels)
            else:
                make, axis, mean = (
                    (fastreg.BatchNorm, 0, True),
                    (fastreg.LayerNorm, 1, True),
                    (fastreg.RMSNorm, 1, False),
                )[k % 4]
                layer = make(int(cols), epsilon=1e-5)
                layer.forward(x)
                got = layer.backward(dy)

                def loss(v, axis=axis, mean=mean, dy=dy):
                    return (normed(v, axis, mean) * dy).sum()

            want = slopes(loss, x)
        far, size = np.abs(got - want).max(), np.abs(want).max()
        if k % 4 < 3:  # terms of this size may cancel
            square = (x * x).mean(axis=1) if k % 4 == 2 else x.var(axis=axis)
            size = max(size, np.abs(dy).max() / np.sqrt(square.min() + 1e-5))
        if not far <= 1e-12 * size:
            raise Broken(f"kind {k % 4}, {x.shape}: {far} of {size}")
    return n


def one_step_late(patch):
    """Schedules that are a step behind."""
    plain = schedule.cosine._at
    patch.setattr(schedule.cosine, "_at", lambda self, t: plain(self, np.maximum(t - 1, 0)))


@row(
    "N-11",
    "schedules at any step of a million are within 2 ulp of the start of their closed forms (mpmath)",
    "values",
    lacks="one ulp of the value itself: the limit is two of the start's",
    full=1_000_000,
    short=2_000,
    faults=(one_step_late,),
)
def exact_schedules(n):
    rng, last = np.random.default_rng(), 10**6
    with mpmath.workdps(40):
        start, end = mpmath.mpf(0.3), mpmath.mpf(0.1)
        rate = mpmath.mpf(0.99999)
        forms = [
            (
                schedule.cosine(0.3, last, 0.1),
                lambda t: end + (start - end) * (1 + mpmath.cos(mpmath.pi * t / last)) / 2,
            ),
            (schedule.linear(0.3, 0.1, last), lambda t: start + (end - start) * t / last),
            (
                schedule.polynomial(0.3, 0.1, last, power=2.0),
                lambda t: end + (start - end) * (1 - mpmath.mpf(t) / last) ** 2,
            ),
            (schedule.exponential(0.3, 0.99999), lambda t: start * rate**t),
            (schedule.step(0.3, 0.99999, 1), lambda t: start * rate**t),
            (schedule.inverse_time(0.3, 3.0, decay_steps=last), lambda t: start / (1 + 3 * mpmath.mpf(t) / last)),
        ]  # fmt: skip
        for now in rng.integers(0, last, -(-n // len(forms))).tolist():
            for made, formula in forms:
                if not abs(made(now) - formula(now)) <= 2 * np.spacing(0.3):
                    raise Broken(f"{made} at {now}: {made(now)!r}, not {formula(now)}")
    return -(-n // len(forms)) * len(forms)


def one_range_off(patch):
    """A threshold that is an ulp off in a hundredth of an octave."""
    plain = fastreg.soft_threshold

    def threshold(x, amount):
        return np.where((x > 1) & (x < 1.02), np.nextafter(plain(x, amount), x), plain(x, amount))

    patch.setattr(fastreg, "soft_threshold", threshold)


def stepped(rule):
    """What a rule's first step makes of zeros."""

    def step(x):
        params = {"w": np.zeros_like(x)}
        rule().update(params, {"w": x})
        return params["w"]

    return step


MAPS = {
    "a clipped gradient": (
        stepped(lambda: fastreg.SGD(1.0, clip_value=0.25)),
        stepped(lambda: reference.SGD(1.0, clip_value=0.25)),
    ),
    "1/√(v + ε)": (
        stepped(lambda: fastreg.AdaGrad(0.01)),
        stepped(lambda: reference.AdaGrad(0.01)),
    ),
    "Dropout's scale": (
        lambda x: _kernels.dropout("N-05", "x", x, None, 1, 0, 1 << 32, 1 / 0.7),
        lambda x: x * np.float32(1 / 0.7),
    ),
    "soft_threshold": (
        lambda x: fastreg.soft_threshold(x, 0.25),
        lambda x: reference.soft_threshold(x, 0.25),
    ),
    "ReLU": (lambda x: nn.ReLU().forward(x), lambda x: np.where(x <= 0, np.float32(0), x)),
    "LeakyReLU": (
        lambda x: nn.LeakyReLU(0.25).forward(x),
        lambda x: np.where(x > 0, x, x * np.float32(0.25)),
    ),
    "l1_gradient": (
        lambda x: fastreg.l1_gradient(x, 0.25),
        lambda x: np.sign(x) * np.float32(0.25),
    ),
}


@row(
    "N-05",
    "soft threshold, ReLU, LeakyReLU, the gradient of L1, a clipped gradient, what Dropout keeps and the first step of AdaGrad, with its 1/√(v + ε), have the bits of their formulas in NumPy for all 2³² float32, or as many spread over them",
    "inputs per map, 7 maps",
    full=1 << 32,
    short=1 << 16,
    faults=(one_range_off,),
)
def all_float32(n):
    spread, chunk = 2_654_435_761, 1 << 22  # odd: a permutation of all, any part of it spread
    for begin in range(0, n, chunk):
        bits = np.arange(begin, min(begin + chunk, n), dtype=np.uint64) * spread
        x = (bits & 0xFFFFFFFF).astype(np.uint32).view(np.float32)
        for name, (made, formula) in MAPS.items():
            with np.errstate(all="ignore"):
                got, want = made(x), formula(x).astype(np.float32)
            same = (got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))
            if not same.all():
                k = int(np.argmin(same))
                raise Broken(f"{name} of {x[k]!r} is {got[k]!r}, not {want[k]!r}")
    return n

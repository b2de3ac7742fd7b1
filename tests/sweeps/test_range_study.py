"""Schedules to their last steps, and what is worked out of losses and predictions, at any size."""

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from ranges import close, exact

import fastreg
from fastreg import schedule

SCALES = [10.0**k for k in (*range(-300, 301, 50), 307)]
LAST = 2**53
TOTALS = [1, 7, 1000, 10**6, 10**9, LAST - 1]


def arc(t, total):
    return (1 + mpmath.cos(mpmath.pi * mpf(t) / mpf(total))) / 2


def steps_of(total):
    """Both ends, their neighbours and some between."""
    around = (0, 1, 2, total // 3, total // 2, total - 2, total - 1, total, total + 1, 2 * total)
    return sorted({t for t in around if 0 <= t <= LAST})


def between(start, end, weight):
    return mpf(start) * weight + mpf(end) * (1 - weight)


def one_cycle(t, peak, total):
    low, rise = mpf(peak) / 25, mpf(0.25) * total
    if t < rise:
        return between(low, peak, arc(t, rise))
    return between(peak, low / 10000, arc(min(t, total) - rise, total - rise))


#: Family: (with a scale and a number of steps, its formula).
FORMULAS = {
    "constant": (lambda v, n: schedule.constant(v), lambda t, v, n: mpf(v)),
    "step": (
        lambda v, n: schedule.step(v, 0.5, -(-n // 900)),
        lambda t, v, n: mpf(v) * mpf(0.5) ** (t // -(-n // 900)),
    ),
    "multi_step": (
        lambda v, n: schedule.multi_step(v, [n], 0.125),
        lambda t, v, n: mpf(v) / (8 if t >= n else 1),
    ),
    "exponential": (
        lambda v, n: schedule.exponential(v, 0.125, decay_steps=n),
        lambda t, v, n: mpf(v) * mpf(0.125) ** (mpf(t) / n),
    ),
    "inverse_time": (
        lambda v, n: schedule.inverse_time(v, 1e308, decay_steps=1),
        lambda t, v, n: mpf(v) / (1 + mpf(1e308) * t),
    ),
    "polynomial": (
        lambda v, n: schedule.polynomial(v, v / 8, n, power=2.5),
        lambda t, v, n: between(v, v / 8, (1 - mpf(min(t, n)) / n) ** mpf(2.5)),
    ),
    "linear": (
        lambda v, n: schedule.linear(v, 0.0, n),
        lambda t, v, n: mpf(v) * (1 - mpf(min(t, n)) / n),
    ),
    "cosine": (
        lambda v, n: schedule.cosine(v, n),
        lambda t, v, n: mpf(v) * arc(min(t, n), n),
    ),
    "warm_restarts": (
        lambda v, n: schedule.warm_restarts(v, n, peak_factor=0.25),
        lambda t, v, n: mpf(v) * mpf(0.25) ** (t // n) * arc(t % n, n),
    ),
    "one_cycle": (lambda v, n: schedule.one_cycle(v, n, warmup_fraction=0.25), one_cycle),
    "warmup_stable_decay": (
        lambda v, n: schedule.warmup_stable_decay(v, 0, 0, n, decay_power=0.5),
        lambda t, v, n: mpf(v) * (1 - mpmath.sqrt(mpf(min(t, n)) / n)),
    ),
    "join": (
        lambda v, n: schedule.join([schedule.constant(v), schedule.linear(v, 0.0, n)], [1]),
        lambda t, v, n: mpf(v) * (1 - mpf(min(max(t - 1, 0), n)) / n),
    ),
    "warmup": (
        lambda v, n: schedule.warmup(schedule.constant(v), n),
        lambda t, v, n: mpf(v) * min(mpf(t + 1) / n, 1),
    ),
    "cosine_annealing": (
        lambda v, n: lambda t: fastreg.cosine_annealing(t, n, v, 0.0),
        lambda t, v, n: mpf(v) * arc(t, n),
    ),
    "step_decay": (
        lambda v, n: lambda t: fastreg.step_decay(t, v, 0.5, -(-n // 900)),
        lambda t, v, n: mpf(v) * mpf(0.5) ** (t // -(-n // 900)),
    ),
    "warmup_schedule": (
        lambda v, n: lambda t: fastreg.warmup_schedule(t, n, v),
        lambda t, v, n: mpf(v) * min(mpf(t + 1) / n, 1),
    ),
    "warmup_cosine": (
        lambda v, n: lambda t: fastreg.warmup_cosine(t, n + 1, 1, v, 0.0),
        lambda t, v, n: mpf(v) * (1 if t < 1 else arc(t - 1, n)),
    ),
}


@pytest.mark.parametrize("value", SCALES)
@pytest.mark.parametrize("name", FORMULAS)
def test_schedules(name, value):
    make, formula = FORMULAS[name]
    for total in TOTALS:
        found = make(value, total)
        for t in steps_of(total):
            close(found(t), formula(t, value, total), np.float64, 2**13)  # the literal 1 + cos


def test_a_cosine_keeps_its_period_however_late():
    for t in (10**9 + 1, 10**12 + 7, LAST - 1):
        close(fastreg.cosine_annealing(t, 10, 1.0, 0.0), arc(t, 10), np.float64, 2**13)


def test_every_schedule_is_swept():
    names = {name for name in schedule.__all__ if callable(getattr(schedule, name))}
    chapter = {"cosine_annealing", "step_decay", "warmup_cosine", "warmup_schedule"}
    assert set(FORMULAS) == names | chapter


# Losses and predictions -------------------------------------------------------------------------


class Drawn:
    """A model whose predictions are the mean of its targets."""

    def fit(self, X, y):
        self.mean = 0.5 * y.max() + 0.5 * y.min()

    def predict(self, X):
        return np.full(len(X), self.mean)


@pytest.mark.parametrize("scale", [1e-160, 1e-150, 1e-100, 1e-50, 1.0, 1e50, 1e100, 1e150])
def test_bias_variance(scale):
    power = 2.0 ** round(np.log2(scale))
    y = np.array([0.5, -1.0, 2.0, 1.25, 0.75, -1.5])
    X, truth = np.arange(6.0)[:, None], y + 0.25

    def parts(unit):
        with np.errstate(all="raise"):
            return fastreg.bias_variance(
                Drawn, X, y * unit, X, y * unit, truth=truth * unit, rounds=9, rng=0, progress=False
            )

    plain, found = parts(1.0), parts(power)
    for name in ("bias2", "variance", "noise", "total", "bias2_se", "variance_se", "total_se"):
        close(getattr(found, name), mpf(getattr(plain, name)) * mpf(power) ** 2, np.float64, 1)


def test_the_bias_of_huge_predictions_that_are_right_is_0():
    y = np.full(4, 1.5e308)
    parts = fastreg.bias_variance(
        Drawn, np.ones((4, 1)), y, np.ones((4, 1)), y, truth=y, rounds=3, rng=0, progress=False
    )
    assert (parts.bias2, parts.variance, parts.noise, parts.total) == (0.0, 0.0, 0.0, 0.0)


CURVES = {
    "good fit": ([1.0, 0.5, 0.1, 0.05], [1.0, 0.6, 0.11, 0.06]),
    "underfitting": ([1.0, 0.9, 0.8, 0.75], [1.0, 0.95, 0.9, 0.9]),
    "overfitting": ([1.0, 0.5, 0.1, 0.01], [1.0, 0.6, 0.7, 0.9]),
    "diverging": ([1.0, 0.5, 2.0, 8.0], [1.0, 0.6, 2.0, 8.0]),
}


@pytest.mark.parametrize("scale", [*SCALES, 2e307])
@pytest.mark.parametrize("kind", CURVES)
def test_diagnose(kind, scale):
    train, val = (np.array(curve) * scale for curve in CURVES[kind])
    with np.errstate(all="raise"):
        found = fastreg.diagnose(train, val, window=2)
    assert found.verdict == kind
    wide, other = exact(train), exact(val)
    means = [[(c[i] + c[i + 1]) / 2 for i in range(3)] for c in (wide, other)]
    for name, curve in zip(("train", "val"), means, strict=True):
        close(found.evidence[f"{name}_error"], curve[-1], np.float64)
        close(found.evidence[f"{name}_rise"], curve[-1] - min(curve), np.float64, slack=curve[-1])
    close(found.evidence["gap"], means[1][-1] - means[0][-1], np.float64, slack=means[1][-1])


@pytest.mark.parametrize("scale", SCALES[:-1])
@pytest.mark.parametrize("which", ["train", "val", "both"])
def test_an_error_that_explodes_is_no_overfitting(which, scale):
    falls, explodes = np.array([1.0, 0.5, 0.2, 0.1]), np.array([1.0, 0.5, 1e3, 1e4])
    train = falls if which == "val" else explodes
    val = falls if which == "train" else explodes
    found = fastreg.diagnose(train * scale, val * scale)
    assert found.verdict == "diverging"
    assert "divide learning_rate" in found.suggestion

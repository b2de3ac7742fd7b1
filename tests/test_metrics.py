"""Metrics against scikit-learn's, and against their definitions by hand."""

import itertools
import math
import warnings

import numpy as np
import pytest

from fastreg import metrics
from fastreg.metrics import Metric

SEEDS = range(25)


@pytest.fixture
def theirs():
    return pytest.importorskip("sklearn.metrics")


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn's, about classes that do not occur
        yield


class Case:
    """Few rows with many ties, rare classes, and weights, some of them 0."""

    def __init__(self, seed, classes=None):
        rng = np.random.default_rng(seed)
        self.n, self.k = int(rng.integers(2, 40)), classes or int(rng.integers(2, 6))
        self.w = None if seed % 2 else rng.integers(0, 4, self.n).astype(float)
        if self.w is not None:
            self.w[0] = 1.0
        self.y, self.found = rng.integers(0, self.k, (2, self.n))
        p = rng.integers(1, 6, (self.n, self.k)) / 5
        self.p = p / p.sum(axis=1, keepdims=True)
        self.labels, self.said = rng.integers(0, 2, (2, self.n, 3))
        self.several = rng.integers(0, 6, (self.n, 3)) / 5
        self.numbers, self.answers = rng.normal(size=(2, self.n, 2))
        if seed % 5 == 0:
            self.numbers[:, 0] = 1.0
        if seed % 10 == 0:
            self.answers[:, 0] = 1.0


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_are_judged_as_scikit_learn_does(seed, theirs):
    c = Case(seed)
    weights = {"sample_weight": c.w}
    same(metrics.accuracy(c.y, c.found, **weights), theirs.accuracy_score(c.y, c.found, **weights))
    same(
        metrics.balanced_accuracy(c.y, c.found, **weights),
        theirs.balanced_accuracy_score(c.y, c.found, **weights),
    )
    macro = {"average": "macro", **weights}
    same(metrics.f1(c.y, c.found, **macro), theirs.f1_score(c.y, c.found, **macro))
    same(metrics.f1(c.labels, c.said, **weights), theirs.f1_score(c.labels, c.said, **macro))
    two = Case(seed, 2)
    options = {"sample_weight": two.w}
    same(metrics.f1(two.y, two.found, **options), theirs.f1_score(two.y, two.found, **options))


@pytest.mark.parametrize("seed", SEEDS)
def test_areas_are_those_of_scikit_learn(seed, theirs):
    for c in (Case(seed), Case(seed, 2)):
        if c.k == 2:
            ours, score, options = c.p[:, 1], c.p[:, 1], {}
        else:
            ours, score, options = c.p, c.p, {"multi_class": "ovr", "labels": range(c.k)}
        try:
            expected = theirs.roc_auc_score(c.y, score, sample_weight=c.w, **options)
        except ValueError:  # what older versions say of a class that does not occur
            expected = math.nan
        same(metrics.auc(c.y, ours, sample_weight=c.w), expected)
    if c.labels.min(axis=0).max() == 0 and c.labels.max(axis=0).min() == 1:
        expected = theirs.roc_auc_score(c.labels, c.several, sample_weight=c.w)
        if not math.isnan(expected):
            same(metrics.auc(c.labels, c.several, sample_weight=c.w), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", SEEDS)
def test_log_losses_are_those_of_scikit_learn(seed, dtype, theirs):
    rtol = 1e-12 if dtype is np.float64 else 2e-6
    for c in (Case(seed), Case(seed, 2)):
        p = c.p.astype(dtype)
        p[0] = np.arange(c.k) == 0  # certain, and so clipped
        options = {"sample_weight": c.w, "labels": range(c.k)}
        ours = metrics.log_loss(c.y, p, sample_weight=c.w)
        np.testing.assert_allclose(ours, theirs.log_loss(c.y, p, **options), rtol=rtol)
        if c.k == 2:
            ours = metrics.log_loss(c.y, p[:, 1], sample_weight=c.w)
            np.testing.assert_allclose(ours, theirs.log_loss(c.y, p[:, 1], **options), rtol=rtol)


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_are_judged_as_scikit_learn_does(seed, theirs):
    c = Case(seed)
    for y, found in ((c.numbers, c.answers), (c.numbers[:, 0], c.answers[:, 0])):
        same(metrics.r2(y, found, sample_weight=c.w), theirs.r2_score(y, found, sample_weight=c.w))
        same(
            metrics.mae(y, found, sample_weight=c.w),
            theirs.mean_absolute_error(y, found, sample_weight=c.w),
        )


def test_an_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(3)
    y, s, w = rng.integers(0, 2, 30), rng.integers(0, 8, 30), rng.integers(0, 3, 30)
    right = total = 0.0
    for i, j in itertools.product(np.flatnonzero(y == 1), np.flatnonzero(y == 0)):
        right += w[i] * w[j] * (1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0)
        total += w[i] * w[j]
    assert metrics.auc(y, s, sample_weight=w) == pytest.approx(right / total, rel=1e-13)
    assert metrics.auc(y, np.exp(s / 3), sample_weight=w) == metrics.auc(y, s, sample_weight=w)
    assert metrics.auc(y, np.zeros(30)) == 0.5


def test_a_weight_of_two_is_a_row_twice():
    for name in ("accuracy", "balanced_accuracy", "f1", "mae", "r2", "auc", "log_loss"):
        c = Case(4, 3)
        function, y, found = getattr(metrics, name), c.y, c.found
        if name in ("auc", "log_loss"):
            found = c.p
        w = np.arange(c.n) % 3
        rows = np.repeat(np.arange(c.n), w)
        assert function(y, found, sample_weight=w) == pytest.approx(function(y[rows], found[rows]))


def test_what_has_no_value_is_nan():
    assert math.isnan(metrics.auc([1, 1], [0.2, 0.3]))
    assert math.isnan(metrics.auc([0, 1, 1], np.eye(3)))  # a class without a row
    assert math.isnan(metrics.auc([0, 1], [0.2, math.nan]))
    assert math.isnan(metrics.log_loss([0, 1], [0.2, math.nan]))
    assert math.isnan(metrics.r2([1.0], [1.0]))
    assert metrics.f1([0, 0], [0, 0]) == 0.0


def test_labels_per_row_count_by_their_shares():
    y, found = np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]])
    assert metrics.accuracy(y, found) == 0.75
    p = np.array([[0.25, 0.5], [0.5, 0.5]])
    assert metrics.log_loss(y, p) == pytest.approx(-(math.log(0.75) + 3 * math.log(0.5)) / 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy([0.5], [0]), TypeError, "accuracy: y_true must be integers"),
        (lambda: metrics.accuracy([], []), ValueError | TypeError, "accuracy: y_true must"),
        (lambda: metrics.f1([0, 1], [0]), ValueError, r"f1: y_pred must have shape \(2,\)"),
        (lambda: metrics.f1([0, 1], [0, 1], average="x"), ValueError, "f1: average must be one"),
        (lambda: metrics.f1([[0, 2]], [[0, 1]]), ValueError, "f1: y_true of several columns"),
        (lambda: metrics.balanced_accuracy([[0]], [[0]]), ValueError, "one class per row"),
        (lambda: metrics.auc([0, 2], [0.1, 0.2]), ValueError, "auc: y_true must be from 0 to 1"),
        (lambda: metrics.auc([0, 1], np.eye(3)), ValueError, "auc: y_score must have a row per"),
        (lambda: metrics.log_loss([0, 1], [0.5, 1.5]), ValueError, "y_prob must be from 0 to 1"),
        (lambda: metrics.r2(["a"], [1.0]), TypeError, "r2: y_true must be numbers"),
        (lambda: metrics.mae([1.0], [1.0], sample_weight=[-1]), ValueError, "mae: sample_weight"),
        (lambda: Metric(3), TypeError, "Metric: function must be"),
        (lambda: Metric(len, ""), ValueError, "Metric: name must say"),
        (lambda: Metric(lambda y, p: 0), ValueError, "Metric: name must say"),
        (lambda: Metric(len, 3), TypeError, "Metric: name must be a str"),
        (lambda: Metric(len, needs="x"), ValueError, "Metric: needs must be one of"),
        (lambda: Metric(len, mode="up"), ValueError, "Metric: mode must be one of"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    kinds = error.__args__ if hasattr(error, "__args__") else error
    with pytest.raises(kinds, match=message):
        call()


def test_a_metric_is_its_function():
    metric = Metric(metrics.mae, "error", mode="min")
    assert metric([1.0, 2.0], [1.0, 4.0]) == 1.0
    assert metric([1.0, 2.0], [1.0, 4.0], sample_weight=[1, 0]) == 0.0
    assert repr(metric) == "Metric(mae, 'error', needs='labels', mode='min')"

"""Bias-variance splits with known closed forms."""

import io
import math
import sys

import numpy as np
import pytest

from fastreg import bias_variance


class Mean:
    """Predicts the mean of its training targets everywhere."""

    def fit(self, X, y):
        self.value = y.mean(axis=0)

    def predict(self, X):
        return np.full(len(X), self.value)


class Majority(Mean):
    """Predicts the most frequent of its training labels everywhere."""

    def fit(self, X, y):
        labels, counts = np.unique(y, return_counts=True)
        self.value = labels[counts.argmax()]


class Coin(Mean):
    """Predicts 1 with probability 0.3 wherever, from the generator it is given."""

    def __init__(self, rng):
        self.rng = rng

    def predict(self, X):
        return (self.rng.random(len(X)) < 0.3).astype(int)


class Dice(Coin):
    """Predicts 0, 1 or 2 with probabilities 0.6, 0.3 and 0.1."""

    def predict(self, X):
        return self.rng.choice(3, size=len(X), p=[0.6, 0.3, 0.1])


@pytest.fixture
def pool():
    rng = np.random.default_rng(5)
    return np.zeros((40, 1)), rng.normal(3.0, 2.0, 40)


pytest.importorskip("joblib")
pytest.importorskip("tqdm")


def test_squared_loss_has_the_closed_form_of_a_bootstrapped_mean(pool):
    X, y = pool
    y_test = np.array([0.0, 1.0, 5.0])
    parts = bias_variance(Mean, X, y, np.zeros((3, 1)), y_test, rounds=4000, rng=1)
    # E p = mean(y), Var p = var(y) / n: exact for rows drawn with replacement
    assert 0 < parts.variance_se < 0.03 * parts.variance
    assert abs(parts.variance - y.var() / 40) < 4 * parts.variance_se
    assert abs(parts.bias2 - np.mean((y.mean() - y_test) ** 2)) < 4 * parts.bias2_se
    assert abs(parts.total - parts.bias2 - parts.variance) < 1e-12
    assert parts.noise is None
    assert abs(parts.residual) < 1e-12


def test_standard_errors_are_the_scatter_of_the_estimates(pool):
    X, y = pool
    rows = [
        bias_variance(Mean, X, y, X[:1], [0.0], rounds=60, rng=seed, progress=False)
        for seed in range(150)
    ]
    for name in ("bias2", "variance", "total"):
        scatter = np.std([getattr(row, name) for row in rows], ddof=1)
        claimed = np.mean([getattr(row, f"{name}_se") for row in rows])
        assert claimed == pytest.approx(scatter, rel=0.25), name


def test_two_rounds_are_as_unbiased_as_many(pool):
    X, y = pool
    rows = [
        bias_variance(Mean, X, y, X[:1], [y.mean()], rounds=2, rng=seed, progress=False)
        for seed in range(400)
    ]
    for name, expected in (("bias2", 0.0), ("variance", y.var() / 40)):
        values = [getattr(row, name) for row in rows]
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / 20, name


def test_noise_is_split_off_where_the_truth_is_known(pool):
    X, y = pool
    rng = np.random.default_rng(2)
    truth = rng.normal(3.0, 1.0, 2000)
    y_test = truth + rng.normal(0.0, 0.5, 2000)
    options = {"rounds": 200, "truth": truth, "rng": 3, "progress": False}
    parts = bias_variance(Mean, X, y, np.zeros((2000, 1)), y_test, **options)
    assert parts.noise == pytest.approx(np.mean((y_test - truth) ** 2))
    assert abs(parts.noise - 0.25) < 4 * 0.25 * math.sqrt(2 / 2000)
    summed = parts.bias2 + parts.variance + parts.noise + parts.residual
    assert summed == pytest.approx(parts.total, rel=1e-12)
    # the residual is twice the covariance of bias and noise over the test points
    assert abs(parts.residual) < 4 * 2 * 0.5 * math.sqrt(np.mean((truth - y.mean()) ** 2) / 2000)


def test_zero_one_loss_has_the_closed_form_of_a_biased_coin():
    labels = np.array([0] * 6000 + [1] * 2000)
    X = np.zeros((8000, 1))
    options = {"loss": "zero_one", "rounds": 200, "rng": 4, "progress": False, "train_size": 1}
    parts = bias_variance(Coin, X, labels, X, labels, **options)
    # main prediction 0: wrong on a quarter; straying hurts elsewhere and helps there
    assert parts.bias2 == 0.25
    assert abs(parts.variance - (0.75 * 0.3 - 0.25 * 0.3)) < 4 * parts.variance_se
    assert abs(parts.total - (0.75 * 0.3 + 0.25 * 0.7)) < 4 * parts.total_se
    assert abs(parts.residual) < 1e-12

    flipped = np.arange(8000) % 10 == 0
    noisy = np.where(flipped, 1 - labels, labels)
    parts = bias_variance(Coin, X, labels, X, noisy, truth=labels, **options)
    assert parts.bias2 == 0.25
    clean = 0.75 * 0.3 + 0.25 * 0.7
    assert abs(parts.noise - 0.1 * (1 - 2 * clean)) < 4 * parts.total_se
    assert abs(parts.residual) < 1e-12


def test_zero_one_with_three_labels_adds_up_point_by_point():
    X, y = np.zeros((6000, 1)), np.repeat([0, 1, 2], 2000)
    parts = bias_variance(Dice, X, y, X, y, loss="zero_one", rounds=200, rng=0, progress=False)
    # a wrong main prediction is helped only by straying to the right label
    assert parts.bias2 == pytest.approx(2 / 3, abs=1e-3)
    assert abs(parts.variance - (0.4 - 0.3 - 0.1) / 3) < 4 * parts.variance_se + 1e-3
    assert abs(parts.total - 2 / 3) < 4 * parts.total_se
    assert abs(parts.residual) < 1e-12


def test_zero_one_takes_strings_and_finds_the_majority():
    y = np.array(["cat"] * 9 + ["horse"])
    X = np.zeros((10, 1))
    parts = bias_variance(Majority, X, y, X, y, loss="zero_one", rounds=20, rng=0)
    assert parts.bias2 == pytest.approx(0.1)
    assert parts.bias2 + parts.variance == pytest.approx(parts.total, abs=1e-12)


def test_more_training_rows_mean_less_variance(pool):
    X, y = pool
    few, many = (
        bias_variance(Mean, X, y, X, y, rng=0, train_size=n, rounds=400) for n in (10, 160)
    )
    assert few.variance / many.variance == pytest.approx(16, rel=0.3)


def test_the_same_for_any_number_of_jobs_and_governed_by_seeds(pool):
    X, y = pool
    options = {"rounds": 6, "progress": False}
    one, two = (bias_variance(Mean, X, y, X, y, rng=7, n_jobs=n, **options) for n in (1, 2))
    assert one == two
    assert one != bias_variance(Mean, X, y, X, y, rng=8, **options)
    for seed in (np.random.SeedSequence(7), [7, 8]):  # used twice, the same twice
        same = [bias_variance(Mean, X, y, X, y, rng=seed, **options) for _ in range(2)]
        assert same[0] == same[1]
    np.random.seed(42)
    first = bias_variance(Mean, X, y, X, y, **options)
    second = bias_variance(Mean, X, y, X, y, **options)
    np.random.seed(42)
    assert first == bias_variance(Mean, X, y, X, y, **options) != second


def test_the_number_of_jobs_reaches_joblib(pool, monkeypatch):
    import joblib

    X, y = pool
    parallel, asked = joblib.Parallel, []

    def recorded(**options):
        asked.append(options["n_jobs"])
        return parallel(**options | {"n_jobs": 1})

    monkeypatch.setattr(joblib, "Parallel", recorded)
    for n_jobs in (None, 3, -1):
        bias_variance(Mean, X, y, X, y, rounds=2, rng=0, n_jobs=n_jobs)
    assert asked == [None, 3, -1]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "shown"),
    [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)],
)
def test_a_bar_counts_the_rounds_on_a_terminal(pool, monkeypatch, stream, progress, shown):
    X, y = pool
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    bias_variance(Mean, X, y, X, y, rounds=7, rng=0, progress=progress)
    assert ("bias_variance: 100%" in stderr.getvalue()) == shown
    assert ("7/7" in stderr.getvalue()) == shown


def test_one_round_has_no_variance_and_no_standard_error(pool):
    X, y = pool
    parts = bias_variance(Mean, X, y, X, y, rounds=1, rng=0)
    assert parts.variance == 0.0
    assert parts.bias2 == pytest.approx(parts.total)
    assert math.isnan(parts.variance_se)


class Wrong(Mean):
    """Predicts the wrong thing."""

    result = np.zeros((3, 1))

    def predict(self, X):
        return self.result


class NotFinite(Wrong):
    result = np.array([0.0, np.nan, 0.0])


class Words(Wrong):
    result = np.array(["a", "b", "c"])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"make_model": Mean()}, TypeError, "make_model must be a function"),
        ({"rounds": 0}, ValueError, "rounds must be"),
        ({"loss": "hinge"}, ValueError, r"loss must be one of \('squared', 'zero_one'\)"),
        ({"loss": np.array(["squared", "zero_one"])}, TypeError, "loss must be one of"),
        ({"n_jobs": 0}, ValueError, "n_jobs must not be 0"),
        ({"n_jobs": "2"}, TypeError, "n_jobs must be an integer"),
        ({"y_test": [0, 1, np.nan], "loss": "zero_one"}, ValueError, "y_test must be finite"),
        ({"make_model": NotFinite, "loss": "zero_one"}, ValueError, "predictions must be finite"),
        ({"train_size": 0}, ValueError, "train_size must be"),
        ({"progress": 1}, TypeError, "progress must be"),
        ({"y": np.zeros(4)}, ValueError, "X and y must have the same number of rows"),
        ({"X": [], "y": []}, ValueError, "X and y must have the same number of rows"),
        ({"y_test": 1.0}, ValueError, "X_test and y_test must have the same number of rows"),
        ({"truth": np.zeros((3, 1))}, ValueError, "truth must have the shape"),
        ({"make_model": Wrong}, ValueError, "predictions must have the shape"),
        ({"make_model": NotFinite}, ValueError, "predictions must be finite"),
        ({"make_model": Words}, TypeError, "predictions must be numbers"),
        ({"y_test": ["a", "b", "c"]}, TypeError, "y_test must be numbers"),
    ],
)
def test_bias_variance_names_the_bad_argument(change, error, words):
    arguments = {
        "make_model": Mean,
        "X": np.zeros((3, 1)),
        "y": np.zeros(3),
        "X_test": np.zeros((3, 1)),
        "y_test": np.zeros(3),
        "rounds": 2,
        "rng": 0,
    }
    with pytest.raises(error, match=f"^bias_variance: {words}"):
        bias_variance(**{**arguments, **change})


@pytest.mark.parametrize("missing", ["joblib", "tqdm"])
def test_a_missing_extra_is_named_in_one_line(pool, monkeypatch, missing):
    X, y = pool
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"needs {missing}.*pip install 'fastreg\[lab\]'$"):
        bias_variance(Mean, X, y, X, y, rounds=2)

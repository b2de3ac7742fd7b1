"""Verdicts on curves of known kind, and bias-variance splits with known closed forms."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg.diagnose import bias_variance, diagnose

EPOCHS = np.arange(60)


def decay(start, end, speed=0.15):
    return end + (start - end) * np.exp(-speed * EPOCHS)


KINDS = {
    "good fit": [
        (decay(2.3, 0.05), decay(2.3, 0.09)),
        (decay(2.3, 0.20), decay(2.3, 0.15)),  # dropout makes the training loss the larger one
        (0.02, 0.03),
    ],
    "underfitting": [
        (decay(2.3, 1.8), decay(2.3, 1.85)),
        (np.full(60, 2.3), np.full(60, 2.3)),
        (decay(2.3, 1.2), decay(2.3, 2.2)),  # a high training error comes first
        (0.4, 0.42),
    ],
    "overfitting": [
        (decay(2.3, 0.01), decay(2.3, 0.4)),
        (decay(2.3, 0.01), decay(2.3, 0.2, 0.3) + 0.01 * EPOCHS),
        (decay(2.3, 0.3), decay(2.3, 0.05, 0.5) + 0.004 * EPOCHS),  # rising, still below training
        (0.01, 0.2),
    ],
    "diverging": [
        (decay(2.3, 0.1) + 0.05 * EPOCHS, decay(2.3, 0.1) + 0.05 * EPOCHS),
        (2.3 * 1.2**EPOCHS, 2.3 * 1.2**EPOCHS),
        (math.nan, 0.1),
        (0.1, math.inf),
    ],
}
CASES = [(kind, *curves) for kind, rows in KINDS.items() for curves in rows]


@pytest.mark.parametrize(("kind", "train", "val"), CASES)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_curves_of_known_kind(kind, train, val, scale):
    rng = np.random.default_rng(0)
    single = np.ndim(train) == 0
    if not single:
        train, val = (c * (1 + 0.01 * rng.standard_normal(60)) for c in (train, val))
    verdict = diagnose(
        np.multiply(train, scale), np.multiply(val, scale), baseline=scale if single else None
    )
    assert verdict.verdict == kind
    assert verdict.reason
    assert str(verdict) == f"{kind}: {verdict.reason}; {verdict.suggestion}"


@settings(derandomize=True, max_examples=100)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    st.data(),
)
def test_never_a_good_fit_on_nan_and_never_a_crash(train, val, data):
    assert diagnose(train, val).verdict in KINDS
    spoilt = data.draw(st.sampled_from([train, val]))
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(
        st.sampled_from([math.nan, math.inf])
    )
    assert diagnose(train, val).verdict == "diverging"


def test_evidence_and_reason_carry_the_numbers():
    result = diagnose(0.02, 0.30)
    assert result.evidence["train_error"] == 0.02
    assert result.evidence["gap"] == pytest.approx(0.28)
    assert result.evidence["gap_limit"] == 0.03
    assert "0.28" in result.reason
    assert "drop_rate" in result.suggestion
    rising = diagnose([1.0, 0.1, 0.05, 0.01, 0.01], [1.0, 0.2, 0.3, 0.4, 0.5], window=1)
    assert rising.evidence["best_epoch"] == 1
    assert rising.evidence["val_rise"] == pytest.approx(0.3)
    assert "since epoch 1" in rising.reason
    assert "EarlyStopping" in rising.suggestion
    assert diagnose([1.0, 0.5, math.nan], [1.0] * 3).evidence == {"first_nonfinite_epoch": 2}


def test_underfitting_asks_for_epochs_only_while_still_falling():
    falling = np.linspace(2.0, 1.0, 40)
    assert "epochs" in diagnose(falling, falling).suggestion
    assert "drop_rate" in diagnose(np.r_[falling, np.full(20, 1.0)], falling).suggestion


def test_thresholds_are_arguments():
    assert diagnose(0.1, 0.14).verdict == "overfitting"
    assert diagnose(0.1, 0.14, gap_floor=0.05).verdict == "good fit"
    assert diagnose(0.1, 0.14, gap_ratio=0.3).verdict == "good fit"
    assert diagnose(0.1, 0.14, high_error=0.05).verdict == "underfitting"
    assert diagnose(0.1, 0.14, baseline=0.3).verdict == "underfitting"
    bump = [1.0, 0.1, 0.2]
    assert diagnose(bump, bump).verdict == "good fit"
    assert diagnose(bump, bump, divergence=0.05).verdict == "diverging"


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        (([], [0.1]), {}, ValueError, "train must be one number or a curve"),
        ((0.1, [[0.1]]), {}, ValueError, "val must be one number or a curve"),
        ((-0.1, 0.1), {}, ValueError, "train must be errors of at least 0"),
        (("a", 0.1), {}, TypeError, "train must be numbers"),
        ((None, 0.1), {}, TypeError, "train must be numbers"),
        ((True, 0.1), {}, TypeError, "train must be numbers"),
        ((0.1, 0.1), {"baseline": 0.0}, ValueError, "baseline must be"),
        ((0.1, 0.1), {"high_error": math.nan}, ValueError, "high_error must be"),
        ((0.1, 0.1), {"gap_ratio": -1}, ValueError, "gap_ratio must be"),
        ((0.1, 0.1), {"gap_floor": "0"}, TypeError, "gap_floor must be"),
        ((0.1, 0.1), {"divergence": True}, TypeError, "divergence must be"),
        ((0.1, 0.1), {"window": 0}, ValueError, "window must be"),
    ],
)
def test_diagnose_names_the_bad_argument(args, options, error, words):
    with pytest.raises(error, match=f"^diagnose: {words}"):
        diagnose(*args, **options)


# --- bias and variance --------------------------------------------------------------------


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
    np.random.seed(42)
    first = bias_variance(Mean, X, y, X, y, **options)
    second = bias_variance(Mean, X, y, X, y, **options)
    np.random.seed(42)
    assert first == bias_variance(Mean, X, y, X, y, **options) != second


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
        ({"loss": "hinge"}, ValueError, "loss must be 'squared' or 'zero_one'"),
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


def test_importing_loads_no_extra():
    code = (
        "import sys, fastreg.diagnose, fastreg.schedule, fastreg.stopping, fastreg.plateau\n"
        "print(sorted({'joblib', 'tqdm', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Losses and gradients against numerical slopes and against scikit-learn's functions."""

import numpy as np
import pytest
from sklearn.neural_network._base import LOSS_FUNCTIONS

from fastreg.sklearn import MLPClassifier, MLPRegressor
from fastreg.sklearn.lbfgs import Objective
from fastreg.sklearn.losses import log_responses, loss_for, responses
from fastreg.sklearn.rows import Rows
from fastreg.sklearn.training import Part

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
NAMES = {"softmax": "log_loss", "logistic": "binary_log_loss", "identity": "squared_error",
         "exp": "poisson"}  # fmt: skip
theirs_are_weighted = pytest.mark.skipif(
    "poisson" not in LOSS_FUNCTIONS, reason="scikit-learn before 1.7 has no weights in its losses"
)


def targets_of(kind, rng, n, k):
    if kind == "softmax":
        return rng.integers(0, k, n)
    if kind == "logistic":
        return rng.integers(0, 2, (n, k)).astype(float)
    return rng.poisson(2.0, (n, k)).astype(float)


@theirs_are_weighted
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("kind", NAMES)
def test_losses_are_theirs(kind, k, weighted):
    rng = np.random.default_rng(k)
    Z, y = rng.standard_normal((7, k)), targets_of(kind, rng, 7, k)
    weights = rng.uniform(0, 3, 7) if weighted else None
    value, _ = loss_for(kind)(Z.copy(), y, sample_weight=weights)
    theirs = np.eye(k)[y] if kind == "softmax" else y
    if kind == "softmax" and k == 1:
        return  # one class has no loss
    expected = LOSS_FUNCTIONS[NAMES[kind]](theirs, responses(Z.copy(), kind), weights)
    assert value == pytest.approx(expected, rel=1e-12)


@theirs_are_weighted
@pytest.mark.parametrize("kind", ["softmax", "logistic"])
def test_the_largest_loss_is_that_of_eps(kind):
    Z, y = np.array([[500.0, 0.0], [0.0, 1.0]]), np.array([1, 1])
    y = y if kind == "softmax" else np.eye(2)[y]
    theirs = np.eye(2)[y] if kind == "softmax" else y
    for weights in (None, np.array([1.0, 3.0])):
        expected = LOSS_FUNCTIONS[NAMES[kind]](theirs, responses(Z.copy(), kind), weights)
        assert loss_for(kind)(Z, y, sample_weight=weights)[0] == pytest.approx(expected)
    assert loss_for(kind, dtype=np.float32)(Z, y)[0] < loss_for(kind)(Z, y)[0]


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", NAMES)
def test_gradients_are_slopes(kind, activation):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((9, 4)), targets_of(kind, rng, 9, 3 if kind == "softmax" else 1)
    weights = rng.uniform(0.5, 2, 9)
    model = MLPRegressor(
        hidden_layer_sizes=(5,), activation=activation, solver="lbfgs", alpha=0.3, max_iter=1,
        random_state=0,
    )  # fmt: skip
    if kind in ("softmax", "logistic"):
        parameters = {k: v for k, v in model.get_params().items() if k != "loss"}
        model = MLPClassifier(**parameters)
    elif kind == "exp":
        model.set_params(loss="poisson")
    labels = y if kind == "softmax" else y[:, 0]
    model.fit(X, labels)
    data = Part(Rows(X, np.float64), y, weights)
    objective = Objective(model, model._network_of(), loss_for(kind), data)
    at = objective.start()
    slopes = objective(at)[1]
    for i in range(len(at)):
        step = np.zeros(len(at))
        step[i] = 1e-5
        numeric = (objective(at + step)[0] - objective(at - step)[0]) / 2e-5
        assert slopes[i] == pytest.approx(numeric, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("kind", ["softmax", "logistic"])
def test_logarithms_are_finite_and_exact(kind):
    Z = np.array([[800.0, -800.0], [1e-3, 0.0], [-30.0, 40.0]])
    logs = log_responses(Z.copy(), kind)
    assert np.isfinite(logs).all()
    with np.errstate(divide="ignore"):
        plain = np.log(responses(Z.copy(), kind))
    np.testing.assert_allclose(logs[1:], plain[1:], rtol=1e-12, atol=1e-15)
    assert logs.min() == (-1600.0 if kind == "softmax" else -800.0)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0])])
@pytest.mark.parametrize("kind", ["softmax", "logistic"])
def test_the_largest_loss_is_that_of_outputs_at_the_ends_of_the_range(kind, weights, dtype):
    """Of a row that is wrong for certain, and silently; the other row is right for certain."""
    largest, classes = -np.log(np.finfo(dtype).eps), np.array([1, 0])
    for end in (np.finfo(dtype).max, np.inf):
        if kind == "logistic":
            Z, y = np.array([[-end], [-100]], dtype), classes[:, None].astype(dtype)
        else:  # minus infinity alone: a row with plus infinity is NaN
            top = end if np.isfinite(end) else 0.0
            Z, y = np.array([[top, -end], [top, -end]], dtype), classes
        with np.errstate(all="raise"):
            value, gradient = loss_for(kind, dtype=dtype)(Z, y, sample_weight=weights)
        assert value == pytest.approx(largest / (2 if weights is None else 4))
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["softmax", "logistic"])
def test_logarithms_as_far_apart_as_the_dtype_goes_are_silent(kind, dtype):
    largest = np.finfo(dtype).max
    Z = np.array([[largest, -largest], [np.inf, 0.0], [-np.inf, -np.inf]], dtype)
    with np.errstate(all="raise"):
        logs = log_responses(Z, kind)
    assert logs.dtype == dtype
    np.testing.assert_array_equal(logs[0], [0, -np.inf if kind == "softmax" else -largest])


def test_the_poisson_loss_of_large_counts_keeps_its_digits(dtype):
    """A deviance is a small difference of large terms, which are not rounded to float32."""
    rng = np.random.default_rng(5)
    for scale in (1e3, 1e8, 1e30, 1e37):
        targets = (rng.uniform(0.5, 1, (40, 2)) * scale).astype(dtype)
        Z = (np.log(targets) + rng.normal(scale=0.1, size=targets.shape)).astype(dtype)
        y, z = targets.astype(np.longdouble), Z.astype(np.longdouble)
        expected = float((y * (np.log(y) - z) - y + np.exp(z)).sum(axis=1).mean())
        value, gradient = loss_for("exp")(Z, targets)
        assert value == pytest.approx(expected, rel=1e-5)
        assert np.isfinite(gradient).all()

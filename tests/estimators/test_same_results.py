"""With equal settings the results are scikit-learn's: loss curves, weights, predictions, counts."""

import inspect

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification

import fastreg.sklearn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


def binary():
    X, y = digits()
    return X, np.where(y > 4, "large", "small")


def multilabel():
    return make_multilabel_classification(120, 8, random_state=1)


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X * 10, y / 100


def outputs():
    X, y = diabetes()
    return X, np.stack([y, -y, y**2], axis=1)


CLASSES = [digits, binary, multilabel]
NUMBERS = [diabetes, outputs]
SETTINGS = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
    "plain momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "no momentum": {"solver": "sgd", "momentum": 0.0},
    "full momentum": {"solver": "sgd", "momentum": 1.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1},
    "batches of 7": {"batch_size": 7},
    "in order": {"shuffle": False},
    "two layers": {"hidden_layer_sizes": (12, 9), "activation": "tanh"},
    "logistic": {"activation": "logistic"},
    "identity": {"activation": "identity"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2},
    "strong penalty": {"alpha": 1.0},
    "other moments": {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3},
}


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_settings_have_scikit_learn_s_names_and_defaults(name):
    expected = inspect.signature(getattr(theirs, name)).parameters
    got = inspect.signature(getattr(ours, name)).parameters
    assert {k: (p.default, p.kind) for k, p in expected.items()} == {
        k: (got[k].default, got[k].kind) for k in expected
    }


def both(data, settings, **more):
    """Fit both libraries' estimators on the same data."""
    X, y = data()
    kind = "MLPRegressor" if data in NUMBERS else "MLPClassifier"
    how = {"hidden_layer_sizes": (16,), "max_iter": 6, "random_state": 3} | settings | more
    mine = getattr(ours, kind)(dtype="float64", **how).fit(X, y)
    return getattr(theirs, kind)(**how).fit(X, y), mine, X


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("data", CLASSES + NUMBERS)
def test_training_takes_the_same_course(data, settings):
    their, mine, X = both(data, SETTINGS[settings])
    np.testing.assert_allclose(mine.loss_curve_, their.loss_curve_, rtol=1e-10)
    for a, b in zip(mine.coefs_ + mine.intercepts_, their.coefs_ + their.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(mine, name) == getattr(their, name), name
    assert mine.best_loss_ == (their.best_loss_ and pytest.approx(their.best_loss_, rel=1e-10))
    if their.validation_scores_ is None:
        assert mine.validation_scores_ is None and mine.best_validation_score_ is None
    else:
        np.testing.assert_allclose(mine.validation_scores_, their.validation_scores_, atol=1e-10)
    if data in CLASSES:
        np.testing.assert_array_equal(mine.classes_, their.classes_)
        np.testing.assert_array_equal(mine.predict(X), their.predict(X))
        np.testing.assert_allclose(mine.predict_proba(X), their.predict_proba(X), atol=1e-9)
        logs = their.predict_log_proba(X)
        np.testing.assert_allclose(mine.predict_log_proba(X), logs, atol=1e-8)
    else:
        np.testing.assert_allclose(mine.predict(X), their.predict(X), rtol=1e-8, atol=1e-8)

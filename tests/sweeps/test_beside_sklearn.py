"""Every parameter of fastreg.sklearn's estimators, in turn replaced by values of every kind.

What is scikit-learn's is taken and refused as scikit-learn's classes do; what is fastreg's own is
refused by an error that names the parameter. Nothing is trained where one is refused.
"""

import copy
import inspect
import warnings

import numpy as np
import pytest
from bad_values import bad_values

sklearn = pytest.importorskip("sklearn")
from sklearn import neural_network  # noqa: E402

from fastreg.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((30, 3)), RNG.integers(0, 3, 30)
KINDS = (MLPClassifier, MLPRegressor)
PEERS = {cls: getattr(neural_network, cls.__name__) for cls in KINDS}
PARAMETERS = [
    (cls, name) for cls in KINDS for name in inspect.signature(cls).parameters if name != "verbose"
]
#: Where we refuse before training what scikit-learn's classes meet with errors of NumPy's.
RAW = ("hidden_layer_sizes",)


def fitted(cls, name, value):
    """The estimator and what its fit raises."""
    settings = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0} | {name: value}
    estimator = cls(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            estimator.fit(X, Y)
        except Exception as error:
            return estimator, error
    return estimator, None


def usable(name):
    """Values that can be shown; networks, batches and iterations without end are not tried."""
    for label, value in bad_values().items():
        if label in ("nameless", "[nameless]", "10**5000", "generator"):
            continue
        if name in ("schedule", "scoring", "random_state") and callable(value):
            continue  # a function of the user's, whose errors are its own
        if name in ("hidden_layer_sizes", "max_iter") and label in ("2**70",):
            continue
        yield label, value


@pytest.mark.parametrize(("cls", "name"), PARAMETERS)
def test_bad_parameters_are_refused_by_name_before_training(cls, name):
    faults = []
    shared = name in inspect.signature(PEERS[cls]).parameters
    for label, value in usable(name):
        estimator, error = fitted(cls, name, value)
        if error is not None:
            if not isinstance(error, (TypeError, ValueError)):
                faults.append(f"{label}: {error!r}")
            elif name not in str(error):
                faults.append(f"{label} is not named: {error!r}"[:300])
            if hasattr(estimator, "coefs_"):
                faults.append(f"{label}: refused, but something was fitted")
        if not shared or name in RAW:
            continue
        _, told = fitted(PEERS[cls], name, value)
        if (error is None) != (told is None) or error is not None and type(error) is not type(told):
            faults.append(f"{label}: {error!r}, scikit-learn {told!r}"[:400])
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize(
    "value", [("a",), (4.5,), [4, None], [[4]], {4}, {4: 4}, "4", (True,), (np.nan,), 4.0, None]
)
def test_widths_of_layers_are_whole_numbers(cls, value):
    estimator, error = fitted(cls, "hidden_layer_sizes", value)
    assert type(error).__name__ == "InvalidParameterError", error
    assert "hidden_layer_sizes" in str(error) and not hasattr(estimator, "coefs_")
    taken, error = fitted(cls, "hidden_layer_sizes", np.array([4, 3]))
    assert error is None and taken.coefs_[1].shape == (4, 3)


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_bad_data_are_refused_as_scikit_learn_does(cls, method):
    faults = []
    trained = cls(hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    theirs = PEERS[cls](hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained.fit(X, Y), theirs.fit(X, Y)
        before = [coef.copy() for coef in trained.coefs_]
        for label, value in bad_values().items():
            if label == "10**5000":  # NumPy's own OverflowError
                continue
            said = []
            for estimator in (trained, theirs):
                try:
                    arguments = (value,) if method == "predict" else (value, Y)
                    getattr(copy.deepcopy(estimator), method)(*arguments)
                except Exception as error:
                    said.append(type(error))
                else:
                    said.append(None)
            wrong = {TypeError, ValueError}
            if said[0] is not said[1] and not (said[0] in wrong and said[1] is not None):
                faults.append(f"{label}: {said}")
    assert all(map(np.array_equal, before, trained.coefs_))
    assert not faults, "\n".join(faults)

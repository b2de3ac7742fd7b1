"""scikit-learn's own tests of its perceptrons, as installed, with our classes for theirs."""

import importlib.util

import pytest
import sklearn.neural_network

import fastreg.sklearn

SUITE = "sklearn.neural_network.tests.test_mlp"
LEFT_OUT = {
    "test_gradient": "calls _loss_grad_lbfgs; test_gradients.py checks our gradients",
}
CLASSES = ("MLPClassifier", "MLPRegressor")

pytestmark = pytest.mark.filterwarnings("default")


def suite():
    """Their module, read again while our classes go by the names that it imports."""
    spec = importlib.util.find_spec(SUITE)
    if spec is None:
        pytest.skip("scikit-learn was installed without its tests", allow_module_level=True)
    module = importlib.util.module_from_spec(spec)
    theirs = {name: getattr(sklearn.neural_network, name) for name in CLASSES}
    try:
        for name in CLASSES:
            setattr(sklearn.neural_network, name, getattr(fastreg.sklearn, name))
        spec.loader.exec_module(module)
    finally:
        for name in CLASSES:
            setattr(sklearn.neural_network, name, theirs[name])
    return module


THEIRS = {name: thing for name, thing in vars(suite()).items() if name.startswith("test_")}
globals().update({name: thing for name, thing in THEIRS.items() if name not in LEFT_OUT})


def test_the_suite_is_theirs_with_our_classes():
    assert len(THEIRS) > 30
    assert set(LEFT_OUT) <= set(THEIRS)
    function = THEIRS["test_alpha"]
    assert function.__globals__["MLPClassifier"] is fastreg.sklearn.MLPClassifier
    assert sklearn.neural_network.MLPClassifier is not fastreg.sklearn.MLPClassifier

"""Networks made by mlp: gradients, both backends, initial weights, bad arguments."""

import numpy as np
import pytest
from harness import finite_difference

from fastreg import reference
from fastreg.nn import (
    Dense,
    ReLU,
    Sequential,
    mlp,
    softmax_cross_entropy,
)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_every_gradient_of_an_mlp_is_its_finite_difference(activation, backend, norm):
    options = {"norm": norm, "dtype": np.float64, "rng": 3, "backend": backend}
    model = mlp([4, 6, 5, 3], activation=activation, dropout=0.0, **options)
    rng = np.random.default_rng(5)
    X, labels = rng.normal(size=(9, 4)), rng.integers(0, 3, size=9)

    def value():
        return softmax_cross_entropy(model.forward(X), labels)[0]

    dX = model.backward(softmax_cross_entropy(model.forward(X), labels)[1])
    grads = {name: np.array(grad) for name, grad in model.grads.items()}
    for name, array in model.params.items():
        np.testing.assert_allclose(grads[name], finite_difference(value, array), atol=2e-7)
    np.testing.assert_allclose(dX, finite_difference(value, X), atol=2e-7)


def test_both_backends_build_the_same_network():
    options = {"batch_norm": True, "dropout": 0.5, "dtype": np.float64, "rng": 7}
    X, labels = np.random.default_rng(8).normal(size=(40, 5)), np.arange(40) % 3
    ours, theirs = (mlp([5, 16, 8, 3], backend=b, **options) for b in ("fast", "reference"))
    assert list(ours.params) == list(theirs.params)
    assert [type(x).__name__ for x in ours.layers] == [type(x).__name__ for x in theirs.layers]
    for _ in range(3):
        losses = []
        for model, loss in (
            (ours, softmax_cross_entropy),
            (theirs, reference.softmax_cross_entropy),
        ):
            value, gradient = loss(model.forward(X), labels)
            model.backward(gradient)
            losses.append(value)
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
        for name, grad in ours.grads.items():
            np.testing.assert_allclose(grad, theirs.grads[name], rtol=1e-9, atol=1e-12)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_norms_and_rates_stand_where_they_should():
    model = mlp([4, 5, 6, 7, 3], norm="layer", dropout=[0.5, 0, 0.25], input_dropout=0.1, rng=0)
    block = ["Dense", "LayerNorm", "ReLU"]
    wanted = ["Dropout", *block, "Dropout", *block, *block, "Dropout", "Dense"]
    assert kinds(model) == wanted
    drops = [layer for layer in model.layers if type(layer).__name__ == "Dropout"]
    assert [layer.drop_rate for layer in drops] == [0.1, 0.5, 0.25]
    assert kinds(mlp([4, 5, 3], norm="batch")) == kinds(mlp([4, 5, 3], batch_norm=True))
    assert kinds(mlp([4, 3], norm="batch", dropout=[])) == ["Dense"]


def test_masks_of_hidden_layers_do_not_depend_on_other_rates():
    X = np.ones((3, 4), np.float32)

    def keys(**options):
        model = mlp([4, 5, 6, 3], rng=0, **options)
        model.forward(X)
        return [value for name, value in model.state_dict().items() if name.endswith(".key")]

    both = keys(dropout=0.5)
    assert len(set(both)) == 2
    assert keys(dropout=[0.5, 0.0]) == both[:1] and keys(dropout=(0.0, 0.5)) == both[1:]
    assert keys(dropout=np.array([0.5, 0.5]), input_dropout=0.5)[1:] == both


def test_both_backends_have_the_same_masks_and_layer_norms():
    options = {
        "norm": "layer",
        "dropout": [0.5, 0.2],
        "input_dropout": 0.2,
        "dtype": "f8",
        "rng": 7,
    }
    X = np.random.default_rng(8).normal(size=(40, 5))
    ours, theirs = (mlp([5, 16, 8, 3], backend=b, **options) for b in ("fast", "reference"))
    assert kinds(ours) == kinds(theirs)
    for _ in range(2):
        np.testing.assert_allclose(ours.forward(X), theirs.forward(X), rtol=1e-9, atol=1e-12)


def test_weights_do_not_depend_on_dropout_and_batch_norm():
    plain, both = mlp([4, 3, 2], rng=1), mlp([4, 3, 2], rng=1, batch_norm=True, dropout=0.5)
    np.testing.assert_array_equal(plain.params["0.W"], both.params["0.W"])
    np.testing.assert_array_equal(plain.params["2.W"], both.params["4.W"])
    assert "0.b" in plain.params and "0.b" not in both.params


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": [3]}, ValueError, "sizes must name features and outputs"),
        ({"sizes": [3, 0]}, ValueError, "sizes must be at least 1"),
        ({"sizes": [3, 2.5]}, TypeError, "sizes must be an integer"),
        ({"activation": "swish"}, ValueError, "activation must be one of relu, leaky_relu"),
        ({"activation": []}, ValueError, "activation must be one of"),
        ({"backend": "torch"}, ValueError, "backend must be one of fast, reference"),
        ({"batch_norm": 1}, TypeError, "batch_norm must be True or False"),
        ({"dropout": 1.5}, ValueError, "dropout must be a number in"),
        ({"dropout": [0.5, 0.5]}, ValueError, "dropout must be one rate, or one per hidden layer"),
        ({"dropout": []}, ValueError, "of which there are 1, got"),
        ({"dropout": [2.0]}, ValueError, "dropout must be a number in"),
        ({"dropout": "half"}, TypeError, "dropout must be a number in"),
        ({"input_dropout": -0.1}, ValueError, "input_dropout must be a number in"),
        ({"norm": "group"}, ValueError, "norm must be one of batch, layer, got 'group'"),
        ({"norm": True}, ValueError, "norm must be one of batch, layer, got True"),
        (
            {"norm": "layer", "batch_norm": True},
            ValueError,
            "norm must be 'batch' or None with batch_norm=True",
        ),
        ({"init": "zeros"}, ValueError, "init must be one of"),
    ],
)
def test_bad_networks_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        mlp(**{"sizes": [3, 4, 2], **arguments})


def test_the_first_product_is_saved_where_nobody_wants_it():
    for layers in ([Dense(3, 2, rng=0)], [Dense(3, 2, rng=0), ReLU()]):
        model = Sequential(layers)
        X = np.ones((4, 3), np.float32)
        model.forward(X)
        dX = model.backward(np.ones((4, 2), np.float32))
        dW = model.grads["0.W"].copy()
        assert dX.shape == X.shape
        assert model.backward(np.ones((4, 2), np.float32), input_gradient=False) is None
        np.testing.assert_array_equal(model.grads["0.W"], dW)


def test_results_of_two_calls_do_not_share_memory():
    model = mlp([3, 40, 2], rng=0)
    X = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    one = model.forward(X)
    kept = one.copy()
    two = model.forward(2 * X)
    assert not np.shares_memory(one, two)
    np.testing.assert_array_equal(one, kept)

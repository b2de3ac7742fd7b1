"""Predictions: the bits of a forward pass in evaluation mode, of which the layers keep nothing."""

import harness
import numpy as np
import pytest

import fastreg
from fastreg import BatchNorm, Dropout, LayerNorm
from fastreg.nn import Dense, ReLU, Sequential, Tanh, mlp, softmax_cross_entropy
from fastreg.train import Trainer, evaluate

NETWORKS = {
    "plain": lambda dtype: mlp([6, 70, 33, 3], rng=0, dtype=dtype),
    "all": lambda dtype: mlp([6, 70, 33, 3], batch_norm=True, dropout=0.5, rng=0, dtype=dtype),
    "dropout": lambda dtype: mlp([6, 9, 3], dropout=0.5, rng=0, dtype=dtype),
    "other activations": lambda dtype: mlp(
        [6, 9, 3], activation="tanh", batch_norm=True, rng=0, dtype=dtype
    ),
    "blas": lambda dtype: mlp([6, 9, 3], batch_norm=True, products="blas", rng=0, dtype=dtype),
    "norm first": lambda dtype: Sequential([BatchNorm(6), ReLU(), Dense(6, 3, rng=0, dtype=dtype)]),
    "bias and norm": lambda dtype: Sequential(
        [Dense(6, 5, rng=0, dtype=dtype), BatchNorm(5), ReLU(), Dropout(0.5, rng=0)]
    ),
    "untracked": lambda dtype: Sequential(
        [Dense(6, 5, rng=0, dtype=dtype), BatchNorm(5, track_running_stats=False), ReLU()]
    ),
    "others": lambda dtype: Sequential(
        [Dense(6, 5, rng=0, dtype=dtype), LayerNorm(5), Tanh(), Dense(5, 3, rng=0, dtype=dtype)]
    ),
}


def trained(name, dtype):
    """A network whose statistics and weights have moved, in evaluation mode, and data."""
    rng = np.random.default_rng(2)
    model, X = NETWORKS[name](dtype), rng.standard_normal((50, 6)).astype(dtype)
    for _ in range(3):
        Y = model.forward(X)
        model.backward(np.ones_like(Y))
    for array in model.params.values():
        array += 0.1
    model.eval()
    return model, X


@pytest.mark.parametrize("rows", [1, 7, 50])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_has_the_bits_of_evaluation(name, rows, dtype, level):
    model, X = trained(name, dtype)
    before = X.copy()
    for batch in (X[:rows], np.asfortranarray(X[:rows]), np.repeat(X[:rows], 2, axis=1)[:, ::2]):
        wanted = model.forward(batch)
        harness.same_bits(model._infer(batch), wanted)
    harness.same_bits(X, before)


@pytest.mark.parametrize("name", ["plain", "all"])
def test_layers_keep_nothing(name, dtype):
    model, X = trained(name, dtype)
    kept = [dict(vars(layer)) for layer in model.layers]
    model._infer(X[:3])
    for layer, before in zip(model.layers, kept, strict=True):
        assert vars(layer).keys() == before.keys()
        assert all(vars(layer)[key] is value for key, value in before.items())


def test_channels_near_the_ends_of_the_range(dtype):
    model, X = trained("bias and norm", dtype)
    for mean, var in ((0.0, 1e-38), (1e37, 1e30), (0.0, 0.0)):
        model.layers[1].running_mean[0, 1], model.layers[1].running_var[0, 1] = mean, var
        harness.same_bits(model._infer(X), model.forward(X))


def test_a_pass_of_ones_own_is_called():
    """A method given to a layer or a network, and a class that has another."""

    class Louder(Sequential):
        def forward(self, X):
            return 2 * super().forward(X)

    X = np.ones((4, 6), np.float32)
    model = mlp([6, 5, 3], rng=0)
    Y = Trainer(model, fastreg.nn.mse, fastreg.SGD(0.1)).predict(X)
    louder = Louder(model.layers)
    harness.same_bits(Trainer(louder, fastreg.nn.mse, fastreg.SGD(0.1)).predict(X), 2 * Y)
    model.forward = lambda X: Y + 1
    harness.same_bits(Trainer(model, fastreg.nn.mse, fastreg.SGD(0.1)).predict(X), Y + 1)
    del model.forward
    model.layers[0].forward = lambda X: np.zeros((len(X), 5), np.float32)
    harness.same_bits(model._infer(X), np.zeros((4, 3), np.float32))


def test_a_layer_left_in_training_stays_there():
    model, X = trained("all", np.float64)
    model.layers[1].train()
    batches = model.layers[1].batches
    model._infer(X)
    assert model.layers[1].batches == batches + 1


def test_a_refused_input_changes_nothing_and_opens_the_lock():
    model, X = trained("all", np.float64)
    for wrong in (X[:, :5], X.astype(np.float32), [[1.0] * 6]):
        with pytest.raises((TypeError, ValueError)):
            model._infer(wrong)
    harness.same_bits(model._infer(X), model.forward(X))


def test_predict_and_evaluate_use_it(monkeypatch):
    model, X = trained("all", np.float32)
    y = np.arange(50) % 3
    wanted = model.forward(X)
    monkeypatch.setattr(Sequential, "forward", None)
    monkeypatch.setattr(Sequential, "_infer", lambda self, X: self._whole.infer(X))
    trainer = Trainer(model, softmax_cross_entropy, fastreg.SGD(0.1))
    assert trainer.predict(X).tolist() == wanted.argmax(axis=1).tolist()
    assert evaluate(model, softmax_cross_entropy, X, y)[0] == softmax_cross_entropy(wanted, y)[0]

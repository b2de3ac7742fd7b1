"""Dense, ReLU, Sequential and the loss, against finite differences and formulas."""

import itertools
import pickle

import numpy as np
import pytest
from harness import finite_difference
from hypothesis import settings

import fastreg
from fastreg.nn import Dense, ReLU, Sequential, Tanh, softmax_cross_entropy

few = settings(derandomize=True, max_examples=40, deadline=None)
FLOAT = np.float64
BACKENDS = pytest.mark.parametrize("backend", [fastreg, fastreg.reference])


def network(backend, *, drop_rate=0.0):
    rng = np.random.default_rng(3)
    return Sequential(
        [
            Dense(5, 7, rng=rng, dtype=FLOAT),
            backend.BatchNorm(7),
            ReLU(),
            backend.Dropout(drop_rate, rng=4),
            Dense(7, 3, init="glorot", rng=rng, dtype=FLOAT),
        ]
    )


@BACKENDS
def test_every_gradient_of_a_network_is_its_finite_difference(backend):
    model = network(backend)
    rng = np.random.default_rng(5)
    X, labels = rng.normal(size=(9, 5)), rng.integers(0, 3, size=9)

    def value():
        return softmax_cross_entropy(model.forward(X), labels)[0]

    _, dlogits = softmax_cross_entropy(model.forward(X), labels)
    dX = model.backward(dlogits)
    grads = {name: np.array(grad) for name, grad in model.grads.items()}
    assert list(grads) == ["0.W", "0.b", "1.gamma", "1.beta", "4.W", "4.b"]
    for name, array in model.params.items():
        np.testing.assert_allclose(grads[name], finite_difference(value, array), atol=1e-7)
    np.testing.assert_allclose(dX, finite_difference(value, X), atol=1e-7)


@BACKENDS
def test_training_and_evaluation_mode_reach_every_layer(backend):
    model = network(backend, drop_rate=0.9)
    X = np.random.default_rng(6).normal(size=(40, 5))
    assert not np.array_equal(model.forward(X), model.forward(X))  # other masks
    model.eval()
    assert not model.training
    np.testing.assert_array_equal(model.forward(X), model.forward(X))
    alone = np.concatenate([model.forward(row[None]) for row in X])
    np.testing.assert_allclose(alone, model.forward(X), rtol=1e-12, atol=1e-12)
    model.train()
    assert all(layer.training for layer in (model, *model.layers))


@BACKENDS
def test_an_optimizer_changes_the_layers_themselves(backend):
    model = network(backend)
    X, labels = np.random.default_rng(7).normal(size=(8, 5)), np.arange(8) % 3
    before = {name: array.copy() for name, array in model.params.items()}
    model.backward(softmax_cross_entropy(model.forward(X), labels)[1])
    backend.Adam(0.1).update(model.params, model.grads)
    for layer in (0, 1, 4):
        for name, array in vars(model.layers[layer]).items():
            if f"{layer}.{name}" in before:
                assert np.any(array != before[f"{layer}.{name}"]), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dense_and_relu_compute_their_formulas_in_the_dtype_given(dtype):
    rng = np.random.default_rng(8)
    layer = Dense(4, 3, rng=0, dtype=dtype)
    layer.b[:] = rng.normal(size=3)
    X, dY = rng.normal(size=(6, 4)).astype(dtype), rng.normal(size=(6, 3)).astype(dtype)
    tolerance = 20 * np.finfo(dtype).eps
    for ours, formula in (
        (layer.forward(X), np.einsum("ni,io->no", X.astype(FLOAT), layer.W) + layer.b),
        (layer.backward(dY), np.einsum("no,io->ni", dY.astype(FLOAT), layer.W)),
        (layer.dW, np.einsum("ni,no->io", X.astype(FLOAT), dY)),
        (layer.db, dY.astype(FLOAT).sum(axis=0)),
        (ReLU().forward(X), np.where(X > 0, X, 0)),
    ):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, formula, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("init", "std"), [("he", np.sqrt(2 / 300)), ("glorot", np.sqrt(2 / 500)), ("normal", 1.0)]
)
def test_initial_weights_have_the_stated_spread(init, std):
    layer = Dense(300, 200, init=init, init_scale=0.5, rng=1, dtype=FLOAT)
    assert abs(layer.W.mean()) < 5 * 0.5 * std / np.sqrt(layer.W.size)
    assert layer.W.std() == pytest.approx(0.5 * std, rel=0.02)
    assert not layer.b.any()


def test_initial_weights_follow_the_seed_and_not_the_dtype():
    ours = Dense(5, 4, rng=2)
    np.testing.assert_array_equal(ours.W, Dense(5, 4, rng=np.random.default_rng(2)).W)
    np.testing.assert_array_equal(ours.W, Dense(5, 4, rng=2, dtype=FLOAT).W.astype(np.float32))
    assert not np.array_equal(ours.W, Dense(5, 4, rng=3).W)
    np.random.seed(42)
    first, second = Dense(5, 4), Dense(5, 4)
    np.random.seed(42)
    np.testing.assert_array_equal(first.W, Dense(5, 4).W)
    assert not np.array_equal(first.W, second.W)


def logits_with(**changes):
    arguments = {"logits": np.zeros((2, 3)), "labels": np.array([0, 1]), **changes}
    return lambda: softmax_cross_entropy(arguments["logits"], arguments["labels"])


def dense(*args, **kwargs):
    return lambda: Dense(*args, **kwargs)


def without(*methods):
    names = {"forward", "backward", "train", "eval"} - set(methods)
    return type("Layer", (), dict.fromkeys(names, lambda self: None))()


twice = ReLU()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (dense(0, 2), ValueError, "n_in must be at least 1, got 0"),
        (dense(2, 2.0), TypeError, "n_out must be an integer, got 2.0"),
        (dense(2, 2, init="zeros"), ValueError, "init must be one of he, glorot, normal"),
        (dense(2, 2, init=None), ValueError, "init must be one of"),
        (dense(2, 2, init_scale=float("nan")), ValueError, "init_scale"),
        (dense(2, 2, init_scale=-1), ValueError, "init_scale"),
        (dense(2, 2, init_scale="1"), TypeError, "init_scale"),
        (dense(2, 2, dtype=np.float16), TypeError, "dtype must be float32 or float64"),
        (dense(2, 2, dtype=None), TypeError, "dtype must be float32 or float64, got None"),
        (lambda: Dense(2, 2).forward(np.zeros((1, 3))), ValueError, r"\(N, 2\), got \(1, 3\)"),
        (lambda: Dense(2, 2).forward(np.zeros(2)), ValueError, r"got \(2,\)"),
        (lambda: Dense(2, 2).forward(np.zeros((1, 2))), TypeError, "must be float32, got float64"),
        (lambda: Dense(2, 2).backward(np.zeros((1, 2))), RuntimeError, "forward must be called"),
        (lambda: ReLU().backward(np.zeros((1, 2))), RuntimeError, "forward must be called"),
        (lambda: Sequential([]), ValueError, "one or more distinct objects"),
        (lambda: Sequential([twice, twice]), ValueError, "one or more distinct objects"),
        (lambda: Sequential([ReLU(), 3]), TypeError, r"layers\[1\] must have forward"),
        (lambda: Sequential([without("eval")]), TypeError, "without eval"),
        (lambda: Sequential([Dense(2, 2)]).grads, RuntimeError, "backward must be called first"),
        (logits_with(logits=np.zeros((2, 3), int)), TypeError, "float32 or float64, got int64"),
        (logits_with(logits=np.zeros(2)), ValueError, r"\(N, K\), not empty, got \(2,\)"),
        (logits_with(logits=np.zeros((0, 3)), labels=np.array([], int)), ValueError, "not empty"),
        (logits_with(labels=np.array([0.0, 1.0])), TypeError, "labels must be integers"),
        (logits_with(labels=np.array([True, False])), TypeError, "labels must be integers"),
        (logits_with(labels=np.array([0])), ValueError, r"shape \(2,\)"),
        (logits_with(labels=np.array([0, 3])), ValueError, "from 0 to 2, got 3"),
        (logits_with(labels=np.array([-1, 0])), ValueError, "from 0 to 2, got -1"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_keys_number_the_layers():
    sizes = [(3, 4), (4, 5), (5, 2)]
    layers = itertools.chain.from_iterable((Dense(*size, rng=0), ReLU()) for size in sizes)
    model = Sequential(layers)
    assert list(model.params) == ["0.W", "0.b", "2.W", "2.b", "4.W", "4.b"]
    assert all(model.params[f"{i}.W"] is model.layers[i].W for i in (0, 2, 4))


def test_a_network_among_the_layers_stands_for_its_layers():
    inner = Sequential([Dense(4, 3, rng=0), Tanh()])
    model = Sequential([ReLU(), inner, Dense(3, 2, rng=1)])
    assert model.layers[1:3] == inner.layers
    assert list(model.params) == ["1.W", "1.b", "3.W", "3.b"]
    assert (model.n_in, model.n_out) == (4, 2)
    before = inner.layers[0].W.copy()
    model.forward(np.ones((5, 4), np.float32))
    model.backward(np.ones((5, 2), np.float32))
    fastreg.SGD(0.1).update(model.params, model.grads)
    assert (before != inner.layers[0].W).any()
    with pytest.raises(ValueError, match="distinct"):
        Sequential([inner, inner])


def test_a_network_with_a_forward_of_its_own_is_no_layer():
    class Residual(Sequential):
        def forward(self, X):
            return X + super().forward(X)

    residual = Residual([Dense(3, 3, rng=0)])
    with pytest.raises(TypeError, match=r"layers\[1\] must be a layer.*Residual with a forward"):
        Sequential([ReLU(), residual])


def test_a_state_of_another_network_is_refused_with_all_that_differs():
    network = Sequential([Dense(3, 2, rng=0), ReLU(), Dense(2, 1, rng=1)])
    before, state = network.state_dict(), network.state_dict()
    state = {**state, "0.W": np.ones((2, 3)), "0.b": [0.0, 0.0], "9.W": np.ones(1)}
    del state["2.b"]
    with pytest.raises(ValueError, match="Sequential.load_state_dict: state must fit") as refused:
        network.load_state_dict(state)
    for said in (
        "2.b is missing",
        "9.W is not in",
        "0.W is float64 of shape (2, 3)",
        "0.b is list",
    ):
        assert said in str(refused.value)
    for key, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("kind", [Dense, fastreg.BatchNorm])
def test_a_pickle_has_the_names_of_a_layer_and_not_its_gradients(kind):
    layer = Dense(3, 3, rng=0, dtype=np.float64) if kind is Dense else fastreg.BatchNorm(3)
    layer.forward(np.random.default_rng(0).normal(size=(5, 3)))
    layer.backward(np.ones((5, 3)))
    again = pickle.loads(pickle.dumps(layer))
    assert set(vars(again)) == set(vars(layer))
    gradients = {"dW", "db", "dgamma", "dbeta"} & set(vars(layer))
    assert gradients and all(vars(again)[name] is None for name in gradients)

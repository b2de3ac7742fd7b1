"""Whose matrix products a network uses: fastreg's own or NumPy's, as a layer or a block says."""

import copy
import pickle

import harness
import numpy as np
import pytest

import fastreg
from fastreg import nn, reference
from fastreg.checkpoint import CheckpointError
from fastreg.nn import Dense, Sequential, mlp, softmax_cross_entropy
from fastreg.train import Trainer


def whole(dtype):
    """Numbers whose products are exact, in any order of the sums."""
    rng = np.random.default_rng(3)
    return [rng.integers(-8, 9, shape).astype(dtype) for shape in ((33, 70), (70, 20), (33, 20))]


@pytest.fixture
def blas_calls(monkeypatch):
    """How often NumPy is asked for a product, with its shapes."""
    calls, dot = [], np.dot

    def counted(a, b, out=None):
        calls.append((a.shape, b.shape))
        return dot(a, b, out)

    monkeypatch.setattr(np, "dot", counted)
    return calls


def passes(layer, X, dY):
    Y = layer.forward(X)
    return Y, layer.backward(dY), layer.dW


@pytest.mark.parametrize("bias", [True, False])
def test_both_are_the_same_product(dtype, bias, blas_calls):
    X, W, dY = whole(dtype)
    results = []
    for products in ("own", "blas"):
        layer = Dense(70, 20, rng=0, dtype=dtype, bias=bias, products=products)
        layer.W[...] = W
        if bias:
            layer.b[...] = np.arange(20)
        for left in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
            results.append(passes(layer, left, dY))
        assert len(blas_calls) == (0 if products == "own" else 9)
    for found in results[1:]:
        for one, other in zip(found, results[0], strict=True):
            harness.same_bits(one, other)


def test_who_says_it(blas_calls):
    """A layer's own word, else the innermost block's, else fastreg's own."""
    X = np.ones((2, 3), np.float32)
    silent, own, blas = (Dense(3, 3, rng=0, products=one) for one in (None, "own", "blas"))

    def asked(layer):
        blas_calls.clear()
        layer.forward(X)
        return len(blas_calls)

    assert [asked(one) for one in (silent, own, blas)] == [0, 0, 1]
    with fastreg.products("blas"):
        assert [asked(one) for one in (silent, own, blas)] == [1, 0, 1]
        with fastreg.products("own"):
            assert [asked(one) for one in (silent, own, blas)] == [0, 0, 1]
            with fastreg.products(None):
                assert asked(silent) == 0
        assert asked(silent) == 1
        assert fastreg.matmul(X, X.T).tolist() == [[3, 3], [3, 3]]
        assert len(blas_calls) == 1
    assert asked(silent) == 0
    silent.products = "blas"
    assert asked(silent) == 1


def test_a_block_of_products_leaves_the_threads_alone():
    with fastreg.num_threads(3), fastreg.products("blas"):
        assert fastreg.get_num_threads() == 3
        with fastreg.num_threads(2):
            assert fastreg.get_num_threads() == 2
    with fastreg.products("blas"), pytest.raises(ZeroDivisionError), fastreg.products("own"):
        raise ZeroDivisionError
    held = fastreg.products("blas")
    held.__enter__()
    held.__exit__(None, None, None)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_network_uses_them_throughout(batch_norm, blas_calls):
    """All products of a step, fused or not; the results are those of its own to rounding."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((16, 6)), rng.integers(0, 3, 16)
    options = {"batch_norm": batch_norm, "dropout": 0.25, "rng": 0, "dtype": np.float64}
    models = [mlp([6, 5, 4, 3], products=one, **options) for one in ("own", "blas")]
    for model in models:
        value, gradient = softmax_cross_entropy(model.forward(X), y)
        model.backward(gradient)
        assert np.isfinite(value)
    assert len(blas_calls) == 9
    for key, slope in models[0].grads.items():
        np.testing.assert_allclose(models[1].grads[key], slope, rtol=1e-9, atol=1e-12)


def test_sequential_tells_its_dense_layers():
    layers = [Dense(3, 3, rng=0), nn.ReLU(), Dense(3, 2, rng=0, products="own")]
    assert [one.products for one in Sequential(layers).layers[::2]] == [None, "own"]
    assert [one.products for one in Sequential(layers, products="blas").layers[::2]] == ["blas"] * 2
    twins = mlp([3, 2], products="blas", rng=0, backend="reference")
    assert isinstance(twins.layers[0], reference.Dense)


@pytest.mark.parametrize(
    "make",
    [
        lambda products: Dense(2, 2, products=products),
        lambda products: mlp([2, 2], products=products),
        lambda products: Sequential([nn.ReLU()], products=products),
    ],
)
def test_other_names_are_refused(make):
    for wrong, error in (("mkl", ValueError), ("", ValueError), (True, TypeError), (1, TypeError)):
        with pytest.raises(error, match="products must be one of"):
            make(wrong)
        with pytest.raises(error, match="whose must be one of"), fastreg.products(wrong):
            pass


def test_the_setting_is_copied_and_saved(tmp_path, blas_calls):
    model = mlp([3, 4, 2], rng=0, products="blas")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [one.products for one in other.layers[::2]] == ["blas", "blas"]
    X, y = np.ones((4, 3), np.float32), np.zeros(4, int)

    def run(products):
        network = mlp([3, 4, 2], rng=0, products=products)
        return Trainer(network, softmax_cross_entropy, fastreg.SGD(0.1), rng=0)

    first = run("blas")
    first.fit(X, y, epochs=1)
    first.save(tmp_path / "run")
    run("blas").fit(X, y, epochs=2, resume_from=tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"layers\[0\].products was 'blas', not None"):
        run(None).load(tmp_path / "run")

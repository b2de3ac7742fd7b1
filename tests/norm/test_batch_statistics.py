"""Batch norm's running statistics: how they move, what inference makes of them, their state."""

import copy
import pickle

import harness
import numpy as np
import pytest

from fastreg import SGD, BatchNorm, reference
from fastreg.nn import mlp, mse
from fastreg.train import fit


def test_running_statistics_follow_the_chapter(fixed_rng):
    """Momentum weights the old value; the variance is biased."""
    layer, X = BatchNorm(2, momentum=0.75), fixed_rng.normal(size=(10, 2))
    layer.forward(X)
    np.testing.assert_allclose(layer.running_mean, 0.25 * X.mean(0, keepdims=True))
    np.testing.assert_allclose(layer.running_var, 0.75 + 0.25 * X.var(0, keepdims=True))
    assert layer.running_mean.shape == layer.gamma.shape == (1, 2)


def test_inference_uses_running_statistics(dtype, fixed_rng):
    layer, X = BatchNorm(3), fixed_rng.normal(size=(6, 3)).astype(dtype)
    layer.running_mean, layer.running_var = np.full((1, 3), 2.0), np.full((1, 3), 9.0)
    layer.eval()
    before = copy.deepcopy(layer.running_mean)
    np.testing.assert_allclose(layer.forward(X), (X - 2) / np.sqrt(9 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(layer.running_mean, before)
    assert layer.forward(X[:0]).shape == (0, 3)
    in_place = X.copy()
    harness.same_bits(layer.forward(in_place, out=in_place), layer.forward(X))


def test_the_cumulative_average_weighs_all_batches_alike(fixed_rng):
    layer, batches = BatchNorm(3, momentum=None), fixed_rng.normal(size=(5, 20, 3))
    for X in batches:
        layer.forward(X)
    np.testing.assert_allclose(layer.running_mean[0], batches.mean(axis=(0, 1)), atol=1e-15)
    np.testing.assert_allclose(layer.running_var[0], batches.var(axis=1).mean(axis=0))
    assert layer.batches == 5


def test_an_unbiased_running_variance(fixed_rng):
    X = fixed_rng.normal(size=(10, 2))
    layer = BatchNorm(2, momentum=0.0, unbiased_running_var=True)
    harness.same_bits(layer.forward(X), BatchNorm(2).forward(X))
    np.testing.assert_allclose(layer.running_var[0], X.var(axis=0, ddof=1))
    X = fixed_rng.normal(size=(3, 2, 5))
    layer.forward(X)
    np.testing.assert_allclose(layer.running_var[0], X.var(axis=(0, 2)) * 15 / 14)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_momentum_of_one_leaves_out_even_an_infinity(fixed_rng):
    X = fixed_rng.normal(size=(5, 3))
    X[2, 1] = np.inf
    layer = BatchNorm(3, momentum=1.0)
    layer.forward(X)
    np.testing.assert_array_equal(layer.running_mean, np.zeros((1, 3)))
    np.testing.assert_array_equal(layer.running_var, np.ones((1, 3)))


def test_without_running_statistics_inference_uses_the_batch(rng):
    X = rng.normal(size=(10, 2))
    layer = BatchNorm(2, track_running_stats=False)
    Y, dX = layer.forward(X), layer.backward(X)
    layer.eval()
    harness.same_bits(layer.forward(X), Y)
    harness.same_bits(layer.backward(X), dX)
    assert layer.running_mean is None
    with pytest.raises(ValueError, match="at least one row"):
        layer.forward(X[:0])


@pytest.mark.parametrize("affine", [True, False])
def test_folding_gives_the_same_function(affine, dtype, fixed_rng):
    W, b = fixed_rng.normal(size=(5, 3)).astype(dtype), fixed_rng.normal(size=3).astype(dtype)
    X = fixed_rng.normal(size=(20, 5)).astype(dtype)
    layer, twin = BatchNorm(3, affine=affine), reference.BatchNorm(3)
    if affine:
        layer.gamma[:], layer.beta[:] = fixed_rng.normal(size=(2, 1, 3))
        twin.gamma, twin.beta = layer.gamma, layer.beta
    layer.forward(X @ W + b)
    twin.running_mean, twin.running_var = layer.running_mean, layer.running_var
    layer.eval()
    expected = layer.forward(X @ W + b)
    folded_W, folded_b = layer.fold_into(W, b)
    assert folded_W.dtype == folded_b.dtype == dtype
    np.testing.assert_allclose(X @ folded_W + folded_b, expected, atol=100 * np.finfo(dtype).eps)
    assert layer.fold_into(W, b[None])[1].shape == (1, 3)
    exact_W, exact_b = twin.fold_into(W.astype(float), b.astype(float))
    np.testing.assert_allclose(folded_W, exact_W, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(folded_b, exact_b, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_unbiased_cumulative_statistics_agree_with_torch(fixed_rng):
    torch = pytest.importorskip("torch")
    layer = BatchNorm(4, momentum=None, unbiased_running_var=True)
    peer = torch.nn.BatchNorm2d(4, momentum=None)
    for X in fixed_rng.normal(3, 2, size=(3, 5, 4, 6, 7)).astype(np.float32):
        layer.forward(X)
        peer(torch.tensor(X))
    np.testing.assert_allclose(layer.running_mean[0], peer.running_mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(layer.running_var[0], peer.running_var.numpy(), atol=1e-5)


@pytest.mark.parametrize("momentum", [0.9, None])
def test_an_interrupt_moves_all_running_statistics_or_none(momentum, rng):
    def standing(layer):
        return layer.running_mean.tolist(), layer.running_var.tolist(), layer.batches

    X, layer = rng.normal(size=(5, 3)), BatchNorm(3, momentum=momentum)
    layer.forward(X + 1.0)
    moved = copy.deepcopy(layer)
    moved.forward(X)
    found, line, torn = [], 1, True
    while torn:
        victim = copy.deepcopy(layer)
        torn = harness.interrupted(line, "norm/batch.py", victim.forward, X)
        found.append(standing(victim))
        line += 1
    assert len(found) > 20
    assert standing(layer) in found
    assert all(state in (standing(layer), standing(moved)) for state in found)


def test_one_row_is_no_matter_where_nothing_is_tracked():
    layer = BatchNorm(2, track_running_stats=False, unbiased_running_var=True)
    np.testing.assert_array_equal(layer.forward(np.ones((1, 2))), 0.0)
    layer = BatchNorm(2, unbiased_running_var=True)
    with pytest.raises(ValueError, match="two values per channel or more"):
        layer.forward(np.ones((1, 2)))
    assert layer.batches == 0


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_one_value_per_channel_is_the_formula_and_says_so_once(shape):
    layer = BatchNorm(3)
    layer.beta[:] = 0.5
    with pytest.warns(RuntimeWarning, match="one value per channel") as said:
        for value in range(1, 4):
            Y = layer.forward(np.full(shape, float(value)))
    assert len(said) == 1
    assert said[0].filename == __file__
    assert Y.tolist() == np.full(shape, 0.5).tolist()
    assert layer.running_var.ravel().tolist() == pytest.approx([0.9**3] * 3)


def call_alone(model, X):
    model.layers[1].forward(X)


def call_network(model, X):
    model.forward(X)


def call_trainer(model, X):
    fit(model, mse, SGD(0.0), X, X, epochs=1, batch_size=1, rng=0)


@pytest.mark.parametrize("call", [call_alone, call_network, call_trainer])
def test_the_warning_of_one_value_points_to_the_users_line(call):
    model = mlp([3, 3, 3], batch_norm=True, rng=0)
    with pytest.warns(RuntimeWarning, match="one value per channel") as said:
        call(model, np.ones((1, 3), np.float32))
    assert [one.filename for one in said] == [__file__]


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 2), (0, 3)])
@pytest.mark.filterwarnings("error")
def test_it_says_nothing_of_other_batches(shape):
    layer = BatchNorm(3)
    if shape[0]:
        layer.forward(np.ones(shape))
    layer.eval()
    layer.forward(np.ones(shape))
    layer.forward(np.ones((1, 3)))


@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 5), (4, 3, 2, 2)])
def test_the_cache_is_that_of_the_last_training_call(shape, dtype, fixed_rng):
    layer = BatchNorm(3)
    layer.gamma, layer.beta = fixed_rng.normal(size=(2, 1, 3))
    assert layer.cache == {}
    X = fixed_rng.normal(3, 2, size=shape).astype(dtype)
    layer.forward(X)
    layer.eval()
    layer.forward(2 * X)
    cache = layer.cache
    assert list(cache) == ["X", "mean", "var", "X_norm"]
    assert cache["X"] is X
    axes = (0, *range(2, X.ndim))
    tolerance = {"rtol": 1e-5 if dtype == np.float32 else 1e-12, "atol": 1e-6}
    np.testing.assert_allclose(cache["mean"], X.mean(axes).reshape(1, 3), **tolerance)
    np.testing.assert_allclose(cache["var"], X.var(axes).reshape(1, 3), **tolerance)
    plain = BatchNorm(3, affine=False)
    harness.same_bits(cache["X_norm"], plain.forward(X))
    assert {entry.dtype for entry in cache.values()} == {np.dtype(dtype)}
    assert pickle.loads(pickle.dumps(layer)).cache == {}
    layer.cache = {}
    assert layer.cache == {}
    with pytest.raises(TypeError, match="BatchNorm: cache must be a dict"):
        layer.cache = None


def test_the_state_is_whole(rng):
    """What comes after a state depends on nothing that is not in it."""
    batches = rng.normal(size=(6, 8, 3)) + np.arange(6)[:, None, None]
    for momentum in (None, 0.9):
        whole, half, other = (BatchNorm(3, momentum) for _ in range(3))
        for X in batches:
            whole.forward(X)
        for X in batches[:3]:
            half.forward(X)
        state = half.state_dict()
        half.forward(batches[0])  # a state is a copy
        other.load_state_dict(state)
        for X in batches[3:]:
            other.forward(X)
        for name, value in whole.state_dict().items():
            np.testing.assert_array_equal(value, other.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batches": -1}, ValueError, "batches must be"),
        ({"batches": 1.5}, TypeError, "batches must be"),
        ({"gamma": np.ones((1, 4))}, ValueError, r"gamma must have shape \(1, 3\)"),
        ({"running_var": [1.0] * 3}, TypeError, "running_var must be"),
        ({"running_var": None}, TypeError, "running_var must be"),
        ({"more": 1}, ValueError, "state must have"),
    ],
)
def test_a_bad_state_changes_nothing(change, error, message):
    layer = BatchNorm(3)
    layer.forward(np.arange(6.0).reshape(2, 3))
    before = layer.state_dict()
    other = BatchNorm(3).state_dict()
    with pytest.raises(error, match=f"BatchNorm.load_state_dict: {message}"):
        layer.load_state_dict({**other, **change})
    with pytest.raises(TypeError, match="state must be a dict"):
        layer.load_state_dict(None)
    np.testing.assert_equal(layer.state_dict(), before)

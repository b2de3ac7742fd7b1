"""Batch norm: one bit pattern for all threads and levels, float64 and exact oracles."""

import copy
import fractions
import pickle

import harness
import numpy as np
import pytest

from fastreg import BatchNorm, reference
from fastreg._core import _kernels

pytestmark = pytest.mark.filterwarnings("ignore:BatchNorm.forward. a training batch with one")

#: Rows and columns at the edges of lanes, panels (256 columns, 32 rows) and chunks.
SHAPES = [
    (1, 1), (2, 1), (3, 7), (31, 15), (32, 16), (33, 17), (4, 255), (5, 256), (63, 257),
    (65, 512), (257, 1), (1000, 3), (2049, 33), (1024, 65), (300, 600), (20_000, 5),
]  # fmt: skip


def ulp(value, dtype):
    return float(np.spacing(dtype(abs(float(value)))))


def run(X, dY):
    layer = BatchNorm(X.shape[1])
    layer.gamma[:] = np.linspace(0.5, 2, X.shape[1])
    layer.beta[:] = np.linspace(-1, 1, X.shape[1])
    Y = layer.forward(X)
    dX = layer.backward(dY)
    return Y, dX, layer.dgamma, layer.dbeta, layer.running_mean, layer.running_var


def test_same_bits_for_every_level_and_thread_count(level, threads, dtype, rng):
    for shape in [*SHAPES, (3000, 300)]:
        X, dY = rng.normal(3, 2, size=(2, *shape)).astype(dtype)
        results = run(X, dY)
        with harness.serial_base():
            expected = run(X, dY)
        for actual, wanted in zip(results, expected, strict=True):
            harness.same_bits(actual, wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_close_to_the_reference_in_long_double(shape, dtype, guarded, rng):
    X, dY = rng.normal(3, 2, size=(2, *shape)).astype(dtype)
    layer, twin = BatchNorm(shape[1]), reference.BatchNorm(shape[1])
    layer.gamma[:] = twin.gamma[:] = rng.normal(size=shape[1])
    layer.beta[:] = twin.beta[:] = rng.normal(size=shape[1])
    Y = layer.forward(guarded(X, offset=1), out=guarded(np.zeros_like(X)))
    dX = layer.backward(guarded(dY), out=guarded(np.zeros_like(X), offset=2))
    exact_Y = twin.forward(X.astype(np.longdouble)).astype(float)
    exact_dX = twin.backward(dY.astype(np.longdouble)).astype(float)
    eps = np.finfo(dtype).eps
    x_norm = np.abs(exact_Y).max() + np.abs(layer.gamma).max() + np.abs(layer.beta).max()
    np.testing.assert_allclose(Y, exact_Y, rtol=0, atol=8 * eps * x_norm)
    scale = np.abs(layer.gamma * twin._inv_std).max() * 10
    np.testing.assert_allclose(dX, exact_dX, rtol=0, atol=16 * eps * scale)
    np.testing.assert_allclose(layer.dgamma, twin.dgamma, atol=64 * eps * np.sqrt(shape[0]) * 10)
    np.testing.assert_allclose(layer.dbeta, twin.dbeta, atol=64 * eps * np.sqrt(shape[0]) * 10)
    np.testing.assert_allclose(layer.running_mean, twin.running_mean, rtol=4 * eps, atol=4 * eps)
    np.testing.assert_allclose(layer.running_var, twin.running_var, rtol=4 * eps)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e7])
def test_statistics_against_exact_rationals(mean, dtype, rng):
    """Mean 1e7 with spread 1: where E[x^2] - E[x]^2 has no digit left."""
    X = (rng.normal(size=(517, 3)) + mean).astype(dtype)
    found_mean, found_var, _ = _kernels.batch_statistics(X, 1e-5)
    for c in range(3):
        column = [fractions.Fraction(float(x)) for x in X[:, c]]
        exact_mean = sum(column) / len(column)
        exact_var = sum((x - exact_mean) ** 2 for x in column) / len(column)
        spread = np.finfo(dtype).eps * float(exact_var) ** 0.5
        assert abs(found_mean[c] - exact_mean) <= max(ulp(exact_mean, dtype), spread)
        assert abs(found_var[c] - exact_var) <= 4 * ulp(exact_var, dtype)


def test_a_large_mean_comes_out_right(dtype, rng):
    X = (rng.normal(size=(4000, 7)) + 1e7).astype(dtype)
    Y = BatchNorm(7).forward(X)
    exact = reference.BatchNorm(7).forward(X.astype(np.longdouble)).astype(float)
    # float32 rounds Y alone; in float64 the mean itself is a float64, 2e-9 apart at 1e7.
    np.testing.assert_allclose(Y, exact, atol=8e-7 if dtype is np.float32 else 2e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e30, 12345.678])
def test_constant_columns_have_variance_zero(value, dtype):
    X = np.full((5000, 3), value, dtype)
    mean, var, _ = _kernels.batch_statistics(X, 1e-5)
    np.testing.assert_array_equal(var, 0.0)
    np.testing.assert_array_equal(mean, float(dtype(value)))
    np.testing.assert_array_equal(BatchNorm(3).forward(X), 0.0)


@pytest.mark.parametrize("training", [True, False])
def test_backward_agrees_with_finite_differences(training, rng):
    X, dY = rng.normal(size=(2, 7, 4))
    layer = BatchNorm(4)
    layer.gamma[:], layer.beta[:] = rng.normal(size=(2, 1, 4))
    layer.running_var[:] = 2.0
    layer.training = training
    layer.forward(X)
    dX = layer.backward(dY)

    def loss(X, gamma, beta):
        twin = copy.deepcopy(layer)
        twin.gamma, twin.beta = gamma, beta
        return float((twin.forward(X) * dY).sum())

    point = [X, layer.gamma, layer.beta]
    for k, gradient in enumerate([dX, layer.dgamma, layer.dbeta]):
        for index in np.ndindex(gradient.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = [value.copy() for value in point]
                moved[k][index] += step
                sides.append(loss(*moved))
            assert gradient[index] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-7)


def test_running_statistics_follow_the_chapter(rng):
    """Momentum weights the old value; the variance is biased."""
    layer, X = BatchNorm(2, momentum=0.75), rng.normal(size=(10, 2))
    layer.forward(X)
    np.testing.assert_allclose(layer.running_mean, 0.25 * X.mean(0, keepdims=True))
    np.testing.assert_allclose(layer.running_var, 0.75 + 0.25 * X.var(0, keepdims=True))
    assert layer.running_mean.shape == layer.gamma.shape == (1, 2)


def test_inference_uses_running_statistics(dtype, rng):
    layer, X = BatchNorm(3), rng.normal(size=(6, 3)).astype(dtype)
    layer.running_mean, layer.running_var = np.full((1, 3), 2.0), np.full((1, 3), 9.0)
    layer.eval()
    before = copy.deepcopy(layer.running_mean)
    np.testing.assert_allclose(layer.forward(X), (X - 2) / np.sqrt(9 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(layer.running_mean, before)
    assert layer.forward(X[:0]).shape == (0, 3)
    in_place = X.copy()
    harness.same_bits(layer.forward(in_place, out=in_place), layer.forward(X))


def test_one_row_gives_beta(dtype):
    layer = BatchNorm(3)
    layer.beta[:] = [1.0, 2.0, 3.0]
    Y = layer.forward(np.array([[5.0, -6.0, 7e6]], dtype))
    np.testing.assert_array_equal(Y, layer.beta.astype(dtype))
    np.testing.assert_array_equal(layer.backward(np.ones((1, 3), dtype)), 0.0)
    np.testing.assert_allclose(layer.running_var, 0.9)


def test_layouts_and_output_in_place(dtype, rng):
    X, dY = rng.normal(size=(2, 37, 21)).astype(dtype)
    expected = run(X, dY)
    for laid_out_X, laid_out_dY in zip(
        harness.layouts(X).values(), harness.layouts(dY).values(), strict=True
    ):
        for actual, wanted in zip(run(laid_out_X, laid_out_dY), expected, strict=True):
            harness.same_bits(actual, wanted)
    layer = BatchNorm(21)
    layer.forward(X)
    wanted = layer.backward(dY)
    assert layer.backward(dY, out=dY) is dY
    harness.same_bits(dY, wanted)


def test_nan_stays_in_its_column(dtype, rng):
    X = rng.normal(size=(100, 4)).astype(dtype)
    X[5, 2] = np.nan
    Y = BatchNorm(4).forward(X)
    assert np.isnan(Y[:, 2]).all()
    assert np.isfinite(Y[:, [0, 1, 3]]).all()


def test_float32_parameters_give_float32_gradients(rng):
    layer = BatchNorm(3)
    layer.gamma, layer.beta = layer.gamma.astype(np.float32), layer.beta.astype(np.float32)
    layer.forward(rng.normal(size=(5, 3)))
    layer.backward(rng.normal(size=(5, 3)))
    assert layer.dgamma.dtype == layer.dbeta.dtype == np.float32


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_behave_alike(clone, rng):
    X, dY = rng.normal(size=(2, 8, 3))
    layer = BatchNorm(3)
    layer.forward(X)
    twin = clone(layer)  # without the last batch
    with pytest.raises(RuntimeError, match="forward must be called first"):
        twin.backward(dY)
    harness.same_bits(layer.forward(X), twin.forward(X))
    harness.same_bits(layer.backward(dY), twin.backward(dY))


@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_torch(training, rng):
    torch = pytest.importorskip("torch")
    X, dY = rng.normal(3, 2, size=(2, 50, 6)).astype(np.float32)
    layer, peer = BatchNorm(6), torch.nn.BatchNorm1d(6)
    layer.training = training
    peer.train(training)
    X_peer = torch.tensor(X, requires_grad=True)
    Y_peer = peer(X_peer)
    Y_peer.backward(torch.tensor(dY))
    np.testing.assert_allclose(layer.forward(X), Y_peer.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(layer.backward(dY), X_peer.grad.numpy(), atol=1e-5)
    np.testing.assert_allclose(layer.dgamma[0], peer.weight.grad.numpy(), atol=1e-4)
    np.testing.assert_allclose(layer.dbeta[0], peer.bias.grad.numpy(), atol=1e-4)


def test_channels_last_is_the_transpose(dtype, rng):
    X, dY = rng.normal(3, 2, size=(2, 6, 5, 4, 7)).astype(dtype)
    first, last = BatchNorm(7), BatchNorm(7, axis=-1)
    first.gamma[:] = last.gamma[:] = np.linspace(0.5, 2, 7)
    Y_last, dX_last = last.forward(X), last.backward(dY)
    Y = first.forward(np.moveaxis(X, -1, 1))
    dX = first.backward(np.moveaxis(dY, -1, 1))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(np.moveaxis(Y, 1, -1), Y_last, atol=64 * eps)
    np.testing.assert_allclose(np.moveaxis(dX, 1, -1), dX_last, atol=64 * eps)
    np.testing.assert_allclose(first.running_var, last.running_var, rtol=8 * eps)
    as_rows = BatchNorm(7)
    as_rows.gamma[:] = last.gamma
    harness.same_bits(as_rows.forward(X.reshape(-1, 7)).reshape(X.shape), Y_last)


@pytest.mark.parametrize("options", [{}, {"axis": -1}, {"momentum": None}])
def test_images_follow_the_reference(options, dtype, rng):
    layer, twin = BatchNorm(4, **options), reference.BatchNorm(4, **options)
    shape = (3, 5, 6, 4) if options.get("axis") == -1 else (3, 4, 5, 6)
    for _ in range(3):
        X, dY = rng.normal(3, 2, size=(2, *shape))
        Y, dX = layer.forward(X.astype(dtype)), layer.backward(dY.astype(dtype))
        tolerance = 200 * np.finfo(dtype).eps
        np.testing.assert_allclose(Y, twin.forward(X), atol=tolerance)
        np.testing.assert_allclose(dX, twin.backward(dY), atol=tolerance)
        np.testing.assert_allclose(layer.dgamma, twin.dgamma, atol=100 * tolerance)
        np.testing.assert_allclose(layer.running_mean, twin.running_mean, rtol=tolerance)
        np.testing.assert_allclose(layer.running_var, twin.running_var, rtol=tolerance)
    layer.eval()
    twin.eval()
    Y, dX = layer.forward(X.astype(dtype)), layer.backward(dY.astype(dtype))
    np.testing.assert_allclose(Y, twin.forward(X), atol=tolerance)
    np.testing.assert_allclose(dX, twin.backward(dY), atol=tolerance)


def test_entries_of_one_element_are_a_matrix(dtype, rng):
    X = rng.normal(size=(33, 6)).astype(dtype)
    harness.same_bits(
        BatchNorm(6).forward(X.reshape(33, 6, 1, 1)).reshape(33, 6), BatchNorm(6).forward(X)
    )


def test_the_cumulative_average_weighs_all_batches_alike(rng):
    layer, batches = BatchNorm(3, momentum=None), rng.normal(size=(5, 20, 3))
    for X in batches:
        layer.forward(X)
    np.testing.assert_allclose(layer.running_mean[0], batches.mean(axis=(0, 1)), atol=1e-15)
    np.testing.assert_allclose(layer.running_var[0], batches.var(axis=1).mean(axis=0))
    assert layer.batches == 5


def test_an_unbiased_running_variance(rng):
    X = rng.normal(size=(10, 2))
    layer = BatchNorm(2, momentum=0.0, unbiased_running_var=True)
    harness.same_bits(layer.forward(X), BatchNorm(2).forward(X))
    np.testing.assert_allclose(layer.running_var[0], X.var(axis=0, ddof=1))
    X = rng.normal(size=(3, 2, 5))
    layer.forward(X)
    np.testing.assert_allclose(layer.running_var[0], X.var(axis=(0, 2)) * 15 / 14)


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


def test_overwritten_input_leaves_nothing_for_backward(rng):
    layer, X = BatchNorm(2), rng.normal(size=(10, 2))
    layer.eval()
    layer.forward(X, out=X)
    with pytest.raises(RuntimeError, match="forward must be called first"):
        layer.backward(X)


@pytest.mark.parametrize("affine", [True, False])
def test_folding_gives_the_same_function(affine, dtype, rng):
    W, b = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=3).astype(dtype)
    X = rng.normal(size=(20, 5)).astype(dtype)
    layer, twin = BatchNorm(3, affine=affine), reference.BatchNorm(3)
    if affine:
        layer.gamma[:], layer.beta[:] = rng.normal(size=(2, 1, 3))
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


def test_unbiased_cumulative_statistics_agree_with_torch(rng):
    torch = pytest.importorskip("torch")
    layer = BatchNorm(4, momentum=None, unbiased_running_var=True)
    peer = torch.nn.BatchNorm2d(4, momentum=None)
    for X in rng.normal(3, 2, size=(3, 5, 4, 6, 7)).astype(np.float32):
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


@pytest.mark.parametrize("shape", [(303, 7), (67, 300), (4200, 33)])
def test_a_large_mean_leaves_gradients_right(shape, dtype, rng):
    X = (rng.normal(size=shape) + 1e7).astype(dtype)
    dY = rng.normal(size=shape).astype(dtype)
    layer, twin = BatchNorm(shape[1]), reference.BatchNorm(shape[1])
    layer.forward(X)
    twin.forward(X.astype(np.longdouble))
    exact = twin.backward(dY.astype(np.longdouble)).astype(float)
    atol = 3e-6 if dtype is np.float32 else 1e-8
    np.testing.assert_allclose(layer.backward(dY), exact, atol=atol)
    np.testing.assert_allclose(layer.dgamma, twin.dgamma, atol=30 * atol)


@pytest.mark.parametrize("shape", [(4100, 257), (350_003, 3), (3, 400_001)])
def test_streamed_outputs_have_the_same_bits(shape, guarded, rng):
    """Where the output is written past the caches, and where it is not: in place."""
    X, dY = rng.normal(size=(2, *shape))  # float64, 8 MB at least
    layer = BatchNorm(shape[1])
    layer.forward(X)
    dX, in_place = layer.backward(dY, out=guarded(X * 0, offset=1)), dY.copy()
    harness.same_bits(layer.backward(in_place, out=in_place), dX)
    layer.eval()
    Y = layer.forward(X, out=guarded(X * 0, offset=1))
    dX, in_place = layer.backward(dY), dY.copy()
    harness.same_bits(layer.backward(in_place, out=in_place), dX)
    harness.same_bits(layer.forward(X, out=X), Y)


@pytest.mark.parametrize("shape", [(6, 2), (3, 2, 5)])
def test_gradients_of_inference_do_not_depend_on_the_input(shape, dtype):
    """The derivative of a straight line, also where X is not finite."""
    layer, X = BatchNorm(2), np.ones(shape, dtype)
    layer.gamma[:] = [[2.0, -3.0]]
    layer.running_mean[:], layer.running_var[:] = 5.0, 4.0
    layer.eval()
    X[0, 0], X[1, 1] = np.inf, np.nan
    layer.forward(X)
    dX = layer.backward(np.ones_like(X))
    slope = np.array([2.0, -3.0]) / np.sqrt(4.0 + 1e-5)
    np.testing.assert_allclose(dX, np.ones(shape) * slope.reshape(2, *[1] * (len(shape) - 2)), 1e-6)
    assert not np.isfinite(layer.dgamma).any()
    np.testing.assert_allclose(layer.dbeta, X.size / 2)


def test_gradients_have_the_shapes_of_their_parameters(rng):
    layer = BatchNorm(3)
    layer.gamma, layer.beta = np.ones(3), np.zeros((3, 1))
    layer.forward(rng.normal(size=(5, 3)))
    layer.backward(rng.normal(size=(5, 3)))
    assert layer.dgamma.shape == (3,)
    assert layer.dbeta.shape == (3, 1)


def test_one_row_is_no_matter_where_nothing_is_tracked():
    layer = BatchNorm(2, track_running_stats=False, unbiased_running_var=True)
    np.testing.assert_array_equal(layer.forward(np.ones((1, 2))), 0.0)
    layer = BatchNorm(2, unbiased_running_var=True)
    with pytest.raises(ValueError, match="two values a channel or more"):
        layer.forward(np.ones((1, 2)))
    assert layer.batches == 0


# --- one value per channel, and what a training call leaves --------------------------------


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
def test_the_cache_is_that_of_the_last_training_call(shape, dtype, rng):
    layer = BatchNorm(3)
    layer.gamma, layer.beta = rng.normal(size=(2, 1, 3))
    assert layer.cache == {}
    X = rng.normal(3, 2, size=shape).astype(dtype)
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

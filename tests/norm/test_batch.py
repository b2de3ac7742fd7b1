"""Batch norm: one bit pattern for all threads and levels, float64 and exact oracles."""

import copy
import fractions

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
def test_close_to_the_reference_in_long_double(shape, dtype, guarded, fixed_rng):
    X, dY = fixed_rng.normal(3, 2, size=(2, *shape)).astype(dtype)
    layer, twin = BatchNorm(shape[1]), reference.BatchNorm(shape[1])
    layer.gamma[:] = twin.gamma[:] = fixed_rng.normal(size=shape[1])
    layer.beta[:] = twin.beta[:] = fixed_rng.normal(size=shape[1])
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
def test_statistics_against_exact_rationals(mean, dtype, guarded, fixed_rng):
    """Mean 1e7 with spread 1: where E[x^2] - E[x]^2 has no digit left."""
    X = guarded((fixed_rng.normal(size=(517, 3)) + mean).astype(dtype), offset=1)
    found_mean, found_var, _ = _kernels.batch_statistics(X, 1e-5)
    for c in range(3):
        column = [fractions.Fraction(float(x)) for x in X[:, c]]
        exact_mean = sum(column) / len(column)
        exact_var = sum((x - exact_mean) ** 2 for x in column) / len(column)
        spread = np.finfo(dtype).eps * float(exact_var) ** 0.5
        assert abs(found_mean[c] - exact_mean) <= max(ulp(exact_mean, dtype), spread)
        assert abs(found_var[c] - exact_var) <= 4 * ulp(exact_var, dtype)


def test_a_large_mean_comes_out_right(dtype, fixed_rng):
    X = (fixed_rng.normal(size=(4000, 7)) + 1e7).astype(dtype)
    Y = BatchNorm(7).forward(X)
    exact = reference.BatchNorm(7).forward(X.astype(np.longdouble)).astype(float)
    # float32 rounds Y alone; in float64 the mean itself is a float64, 2e-9 apart at 1e7.
    np.testing.assert_allclose(Y, exact, atol=8e-7 if dtype is np.float32 else 2e-9)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e30, 12345.678])
def test_constant_columns_have_variance_zero(value, dtype, guarded):
    X = guarded(np.full((5000, 3), value, dtype), offset=1)
    mean, var, _ = _kernels.batch_statistics(X, 1e-5)
    np.testing.assert_array_equal(var, 0.0)
    np.testing.assert_array_equal(mean, float(dtype(value)))
    np.testing.assert_array_equal(BatchNorm(3).forward(X), 0.0)


@pytest.mark.parametrize("training", [True, False])
def test_backward_agrees_with_finite_differences(training, fixed_rng):
    X, dY = fixed_rng.normal(size=(2, 7, 4))
    layer = BatchNorm(4)
    layer.gamma[:], layer.beta[:] = fixed_rng.normal(size=(2, 1, 4))
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


@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_torch(training, fixed_rng):
    torch = pytest.importorskip("torch")
    X, dY = fixed_rng.normal(3, 2, size=(2, 50, 6)).astype(np.float32)
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


def test_channels_last_is_the_transpose(dtype, fixed_rng):
    X, dY = fixed_rng.normal(3, 2, size=(2, 6, 5, 4, 7)).astype(dtype)
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
def test_images_follow_the_reference(options, dtype, fixed_rng):
    layer, twin = BatchNorm(4, **options), reference.BatchNorm(4, **options)
    shape = (3, 5, 6, 4) if options.get("axis") == -1 else (3, 4, 5, 6)
    for _ in range(3):
        X, dY = fixed_rng.normal(3, 2, size=(2, *shape))
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


def test_overwritten_input_leaves_nothing_for_backward(rng):
    layer, X = BatchNorm(2), rng.normal(size=(10, 2))
    layer.eval()
    layer.forward(X, out=X)
    with pytest.raises(RuntimeError, match="forward must be called first"):
        layer.backward(X)


@pytest.mark.parametrize("shape", [(303, 7), (67, 300), (4200, 33)])
def test_a_large_mean_leaves_gradients_right(shape, dtype, fixed_rng):
    X = (fixed_rng.normal(size=shape) + 1e7).astype(dtype)
    dY = fixed_rng.normal(size=shape).astype(dtype)
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

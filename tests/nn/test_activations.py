"""Activations: values, slopes and the ends of the range."""

import numpy as np
import pytest
from harness import finite_difference

from fastreg import reference
from fastreg.nn import LeakyReLU, ReLU, activations

ACTIVATIONS = [getattr(activations, name) for name in activations.__all__]


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_every_activation_has_its_slope_and_its_twins_values(kind):
    X = 3 * np.random.default_rng(0).normal(size=(20, 30))
    dY = np.random.default_rng(1).normal(size=X.shape)
    layer, twin = kind(), getattr(reference, kind.__name__)()
    np.testing.assert_allclose(layer.forward(X), twin.forward(X), rtol=1e-12, atol=1e-15)
    dX = layer.backward(dY)
    np.testing.assert_allclose(dX, twin.backward(dY), rtol=1e-10, atol=1e-14)
    slope = finite_difference(lambda: float((layer.forward(X) * dY).sum()), X[:2, :5])
    layer.forward(X)
    np.testing.assert_allclose(layer.backward(dY)[:2, :5], slope, atol=1e-7)
    assert kind().forward(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_are_safe_at_the_ends_of_the_range(kind, dtype):
    X = np.array([[-1e4, -100, -1e-30, 0, 1e-30, 100, 1e4, np.nan]], dtype)
    layer = kind()
    Y, dX = layer.forward(X), layer.backward(np.ones_like(X))
    assert np.isfinite(Y[0, :-1]).all() and np.isnan(Y[0, -1])
    assert np.isfinite(dX[0, :-1]).all()
    assert dX.dtype == Y.dtype == dtype
    with pytest.raises(RuntimeError, match=f"{kind.__name__}.backward: forward must be called"):
        kind().backward(X)


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_activations_name_an_array_that_does_not_fit(kind):
    layer, X = kind(), np.ones((2, 3), np.float32)
    for wrong in ([[1.0]], np.ones((2, 3), int)):
        with pytest.raises(TypeError, match=rf"{kind.__name__}.forward: X must .*float32 or"):
            layer.forward(wrong)
    layer.forward(X)
    where = f"{kind.__name__}.backward: dY must"
    with pytest.raises(TypeError, match=f"{where} be float32, got float64"):
        layer.backward(X.astype(np.float64))
    with pytest.raises(ValueError, match=rf"{where} have shape \(2, 3\), got \(1, 3\)"):
        layer.backward(X[:1])


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, 2.5])
def test_leaky_relu_takes_any_slope_and_changes_nothing_above_zero(slope):
    X = np.array([[-2.0, -0.0, 0.1, 3.0, np.inf]])
    layer = LeakyReLU(slope)
    np.testing.assert_array_equal(layer.forward(X), [[-2 * slope, 0, 0.1, 3, np.inf]])
    np.testing.assert_array_equal(layer.backward(X), [[-2 * slope, 0, 0.1, 3, np.inf]])


def test_leaky_relu_refuses_bad_slopes():
    for value, error in ((-0.1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
        with pytest.raises(error, match="LeakyReLU: slope must be"):
            LeakyReLU(value)


def test_relu_has_slope_zero_at_zero_and_keeps_nan():
    layer = ReLU()
    np.testing.assert_array_equal(layer.forward(np.array([[0.0, np.nan]])), [[0.0, np.nan]])
    np.testing.assert_array_equal(layer.backward(np.ones((1, 2)))[0, 0], 0.0)

"""Norms and activations over the whole range: the layers' part of test_range.py."""

import mpmath
import numpy as np
import pytest
from ranges import CASES, SCALES, X0, close, exact, logistic

import fastreg
from fastreg import nn


def normed(x, epsilon, axis, centred=True):
    """The output, the deviations and the reciprocal root."""
    x, n = exact(x), x.shape[axis]
    d = x - x.sum(axis=axis, keepdims=True) / n if centred else x
    var = (d * d).sum(axis=axis, keepdims=True) / n
    inv_std = np.vectorize(lambda v: 1 / mpmath.sqrt(v + mpmath.mpf(epsilon)), otypes=[object])(var)
    return d * inv_std, inv_std, var


def normed_gradient(unit, inv_std, dy, axis, centred=True):
    """dX of the sum of dY times the output."""
    dy, n = exact(dy), unit.shape[axis]
    mean = dy.sum(axis=axis, keepdims=True) / n if centred else 0
    return inv_std * (dy - mean - unit * ((dy * unit).sum(axis=axis, keepdims=True) / n))


NORMS = {
    "BatchNorm": (lambda e: fastreg.BatchNorm(3, epsilon=e, momentum=0.0), 0, True),
    "LayerNorm": (lambda e: fastreg.LayerNorm(3, e), 1, True),
    "RMSNorm": (lambda e: fastreg.RMSNorm(3, e), 1, False),
    "GroupNorm": (lambda e: fastreg.GroupNorm(1, 3, e), 1, True),
    "InstanceNorm": (lambda e: fastreg.InstanceNorm(4, e), 2, True),
}


@pytest.mark.parametrize(("dtype", "scale"), CASES)
@pytest.mark.parametrize("tiny", [False, True], ids=["epsilon", "no epsilon"])
@pytest.mark.parametrize("kind", sorted(NORMS))
def test_norms(kind, dtype, scale, tiny):
    make, axis, centred = NORMS[kind]
    smallest = 1e-76 if dtype == np.float32 else 5e-324
    layer, epsilon = make(smallest if tiny else 1e-5), smallest if tiny else 1e-5
    x = (X0 * (scale if scale < 1e38 else 1.5e38)).astype(dtype)
    dy = np.array(X0[::-1] + 0.5, dtype)
    if axis == 2:
        x, dy = x[None], dy[None]
    unit, inv_std, var = normed(x, epsilon, axis, centred)
    with np.errstate(all="raise"):
        y, dx = layer.forward(x), layer.backward(dy)
    ulps = 64 if scale > 1e-37 or dtype == np.float64 else 2048  # X itself has few digits
    close(y, unit, dtype, ulps, slack=1e-2 if scale > 1e-3 else None)
    wanted = normed_gradient(unit, inv_std, dy, axis, centred)
    close(dx, wanted, dtype, ulps, slack=float(max(abs(wanted.ravel()))) if max(
        abs(wanted.ravel())) < np.finfo(dtype).max else None)  # fmt: skip
    if kind == "BatchNorm":
        close(layer.dgamma[0], (exact(dy) * unit).sum(axis=0), dtype, slack=1)
        if tiny or scale > 1e-10:
            close(layer.running_var[0], var[0], np.float64, 2**33 if dtype == np.float32 else 64)


@pytest.mark.parametrize(("dtype", "scale"), CASES)
@pytest.mark.parametrize("kind", sorted(NORMS))
def test_gradients_of_norms(kind, dtype, scale):
    make, axis, centred = NORMS[kind]
    layer, x = make(1e-5), X0.astype(dtype)
    dy = ((X0[::-1] + 0.5) * min(scale, float(np.finfo(dtype).max) / 16)).astype(dtype)
    if axis == 2:
        x, dy = x[None], dy[None]
    unit, inv_std, _ = normed(x, 1e-5, axis, centred)
    with np.errstate(all="raise"):
        layer.forward(x)
        dx = layer.backward(dy)
    wanted = normed_gradient(unit, inv_std, dy, axis, centred)
    close(dx, wanted, dtype, slack=float(max(abs(wanted.ravel()))))


def test_norms_of_inference_and_folding():
    layer = fastreg.BatchNorm(1)
    layer.running_mean[:], layer.running_var[:] = -1e38, 1e76
    layer.eval()
    with np.errstate(all="raise"):
        y = layer.forward(np.array([[3e38], [-3e38]], np.float32))
        np.testing.assert_allclose(y, [[4.0], [-2.0]], rtol=1e-6)
        W, b = layer.fold_into(np.full((1, 1), 1e30, np.float32), np.zeros(1))
    np.testing.assert_allclose([W[0, 0], b[0]], [1e-8, 1.0], rtol=1e-6)


@pytest.mark.parametrize("shape", [(64, 8), (4, 8, 16), (300, 40)])
@pytest.mark.parametrize("scale", [1e-30, 1e18, 2e19, 3e37])
def test_one_odd_channel_leaves_the_others_alone(shape, scale):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    plain, odd = (fastreg.BatchNorm(shape[1], epsilon=1e-76) for _ in range(2))
    unit, scaled = plain.forward(x), x.copy()
    scaled[:, 3] *= np.float32(scale)
    found = odd.forward(scaled)
    others = np.arange(shape[1]) != 3
    assert (found[:, others] == unit[:, others]).all()
    np.testing.assert_allclose(found[:, 3], unit[:, 3], rtol=1e-4, atol=1e-5)
    dx, more = plain.backward(x[::-1].copy()), odd.backward(x[::-1].copy())
    assert (dx[:, others] == more[:, others]).all()
    np.testing.assert_allclose(more[:, 3] * scale, dx[:, 3], rtol=1e-3, atol=1e-4)


def gelu_inner(z):
    return 2 * mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf(0.044715) * z**3)


def bell(z):
    return logistic(z) * logistic(-z)


ACTIVATIONS = {
    "ReLU": (nn.ReLU, lambda z: max(z, 0), lambda z: int(z > 0)),
    "LeakyReLU": (
        lambda: nn.LeakyReLU(0.25),
        lambda z: z if z > 0 else z / 4,
        lambda z: 1 if z > 0 else mpmath.mpf(0.25),
    ),
    "Tanh": (nn.Tanh, lambda z: mpmath.tanh(max(min(z, 1e4), -1e4)), lambda z: 4 * bell(2 * z)),
    "Sigmoid": (nn.Sigmoid, logistic, bell),
    "GELU": (
        nn.GELU,
        lambda z: z * logistic(gelu_inner(z)),
        lambda z: logistic(gelu_inner(z)) + z * bell(gelu_inner(z)) * 2 * mpmath.sqrt(
            2 / mpmath.pi
        ) * (1 + 3 * mpmath.mpf(0.044715) * z**2),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "scale"), [*CASES, *((t, s) for t in SCALES for s in (1.0, 3.0, 8.0, 20.0, 36.0))]
)
@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_activations(kind, dtype, scale):
    make, formula, slope = ACTIVATIONS[kind]
    x, layer = np.array([[scale, -scale]], dtype), make()
    with np.errstate(all="raise"):
        y, dx = layer.forward(x), layer.backward(np.ones_like(x))
    ulps = 64
    if kind == "GELU":  # the exponential of a rounded cubic
        ulps = 2 if dtype == np.float32 else 4096
    close(y, [[formula(z) for z in exact(x)[0]]], dtype, ulps)
    close(dx, [[slope(z) for z in exact(x)[0]]], dtype, ulps)


def test_gelu_keeps_its_digits_in_float32():
    """In its whole tail, to the last subnormal, and where the slope changes its sign."""
    x = np.concatenate([np.linspace(-10.5, 6, 400), np.linspace(-0.7526, -0.7523, 50)])
    x, layer = x.astype(np.float32)[None], nn.GELU()
    _, formula, slope = ACTIVATIONS["GELU"]
    close(layer.forward(x), [[formula(z) for z in exact(x)[0]]], np.float32, 1)
    close(layer.backward(np.ones_like(x)), [[slope(z) for z in exact(x)[0]]], np.float32, 1)

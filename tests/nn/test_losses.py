"""Activations and losses: gradients, formulas, safety at the ends of the range, weights."""

import numpy as np
import pytest
from harness import finite_difference
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg import reference
from fastreg.nn import (
    GELU,
    Dense,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    binary_cross_entropy,
    mlp,
    mse,
    softmax_cross_entropy,
)

few = settings(derandomize=True, max_examples=40, deadline=None)
ACTIVATIONS = [ReLU, LeakyReLU, Tanh, Sigmoid, GELU]


# --- activations ---------------------------------------------------------------------------


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


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_gradient_of_an_mlp_is_its_finite_difference(activation, backend, batch_norm):
    options = {"batch_norm": batch_norm, "dtype": np.float64, "rng": 3, "backend": backend}
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


# --- losses --------------------------------------------------------------------------------

LOSSES = {
    "softmax": (softmax_cross_entropy, lambda rng, n, k: rng.integers(0, k, n), {}),
    "smoothed": (
        softmax_cross_entropy,
        lambda rng, n, k: rng.integers(0, k, n),
        {"label_smoothing": 0.2},
    ),
    "classes": (
        softmax_cross_entropy,
        lambda rng, n, k: rng.integers(0, k, n),
        {"class_weights": np.array([1.0, 2.0, 0.5])},
    ),
    "mse": (mse, lambda rng, n, k: rng.normal(size=(n, k)), {}),
    "binary": (binary_cross_entropy, lambda rng, n, k: rng.uniform(size=(n, k)), {}),
    "binary smoothed": (
        binary_cross_entropy,
        lambda rng, n, k: rng.integers(0, 2, (n, k)),
        {"label_smoothing": 0.1},
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "draw", "options"), LOSSES.values(), ids=LOSSES)
def test_every_gradient_of_a_loss_is_its_finite_difference(loss, draw, options, weighted):
    rng = np.random.default_rng(2)
    outputs, targets = rng.normal(size=(7, 3)), draw(rng, 7, 3)
    if weighted:
        options = {**options, "sample_weight": rng.uniform(0, 2, 7)}
    value, gradient = loss(outputs, targets, **options)
    slope = finite_difference(lambda: loss(outputs, targets, **options)[0], outputs)
    np.testing.assert_allclose(gradient, slope, atol=1e-8)
    expected, dexpected = getattr(reference, loss.__name__)(outputs, targets, **options)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, dexpected, rtol=1e-10, atol=1e-15)


@few
@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6),
    st.sampled_from([np.float32, np.float64]),
)
def test_binary_cross_entropy_is_finite_for_any_finite_logits(values, dtype):
    largest = 1e37 if dtype == np.float32 else 1e300
    logits = np.clip(np.array(values), -largest, largest).astype(dtype)[:, None]
    labels = np.arange(len(values)) % 2
    value, gradient = binary_cross_entropy(logits, labels)
    assert np.isfinite(value) and value >= 0
    assert gradient.dtype == dtype
    assert np.all(np.abs(gradient) <= 1)


@pytest.mark.parametrize(("loss", "draw", "options"), LOSSES.values(), ids=LOSSES)
def test_weights_are_shares_of_a_mean(loss, draw, options):
    rng = np.random.default_rng(3)
    outputs, targets = rng.normal(size=(6, 3)), draw(rng, 6, 3)
    counts = np.array([1, 2, 1, 3, 1, 2])
    value, _ = loss(outputs, targets, **options, sample_weight=counts)
    repeated, _ = loss(np.repeat(outputs, counts, 0), np.repeat(targets, counts, 0), **options)
    assert value == pytest.approx(repeated, rel=1e-12)
    plain, gradient = loss(outputs, targets, **options)
    scaled, dscaled = loss(outputs, targets, **options, sample_weight=np.full(6, 0.25))
    assert scaled == pytest.approx(plain, rel=1e-12)
    np.testing.assert_allclose(dscaled, gradient, rtol=1e-12)


BAD_WEIGHTS = [
    (np.ones(3), ValueError, r"sample_weight must have shape \(2,\)"),
    (np.array([1.0, -1.0]), ValueError, "finite and at least 0"),
    (np.array([1.0, np.nan]), ValueError, "finite and at least 0"),
    (np.zeros(2), ValueError, "positive finite sum"),
    (np.array(["a", "b"]), TypeError, "sample_weight must be numbers"),
]


@pytest.mark.parametrize(("weights", "error", "message"), BAD_WEIGHTS)
@pytest.mark.parametrize("loss", [softmax_cross_entropy, mse, binary_cross_entropy])
def test_bad_weights_are_named(loss, weights, error, message):
    targets = np.array([0, 1]) if loss is softmax_cross_entropy else np.zeros((2, 2))
    with pytest.raises(error, match=f"{loss.__name__}: .*{message}"):
        loss(np.zeros((2, 2)), targets, sample_weight=weights)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mse(np.zeros((2, 2), int), np.zeros((2, 2))), TypeError, "outputs must be float"),
        (lambda: mse(np.zeros(2), np.zeros(2)), ValueError, r"\(N, K\), not empty"),
        (lambda: mse(np.zeros((2, 2)), np.zeros(2)), ValueError, r"targets must have shape \(2, 2"),
        (lambda: mse(np.zeros((2, 1)), ["a", "b"]), TypeError, "targets must be numbers"),
        (
            lambda: binary_cross_entropy(np.zeros((2, 1)), np.array([0, 2])),
            ValueError,
            "targets must be from 0 to 1, got 0.0 … 2.0",
        ),
        (
            lambda: binary_cross_entropy(np.zeros((1, 1)), [np.nan]),
            ValueError,
            "targets must be from 0 to 1",
        ),
        (
            lambda: binary_cross_entropy(np.zeros((1, 1)), [0], label_smoothing=2),
            ValueError,
            "label_smoothing must be",
        ),
        (
            lambda: softmax_cross_entropy(np.zeros((1, 2)), [0], label_smoothing=-1),
            ValueError,
            "label_smoothing must be",
        ),
        (
            lambda: softmax_cross_entropy(np.zeros((1, 2)), [0], class_weights=[1.0]),
            ValueError,
            r"class_weights must have shape \(2,\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Losses: formulas, gradients, safety at the ends of the range, weights."""

import harness
import numpy as np
import pytest
from harness import finite_difference, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastreg import reference
from fastreg._core import _kernels
from fastreg.nn import binary_cross_entropy, links, mse, softmax_cross_entropy

few = settings(derandomize=True, max_examples=40, deadline=None)


def test_logarithms_of_probabilities_are_those_of_their_formulas(dtype, rng):
    X = rng.normal(scale=5, size=(50, 7)).astype(dtype)
    wide = X.astype(np.longdouble)
    below = wide - wide.max(axis=1, keepdims=True)
    close = {"rtol": 20 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
    expected = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(links.log_softmax(X), expected.astype(float), **close)
    expected = -np.logaddexp(0, -wide)
    np.testing.assert_allclose(links.log_sigmoid(X), expected.astype(float), **close)


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
def test_every_gradient_of_a_loss_is_its_finite_difference(
    loss, draw, options, weighted, fixed_rng
):
    outputs, targets = fixed_rng.normal(size=(7, 3)), draw(fixed_rng, 7, 3)
    if weighted:
        options = {**options, "sample_weight": fixed_rng.uniform(0, 2, 7)}
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
def test_weights_are_shares_of_a_mean(loss, draw, options, fixed_rng):
    outputs, targets = fixed_rng.normal(size=(6, 3)), draw(fixed_rng, 6, 3)
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


@pytest.mark.parametrize(
    "shape", [(1, 1), (64, 10), (7, 8), (3, 1000), (2, 3000), (2100, 17)], ids=str
)
def test_cross_entropy_of_every_level_and_thread_count_is_the_base_levels(
    shape, dtype, level, threads, rng
):
    logits, labels = (
        (10 * rng.normal(size=shape)).astype(dtype),
        rng.integers(0, shape[1], shape[0]),
    )
    value, gradient = softmax_cross_entropy(logits, labels, label_smoothing=0.1)
    with harness.serial_base():
        expected, dlogits = softmax_cross_entropy(logits, labels, label_smoothing=0.1)
    assert value == expected
    same_bits(gradient, dlogits)


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64])
def test_rows_of_few_classes_have_the_bits_that_each_has_alone_and_as_a_long_row(
    classes, dtype, level, rng, guarded
):
    logits = guarded((5 * rng.normal(size=(35, classes))).astype(dtype))
    logits[[3, 20, 34], rng.integers(0, classes, 3)] = np.nan, np.inf, -np.inf
    logits[7] = 0.0
    labels = guarded(rng.integers(0, classes, 35))
    shares = guarded(rng.uniform(size=35))
    labels[11] = -1  # ignored
    rows = _kernels.softmax_rows("test", "logits", logits)
    for smoothing in (0.0, 0.1):
        _, together = _kernels.cross_entropy(logits, labels, shares, smoothing)
        for r in range(35):
            row = logits[r : r + 1]
            alone = _kernels.cross_entropy(row, labels[r : r + 1], shares[r : r + 1], smoothing)[1]
            same_bits(together[r], alone[0])
            same_bits(rows[r], _kernels.softmax_rows("test", "logits", row)[0])
    # Classes without a chance add zeros to the same sums, and make the rows long ones.
    longer = np.full((35, 65), -np.inf, dtype)
    longer[:, :classes] = logits
    value, gradient = _kernels.cross_entropy(logits, labels, shares, 0.0)
    as_long, dlonger = _kernels.cross_entropy(longer, labels, shares, 0.0)
    assert value == as_long or (np.isnan(value) and np.isnan(as_long))
    same_bits(gradient, np.ascontiguousarray(dlonger[:, :classes]))
    long = _kernels.softmax_rows("test", "logits", longer)
    same_bits(rows, np.ascontiguousarray(long[:, :classes]))


@few
@given(st.integers(1, 40), st.integers(1, 30), st.sampled_from([0.0, 0.1, 1.0]), st.booleans())
def test_cross_entropy_is_the_references(rows, classes, smoothing, weighted):
    rng = np.random.default_rng(rows * 100 + classes)
    logits, labels = 5 * rng.normal(size=(rows, classes)), rng.integers(0, classes, rows)
    options = {"label_smoothing": smoothing}
    if weighted:
        options["class_weights"] = rng.uniform(0.5, 2, classes)
        options["sample_weight"] = rng.uniform(0.5, 2, rows)
    expected, dlogits = reference.softmax_cross_entropy(logits, labels, **options)
    value, gradient = softmax_cross_entropy(logits, labels, **options)
    assert value == pytest.approx(expected, rel=1e-13, abs=1e-13)
    np.testing.assert_allclose(gradient, dlogits, rtol=1e-12, atol=1e-15)
    single, _ = softmax_cross_entropy(logits.astype(np.float32), labels, **options)
    assert single == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float32, -110.0), (np.float64, -760.0)])
def test_the_exponential_is_good_to_an_ulp_and_reaches_zero(dtype, lowest, level):
    """For logits (0, x), d loss / dx is e^x / (1 + e^x) / 2, or e^x / 2 where that is tiny."""
    x = np.linspace(lowest, 0, 20_001).astype(dtype)
    logits = np.stack([np.zeros_like(x), x], axis=1)
    labels = np.zeros(len(x), np.int64)
    _, gradient = softmax_cross_entropy(logits, labels)
    exact = 1 / (1 + np.exp(-x.astype(np.longdouble))) / len(x)
    found = gradient[:, 1].astype(np.longdouble)
    info = np.finfo(dtype)
    spacing = np.maximum(exact * info.eps, info.smallest_subnormal)
    assert np.abs(found - exact).max() < 4 * spacing[np.abs(found - exact).argmax()]
    assert found[0] == 0
    assert (np.diff(found) >= -2 * spacing[1:]).all()


FLOAT = np.float64


def logits_and_labels(largest):
    shape = st.tuples(st.integers(1, 6), st.integers(1, 5))

    def pair(shape):
        values = arrays(FLOAT, shape, elements=st.floats(-largest, largest))
        return st.tuples(values, arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))

    return shape.flatmap(pair)


@few
@given(logits_and_labels(largest=20))
def test_cross_entropy_is_its_formula(pair):
    logits, labels = pair
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    picked = p[np.arange(len(labels)), labels]
    value, dlogits = softmax_cross_entropy(logits, labels)
    assert value == pytest.approx(-np.log(picked).mean(), rel=1e-12, abs=1e-12)
    onehot = np.eye(logits.shape[1])[labels]
    np.testing.assert_allclose(dlogits, (p - onehot) / len(labels), atol=1e-14)


@few
@given(logits_and_labels(largest=1e300), st.sampled_from([np.float32, np.float64]))
def test_cross_entropy_is_finite_for_any_finite_logits(pair, dtype):
    logits, labels = pair
    logits = np.clip(logits, -1e38, 1e38).astype(dtype) if dtype == np.float32 else logits
    value, dlogits = softmax_cross_entropy(logits, labels)
    assert np.isfinite(value) and value >= 0
    assert dlogits.dtype == dtype
    assert np.all(np.abs(dlogits) <= 1)
    np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=4 * np.finfo(dtype).eps)


@few
@given(logits_and_labels(largest=20), st.floats(-1e3, 1e3))
def test_cross_entropy_does_not_see_a_shift_of_all_logits(pair, shift):
    logits, labels = pair
    value, dlogits = softmax_cross_entropy(logits, labels)
    moved, dmoved = softmax_cross_entropy(logits + shift, labels)
    assert moved == pytest.approx(value, abs=1e-11)
    np.testing.assert_allclose(dmoved, dlogits, atol=1e-11)


def test_cross_entropy_leaves_its_arguments_alone_and_propagates_nan():
    logits, labels = np.array([[1.0, 2.0], [np.nan, 0.0]]), np.array([0, 1], dtype=np.uint8)
    kept = logits.copy()
    value, dlogits = softmax_cross_entropy(logits, labels)
    np.testing.assert_array_equal(logits, kept)
    assert np.isnan(value)
    assert np.isnan(dlogits[1]).all() and np.isfinite(dlogits[0]).all()

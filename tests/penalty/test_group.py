"""Group lasso and norm constraints: exact oracles, every layout and axis, identities."""

from fractions import Fraction
from math import isqrt

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastreg
from fastreg import GroupLasso, max_norm, num_threads, reference, unit_norm

#: Shapes and axes: rows, columns, one group, the middle, at the edges of panels and lanes.
CASES = [
    ((7,), 0), ((1, 1), 0), ((5, 3), 0), ((5, 3), 1), ((5, 3), (0, 1)), ((33, 257), 0),
    ((33, 257), -1), ((257, 1), 0), ((1, 257), 0), ((3000, 40), 0), ((40, 3000), 1),
    ((3, 3, 4, 8), (0, 1, 2)), ((3, 3, 4, 8), (1, 2, 3)), ((3, 5, 4), 1), ((3, 5, 4), (0, 2)),
    ((3, 5, 4), (2, 0)), ((70_000,), 0), ((3, 40_000), 1), ((40_000, 3), 0),
]  # fmt: skip


def results(weights, axis):
    lasso = GroupLasso(0.3, axis=axis)
    return [
        lasso.gradient(weights),
        lasso.prox(weights, 0.01),
        max_norm(weights.copy(), 0.9, axis=axis),
        unit_norm(weights.copy(), axis=axis),
    ]


def normed(shape, axis, rng, dtype):
    """Weights whose groups have norms around 1, and some that are 0."""
    w = rng.normal(size=shape)
    size = np.prod([shape[a] for a in np.atleast_1d(axis)])
    w *= rng.uniform(0.5, 1.5, np.sum(w, axis=axis, keepdims=True).shape) / np.sqrt(size)
    if w.ndim > 1:
        w[:, -1:] *= 0.0
    return w.astype(dtype)


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_the_same_bits_for_every_level_thread_count_and_layout(shape, axis, level, dtype, rng):
    w = normed(shape, axis, rng, dtype)
    value = GroupLasso(0.3, axis=axis).value(w)
    found = results(w, axis)
    with harness.serial_base():
        assert GroupLasso(0.3, axis=axis).value(w) == value
        for actual, expected in zip(found, results(w, axis), strict=True):
            harness.same_bits(actual, expected)
    for n in (2, 3):
        with num_threads(n):
            for actual, expected in zip(results(w, axis), found, strict=True):
                harness.same_bits(actual, expected)
    laid_out = np.asfortranarray(w)
    assert GroupLasso(0.3, axis=axis).value(laid_out) == value
    for actual, expected in zip(results(laid_out, axis), found, strict=True):
        harness.same_bits(actual, expected)


def test_a_group_whose_norm_is_the_threshold_becomes_0(dtype):
    for strength, kept in ((5.0, False), (4.0, True)):
        for library in (fastreg, reference):
            found = library.GroupLasso(strength, axis=(0, 1)).prox(np.array([[5.0]], dtype))
            assert (found != 0).any() == kept, (library, strength)


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_close_to_the_reference(shape, axis, dtype, fixed_rng):
    w = normed(shape, axis, fixed_rng, dtype)
    ours, theirs = (m.GroupLasso(0.3, axis=axis) for m in (fastreg, reference))
    assert ours.value(w) == pytest.approx(theirs.value(w), rel=1e-12)
    assert ours.value_and_gradient(w)[0] == ours.value(w)
    harness.same_bits(ours.value_and_gradient(w)[1], ours.gradient(w))
    eps = np.finfo(dtype).eps  # NumPy adds columns up one by one
    close = {"rtol": max(4 * eps, 1e-12), "atol": eps}
    np.testing.assert_allclose(ours.gradient(w), theirs.gradient(w), **close)
    np.testing.assert_allclose(ours.prox(w, 0.5), theirs.prox(w, 0.5), **close)
    for name, arguments in (("max_norm", (0.9,)), ("unit_norm", ())):
        mine, other = w.copy(), w.copy()
        assert getattr(fastreg, name)(mine, *arguments, axis=axis) is mine
        getattr(reference, name)(other, *arguments, axis=axis)
        np.testing.assert_allclose(mine, other, **close)


@pytest.mark.parametrize("axis", [0, 1])
def test_norms_against_exact_rationals(axis, dtype, level, fixed_rng):
    """A value of one group is lambda * sqrt(n) * norm: 1 ulp of float32, 4 of float64."""
    for size in (1, 2, 15, 16, 17, 100, 1023, 5000):
        w = (fixed_rng.normal(size=size) * 10.0 ** fixed_rng.uniform(-6, 6, size)).astype(dtype)
        squares = sum(Fraction(float(v)) ** 2 for v in w)
        # An integer square root with 200 bits to spare is the oracle.
        exact = Fraction(isqrt(int(squares * size * 4**200)), 2**200)
        matrix = w[:, None] if axis == 0 else w[None, :]
        found = Fraction(GroupLasso(1.0, axis=axis).value(matrix))
        unit = Fraction(float(np.spacing(dtype(float(exact)))))
        assert abs(found - exact) <= (1 if dtype == np.float32 else 4) * unit


def test_constraints_hold_and_spare_what_is_within(dtype, fixed_rng):
    w = (3 * fixed_rng.normal(size=(50, 40)) / 7).astype(dtype)
    before = w.copy()
    norms = np.linalg.norm(before.astype(float), axis=0)
    max_norm(w, 3.0)
    within = norms <= 3.0
    assert 5 < within.sum() < 35
    harness.same_bits(w[:, within], before[:, within])
    after = np.linalg.norm(w.astype(float), axis=0)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(after[~within], 3.0, rtol=4 * eps)
    np.testing.assert_allclose(np.linalg.norm(unit_norm(w).astype(float), axis=0), 1.0, 4 * eps)


@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_in_place_in_every_layout(axis, dtype, rng):
    matrix = rng.normal(size=(37, 21)).astype(dtype)
    expected = unit_norm(matrix.copy(), axis=axis)
    for laid_out in harness.layouts(matrix).values():
        assert unit_norm(laid_out, axis=axis) is laid_out
        harness.same_bits(laid_out, expected)
    within = np.zeros((39, 23), dtype)
    within[1:-1, 1:-1] = matrix
    max_norm(within[1:-1, 1:-1], 0.5, axis=axis)
    harness.same_bits(within[1:-1, 1:-1].copy(), max_norm(matrix.copy(), 0.5, axis=axis))
    assert not within[0].any()
    assert not within[:, -1].any()


def test_structures(fixed_rng):
    weights = {"W": fixed_rng.normal(size=(6, 4)), "b": fixed_rng.normal(size=4).astype(np.float32)}
    lasso = GroupLasso(0.2)
    alone = {name: lasso.gradient(w) for name, w in weights.items()}
    together = lasso.gradient(weights)
    for name in weights:
        harness.same_bits(together[name], alone[name])
    total = sum(lasso.value(w) for w in weights.values())
    assert lasso.value(weights) == pytest.approx(total, rel=1e-15)
    assert lasso.value(list(weights.values())) == lasso.value(weights)
    assert max_norm(weights, 0.5) is weights
    assert np.linalg.norm(weights["b"]) == pytest.approx(0.5)
    for empty in ([], {}, np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(0)):
        assert lasso.value(empty) == 0.0
        assert repr(lasso.gradient(empty)) == repr(lasso.prox(empty)) == repr(empty)
        assert unit_norm(empty) is max_norm(empty, 1.0) is empty


def test_gradients_are_the_slopes_of_the_values(fixed_rng):
    w, h = fixed_rng.normal(size=(4, 3)), 1e-6
    for axis in (0, 1, (0, 1)):
        lasso = GroupLasso(0.3, axis=axis)
        slopes = lasso.gradient(w)
        for place in np.ndindex(w.shape):
            step = np.zeros_like(w)
            step[place] = h
            slope = (lasso.value(w + step) - lasso.value(w - step)) / (2 * h)
            assert slope == pytest.approx(slopes[place], abs=1e-8)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), strength=st.floats(0, 2), step=st.floats(0.01, 2))
def test_prox_is_the_minimiser(seed, strength, step):
    generator = np.random.default_rng(seed)
    w, other = generator.normal(size=(2, 4, 3))
    lasso = GroupLasso(strength)

    def objective(v):
        return step * lasso.value(v) + np.sum((v - w) ** 2) / 2

    best = lasso.prox(w, step)
    for nearby in (other, w, best + 1e-3 * other, 0 * w):
        assert objective(best) <= objective(nearby) + 1e-12


def test_nan_and_infinity_stay_in_their_group():
    w = np.ones((3, 3))
    w[0] = np.nan, np.inf, 1.0
    with np.errstate(invalid="ignore"):
        gradient = GroupLasso(0.1).gradient(w)
    assert np.isnan(gradient[:, 0]).all()
    assert np.isnan(gradient[0, 1])
    np.testing.assert_allclose(gradient[:, 2], 0.1)
    assert np.isnan(GroupLasso(0.1).value(w))
    max_norm(w, 1.0)
    np.testing.assert_allclose(w[:, 2], 3**-0.5)
    np.testing.assert_array_equal(w[1:, 0], 1.0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-42, 1e-30, 1e30, 1e160, 1e300])
def test_norms_whose_squares_leave_the_range(axis, size, dtype):
    """Groups of 3 and 4 times a size, beside one of ordinary size."""
    if not 1e-45 < size < 1e38 and dtype == np.float32:
        pytest.skip("outside float32")
    w = np.array([[3 * size, 3.0, 0.0], [4 * size, 4.0, 0.0]], dtype)
    norm = float(np.hypot(*w[:, 0].astype(float) / size)) * size
    rtol = 4 * np.finfo(dtype).eps
    w = w if axis == 0 else w.T.copy()
    value = 2**0.5 * (norm + 5)
    assert GroupLasso(1.0, axis=axis).value(w) == pytest.approx(value, rel=1e-15)
    expected = np.array([[3 * size / norm, 0.6, 0], [4 * size / norm, 0.8, 0]], dtype)
    unit = unit_norm(w.copy(), axis=axis)
    tolerance = rtol if size > 1e-40 or dtype == np.float64 else 0.02  # subnormal digits
    np.testing.assert_allclose(unit if axis == 0 else unit.T, expected, rtol=tolerance)
    if size > 1e5:
        limited = max_norm(w.copy(), 1e-8, axis=axis)
        limited = limited if axis == 0 else limited.T
        np.testing.assert_allclose(limited.astype(float), 1e-8 * expected.astype(float), rtol=rtol)


def test_factors_are_rounded_to_the_dtype_first(level, dtype):
    """Groups k * (3, 4) have the exact norms 5 k."""
    k = np.arange(1.0, 300.0)
    w = np.outer([3.0, 4.0], k).astype(dtype)
    factors = 1.0 / (5.0 * k)
    expected = w * factors.astype(dtype)
    if dtype == np.float32:
        assert (expected != (w * factors).astype(dtype)).any()
    harness.same_bits(unit_norm(w.copy()), expected)
    harness.same_bits(unit_norm(w.T.copy(), axis=1), np.ascontiguousarray(expected.T))


def test_norms_below_the_range_count_as_zero():
    w = np.array([1e-310, 0.0])
    np.testing.assert_array_equal(unit_norm(w.copy()), w)
    np.testing.assert_array_equal(GroupLasso(1.0).gradient(w), 0.0)


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GroupLasso(-1), ValueError, "GroupLasso: lambda_group must be"),
        (lambda: GroupLasso(float("nan")), ValueError, "GroupLasso: lambda_group must be"),
        (lambda: GroupLasso("1"), TypeError, "GroupLasso: lambda_group must be"),
        (lambda: GroupLasso(axis=()), ValueError, "GroupLasso: axis must"),
        (lambda: GroupLasso(axis=1.0), TypeError, "GroupLasso: axis must"),
        (lambda: GroupLasso(axis=True), TypeError, "GroupLasso: axis must"),
        (lambda: GroupLasso(axis=1).value(np.ones(3)), ValueError, "value: axis must.*weights"),
        (lambda: GroupLasso(axis=-3).gradient(np.ones((2, 2))), ValueError, "gradient: axis must"),
        (lambda: GroupLasso(axis=(0, -2)).prox(np.ones((2, 2))), ValueError, "prox: axis must"),
        (lambda: GroupLasso().prox(np.ones(3), -1), ValueError, "prox: step_size must be"),
        (lambda: GroupLasso().value([np.ones(3), "1"]), TypeError, r"value: weights\[1\] must be"),
        (lambda: GroupLasso().value(np.ones(3, "f2")), TypeError, "value: weights must be.*16"),
        (lambda: GroupLasso().gradient(np.array(1.0)), ValueError, "gradient: axis must"),
        (lambda: max_norm(np.ones(3), 0.0), ValueError, "max_norm: max_value must be"),
        (lambda: max_norm(np.ones(3), float("nan")), ValueError, "max_norm: max_value must be"),
        (lambda: max_norm(np.ones(3), 1, axis="0"), TypeError, "max_norm: axis must"),
        (lambda: unit_norm(np.ones(3), axis=1), ValueError, "unit_norm: axis must"),
        (lambda: unit_norm([[1.0]]), TypeError, r"unit_norm: weights\[0\] must be"),
    ],
)
def test_errors_name_the_function_and_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("call", [unit_norm, lambda w: max_norm(w, 0.1)])
def test_constraints_refuse_shared_memory(call):
    buffer = np.arange(1.0, 25.0).reshape(4, 6)
    before = buffer.copy()
    for weights in (
        {"a": buffer, "b": buffer},
        {"a": buffer[:3], "c": np.ones(2), "b": buffer[2:]},
        {"b": buffer[:, ::3], "c": buffer[:, 1::3], "a": buffer[3:]},
    ):
        with pytest.raises(ValueError, match=r"must not share memory") as caught:
            call(weights)
        assert "weights['a']" in str(caught.value)
        assert "weights['b']" in str(caught.value)
        np.testing.assert_array_equal(buffer, before)
    call([buffer[:, ::2], buffer[:, 1::2], buffer[:0], buffer[:0]])  # interleaved, not shared
    assert (buffer < before).all()


@pytest.mark.parametrize("call", [unit_norm, lambda w: max_norm(w, 0.1)])
def test_constraints_write_all_or_nothing(call):
    frozen = np.ones(3)
    frozen.flags.writeable = False
    kinds = [np.ones(3, int), np.ones(3, bool), np.ones(3, np.float16), 1.0, None]
    for bad, error in ((frozen, ValueError), *((kind, TypeError) for kind in kinds)):
        weights = {"good": np.ones(3), "bad": bad}
        with pytest.raises(error, match=r"weights\['bad'\] must be"):
            call(weights)
        np.testing.assert_array_equal(weights["good"], 1.0)

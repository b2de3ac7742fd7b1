"""Counts of small weights and histograms, against NumPy and by hand."""

import harness
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastreg import near_zero, reference, soft_threshold, weight_histogram


def test_counts_for_every_size_level_and_thread_count(level, threads, dtype, guarded, rng):
    for size in harness.SIZES:
        w = (rng.normal(size=size) * 0.02).astype(dtype)
        w[::5] = 0.0
        w[1::7] = -0.0
        w[3::11] = dtype(0.01)
        w[4::13] = np.nan
        assert near_zero(guarded(w, offset=1)) == reference.near_zero(w)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    values=st.lists(st.lists(st.floats(width=32), max_size=20), max_size=4),
    tol=st.floats(0, 1e30),
)
@example(values=[[0.0]], tol=2.4e-201)
def test_any_weights(values, tol):
    weights = [np.array(row, np.float32) for row in values]
    flat = [v for row in weights for v in row]
    found = near_zero(weights, tol)
    bound = float(np.float32(tol)) or tol  # below the type's range it is 0, and zeros still count
    assert found.count == sum(abs(float(v)) < bound for v in flat)
    assert found.zeros == sum(v == 0 for v in flat)
    assert found.size == len(flat)
    assert found.share == (found.count / len(flat) if flat else 0.0)


def test_the_bound_itself_is_not_near(dtype):
    w = np.array([-0.01, 0.01, np.nextafter(dtype(0.01), dtype(0)), 0.0, -0.0], dtype)
    assert near_zero(w)[:] == (3, 0.6, 2, 5)
    assert near_zero(w, 0.0).count == 0
    assert near_zero(w, tol=0.0).zeros == 2


def test_structures_and_layouts(rng):
    matrix = rng.normal(size=(37, 21))
    expected = near_zero(matrix, 0.5)
    for laid_out in harness.layouts(matrix).values():
        assert near_zero(laid_out, 0.5) == expected
    assert near_zero({"a": matrix[:5], "b": matrix[5:].astype(np.float32)}, 0.5) == expected
    for empty in ([], {}, np.zeros(0)):
        assert near_zero(empty) == (0, 0.0, 0, 0)


def test_what_soft_threshold_removed_is_exactly_zero(rng):
    w = rng.normal(size=1000)
    assert near_zero(soft_threshold(w, 0.3)).zeros == near_zero(w, 0.3).count


@pytest.mark.parametrize("bins", [1, 7, 50])
def test_histograms_count_every_weight_once(bins, dtype, rng):
    weights = {"W": rng.normal(size=(40, 30)).astype(dtype), "b": rng.normal(size=7).astype(dtype)}
    counts, edges = weight_histogram(weights, bins)
    assert counts.sum() == 1207
    flat = np.concatenate([w.ravel() for w in weights.values()])
    assert (edges[0], edges[-1]) == (flat.min(), flat.max())
    expected, _ = np.histogram(flat, edges)
    np.testing.assert_array_equal(counts, expected)
    theirs, their_edges = reference.weight_histogram(weights, bins)
    np.testing.assert_array_equal(edges, their_edges)
    np.testing.assert_array_equal(counts, theirs)


def test_histograms_tell_neighbouring_floats_apart_and_mix_dtypes():
    near = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    counts, edges = weight_histogram(near, 50)
    assert counts[[0, -1]].tolist() == [1, 1]
    assert np.diff(edges).min() > 0
    counts, _ = weight_histogram([np.array([0.1], np.float32), np.array([0.1])], 4)
    assert counts.tolist() == [1, 0, 0, 1]
    top = np.finfo(np.float32).max
    counts, _ = weight_histogram([np.array([-top, 0, top], np.float32), np.array([1e300])], 2)
    assert counts.tolist() == [3, 1]
    many = np.arange(200_001, dtype=np.float32)  # more than is binned at a time
    assert weight_histogram(many, 3)[0].tolist() == [66_667, 66_667, 66_667]


def test_histograms_of_nothing_and_of_one_value():
    counts, edges = weight_histogram([], 4)
    assert counts.tolist() == [0, 0, 0, 0]
    assert edges.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    counts, edges = weight_histogram([np.zeros(0), np.full(3, 2.0)], 2)
    assert counts.sum() == 3
    assert edges[0] < 2.0 < edges[-1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: near_zero(np.ones(3), -0.1), ValueError, "near_zero: tol must be"),
        (lambda: near_zero(np.ones(3), float("nan")), ValueError, "near_zero: tol must be"),
        (lambda: near_zero(np.ones(3), "1"), TypeError, "near_zero: tol must be"),
        (lambda: near_zero([np.ones(3), "2"]), TypeError, r"near_zero: weights\[1\] must be"),
        (lambda: near_zero(np.ones(3, "f2")), TypeError, "near_zero: weights must be.*float16"),
        (lambda: weight_histogram(np.ones(3), 0), ValueError, "weight_histogram: bins must be"),
        (lambda: weight_histogram(np.ones(3), 2.0), TypeError, "weight_histogram: bins must be"),
        (
            lambda: weight_histogram(np.array([-1e308, 1e308])),
            ValueError,
            "weight_histogram: weights must leave room for 50 bins",
        ),
        (
            lambda: weight_histogram(np.array([0.0, 5e-324])),
            ValueError,
            "weight_histogram: weights must leave room for 50 bins",
        ),
        (lambda: weight_histogram(["a"]), TypeError, r"weight_histogram: weights\[0\] must be"),
        (
            lambda: weight_histogram({"w": np.array([1.0, np.inf])}),
            ValueError,
            r"weight_histogram: weights\['w'\] must be finite",
        ),
    ],
)
def test_errors_name_the_function_and_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("tol", [5e-324, 1e-60, 1e-46, 1e-45, 1e-30, 1e300])
def test_a_bound_below_the_range_of_float32_still_counts_zeros(tol):
    w = np.array([0.0, -0.0, 1e-45, 1.0, np.inf, np.nan], np.float32)
    wanted = int((np.abs(w.astype(float)) < (float(np.float32(min(tol, 3.4e38))) or tol)).sum())
    assert near_zero(w, tol).count == wanted >= 2

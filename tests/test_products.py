"""Matrix products: the reference's bits at every level, thread count, layout and size."""

import ctypes
import ctypes.util
import functools
import itertools
import math
import pickle
import platform
import sys
from fractions import Fraction

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastreg
from fastreg import reference
from fastreg._core import _kernels
from fastreg.reference import product as products

#: Rows, columns and depth around tiles (6 or 12 rows, 4 to 32 columns), blocks of k and 0.
EDGES = [
    (0, 3, 2), (3, 0, 2), (3, 4, 0), (1, 1, 1), (1, 1, 300), (1, 33, 257), (5, 1, 255), (6, 4, 256),
    (7, 5, 257), (11, 31, 4), (12, 32, 256), (13, 33, 3), (25, 65, 9), (23, 17, 513), (24, 16, 512),
    (130, 70, 300), (61, 33, 40),
    *[(16, 1, 3), (33, 10, 257), (70, 13, 513), (17, 7, 0), (8, 15, 256), (4, 3, 2)],  # few columns
]  # fmt: skip
LARGE = [(1030, 10, 300), (600, 700, 300), (530, 40, 520), (70, 1030, 1030), (1030, 1024, 130)]
SHAPES = [pytest.param(*shape, id="{}x{}x{}".format(*shape)) for shape in EDGES]


@functools.cache
def sides(rows, cols, depth, dtype):
    """Both sides of a product, and the product by definition; do not write to them."""
    rng = np.random.default_rng([harness.SEED, rows, cols, depth])
    a = rng.standard_normal((rows, depth)).astype(dtype)
    b = rng.standard_normal((depth, cols)).astype(dtype)
    return a, b, reference.matmul(a, b)


def layouts(matrix):
    """Those of the harness, and a transposed view with a gap."""
    rows, cols = matrix.shape
    turned = np.zeros((cols, rows + 5), matrix.dtype)[:, :rows].T
    turned[...] = matrix
    return {**harness.layouts(matrix), "turned": turned}


@pytest.mark.parametrize(("rows", "cols", "depth"), SHAPES)
def test_bits_at_edges(level, dtype, rows, cols, depth, guarded):
    a, b, wanted = sides(rows, cols, depth, dtype)
    for left, right in itertools.product(layouts(a).values(), layouts(b).values()):
        out = guarded(np.full((rows, cols), np.nan, dtype), offset=1)
        assert fastreg.matmul(left, right, out=out) is out
        harness.same_bits(out, wanted)
    harness.same_bits(fastreg.matmul(guarded(a), guarded(b)), wanted)


@pytest.mark.parametrize("cols", [40, 200])
def test_bits_where_columns_are_a_page_apart(level, dtype, cols, guarded):
    rows = 4096 // np.dtype(dtype).itemsize
    a, b, wanted = sides(rows, cols, 9, dtype)
    harness.same_bits(fastreg.matmul(guarded(a.T).T, guarded(b)), wanted)


@pytest.mark.parametrize("turned", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize(("rows", "cols", "depth"), LARGE)
def test_bits_of_large_products(dtype, rows, cols, depth, turned, rng):
    """By a sample: an element depends on its row and column alone."""
    a = rng.standard_normal((rows, depth)).astype(dtype)
    b = rng.standard_normal((depth, cols)).astype(dtype)
    a = np.asfortranarray(a) if turned[0] == "t" else a
    b = np.asfortranarray(b) if turned[1] == "t" else b
    i = np.unique([0, 11, 12, rows - 1, *rng.integers(rows, size=8)])
    j = np.unique([0, *({31, 32} if cols > 32 else ()), cols - 1, *rng.integers(cols, size=8)])
    wanted = reference.matmul(a[i], b[:, j])
    whole = None
    for level in _kernels.levels()[1:] or _kernels.levels():
        for threads in (1, 2, 3):
            with harness.at_level(level), fastreg.num_threads(threads):
                found = fastreg.matmul(a, b)
            harness.same_bits(found[i][:, j], wanted)
            whole = found if whole is None else whole
            harness.same_bits(found, whole)


def test_bits_on_threads(level, threads, dtype):
    a, b, wanted = sides(130, 70, 300, dtype)
    for left, right in ((a, b), (np.asfortranarray(a), np.asfortranarray(b))):
        harness.same_bits(fastreg.matmul(left, right), wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 70),
    st.sampled_from([0, 1, 2, 7, 64, 255, 256, 257, 300, 513]),
    st.sampled_from(harness.DTYPES),
    st.sampled_from(_kernels.levels()),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 1e-18, 1e18]),
)
def test_bits_of_any_product(rows, cols, depth, dtype, name, seed, scale):
    rng = np.random.default_rng(seed)
    a = (rng.standard_normal((rows, depth)) * scale).astype(dtype)
    b = (rng.standard_normal((depth, cols)) * scale ** rng.integers(-1, 2)).astype(dtype)
    with harness.at_level(name), np.errstate(over="ignore", under="ignore"):
        harness.same_bits(fastreg.matmul(a, b), reference.matmul(a, b))


def test_special_values(level, dtype):
    """Zeros are not skipped: 0 times infinity is NaN wherever it stands."""
    ends = harness.specials(dtype)
    twice = np.tile(ends, 2)
    a = np.stack([np.where(np.arange(len(twice)) < n, twice, 0) for n in range(len(twice))])
    b = np.stack([np.roll(twice, k) for k in range(40)], axis=1)
    for x, y in ((a, b), (b.T, a.T), (b.T[:1], a.T[:, :1])):
        with np.errstate(all="raise"):
            found = fastreg.matmul(x, y)
        harness.same_bits(found, reference.matmul(x, y))
    lone = np.zeros((30, 40), dtype)
    lone[17, 35] = np.inf
    found = fastreg.matmul(np.zeros((20, 30), dtype), lone)
    assert np.isnan(found[:, 35]).all() and np.isnan(found).sum() == 20


def test_names_lead_back_to_the_function():
    assert fastreg.matmul.__module__ == "fastreg.product"
    assert pickle.loads(pickle.dumps(fastreg.matmul)) is fastreg.matmul


def test_signs_of_zero(level, dtype):
    """A chain begins at +0; what rounds to nothing keeps its sign, as the operation says."""
    tiny = np.finfo(dtype).smallest_subnormal
    for x, y, sign in ((-0.0, 1.0, False), (-tiny, tiny, True), (tiny, tiny, False)):
        found = fastreg.matmul(np.array([[x]], dtype), np.array([[y]], dtype))
        assert found == 0 and np.signbit(found[0, 0]) == sign


def fused(a, b, c, dtype):
    """The fused multiply-add in fractions, rounded by hand."""
    total = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if abs(total) >= Fraction(2) ** 1024:
        return math.inf if total > 0 else -math.inf
    if dtype == np.float64 or total == 0:
        return float(total)
    power = max(math.frexp(float(total))[1] - 24, -149)  # of the last bit
    return round(total / Fraction(2) ** power) * 2.0**power  # half to even


def test_the_reference_rounds_once(dtype, rng):
    near = rng.standard_normal((3, 4000)).astype(dtype)
    near[2, ::2] = -(near[0] * near[1])[::2]  # cancels to the product's own error
    power = 20 if dtype == np.float32 else 250
    far = np.ldexp(near, rng.integers(-3 * power, 3 * power, near.shape)).astype(dtype)
    halves = np.array([1 + 2.0**-12, 1 + 2.0**-12, 2.0**-60 if dtype == np.float32 else 1], dtype)
    for a, b, c in (near, far, np.repeat(halves[:, None], 3, axis=1)):
        found = products.fma(a[:, None], b[:, None], c[:, None])[:, 0]
        wanted = [fused(*one, dtype) for one in zip(a, b, c, strict=True)]
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, np.array(wanted).astype(dtype))


ENDS = (-1074, -1000, -901, -899, -632, -520, -401, -399, 0, 399, 401, 520, 632, 899, 901, 1023)


def test_the_reference_rounds_once_on_either_side_of_its_limits():
    """Factors and terms of every size: where errors of products are no numbers, and beside it."""
    a, b, c = np.stack(np.meshgrid(ENDS, ENDS, ENDS)).reshape(3, -1)
    near = np.ldexp(np.array([[1 + 2.0**-30], [1 + 3.0**-20], [-1 - 5.0**-15]]), [a, b, c])
    found = products.fma(*near[:, :, None])[:, 0]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, [fused(*one, np.float64) for one in near.T])


@pytest.mark.parametrize("depth", [1, 32, 256, 2000])
def test_error_bound(dtype, depth, fixed_rng):
    """Within that of a sum of 256 + K / 256 terms, for any signs."""
    a = fixed_rng.standard_normal((9, depth)).astype(dtype)
    b = fixed_rng.standard_normal((depth, 35)).astype(dtype)
    wide = np.longdouble if dtype == np.float64 else np.float64
    a_wide, b_wide = a.astype(wide), b.astype(wide)
    error = np.abs(fastreg.matmul(a, b) - a_wide @ b_wide)
    terms = min(depth, 256) + depth / 256
    assert (error <= terms * np.finfo(dtype).eps * (abs(a_wide) @ abs(b_wide))).all()


def test_vectors_and_numbers(dtype, fixed_rng):
    a, b = fixed_rng.standard_normal((2, 300)).astype(dtype)
    m = fixed_rng.standard_normal((300, 40)).astype(dtype)
    for x, y in ((a, m), (m.T, b), (a, b)):
        found, wanted = fastreg.matmul(x, y), np.matmul(x, y)
        assert type(found) is type(wanted) and np.shape(found) == np.shape(wanted)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        harness.same_bits(np.asarray(found), np.asarray(reference.matmul(x, y)))
    out = np.zeros((), dtype)
    assert fastreg.matmul(a, b, out=out) is out
    assert out == fastreg.matmul(a, b)


def test_views_that_repeat(level, dtype):
    row = np.arange(40, dtype=dtype)
    a, b = np.broadcast_to(row, (30, 40)), np.broadcast_to(row[:, None], (40, 50))
    assert (fastreg.matmul(a, b) == (row * row).sum()).all()
    backwards = fastreg.matmul(a[::-1, ::-1], b[::-1])
    assert (backwards == (row * row).sum()).all()


def test_integers_are_read_as_floats():
    a = np.arange(6).reshape(2, 3)
    for b, wanted in ((np.ones((3, 2), np.float32), np.float32), (a.T, np.float64)):
        for left, right in ((a, b), (b.T, a.T)):
            found = fastreg.matmul(left, right)
            assert found.dtype == wanted
            np.testing.assert_array_equal(found, left @ right)
    assert fastreg.matmul(a > 2, np.ones((3, 2))).tolist() == [[0, 0], [3, 3]]


OUT_OF = np.zeros((8, 8))
WRONG = {
    "depths": (np.ones((2, 3)), np.ones((2, 4)), None, r"\(2, 3\) and b of shape \(2, 4\)"),
    "dtypes": (np.ones((2, 3)), np.ones((3, 2), np.float32), None, "one dtype, got float64"),
    "stack": (np.ones((2, 2, 2)), np.ones((2, 2)), None, "a must be a matrix or a vector"),
    "number": (np.ones((2, 2)), np.ones(()), None, "b must be a matrix or a vector"),
    "list": ([[1.0]], np.ones((1, 1)), None, "a must be a float32 or float64 array, got list"),
    "out's shape": (np.ones((2, 3)), np.ones((3, 4)), np.ones((4, 2)), r"out must have shape"),
    "out's dtype": (np.ones((2, 3)), np.ones((3, 4)), np.ones((2, 4), "f4"), "out must be float64"),
    "out's order": (np.ones((2, 3)), np.ones((3, 4)), np.ones((4, 2)).T, "out must be C-cont"),
    "out is a": (OUT_OF[:2, :2], np.ones((2, 8)), OUT_OF[:2], "out must share no memory with a"),
    "out is b": (np.ones((2, 2)), OUT_OF[1:3], OUT_OF[:2], "out must share no memory with b"),
    "out turned": (np.ones((8, 8)), OUT_OF.T, OUT_OF, "out must share no memory with b"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_by_name(case):
    a, b, out, message = WRONG[case]
    before = None if out is None else out.copy()
    with pytest.raises((TypeError, ValueError), match=f"matmul: .*{message}"):
        fastreg.matmul(a, b, out=out)
    assert out is None or (out == before).all()


def test_neighbours_in_one_buffer_are_no_overlap(dtype):
    buffer = np.ones((8, 8), dtype)
    out = buffer[1:3]
    assert fastreg.matmul(buffer[::3][:2, :4], np.ones((4, 8), dtype), out=out) is out
    assert (out == 4).all() and buffer.sum() == 6 * 8 + 4 * 16


def test_a_read_only_result_is_refused():
    out = np.zeros((2, 2))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="matmul: out must be writeable"):
        fastreg.matmul(np.ones((2, 2)), np.ones((2, 2)), out=out)


def test_no_room_is_a_memory_error():
    """For the result, or to pack what a view repeats without end: nothing is written then."""
    with pytest.raises(MemoryError):
        fastreg.matmul(np.broadcast_to(np.float32(1), (2**50, 1)), np.ones((1, 1), np.float32))
    out = np.zeros((600, 600), np.float32)
    with pytest.raises(MemoryError):
        endless = np.broadcast_to(np.float32(1), (600, 2**45))
        fastreg.matmul(endless, endless.T, out=out)
    assert not out.any()


@pytest.mark.parametrize(("rows", "cols", "depth"), [(5, 3, 0), (13, 37, 300), (130, 70, 20)])
def test_bias_and_relu_in_the_same_pass(level, dtype, rows, cols, depth, guarded, fixed_rng):
    """The bits of the steps one after the other; NaN stays, and -0 becomes 0."""
    a, b, product = sides(rows, cols, depth, dtype)
    a, b = guarded(a), guarded(b, offset=1)
    bias = guarded(fixed_rng.standard_normal(cols).astype(dtype), offset=1)
    bias[1] = np.nan
    harness.same_bits(_kernels.dense_forward(a, b, bias), product + bias)
    total = product + bias
    wanted = np.where(total <= 0, dtype(0), total)
    harness.same_bits(_kernels.dense_forward(a, b, bias, True), wanted)
    plain = np.where(product <= 0, dtype(0), product)
    harness.same_bits(_kernels.dense_forward(a, b, None, True), plain)


def test_the_configuration_says_how_products_are_computed(capsys):
    for level in _kernels.levels():
        with harness.at_level(level):
            fastreg.show_config()
            fuses = _kernels.fuses()
        line = next(x for x in capsys.readouterr().out.splitlines() if "matrix products" in x)
        assert ("slow" in line) != fuses


ROUNDING = {"up": 0x800, "down": 0x400, "towards zero": 0xC00}  # fenv.h of x86


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="modes of x86")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
@pytest.mark.parametrize("mode", ROUNDING)
def test_another_rounding_mode_is_every_steps_on_all_threads(mode, dtype, rng):
    """The bits are those of no level or thread count, but they are not the reference's."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    a = rng.standard_normal((130, 300)).astype(dtype)
    b = rng.standard_normal((300, 70)).astype(dtype)
    nearest, found = fastreg.matmul(a, b), []
    for level, threads in itertools.product(_kernels.levels(), (1, 3)):
        with harness.at_level(level), fastreg.num_threads(threads):
            libm.fesetround(ROUNDING[mode])
            try:
                found.append(fastreg.matmul(a, b))
            finally:
                libm.fesetround(0)
    for other in found[1:]:
        harness.same_bits(other, found[0])
    away = found[0].astype(np.float64) - nearest
    assert {"up": away, "down": -away, "towards zero": np.abs(nearest) - np.abs(found[0])}[
        mode
    ].mean() > 0
    harness.same_bits(fastreg.matmul(a, b), nearest)

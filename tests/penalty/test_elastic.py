"""L1, L2 and elastic net: exact rational oracles, one bit pattern everywhere, and identities."""

from fractions import Fraction

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastreg
from fastreg import (
    ElasticNet,
    l1_gradient,
    l1_regularization_loss,
    l2_gradient,
    l2_regularization_loss,
    penalty_and_gradient,
    reference,
    soft_threshold,
)

BLOCK = harness.BLOCK
GRADIENTS = {
    "l1": (lambda m, w, **o: m.l1_gradient(w, 0.3, **o)),
    "l2": (lambda m, w, **o: m.l2_gradient(w, 0.3, **o)),
    "elastic": (lambda m, w, **o: m.ElasticNet(0.3, 0.7).gradient(w, **o)),
    "elastic l1": (lambda m, w, **o: m.ElasticNet(0.3, 0.0).gradient(w, **o)),
    "elastic l2": (lambda m, w, **o: m.ElasticNet(0.0, 0.7).gradient(w, **o)),
    "both": (lambda m, w, **o: m.penalty_and_gradient(w, lambda_l1=0.3, lambda_l2=0.7, **o)[1]),
    "nothing": (lambda m, w, **o: m.penalty_and_gradient(w, **o)[1]),
    "soft_threshold": (lambda m, w, **o: m.soft_threshold(w, 0.3, **o)),
    "prox": (lambda m, w, **o: m.ElasticNet(0.3, 0.7).prox(w, 0.4, **o)),
}


def exact_sums(values):
    """The sums of |w| and of w * w as rationals, quickly: nearly every w * 2**200 is an integer."""
    exact = [int(v * 2.0**200) if v > 1e-40 else Fraction(v) * 2**200 for v in magnitudes(values)]
    return Fraction(sum(exact)) / 2**200, Fraction(sum(v * v for v in exact)) / 2**400


def magnitudes(values):
    return np.abs(values, dtype=np.float64).ravel().tolist()


def ulps(actual, exact, dtype):
    """The distance to an exact number in units in the last place of a dtype."""
    return abs(Fraction(actual) - exact) / Fraction(float(np.spacing(dtype(float(exact)))))


def losses(weights):
    net = ElasticNet(0.3, 0.7)
    return (
        l1_regularization_loss(weights, 1.0),
        l2_regularization_loss(weights, 1.0),
        net.value(weights),
        net.value_and_gradient(weights)[0],
    )


# --- values -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", harness.SIZES)
def test_values_against_exact_rationals(size, dtype, level, guarded, fixed_rng):
    """1 ulp of float32, 4 of float64, over twelve decades of magnitude."""
    w = (fixed_rng.normal(size=size) * 10.0 ** fixed_rng.uniform(-6, 6, size)).astype(dtype)
    absolute, squares = exact_sums(w)
    found = losses(guarded(w, offset=1))
    assert found[2] == found[3] == 0.3 * found[0] + 0.5 * 0.7 * (2.0 * found[1])
    if size:
        limit = 1 if dtype == np.float32 else 4
        assert ulps(found[0], absolute, dtype) <= limit
        assert ulps(found[1], squares / 2, dtype) <= limit
        # The double behind a float32 sum.
        assert abs(Fraction(found[0]) - absolute) <= absolute / 10**12
        assert abs(Fraction(found[1]) - squares / 2) <= squares / 10**12
    else:
        assert found == (0.0, 0.0, 0.0, 0.0)


def test_values_over_many_blocks_do_not_drift(level):
    """A million equal weights, whose naive float32 sum has lost a percent."""
    n = 1_000_003
    for dtype, limit in ((np.float32, 1), (np.float64, 4)):
        w = np.full(n, 0.1, dtype)
        one = Fraction(float(w[0]))
        assert ulps(l1_regularization_loss(w, 1.0), n * one, dtype) <= limit
        assert ulps(l2_regularization_loss(w, 2.0), n * one * one, dtype) <= limit
    big_first = np.ones(n)
    big_first[0] = 2.0**53
    assert l1_regularization_loss(big_first, 1.0) == 2.0**53 + n - 1


def test_the_same_bits_for_every_level_and_thread_count(level, threads, dtype, rng):
    shapes = [(3,), (700, 300), (1,), (0, 4), (BLOCK,), (5, 7, 11), (BLOCK + 1,), (2 * BLOCK - 1,)]
    weights = {f"w{i}": rng.normal(size=shape).astype(dtype) for i, shape in enumerate(shapes)}
    results = [losses(weights)] + [form(fastreg, weights) for form in GRADIENTS.values()]
    with harness.serial_base():
        expected = [losses(weights)] + [form(fastreg, weights) for form in GRADIENTS.values()]
    assert results[0] == expected[0]
    for actual, wanted in zip(results[1:], expected[1:], strict=True):
        for name in weights:
            harness.same_bits(actual[name], wanted[name])


def test_values_agree_with_the_reference(dtype, fixed_rng):
    weights = [
        fixed_rng.normal(size=(31, 17)).astype(dtype),
        fixed_rng.normal(size=40_000).astype(dtype),
    ]
    for function in ("l1_regularization_loss", "l2_regularization_loss"):
        ours = getattr(fastreg, function)(weights, 0.3)
        assert ours == pytest.approx(getattr(reference, function)(weights, 0.3), rel=1e-12)
    ours, theirs = (m.ElasticNet(0.3, 0.7).value(weights) for m in (fastreg, reference))
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_layouts_and_structures_change_nothing(dtype, fixed_rng):
    matrix = fixed_rng.normal(size=(37, 21)).astype(dtype)
    for laid_out in harness.layouts(matrix).values():
        assert losses(laid_out) == losses(matrix)
        for form in GRADIENTS.values():
            harness.same_bits(form(fastreg, laid_out), form(fastreg, matrix))
    parts = {"a": matrix[:20], "b": matrix[20:]}
    assert losses(parts) == losses(list(parts.values())) == losses(tuple(parts.values()))
    mixed = [matrix.astype(np.float32), matrix.astype(np.float64)]
    assert losses(mixed)[0] == pytest.approx(2 * losses(matrix)[0], rel=1e-6)
    assert [g.dtype for g in l1_gradient(mixed)] == [np.float32, np.float64]
    for structure in (parts, list(parts.values()), tuple(parts.values())):
        assert type(l2_gradient(structure)) is type(structure)
    assert list(l2_gradient(parts)) == ["a", "b"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=5),
    seed=st.integers(0, 2**32),
    strength=st.floats(0, 1e6),
)
def test_any_list_of_arrays(shapes, seed, strength):
    generator = np.random.default_rng(seed)
    weights = [np.asarray(generator.normal(size=shape)) for shape in shapes]
    absolute, squares = exact_sums(np.concatenate([np.zeros(0), *(w.ravel() for w in weights)]))
    value = Fraction(strength) * absolute
    assert float(l1_regularization_loss(weights, strength)) == pytest.approx(
        float(value), rel=1e-15
    )
    value = Fraction(strength) * squares / 2
    assert l2_regularization_loss(weights, strength) == pytest.approx(float(value), rel=1e-15)
    for ours, theirs in zip(
        l1_gradient(weights, strength), reference.l1_gradient(weights, strength), strict=True
    ):
        harness.same_bits(ours, np.asarray(theirs))


# --- gradients and proximal operators -----------------------------------------------------


@pytest.mark.parametrize("form", GRADIENTS.values(), ids=GRADIENTS)
def test_same_bits_as_the_reference(form, level, threads, dtype, guarded, rng):
    for size in harness.SIZES:
        w = rng.normal(size=size).astype(dtype)
        values = harness.specials(dtype)
        w[: min(size, values.size)] = values[: min(size, values.size)]
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            expected = form(reference, w)
        out = guarded(np.zeros_like(w), offset=size % 3)
        assert form(fastreg, guarded(w, offset=1), out=out) is out
        harness.same_bits(out, expected)
        in_place = guarded(w)
        harness.same_bits(form(fastreg, in_place, out=in_place), expected)
        harness.same_bits(form(fastreg, w), expected)


def test_large_results_are_streamed_past_the_caches_with_the_same_bits(rng):
    w = rng.normal(size=3_000_001).astype(np.float32)
    for form in GRADIENTS.values():
        harness.same_bits(form(fastreg, w), form(reference, w))


def test_penalty_and_gradient_is_the_functions_together(dtype, rng):
    weights = [rng.normal(size=(300, 100)).astype(dtype), rng.normal(size=5).astype(dtype)]
    for name, loss, slope in (
        ("lambda_l1", l1_regularization_loss, l1_gradient),
        ("lambda_l2", l2_regularization_loss, l2_gradient),
    ):
        value, gradient = penalty_and_gradient(weights, **{name: 0.3})
        assert value == loss(weights, 0.3)
        for ours, alone in zip(gradient, slope(weights, 0.3), strict=True):
            harness.same_bits(ours, alone)
    assert penalty_and_gradient(weights)[0] == 0.0


def test_gradients_are_the_slopes_of_the_values(fixed_rng):
    w = fixed_rng.normal(size=20) + 0.1
    net, h = ElasticNet(0.3, 0.7), 1e-6
    for i, slope in enumerate(net.gradient(w)):
        step = np.eye(20)[i] * h
        assert (net.value(w + step) - net.value(w - step)) / (2 * h) == pytest.approx(slope, 1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    w=st.floats(-10, 10), l1=st.floats(0, 3), l2=st.floats(0, 3), step=st.floats(0.01, 3),
    other=st.floats(-10, 10),
)  # fmt: skip
def test_prox_is_the_minimiser(w, l1, l2, step, other):
    def objective(v):
        return step * (l1 * abs(v) + l2 * v * v / 2) + (v - w) ** 2 / 2

    best = float(ElasticNet(l1, l2).prox(np.array([w]), step)[0])
    assert objective(best) <= objective(other) + 1e-12 * (1 + objective(other))


def test_soft_threshold_makes_exact_zeros(dtype):
    w = np.array([-2, -0.5, -0.25, -0.0, 0.0, 0.25, 0.5, 2], dtype)
    found = soft_threshold(w, 0.5)
    np.testing.assert_array_equal(found, np.array([-1.5, 0, 0, 0, 0, 0, 0, 1.5], dtype))
    assert not np.signbit(found[1:]).any()
    harness.same_bits(soft_threshold(w + 1, 0.0), w + 1)


def test_defaults_and_known_values():
    """By hand: the sum of |w| is 6.5, that of w * w 14.25."""
    w = [np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([-3.0])]
    assert l1_regularization_loss(w) == 0.01 * 6.5
    assert l2_regularization_loss(w) == 0.5 * 0.01 * 14.25
    np.testing.assert_array_equal(l1_gradient(w[0]), [[0.01, -0.01], [0.01, 0.0]])
    np.testing.assert_array_equal(l2_gradient(w[0]), 0.01 * w[0])
    net = ElasticNet()
    assert (net.lambda_l1, net.lambda_l2) == (0.01, 0.01)
    assert net.value(w) == 0.01 * 6.5 + 0.5 * 0.01 * 14.25


def test_empty_weights_give_zero():
    for empty in ([], {}, (), np.zeros(0), [np.zeros((0, 3), np.float32)]):
        assert losses(empty) == (0.0, 0.0, 0.0, 0.0)
        for form in GRADIENTS.values():
            assert repr(form(fastreg, empty)) == repr(empty)


def test_infinity_and_nan_propagate(level, dtype):
    for size in (1, 40, 2 * BLOCK + 5):
        for place in {0, size // 2, size - 1}:
            w = np.ones(size, dtype)
            w[place] = -np.inf
            assert l1_regularization_loss(w) == l2_regularization_loss(w) == np.inf
            w[place] = np.nan
            assert np.isnan([l1_regularization_loss(w), l2_regularization_loss(w)]).all()
    huge = np.full(50, np.finfo(np.float64).max)
    assert l1_regularization_loss(huge, 1.0) == l2_regularization_loss(huge, 1.0) == np.inf
    assert l2_regularization_loss(huge[:2].astype(np.float64) * 1e-200, 2.0) > 1e200


def test_scalars_of_zero_dimensions():
    assert l1_regularization_loss(np.array(-2.0), 0.5) == 1.0
    harness.same_bits(l1_gradient(np.array(-2.0), 0.5), np.array(-0.5))


# --- bad input ----------------------------------------------------------------------------

STRENGTHS = [
    (l1_regularization_loss, "lambda_l1"),
    (l1_gradient, "lambda_l1"),
    (l2_regularization_loss, "lambda_l2"),
    (l2_gradient, "lambda_l2"),
    (penalty_and_gradient, "lambda_l1"),
    (penalty_and_gradient, "lambda_l2"),
    (soft_threshold, "threshold"),
]


@pytest.mark.parametrize(("function", "name"), STRENGTHS)
def test_strengths_out_of_range(function, name):
    where = f"{function.__name__}: {name} must be a number in"
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=where):
            function(np.ones(3), **{name: value})
    texts = ("0.1", b"0.1", bytearray(b"0.1"), np.array("0.1"))
    for value in (*texts, None, True, np.array(True), [0.1], 1j):
        with pytest.raises(TypeError, match=where):
            function(np.ones(3), **{name: value})
    for value in (1, np.float32(1), np.array(1), Fraction(1)):
        assert repr(function(np.ones(3), **{name: value})) == repr(
            function(np.ones(3), **{name: 1.0})
        )


def test_elastic_net_checks_its_strengths_and_keeps_them():
    for name in ("lambda_l1", "lambda_l2"):
        for value in (-0.1, float("nan")):
            with pytest.raises(ValueError, match=f"ElasticNet: {name} must be"):
                ElasticNet(**{name: value})
        net = ElasticNet(0.5, 0.25)
        with pytest.raises(TypeError, match=f"ElasticNet: {name} must be"):
            setattr(net, name, "1")
        assert (net.lambda_l1, net.lambda_l2) == (0.5, 0.25)
    with pytest.raises(ValueError, match="ElasticNet.prox: step_size must be"):
        ElasticNet().prox(np.ones(3), -1.0)


FUNCTIONS = [
    l1_regularization_loss,
    l1_gradient,
    l2_regularization_loss,
    l2_gradient,
    penalty_and_gradient,
    lambda w: soft_threshold(w, 0.1),
    ElasticNet().value,
    ElasticNet().gradient,
    ElasticNet().value_and_gradient,
    ElasticNet().prox,
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(3, np.float16), "float16"),
        (np.ones(3, np.longdouble), "float128"),
        (np.ones(3, complex), "complex128"),
        (np.ones(3, np.dtype(float).newbyteorder()), "native byte order"),
        (np.ones(3, object), "object"),
        (1j, "complex"),
        (np.float16(1), "float16"),
        (np.longdouble(1), "float128"),
        (2**70, "object"),
        (None, "NoneType"),
        ("w", "str"),
    ],
)
def test_arrays_of_the_wrong_kind(function, value, message):
    with pytest.raises(TypeError, match=rf"[\w.]+: (W|weights) must be .*{message}"):
        function(value)
    with pytest.raises(TypeError, match=rf"[\w.]+: (W|weights)\['b'\] must be .*{message}"):
        function({"a": np.ones(3), "b": value})
    with pytest.raises(TypeError, match=rf"[\w.]+: (W|weights)\[1\] must be .*{message}"):
        function([np.ones(3), value])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<i4", ">i4", "i8", "u8"])
def test_integers_and_truth_values_count_as_float64(function, dtype):
    given = np.arange(12).astype(dtype).reshape(3, 4)
    expected = function(given.astype(float))
    for form in (given, np.asfortranarray(given), given[:, ::-1][:, ::-1]):
        np.testing.assert_equal(function(form), expected)
        np.testing.assert_equal(function([form]), function([given.astype(float)]))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [-2.0, -2, True, np.float64(-2), np.int8(-2), np.bool_(True)])
def test_plain_numbers_are_weights(function, value):
    found, expected = function(value), function(np.float64(value).reshape(1))
    found, expected = (
        result if isinstance(result, tuple) else (result,) for result in (found, expected)
    )
    for one, other in zip(found, expected, strict=True):
        assert type(one) in (float, np.float64)
        assert one == np.ravel(other)[0]
    np.testing.assert_equal(function({"b": value}), function({"b": np.asarray(float(value))}))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_and_generators_are_lists(function):
    params = {"W": np.ones((2, 3)), "b": np.array([1.0, -2.0])}
    expected = function(list(params.values()))
    np.testing.assert_equal(function(params.values()), expected)
    np.testing.assert_equal(function(array for array in params.values()), expected)


def test_a_float32_number_stays_one():
    assert type(l1_gradient(np.float32(-2))) is np.float32


def test_outputs_that_do_not_fit():
    w = {"a": np.arange(4.0), "b": np.arange(4.0)}
    kept = {name: array.copy() for name, array in w.items()}
    buffer = np.ones(12)
    cases = [
        ([w["a"], w["b"]], TypeError, "out must be a dict as the weights are, got list"),
        ({"a": np.ones(4)}, ValueError, r"out must have the entries \['a', 'b'\], got \['a'\]"),
        ({"a": np.ones(4), "b": None}, TypeError, r"out\['b'\] must be a float32 or float64 array"),
        ({"a": np.ones(4), "c": np.ones(4)}, ValueError, r"got \['a', 'c'\]"),
        ({"a": np.ones(4), "b": np.ones(3)}, ValueError, r"out\['b'\] must have shape \(4,\)"),
        ({"a": np.ones(4), "b": np.ones(4, "f4")}, TypeError, r"out\['b'\] must be float64"),
        ({"a": np.ones(4), "b": buffer[::3]}, ValueError, r"out\['b'\] must be C-contiguous"),
        ({"a": buffer[:4], "b": buffer[3:7]}, ValueError, r"out\['b'\] must share no memory"),
        ({"a": buffer[4:8], "b": buffer[2:6]}, ValueError, r"out\['a'\] must share no memory"),
        ({"a": w["b"], "b": w["a"]}, ValueError, "must share no memory"),
        ({"a": w["b"], "b": np.ones(4)}, ValueError, "must share no memory"),
    ]
    for out, error, message in cases:
        for form in GRADIENTS.values():
            with pytest.raises(error, match=message):
                form(fastreg, w, out=out)
    for name in w:
        np.testing.assert_array_equal(w[name], kept[name])
    np.testing.assert_array_equal(buffer, 1.0)
    tied = np.arange(4.0)
    with pytest.raises(ValueError, match="must share no memory"):
        l2_gradient([tied, tied], out=[tied, np.ones(4)])
    apart = [np.zeros(4), np.zeros(4)]
    assert l2_gradient([tied, tied], out=apart)[1] is apart[1]
    np.testing.assert_array_equal(apart[0], apart[1])
    assert l2_gradient(w, 1.0, out=w)["a"] is w["a"]

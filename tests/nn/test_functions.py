"""exp, log, tanh, erf and what is made of them: exact to 2 ulp, and the same bits everywhere."""

import harness
import mpmath
import numpy as np
import pytest
from harness import same_bits

from fastreg import reference
from fastreg._core import _kernels
from fastreg.nn import GELU, Dense, Sigmoid, Tanh, binary_cross_entropy, mse, softmax_cross_entropy
from fastreg.nn.links import softmax

EXACT = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
}
#: Where one formula hands over to another, and where results leave the range.
EDGES = {
    "exp": [-745.2, -708.4, -104.0, -87.4, 0.34657359, 88.73, 89.0, 709.8, 710.0],
    "log": [0.70710678, 1.0, 1.41421356, 2.0],
    "log1p": [0.41421356, 1.0, 1.5],
    "tanh": [-0.625, 0.625, 0.86643398, 9.1, 19.1, 20.0, 22.0, 40.0],
    "erf": [-1.0, 1.0, 3.92, 5.93, 8.0],
}
DOMAIN = {"exp": -np.inf, "log": 0.0, "log1p": 0.0, "tanh": -np.inf, "erf": -np.inf}
LAYERS = {
    "tanh": (Tanh, reference.Tanh),
    "sigmoid": (Sigmoid, reference.Sigmoid),
    "gelu": (GELU, reference.GELU),
    "normal_gelu": (lambda: GELU(exact=True), lambda: reference.GELU(exact=True)),
}


def points(name, dtype, rng, n=3):
    """Some numbers of every binade and both signs, and the edges with their neighbours."""
    low, high = np.finfo(dtype).minexp - np.finfo(dtype).nmant, np.finfo(dtype).maxexp
    powers = np.repeat(np.arange(low, high), n)
    x = np.ldexp(rng.uniform(1, 2, len(powers)), powers).astype(dtype)
    near = np.array(EDGES[name], dtype)
    dense = rng.uniform(-30, 30, 300).astype(dtype)
    x = np.concatenate([x, -x, near, np.nextafter(near, dtype(-np.inf)), dense,
                        np.nextafter(near, dtype(np.inf))])  # fmt: skip
    return x[(x >= DOMAIN[name]) & np.isfinite(x)]


def all_bits(dtype, rng, n):
    """Numbers of any bits, ordinary ones, and the special ones."""
    kind = np.uint32 if dtype == np.float32 else np.uint64
    any_bits = rng.integers(0, np.iinfo(kind).max, n, dtype=kind, endpoint=True).view(dtype)
    ordinary = (rng.normal(size=n) * rng.choice([1.0, 10.0, 100.0], n)).astype(dtype)
    return np.concatenate([harness.specials(dtype), any_bits, ordinary])


@pytest.mark.parametrize("name", EXACT)
def test_functions_are_exact_to_two_ulp(name, dtype, guarded, fixed_rng):
    info, x = np.finfo(dtype), guarded(points(name, dtype, fixed_rng))
    found = _kernels.activate("f", name, x)
    with mpmath.workprec(120):
        for value, got in zip(x.tolist(), found.tolist(), strict=True):
            value = max(-2000.0, min(value, 2000.0)) if name in ("exp", "tanh") else value
            value = max(-50.0, min(value, 50.0)) if name == "erf" else value
            want = EXACT[name](mpmath.mpf(value)) if value or name != "log" else -mpmath.inf
            if abs(want) > info.max or mpmath.isinf(want):
                assert abs(got) >= info.max and (got > 0) == (want > 0), value
                continue
            power = mpmath.frexp(want)[1] if want else info.minexp
            ulp = mpmath.ldexp(1, max(power, info.minexp + 1) - info.nmant - 1)
            assert abs(mpmath.mpf(got) - want) <= 2 * ulp, (value, got)


@pytest.mark.parametrize("name", [*EXACT, "sigmoid", "gelu"])
def test_functions_of_float32_are_exact_all_over_its_range(name, guarded):
    """A number in 4099 of all there are; all of them have been tried once (see the headers)."""
    x = np.arange(0, 2**32, 4099, np.uint64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x) & (x >= DOMAIN.get(name, -np.inf))]
    wide = x.astype(np.float64)
    exact = _kernels.activate("f", name, wide)  # good to 2 ulp of its own, as shown above
    found = _kernels.activate("f", name, guarded(x))
    inside = np.abs(exact) <= np.finfo(np.float32).max
    ulp = np.spacing(np.maximum(np.abs(exact[inside]), np.finfo(np.float32).tiny).astype("f4"))
    assert (np.abs(found[inside] - exact[inside]) <= 2.0 * ulp).all()
    assert np.isinf(found[~inside]).all()


@pytest.mark.parametrize("name", ["exp", "log", "log1p", "tanh"])
def test_functions_rise_with_their_argument(name, dtype, guarded, rng):
    if name == "exp" and dtype == np.float64:
        pytest.skip("falls back by an ulp in places")
    dense = [start + np.arange(2000) * np.spacing(start) for start in np.array(EDGES[name], dtype)]
    x = np.sort(np.concatenate([points(name, dtype, rng, 20), *dense]))
    x = x[x >= DOMAIN[name]]
    found = _kernels.activate("f", name, guarded(x.astype(dtype)))
    assert (found[1:] >= found[:-1]).all()


def test_functions_of_special_values(dtype, guarded):
    zero, inf, nan = dtype(0), dtype(np.inf), dtype(np.nan)
    x = guarded(np.array([zero, -zero, inf, -inf, nan]))
    expected = {
        "exp": [1, 1, inf, 0, nan],
        "log": [-inf, -inf, inf, nan, nan],
        "tanh": [zero, -zero, 1, -1, nan],
        "erf": [zero, -zero, 1, -1, nan],
        "sigmoid": [0.5, 0.5, 1, 0, nan],
        "gelu": [zero, -zero, inf, -zero, nan],
        "normal_gelu": [zero, -zero, inf, -zero, nan],
    }
    for name, wanted in expected.items():
        same_bits(_kernels.activate("f", name, x), np.array(wanted, dtype))
    tiny = guarded(np.array([np.finfo(dtype).smallest_subnormal, -np.finfo(dtype).tiny]))
    same_bits(_kernels.activate("f", "tanh", tiny), tiny)


@pytest.mark.parametrize("name", EXACT)
def test_functions_have_the_bits_of_their_twins(name, dtype, level, guarded, rng):
    x = all_bits(dtype, rng, 20_000)
    x = guarded(np.abs(x) if name == "log1p" else x, offset=1)
    same_bits(_kernels.activate("f", name, x), getattr(reference, name)(x))


@pytest.mark.parametrize("kind", LAYERS)
def test_activations_have_the_bits_of_their_twins(kind, dtype, level, threads, rng):
    for size in (1, 15, 17, harness.BLOCK + 1, 5 * harness.BLOCK + 17):
        x = all_bits(dtype, rng, size // 2)
        dy = rng.normal(size=x.shape).astype(dtype)
        layer, twin = LAYERS[kind][0](), LAYERS[kind][1]()
        with np.errstate(all="raise"):
            y, dx = layer.forward(x), layer.backward(dy)
        same_bits(y, twin.forward(x))
        same_bits(dx, twin.backward(dy))


@pytest.mark.parametrize("kind", LAYERS)
def test_activations_take_any_layout_and_stay_inside_their_arrays(kind, dtype, guarded, rng):
    X = rng.normal(size=(7, 33)).astype(dtype)
    dY = rng.normal(size=X.shape).astype(dtype)
    layer = LAYERS[kind][0]()
    Y, dX = layer.forward(X), layer.backward(dY)
    for name, same in harness.layouts(X).items():
        gradient = harness.layouts(dY)[name]
        assert (layer.forward(same) == Y).all() and (layer.backward(gradient) == dX).all()
    same_bits(layer.forward(guarded(X, offset=1)), Y)
    same_bits(layer.backward(guarded(dY, offset=1)), dX)


@pytest.mark.parametrize("kind", LAYERS)
def test_large_outputs_which_are_streamed_have_the_bits_of_small_ones(kind, dtype, level, rng):
    part = all_bits(dtype, rng, 3 * harness.BLOCK + 21)
    few = rng.normal(size=part.shape).astype(dtype)
    layer, times = LAYERS[kind][0](), 9 * 2**20 // part.nbytes + 1
    expected = layer.forward(part), layer.backward(few)
    found = layer.forward(np.tile(part, times)), layer.backward(np.tile(few, times))
    for many, one in zip(found, expected, strict=True):
        same_bits(many, np.tile(one, times))


@pytest.mark.parametrize("kind", ["gelu", "normal_gelu"])
def test_the_tails_of_gelu_keep_their_digits(kind, dtype):
    """From where rounding x^2 would cost hundreds of ulp to where results are subnormal."""
    lowest = {"gelu": (-10.2, -21.9), "normal_gelu": (-14.1, -38.3)}[kind]
    x = np.linspace(-3, lowest[dtype == np.float64], 60).astype(dtype)
    layer = LAYERS[kind][0]()
    y, dx = layer.forward(x), layer.backward(np.ones_like(x))
    tiny = np.finfo(dtype).smallest_subnormal
    with mpmath.workprec(200):
        root, third = 2 * mpmath.sqrt(2 / mpmath.pi), mpmath.mpf(0.044715)
        for value, got, slope in zip(x.tolist(), y.tolist(), dx.tolist(), strict=True):
            z = mpmath.mpf(value)
            if kind == "gelu":
                gate = 1 / (1 + mpmath.exp(-root * (z + third * z**3)))
                rise = gate * (1 - gate) * root * (1 + 3 * third * z**2)
            else:
                gate, rise = mpmath.ncdf(z), mpmath.npdf(z)
            for found, exact in ((got, z * gate), (slope, gate + z * rise)):
                room = 8 * abs(exact) * float(np.finfo(dtype).eps) + 2 * float(tiny)
                assert abs(found - exact) <= room, (value, found)


def test_the_slope_of_gelu_keeps_its_digits_at_its_zero(guarded):
    """Where it is a difference: both float32 neighbours of the zero, and numbers around them."""
    zero = np.float32(-0.7524614)
    steps = np.concatenate([np.arange(-60, 61), 2000 * np.arange(-60, 61)])
    x = np.array(sorted({float(zero + k * np.spacing(zero)) for k in steps}), np.float32)
    found = _kernels.activate_backward("f", "gelu", guarded(np.ones_like(x)), guarded(x))
    with mpmath.workprec(120):
        root, third = 2 * mpmath.sqrt(2 / mpmath.pi), mpmath.mpf(0.044715)
        for value, got in zip(x.tolist(), found, strict=True):
            z = mpmath.mpf(value)
            gate = 1 / (1 + mpmath.exp(-root * (z + third * z**3)))
            exact = gate + z * gate * (1 - gate) * root * (1 + 3 * third * z**2)
            assert abs(mpmath.mpf(float(got)) - exact) <= 2 * float(np.spacing(abs(got))), value


@pytest.mark.parametrize("kind", LAYERS)
def test_a_large_gradient_keeps_the_digits_of_a_vanishing_slope(kind, dtype):
    """The slope itself would be subnormal or 0; its product with dY is not."""
    far = {"tanh": (-50, -365), "sigmoid": (-98, -730), "gelu": (-10.4, -22.1),
           "normal_gelu": (-14.0, -38.4)}[kind][dtype == np.float64]  # fmt: skip
    layer, large = LAYERS[kind][0](), dtype(2.0**100)
    x = np.array([far], dtype)
    layer.forward(x)
    product = layer.backward(np.array([large]))
    wide = LAYERS[kind][1]()
    wide.forward(x.astype(np.float64))
    exact = wide.backward(np.array([2.0**100])) if dtype == np.float32 else product
    assert product != 0 and abs(product / exact - 1) < 1e-5


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (70, 7), (5, 1025), (2, 40000)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [binary_cross_entropy, mse], ids=lambda f: f.__name__)
def test_losses_of_targets_have_the_bits_of_the_base_level(
    loss, weighted, shape, dtype, level, threads, fixed_rng
):
    z = (5 * fixed_rng.normal(size=shape)).astype(dtype)
    t = fixed_rng.uniform(size=shape).astype(dtype)
    weights = fixed_rng.uniform(size=shape[0]) if weighted else None
    value, gradient = loss(z, t, sample_weight=weights)
    with harness.serial_base():
        expected, wanted = loss(z, t, sample_weight=weights)
    assert value == expected
    same_bits(gradient, wanted)
    twin, slopes = getattr(reference, loss.__name__)(z, t, sample_weight=weights)
    few = 64 * float(np.finfo(dtype).eps)
    assert value == pytest.approx(twin, rel=few)
    np.testing.assert_allclose(gradient, slopes, rtol=few, atol=0)


def test_the_softmax_of_a_row_sums_to_one_at_every_level(dtype, level, threads, fixed_rng):
    z = (10 * fixed_rng.normal(size=(300, 77))).astype(dtype)
    p = softmax(z)
    exact = np.exp(z.astype(np.longdouble))
    np.testing.assert_allclose(p, exact / exact.sum(axis=1, keepdims=True),
                               rtol=40 * np.finfo(dtype).eps)  # fmt: skip
    with harness.serial_base():
        same_bits(softmax(z), p)


@pytest.mark.parametrize("init", ["he", "glorot", "normal"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 301)], ids=str)
def test_initial_weights_are_those_of_the_twin_at_every_level(init, shape, dtype, level):
    """Which takes nothing from NumPy's generator but integers."""
    found, twin = (kind(*shape, init=init, rng=7, dtype=dtype) for kind in (Dense, reference.Dense))
    same_bits(found.W, twin.W)
    if shape == (40, 301):
        spread = {"he": 2 / 40, "glorot": 2 / 341, "normal": 1.0}[init] ** 0.5
        assert abs(found.W.mean()) < 0.04 * spread and abs(found.W.std() / spread - 1) < 0.03


def test_initial_weights_are_known():
    """Of PCG64's words and fixed arithmetic: the same on every machine."""
    with np.errstate(all="raise"):
        found = Dense(2, 2, init="normal", rng=0, dtype=np.float64).W
    assert [value.hex() for value in found.ravel()] == [
        "-0x1.949c500000000p-2",
        "0x1.bb45f40000000p-1",
        "0x1.a3051a0000000p-2",
        "0x1.8feefe0000000p-2",
    ]


def test_no_function_of_a_library_is_left_in_a_step(monkeypatch, rng):
    """NumPy's transcendental functions are out of order, and nothing minds."""

    def broken(*arguments, **options):
        raise AssertionError("a transcendental function of NumPy")

    z, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    for name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "power", "cosh"):
        monkeypatch.setattr(np, name, broken)
    for kind in LAYERS:
        layer = LAYERS[kind][0]()
        layer.backward(layer.forward(z))
    Dense(4, 3, rng=0)
    softmax_cross_entropy(z, labels, label_smoothing=0.1)
    binary_cross_entropy(z, 1.0 * (z > 0))
    mse(z, z)
    softmax(z)

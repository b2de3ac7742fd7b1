"""Norms of rows: one bit pattern for all threads and levels, exact and torch oracles."""

import copy
import fractions
import itertools
import pickle

import harness
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreg import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, num_threads, reference
from fastreg._core import _kernels

pytestmark = pytest.mark.filterwarnings("ignore:BatchNorm.forward. a training batch with one")

#: Rows at the edges of lanes (32), streamed runs (1024), blocks (2048), tiles and chunks.
ROWS = [
    (1, 1), (3, 1), (2, 2), (5, 15), (33, 16), (9, 17), (70, 31), (8, 32), (7, 33), (300, 64),
    (3, 1023), (2, 1025), (17, 2047), (2, 2049), (1100, 65), (5000, 10), (40, 4100), (2, 70_000),
]  # fmt: skip
#: (N, C, L) and groups: runs of one element, of two, short, at the edges, longer than a block; some
#: in chunks that begin inside a sample.
IMAGES = [
    ((3, 4), 2), ((70, 6), 3), ((4000, 35), 5), ((5, 6, 2), 3), ((2, 4, 3), 2), ((5, 6, 16), 3),
    ((3, 8, 49), 4), ((2, 4, 33), 1), ((2, 2, 1025), 2), ((1, 4, 2049), 2), ((40, 8, 300), 8),
    ((3, 2, 5, 7), 1), ((1, 2, 70_000), 1),
]  # fmt: skip


def layers():
    """Each class with its edge shapes, as (name of the class, arguments, shape)."""
    for shape in ROWS:
        yield "LayerNorm", (shape[1],), shape
        yield "RMSNorm", (shape[1],), shape
    yield "LayerNorm", ((4, 5),), (3, 2, 4, 5)
    for shape, groups in IMAGES:
        yield "GroupNorm", (groups, shape[1]), shape
        if len(shape) > 2:
            yield "InstanceNorm", (shape[1],), shape
            yield "BatchNorm", (shape[1],), shape


CASES = list(layers())
IDS = [f"{name}{arguments}{shape}".replace(" ", "") for name, arguments, shape in CASES]
FAST = {"BatchNorm": BatchNorm, "LayerNorm": LayerNorm, "RMSNorm": RMSNorm,
        "GroupNorm": GroupNorm, "InstanceNorm": InstanceNorm}  # fmt: skip


def make(name, arguments, library=FAST):
    """A layer whose parameters are all different."""
    layer = library[name](*arguments, affine=True)
    for parameter, first, last in (("gamma", 0.5, 2.0), ("beta", -1.0, 1.0)):
        values = getattr(layer, parameter, None)
        if values is not None:
            values[...] = np.linspace(first, last, values.size).reshape(values.shape)
    return layer


def run(layer, X, dY):
    Y = layer.forward(X)
    dX = layer.backward(dY)
    return [Y, dX, *(getattr(layer, name) for name in ("dgamma", "dbeta") if hasattr(layer, name))]


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES, ids=IDS)
def test_same_bits_for_every_level_and_thread_count(name, arguments, shape, dtype, rng):
    X, dY = rng.normal(3, 2, size=(2, *shape)).astype(dtype)
    with harness.serial_base():
        expected = run(make(name, arguments), X, dY)
    for level, threads in itertools.product(_kernels.levels(), harness.THREADS):
        with harness.at_level(level), num_threads(threads):
            results = run(make(name, arguments), X, dY)
        for actual, wanted in zip(results, expected, strict=True):
            harness.same_bits(actual, wanted)


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES, ids=IDS)
def test_close_to_the_reference_in_long_double(name, arguments, shape, dtype, guarded, fixed_rng):
    X, dY = fixed_rng.normal(3, 2, size=(2, *shape)).astype(dtype)
    layer, twin = make(name, arguments), make(name, arguments, vars(reference))
    Y = layer.forward(guarded(X, offset=1), out=guarded(np.zeros_like(X)))
    dX = layer.backward(guarded(dY), out=guarded(np.zeros_like(X), offset=2))
    exact_Y = twin.forward(X.astype(np.longdouble)).astype(float)
    exact_dX = twin.backward(dY.astype(np.longdouble)).astype(float)
    eps = np.finfo(dtype).eps
    # A float64 mean is rounded to eps * 3: so much is lost of x - mean, in units of the spread.
    inv_std = float(np.abs(getattr(twin, "_inv_std", getattr(twin, "_inv_rms", 0))).max())
    bound = 8 * eps * (np.abs(exact_Y).max() + 3 * max(1.0, inv_std))
    np.testing.assert_allclose(Y, exact_Y, rtol=0, atol=bound)
    np.testing.assert_allclose(
        dX, exact_dX, rtol=0, atol=16 * eps * 20 * inv_std * max(1.0, inv_std)
    )
    count = X.size / layer.gamma.size
    bound = eps * (640 * np.sqrt(count) + 9 * count * inv_std)
    np.testing.assert_allclose(layer.dgamma, twin.dgamma, rtol=8 * eps, atol=bound)
    if name != "RMSNorm":
        np.testing.assert_allclose(layer.dbeta, twin.dbeta, rtol=8 * eps, atol=bound)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e7])
@pytest.mark.parametrize("size", [7, 517, 5000])
def test_statistics_against_exact_rationals(mean, size, dtype, guarded, fixed_rng):
    """Mean 1e7 with spread 1: where E[x^2] - E[x]^2 has no digit left."""
    X = guarded((fixed_rng.normal(size=(2, size)) + mean).astype(dtype), offset=1)
    ones, zeros = guarded(np.ones(size, dtype)), guarded(np.zeros(size, dtype))
    Y, epsilon = guarded(np.empty_like(X)), 1e-300
    _, statistics = _kernels.row_normalize(
        "test", X, Y, False, (2, 1, size), ones, zeros, epsilon, True
    )
    batch = _kernels.batch_statistics(X.reshape(1, 2, size), epsilon)
    for row in range(2):
        values = [fractions.Fraction(float(x)) for x in X[row]]
        exact_mean = sum(values) / size
        exact_var = sum((x - exact_mean) ** 2 for x in values) / size
        eps = float(np.finfo(dtype).eps)
        for found, inv_std in (statistics[row], batch[[0, 2], row]):
            slack = max(np.spacing(dtype(abs(mean))), eps * float(exact_var) ** 0.5)
            assert abs(fractions.Fraction(float(found)) - exact_mean) <= slack
            assert inv_std**-2 == pytest.approx(float(exact_var), rel=4 * eps)
        np.testing.assert_allclose(batch[1, row], float(exact_var), rtol=4 * eps)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e30, 12345.678])
@pytest.mark.parametrize("size", [1, 5, 33, 5000])
def test_constant_rows_have_variance_zero(value, size, dtype, guarded):
    X = guarded(np.full((2, 3, size), value, dtype), offset=1)
    layer = LayerNorm(size)
    layer.beta[:] = np.arange(size)
    np.testing.assert_array_equal(layer.forward(X), np.broadcast_to(layer.beta, X.shape))
    np.testing.assert_array_equal(layer.backward(np.ones_like(X)) * 0, 0.0)
    for norm in (GroupNorm(1, 3), InstanceNorm(3), BatchNorm(3)):
        np.testing.assert_array_equal(norm.forward(X), 0.0)
    if size > 1:
        np.testing.assert_array_equal(_kernels.batch_statistics(X, 1.0)[1], 0.0)


@pytest.mark.parametrize("length", [47, 4001])
def test_a_large_mean_comes_out_right(length, dtype, fixed_rng):
    X = (fixed_rng.normal(size=(5, 3, length)) + 1e7).astype(dtype)
    dY = fixed_rng.normal(size=X.shape).astype(dtype)
    # float32 rounds results alone; in float64 the mean itself is a float64, 2e-9 apart at 1e7.
    atol = 8e-7 if dtype is np.float32 else 4e-9
    for name, arguments in (
        ("LayerNorm", (length,)), ("GroupNorm", (1, 3)), ("InstanceNorm", (3,)), ("BatchNorm", (3,))
    ):  # fmt: skip
        layer, twin = make(name, arguments), make(name, arguments, vars(reference))
        Y, dX, dgamma, _ = run(layer, X, dY)
        wide = [array.astype(np.longdouble) for array in (X, dY)]
        exact_Y, exact_dX, exact_dgamma, _ = (np.asarray(a, float) for a in run(twin, *wide))
        np.testing.assert_allclose(Y, exact_Y, atol=2 * atol)
        np.testing.assert_allclose(dX, exact_dX, atol=4 * atol)
        np.testing.assert_allclose(dgamma, exact_dgamma, atol=60 * atol)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("LayerNorm", (5,), (4, 5)),
        ("LayerNorm", ((2, 3),), (3, 2, 3)),
        ("RMSNorm", (5,), (4, 5)),
        ("GroupNorm", (2, 4), (3, 4)),
        ("GroupNorm", (2, 4), (2, 4, 3)),
        ("InstanceNorm", (2,), (2, 2, 2, 2)),
        ("BatchNorm", (2,), (2, 2, 3)),
    ],
)
def test_backward_agrees_with_finite_differences(name, arguments, shape, fixed_rng):
    X, dY = fixed_rng.normal(size=(2, *shape))
    layer = make(name, arguments)
    dX, *gradients = run(layer, X, dY)[1:]
    parameters = [layer.gamma, layer.beta][: len(gradients)] if name != "RMSNorm" else [layer.gamma]

    def loss():
        return float((copy.deepcopy(layer).forward(X) * dY).sum())

    for value, gradient in zip([X, *parameters], [dX, *gradients], strict=True):
        assert gradient.shape == value.shape
        for index in np.ndindex(value.shape):
            kept, sides = value[index], []
            for step in (1e-5, -1e-5):
                value[index] = kept + step
                sides.append(loss())
            value[index] = kept
            assert gradient[index] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=2e-7)


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES[::5], ids=IDS[::5])
def test_layouts_and_output_in_place(name, arguments, shape, dtype, rng):
    X, dY = rng.normal(size=(2, *shape)).astype(dtype)
    layer = make(name, arguments)
    expected = run(layer, X, dY)
    flat = X.reshape(len(X), -1), dY.reshape(len(X), -1)
    pairs = zip(*(harness.layouts(matrix).values() for matrix in flat), strict=True)
    for laid_out_X, laid_out_dY in pairs:
        X_view, dY_view = laid_out_X.reshape(shape), laid_out_dY.reshape(shape)
        for actual, wanted in zip(run(layer, X_view, dY_view), expected, strict=True):
            harness.same_bits(actual, wanted)
    harness.same_bits(run(layer, np.asfortranarray(X), np.asfortranarray(dY))[1], expected[1])
    layer.forward(X)
    in_place = dY.copy()
    assert layer.backward(in_place, out=in_place) is in_place
    harness.same_bits(in_place, expected[1])
    if name != "BatchNorm":
        layer.eval()
        in_place = X.copy()
        assert layer.forward(in_place, out=in_place) is in_place
        harness.same_bits(in_place, expected[0])


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("LayerNorm", (1000,), (1000, 1000)),
        ("LayerNorm", (1025,), (1030, 1025)),
        ("LayerNorm", (300_001,), (4, 300_001)),
        ("RMSNorm", (11,), (100_003, 11)),
        ("GroupNorm", (8, 64), (40, 64, 401)),
        ("InstanceNorm", (3,), (7, 3, 53_001)),
        ("BatchNorm", (64,), (40, 64, 401)),
    ],
)
def test_streamed_outputs_have_the_same_bits(name, arguments, shape, rng, guarded):
    """Where the output is written past the caches, and where it is not: in place."""
    X, dY = rng.normal(size=(2, *shape))  # float64, 8 MB at least
    layer = make(name, arguments)
    Y, dX = layer.forward(X, out=guarded(X * 0, offset=1)), layer.backward(dY)
    in_place = dY.copy()
    harness.same_bits(layer.backward(in_place, out=in_place), dX)
    if name != "BatchNorm":
        layer.eval()
        harness.same_bits(layer.forward(X, out=X), Y)


def test_special_values_stay_in_their_row(dtype, rng):
    for name, arguments in (("LayerNorm", (20,)), ("GroupNorm", (1, 20)), ("RMSNorm", (20,))):
        X = rng.normal(size=(len(harness.specials(dtype)), 20)).astype(dtype)
        X[:, 7] = harness.specials(dtype)
        with np.errstate(all="ignore"):
            Y = make(name, arguments).forward(X)
        bad = ~np.isfinite(X[:, 7])
        assert np.isnan(Y[bad, 7]).all()
        huge = np.abs(X[:, 7]) > 1e30  # squares overflow: nothing can be said of those rows
        for row in np.flatnonzero(~bad & ~huge):
            harness.same_bits(Y[row : row + 1], make(name, arguments).forward(X[row : row + 1]))
        assert np.isfinite(Y[~bad & ~huge]).all()


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 80)),
    seed=st.integers(0, 2**32 - 1),
    shift=st.sampled_from([0.0, 5.0, -1e4]),
)
def test_rows_do_not_know_of_each_other(shape, seed, shift):
    """A row's result is the same bits alone, in any batch and in either mode."""
    X = np.random.default_rng(seed).normal(shift, 1.0, shape).astype(np.float32)
    for layer in (LayerNorm(shape[1]), RMSNorm(shape[1]), GroupNorm(1, shape[1])):
        Y = layer.forward(X)
        layer.eval()
        k = seed % shape[0]
        harness.same_bits(layer.forward(X[k : k + 1]), Y[k : k + 1])
        harness.same_bits(layer.forward(X[::-1])[::-1], Y)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(2, 80)),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1.0, 2.0, 1024.0, -0.25]),
)
def test_layer_norm_forgets_scale_and_shift(shape, seed, scale):
    """Without epsilon to speak of, a x + b gives the sign of a times the output for x."""
    X = np.random.default_rng(seed).normal(size=shape)
    layer = LayerNorm(shape[1], epsilon=1e-200)
    expected = np.sign(scale) * layer.forward(X)
    np.testing.assert_allclose(layer.forward(scale * X + 3.0), expected, atol=1e-8)
    np.testing.assert_allclose(expected.mean(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(expected.var(axis=1), 1.0, atol=1e-6)


def test_group_norm_joins_layer_norm_and_instance_norm(fixed_rng):
    X = fixed_rng.normal(size=(3, 4, 6))
    as_layer = LayerNorm((4, 6), affine=False).forward(X)
    np.testing.assert_allclose(GroupNorm(1, 4, affine=False).forward(X), as_layer, atol=1e-14)
    harness.same_bits(GroupNorm(4, 4, affine=False).forward(X), InstanceNorm(4).forward(X))


def test_the_chapters_comparison(rng):
    """Layer norm depends on neither batch nor mode, batch norm on both."""
    X = rng.normal(3.0, 2.0, size=(8, 5))
    for size in (1, 2, 8):
        batch, layer = BatchNorm(5), LayerNorm(5)
        whole_batch, whole_layer = BatchNorm(5).forward(X)[:size], LayerNorm(5).forward(X)[:size]
        Y_batch, Y_layer = batch.forward(X[:size]), layer.forward(X[:size])
        harness.same_bits(Y_layer, whole_layer)
        assert np.allclose(Y_batch, whole_batch) == (size == 8)
        batch.eval()
        layer.eval()
        harness.same_bits(layer.forward(X[:size]), Y_layer)
        assert not np.allclose(batch.forward(X[:size]), Y_batch)
    assert not hasattr(layer, "running_mean")


def test_without_parameters(rng):
    X = rng.normal(size=(4, 6, 5)).astype(np.float32)
    for name, arguments in (("LayerNorm", (5,)), ("RMSNorm", (5,)), ("GroupNorm", (2, 6)),
                            ("InstanceNorm", (6,)), ("BatchNorm", (6,))):  # fmt: skip
        bare, full = FAST[name](*arguments, affine=False), FAST[name](*arguments, affine=True)
        assert bare.gamma is None
        harness.same_bits(bare.forward(X), full.forward(X))
        harness.same_bits(bare.backward(X), full.backward(X))
        assert bare.dgamma is None
        assert full.dgamma is not None


def test_empty_inputs():
    for layer, shape in (
        (LayerNorm(3), (0, 3)), (RMSNorm(3), (0, 3)), (GroupNorm(1, 3), (0, 3)),
        (GroupNorm(3, 3), (2, 3, 0)), (InstanceNorm(3, affine=True), (0, 3, 4)),
    ):  # fmt: skip
        X = np.zeros(shape)
        assert layer.forward(X).shape == shape
        assert layer.backward(X).shape == shape
        np.testing.assert_array_equal(layer.dgamma, 0.0)


NORMS = [("BatchNorm", (3,)), ("LayerNorm", (3,)), ("RMSNorm", (3,)), ("GroupNorm", (3, 3))]


@pytest.mark.parametrize(("name", "arguments"), NORMS)
def test_float32_parameters_give_float32_gradients(name, arguments, rng):
    layer = make(name, arguments)
    names = [parameter for parameter in ("gamma", "beta") if hasattr(layer, parameter)]
    for parameter in names:
        setattr(layer, parameter, getattr(layer, parameter).astype(np.float32))
    layer.forward(rng.normal(size=(5, 3)))
    layer.backward(rng.normal(size=(5, 3)))
    assert [getattr(layer, f"d{parameter}").dtype for parameter in names] == [np.float32] * len(
        names
    )


@pytest.mark.parametrize(("name", "arguments"), NORMS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_behave_alike(clone, name, arguments, rng):
    X, dY = rng.normal(size=(2, 8, 3))
    layer = make(name, arguments)
    layer.forward(X)
    copied = clone(layer)  # without the last batch
    with pytest.raises(RuntimeError, match="forward must be called first"):
        copied.backward(dY)
    harness.same_bits(layer.forward(X), copied.forward(X))
    harness.same_bits(layer.backward(dY), copied.backward(dY))
    harness.same_bits(layer.dgamma, copied.dgamma)


TORCH = [
    ("LayerNorm", (6,), lambda nn: nn.LayerNorm(6), (50, 6)),
    ("LayerNorm", ((5, 6),), lambda nn: nn.LayerNorm((5, 6)), (50, 5, 6)),
    ("RMSNorm", (6,), lambda nn: nn.RMSNorm(6, eps=1e-5), (50, 6)),
    ("GroupNorm", (3, 6), lambda nn: nn.GroupNorm(3, 6), (50, 6, 4)),
    ("InstanceNorm", (6,), lambda nn: nn.InstanceNorm1d(6, affine=True), (10, 6, 40)),
    ("InstanceNorm", (6,), lambda nn: nn.InstanceNorm2d(6, affine=True), (10, 6, 5, 8)),
    ("BatchNorm", (6,), lambda nn: nn.BatchNorm1d(6), (10, 6, 4)),
    ("BatchNorm", (6,), lambda nn: nn.BatchNorm2d(6), (3, 6, 5, 8)),
]


@pytest.mark.parametrize(("name", "arguments", "peer", "shape"), TORCH)
def test_agrees_with_torch(name, arguments, peer, shape, fixed_rng):
    torch = pytest.importorskip("torch")
    X, dY = fixed_rng.normal(3, 2, size=(2, *shape)).astype(np.float32)
    layer, peer = make(name, arguments), peer(torch.nn).double()  # its own rounding is not at stake
    for ours, theirs in (("gamma", "weight"), ("beta", "bias")):
        if getattr(peer, theirs, None) is not None:
            value = torch.tensor(getattr(layer, ours)).reshape(getattr(peer, theirs).shape)
            getattr(peer, theirs).data[...] = value
    X_peer = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    Y_peer = peer(X_peer)
    Y_peer.backward(torch.tensor(dY, dtype=torch.float64))
    np.testing.assert_allclose(layer.forward(X), Y_peer.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(layer.backward(dY), X_peer.grad.numpy(), atol=1e-5)
    np.testing.assert_allclose(layer.dgamma.ravel(), peer.weight.grad.numpy().ravel(), atol=1e-4)
    if name != "RMSNorm":
        np.testing.assert_allclose(layer.dbeta.ravel(), peer.bias.grad.numpy().ravel(), atol=1e-4)


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_one_sample_is_a_batch_of_one(name, shape, dtype, fixed_rng):
    """Forward and backward, as torch, Keras and flax have it; so does the twin."""
    X, dY = fixed_rng.normal(size=(2, *shape)).astype(dtype)
    alone, batch, twin = FAST[name](shape), FAST[name](shape), getattr(reference, name)(shape)
    for layer in (alone, batch, twin):
        layer.gamma = np.linspace(0.5, 2, X.size).reshape(shape)
    Y = alone.forward(X)
    harness.same_bits(Y, batch.forward(X[None])[0])
    np.testing.assert_allclose(twin.forward(X), Y, rtol=1e-5)
    harness.same_bits(alone.backward(dY), batch.backward(dY[None])[0])
    np.testing.assert_allclose(twin.backward(dY), alone.backward(dY), rtol=1e-4, atol=1e-5)
    harness.same_bits(alone.dgamma, batch.dgamma)

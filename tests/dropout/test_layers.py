"""Every layer that draws noise: bits, gradients, shapes of noise, replay, refusals."""

import copy
import json

import harness
import numpy as np
import pytest
from forms import FORMS, make, rates
from hypothesis import given, settings
from hypothesis import strategies as st

import fastreg
from fastreg import (
    AlphaDropout,
    DropConnect,
    Dropout,
    SpatialDropout,
    reference,
)
from fastreg._core import _kernels


def test_same_bits_as_reference(form, level, threads, dtype, guarded, rng):
    for rate in rates(form):
        for size in (0, 1, 65, harness.BLOCK + 1, 2 * harness.BLOCK + 18):
            shape = (size, 1) if size % 2 else (size // 2, 2)
            x = rng.normal(size=size).astype(dtype)
            values = harness.specials(dtype)
            x[: min(size, values.size)] = values[: min(size, values.size)]
            x = x.reshape(shape)
            fast, slow = make(form, rate), make(form, rate, reference)
            with np.errstate(invalid="ignore", over="ignore"):
                for training in (True, True, False):
                    fast.training = slow.training = training
                    out = guarded(np.zeros_like(x), offset=size % 3)
                    assert fast.forward(guarded(x, offset=1), out=out) is out
                    harness.same_bits(out, slow.forward(x))
                    in_place = guarded(x)
                    harness.same_bits(fast.backward(in_place, out=in_place), slow.backward(x))


def test_results_without_out_and_streamed_ones_are_the_same(form, dtype, fixed_rng):
    """Outputs beyond the caches take another way to memory."""
    x = fixed_rng.normal(size=(1050, 2048 if dtype is np.float32 else 1024)).astype(dtype)
    fast = make(form)
    y = fast.forward(x)
    assert y.nbytes > 8 << 20 or y is x
    fast.reset()
    harness.same_bits(fast.forward(x, out=x.copy()), y)
    fast.reset()
    in_place = x.copy()
    harness.same_bits(fast.forward(in_place, out=in_place), y)


def test_layouts(form, dtype, rng):
    matrix = rng.normal(size=(37, 21)).astype(dtype)
    expected = make(form).forward(matrix)
    for laid_out in harness.layouts(matrix).values():
        harness.same_bits(make(form).forward(laid_out), expected)


def test_backward_is_the_derivative(form, fixed_rng):
    """The noise of one call is linear in X, but for a shift: differences are exact derivatives."""
    layer, X, dY = make(form), fixed_rng.normal(size=(6, 5)), fixed_rng.normal(size=(6, 5))
    Y = layer.forward(X)
    dX = layer.backward(dY)
    for i in np.ndindex(X.shape):
        moved = X.copy()
        moved[i] += 0.5
        layer.reset()
        change = layer.forward(moved) - Y
        np.testing.assert_allclose((change * dY).sum() / 0.5, dX[i], rtol=1e-12, atol=1e-14)


def test_inference(form, rng):
    layer, X = make(form, 0.25), rng.normal(size=(4, 5))
    layer.eval()
    if form == "Dropout plain":
        np.testing.assert_array_equal(layer.forward(X), X * 0.75)
        layer.drop_rate = 0.5  # backward belongs to the forward call before
        np.testing.assert_array_equal(layer.backward(X), X * 0.75)
    else:
        assert layer.forward(X) is X
        assert layer.backward(X) is X
    out = np.empty_like(X)
    assert layer.forward(X, out=out) is out
    assert layer.state_dict()["call"] == 0
    layer.train()
    layer.forward(X)
    assert layer.state_dict()["call"] == 1


def test_plain_dropout_has_the_same_mean_in_training_and_inference():
    layer = Dropout(0.2, rng=0, inverted=False)
    x = np.ones(200_000, np.float32)
    Y = layer.forward(x)
    assert set(Y) == {0.0, 1.0}
    np.testing.assert_array_equal(Y, layer.mask)
    layer.eval()
    assert abs(Y.mean() - layer.forward(x).mean()) < 6 * np.sqrt(0.2 * 0.8 / x.size)


def test_masks(form):
    layer, X = make(form, 0.4), np.ones((8, 6))
    name = "noise" if form == "GaussianDropout" else "mask"
    assert getattr(layer, name) is None
    Y = layer.forward(X)
    noise = getattr(layer, name)
    shapes = {"Dropout shared": (8, 1), "StochasticDepth": (8, 1), "StochasticDepth batch": (1, 1)}
    assert noise.shape == shapes.get(form, X.shape)
    if name == "noise":
        np.testing.assert_array_equal(Y, noise)
    else:
        low, high = Y.min(), Y.max()
        expected = np.where(noise == 1, high, low) + np.zeros_like(X)
        np.testing.assert_array_equal(Y, expected)


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
def test_channels_share_one_draw(axis):
    X = np.ones((5, 6, 7, 8), np.float32)
    layer = SpatialDropout(0.5, axis=axis, rng=2)
    Y = np.moveaxis(layer.forward(X), axis, 1).reshape(5, X.shape[axis], -1)
    assert set(Y.ravel()) == {0.0, 2.0}
    assert (Y[:, :, :1] == Y).all()
    plain = Dropout(0.5, rng=2).forward(np.ones(Y.shape[:2], np.float32))
    np.testing.assert_array_equal(Y[:, :, 0], plain)  # element n * C + c of the same stream


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    axes=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=6),
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_any_noise_shape(axes, rate, seed):
    """Whatever the pattern of shared and separate axes."""
    shape = tuple(n for n, _ in axes)
    noise_shape = tuple(1 if shared else None for _, shared in axes)
    x = np.asarray(np.random.default_rng(seed).normal(size=shape))
    options = {"rng": seed, "noise_shape": noise_shape}
    fast, slow = Dropout(rate, **options), reference.Dropout(rate, **options)
    for _ in range(2):
        harness.same_bits(fast.forward(x), np.asarray(slow.forward(x)))
        harness.same_bits(fast.backward(x), np.asarray(slow.backward(x)))
        harness.same_bits(fast.mask, slow.mask)


@pytest.mark.parametrize(
    ("shape", "noise_shape"),
    [
        ((3, 40, 1700), (3, 1, 1)),
        ((3, 40, 1700), (3, 40, 1)),
        ((3, 40, 1700), (1, 40, 1)),
        ((3, 40, 1700), (3, 1, 1700)),
        ((300, 40, 17), (300, 1, 17)),
        ((300, 40, 17), (300, 40, 1)),
        ((40, 3, 40, 17), (1, 3, 1, 17)),
        ((40, 3, 40, 3, 7), (40, 1, 40, 1, 7)),
        ((4000, 3, 7), (1, 1, 1)),
    ],
)
def test_runs_across_blocks(shape, noise_shape, level, threads, dtype, guarded, rng):
    """Runs of every length meet the ends of kernel calls at every place."""
    x = rng.normal(size=shape).astype(dtype)
    factors = guarded(rng.normal(size=noise_shape).astype(dtype), offset=1)
    out = guarded(np.zeros_like(x), offset=3)
    _kernels.scale_runs("f", "x", guarded(x, offset=2), out, factors)
    harness.same_bits(out, x * factors)


@pytest.mark.parametrize("module", [fastreg, reference])
def test_reset_replays(form, module, rng):
    layer, X = make(form, module=module), rng.normal(size=(30, 40))
    calls = [layer.forward(X) for _ in range(3)]
    layer.reset(call=1)
    np.testing.assert_array_equal(layer.forward(X), calls[1])
    np.testing.assert_array_equal(layer.forward(X), calls[2])
    layer.reset()
    np.testing.assert_array_equal(layer.forward(X), calls[0])
    assert not np.array_equal(calls[0], calls[1]) or "batch" in form


def test_state_resumes_bit_for_bit(form, rng):
    layer, X = make(form), rng.normal(size=(30, 40))
    layer.forward(X)
    state = json.loads(json.dumps(layer.state_dict()))
    expected = [layer.forward(X) for _ in range(2)]
    options = FORMS[form]
    resumed = type(layer)(0.3, rng=99, **options)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    for value in expected:
        np.testing.assert_array_equal(resumed.forward(X), value)
    twin = make(form, module=reference)
    twin.load_state_dict(state)
    np.testing.assert_array_equal(twin.forward(X), expected[0])


def test_backward_after_reset_or_load_still_belongs_to_its_forward(form, rng):
    layer, X = make(form), rng.normal(size=(30, 40))
    layer.forward(X)
    expected = layer.backward(X)
    state = layer.state_dict()
    layer.reset(call=5)
    layer.load_state_dict({**state, "key": 12345})
    layer.drop_rate = 0.5
    np.testing.assert_array_equal(layer.backward(X), expected)


def test_a_state_without_a_key_leaves_it_to_numpys_global_state():
    layer = SpatialDropout(0.5)
    state = layer.state_dict()
    assert state == {"stream": 1, "key": None, "call": 0}
    layer.forward(np.ones((4, 5)))
    assert layer.state_dict()["key"] is not None
    layer.load_state_dict(state)
    np.random.seed(3)
    first = layer.forward(np.ones((40, 50)))
    np.random.seed(3)
    np.testing.assert_array_equal(SpatialDropout(0.5).forward(np.ones((40, 50))), first)


@pytest.mark.parametrize("call", [0, 2**32 - 1, 2**32, 2**62 - 1])
def test_far_calls(call, form, rng):
    X = rng.normal(size=(3, 50))
    fast, slow = make(form), make(form, module=reference)
    fast.reset(call=call)
    slow.reset(call=call)
    harness.same_bits(fast.forward(X), slow.forward(X))


def test_after_the_last_call_comes_the_first(form):
    layer, X = make(form), np.ones((30, 40))
    first = layer.forward(X)
    layer.reset(call=2**62 - 1)
    layer.forward(X)
    assert layer.state_dict()["call"] == 0
    layer.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer.forward(X), first)


def test_an_interrupt_leaves_mask_gradient_and_count_of_one_call(rng):
    layer, X = Dropout(0.5, rng=0), np.ones((6, 5))
    layer.forward(X)
    line, torn, counts = 1, True, set()
    while torn:
        victim = copy.deepcopy(layer)
        torn = harness.interrupted(line, "dropout/base.py", victim.forward, X)
        np.testing.assert_array_equal(victim._last[1], victim._drawn[0])
        assert victim._calls == victim._last[1][1] + 1
        counts.add(victim._calls)
        line += 1
    assert counts == {1, 2}


def test_torch_agrees_on_alpha_dropouts_numbers():
    torch = pytest.importorskip("torch")
    for rate in (0.05, 0.5, 0.9):
        x = np.ones(10_000)
        theirs = torch.nn.AlphaDropout(rate)(torch.from_numpy(x)).numpy()
        ours = AlphaDropout(rate, rng=0).forward(x)
        np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(rate, rng):
    """Six standard errors, of the mean 1 / sqrt(n) and of the square at most 3 / sqrt(n)."""
    x = rng.normal(size=1_000_000)
    y = AlphaDropout(rate, rng=0).forward(x)
    assert abs(y.mean()) < 6e-3
    assert abs((y**2).mean() - 1) < 18e-3


def test_alpha_dropout_of_everything_is_zero():
    np.testing.assert_array_equal(AlphaDropout(1.0).forward(np.arange(9.0)), 0.0)


def test_drop_connect_trains_only_kept_weights(rng):
    connect, W = DropConnect(0.5, rng=1), rng.normal(size=(6, 4))
    X, dH = rng.normal(size=(10, 6)), rng.normal(size=(10, 4))
    weights = connect.forward(W)
    dW = connect.backward(X.T @ dH)
    np.testing.assert_array_equal(weights, 2.0 * W * connect.mask)
    np.testing.assert_array_equal(dW, 2.0 * (X.T @ dH) * connect.mask)

"""The kernels around matrix products, and blocks: bits of the layers one by one, everywhere."""

import copy

import harness
import numpy as np
import pytest
from harness import same_bits
from hypothesis import settings

import fastreg
from fastreg import BatchNorm, Dropout, reference
from fastreg._core import _kernels
from fastreg.nn import Dense, ReLU, Sequential
from fastreg.nn.block import Block

few = settings(derandomize=True, max_examples=30, deadline=None)
SHAPES = [
    (1, 1), (31, 7), (33, 64), (64, 10), (5, 255), (40, 257), (700, 300), (70, 1100), (1100, 40),
]  # fmt: skip
CHAINS = {
    "dense relu": (1, 0, 0),
    "dense relu dropout": (1, 0, 1),
    "dense norm relu": (1, 1, 0),
    "dense norm relu dropout": (1, 1, 1),
    "norm relu dropout": (0, 1, 1),
}


pytestmark = pytest.mark.filterwarnings("ignore:BatchNorm.forward. a training batch with one")


def chain(parts, n_in, n_out, dtype, *, rate=0.4, bias=True):
    """Fresh layers of one seed."""
    dense, norm, dropout = parts
    layers = [Dense(n_in, n_out, rng=1, dtype=dtype, bias=bias)] * dense
    if dense and bias:
        layers[0].b[:] = np.random.default_rng(2).normal(size=n_out)
    layers += [BatchNorm(n_out if dense else n_in)] if norm else []
    layers.append(ReLU())
    return layers + ([Dropout(rate, rng=3)] if dropout else [])


def state(layers):
    """Every array of the layers, and the call counts."""
    names = ("W", "b", "dW", "db", "gamma", "beta", "dgamma", "dbeta", "running_mean")
    found = [getattr(x, name, None) for x in layers for name in (*names, "running_var", "mask")]
    return [array for array in found if array is not None]


def test_an_empty_batch_has_an_empty_output_and_no_gradient():
    block = Block.of(chain((1, 0, 1), 6, 3, np.float32))
    assert block.forward(np.zeros((0, 6), np.float32)).shape == (0, 3)
    assert block.backward(np.zeros((0, 3), np.float32)).shape == (0, 6)
    assert not block.dense.db.any() and not block.dense.dW.any()
    with pytest.raises(ValueError, match="at least one row"):
        Block.of(chain((1, 1, 1), 6, 3, np.float32)).forward(np.zeros((0, 6), np.float32))


@pytest.mark.parametrize("shape", [(4, 3, 0), (0, 3, 0), (4, 0, 2), (0, 0, 0), (4, 0, 0)], ids=str)
def test_sides_without_length(shape, dtype):
    rows, n_in, n_out = shape
    layers = Dense(1, 1, rng=0, dtype=dtype), ReLU()
    layers[0].W, layers[0].b = np.ones((n_in, n_out), dtype), np.ones(n_out, dtype)
    block = Block.of(list(layers))
    same_bits(block.forward(np.ones((rows, n_in), dtype)), np.ones((rows, n_out), dtype))
    same_bits(block.backward(np.ones((rows, n_out), dtype)), np.full((rows, n_in), n_out, dtype))
    same_bits(layers[0].dW, np.full((n_in, n_out), rows, dtype))


class Replacing(np.ndarray):
    """An array that acts when it is asked whether it is masked, as every argument is."""

    act = None

    @property
    def filled(self):
        if self.act is not None:
            self.act()
        raise AttributeError("filled")


@pytest.mark.parametrize("other", [(6, 2000), (2000, 70), (0, 70)], ids=str)
def test_weights_that_are_replaced_within_backward_change_nothing_in_it(other, dtype, rng):
    X, dY = (rng.normal(size=(32, n)).astype(dtype) for n in (6, 70))
    layers, alone = (chain((1, 0, 0), 6, 70, dtype) for _ in "ab")
    block, plain = Block.of(layers), Block.of(alone)
    replacing = dY.view(Replacing)
    replacing.act = lambda: setattr(layers[0], "W", np.ones(other, dtype))
    block.forward(X)
    plain.forward(X)
    same_bits(block.backward(replacing), plain.backward(dY))
    assert layers[0].W.shape == other
    same_bits(layers[0].dW, alone[0].dW)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("parts", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_block_has_the_bits_of_its_layers(shape, parts, bias, dtype, rng):
    rows, n_out = shape
    fused, alone = (chain(parts, 6 if parts[0] else n_out, n_out, dtype, bias=bias) for _ in "ab")
    block = Block.of(fused)
    assert block.layers == fused
    for _ in range(2):
        X = rng.normal(size=(rows, 6 if parts[0] else n_out)).astype(dtype)
        dY = rng.normal(size=shape).astype(dtype)
        Y, dX = block.forward(X), block.backward(dY)
        expected = X
        for layer in alone:
            expected = layer.forward(expected)
        same_bits(Y + dtype(0), expected + dtype(0))  # a zero may differ in sign
        for layer in reversed(alone):
            dY = layer.backward(dY)
        same_bits(dX + dtype(0), dY + dtype(0))
        for ours, theirs in zip(state(fused), state(alone), strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("what", ["columns", "gradients"])
@pytest.mark.parametrize("name", ["dense norm relu dropout", "norm relu dropout"])
@pytest.mark.parametrize("rows", [40, 1100])
def test_columns_near_the_ends_of_the_range_have_the_bits_of_the_layers(
    rows, name, what, dtype, rng
):
    parts, huge = CHAINS[name], dtype(1e25 if dtype == np.float32 else 1e200)
    fused, alone = (chain(parts, 6 if parts[0] else 70, 70, dtype) for _ in "ab")
    X = rng.normal(size=(rows, 6 if parts[0] else 70)).astype(dtype)
    dY = rng.normal(size=(rows, 70)).astype(dtype)
    if what == "gradients":
        dY[:, 65] *= dtype(1e37 if dtype == np.float32 else 1e307)
    elif parts[0]:
        for layers in (fused, alone):
            layers[0].W[:, 65] *= huge
    else:
        X[:, 65] *= huge
    block = Block.of(fused)
    Y, dX = block.forward(X), block.backward(dY)
    expected = X
    for layer in alone:
        expected = layer.forward(expected)
    for layer in reversed(alone):
        dY = layer.backward(dY)
    assert np.isfinite(Y).all()
    np.testing.assert_array_equal(Y, expected)
    np.testing.assert_array_equal(dX, dY)
    for ours, theirs in zip(state(fused), state(alone), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("parts", CHAINS.values(), ids=CHAINS)
def test_levels_and_threads_do_not_change_a_bit(parts, dtype, level, threads, rng):
    X = rng.normal(size=(300, 310)).astype(dtype)
    dY = rng.normal(size=(300, 310)).astype(dtype)

    def run():
        layers = chain(parts, 310, 310, dtype)
        block = Block.of(layers)
        Y, dX = block.forward(X), block.backward(dY)
        return [Y, dX, *state(layers)]

    here = run()
    with harness.serial_base():
        expected = run()
    for ours, theirs in zip(here, expected, strict=True):
        same_bits(ours, theirs)


@pytest.mark.parametrize("parts", [(1, 0, 0), (1, 0, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("shape", [(64, 20, 70), (40, 300, 140), (20, 30, 1100), (33, 300, 12)])
def test_products_within_a_pass_are_those_of_the_definition(shape, parts, dtype, level, rng):
    """Whole, cut by columns, with a packed side, with the sides exchanged."""
    rows, n_in, n_out = shape
    X = rng.normal(size=(rows, n_in)).astype(dtype)
    dY = rng.normal(size=(rows, n_out)).astype(dtype)
    dense, *rest = alone = chain(parts, n_in, n_out, dtype)
    expected = reference.matmul(X, dense.W) + dense.b
    for layer in rest:
        expected = layer.forward(expected)
    slope = dY
    for layer in reversed(rest):
        slope = layer.backward(slope)
    dX, dW = reference.matmul(slope, dense.W.T), reference.matmul(X.T, slope)
    for n in (1, 2, 3, 7):
        layers = chain(parts, n_in, n_out, dtype)
        with fastreg.num_threads(n):
            block = Block.of(layers)
            same_bits(block.forward(X) + dtype(0), expected + dtype(0))
            same_bits(block.backward(dY) + dtype(0), dX + dtype(0))
        same_bits(layers[0].dW + dtype(0), dW + dtype(0))
        for ours, theirs in zip(state(layers[1:]), state(alone[1:]), strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("shape", [(1, 1), (33, 7), (40, 300)], ids=str)
def test_kernels_stay_inside_their_arrays(shape, dtype, level, guarded, rng):
    y = guarded(rng.normal(size=shape).astype(dtype), offset=1)
    bias = guarded(rng.normal(size=shape[1]).astype(dtype), offset=1)
    dbias = guarded(np.empty(shape[1], dtype), offset=1)
    _kernels.bias_gate(y, bias, True, (1, 2, 2**31, 2.0))
    _kernels.gate_backward("f", guarded(y), y, 2.0, dbias)
    labels = guarded(rng.integers(0, shape[1], shape[0]))
    _kernels.cross_entropy(y, labels, None, 0.1)


def test_special_values_pass_the_gate_as_they_pass_the_layers(dtype, guarded):
    X = np.tile(harness.specials(dtype), (3, 1))
    layer = ReLU()
    Y = _kernels.bias_gate(guarded(X), None, True, None)
    same_bits(Y + dtype(0), layer.forward(X) + dtype(0))
    dY = guarded(np.ones_like(X))
    same_bits(_kernels.gate_backward("f", dY, Y, 1.0, None), layer.backward(dY))


#: With the threshold's lower half not 0, and 0: draws equal to the upper half are then dropped.
@pytest.mark.parametrize("rate", [1 - 0.5 - 2.0**-17, 0.5])
def test_a_tie_of_the_mask_is_settled_as_in_dropout(rate, dtype, guarded):
    X = np.ones((64, 16384), dtype)
    ours, theirs = Dropout(rate, rng=6), Dropout(rate, rng=6)
    draw = ours._next_noise(X)
    assert bool(draw[2] & 0xFFFF) == (rate != 0.5)
    same_bits(_kernels.bias_gate(guarded(X), None, True, draw), theirs.forward(X))


@pytest.mark.parametrize("method", ["norm", "dropout"])
def test_a_layer_in_evaluation_mode_is_obeyed(method):
    layers = chain((1, 1, 1), 5, 8, np.float64)
    X = np.random.default_rng(7).normal(size=(20, 5))
    block = Block.of(layers)
    block.forward(X)
    getattr(block, method).eval()
    expected = X
    for layer in copy.deepcopy(layers):
        expected = layer.forward(expected)
    np.testing.assert_array_equal(block.forward(X), expected)
    assert block.backward(np.ones((20, 8))).shape == X.shape


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Dense(3, 3), Dropout()],
        lambda: [ReLU(), Dropout()],
        lambda: [Dense(3, 3), reference.ReLU()],
        lambda: [Dense(3, 3), type("MyReLU", (ReLU,), {})()],
        lambda: [Dense(3, 3), BatchNorm(3)],
        lambda: [ReLU(), Dropout(noise_shape=(1, None))],
    ],
)
def test_what_is_no_block_is_left_alone(layers):
    layers = layers()
    assert Sequential(layers)._stages == layers


def test_a_mask_of_another_shape_stays_outside_the_block():
    layers = [Dense(3, 3), ReLU(), Dropout(noise_shape=(1, None))]
    block, dropout = Sequential(layers)._stages
    assert (block.layers, dropout) == (layers[:2], layers[2])


def test_a_network_is_cut_into_blocks():
    layers = [*chain((1, 1, 1), 4, 4, np.float32), *chain((1, 0, 0), 4, 4, np.float32), Dense(4, 2)]
    stages = Sequential(layers)._stages
    assert [len(stage.layers) for stage in stages[:2]] == [4, 2]
    assert stages[2] is layers[-1]


@pytest.mark.parametrize("wrong", [np.ones((4, 2)), np.ones((3, 3)), np.ones((4, 3), np.float32)])
def test_a_gradient_that_does_not_fit_is_refused(wrong):
    for parts in CHAINS.values():
        layers = chain(parts, 3, 3, np.float64)
        block = Block.of(layers)
        block.forward(np.ones((4, 3)))
        with pytest.raises((TypeError, ValueError), match="dY must"):
            block.backward(wrong)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("method", ["forward", "backward"])
def test_a_method_that_a_layer_is_given_is_called(place, method):
    layers = [*chain((1, 1, 1), 6, 3, np.float32), Dense(3, 2, rng=0)]
    model, calls = Sequential(layers), []
    own = getattr(layers[place], method)
    setattr(
        layers[place], method, lambda *args, **options: calls.append(1) or own(*args, **options)
    )
    model.backward(model.forward(np.ones((4, 6), np.float32)) * 1)
    assert calls


@pytest.mark.parametrize(
    "change", [lambda gamma: 2 * gamma, lambda gamma: np.float32(3) * gamma.astype(np.float32)]
)
def test_backward_takes_the_scale_that_the_norm_has_then(change, dtype, rng):
    """As batch norm alone does: the arrays of a network may be replaced between the passes."""
    fused, alone = (chain(CHAINS["dense norm relu dropout"], 6, 40, dtype) for _ in "ab")
    block, X = Block.of(fused), rng.normal(size=(50, 6)).astype(dtype)
    expected, dX = X, rng.normal(size=(50, 40)).astype(dtype)
    block.forward(X)
    for layer in alone:
        expected = layer.forward(expected)
    for layers in (fused, alone):
        layers[1].gamma = change(layers[1].gamma)
    found = block.backward(dX)
    for layer in reversed(alone):
        dX = layer.backward(dX)
    same_bits(found, dX)
    for ours, theirs in zip(state(fused), state(alone), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)

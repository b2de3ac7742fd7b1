"""Whatever is assigned to a public attribute of a layer or an optimizer is refused by name or does
no harm.

Arrays come strided, reversed, read-only, overlapping, too short, empty, of other dtypes; numbers
zero, negative, huge, NaN, of the wrong kind. A kernel may write only into arrays of its own.
"""

from functools import partial

import numpy as np
import pytest

import fastreg
from fastreg import nn
from fastreg.nn import Dense

NAMES = ("ReLU", "LeakyReLU", "Tanh", "Sigmoid", "GELU")
DROPS = [name for name in fastreg.__all__ if "Drop" in name or name == "StochasticDepth"]
MAKERS = {
    "Dense": lambda: Dense(3, 3, rng=0, dtype=np.float64),
    "BatchNorm": lambda: fastreg.BatchNorm(3),
    "BatchNorm cumulative": lambda: fastreg.BatchNorm(3, momentum=None),
    "GroupNorm": lambda: fastreg.GroupNorm(1, 3),
    "InstanceNorm": lambda: fastreg.InstanceNorm(3, affine=True),
    "LayerNorm": lambda: fastreg.LayerNorm(3),
    "RMSNorm": lambda: fastreg.RMSNorm(3),
    **{name: getattr(nn, name) for name in NAMES},
    **{name: partial(getattr(fastreg, name), rng=0) for name in DROPS},
}
GUARD = 7.0
NUMBERS = [
    *(0, -1, 2, 7, 10**6, 2**40, 2**70, 0.0, 2.0, 0.5, -1e300, 1e-320, float("nan"), float("inf")),
    *("x", None, True, [], [1.0] * 3, 1j, np.float32(0.5), np.array([1.0]), (2, 3)),
]


def arrays(shape):
    """(array, the buffer around it) of every bad layout for an array of this shape."""
    size = int(np.prod(shape))
    steps = tuple(16 * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))

    def buffer():
        return np.full(4 * size + 8, GUARD)

    def strided(base, strides, first=0):
        return np.lib.stride_tricks.as_strided(base[first:], shape, strides)

    base = buffer()
    yield strided(base, steps), base
    base = buffer()
    yield base[:size][::-1].reshape(shape) if size < 2 else base[: 2 * size : 2][::-1], base
    base = buffer()
    yield strided(base, (0,) * len(shape)), base
    base = buffer()
    yield strided(base, (8,) * len(shape)), base
    for values in (base[: size - 1], base[:0], base[: size + 1], np.ones(shape, ">f8"),
                   np.ones(shape, np.float32), np.ones(shape, int), np.ones(shape, object),
                   np.array(1.0), np.broadcast_to(1.0, shape)):  # fmt: skip
        yield values, base


def attributes(layer):
    return [n for n in dir(layer) if n[0] != "_" and not callable(getattr(layer, n))]


def input_of(name):
    shape = (4, 3, 2) if name in ("InstanceNorm", "SpatialDropout") else (4, 3)
    return np.random.default_rng(0).normal(size=shape)


def values_for(layer, attribute):
    now = getattr(layer, attribute)
    shape = now.shape if isinstance(now, np.ndarray) else (3,)
    yield from ((value, None) for value in NUMBERS)
    yield from arrays(shape)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MAKERS)
def test_no_attribute_makes_a_kernel_write_or_divide_where_it_must_not(name, training):
    X = input_of(name)
    reference = MAKERS[name]()
    reference.backward(reference.forward(X))
    for attribute in attributes(reference):
        for value, base in values_for(reference, attribute):
            layer = MAKERS[name]()
            layer.training = training
            layer.backward(layer.forward(X))
            try:
                setattr(layer, attribute, value)
            except (TypeError, ValueError, AttributeError) as error:
                assert attribute in str(error), (attribute, value)
                continue
            kept = None if base is None else base.copy()
            for method in ("backward", "forward", "backward"):
                try:
                    getattr(layer, method)(X)
                except (TypeError, ValueError) as error:
                    assert type(layer).__name__ in str(error), (attribute, value, error)
            if base is not None:
                np.testing.assert_array_equal(base, kept, err_msg=attribute)


@pytest.mark.parametrize("attribute", ["n_features", "n_groups"])
def test_what_other_attributes_were_cut_to_stays(attribute):
    layer = fastreg.GroupNorm(1, 3)
    with pytest.raises(ValueError, match=f"GroupNorm: {attribute} must stay [13], got 2"):
        setattr(layer, attribute, 2)
    assert (layer.n_groups, layer.n_features) == (1, 3)


@pytest.mark.parametrize(
    "make", [lambda: fastreg.BatchNorm(4), lambda: fastreg.LayerNorm(4), lambda: Dense(4, 4, rng=0)]
)
def test_an_input_that_changes_its_shape_before_backward_is_refused(make):
    layer, X = make(), np.ones((6, 4), np.float32)
    layer.forward(X)
    X.shape = (2, 12)
    with pytest.raises(ValueError, match=type(layer).__name__):
        layer.backward(np.ones((2, 12), np.float32))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_output_that_changes_its_shape_before_backward_is_refused(batch_norm):
    model = nn.mlp([4, 6, 3], batch_norm=batch_norm, rng=0)
    block = model._stages[0]
    Y = block.forward(np.ones((8, 4), np.float32))
    Y.shape = (4, 12)
    with pytest.raises(ValueError, match="must"):
        block.backward(np.ones((4, 12), np.float32))


def network():
    return nn.mlp([3, 3, 3], batch_norm=True, dropout=0.5, rng=0, dtype=np.float64)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", range(len(network().layers)))
def test_nor_does_one_of_a_layer_in_a_network(place):
    X = input_of("Dense")
    for attribute in attributes(network().layers[place]):
        model = network()
        model.backward(model.forward(X))
        for value, base in values_for(model.layers[place], attribute):
            model = network()
            model.backward(model.forward(X))
            layer = model.layers[place]
            try:
                setattr(layer, attribute, value)
            except (TypeError, ValueError, AttributeError) as error:
                assert attribute in str(error), (attribute, value)
                continue
            kept = None if base is None else base.copy()
            for method in (model.backward, model.forward, model.backward):
                try:
                    method(X)
                except (TypeError, ValueError, RuntimeError) as error:
                    names = {type(one).__name__ for one in (*model.layers, model)}
                    assert any(name in str(error) for name in names), (attribute, value, error)
            if base is not None:
                np.testing.assert_array_equal(base, kept, err_msg=attribute)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", fastreg.optim.__all__)
def test_nor_does_one_of_an_optimizer(name):
    def fresh():
        optimizer, params = getattr(fastreg, name)(), {"w": np.ones((4, 3))}
        optimizer.update(params, {"w": np.ones((4, 3))})
        return optimizer, params

    for attribute in attributes(fresh()[0]):
        for value, base in [*values_for(fresh()[0], attribute), *arrays((4, 3))]:
            for given in (value,) if base is None else (value, {"w": value}):
                optimizer, params = fresh()
                try:
                    setattr(optimizer, attribute, given)
                except (TypeError, ValueError, AttributeError) as error:
                    assert attribute in str(error) or name in str(error), (attribute, given)
                    continue
                kept = None if base is None else base.copy()
                try:
                    optimizer.update(params, {"w": np.ones((4, 3))})
                except (TypeError, ValueError) as error:
                    assert name in str(error), (attribute, given, error)
                if base is not None:
                    np.testing.assert_array_equal(base, kept, err_msg=attribute)

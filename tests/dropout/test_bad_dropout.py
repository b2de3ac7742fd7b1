"""What layers that draw noise refuse."""

import copy

import numpy as np
import pytest
from forms import make
from refusals import INPUTS, OUT_OF_RANGE, OUTPUTS, refuses

from fastreg import (
    Dropout,
    GaussianDropout,
    SpatialDropout,
    StochasticDepth,
)


@pytest.mark.parametrize("value", [*OUT_OF_RANGE, 1.0000001])
def test_rates_out_of_range(form, value):
    with pytest.raises(ValueError, match=f"{form.split()[0]}: drop_rate must be .*got {value!r}"):
        make(form, value)


@pytest.mark.parametrize("value", [None, "0.1", True, [0.1], 1j])
def test_rates_of_the_wrong_kind(form, value):
    with pytest.raises(TypeError, match=f"{form.split()[0]}: drop_rate must be"):
        make(form, value)


def test_gaussian_dropout_refuses_infinite_noise():
    with pytest.raises(
        ValueError, match=r"GaussianDropout: drop_rate must be a number in \[0, 1\)"
    ):
        GaussianDropout(1.0)


@pytest.mark.parametrize(
    ("cls", "options", "error", "message"),
    [
        (SpatialDropout, {"axis": 0}, ValueError, "axis must not be 0"),
        (SpatialDropout, {"axis": 1.0}, TypeError, "axis must be an integer, got 1.0"),
        (SpatialDropout, {"axis": True}, TypeError, "axis must be an integer"),
        (
            StochasticDepth,
            {"mode": "col"},
            ValueError,
            "mode must be one of .'row', 'batch'., got 'col'",
        ),
        (StochasticDepth, {"mode": 1}, TypeError, "mode must be one of .'row', 'batch'., got 1"),
        (Dropout, {"inverted": 1}, TypeError, "inverted must be True or False, got 1"),
        (Dropout, {"noise_shape": 3}, TypeError, "noise_shape must be a tuple"),
        (Dropout, {"noise_shape": "ab"}, TypeError, "noise_shape must be a tuple"),
        (Dropout, {"noise_shape": (2.0,)}, TypeError, "noise_shape must be an integer, got 2.0"),
        (Dropout, {"noise_shape": (0,)}, ValueError, "noise_shape must be at least 1, got 0"),
    ],
)
def test_options(cls, options, error, message):
    with pytest.raises(error, match=f"{cls.__name__}: {message}"):
        cls(0.5, **options)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (SpatialDropout(), (3,)),
        (SpatialDropout(axis=2), (3, 4)),
        (SpatialDropout(axis=-2), (3, 4)),
        (SpatialDropout(), ()),
        (StochasticDepth(), ()),
        (Dropout(noise_shape=(3, 1)), (3,)),
        (Dropout(noise_shape=(3, 1)), (4, 5)),
        (Dropout(noise_shape=(3, 2)), (3, 1)),
    ],
)
def test_shapes_that_do_not_fit(layer, shape):
    where = f"{type(layer).__name__}.forward: X must have"
    refuses(layer, "forward", np.ones(shape), error=ValueError, message=where)


def called(form):
    """The layer in each mode, with a forward call behind it."""
    for training in (True, False):
        layer = make(form)
        layer.training = training
        layer.forward(np.ones((4, 3)))
        yield layer


@pytest.mark.parametrize(("value", "error", "message"), INPUTS)
def test_inputs(form, value, error, message):
    for layer in called(form):
        for method, name in zip(("forward", "backward"), layer._names, strict=True):
            where = f"{type(layer).__name__}.{method}: {name} .*{message}"
            refuses(layer, method, value, error=error, message=where)


@pytest.mark.parametrize(("out", "error", "message"), OUTPUTS)
def test_outputs(form, out, error, message):
    kept = copy.deepcopy(out)
    for layer in called(form):
        for method in ("forward", "backward"):
            refuses(layer, method, np.ones((4, 3)), out=out, error=error, message=message)
    assert repr(out) == repr(kept)


def test_gradients_of_another_shape(form):
    for layer in called(form):
        where = f"{type(layer).__name__}.backward: {layer._names[1]} must have"
        refuses(layer, "backward", np.ones((3, 4)), error=ValueError, message=where)


def test_backward_before_forward(form):
    with pytest.raises(RuntimeError, match="backward: forward must be called"):
        make(form).backward(np.ones((4, 3)))


GOOD = {"stream": 1, "key": 5, "call": 2}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ([1, 2], TypeError, "state must be a dict, got list"),
        ({"key": 5, "call": 2}, ValueError, r"state must have \['call', 'key', 'stream'\]"),
        ({**GOOD, "more": 1}, ValueError, "state must have"),
        ({**GOOD, "stream": 2}, ValueError, "stream must be from 1 to 1, got 2"),
        ({**GOOD, "key": -1}, ValueError, "key must be from 0"),
        ({**GOOD, "key": 2**64}, ValueError, "key must be from 0"),
        ({**GOOD, "key": "5"}, TypeError, "key must be an integer"),
        ({**GOOD, "call": -1}, ValueError, "call must be from 0"),
        ({**GOOD, "call": 2**62}, ValueError, "call must be from 0"),
        ({**GOOD, "call": 1.0}, TypeError, "call must be an integer"),
    ],
)
def test_states(form, state, error, message):
    layer = make(form)
    message = f"{type(layer).__name__}.load_state_dict: {message}"
    refuses(layer, "load_state_dict", state, error=error, message=message)


@pytest.mark.parametrize(
    ("call", "error"), [(-1, ValueError), (2**62, ValueError), (1.0, TypeError)]
)
def test_calls(form, call, error):
    refuses(make(form), "reset", call=call, error=error, message="reset: call must be")


@pytest.mark.parametrize(
    "seed", [3, np.int64(3), np.uint32(3)], ids=lambda seed: type(seed).__name__
)
def test_a_whole_number_is_a_seed_unless_there_is_no_memory(seed, monkeypatch):
    """NumPy says that it takes no such seed when it could not look at it."""

    def starved(seed):
        raise TypeError("SeedSequence expects int or sequence of ints")

    monkeypatch.setattr(np.random, "default_rng", starved)
    with pytest.raises(MemoryError, match="Dropout: no room"):
        Dropout(0.5, rng=seed)

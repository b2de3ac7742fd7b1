"""Every refusal: the exception, what its message names, and that nothing has been written."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from refusals import INPUTS, NOT_NUMBERS, OUT_OF_RANGE, OUTPUTS, X, refuses

import fastreg
from fastreg import (
    Adam,
    BatchNorm,
    Dropout,
    EarlyStopping,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    ReduceOnPlateau,
    RMSNorm,
)

ROW_NORMS = [LayerNorm, RMSNorm, GroupNorm, InstanceNorm]


HYPER_PARAMETERS = [
    *[(Adam, "learning_rate", value) for value in OUT_OF_RANGE],
    *[(Adam, "beta1", value) for value in [*OUT_OF_RANGE, 1.0]],
    *[(Adam, "beta2", value) for value in [*OUT_OF_RANGE, 1.0]],
    *[(Adam, "epsilon", value) for value in OUT_OF_RANGE],
    *[(Dropout, "drop_rate", value) for value in [*OUT_OF_RANGE, 1.0000001]],
    *[(BatchNorm, "momentum", value) for value in [*OUT_OF_RANGE, 1.1]],
    *[(BatchNorm, "epsilon", value) for value in [*OUT_OF_RANGE, 0.0]],
    *[(BatchNorm, "n_features", value) for value in [0, -3]],
    (BatchNorm, "axis", 0),
    (BatchNorm, "axis", 2),
    *[(cls, "n_features", value) for cls in ROW_NORMS for value in [0, -3]],
    *[(cls, "epsilon", value) for cls in ROW_NORMS for value in [*OUT_OF_RANGE, 0.0]],
    *[(GroupNorm, "n_groups", value) for value in [0, -1, 2, 6]],
]

FLAGS = [
    (BatchNorm, "affine"),
    (BatchNorm, "track_running_stats"),
    (BatchNorm, "unbiased_running_var"),
    *[(cls, "affine") for cls in ROW_NORMS],
]


NEEDED = {
    **dict.fromkeys([BatchNorm, LayerNorm, RMSNorm, InstanceNorm], {"n_features": 3}),
    GroupNorm: {"n_groups": 3, "n_features": 3},
}


def make(cls, **options):
    return cls(**NEEDED.get(cls, {}) | options)


@pytest.mark.parametrize(("cls", "name", "value"), HYPER_PARAMETERS)
def test_hyper_parameters_out_of_range(cls, name, value):
    with pytest.raises(ValueError, match=f"{cls.__name__}: {name} must be .*got {value!r}"):
        make(cls, **{name: value})


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize(
    ("cls", "name"), sorted({row[:2] for row in HYPER_PARAMETERS}, key=lambda row: str(row))
)
def test_hyper_parameters_of_the_wrong_kind(cls, name, value):
    if (name, value) == ("momentum", None):
        return  # the cumulative average
    with pytest.raises(TypeError, match=f"{cls.__name__}: {name} must be"):
        make(cls, **{name: value})


@pytest.mark.parametrize(("cls", "name"), FLAGS)
def test_flags_are_true_or_false(cls, name):
    for value in (None, 1, 0.0, "yes"):
        with pytest.raises(TypeError, match=f"{cls.__name__}: {name} must be True or False"):
            make(cls, **{name: value})


def test_assigned_hyper_parameters_are_checked_and_kept():
    optimizer, layer = Adam(), Dropout(0.25)
    with pytest.raises(ValueError, match="learning_rate"):
        optimizer.lr = -1
    with pytest.raises(TypeError, match="drop_rate"):
        layer.drop_rate = "half"
    with pytest.raises(ValueError, match="t must be"):
        optimizer.t = -1
    assert (optimizer.lr, layer.drop_rate, optimizer.t) == (0.001, 0.25, 0)


@pytest.mark.parametrize(
    ("part", "name", "good", "bad"),
    [
        (BatchNorm(3), "momentum", 0.5, [1.1, "0.1", True]),
        (BatchNorm(3), "epsilon", 0.5, [0.0, float("nan"), None]),
        *[(make(cls), "epsilon", 0.5, [0.0, "1"]) for cls in ROW_NORMS],
        (EarlyStopping(), "patience", 3, [-1, 2.5, "3"]),
        (EarlyStopping(), "min_delta", 0.5, [-1.0, None]),
        (EarlyStopping(), "restore_best", False, [1]),
        (EarlyStopping(), "verbose", False, ["no"]),
        (EarlyStopping(), "mode", "max", ["auto", None]),
        (EarlyStopping(), "baseline", None, [float("nan"), "0"]),
        (ReduceOnPlateau(1.0), "factor", 0.5, [1.0, 0.0]),
        (ReduceOnPlateau(1.0), "cooldown", 2, [-1]),
    ],
)  # fmt: skip
def test_assigned_settings_of_other_parts_are_checked_and_kept(part, name, good, bad):
    setattr(part, name, good)
    for value in bad:
        with pytest.raises((TypeError, ValueError), match=f"{type(part).__name__}: {name} must be"):
            setattr(part, name, value)
    assert getattr(part, name) == good
    assert getattr(pickle.loads(pickle.dumps(part)), name) == good


def layers():
    """Each layer in each mode, with a forward call behind it."""
    makers = [
        lambda: Dropout(0.5, rng=0),
        *[partial(make, cls) for cls in (BatchNorm, LayerNorm, RMSNorm)],
        lambda: GroupNorm(1, 3),
    ]
    for make_layer in makers:
        for training in (True, False):
            layer = make_layer()
            layer.training = training
            layer.forward(X)
            yield layer


def gradient_of(layer):
    """What backward's argument is called; the chapter names dropout's."""
    return "dout" if isinstance(layer, Dropout) else "dY"


@pytest.mark.parametrize(("value", "error", "message"), INPUTS)
def test_layers_refuse_inputs(value, error, message):
    for layer in layers():
        for method, name in (("forward", "X"), ("backward", gradient_of(layer))):
            where = f"{type(layer).__name__}.{method}: {name} .*{message}"
            refuses(layer, method, value, error=error, message=where)


def test_layers_read_integers_and_truth_values_as_floats():
    kinds = ["?", "i1", ">i4", "u8"]
    for layer, other in zip(layers(), layers(), strict=True):
        for dtype in kinds:
            given = np.arange(12).astype(dtype).reshape(4, 3)
            for method in ("forward", "backward"):
                found = getattr(layer, method)(given)
                expected = getattr(other, method)(given.astype(float))
                np.testing.assert_array_equal(found, expected)
                quiet = isinstance(layer, Dropout) and not layer.training  # gives X itself
                assert found.dtype == (given.dtype if quiet else np.float64)
    layer = LayerNorm(3)
    layer.forward(X.astype(np.float32))
    assert layer.backward(np.ones((4, 3), int)).dtype == np.float32


@pytest.mark.parametrize(("out", "error", "message"), OUTPUTS)
def test_layers_refuse_outputs(out, error, message):
    kept = copy.deepcopy(out)
    for layer in layers():
        for method in ("forward", "backward"):
            refuses(layer, method, X.copy(), out=out, error=error, message=message)
    assert repr(out) == repr(kept)


def test_layers_refuse_shifted_outputs():
    buffer = np.ones(16)
    shifted, source = buffer[1:13].reshape(4, 3), buffer[:12].reshape(4, 3)
    for layer in layers():
        for method in ("forward", "backward"):
            message = "out must.*(share no|not share) memory"
            refuses(layer, method, source, out=shifted, error=ValueError, message=message)
    np.testing.assert_array_equal(buffer, 1.0)


def test_layers_refuse_other_shapes():
    for layer in layers():
        where = f"{type(layer).__name__}.backward: {gradient_of(layer)} must have"
        refuses(layer, "backward", np.ones((3, 4)), error=ValueError, message=where)
        if isinstance(layer, BatchNorm):
            for shape in ((4, 2), (3,), (4, 2, 3), ()):
                wrong = np.ones(shape)
                refuses(layer, "forward", wrong, error=ValueError, message=r"shape \(N, 3\)")


@pytest.mark.parametrize("cls", [Dropout, BatchNorm, *ROW_NORMS])
def test_backward_before_forward(cls):
    with pytest.raises(RuntimeError, match=f"{cls.__name__}.backward: forward must be called"):
        make(cls).backward(X)


def test_batch_norm_refuses_what_it_cannot_do():
    layer = BatchNorm(3)
    refuses(layer, "forward", X[:0], error=ValueError, message="at least one row")
    refuses(layer, "forward", X, out=X, error=ValueError, message="backward needs X")
    kept, dY = X.copy(), np.ones((4, 3))
    layer.forward(X)
    refuses(layer, "backward", dY, out=X, error=ValueError, message="share memory")
    refuses(layer, "backward", dY.astype(np.float32), error=TypeError, message="float64")
    np.testing.assert_array_equal(X, kept)
    layer.gamma = np.ones(4)
    with pytest.raises(ValueError, match=r"gamma must have shape \(1, 3\)"):
        layer.forward(X)
    layer.gamma = np.ones((1, 3), int)
    with pytest.raises(TypeError, match="gamma must be float32 or float64"):
        layer.forward(X)
    unbiased = BatchNorm(3, unbiased_running_var=True)
    refuses(unbiased, "forward", X[:1], error=ValueError, message="two values per channel")


# (layer, shape that it refuses, what the message says it must have)
SHAPES = [
    (BatchNorm(3, axis=-1), (3, 4), r"\(N, 3\) or \(\.\.\., 3\)"),
    (BatchNorm(3), (4, 2, 3), r"\(N, 3\) or \(N, 3, \.\.\.\)"),
    (LayerNorm(3), (3, 4), r"\(\.\.\., 3\)"),
    (LayerNorm(3), (4,), r"\(\.\.\., 3\)"),
    (LayerNorm(3), (), r"\(\.\.\., 3\)"),
    (LayerNorm((2, 3)), (3, 2), r"\(\.\.\., 2, 3\)"),
    (LayerNorm((2, 3)), (3,), r"\(\.\.\., 2, 3\)"),
    (RMSNorm(3), (3, 4), r"\(\.\.\., 3\)"),
    (GroupNorm(1, 3), (4, 2, 3), r"\(N, 3, \.\.\.\)"),
    (GroupNorm(1, 3), (3,), r"\(N, 3, \.\.\.\)"),
    (InstanceNorm(3), (4, 3), r"\(N, 3, L\) or \(N, 3, H, W\)"),
    (InstanceNorm(3), (4, 2, 5), r"\(N, 3, \.\.\.\)"),
]


@pytest.mark.parametrize(("layer", "shape", "wanted"), SHAPES)
def test_norms_refuse_other_shapes(layer, shape, wanted):
    message = f"{type(layer).__name__}.forward: X must have shape {wanted}, got"
    refuses(layer, "forward", np.ones(shape), error=ValueError, message=message)


@pytest.mark.parametrize("cls", ROW_NORMS)
def test_row_norms_refuse_what_they_cannot_do(cls):
    layer = make(cls, affine=True)
    x = np.ones((2, 3, 3))
    refuses(layer, "forward", x, out=x, error=ValueError, message="backward needs X")
    layer.forward(x)
    refuses(layer, "backward", x + 1, out=x, error=ValueError, message="share memory")
    refuses(layer, "backward", x.astype("f4"), error=TypeError, message="must be float64")
    np.testing.assert_array_equal(x, 1.0)
    layer.gamma = np.ones(4)
    with pytest.raises(ValueError, match=r"gamma must have shape \(3,\), got \(4,\)"):
        layer.forward(x)
    layer.eval()
    layer.gamma = np.ones(3)
    layer.forward(x, out=x)  # nothing is left for a backward pass
    with pytest.raises(RuntimeError, match="forward must be called first"):
        layer.backward(x)


def test_layer_norm_refuses_an_empty_shape():
    with pytest.raises(ValueError, match="LayerNorm: n_features must be one or more sizes"):
        LayerNorm(())
    with pytest.raises(ValueError, match="RMSNorm: n_features must be at least 1, got 0"):
        RMSNorm((2, 0))


@pytest.mark.parametrize(
    ("W", "b", "error", "message"),
    [
        (np.ones((4, 2)), np.ones(3), ValueError, r"W must have shape \(4, 3\), got \(4, 2\)"),
        (np.ones((4, 3)), np.ones(2), ValueError, r"b must have shape \(3,\), got \(2,\)"),
        (np.ones((4, 3), int), np.ones(3), TypeError, "W must be float32 or float64"),
        (np.ones((4, 3)), None, TypeError, "b must be a float32 or float64 array"),
        ([[1.0] * 3], np.ones(3), TypeError, "W must be a float32 or float64 array"),
    ],
)
def test_folding_refuses(W, b, error, message):
    refuses(BatchNorm(3), "fold_into", W, b, error=error, message=f"BatchNorm.fold_into: {message}")


def test_folding_needs_running_statistics():
    layer = BatchNorm(3, track_running_stats=False)
    with pytest.raises(RuntimeError, match="track_running_stats must be True"):
        layer.fold_into(np.ones((2, 3)), np.ones(3))


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (2000, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_thread_counts(n, error):
    before = fastreg.get_num_threads()
    with pytest.raises(error, match="n must be"):
        fastreg.set_num_threads(n)
    with pytest.raises(error, match="n must be"), fastreg.num_threads(n):
        pass
    assert fastreg.get_num_threads() == before


@pytest.mark.parametrize("value", [np.ones(1), np.ones((1, 1)), np.ma.ones(())])
def test_arrays_of_one_element_are_no_numbers(value):
    with pytest.raises(TypeError, match="SGD: learning_rate must be a number"):
        fastreg.SGD(value)


def test_what_a_gradient_is_wanted_of_is_no_number():
    """As torch's tensors are: the number would leave their graph unnoticed."""

    class Wanted:
        requires_grad = True

        def __float__(self):
            return 0.1

    with pytest.raises(TypeError, match="SGD: learning_rate must be a number"):
        fastreg.SGD(Wanted())

"""Every refusal: the exception, what its message names, and that nothing has been written."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

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

NOT_NUMBERS = [None, "0.1", True, [0.1], 1j]
OUT_OF_RANGE = [float("nan"), float("inf"), -0.1]

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


def frozen(array):
    array.flags.writeable = False
    return array


#: Stand for a SciPy matrix, torch's tensor and pandas' column.
SPARSE, TENSOR, SERIES = (
    type(kind, (), {method: None, "__repr__": lambda self: "foreign"})()
    for kind, method in (("Sparse", "toarray"), ("Tensor", "detach"), ("Series", "to_numpy"))
)
BASE = np.arange(24.0)
SWAPPED = np.dtype(float).newbyteorder()

# (params, grads, exception, what the message names); each beside a good tensor "ok".
UPDATES = [
    ({"w": np.ones(3)}, {"w": np.ones(3, np.float32)}, TypeError, r"grads\['w'\].*64.*float32"),
    ({"w": np.ones(3)}, {"w": np.ones(4)}, ValueError, r"grads\['w'\].*\(3,\).*\(4,\)"),
    ({"w": np.ones(3)}, {"w": np.ones((3, 1))}, ValueError, r"grads\['w'\].*\(3,\).*\(3, 1\)"),
    ({"w": np.ones(3)}, {"w": np.ones(3, np.float16)}, TypeError, r"grads\['w'\].*float16"),
    ({"w": np.ones(3)}, {"w": np.ones(3, np.longdouble)}, TypeError, r"grads\['w'\].*float"),
    ({"w": np.ones(3)}, {"w": np.ones(3, complex)}, TypeError, r"grads\['w'\].*complex128"),
    ({"w": np.ones(3)}, {"w": np.ones(3, object)}, TypeError, r"grads\['w'\].*object"),
    ({"w": np.ones(3)}, {"w": ["1", "2", "3"]}, TypeError, r"grads\['w'\] must hold real numbers"),
    ({"w": np.ones(3)}, {"w": [[1.0], [2.0, 3.0]]}, TypeError, r"grads\['w'\] must hold"),
    ({"w": np.ones(3)}, {"w": [1.0, None, 3.0]}, TypeError, r"grads\['w'\] must hold"),
    ({"w": np.ones(3)}, {"w": 10**400}, TypeError, r"grads\['w'\] must hold real numbers"),
    ({"w": np.ones(3)}, {"w": 1j}, TypeError, r"grads\['w'\].*complex"),
    ({"w": np.ones(3)}, {"w": [1.0, 2.0]}, ValueError, r"grads\['w'\].*\(3,\).*\(2,\)"),
    ({"w": np.ones(3)}, {"w": np.array(1.0)}, ValueError, r"grads\['w'\].*\(3,\).*\(\)"),
    ({"w": np.ones(3)}, {"w": np.ma.ones(3)}, TypeError, r"grads\['w'\].*Masked.*filled"),
    ({"w": np.ones(3)}, {"w": np.ma.ones(3, int)}, TypeError, r"grads\['w'\].*Masked.*filled"),
    ({"w": np.ma.ones(3)}, {"w": np.ones(3)}, TypeError, r"params\['w'\].*Masked.*filled"),
    ({"w": np.ones(3)}, {"w": SPARSE}, TypeError, r"grads\['w'\].*Sparse.*toarray\(\)"),
    ({"w": np.ones(3)}, {"w": TENSOR}, TypeError, r"grads\['w'\].*Tensor.*detach\(\)"),
    ({"w": np.ones(3)}, {"w": SERIES}, TypeError, r"grads\['w'\].*Series.*to_numpy"),
    ({"w": np.ones(3)}, {}, ValueError, r"missing \['w'\]"),
    ({"w": np.ones(3)}, {"v": np.ones(3)}, ValueError, r"missing \['w'\].*not in params \['v'\]"),
    ({"w": np.ones(3, int)}, {"w": np.ones(3, int)}, TypeError, r"params\['w'\].*int64"),
    ({"w": np.ones(3, np.float16)}, {"w": np.ones(3, np.float16)}, TypeError, r"params\['w'\].*16"),
    ({"w": np.ones(3, SWAPPED)}, {"w": np.ones(3, SWAPPED)}, TypeError, r"params\['w'\].*native"),
    ({"w": [1.0]}, {"w": [1.0]}, TypeError, r"params\['w'\].*list"),
    ({"w": "x"}, {"w": 1.0}, TypeError, r"params\['w'\].*str"),
    ({"w": True}, {"w": 1.0}, TypeError, r"params\['w'\].*bool"),
    ({"w": 1.0}, {"w": "x"}, TypeError, r"grads\['w'\].*str"),
    ({"w": np.float32(1)}, {"w": np.float64(1)}, TypeError, r"grads\['w'\]"),
    ({"w": frozen(np.ones(3))}, {"w": np.ones(3)}, ValueError, r"params\['w'\].*read-only"),
    ({"w": BASE[::2]}, {"w": np.ones(12)}, ValueError, r"params\['w'\].*contiguous.*strides"),
    ({"w": BASE.reshape(2, 3, 4)[..., 0]}, {"w": np.ones((2, 3))}, ValueError, "any order of its"),
    ({"w": BASE[::-1]}, {"w": np.ones(24)}, ValueError, r"params\['w'\].*contiguous"),
    ({"w": np.broadcast_to(1.0, 3)}, {"w": np.ones(3)}, ValueError, r"params\['w'\]"),
    ({"a": BASE[:5], "b": BASE[4:9]}, {"a": BASE[9:14], "b": BASE[9:14]}, ValueError, "memory"),
    ({"a": BASE, "b": BASE}, {"a": BASE, "b": BASE}, ValueError, "'a'.*'b'.*share memory"),
]  # fmt: skip


@pytest.mark.parametrize("warm", [False, True], ids=["first step", "later step"])
@pytest.mark.parametrize(("params", "grads", "error", "message"), UPDATES)
def test_refused_updates_change_nothing(params, grads, error, message, warm):
    optimizer = Adam()
    params, grads = {"ok": np.ones(2), **params}, {"ok": np.ones(2), **grads}
    if warm:
        optimizer.update({"ok": params["ok"]}, {"ok": grads["ok"]})
    before = copy.deepcopy((params, grads, dict(optimizer.m), dict(optimizer.v), optimizer.t))
    with pytest.raises(error, match=f"Adam.update: .*{message}"):
        optimizer.update(params, grads)
    after = (params, grads, dict(optimizer.m), dict(optimizer.v), optimizer.t)
    assert repr(after) == repr(before)
    optimizer.update({"ok": params["ok"]}, {"ok": grads["ok"]})  # and it still works
    assert optimizer.t == warm + 1


@pytest.mark.parametrize(
    ("params", "grads", "error"),
    [
        ("ab", "ab", TypeError),
        (np.ones(3), np.ones(3), TypeError),
        ({"w": np.ones(3)}, [np.ones(3)], TypeError),
        ([np.ones(3)], {0: np.ones(3)}, TypeError),
        ([np.ones(3)], [np.ones(3), np.ones(3)], ValueError),
        ((1.0,), (1.0,), TypeError),
        (None, None, TypeError),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_containers_of_the_wrong_kind(params, grads, error, warm):
    optimizer = Adam()
    if warm:
        good = [np.ones(3)] if isinstance(params, list) else {"w": np.ones(3)}
        optimizer.update(good, copy.deepcopy(good))
    with pytest.raises(error, match=r"Adam.update: .*(params|grads)"):
        optimizer.update(params, grads)
    assert optimizer.t == warm


def test_a_parameter_may_not_change_shape_or_dtype():
    optimizer = Adam()
    optimizer.update({"w": np.ones(3)}, {"w": np.ones(3)})
    for value in (np.ones(4), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match=r"params\['w'\] must keep shape"):
            optimizer.update({"w": value}, {"w": value.copy()})
    assert optimizer.t == 1


def test_a_parameter_frozen_after_binding_is_refused():
    optimizer, params = Adam(), {"w": np.ones(3)}
    optimizer.update(params, {"w": np.ones(3)})
    kept = frozen(params["w"]).copy()
    with pytest.raises(ValueError, match="read-only"):
        optimizer.update(params, {"w": np.ones(3)})
    np.testing.assert_array_equal(params["w"], kept)


X = np.ones((4, 3))
INPUTS = [  # what replaces a good (4, 3) float64 array, the exception, the message
    (np.ones((4, 3), np.float16), TypeError, "float16"),
    (np.ones((4, 3), np.longdouble), TypeError, "float128"),
    (np.ones((4, 3), complex), TypeError, "complex128"),
    (np.ones((4, 3), SWAPPED), TypeError, "native byte order"),
    ([[1.0, 2.0, 3.0]] * 4, TypeError, "list"),
    (None, TypeError, "NoneType"),
    (np.ones((4, 3), object), TypeError, "object"),
]
OUTPUTS = [
    (np.ones((4, 3), np.float32), TypeError, "out must be float64, got float32"),
    (np.ones((3, 4)), ValueError, r"out must have shape \(4, 3\), got \(3, 4\)"),
    (np.asfortranarray(np.ones((4, 3))), ValueError, "out must be C-contiguous"),
    (frozen(np.ones((4, 3))), ValueError, "out must be writeable"),
    (np.ones((4, 3), int), TypeError, "out must be float32 or float64"),
    ([[0.0] * 3] * 4, TypeError, "out must be a float32 or float64 array, got list"),
]


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


def refuses(layer, method, *args, error, message, **options):
    """The call raises, and the layer is what it was."""
    before = repr({k: v for k, v in vars(layer).items() if k != "_lock"})
    with pytest.raises(error, match=message):
        getattr(layer, method)(*args, **options)
    assert repr({k: v for k, v in vars(layer).items() if k != "_lock"}) == before


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
    refuses(unbiased, "forward", X[:1], error=ValueError, message="two values a channel")


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

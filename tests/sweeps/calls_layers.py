"""Valid calls of layers, networks and losses."""

import inspect
import math

import numpy as np
from bad_values import SIZE, flag, floats, integer, number, one_of, real, seed
from calls import CALLS, RATE, SHARE, add, entries, f32, setters

import fastreg
import fastreg.nn as nn


def forwarded(layer, *arrays):
    for array in arrays:
        layer.forward(array)
    return layer


def out_like(shape, dtype=np.float32):
    return floats(shape, dtype, written=True, none=True)


def layer(make, X, *, shape=None, out=True, dtype=None):
    """Forward and backward of a layer, which take the shapes of ``shape``."""
    where = type(make()).__name__
    names = [
        next(iter(inspect.signature(method).parameters))
        for method in (make().forward, make().backward)
    ]
    given = {"out": (np.zeros_like(X), out_like(X.shape, X.dtype))} if out else {}
    also = dict.fromkeys(names, ("out",)) if out else {}
    kind = floats(shape, dtype, whole=True)

    def first(value):  # with out=, only the shape and dtype of out fit
        return kind(value) and (not out or (value.shape, value.dtype) == (X.shape, X.dtype))

    add(f"{where}.forward", lambda: make().forward, also=also, **{names[0]: (X, first)}, **given)
    add(
        f"{where}.backward",
        lambda: forwarded(make(), X).backward,
        also=also,
        **{names[1]: (X, floats(X.shape, X.dtype, whole=True))},
        **given,
    )


DROP = number(0.0, 1.0)
NOISE = {"drop_rate": (0.5, DROP), "rng": (0, seed)}


def noise_state(value):
    return False


def noise_shape(value):
    if isinstance(value, (list, tuple)):
        return all(item is None or integer(1)(item) for item in value)
    return value is None


DROPOUTS = {
    "Dropout": {"noise_shape": ((None, 1), noise_shape), "inverted": (True, flag)},
    "SpatialDropout": {
        "axis": (1, lambda value: integer()(value) and value != 0),
    },
    "StochasticDepth": {"mode": ("row", one_of("row", "batch"))},
    "DropConnect": {},
    "AlphaDropout": {},
    "GaussianDropout": {"drop_rate": (0.5, SHARE)},
}
for _name, _own in DROPOUTS.items():
    _cls = getattr(fastreg, _name)
    add(_name, lambda cls=_cls: cls, **(NOISE | _own))
    layer(lambda cls=_cls: cls(rng=0), f32(4, 3))
    setters(_name, lambda cls=_cls: cls(rng=0), drop_rate=(NOISE | _own)["drop_rate"][1])
    add(f"{_name}.reset", lambda cls=_cls: cls(rng=0).reset, call=(3, integer(0, 2**62 - 1)))
    add(
        f"{_name}.load_state_dict",
        lambda cls=_cls: cls(rng=0).load_state_dict,
        state=(_cls(rng=1).state_dict(), noise_state),
    )
    entries(
        f"{_name}.load_state_dict",
        lambda cls=_cls: cls(rng=0).load_state_dict,
        _cls(rng=1).state_dict(),
    )

EPSILON = {"epsilon": (1e-5, number(0.0, open_low=True)), "affine": (True, flag)}


def sizes(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(SIZE, value))
    return SIZE(value)


add(
    "BatchNorm",
    lambda: fastreg.BatchNorm,
    n_features=(3, SIZE),
    momentum=(0.9, number(0.0, 1.0, none=True)),
    **EPSILON,
    axis=(1, lambda value: integer()(value) and value in (1, -1)),
    track_running_stats=(True, flag),
    unbiased_running_var=(True, flag),
)
add("LayerNorm", lambda: fastreg.LayerNorm, n_features=(3, sizes), **EPSILON)
add("RMSNorm", lambda: fastreg.RMSNorm, n_features=(3, sizes), **EPSILON)
add(
    "GroupNorm",
    lambda: fastreg.GroupNorm,
    n_groups=(1, lambda v: integer(1, 3)(v) and v != 2),
    n_features=(3, SIZE),
    **EPSILON,
)
add("InstanceNorm", lambda: fastreg.InstanceNorm, n_features=(3, SIZE), **EPSILON)
layer(lambda: fastreg.BatchNorm(3), f32(4, 3), shape=lambda s: s[1:] == (3,) and s[0] > 0)
layer(lambda: fastreg.LayerNorm(3), f32(4, 3))
layer(lambda: fastreg.RMSNorm(3), f32(4, 3))
layer(lambda: fastreg.GroupNorm(3, 3), f32(4, 3))
layer(lambda: fastreg.InstanceNorm(3), f32(4, 3, 2))


def normalised():
    return forwarded(fastreg.BatchNorm(3), f32(4, 3))


add(
    "BatchNorm.load_state_dict",
    lambda: fastreg.BatchNorm(3).load_state_dict,
    state=(normalised().state_dict(), lambda value: False),
)
entries(
    "BatchNorm.load_state_dict",
    lambda: fastreg.BatchNorm(3).load_state_dict,
    normalised().state_dict(),
)
add(
    "BatchNorm.fold_into",
    lambda: fastreg.BatchNorm(3).fold_into,
    W=(f32(2, 3), floats(lambda s: (len(s) == 2 and s[1] == 3) or (s == (3,) or None))),
    b=(f32(3), floats(lambda s: math.prod(s) == 3 and len(s) <= 2)),
)

for _name in nn.activations.__all__:
    layer(getattr(nn, _name), f32(4, 3), out=False)
add("LeakyReLU", lambda: nn.LeakyReLU, slope=(0.1, RATE))
add("GELU", lambda: nn.GELU, exact=(True, flag))


def float_dtype(value):
    try:
        return value is not None and np.dtype(value) in (np.float32, np.float64)
    except (TypeError, ValueError, RuntimeError):
        return False


WHOSE = {"products": ("blas", lambda v: v is None or one_of("own", "blas")(v))}
INIT = {
    "init": ("he", one_of("he", "glorot", "normal")),
    "init_scale": (1.0, RATE),
    "dtype": (np.float64, float_dtype),
    "rng": (0, seed),
}
add("Dense", lambda: nn.Dense, n_in=(3, SIZE), n_out=(2, SIZE), bias=(True, flag), **WHOSE, **INIT)
layer(
    lambda: nn.Dense(3, 3, rng=0),
    f32(4, 3),
    shape=lambda s: s[1:] == (3,),
    out=False,
    dtype=np.float32,
)
_backward = CALLS[-1]
_backward.arguments["input_gradient"] = (True, flag)


def widths(value):
    if isinstance(value, np.ndarray) and value.ndim != 1:
        return False
    if isinstance(value, (list, tuple, np.ndarray)):
        return len(value) > 1 and all(map(SIZE, value))
    return False


def network(**options):
    return nn.mlp([3, 4, 2], rng=0, **options)


def noisy():
    """A network that has every kind of entry in its state."""
    return network(batch_norm=True, dropout=0.5)


def rates(value):
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1:
        return len(value) == 1 and not isinstance(value[0], (list, tuple)) and DROP(value[0])
    return DROP(value)


add(
    "mlp",
    lambda: nn.mlp,
    sizes=([3, 4, 2], widths),
    activation=("relu", one_of("relu", "leaky_relu", "tanh", "sigmoid", "gelu")),
    batch_norm=(True, flag),
    norm=("batch", one_of("batch", none=True)),
    dropout=(0.5, rates),
    input_dropout=(0.5, DROP),
    backend=("fast", one_of("fast", "reference")),
    **WHOSE,
    **INIT,
)
add("Sequential", lambda: nn.Sequential, layers=([nn.ReLU()], lambda value: False), **WHOSE)


def shape_of_sample(value):
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(map(SIZE, value))
    return value is None or SIZE(value)


add("Sequential.summary", lambda: network().summary, input_shape=(3, shape_of_sample))


def rows_of_three(value):
    if isinstance(value, np.ndarray) and value.shape == (0, 3):
        return ...  # refused by batch norm, after the layer before it has run
    return _rows(value)


_rows = floats(lambda s: len(s) == 2 and s[1] == 3, np.float32, whole=True)
add(
    "Sequential.forward",
    lambda: noisy().forward,
    says="forward",
    X=(f32(4, 3), rows_of_three),
)
add(
    "Sequential.backward",
    lambda: forwarded(noisy(), f32(4, 3)).backward,
    says="backward",
    dY=(f32(4, 2), floats((4, 2), np.float32, whole=True)),
    input_gradient=(True, flag),
)
add(
    "Sequential.load_state_dict",
    lambda: network().load_state_dict,
    state=(network().state_dict(), lambda value: False),
)
entries(
    "Sequential.load_state_dict",
    lambda: noisy().load_state_dict,
    noisy().state_dict(),
    says="load_state_dict",
)


def outputs(value):
    array = real(lambda s: s == (4, 2))(value) and np.asarray(value)
    return array is not False and array.dtype in (np.float32, np.float64) and array.dtype.isnative


def classes(value):
    return real((4,), kinds="iu", values=lambda a: a.min() >= 0 and a.max() < 2)(value)


def shares(n):
    return real(
        (n,),
        kinds="fiu",
        none=True,
        values=lambda a: np.isfinite(a).all() and a.min() >= 0 and a.sum() > 0,
    )


LABELS = np.array([0, 1, 1, 0])
PAIRS = {"logits": ("labels", "targets"), "outputs": ("targets",)}
SMOOTH = {"label_smoothing": (0.5, DROP), "sample_weight": (np.ones(4), shares(4))}
add(
    "softmax_cross_entropy",
    lambda: nn.softmax_cross_entropy,
    logits=(f32(4, 2), outputs),
    also=PAIRS,
    labels=(LABELS, classes),
    class_weights=(np.ones(2), shares(2)),
    ignore_index=(None, integer(none=True)),
    **SMOOTH,
)
add(
    "mse",
    lambda: nn.mse,
    outputs=(f32(4, 2), outputs),
    targets=(f32(4, 2), real((4, 2))),
    sample_weight=SMOOTH["sample_weight"],
    also=PAIRS,
)
add(
    "binary_cross_entropy",
    lambda: nn.binary_cross_entropy,
    logits=(f32(4, 2), outputs),
    targets=(np.ones((4, 2)), real((4, 2), values=lambda a: a.min() >= 0 and a.max() <= 1)),
    also=PAIRS,
    **SMOOTH,
)
TARGETS = {"outputs": (f32(4, 2), outputs), "targets": (f32(4, 2), real((4, 2)))}
TARGETS |= {"sample_weight": SMOOTH["sample_weight"]}
INSIDE = number(0.0, 1.0, open_low=True, open_high=True)
add("mae", lambda: nn.mae, also=PAIRS, **TARGETS)
add("huber", lambda: nn.huber, also=PAIRS, **TARGETS, delta=(1.0, number(0.0, open_low=True)))
add("quantile", lambda: nn.quantile, also=PAIRS, **TARGETS, q=(0.5, INSIDE))
add(
    "poisson",
    lambda: nn.poisson,
    log_means=(f32(4, 2), outputs),
    targets=(np.ones((4, 2)), real((4, 2), values=lambda a: a.min() >= 0 and a.max() < np.inf)),
    sample_weight=SMOOTH["sample_weight"],
    also={**PAIRS, "log_means": ("targets",)},
)
add(
    "focal",
    lambda: nn.focal,
    logits=(f32(4, 2), outputs),
    targets=(np.ones((4, 2)), real((4, 2), values=lambda a: np.isin(a, (0, 1)).all())),
    gamma=(2.0, number(0.0)),
    alpha=(0.25, number(0.0, 1.0, open_low=True, open_high=True, none=True)),
    sample_weight=SMOOTH["sample_weight"],
    also=PAIRS,
)

"""A valid call of every public callable, with the kind that each argument must be of."""

import inspect
import math

import numpy as np
from bad_values import (
    SIZE,
    called,
    flag,
    floats,
    integer,
    listed,
    number,
    one_of,
    pandas,
    path,
    real,
    seed,
    weights,
)

import fastreg
import fastreg.nn as nn
from fastreg import callbacks, checkpoint, data, lab, optim, schedule, train
from fastreg.lab import data as lab_data


class Call:
    """A public callable by the name that its errors have, and its arguments.

    ``make`` returns it anew; an argument is (a valid value, the kind that it must have).
    """

    def __init__(self, where, make, /, *, says=None, errors=(), also=None, **arguments):
        self.where, self.make, self.arguments = where, make, arguments
        self.says = says or where  # what errors call it
        self.errors = errors  # what else it may raise, as documented
        self.also = also or {}  # argument: other names that errors have for it

    def __repr__(self):
        return self.where


class Assign:
    """The setter of a property as a callable."""

    def __init__(self, holder, name):
        self.holder, self.name = holder, name

    def __call__(self, value):
        setattr(self.holder, self.name, value)


def rng(n=0):
    return np.random.default_rng(n)


def f32(*shape):
    return rng().standard_normal(shape).astype(np.float32)


def f64(*shape):
    return rng().standard_normal(shape)


CALLS = []


def add(where, make, /, **options):
    CALLS.append(Call(where, make, **options))


def setters(where, make, **kinds):
    """Properties that may be assigned; learning_rate is what errors call lr."""
    for name, kind in kinds.items():

        def assign(name=name):
            return Assign(make(), name)

        value = {"axis": 0, "t": 1}.get(name, 0.25)
        add(
            f"{where}.{name}=",
            assign,
            says=where,
            also={"value": (name, "learning_rate")},
            value=(value, kind),
        )


# --- optimizers -----------------------------------------------------------------------------------

RATE = number(0.0)
SHARE = number(0.0, 1.0, open_high=True)


def scheduled(value):
    return callable(value) or RATE(value)


def clip(value):
    """None and infinity clip nothing."""
    infinite = isinstance(value, float) and value == math.inf
    return value is None or infinite or number(0.0, open_low=True)(value)


def excluded(value):
    if callable(value) and not isinstance(value, type):
        return True
    return None if callable(value) else listed(lambda item: isinstance(item, str))(value)


def grouped(value):
    return value is None or (isinstance(value, dict) and not value)


SERVICES = {
    "weight_decay": (0.01, scheduled),
    "lambda_l2": (0.01, RATE),
    "lambda_l1": (0.01, RATE),
    "l1_mode": ("prox", one_of("subgradient", "prox")),
    "clip_norm": (1.0, number(0.0, open_low=True, none=True)),
    "clip_value": (1.0, clip),
    "exclude": (["*.b"], excluded),
    "groups": ({"b*": {"learning_rate": 0.1}}, grouped),
    "on_nonfinite": ("skip", one_of("propagate", "skip", "raise")),
    "ema_decay": (0.5, number(0.0, 1.0, open_high=True, none=True)),
    "compat": (None, one_of("torch", "keras", "optax", none=True)),
}
OWN = {
    "learning_rate": (1e-3, scheduled),
    "epsilon": (1e-8, RATE),
    "initial_accumulator": (0.1, RATE),
    "momentum_decay": (0.004, RATE),
    "amsgrad": (True, flag),
    "nesterov": (True, flag),
    "centered": (True, flag),
    **dict.fromkeys(("beta", "beta1", "beta2", "rho", "momentum"), (0.5, SHARE)),
}
RULES = {
    "SGD": (),
    "Momentum": ("momentum", "nesterov"),
    "AdaGrad": ("epsilon", "initial_accumulator"),
    "RMSprop": ("beta", "epsilon", "centered", "momentum"),
    "Adam": ("beta1", "beta2", "epsilon", "amsgrad"),
    "AdamW": ("beta1", "beta2", "epsilon"),
    "NAdam": ("beta1", "beta2", "epsilon", "momentum_decay"),
    "RAdam": ("beta1", "beta2", "epsilon"),
    "Adamax": ("beta1", "beta2", "epsilon"),
    "Adadelta": ("rho", "epsilon"),
    "Lion": ("beta1", "beta2"),
}


def tensors():
    return {"a": f64(3), "b": f32(2, 2)}


def params_fit(value):
    return False


def stepped(name):
    options = {"momentum": 0.5} if name == "RMSprop" else {}
    rule = getattr(optim, name)(ema_decay=0.5, **options)
    rule.update(tensors(), tensors())
    return rule


def rules():
    for name, own in RULES.items():
        cls = getattr(optim, name)
        kinds = {key: OWN[key] for key in ("learning_rate", *own)}
        if name in ("SGD", "RAdam", "AdamW"):  # all share their code; these take more care of it
            kinds |= SERVICES
        if name == "RAdam":
            kinds["compat"] = (None, one_of("torch", "optax", none=True))
        add(name, lambda cls=cls: cls, **kinds)
        numbers = {key: kind for key, (value, kind) in kinds.items() if isinstance(value, float)}
        for key in ("learning_rate", "clip_norm", "initial_accumulator", "ema_decay"):
            numbers.pop(key, None)
        numbers |= {"lr": scheduled, "weight_decay": scheduled, "t": integer(0, 2**62)}
        numbers |= {"lambda_l1": RATE, "lambda_l2": RATE, "clip_value": clip}
        setters(name, lambda name=name: stepped(name), **numbers)
        add(
            f"{name}.update",
            lambda name=name: stepped(name).update,
            params=(tensors(), params_fit),
            grads=(tensors(), params_fit),
        )
        state = stepped(name).state_dict()
        add(
            f"{name}.load_state_dict",
            lambda name=name: stepped(name).load_state_dict,
            state=(state, params_fit),
        )
        if name in ("Momentum", "Adam"):
            entries(
                f"{name}.load_state_dict", lambda name=name: stepped(name).load_state_dict, state
            )


def entries(where, make, state, says=None):
    """Loading a state, whose entries are the arguments."""

    def bound(method):
        return Bound(method, lambda **state: method(state))

    kinds = {key: (value, lambda value: None) for key, value in state.items()}
    also = {key: ("lacks", "best_epoch", f"'{key[0]}'", key.split(".")[-1]) for key in state}
    add(f"{where}[...]", lambda: bound(make()), says=says or where, also=also, **kinds)


class Bound:
    """A function of a method, that keeps the method's object in sight."""

    def __init__(self, method, function):
        self.holder, self.function = method.__self__, function

    def __call__(self, **arguments):
        return self.function(**arguments)


rules()

# --- layers ---------------------------------------------------------------------------------------


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
    given = {"out": (np.empty_like(X), out_like(X.shape, X.dtype))} if out else {}
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
add(
    "BatchNorm.fold_into",
    lambda: fastreg.BatchNorm(3).fold_into,
    W=(f32(2, 3), floats(lambda s: (len(s) == 2 and s[1] == 3) or (s == (3,) or None))),
    b=(f32(3), floats(lambda s: math.prod(s) == 3 and len(s) <= 2)),
)

for _name in ("ReLU", "Tanh", "Sigmoid", "GELU", "LeakyReLU"):
    layer(getattr(nn, _name), f32(4, 3), out=False)
add("LeakyReLU", lambda: nn.LeakyReLU, slope=(0.1, RATE))


def float_dtype(value):
    try:
        return value is not None and np.dtype(value) in (np.float32, np.float64)
    except (TypeError, ValueError, RuntimeError):
        return False


INIT = {
    "init": ("he", one_of("he", "glorot", "normal")),
    "init_scale": (1.0, RATE),
    "dtype": (np.float64, float_dtype),
    "rng": (0, seed),
}
add("Dense", lambda: nn.Dense, n_in=(3, SIZE), n_out=(2, SIZE), bias=(True, flag), **INIT)
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


add(
    "mlp",
    lambda: nn.mlp,
    sizes=([3, 4, 2], widths),
    activation=("relu", one_of("relu", "leaky_relu", "tanh", "sigmoid", "gelu")),
    batch_norm=(True, flag),
    dropout=(0.5, DROP),
    backend=("fast", one_of("fast", "reference")),
    **INIT,
)
add("Sequential", lambda: nn.Sequential, layers=([nn.ReLU()], lambda value: False))


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

# --- losses ---------------------------------------------------------------------------------------


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

# --- penalties ------------------------------------------------------------------------------------

W = {"W": (f32(4, 3), weights())}
ONE = {
    "W": (f32(4, 3), floats((4, 3), np.float32, whole=True)),
    "out": (f32(4, 3), out_like((4, 3))),
}
BOTH = {"W": ("out",), "weights": ("out",)}
GIVEN = {"weights": W["W"]}
add(
    "l1_regularization_loss", lambda: fastreg.l1_regularization_loss, lambda_l1=(0.1, RATE), **GIVEN
)
add(
    "l2_regularization_loss", lambda: fastreg.l2_regularization_loss, lambda_l2=(0.1, RATE), **GIVEN
)
add("l1_gradient", lambda: fastreg.l1_gradient, lambda_l1=(0.1, RATE), also=BOTH, **ONE)
add("l2_gradient", lambda: fastreg.l2_gradient, lambda_l2=(0.1, RATE), also=BOTH, **ONE)
add(
    "penalty_and_gradient",
    lambda: fastreg.penalty_and_gradient,
    lambda_l1=(0.1, RATE),
    lambda_l2=(0.1, RATE),
    weights=ONE["W"],
    out=ONE["out"],
    also=BOTH,
)
add("soft_threshold", lambda: fastreg.soft_threshold, threshold=(0.1, RATE), also=BOTH, **ONE)
add("ElasticNet", lambda: fastreg.ElasticNet, lambda_l1=(0.1, RATE), lambda_l2=(0.1, RATE))
setters("ElasticNet", fastreg.ElasticNet, lambda_l1=RATE, lambda_l2=RATE)
add("ElasticNet.value", lambda: fastreg.ElasticNet().value, **GIVEN)
add("ElasticNet.gradient", lambda: fastreg.ElasticNet().gradient, also=BOTH, **ONE)
add(
    "ElasticNet.value_and_gradient",
    lambda: fastreg.ElasticNet().value_and_gradient,
    weights=ONE["W"],
    out=ONE["out"],
    also=BOTH,
)
add("ElasticNet.prox", lambda: fastreg.ElasticNet().prox, step_size=(1.0, RATE), also=BOTH, **ONE)


def axes(value):
    if isinstance(value, tuple):
        return bool(value) and all(map(integer(), value))
    return integer()(value)


def with_axis(value):
    found = weights()(value)
    if isinstance(value, (bool, int, float, np.generic)) or getattr(value, "ndim", 1) == 0:
        return False
    return found


def one_axis(value):
    return integer(-2, 1)(value)


add("GroupLasso", lambda: fastreg.GroupLasso, lambda_group=(0.1, RATE), axis=(0, axes))
setters("GroupLasso", fastreg.GroupLasso, lambda_group=RATE, axis=axes)
for _name, _argument in (
    ("value", "weights"),
    ("gradient", "W"),
    ("value_and_gradient", "weights"),
):
    add(
        f"GroupLasso.{_name}",
        lambda name=_name: getattr(fastreg.GroupLasso(), name),
        also={_argument: ("axis",)},
        **{_argument: (f32(4, 3), with_axis)},
    )
add(
    "GroupLasso.prox",
    lambda: fastreg.GroupLasso().prox,
    also={"W": ("axis",)},
    W=(f32(4, 3), with_axis),
    step_size=(1.0, RATE),
)
_written = weights(written=True)


def scaled(value):
    """Arrays with axes that are scaled in place."""
    found = with_axis(value)
    return found if found is False else None if not _written(value) else found


add(
    "max_norm",
    lambda: fastreg.max_norm,
    max_value=(1.0, number(0.0, open_low=True)),
    weights=(f32(4, 3), scaled),
    axis=(0, one_axis),
    also={"weights": ("axis",)},
)
add(
    "unit_norm",
    lambda: fastreg.unit_norm,
    weights=(f32(4, 3), scaled),
    axis=(0, one_axis),
    also={"weights": ("axis",)},
)


def finite(value):
    found = weights()(value)
    return found and bool(not hasattr(value, "size") or np.isfinite(value).all())


add("near_zero", lambda: fastreg.near_zero, tol=(0.01, RATE), **GIVEN)
add(
    "weight_histogram",
    lambda: fastreg.weight_histogram,
    bins=(5, integer(1, 10)),
    weights=(f32(4, 3), finite),
)

# --- schedules, stopping --------------------------------------------------------------------------

COUNT, COUNT0 = integer(1, 2**53), integer(0, 2**53)


def steps(value):
    if _is_listed(value):
        return real(
            kinds="fiu", values=lambda a: not a.size or (a.min() >= 0 and a.max() <= 2**53)
        )(value)
    return number(0, 2**53)(value)


def _is_listed(value):
    return isinstance(value, (list, tuple)) or (
        not isinstance(value, type) and getattr(value, "ndim", 0) > 0
    )


EPOCHS = number(0, 2**53, open_low=True)
EPOCHS0 = number(0, 2**53)
add(
    "step_decay",
    lambda: fastreg.step_decay,
    epoch=(3, steps),
    initial_lr=(0.1, RATE),
    drop_factor=(0.5, number(0, open_low=True)),
    epochs_drop=(10, EPOCHS),
)
add(
    "cosine_annealing",
    lambda: fastreg.cosine_annealing,
    epoch=(3, steps),
    total_epochs=(10, EPOCHS),
    lr_max=(0.1, RATE),
    lr_min=(0.0, RATE),
)
add(
    "warmup_schedule",
    lambda: fastreg.warmup_schedule,
    epoch=(3, steps),
    warmup_epochs=(5, EPOCHS0),
    base_lr=(0.1, RATE),
)
add(
    "warmup_cosine",
    lambda: fastreg.warmup_cosine,
    epoch=(3, steps),
    warmup_epochs=(2, lambda v: EPOCHS0(v) and None),
    lr_max=(0.1, RATE),
    lr_min=(0.0, RATE),
    total_epochs=(10, lambda v: EPOCHS(v) and None),
    also={"total_epochs": ("warmup_epochs",)},
)
OPEN = number(0, open_low=True)
FRACTION = OPEN


milestones = listed(integer(1))


def joined(value):
    return False


SCHEDULES = {
    "constant": {"value": (0.1, RATE)},
    "step": {
        "initial_value": (0.1, RATE),
        "drop_factor": (0.5, FRACTION),
        "drop_every": (10, COUNT),
    },
    "multi_step": {
        "initial_value": (0.1, RATE),
        "milestones": ((3, 5), milestones),
        "drop_factor": (0.1, FRACTION),
    },
    "exponential": {
        "initial_value": (0.1, RATE),
        "decay_rate": (0.5, FRACTION),
        "decay_steps": (1, COUNT),
    },
    "inverse_time": {
        "initial_value": (0.1, RATE),
        "decay_rate": (0.5, RATE),
        "decay_steps": (1, COUNT),
    },
    "polynomial": {
        "initial_value": (0.1, RATE),
        "final_value": (0.0, RATE),
        "total_steps": (9, COUNT),
        "power": (1.0, OPEN),
    },
    "linear": {"initial_value": (0.1, RATE), "final_value": (0.0, RATE), "total_steps": (9, COUNT)},
    "cosine": {"initial_value": (0.1, RATE), "total_steps": (9, COUNT), "final_value": (0.0, RATE)},
    "warm_restarts": {
        "initial_value": (0.1, RATE),
        "period": (9, COUNT),
        "final_value": (0.0, RATE),
        "period_factor": (1, COUNT),
        "peak_factor": (1.0, FRACTION),
    },
    "one_cycle": {
        "peak_value": (0.1, RATE),
        "total_steps": (9, COUNT),
        "warmup_fraction": (0.3, SHARE),
        "div_factor": (25.0, number(1)),
        "final_div_factor": (1e4, number(1)),
    },
    "warmup_stable_decay": {
        "peak_value": (0.1, RATE),
        "warmup_steps": (2, COUNT0),
        "stable_steps": (2, COUNT0),
        "decay_steps": (2, COUNT),
        "final_value": (0.0, RATE),
        "decay_power": (1.0, OPEN),
    },
    "join": {
        "schedules": ((schedule.constant(1.0), schedule.constant(0.5)), joined),
        "boundaries": ((5,), listed(integer(1), length=1)),
    },
    "warmup": {"schedule": (schedule.constant(1.0), called()), "warmup_steps": (5, COUNT0)},
}
for _name, _own in SCHEDULES.items():
    _cls = getattr(schedule, _name)
    _also = {"schedules": ("boundaries",)} if _name == "join" else {}
    _says = "polynomial" if _name == "linear" else _name
    add(f"schedule.{_name}", lambda cls=_cls: cls, says=_says, also=_also, **_own)
    if _name == "linear":
        continue
    _valid = {key: value for key, (value, _) in _own.items()}
    add(
        f"schedule.{_name}.__call__",
        lambda cls=_cls, valid=_valid: cls(**valid),
        says=_name,
        step=(3, steps),
    )
    add(
        f"schedule.{_name}.curve",
        lambda cls=_cls, valid=_valid: cls(**valid).curve,
        says=_name,
        n_steps=(3, integer(1, 100)),
    )

WAITING = {
    "patience": (3, integer(0)),
    "min_delta": (0.1, RATE),
    "mode": ("min", one_of("min", "max")),
    "min_delta_mode": ("abs", one_of("abs", "rel")),
    "cooldown": (1, integer(0)),
}
ANY = number(none=True)
add(
    "EarlyStopping",
    lambda: fastreg.EarlyStopping,
    restore_best=(True, flag),
    start_from_epoch=(0, integer(0)),
    baseline=(1.0, ANY),
    stopping_threshold=(0.1, ANY),
    divergence_threshold=(9.0, ANY),
    check_finite=(True, flag),
    verbose=(False, flag),
    **WAITING,
)


def loss(value):
    """A number of any size, also NaN and infinity."""
    if isinstance(value, (float, np.floating)):
        return True
    return number()(value)


losses = listed(loss)


def stopped():
    stopping = fastreg.EarlyStopping(3)
    stopping(1.0, {"w": np.ones(3)})
    return stopping


def kept(value):
    """Weights are copied as they are."""
    return None


add(
    "EarlyStopping.__call__",
    stopped,
    says="EarlyStopping",
    val_loss=(0.5, loss),
    model_weights=({"w": np.ones(3)}, kept),
)
add(
    "EarlyStopping.restore",
    lambda: stopped().restore,
    weights=({"w": np.zeros(3)}, lambda value: False),
)
add(
    "EarlyStopping.load_state_dict",
    lambda: stopped().load_state_dict,
    state=(stopped().state_dict(), lambda value: False),
)
entries("EarlyStopping.load_state_dict", lambda: stopped().load_state_dict, stopped().state_dict())


def patiences(value):
    return integer(0)(value) or listed(integer(0))(value)


add(
    "EarlyStopping.replay",
    lambda: fastreg.EarlyStopping.replay,
    says="EarlyStopping",
    val_losses=([1.0, 0.5], losses),
    patience=((1, 2), patiences),
    min_delta=(0.1, RATE),
)
add(
    "ReduceOnPlateau",
    lambda: fastreg.ReduceOnPlateau,
    initial_value=(0.1, RATE),
    factor=(0.5, number(0, 1, open_low=True, open_high=True)),
    min_value=(0.0, number(0, 0.1)),
    **WAITING,
)
add(
    "ReduceOnPlateau.__call__",
    lambda: fastreg.ReduceOnPlateau(0.1),
    says="ReduceOnPlateau",
    step=(3, lambda value: None),
)
add("ReduceOnPlateau.update", lambda: fastreg.ReduceOnPlateau(0.1).update, val_loss=(0.5, loss))
add(
    "ReduceOnPlateau.load_state_dict",
    lambda: fastreg.ReduceOnPlateau(0.1).load_state_dict,
    state=(fastreg.ReduceOnPlateau(0.1).state_dict(), lambda value: False),
)
entries(
    "ReduceOnPlateau.load_state_dict",
    lambda: fastreg.ReduceOnPlateau(0.1).load_state_dict,
    fastreg.ReduceOnPlateau(0.1).state_dict(),
)

# --- training -------------------------------------------------------------------------------------

X, Y = f32(4, 3), LABELS


def trainer(**options):
    return train.Trainer(
        network(dropout=0.5),
        nn.softmax_cross_entropy,
        fastreg.Adam(),
        rng=0,
        progress=False,
        **options,
    )


def tried_loss(value):
    """A function is tried before its result can be judged."""
    return ... if callable(value) else False


def tried_rows(value):
    """More axes than the first layer takes are found by that layer."""
    return ... if real(lambda s: len(s) > 2)(value) else table()(value)


def judged():
    model = network()
    model.eval()
    return model


def table(n=None, features=3):
    def fits(shape):
        return len(shape) == 2 and shape[1] == features and (shape[0] == n if n else shape[0] > 0)

    return real(fits)


def no_part(value):
    return False


def part(value):
    """A function; whether its result is right shows later."""
    return None if callable(value) else False


def optional_part(value):
    return value is None or part(value)


def parts(value):
    if isinstance(value, (list, tuple, set)):
        return not value
    return None if isinstance(value, np.ndarray) and value.ndim and not value.size else False


add(
    "Trainer",
    lambda: train.Trainer,
    model=(network(), no_part),
    loss=(nn.softmax_cross_entropy, part),
    optimizer=(fastreg.Adam(), no_part),
    schedule=(schedule.constant(0.1), optional_part),
    early_stopping=(None, optional_part),
    penalties=((), parts),
    callbacks=((), parts),
    rng=(0, seed),
    progress=(True, flag),
)
_documented = (FloatingPointError,)  # what data that are not finite end in
FIT = {
    "X": (X, table(4)),
    "y": (Y, classes),
    "epochs": (1, lambda value: ... if integer(6)(value) else integer(1)(value)),
    "batch_size": (2, integer(1)),
}


def resumed(value):
    return value is None or (None if path(value) else False)


_pairs = {"X": ("y",), "y": ("X",), "X_val": ("y_val",), "y_val": ("X_val",)}
add(
    "Trainer.fit",
    lambda: trainer().fit,
    errors=(*_documented, OSError),
    also=_pairs,
    **FIT,
    X_val=(X, table(4)),
    y_val=(Y, classes),
    sample_weight=(np.ones(4), shares(4)),
    resume_from=(None, resumed),
)
add(
    "fit",
    lambda: train.fit,
    says="Trainer",
    errors=_documented,
    also=_pairs,
    **FIT,
    model=(network(), no_part),
    loss=(nn.softmax_cross_entropy, tried_loss),
    optimizer=(fastreg.Adam(), no_part),
    rng=(0, seed),
)
add("Trainer.evaluate", lambda: trainer().evaluate, also=_pairs, X=(X, table(4)), y=(Y, classes))
add("Trainer.predict", lambda: trainer().predict, says=": X must", X=(X, tried_rows))
add("Trainer.predict_proba", lambda: trainer().predict_proba, says=": X must", X=(X, tried_rows))
add("Trainer.save", lambda: trainer().save, path=("run.ckpt", path), errors=(OSError,))
add(
    "Trainer.load",
    lambda: trainer().load,
    path=("base.ckpt", lambda v: None if path(v) else False),
    errors=(OSError, checkpoint.CheckpointError),
)
add(
    "evaluate",
    lambda: train.evaluate,
    also=_pairs,
    model=(judged(), no_part),
    X=(X, table(4)),
    y=(Y, classes),
    loss=(nn.softmax_cross_entropy, tried_loss),
)

# --- files and data -------------------------------------------------------------------------------


def absent(value):
    return None if path(value) else False


add(
    "checkpoint.save",
    lambda: checkpoint.save,
    says="save",
    path=("new.ckpt", path),
    errors=(OSError,),
    state=({"w": np.ones(3)}, lambda v: isinstance(v, dict) and (v in ({}, {"a": "x"}))),
)
add(
    "checkpoint.load",
    lambda: checkpoint.load,
    says="load",
    path=("base.ckpt", absent),
    errors=(OSError, checkpoint.CheckpointError),
)


def column(value):
    """A name in the file, or the place of a column."""
    return None if isinstance(value, str) else integer(-3, 2)(value) and None


def columns(value):
    if value is None or isinstance(value, (str, bytes)):
        return value is None or (None if isinstance(value, str) else False)
    if isinstance(value, (list, tuple, set, dict)) or getattr(value, "ndim", 0):
        return None
    return None if hasattr(value, "__iter__") else column(value)


TABLE = {
    "target": ("y", column),
    "drop": (["x"], columns),
    "missing": ("drop", one_of("refuse", "drop")),
    "words": ("one-hot", one_of("refuse", "one-hot")),
}
add(
    "data.read_csv",
    lambda: data.read_csv,
    says="read_csv",
    path=("base.csv", absent),
    delimiter=(",", lambda v: None),
    header=(True, lambda v: v is None or (flag(v) and None)),
    encoding=("utf-8", lambda v: None),
    errors=(OSError,),
    **TABLE,
)
if pandas is not None:
    add(
        "data.from_frame",
        lambda: data.from_frame,
        says="from_frame",
        frame=(pandas.DataFrame({"x": [1.0, 2.0], "z": [1, 2], "y": [0, 1]}), no_part),
        **TABLE,
    )
add(
    "data.read_npz",
    lambda: data.read_npz,
    says="read_npz",
    path=("base.npz", absent),
    X=("X", lambda v: False),
    y=("y", lambda v: False),
    errors=(OSError,),
)
add(
    "data.read_idx",
    lambda: data.read_idx,
    says="read_idx",
    path=("base.idx", absent),
    errors=(OSError,),
)


def finite_table(value):
    return real(lambda s: len(s) >= 2 and s[0] > 0, values=lambda a: np.isfinite(a).all())(value)


add(
    "data.Standardizer",
    lambda: data.Standardizer,
    says="Standardizer",
    X=(f64(9, 3), lambda v: finite_table(v) and (None if np.ndim(v) > 2 else True)),
)
add(
    "data.Standardizer.__call__",
    lambda: data.Standardizer(f64(9, 3)),
    says="Standardizer",
    X=(f64(9, 3), lambda v: real(lambda s: s[1:] == (3,))(v) and None),
)
add(
    "data.split",
    lambda: data.split,
    says="split",
    also=_pairs,
    name=("numbers", lambda v: None),
    X=(f64(9, 3), lambda v: finite_table(v) and (len(v) == 9)),
    y=(np.arange(9) % 3, lambda v: real((9,), kinds="fiubUS")(v) and None),
    validation=(0.2, number(0, 0.8, open_high=True)),
    test=(0.2, number(0, 0.8, open_high=True)),
    standardize=(True, flag),
    rng=(0, seed),
)

# --- callbacks, studies, configuration ------------------------------------------------------------

add(
    "Checkpoint",
    lambda: callbacks.Checkpoint,
    path=("run.ckpt", path),
    every=(1, integer(1)),
    every_steps=(None, integer(1, none=True)),
)
add(
    "LiveDiagnosis",
    lambda: callbacks.LiveDiagnosis,
    every=(1, integer(1)),
    report=(print, called()),
)


def curve(value):
    return real(
        lambda s: len(s) < 2 and 0 not in s, kinds="fiu", values=lambda a: not (a < 0).any()
    )(value)


add(
    "diagnose",
    lambda: fastreg.diagnose,
    train=([1.0, 0.5], curve),
    val=([1.0, 0.6], curve),
    baseline=(1.0, number(0, open_low=True, none=True)),
    high_error=(0.2, RATE),
    gap_ratio=(0.1, RATE),
    gap_floor=(0.1, RATE),
    divergence=(0.2, RATE),
    window=(1, integer(1, none=True)),
)


def one_job(value):
    if integer()(value) and value != 0 and abs(value) < 2**15:
        return True if value == 1 else ...  # other processes
    return value is None


class Mean:
    """The simplest model there is."""

    def fit(self, X, y):
        self.value = y.mean()

    def predict(self, X):
        return np.full(len(X), self.value)


def rows(n):
    return real(lambda s: s[:1] == (n,))


def study(value):
    words = isinstance(value, np.ndarray) and value.dtype.kind == "U"
    return ... if words else rows(4)(value) and None  # the model must read them


def real_targets(value):
    return real((4,), values=lambda a: np.isfinite(a).all())(value)


_study = {
    "X": ("y",),
    "y": ("X", "predictions"),
    "X_test": ("y_test", "predictions"),
    "y_test": ("X_test", "truth"),
}
add(
    "bias_variance",
    lambda: fastreg.bias_variance,
    make_model=(Mean, tried_loss),
    X=(f64(4, 3), study),
    y=(np.arange(4.0), study),
    X_test=(f64(4, 3), study),
    y_test=(np.arange(4.0), real_targets),
    rounds=(2, integer(1, 5)),
    loss=("squared", one_of("squared", "zero_one")),
    truth=(np.arange(4.0), lambda v: v is None or real_targets(v)),
    train_size=(3, integer(1, 9, none=True)),
    rng=(0, seed),
    n_jobs=(1, one_job),
    progress=(False, flag),
    also=_study,
)


add(
    "compare_optimizers",
    lambda: fastreg.compare_optimizers,
    steps=(3, lambda v: ... if integer(101, 2**53)(v) else integer(0, 2**53)(v)),
    optimizers=(
        {"sgd": fastreg.SGD(0.001)},
        lambda v: v is None or (isinstance(v, dict) and not v),
    ),
    start=((-1.0, 1.0), listed(number(), length=2)),
    verbose=(False, flag),
)
THREADS = integer(1, 1024)


def with_threads():
    def enter(n):
        with fastreg.num_threads(n):
            pass

    return enter


def set_threads():
    def assign(n):
        before = fastreg.get_num_threads()
        fastreg.set_num_threads(n)
        fastreg.set_num_threads(before)

    return assign


add("num_threads", with_threads, n=(1, THREADS))
add("set_num_threads", set_threads, n=(1, THREADS))
add("show_config", lambda: fastreg.show_config, file=(None, lambda v: v is None))

# --- the lab --------------------------------------------------------------------------------------

add(
    "lab.experiment",
    lambda: lab.experiment,
    says="experiment",
    name=("speed", one_of(*lab.EXPERIMENTS)),
)
add(
    "lab.data.load",
    lambda: lab_data.load,
    says="load",
    data=("wine", lambda v: False),
    errors=(OSError,),
    seed=(0, integer(0)),
    label_noise=(0.1, DROP),
)

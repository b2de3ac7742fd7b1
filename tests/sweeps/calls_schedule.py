"""Valid calls of schedules and early stopping."""

import numpy as np
from bad_values import called, flag, integer, length, listed, number, one_of, real
from calls import RATE, SHARE, add, entries

import fastreg
from fastreg import schedule

COUNT, STEPS, STEPS0 = integer(1, 2**53), length(1), length(0)


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


milestones = listed(STEPS)


def joined(value):
    return False


SCHEDULES = {
    "constant": {"value": (0.1, RATE)},
    "step": {
        "initial_value": (0.1, RATE),
        "drop_factor": (0.5, FRACTION),
        "drop_every": (10, STEPS),
    },
    "multi_step": {
        "initial_value": (0.1, RATE),
        "milestones": ((3, 5), milestones),
        "drop_factor": (0.1, FRACTION),
    },
    "exponential": {
        "initial_value": (0.1, RATE),
        "decay_rate": (0.5, FRACTION),
        "decay_steps": (1, STEPS),
    },
    "inverse_time": {
        "initial_value": (0.1, RATE),
        "decay_rate": (0.5, RATE),
        "decay_steps": (1, STEPS),
    },
    "polynomial": {
        "initial_value": (0.1, RATE),
        "final_value": (0.0, RATE),
        "total_steps": (9, STEPS),
        "power": (1.0, OPEN),
    },
    "linear": {
        "initial_value": (0.1, RATE),
        "final_value": (0.0, RATE),
        "total_steps": (9, STEPS),
    },
    "cosine": {
        "initial_value": (0.1, RATE),
        "total_steps": (9, STEPS),
        "final_value": (0.0, RATE),
    },
    "warm_restarts": {
        "initial_value": (0.1, RATE),
        "period": (9, STEPS),
        "final_value": (0.0, RATE),
        "period_factor": (1, COUNT),
        "peak_factor": (1.0, FRACTION),
    },
    "one_cycle": {
        "peak_value": (0.1, RATE),
        "total_steps": (9, STEPS),
        "warmup_fraction": (0.3, SHARE),
        "div_factor": (25.0, number(1)),
        "final_div_factor": (1e4, number(1)),
    },
    "warmup_stable_decay": {
        "peak_value": (0.1, RATE),
        "warmup_steps": (2, STEPS0),
        "stable_steps": (2, STEPS0),
        "decay_steps": (2, STEPS),
        "final_value": (0.0, RATE),
        "decay_power": (1.0, OPEN),
    },
    "join": {
        "schedules": ((schedule.constant(1.0), schedule.constant(0.5)), joined),
        "boundaries": ((5,), listed(STEPS, length=1)),
    },
    "warmup": {"schedule": (schedule.constant(1.0), called()), "warmup_steps": (5, STEPS0)},
}
for _name, _own in SCHEDULES.items():
    _cls = getattr(schedule, _name)
    _also = {"schedules": ("boundaries",)} if _name == "join" else {}
    add(f"schedule.{_name}", lambda cls=_cls: cls, says=_name, also=_also, **_own)
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
    add(
        f"schedule.{_name}.bind",
        lambda cls=_cls, valid=_valid: cls(**valid).bind,
        says=f"{_name}.bind",
        steps_per_epoch=(3, COUNT),
        epochs=(2, integer(1, 2**53, none=True)),
    )

for _name, _short, _value in (
    ("step", "every", 10), ("cosine", "total", 9), ("polynomial", "total", 9),
    ("linear", "total", 9), ("one_cycle", "total", 9),
):  # fmt: skip
    _own = {k: v for k, v in SCHEDULES[_name].items() if k not in ("drop_every", "total_steps")}
    add(
        f"schedule.{_name}({_short}=)",
        lambda name=_name: getattr(schedule, name),
        says=_name,
        also={_short: ("drop_every", "total_steps")},
        **_own,
        **{_short: (_value, STEPS)},
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

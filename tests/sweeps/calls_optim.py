"""Valid calls of the optimizers."""

import inspect
import math
from types import MappingProxyType

from bad_values import flag, integer, listed, number, one_of, seed
from calls import RATE, SHARE, Assign, add, entries, f32, f64, setters

from fastreg import optim


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
    "maximize": (True, flag),
    "compat": (None, one_of("torch", "keras", "optax", none=True)),
    "state_dtype": ("bfloat16", one_of("bfloat16", "int8", none=True)),
    "master": (True, flag),
    "rng": (0, seed),
}
OWN = {
    "learning_rate": (1e-3, scheduled),
    "epsilon": (1e-8, RATE),
    "initial_accumulator": (0.1, RATE),
    "momentum_decay": (0.004, RATE),
    "trust_coefficient": (0.01, number(0.0, open_low=True)),
    "warmup_steps": (10.0, RATE),
    "amsgrad": (True, flag),
    "nesterov": (True, flag),
    "centered": (True, flag),
    **dict.fromkeys(
        ("beta", "beta1", "beta2", "beta3", "rho", "momentum", "dampening"), (0.5, SHARE)
    ),
}


def own(name):
    """The numbers and options that a rule has beside the services."""
    taken = inspect.signature(getattr(optim, name)).parameters
    return [key for key in taken if key not in ("learning_rate", "weight_decay", "services")]


def tensors():
    return {"a": f64(3), "b": f32(2, 2)}


def params_fit(value):
    return False


def stepped(name):
    options = {"momentum": 0.5} if name == "RMSprop" else {}
    rule = getattr(optim, name)(ema_decay=0.5, **options)
    rule.update(tensors(), tensors())
    return rule


def emptied(value):
    """A slot may be emptied; other arrays must fit."""
    return None if isinstance(value, dict) and not value else False


def exchanged(value):
    """A parameter that has no average keeps its value."""
    if isinstance(value, (list, tuple, dict)):
        return None
    return value is None


def slots(name):
    """Slots that may be assigned, and the exchange with the averages."""
    for attribute in dir(getattr(optim, name)):
        found = getattr(stepped(name), attribute)
        if isinstance(found, MappingProxyType) and attribute not in (
            "ema",
            "masters",
            "scales",
            "x",
        ):
            add(
                f"{name}.{attribute}=",
                lambda attribute=attribute: Assign(stepped(name), attribute),
                says=name,
                also={"value": (attribute,)},
                value=({key: array.copy() for key, array in found.items()}, emptied),
            )
    add(
        f"{name}.swap_ema",
        lambda: stepped(name).swap_ema,
        params=(tensors(), exchanged),
    )


def rules():
    for name in optim.__all__:
        cls = getattr(optim, name)
        kinds = {key: OWN[key] for key in ("learning_rate", *own(name))}
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
        slots(name)
        add(
            f"{name}.update",
            lambda name=name: stepped(name).update,
            params=(tensors(), lambda v: None if isinstance(v, dict) and not v else False),
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


rules()

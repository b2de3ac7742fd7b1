"""The settings of parameter groups: their names here, their bounds, and errors of others."""

from __future__ import annotations

import math
import sys
from typing import Any

from fastreg._core import checks

__all__ = [
    "EXTRAS",
    "FIELDS",
    "FLAGS",
    "checked_extras",
    "checked_groups",
    "checked_state",
    "refused",
]

MOST = sys.float_info.max
BELOW_1 = math.nextafter(1.0, 0.0)
ROUNDING = -1e-12  # schedulers reach 0 by products, and may come out just below it

#: Key of a parameter group, what it is called here, its place in the entry or -1, least, most, and
#: its default where the key is not one of torch's.
FIELDS: list[tuple[str, str, int, float, float, float | None]] = [
    ("lr", "learning_rate", -1, ROUNDING, MOST, None),
    ("momentum", "momentum", -1, 0.0, MOST, None),
    ("dampening", "dampening", -1, -MOST, MOST, None),
    ("alpha", "beta", -1, 0.0, MOST, None),
    ("betas", "beta1", 0, 0.0, BELOW_1, None),
    ("betas", "beta2", 1, 0.0, BELOW_1, None),
    ("rho", "rho", -1, 0.0, 1.0, None),
    ("eps", "epsilon", -1, 0.0, MOST, None),
    ("momentum_decay", "momentum_decay", -1, 0.0, MOST, None),
    ("lr_decay", "lr_decay", -1, 0.0, MOST, None),
    ("weight_decay", "weight_decay", -1, 0.0, MOST, None),
    ("lambda_l1", "lambda_l1", -1, 0.0, MOST, 0.0),
    ("lambda_l2", "lambda_l2", -1, 0.0, MOST, 0.0),
    ("clip_value", "clip_value", -1, math.nextafter(0.0, 1.0), math.inf, math.inf),
    ("ema_decay", "ema_decay", -1, 0.0, BELOW_1, 0.0),
]

#: What is true or false, and whether it may be true.
FLAGS = [
    ("maximize", True),
    ("amsgrad", True),
    ("nesterov", True),
    ("centered", True),
    ("decoupled_weight_decay", True),
    ("differentiable", False),
    ("capturable", False),
]

#: Bounds of what a group may hold beside torch's own entries.
EXTRAS: dict[str, dict[str, Any]] = {
    "lambda_l1": {"low": 0.0},
    "lambda_l2": {"low": 0.0},
    "clip_value": {"low": 0.0, "open_low": True},
    "ema_decay": {"low": 0.0, "high": 1.0, "open_high": True},
}


def checked_extras(where: str, extras: dict[str, Any]) -> None:
    """Check what a group may hold beside torch's own entries."""
    for key, value in extras.items():
        if key == "l1_mode":
            checks.choice(where, key, value, ("subgradient", "prox"))
        elif not (key == "clip_value" and isinstance(value, float) and value == math.inf):
            checks.number(where, key, value, **EXTRAS[key])


def refused(name: str, g: int, group: Any, key: str) -> Exception:
    """What is wrong with an entry of group g."""
    where = f"{name}: {key} of parameter group {g}"
    if key not in group:
        return ValueError(f"{where} is missing; set it, or make the optimizer anew")
    value = group[key]
    if (key, True) in FLAGS:
        return TypeError(f"{where} must be True or False, got {checks.shown(value)}")
    if (key, False) in FLAGS:
        return ValueError(
            f"{name}: {key} must be False, got {checks.shown(value)}; use torch.optim.{name} "
            "for that"
        )
    if key == "l1_mode":
        return ValueError(f"{where} must be 'subgradient' or 'prox', got {checks.shown(value)}")
    rows = [row for row in FIELDS if row[0] == key]
    bounds = f"from {max(rows[0][3], 0.0):g}"
    if rows[0][3] == -MOST:
        bounds = "that is finite"
    elif key == "clip_value":
        bounds = "above 0"
    elif rows[0][4] == BELOW_1:
        bounds += " to below 1"
    elif rows[0][4] == 1.0:
        bounds += " to 1"
    wanted = f"two numbers {bounds}" if rows[0][2] >= 0 else f"a number {bounds}"
    try:
        parts = list(value) if len(rows) > 1 else [value]
        good = not any(isinstance(part, (str, bytes)) for part in [value, *parts])
        kind = ValueError if good and len(list(map(float, parts))) == len(rows) else TypeError
    except (TypeError, ValueError, RuntimeError, OverflowError):
        kind = TypeError
    return kind(f"{where} must be {wanted}, got {checks.shown(value)}")


def checked_groups(name: str, groups: Any) -> None:
    """Check that these are groups of parameters."""
    if not isinstance(groups, list):
        raise TypeError(f"{name}: param_groups must be a list, got {checks.shown(groups)}")
    for g, group in enumerate(groups):
        if not isinstance(group, dict):
            raise TypeError(
                f"{name}: parameter group {g} must be a dict, got {checks.shown(group)}"
            )
        params = group.get("params")
        if not isinstance(params, list):
            raise TypeError(
                f"{name}: params of parameter group {g} must be a list, got {checks.shown(params)}"
            )


def checked_state(name: str, state: Any) -> None:
    """Check that this is what ``state_dict`` returns, before it is looked into."""
    where = f"{name}.load_state_dict"
    if not isinstance(state, dict):
        raise TypeError(f"{where}: state_dict must be a dict, got {checks.shown(state)}")
    for key in ("state", "param_groups"):
        if key not in state:
            raise ValueError(
                f"{where}: state_dict must have the keys 'state' and 'param_groups', got "
                f"{checks.shown(list(state))}; pass what state_dict() returned"
            )
    if not isinstance(state["state"], dict):
        raise TypeError(f"{where}: 'state' must be a dict, got {checks.shown(state['state'])}")
    checked_groups(where, state["param_groups"])

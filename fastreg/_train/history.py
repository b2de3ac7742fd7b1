"""Entries of the history: what is measured of an epoch's steps and of the weights after them."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np

from fastreg._core.functions import squares

__all__ = ["TOTALS", "add_step", "begun", "of_epoch", "of_gradients", "of_weights", "rate_of"]

NEAR_ZERO = 1e-3  # a weight of smaller magnitude counts as near zero


TOTALS = ("loss", "weight", "right", "rows")  # over the batches of the epoch so far


def begun() -> dict[str, Any]:
    """Return what an epoch has left before its first step."""
    return {"seconds": [], **dict.fromkeys(TOTALS, 0)}


def add_step(so_far: dict[str, Any], found: Any) -> dict[str, Any]:
    """Return what a step adds up to: its loss, weight, rows predicted right (or None) and rows.

    None stands for a step that was skipped. The list of seconds is the same one.
    """
    if found is None:
        return dict(so_far)
    loss, weight, right, rows = found
    return {
        **so_far,
        "loss": so_far["loss"] + loss * weight,
        "weight": so_far["weight"] + weight,
        "right": None if right is None else so_far["right"] + right,
        "rows": so_far["rows"] + rows,
    }


def of_epoch(so_far: dict[str, Any]) -> dict[str, Any]:
    """Return the history's entries of an epoch's steps.

    Examples
    --------
    >>> so_far = begun()
    >>> for step in (1.0, 4, 3, 4), (4.0, 2, 0, 2):
    ...     so_far = add_step(so_far, step)
    ...     so_far["seconds"].append(1e-3)
    >>> of_epoch(so_far)["loss"], of_epoch(so_far)["accuracy"]
    (2.0, 0.5)
    """
    loss, weight, right, rows = (so_far[name] for name in TOTALS)
    seconds = so_far["seconds"]
    entries = {name: so_far[name] for name in so_far if name not in (*TOTALS, "seconds")}
    return {
        "loss": loss / weight if weight else math.nan,
        "accuracy": None if right is None or not rows else right / rows,
        **entries,
        "ms_per_step": 1e3 * statistics.median(seconds),
        "seconds": sum(seconds),
    }


def rate_of(optimizer: Any, step: Any) -> float | None:
    """Return the learning rate of the optimizer's next step, NaN if it has none."""
    rate: Any = getattr(optimizer, "lr", math.nan)
    value: Any = rate(step) if callable(rate) else rate
    return float(value)


def of_gradients(model: Any) -> float:
    """Return the norm of all gradients of the last step, NaN if there was none."""
    try:
        return _norm(model.grads.values())
    except RuntimeError:  # every batch so far was skipped
        return math.nan


def of_weights(arrays: Any) -> dict[str, float]:
    """Return the norm of all parameters and the share of those near zero."""
    near = sum(np.count_nonzero(np.abs(array) < NEAR_ZERO) for array in arrays)
    return {"weight_norm": _norm(arrays), "near_zero": near / sum(array.size for array in arrays)}


def _norm(arrays):
    flat = [np.ravel(array) for array in arrays if np.size(array)]
    total = squares(flat)
    if 1e-290 < total < math.inf:
        return math.sqrt(total)
    # Squares have left the range of float64, or all are 0: in units of the largest.
    peak = max((float(np.abs(x).max()) for x in flat), default=0.0)
    if not 0.0 < peak < math.inf:
        return peak
    with np.errstate(under="ignore"):
        return peak * math.sqrt(squares([x / np.float64(peak) for x in flat]))

"""Entries of the history: what is measured of an epoch's steps and of the weights after them."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np

from fastreg._core.functions import squares, sums

__all__ = [
    "CLOCK",
    "TOTALS",
    "add_step",
    "begun",
    "joined",
    "of_epoch",
    "of_gradients",
    "of_weights",
    "rate_of",
    "untimed",
]

NEAR_ZERO = 1e-3  # a weight of smaller magnitude counts as near zero


CLOCK = ("ms_per_step", "seconds")  # what differs from run to run, and is in no file
LISTS = ("seconds", "seen")  # which grow in place
TOTALS = ("loss", "weight", "right", "rows")  # over the batches of the epoch so far


def begun(seeing: bool = False) -> dict[str, Any]:
    """Return what an epoch has left before its first step.

    With metrics to compute, it is also what they will see: outputs, targets and weights.
    """
    seen: dict[str, Any] = {"seen": []} if seeing else {}
    return {"seconds": [], **seen, **dict.fromkeys(TOTALS, 0)}


def untimed(entries: dict[str, Any]) -> dict[str, Any]:
    """Return entries without those of the clock."""
    return {name: value for name, value in entries.items() if name not in CLOCK}


def add_step(so_far: dict[str, Any], found: Any) -> dict[str, Any]:
    """Return what a step adds up to: its loss, weight, rows predicted right (or None) and rows.

    None stands for a step that was skipped. Its lists are the same ones.
    """
    if found is None:
        return dict(so_far)
    loss, weight, right, rows = found
    after = dict(so_far)
    after["loss"] += loss * weight
    after["weight"] += weight
    after["right"] = None if right is None else after["right"] + right
    after["rows"] += rows
    return after


def joined(one: Any, other: Any, share: float) -> Any:
    """Return loss, weight, rows right and rows of a step, of which a batch has this share.

    Examples
    --------
    >>> joined((1.0, 3, 3, 3), (4.0, 1, 0, 1), 0.25)
    (1.75, 4, 3, 4)
    """
    loss = one[0] * (1.0 - share) + other[0] * share
    right = None if one[2] is None else one[2] + other[2]
    return loss, one[1] + other[1], right, one[3] + other[3]


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
    seconds = [taken for taken in so_far["seconds"] if not math.isnan(taken)]
    entries = {name: so_far[name] for name in so_far if name not in (*TOTALS, *LISTS)}
    return {
        "loss": loss / weight if weight else math.nan,
        "accuracy": None if right is None or not rows else right / rows,
        **entries,
        "ms_per_step": 1e3 * statistics.median(seconds) if seconds else math.nan,
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
        arrays = [np.asarray(array) for array in model.grads.values()]
    except RuntimeError:  # every batch so far was skipped
        return math.nan
    return _norm(arrays, squares(arrays))


def of_weights(arrays: Any) -> dict[str, float]:
    """Return the norm of all parameters and the share of those near zero."""
    arrays = [np.asarray(array) for array in arrays]
    total, near = sums("of_weights", arrays, ("squares", "near_zero"), NEAR_ZERO)
    return {"weight_norm": _norm(arrays, total), "near_zero": near / sum(x.size for x in arrays)}


def _norm(arrays, total):
    """The norm of arrays whose squares add up to a total."""
    if 1e-290 < total < math.inf:
        return math.sqrt(total)
    # Squares have left the range of float64, or all are 0: in units of the largest.
    peak = max((float(np.abs(x).max()) for x in arrays if x.size), default=0.0)
    if not 0.0 < peak < math.inf:
        return peak
    with np.errstate(under="ignore"):
        return peak * math.sqrt(squares([x / np.float64(peak) for x in arrays]))

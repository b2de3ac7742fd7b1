"""Entries of the history: what is measured of a step and of the weights after it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["of_gradients", "of_weights", "rate_of"]

NEAR_ZERO = 1e-3  # a weight of smaller magnitude counts as near zero


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
    flat = [np.ravel(array) for array in arrays]
    total = sum(float(np.dot(x, x)) for x in flat)
    if 1e-30 < total < math.inf:
        return math.sqrt(total)
    # Squares have left the range of float32, or all are 0: in float64, in units of the largest.
    peak = max((float(np.abs(x).max()) for x in flat if x.size), default=0.0)
    if not 0.0 < peak < math.inf:
        return peak
    with np.errstate(under="ignore"):
        units = [x / np.float64(peak) for x in flat]
        return peak * math.sqrt(sum(float(np.dot(x, x)) for x in units))

"""What a step and the weights after it leave for the history."""

import math

import numpy as np

__all__ = ["of_gradients", "of_weights", "rate_of"]

NEAR_ZERO = 1e-3  # a weight of smaller magnitude counts as near zero


def rate_of(optimizer, step):
    """Return the learning rate of the optimizer's next step, NaN if it has none."""
    rate = getattr(optimizer, "lr", math.nan)
    return float(rate(step) if callable(rate) else rate)


def of_gradients(model):
    """Return the norm of all gradients of the last step, NaN if there was none."""
    try:
        return _norm(model.grads.values())
    except RuntimeError:  # every batch so far was skipped
        return math.nan


def of_weights(arrays):
    """Return the norm of all parameters and the share of those near zero."""
    near = sum(np.count_nonzero(np.abs(array) < NEAR_ZERO) for array in arrays)
    return {"weight_norm": _norm(arrays), "near_zero": near / sum(array.size for array in arrays)}


def _norm(arrays):
    return math.sqrt(sum(float(np.dot(flat, flat)) for flat in map(np.ravel, arrays)))

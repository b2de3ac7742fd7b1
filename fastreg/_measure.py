"""What a step and the weights after it leave for the history."""

import math

import numpy as np

__all__ = ["of_step", "of_weights"]

NEAR_ZERO = 1e-3  # a weight of smaller magnitude counts as near zero


def of_step(model, optimizer, step):
    """Return the learning rate and the norm of all gradients of the step just taken."""
    rate = getattr(optimizer, "lr", math.nan)
    rate = float(rate(step) if callable(rate) else rate)
    return {"learning_rate": rate, "gradient_norm": _norm(model.grads.values())}


def of_weights(arrays):
    """Return the norm of all parameters and the share of those near zero."""
    near = sum(np.count_nonzero(np.abs(array) < NEAR_ZERO) for array in arrays)
    return {"weight_norm": _norm(arrays), "near_zero": near / sum(array.size for array in arrays)}


def _norm(arrays):
    return math.sqrt(sum(float(np.dot(flat, flat)) for flat in map(np.ravel, arrays)))

"""Functions of a step: checking it, applying a formula to it, and the formulas that recur."""

import math

from fastreg._checks import number, shown

__all__ = ["LAST_STEP", "at_each", "half_cosine", "mix", "nonnegative", "ramp"]

LAST_STEP = 2**53  # up to here float64 counts without gaps


def at_each(where, name, step, formula):
    """Apply ``formula`` to a step, or to every element of an array of steps."""
    if type(step) is int and 0 <= step <= LAST_STEP:
        return formula(step)
    if not hasattr(step, "__iter__") or isinstance(step, (str, bytes)):
        return formula(number(where, name, step, low=0.0, high=LAST_STEP))
    import numpy as np

    from fastreg._arrays import real

    steps = real(where, name, step, "fiu", "numbers")
    if steps.size and not (steps.min() >= 0 and float(steps.max()) <= LAST_STEP):
        raise ValueError(f"{where}: {name} must be from 0 to 2**53, got {shown(step)}")
    values = [formula(t) for t in steps.ravel().tolist()]
    return np.array(values, dtype=np.float64).reshape(steps.shape)


def ramp(t, target, steps):
    """Return what the chapter's warm-up gives at ``t``: ``target`` at the last of its ``steps``."""
    return target * (t + 1) / steps if t + 1 < steps else target


def half_cosine(t, total):
    """Fall from 1 at ``t = 0`` to 0 at ``total`` and stay there."""
    return 0.5 * (1.0 + math.cos(math.pi * t / total)) if t < total else 0.0


def mix(start, end, weight):
    """Weigh ``start`` against ``end`` so that weights 1 and 0 return them exactly."""
    return start * weight + end * (1.0 - weight)


def nonnegative(where, name, value, *, low=0.0, high=math.inf, open_low=False, open_high=False):
    """Return ``value`` as a float of at least 0, or between narrower bounds."""
    return number(where, name, value, low=low, high=high, open_low=open_low, open_high=open_high)

"""Steps: their check, the application of a formula to them, and formulas used repeatedly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastreg._core.checks import number, shown
from fastreg._core.functions import cosine, missing_power, power, sine

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LAST_STEP", "arc", "at_each", "climb", "descend", "grow", "mix", "nonnegative", "ramp"]

LAST_STEP = 2**53  # float64 holds every integer up to here
FAR = 4096  # half periods, after which pi * t / total has lost too many digits
LOW = 2.0**-12  # where 1 + cos has lost as many


def at_each(where: str, name: str, step: Any, formula: Callable[[Any], float]) -> Any:
    """Apply ``formula`` to a step, or to every element of an array of steps."""
    if type(step) is int and 0 <= step <= LAST_STEP:
        return formula(step)
    if not hasattr(step, "__iter__") or isinstance(step, (str, bytes)):
        return formula(number(where, name, step, low=0.0, high=LAST_STEP))
    import numpy as np

    from fastreg._core.arrays import real

    steps = real(where, name, step, "fiu", "numbers")
    if steps.size and not (steps.min() >= 0 and float(steps.max()) <= LAST_STEP):
        raise ValueError(f"{where}: {name} must be from 0 to 2**53, got {shown(step)}")
    values = [formula(t) for t in steps.ravel().tolist()]
    return np.array(values, dtype=np.float64).reshape(steps.shape)


def climb(t: float, target: float, steps: float) -> float:
    """Return ``target * (t + 1) / steps``, which is ``target`` at the last of so many steps."""
    value = target * (t + 1) / steps
    return target * ((t + 1) / steps) if value == math.inf else value


def ramp(t: float, target: float, steps: float) -> float:
    """`climb`, then stay at ``target``."""
    return climb(t, target, steps) if t + 1 <= steps else target


def arc(t: float, start: float, end: float, total: float, left: float | None = None) -> float:
    """Return the cosine that is ``start`` at step 0 and ``end`` at ``total``, then rises again.

    ``left``, if it is known better than by rounding, is ``total - t``.
    """
    if t > FAR * total:
        t = t % (2 * total)
    if not t:
        return start  # which end + (start - end) may miss by a rounding
    height = 1.0 + cosine(math.pi * t / total)
    if height < LOW:  # near the end, where the formula above cancels
        left = total - t % (2 * total) if left is None else left
        root = sine(0.5 * math.pi * left / total)
        height = 2.0 * (root * root)
    return end + 0.5 * (start - end) * height


def descend(t: float, start: float, end: float, total: float, left: float | None = None) -> float:
    """Follow `arc` from ``start`` to ``end``, then stay at ``end``."""
    return arc(t, start, end, total, left) if t < total else end


def mix(start: float, end: float, share: float, rest: float, exponent: float) -> float:
    """Weigh ``start`` by ``share ** exponent`` and ``end`` by what is missing from 1.

    ``rest`` is ``1 - share``, known by itself, so that neither end is missed by a rounding.
    """
    weight, other = share, rest
    if exponent != 1.0:
        weight, other = power(share, exponent), missing_power(rest, exponent)
    return start * weight + end * other


def grow(start: float, factor: float, k: float) -> float:
    """Return ``start * factor ** k``; infinity if it is beyond float64."""
    growth = power(factor, k)
    if 0.0 < growth < math.inf or not start:
        return start * growth if start else start
    if (abs(start) > 1.0) == (growth > 0.0):  # too large or too small, and start makes it more so
        return start * growth
    half = grow(1.0, factor, 0.5 * k)
    return start * half * half


def nonnegative(
    where: str,
    name: str,
    value: Any,
    *,
    low: float = 0.0,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a float of at least 0, or between narrower bounds."""
    return number(where, name, value, low=low, high=high, open_low=open_low, open_high=open_high)

"""Hyper-parameter checks: one sentence an error, naming the argument, what was expected and what came.

TypeError for the wrong kind, ValueError for the wrong value. ``bool`` and ``str`` are not numbers
and NaN is not a hyper-parameter.
"""

import math
import operator

__all__ = ["flag", "integer", "number"]


def number(where, name, value, *, low=-math.inf, high=math.inf, open_low=False, open_high=False):
    """Return ``value`` as a finite float between ``low`` and ``high`` (bounds included unless open)."""
    expected = f"a number in {'(' if open_low or math.isinf(low) else '['}{low:g}, "
    expected += f"{high:g}{')' if open_high or math.isinf(high) else ']'}"
    if isinstance(value, (bool, str, bytes)) or type(value).__name__ == "bool":
        raise TypeError(f"{where}: {name} must be {expected}, got {value!r}")
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{where}: {name} must be {expected}, got {value!r}") from None
    inside = (low < result if open_low else low <= result) and (
        result < high if open_high else result <= high
    )
    if not (inside and math.isfinite(result)):
        raise ValueError(f"{where}: {name} must be {expected}, got {value!r}")
    return result


def integer(where, name, value, *, low=None, high=None):
    """Return ``value`` as an int between ``low`` and ``high``."""
    if isinstance(value, bool) or type(value).__name__ == "bool":
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}") from None
    if (low is not None and result < low) or (high is not None and result > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{where}: {name} must be {bounds}, got {value!r}")
    return result


def flag(where, name, value):
    """Return ``value`` if it is a bool."""
    if value is True or value is False or type(value).__name__ == "bool":
        return bool(value)
    raise TypeError(f"{where}: {name} must be True or False, got {value!r}")

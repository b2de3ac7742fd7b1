"""Checks of arguments: an error names the argument, what was expected and what came.

TypeError for the wrong kind, ValueError for the wrong value. ``bool`` and ``str`` are not numbers,
alone or in an array, and NaN is not a hyper-parameter.
"""

import math
import operator

__all__ = ["choice", "flag", "integer", "is_number", "number"]


def _is_bool(value):
    return value is True or value is False or type(value).__name__ == "bool"  # NumPy's, too


def is_number(value):
    """Whether ``float(value)`` would read a number, not a truth value or a text."""
    if isinstance(value, (bool, str, bytes, bytearray)):
        return False
    return getattr(getattr(value, "dtype", None), "kind", "f") in "iuf"


def choice(where, name, value, choices):
    """Return ``value`` if it is one of the strings in ``choices``."""
    if not isinstance(value, str) or value not in choices:
        error = ValueError if isinstance(value, str) else TypeError
        raise error(f"{where}: {name} must be one of {choices}, got {value!r}")
    return value


def number(where, name, value, *, low=-math.inf, high=math.inf, open_low=False, open_high=False):
    """Return ``value`` as a finite float from ``low`` to ``high``, included unless open."""
    if type(value) is float and -math.inf < value and low <= value < high and not open_low:
        return value  # what comes with nearly every call
    error = TypeError
    if is_number(value):
        try:
            result = float(value)
        except (TypeError, ValueError):
            pass
        except OverflowError:  # an int beyond float
            error = ValueError
        else:
            above = low < result if open_low else low <= result
            below = result < high if open_high else result <= high
            if above and below and math.isfinite(result):
                return result
            error = ValueError
    left = "(" if open_low or math.isinf(low) else "["
    right = ")" if open_high or math.isinf(high) else "]"
    raise error(
        f"{where}: {name} must be a number in {left}{low:g}, {high:g}{right}, got {value!r}"
    )


def integer(where, name, value, *, low=None, high=None):
    """Return ``value`` as an int between ``low`` and ``high``."""
    try:
        if _is_bool(value):
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}") from None
    if (low is not None and result < low) or (high is not None and result > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{where}: {name} must be {bounds}, got {value!r}")
    return result


def flag(where, name, value):
    """Return ``value`` if it is a bool."""
    if _is_bool(value):
        return bool(value)
    raise TypeError(f"{where}: {name} must be True or False, got {value!r}")

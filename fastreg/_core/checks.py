"""Checks of arguments: an error names the argument, what was expected and what came.

TypeError for the wrong kind, ValueError for the wrong value. ``bool`` and ``str`` are not numbers,
alone or in an array, and NaN is not a hyper-parameter. Messages repeat a short form of the value.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Fixed",
    "LARGEST",
    "Checked",
    "choice",
    "cure",
    "flag",
    "integer",
    "is_number",
    "items",
    "number",
    "optional_number",
    "path",
    "sequence",
    "shown",
    "size",
]

LARGEST = 2**59  # number of float64 values that fit in an address space

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlong = 60
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 8


def shown(value: Any) -> str:
    """Say what came: a short ``repr``, or type, dtype and shape of an array."""
    try:
        if not isinstance(value, type) and getattr(value, "shape", ()) != ():
            dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""  # a DataFrame has many
            return f"{type(value).__name__}{dtype} with shape {tuple(value.shape)}"
        return _SHORT.repr(value)
    except Exception:  # a repr is foreign code, and an integer may have too many digits
        return f"an object of type {type(value).__name__}"


def cure(name: str, value: Any) -> str:
    """Say how to turn what came into an array of numbers."""
    if hasattr(value, "toarray"):
        return f"; pass {name}.toarray(), sparse matrices are not supported"
    if hasattr(value, "filled"):
        return f"; fill the masked entries with {name}.filled(...), or leave them out"
    if hasattr(value, "detach"):
        return f"; pass {name}.detach().cpu().numpy()"
    if hasattr(value, "to_numpy"):
        return f"; fill or drop missing values and pass {name}.to_numpy(float)"
    if hasattr(value, "astype"):
        return f"; convert it with {name}.astype"
    return "; convert it with numpy.asarray" if isinstance(value, (list, tuple)) else ""


def _is_bool(value):
    return value is True or value is False or type(value).__name__ == "bool"  # NumPy's, too


def is_number(value: Any) -> bool:
    """Whether ``float(value)`` would read a number, not a truth value or a text."""
    if isinstance(value, (bool, str, bytes, bytearray)) or hasattr(value, "filled"):
        return False
    if getattr(value, "ndim", 0) != 0 or getattr(value, "requires_grad", False):
        return False
    dtype = getattr(value, "dtype", None)
    return getattr(dtype, "kind", "f") in "iuf" and "bool" not in str(dtype)


def choice(where: str, name: str, value: Any, choices: tuple[Any, ...]) -> str:
    """Return ``value`` if it is one of the strings in ``choices``."""
    if not isinstance(value, str) or value not in choices:
        error = ValueError if isinstance(value, str) else TypeError
        raise error(f"{where}: {name} must be one of {choices}, got {shown(value)}")
    return value


def products_of(where: str, name: str, value: Any) -> Any:
    """Return whose matrix products are asked for, None if nobody's."""
    return None if value is None else choice(where, name, value, ("own", "blas"))


def number(
    where: str,
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a finite float from ``low`` to ``high``, included unless open."""
    if type(value) is float and -math.inf < value and low <= value < high and not open_low:
        return value  # nearly every call ends here
    error: type[Exception] = TypeError
    if is_number(value):
        try:
            result = float(value)
        except (TypeError, ValueError, RuntimeError):
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
        f"{where}: {name} must be a number in {left}{low:g}, {high:g}{right}, got {shown(value)}"
    )


def integer(
    where: str, name: str, value: Any, *, low: int | None = None, high: int | None = None
) -> int:
    """Return ``value`` as an int between ``low`` and ``high``."""
    try:
        if not is_number(value):
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {name} must be an integer, got {shown(value)}") from None
    if (low is not None and result < low) or (high is not None and result > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{where}: {name} must be {bounds}, got {shown(value)}")
    return result


def size(where: str, name: str, value: Any, room: int = LARGEST) -> int:
    """Return a count of what is held in memory, from 1 to as many as there is room for."""
    result = integer(where, name, value, low=1)
    if result > room:
        raise ValueError(f"{where}: {name} must be at most {room}, got {shown(value)}")
    return result


def flag(where: str, name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool."""
    if _is_bool(value):
        return bool(value)
    raise TypeError(f"{where}: {name} must be True or False, got {shown(value)}")


def items(value: Any) -> tuple[Any, ...] | None:
    """Return what a list, a tuple or another iterable holds; None for text, dicts and the rest."""
    if isinstance(value, (str, bytes, bytearray, dict, type)):
        return None
    try:
        return tuple(value)
    except TypeError:
        return None


def sequence(where: str, name: str, value: Any, what: str) -> tuple[Any, ...]:
    """Return the items of ``value`` as a tuple; ``what`` says which they should be."""
    result = items(value)
    if result is None:
        raise TypeError(f"{where}: {name} must be a sequence of {what}, got {shown(value)}")
    return result


def path(where: str, name: str, value: Any) -> str:
    """Return a path as text. A number is none: it would name an open file's descriptor."""
    try:
        result = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{where}: {name} must be a str or a path, got {shown(value)}") from None
    if not result or "\0" in result:
        raise ValueError(f"{where}: {name} must be the name of a file, got {shown(value)}")
    return result


def optional_number(where: str, name: str, value: Any, **bounds: Any) -> float | None:
    """Return ``value`` if it is None, or as `number` does."""
    return None if value is None else number(where, name, value, **bounds)


class Checked:
    """An attribute that keeps what ``check(class name, attribute, value)`` returns.

    It is stored in the instance's ``__dict__``, so that reading it is as fast as for any attribute.
    """

    bounds: Any
    check: Callable[..., Any]

    def __init__(self, check: Callable[..., Any], **bounds: Any) -> None:
        self.check, self.bounds = check, bounds

    if TYPE_CHECKING:  # at run time a `__get__` would be called at every reading

        def __get__(self, instance: Any, owner: Any) -> Any: ...

    def __set_name__(self, owner: Any, name: str) -> None:
        self.name = name

    def __set__(self, instance: Any, value: Any) -> None:
        where = type(instance).__name__
        vars(instance)[self.name] = self.check(where, self.name, value, **self.bounds)


class Fixed(Checked):
    """A checked attribute that fixes the shape of others: it keeps its first value."""

    def __set__(self, instance: Any, value: Any) -> None:
        before = vars(instance).get(self.name)
        super().__set__(instance, value)
        now = vars(instance)[self.name]
        if before is not None and now != before:
            vars(instance)[self.name] = before
            raise ValueError(
                f"{type(instance).__name__}: {self.name} must stay {shown(before)}, got "
                f"{shown(value)}; make a new object"
            )

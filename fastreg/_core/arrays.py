"""Input arrays: real numbers of some dtype, or a refusal that says what to do; rows in an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core._kernels import rows_at, shuffle
from fastreg._core.checks import cure, shown

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["float_dtype", "real", "rows_at", "shuffle"]


def real(
    where: str, name: str, value: Any, kinds: str = "fiub", what: str = "an array of real numbers"
) -> Array:
    """Return ``value`` as an array whose dtype is of one of the ``kinds``.

    Masked arrays are refused, which NumPy would read through their masks, and so are sparse
    matrices, objects, text, dates and rows of different lengths.
    """
    array = value
    if type(value) is not np.ndarray:
        try:
            array = None if hasattr(value, "filled") else np.asarray(value)
        except (TypeError, ValueError, RuntimeError):  # foreign types raise what they like
            array = None
    if array is None or array.dtype.kind not in kinds:
        raise TypeError(f"{where}: {name} must be {what}, got {shown(value)}{cure(name, value)}")
    return array


def float_dtype(where: str, name: str, value: Any) -> np.dtype[Any]:
    """Return the dtype float32 or float64 that ``value`` names."""
    try:
        dtype = None if value is None else np.dtype(value)
    except Exception:  # also what foreign code raises
        dtype = None
    if dtype not in (np.float32, np.float64) or not dtype.isnative:
        raise TypeError(f"{where}: {name} must be float32 or float64, got {shown(value)}")
    return dtype

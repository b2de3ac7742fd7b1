"""State in bfloat16: the upper halves of float32 numbers, kept as uint16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import shown

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["halves", "halves_of", "widened"]


def widened(halves: Array) -> Array:
    """Return bfloat16 numbers, given as uint16, as float32."""
    wide = halves.astype(np.uint32, order="K") << np.uint32(16)
    return np.asarray(wide).view(np.float32)  # of no dimension, a sum is no array


def halves_of(array: Array) -> Array:
    """Return float32 numbers rounded to bfloat16, ties to even; what is finite stays finite."""
    bits = array.view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    rounded = size + np.uint32(0x7FFF) + (size >> np.uint32(16) & np.uint32(1))
    kept = np.minimum(rounded, np.maximum(size, np.uint32(0x7F7F0000)))
    kept = np.where(np.isnan(array), np.uint32(0x7FC00000), kept)
    signed = (kept | bits & np.uint32(0x80000000)) >> np.uint32(16)
    return np.asarray(signed.astype(np.uint16, order="K"))


def halves(where: str, name: str, value: Any) -> Array:
    """Return a copy of bfloat16 numbers: uint16, or an array of ``ml_dtypes.bfloat16``."""
    if isinstance(value, np.ndarray) and not hasattr(value, "filled"):
        if value.dtype == np.uint16:
            return np.array(value, order="K", copy=True)
        if value.dtype.name == "bfloat16":
            return np.array(value, order="K", copy=True).view(np.uint16)
    raise TypeError(
        f"{where}: {name} must be a uint16 array, the upper halves of float32 numbers, got "
        f"{shown(value)}"
    )

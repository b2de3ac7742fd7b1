"""State in a byte per number: codes, and the scales of blocks of 256 of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import shown

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["BLOCK", "LEAST", "MOST", "codes", "floats", "scales"]

BLOCK = 256
LEAST, MOST = -298, 256  # of a scale's exponent


def codes(where: str, name: str, value: Any) -> Array:
    """Return a copy of codes, in C order."""
    if _is_plain(value, np.uint8):
        return np.array(value, order="C", copy=True)
    raise TypeError(f"{where}: {name} must be a uint8 array of codes, got {shown(value)}")


def scales(where: str, name: str, value: Any, size: int) -> Array:
    """Return a copy of the scales of so many codes."""
    if not _is_plain(value, np.int16):
        raise TypeError(f"{where}: {name} must be an int16 array of scales, got {shown(value)}")
    blocks = -(-size // BLOCK)
    if value.shape != (blocks,) or (value < LEAST).any() or (value > MOST).any():
        raise ValueError(
            f"{where}: {name} must have one scale from {LEAST} to {MOST} for each {BLOCK} codes, "
            f"{blocks} in all, got {shown(value)}"
        )
    return np.array(value, order="C", copy=True)


def floats(where: str, name: str, value: Any) -> Array:
    """Return a copy of float32 numbers that are to be encoded, in C order."""
    if _is_plain(value, np.float32):
        return np.array(value, order="C", copy=True)
    raise TypeError(
        f"{where}: {name} must be a float32 array, which is encoded, got {shown(value)}"
    )


def _is_plain(value, dtype):
    """Whether this is an array of a type, and not a masked one."""
    return isinstance(value, np.ndarray) and not hasattr(value, "filled") and value.dtype == dtype

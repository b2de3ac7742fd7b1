"""Parameters of 16 bits: float16, and bfloat16 as the library that its user has brings it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.reference.narrow import narrowed, wide

__all__ = ["PARAM_DRAW", "RUN", "is_half", "rounded", "widened"]

RUN = 1024  # parameters that are widened together
PARAM_DRAW = 15  # the number of their draw; those of slots are from 0


def is_half(x: Any) -> bool:
    """Whether an array has a type of 16 bits."""
    return isinstance(x, np.ndarray) and x.dtype.name in ("bfloat16", "float16")


def widened(x: Any) -> Any:
    """The numbers in float32, which holds all of them."""
    return wide(x.view(np.uint16)) if x.dtype.name == "bfloat16" else x.astype(np.float32)


def rounded(x: Any, dtype: Any, pieces: Any = None) -> Any:
    """Float32 numbers in a type of 16 bits: the nearest, or up by the chance ``pieces`` draw.

    What is finite stays finite. Below 2^-14 the numbers of float16 are multiples of 2^-24.
    """
    if np.dtype(dtype).name == "bfloat16":
        return narrowed(x, pieces).view(dtype)
    size = np.abs(x)
    largest = np.float32(65504.0)
    if pieces is None:
        with np.errstate(over="ignore"):
            near = x.astype(np.float16)
        return np.where(np.isinf(near) & np.isfinite(x), np.copysign(largest, x), near).astype(
            np.float16
        )
    pieces = filled_like(x, pieces)
    exponent = np.frexp(np.where(np.isfinite(x), size, 0))[1].astype(np.int64)  # size < 2^exponent
    place = np.ldexp(1.0, np.maximum(exponent, -13) - 11)  # of the last digit
    units = np.where(np.isfinite(x), size, 0).astype(np.float64) / place
    whole = np.floor(units)
    cut = np.floor((units - whole) * 65536)
    up = cut + pieces >= 65536
    drawn = np.minimum((whole + up) * place, 65504.0)
    return np.where(np.isfinite(x), np.copysign(drawn, x), x).astype(np.float16)


def filled_like(x: Any, values: Any) -> Any:
    """``values``, which are in the order of memory, in the shape of an array."""
    laid = np.empty_like(x, dtype=np.uint32)
    order = np.argsort(laid.strides)[::-1]
    laid.transpose(order)[...] = values.reshape([laid.shape[axis] for axis in order])
    return laid

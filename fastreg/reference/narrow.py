"""State in bfloat16: the upper halves of float32 numbers, as uint16."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.reference.random import draw

__all__ = ["NARROW_KINDS", "narrowed", "pieces_of", "wide"]

NARROW_KINDS = {
    **{"m": "n", "velocity": "n", "peak": "n", "previous": "n"},
    **{"v": "d", "u": "d", "d": "d", "n": "d", "z": "f", "mean": "f"},
}


def wide(halves: Any) -> Any:
    """The numbers in float32."""
    return (np.asarray(halves).astype(np.uint32, order="K") << np.uint32(16)).view(np.float32)


def narrowed(x: Any, pieces: Any = None) -> Any:
    """Round to the nearest, ties to even, or up by the chance that ``pieces`` draw.

    ``pieces``: 16 bits for each element in the order of memory. What is finite stays finite.
    """
    bits = np.asarray(x).view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    if pieces is None:
        more = np.uint32(0x7FFF) + (size >> np.uint32(16) & np.uint32(1))
    else:
        more = filled(bits, pieces)
    kept = np.minimum(size + more, np.maximum(size, np.uint32(0x7F7F0000)))
    halves = (kept | bits & np.uint32(0x80000000)) >> np.uint32(16)
    return halves.astype(np.uint16, order="K")


def filled(like: Any, values: Any) -> Any:
    """``values``, which are in the order of memory, in the shape of an array that is contiguous."""
    laid = np.empty_like(like)
    order = np.argsort(laid.strides)[::-1]
    laid.transpose(order)[...] = values.reshape([laid.shape[axis] for axis in order])
    return laid


def pieces_of(key: int, step: int, first: int, size: int) -> Any:
    """16 bits for each of ``size`` elements from number ``first``, a multiple of 64.

    They are drawn as dropout's are (``random.keep_mask``), in domain 3 and 7 rounds.
    """
    groups = -(-size // 64)
    index = np.uint64(first // 8) + np.arange(groups * 8, dtype=np.uint64)
    w0, w1, w2, w3 = draw(key, step, index, domain=3, rounds=7)
    pieces = np.stack([w0 | w1 << np.uint64(32), w2 | w3 << np.uint64(32)])
    pieces = pieces.reshape(2, groups, 8).transpose(1, 0, 2).astype("<u8").reshape(-1)
    return pieces.view("<u2")[:size].astype(np.uint32)

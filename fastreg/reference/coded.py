"""State in a byte per number: blocks of 256 with a power of two as their scale.

A code is the upper bits of the float ``|x| / scale + offset``; the scale brings the largest number
of a block to 0.75 .. 1.5. With a sign it has 4 bits of exponent and 3 of mantissa, without one 5
and 3. The two largest codes are infinity and NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["BLOCK", "ROOTED", "Coded", "block_pieces", "decoded", "encoded", "whole_blocks"]

BLOCK = 256
#: The slots without sign that may hold minus a root where float32 has no square.
ROOTED = ("v", "n", "peak")
SMALL = 2.0**-40  # an epsilon below it lets such roots be small, too
MOST, LEAST = 3.4028234663852886e38, 2.0**-126


class Coded(NamedTuple):
    """The codes of a parameter's slot, of its shape and layout, and the exponents of scales."""

    codes: Any
    scales: Any


def base(unsign: bool) -> Any:
    """The bits of the offset as a float."""
    return np.uint32((96 if unsign else 112) << 23)


def whole_blocks(size: int) -> int:
    """The size of the blocks that hold so many numbers."""
    return -(-size // BLOCK) * BLOCK


def block_pieces(pieces: Any, second: int) -> Any:
    """The bits that whole blocks draw, for the first or the second of a pair of slots.

    Each block has those of its first half, then the same with their bytes exchanged; the second
    slot reads them from the 65th on, and the first 64 at the end.
    """
    half = pieces.reshape(-1, BLOCK)[:, : BLOCK // 2]
    both = np.concatenate([half, (half >> 8 | half << 8) & 0xFFFF], axis=1)
    return (np.roll(both, -64, axis=1) if second else both).reshape(-1)


def encoded(x: Any, unsign: bool, pieces: Any = None) -> Coded:
    """The codes of float32 numbers, rounded to the nearest, or up by the chance ``pieces`` draw.

    ``pieces``: 16 bits for each element in the order of memory.
    """
    x = np.asarray(x)
    flat = np.ravel(x, order="K")
    pieces = np.full(flat.size, 0x8000, np.uint32) if pieces is None else pieces
    codes, scales = np.empty(flat.size, np.uint8), []
    for start in range(0, flat.size, BLOCK):
        span = slice(start, start + BLOCK)
        codes[span], scale = block_codes(flat[span], unsign, pieces[span])
        scales.append(scale)
    return Coded(like(x, codes), np.array(scales, np.int16))


def block_codes(x: Any, unsign: bool, pieces: Any) -> Any:
    """The codes of one block, and the exponent of its scale."""
    wide = x.astype(np.float64)
    size = np.where(wide < 0, wide * wide, np.abs(wide)) if unsign else np.abs(wide)
    most = size[np.isfinite(size)].max(initial=0.0)
    mantissa, exponent = np.frexp(most)
    scale = int(exponent) - (mantissa < 0.75) if most else 0
    if not (unsign and (x < 0).any()):
        scale = max(scale, -126)
    finite = np.isfinite(size)
    part = np.ldexp(np.where(finite, size, 0.0), -scale).astype(np.float32)
    bits = (part + base(unsign).view(np.float32)).view(np.uint32)
    bits = bits - base(unsign)
    if unsign:
        cut = bits & np.uint32(0xFFFFF)
        near = np.minimum(cut, np.uint32(1 << 20) - cut)
        bits = bits + (near >> np.uint32(5)) + (near >> np.uint32(8))
    codes = (bits + (pieces.astype(np.uint32) << np.uint32(4)) + np.uint32(8)) >> np.uint32(20)
    first = 254 if unsign else 126
    codes = np.where(finite, codes, first + np.isnan(size))
    if unsign:
        return np.where((codes == 0) & (size > 0), 1, codes), scale
    return codes | np.signbit(x).astype(np.uint32) << 7, scale


def decoded(coded: Coded, unsign: bool, rooted: bool = False) -> Any:
    """The numbers in float32; ``rooted``: with minus the roots of what is below its range."""
    flat = np.ravel(coded.codes, order="K").astype(np.uint32)
    size = flat if unsign else flat & 0x7F
    part = ((size << np.uint32(20)) + base(unsign)).view(np.float32)
    part = (part - base(unsign).view(np.float32)).astype(np.float64)
    scales = np.repeat(coded.scales.astype(np.int64), BLOCK)[: flat.size]
    number = np.ldexp(part, scales)
    wide = np.minimum(number, MOST).astype(np.float32)
    if unsign:
        low = rooted & (number > 0) & (number < LEAST)
        root = -np.sqrt(number).astype(np.float32)
        wide = np.where((number > 2.0**128) | low, root, wide)
    first = 254 if unsign else 126
    wide = np.where(size == first, np.float32(np.inf), wide)
    wide = np.where(size == first + 1, np.float32(np.nan), wide)
    if not unsign:
        wide = np.where(flat >= 128, -wide, wide)
    return like(coded.codes, wide.astype(np.float32))


def like(laid: Any, values: Any) -> Any:
    """``values``, which are in the order of memory, in the shape and layout of an array."""
    out = np.empty_like(laid, dtype=values.dtype)
    order = sorted(range(out.ndim), key=lambda axis: -out.strides[axis])
    out.transpose(order)[...] = values.reshape([out.shape[axis] for axis in order])
    return out

"""The counter-based generator behind masks and normal deviates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastreg._core.types import Array, Seed

__all__ = ["draw_key", "keep_mask", "normals", "philox4x32"]

PHILOX_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
PHILOX_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
WORD = np.uint64(0xFFFFFFFF)

# Polynomials of Cephes' logf, sinf and cosf.
LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
SINE = -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1
COSINE = 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2


def philox4x32(counter: Any, key: Any, rounds: int = 10) -> Any:
    """Philox4x32 (Salmon et al., 2011): four counter words and two key words to four words.

    Words are 32-bit numbers held in uint64 arrays, so that products do not overflow.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    half = np.uint64(32)
    for _ in range(rounds):
        p0, p1 = PHILOX_MULTIPLIERS[0] * c0, PHILOX_MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & WORD, (p0 >> half) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + PHILOX_WEYL[0]) & WORD, (k1 + PHILOX_WEYL[1]) & WORD
    return c0, c1, c2, c3


def keep_threshold(drop_rate: float) -> Any:
    """The integer T for which an element is kept when its 32-bit draw is below T."""
    return round((1.0 - drop_rate) * 2**32)


def draw(key: Any, call: Any, index: Any, domain: int = 0, **rounds: int) -> Any:
    """The words of an array of counters: 0: masks, 1: normals, 2: ties, 3: rounding of state."""
    call_low, call_high = np.uint64(call & 0xFFFFFFFF), np.uint64(call >> 32 | domain << 30)
    counter = index & WORD, index >> np.uint64(32), call_low, call_high
    return philox4x32(counter, (np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)), **rounds)


def keep_mask(key: Any, call: Any, shape: Any, drop_rate: float) -> Array:
    """Which elements survive: a pure function of (key, call, element index).

    Elements are taken in groups of 64, each group drawing counters ``8g .. 8g+7``. Counter k
    yields words w0..w3; the 16-bit pieces of (w0, w1) serve elements 4k..4k+3 of the group,
    those of (w2, w3) elements 32+4k..32+4k+3, low half first. A piece that equals the upper
    half of the threshold is settled by 16 further bits, from the counter of that element in
    domain 2, so P(keep) is exactly T / 2**32.
    """
    size = math.prod(shape)
    threshold = keep_threshold(drop_rate)
    if threshold in (0, 2**32):
        return np.full(shape, threshold > 0)
    groups = -(-size // 64)
    w0, w1, w2, w3 = draw(key, call, np.arange(groups * 8, dtype=np.uint64))
    pieces = np.stack([w0 | w1 << np.uint64(32), w2 | w3 << np.uint64(32)])
    pieces = pieces.reshape(2, groups, 8).transpose(1, 0, 2).astype("<u8").reshape(-1)
    pieces = pieces.view("<u2")[:size]
    upper, lower = threshold >> 16, threshold & 0xFFFF
    keep = pieces < upper
    tied = np.flatnonzero(pieces == upper)
    if tied.size:
        bits = draw(key, call, tied.astype(np.uint64), domain=2)[0] & np.uint64(0xFFFF)
        keep[tied] = bits < lower
    return keep.reshape(shape)


def normals(key: Any, call: Any, shape: Any) -> Array:
    """Standard normal deviates in float32 by the method of Box & Muller (1958).

    A group of 64 elements draws counters ``16g .. 16g+15``. Words (w0, w1) of counter k give
    elements 2k and 32+2k of the group, (w2, w3) elements 2k+1 and 33+2k: the first word their
    radius, the second their angle.
    """
    size = math.prod(shape)
    groups = -(-size // 64)
    words = draw(key, call, np.arange(groups * 16, dtype=np.uint64), domain=1)
    w0, w1, w2, w3 = (w.astype(np.uint32) for w in words)
    radii = normal_radius(np.stack([w0, w2], axis=-1).reshape(groups, 32))
    first, second = normal_angle(np.stack([w1, w3], axis=-1).reshape(groups, 32))
    deviates = np.concatenate([radii * first, radii * second], axis=1)
    return deviates.reshape(-1)[:size].reshape(shape)


def box_muller(rng: Any, n: int) -> Any:
    """Standard normal deviates in float32: n / 2 radii and as many angles, cosines first."""
    radii, angles = rng.integers(0, 2**32, (2, (n + 1) // 2), np.uint32)
    first, second = normal_angle(angles)
    return (normal_radius(radii) * np.concatenate([[first], [second]])).ravel()[:n]


def horner(x: Any, coefficients: Any) -> Any:
    """A polynomial in float32, the highest power first."""
    value = np.float32(coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + np.float32(coefficient)
    return value


def normal_radius(word: Any) -> Any:
    """``sqrt(-2 ln u)`` of the uniform number u that is the upper 31 bits of a word, in (0, 1].

    The logarithm is that of Cephes (Moshier): u = 2**e * (1 + f), sqrt(1/2) <= 1 + f < sqrt(2).
    """
    root_half = np.uint32(0x3F3504F3)
    bits = ((word >> np.uint32(1)).astype(np.float32) + np.float32(0.5)).view(np.uint32) - root_half
    e = (bits.view(np.int32) >> 23).astype(np.float32) - np.float32(31)
    f = ((bits & np.uint32(0x7FFFFF)) + root_half).view(np.float32) - np.float32(1)
    p = horner(f, LOG)
    ln_u = e * np.float32(0.693147180559945) + (f + (p * f - np.float32(0.5)) * (f * f))
    return np.sqrt(np.float32(-2) * ln_u)


def normal_angle(word: Any) -> Any:
    """Cosine and sine of a uniform angle.

    The upper 30 bits are an angle in [-pi/4, pi/4), for the polynomials of Cephes; bit 1 turns
    the sign of the cosine, bit 0 swaps the two.
    """
    angle = (word.view(np.int32) >> 2).astype(np.float32) * np.float32(np.pi / 4 * 2.0**-29)
    z = angle * angle
    s = horner(z, SINE) * z * angle + angle
    c = horner(z, COSINE) * z * z - np.float32(0.5) * z + np.float32(1)
    c = np.where(word & np.uint32(2), -c, c)
    swap = (word & np.uint32(1)).astype(bool)
    return np.where(swap, s, c), np.where(swap, c, s)


def draw_key(rng: Seed) -> Any:
    """A 64-bit key from anything ``default_rng`` takes, or from NumPy's global state."""
    if rng is None:
        high, low = np.random.randint(0, 2**32, size=2, dtype=np.uint64)
        return int(high) << 32 | int(low)
    return int(np.random.default_rng(rng).integers(0, 2**64, dtype=np.uint64))

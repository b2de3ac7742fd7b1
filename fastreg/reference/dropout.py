"""Dropout and the counter-based generator behind its masks."""

import math

import numpy as np

__all__ = ["Dropout", "philox4x32"]

PHILOX_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
PHILOX_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
WORD = np.uint64(0xFFFFFFFF)


def philox4x32(counter, key, rounds=10):
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


def keep_threshold(drop_rate):
    """The integer T for which an element is kept when its 32-bit draw is below T."""
    return round((1.0 - drop_rate) * 2**32)


def keep_mask(key, call, shape, drop_rate):
    """Which elements survive: a pure function of (key, call, element index).

    Elements are taken in groups of 64, each group drawing counters ``8g .. 8g+7``. Counter k
    yields words w0..w3; the 16-bit pieces of (w0, w1) serve elements 4k..4k+3 of the group,
    those of (w2, w3) elements 32+4k..32+4k+3, low half first. A piece that equals the upper
    half of the threshold is settled by 16 further bits, from the counter of that element in
    the second domain (top bit of the last word), so P(keep) is exactly T / 2**32.
    """
    size = math.prod(shape)
    threshold = keep_threshold(drop_rate)
    if threshold in (0, 2**32):
        return np.full(shape, threshold > 0)
    words = [np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)]
    call_low, call_high = np.uint64(call & 0xFFFFFFFF), np.uint64(call >> 32)

    def draw(index, domain):
        return philox4x32(
            (index & WORD, index >> np.uint64(32), call_low, call_high | np.uint64(domain << 31)),
            words,
        )

    groups = -(-size // 64)
    w0, w1, w2, w3 = draw(np.arange(groups * 8, dtype=np.uint64), 0)
    pieces = np.stack([w0 | w1 << np.uint64(32), w2 | w3 << np.uint64(32)])
    pieces = pieces.reshape(2, groups, 8).transpose(1, 0, 2).astype("<u8").reshape(-1)
    pieces = pieces.view("<u2")[:size]
    upper, lower = threshold >> 16, threshold & 0xFFFF
    keep = pieces < upper
    tied = np.flatnonzero(pieces == upper)
    if tied.size:
        keep[tied] = (draw(tied.astype(np.uint64), 1)[0] & np.uint64(0xFFFF)) < lower
    return keep.reshape(shape)


def draw_key(rng):
    """A 64-bit key from anything ``default_rng`` takes, or from NumPy's global state."""
    if rng is None:
        high, low = np.random.randint(0, 2**32, size=2, dtype=np.uint64)
        return int(high) << 32 | int(low)
    return int(np.random.default_rng(rng).integers(0, 2**64, dtype=np.uint64))


class Dropout:
    """Inverted dropout (Srivastava et al., 2014): keep with probability 1-p, scale by 1/(1-p)."""

    def __init__(self, drop_rate=0.5, *, rng=None):
        self.drop_rate, self.training = drop_rate, True
        self._rng, self._key, self._calls, self._scaled_mask = rng, None, 0, None

    def forward(self, X):
        """``X * mask / (1 - drop_rate)`` in training, ``X`` otherwise."""
        if not self.training:
            self._scaled_mask = None
            return X
        if self._key is None:
            self._key = draw_key(self._rng)
        keep = keep_mask(self._key, self._calls, X.shape, self.drop_rate)
        self._calls += 1
        scale = X.dtype.type(1.0 / (1.0 - self.drop_rate) if self.drop_rate < 1.0 else 0.0)
        self._scaled_mask = np.where(keep, scale, X.dtype.type(0.0))
        return X * self._scaled_mask

    def backward(self, dY):
        """The gradient through the mask of the last forward call."""
        return dY if self._scaled_mask is None else dY * self._scaled_mask

    @property
    def mask(self):
        """The 0/1 mask of the last training call."""
        return (self._scaled_mask != 0).astype(self._scaled_mask.dtype)

    def train(self):
        """Enter training mode."""
        self.training = True

    def eval(self):
        """Enter inference mode."""
        self.training = False

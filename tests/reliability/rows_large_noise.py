"""N-10c: every kind of dropout on more than 2³¹ float32, against the reference's draws there."""

import functools
import math

import numpy as np
from rows_large import COUNT, compare, edges, large, values, wide

import fastreg
from fastreg import reference
from fastreg.reference.noise import SATURATION

NAN = np.full(COUNT, np.nan, np.float32)


def draws(key, start, stop, number, domain):
    """The reference's words of the groups of 64 that hold elements [start, stop)."""
    group = np.arange(start // 64, -(-stop // 64), dtype=np.uint64)[:, None]
    counters = (group * np.uint64(number) + np.arange(number, dtype=np.uint64)).ravel()
    return reference.random.draw(key, 0, counters, domain=domain)


def kept(key, start, stop):
    """Which elements [start, stop) are kept at a rate of a half."""
    words = draws(key, start, stop, 8, 0)
    pieces = [half for word in words for half in (word & np.uint64(0xFFFF), word >> np.uint64(16))]
    lines = np.stack(pieces, 1).reshape(-1, 8, 2, 4).transpose(0, 2, 1, 3).reshape(-1)
    first = start - start // 64 * 64
    return lines[first : first + stop - start] < 2**15


def normals(key, start, stop):
    """The reference's deviates of elements [start, stop)."""
    w0, w1, w2, w3 = (word.astype(np.uint32) for word in draws(key, start, stop, 16, 1))
    radii = reference.random.normal_radius(np.stack([w0, w2], -1).reshape(-1, 32))
    turns = reference.random.normal_angle(np.stack([w1, w3], -1).reshape(-1, 32))
    deviates = np.concatenate([radii * turn for turn in turns], axis=1).reshape(-1)
    first = start - start // 64 * 64
    return deviates[first : first + stop - start]


def doubled(key, x, start, stop):
    return x * np.where(kept(key, start, stop), np.float32(2), np.float32(0))


def alpha(key, x, start, stop, *, slope=False):
    a = 1 / math.sqrt(0.5 * (1 + 0.5 * SATURATION**2))
    keep, shift = kept(key, start, stop), -a * 0.5 * SATURATION
    scaled = x * np.where(keep, np.float32(a), np.float32(0))
    if slope:
        return scaled
    return scaled + np.where(keep, np.float32(shift), np.float32(a * 0.5 * SATURATION))


def gaussian(key, x, start, stop):
    return x * (np.float32(1) + np.float32(1) * normals(key, start, stop))


def noisy(name, made, expected, slope=None, shape=(), each=1):
    """A layer of noise both ways; ``each`` elements of a shape in a row have one draw."""

    def check(n):
        layer, data = made(), values()
        rows = n // math.prod(shape) + bool(shape)
        size = rows * math.prod(shape)
        with wide(size) as x, wide(size, edges(size)) as y:
            x.fill(data)
            big = [one.array.reshape(rows, *shape) for one in (x, y)]
            for said, call, wanted in (
                (name, layer.forward, expected),
                (f"{name} backward", layer.backward, slope or expected),
            ):
                y.fill(NAN)
                call(big[0], out=big[1])
                compare(said, size, y, functools.partial(drawn, wanted, layer._key, data, each))

    return check


def drawn(wanted, key, data, each, start, stop):
    """What is wanted of elements [start, stop), of which ``each`` in a row have one draw."""
    if each == 1:
        return wanted(key, data[: stop - start], start, stop)
    mask = kept(key, start // each, -(-stop // each))
    first = start - start // each * each
    factors = np.where(mask, np.float32(2), np.float32(0)).repeat(each)
    return data[: stop - start] * factors[first : first + stop - start]


CHECKS = [
    noisy("DropConnect", lambda: fastreg.DropConnect(0.5, rng=3), doubled),
    noisy("AlphaDropout", lambda: fastreg.AlphaDropout(0.5, rng=3), alpha,
          functools.partial(alpha, slope=True)),
    noisy("GaussianDropout", lambda: fastreg.GaussianDropout(0.5, rng=3), gaussian),
    noisy("SpatialDropout", lambda: fastreg.SpatialDropout(0.5, rng=3), doubled, shape=(6, 5), each=5),
    noisy("StochasticDepth", lambda: fastreg.StochasticDepth(0.5, rng=3), doubled, shape=(32,), each=32),
]  # fmt: skip


def half_of_the_noise(patch):
    """Noise whose index has 31 bits: it comes again after 2³¹ elements."""
    plain = fastreg.DropConnect.forward

    def forward(self, W, *, out=None):
        plain(self, W[: 2**31], out=out[: 2**31])
        if W.size > 2**31:
            self.reset()
            plain(self, W[2**31 :], out=out[2**31 :])

    patch.setattr(fastreg.DropConnect, "forward", forward)


large(
    "N-10c",
    "more than 2³¹ float32 in DropConnect, AlphaDropout, GaussianDropout, SpatialDropout and StochasticDepth, both ways: the bits at the ends and around 2³¹ bytes, 2³² bytes and 2³¹ elements are those of the reference's draws",
    CHECKS,
    half_of_the_noise,
    lacks="rates other than ½; SpatialDropout and StochasticDepth draw once for several elements, and so less often than 2³¹ times",
)

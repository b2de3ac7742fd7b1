"""N-10: arrays of more than 2³¹ elements, which are many views of a little memory.

One block of memory stands in address space again and again, so that an array of 8.6 GB holds some
tens of MB. Its length divides no power of two: an index that lost its upper bits finds other
numbers, or no memory at all. Where 2³¹ bytes, 2³² bytes and 2³¹ elements are passed, and at both
ends, an output has memory of its own, filled with NaN, and each of its elements is compared.
"""

import contextlib
import ctypes
import math
import mmap
import os
import sys

import numpy as np
from charter import Broken, Row, enter

import fastreg
from fastreg import reference

MORE = 2**31 + 3
PAGE = mmap.ALLOCATIONGRANULARITY
PERIOD = 769 * PAGE  # bytes: 3 MB; 769 is a prime
COUNT = PERIOD // 4  # float32
WRITE = 1 | 2  # PROT_READ and PROT_WRITE, which Windows does not have
FIXED, ANONYMOUS, NO_RESERVE = 0x10, 0x20, 0x4000  # Linux: MAP_FIXED and so on


class Wide:
    """An array of n elements over one block of memory; ``own`` windows have their own."""

    def __init__(self, n, own=(), dtype=np.float32):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.mmap.restype = ctypes.c_void_p
        self.libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3]
        self.libc.mmap.argtypes += [ctypes.c_long]
        self.libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.file = os.memfd_create("fastreg")
        os.ftruncate(self.file, PERIOD)
        dtype = np.dtype(dtype)
        self.count, windows = PERIOD // dtype.itemsize, -(-n * dtype.itemsize // PERIOD)
        self.size = windows * PERIOD
        nothing = mmap.MAP_PRIVATE | ANONYMOUS | NO_RESERVE
        self.start = self._map(None, self.size, 0, nothing, -1)
        for k in range(windows):
            kind, file = (
                (mmap.MAP_PRIVATE | ANONYMOUS, -1) if k in own else (mmap.MAP_SHARED, self.file)
            )
            self._map(self.start + k * PERIOD, PERIOD, WRITE, kind | FIXED, file)
        block = (ctypes.c_char * (n * dtype.itemsize)).from_address(self.start)
        self.array = np.frombuffer(block, dtype)
        self.own = own

    def _map(self, *arguments):
        found = self.libc.mmap(*arguments, 0)
        if found in (None, 2**64 - 1):
            raise MemoryError("there is no address space for an array of 8.6 GB")
        return found

    def fill(self, values):
        """Every window holds the same values."""
        shared = next((k for k in range(len(self.own) + 1) if k not in self.own), 0)
        for k in (shared, *self.own):
            part = self.array[k * self.count : (k + 1) * self.count]
            part[...] = values[: part.size]

    def close(self):
        self.array = None
        self.libc.munmap(self.start, self.size)
        os.close(self.file)


def edges(n, itemsize=4):
    """The windows of the ends and of each border of a number's range, with their neighbours."""
    count, borders = PERIOD // itemsize, [0, 2**31 // itemsize, 2**32 // itemsize, 2**31 - 1, n - 1]
    return sorted({k for at in borders for k in (at // count, (at + count // 2) // count)
                   if k * count < n})  # fmt: skip


@contextlib.contextmanager
def wide(n, own=(), dtype=np.float32):
    made = Wide(n, own, dtype)
    try:
        yield made
    finally:
        made.close()


def values(dtype=np.float32):
    """Other numbers at every place of a period, some of them zeros."""
    count = PERIOD // np.dtype(dtype).itemsize
    made = np.random.default_rng(10).standard_normal(count).astype(dtype)
    made[::97] = 0
    return made


def compare(name, n, output, expected):
    """An output at its edges with what is expected of elements [start, stop)."""
    for k in output.own:
        start, stop = k * output.count, min(n, (k + 1) * output.count)
        found, wanted = output.array[start:stop], expected(start, stop)
        if found.dtype != wanted.dtype or found.size != wanted.size:
            raise Broken(f"{name}: {found.dtype} and {wanted.dtype}, or other sizes")
        bits = f"u{found.itemsize}"
        wrong = np.flatnonzero(found.view(bits) != wanted.view(bits))
        if wrong.size:
            raise Broken(f"{name}: {wrong.size} wrong, the first at {start + wrong[0]:,} of {n:,}")


def linux():
    return "" if sys.platform == "linux" else "it maps memory as Linux does"


def large(name, promise, checks, *faults, planted=1, needs=linux, lacks=""):
    """Enter a row of checks, each of which takes a number of elements."""

    def many(n):
        for check in checks[:n]:
            check(MORE)
        return n

    enter(
        Row(name, promise, "kernels", many, full=len(checks), planted=planted, faults=faults,
            slow=True, needs=needs, lacks=lacks)
    )  # fmt: skip


def mapped(name, call, small=None, dtype=np.float32):
    """A check of a call (X, out) whose elements depend on their own input alone."""

    def check(n):
        data, own = values(dtype), edges(n, np.dtype(dtype).itemsize)
        with wide(n, (), dtype) as x, wide(n, own, dtype) as y:
            x.fill(data)
            y.fill(np.full(y.count, np.nan, dtype))
            call(x.array, y.array)
            alone = np.empty(y.count, dtype)
            (small or call)(data, alone)
            compare(name, n, y, lambda start, stop: alone[: stop - start])

    return check


def updated(n):
    """A step of SGD in place. A shared window takes one step for each of its places."""
    data = values()
    with wide(n) as grad, wide(n, edges(n)) as param:
        grad.fill(data)
        param.fill(data[::-1])
        alone = data[::-1].copy()
        with fastreg.num_threads(1):
            fastreg.SGD(0.25).update({"w": param.array}, {"w": grad.array})
        fastreg.SGD(0.25).update({"w": alone}, {"w": data})
        compare("SGD", n, param, lambda start, stop: alone[: stop - start])


def masked(n):
    """Dropout, whose mask is a function of the index: of 2³¹ elements and more."""
    layer = fastreg.Dropout(0.5, rng=3)
    key = layer._key
    with wide(n) as x, wide(n, edges(n)) as y:
        x.fill(np.ones(COUNT, np.float32))
        y.fill(np.full(COUNT, np.nan, np.float32))
        layer.forward(x.array, out=y.array)
        compare("Dropout", n, y, lambda start, stop: kept(key, start, stop) * np.float32(2))


def kept(key, start, stop):
    """The mask of elements [start, stop) by the written rule (reference/random.py)."""
    group = np.arange(start // 64, -(-stop // 64), dtype=np.uint64)
    counters = (group[:, None] * np.uint64(8) + np.arange(8, dtype=np.uint64)).ravel()
    words = reference.random.draw(key, 0, counters)
    pieces = [half for word in words for half in (word & np.uint64(0xFFFF), word >> np.uint64(16))]
    lines = np.stack(pieces, 1).reshape(-1, 8, 2, 4)
    draws = lines.transpose(0, 2, 1, 3).reshape(-1)  # 4k.. of (w0, w1), 32 + 4k.. of (w2, w3)
    first = start - start // 64 * 64
    return (draws[first : first + stop - start] < 2**15).astype(np.float32)


def summed(n):
    """The sums of penalties, of ones at the borders and zeros elsewhere: each is counted once."""
    with wide(n, edges(n)) as x:
        x.fill(np.zeros(COUNT, np.float32))
        places = [0, 2**29 - 1, 2**29, 2**30 - 1, 2**30, 2**31 - 1, 2**31, n - 1]
        places = [at for at in places if at < n]
        for at in places:
            x.array[at] = 1
        for name in ("l1_regularization_loss", "l2_regularization_loss"):
            found = getattr(fastreg, name)({"w": x.array}, 1.0)
            if found != len(places) * (0.5 if name.startswith("l2") else 1):
                raise Broken(f"{name}: {found} of {len(places)} ones")


def rows_normalized(make, *shape):
    """A norm of rows of one shape, each of which is normalized by itself."""
    width, name = math.prod(shape), type(make()).__name__

    def check(n):
        rows, data = n // width + 1, values()
        with wide(rows * width) as x, wide(rows * width, edges(rows * width)) as y:
            x.fill(data)
            y.fill(np.full(COUNT, np.nan, np.float32))
            big = [one.array.reshape(rows, *shape) for one in (x, y)]
            make().forward(big[0], out=big[1])
            for k in y.own:
                start, stop = -(-k * COUNT // width), min(rows, (k + 1) * COUNT // width)
                wanted = make().forward(big[0][start:stop].copy())
                if big[1][start:stop].tobytes() != wanted.tobytes():
                    raise Broken(f"{name}: rows of window {k} of {y.size // PERIOD}")

    return check


def multiplied(n):
    """A product whose left side has n elements, in rows of 64."""
    depth, right = 64, np.random.default_rng(2).standard_normal((64, 2)).astype(np.float32)
    rows, data = n // depth + 1, values()
    with wide(rows * depth) as a:
        a.fill(data)
        found = fastreg.matmul(a.array.reshape(rows, depth), right)
        for at in (0, 2**29, 2**30, 2**31 - 64 * 8, (rows - 8) * depth):
            r = at // depth
            part = a.array[r * depth : (r + 8) * depth].reshape(-1, depth).copy()
            if found[r : r + 8].tobytes() != fastreg.matmul(part, right).tobytes():
                raise Broken(f"matmul: rows from {r}")


CHECKS = [
    summed,
    mapped("soft_threshold", lambda x, y: fastreg.soft_threshold(x, 0.3, out=y)),
    masked,
    updated,
    mapped("l1_gradient", lambda x, y: fastreg.l1_gradient(x, 0.3, out=y)),
    mapped("l2_gradient", lambda x, y: fastreg.l2_gradient(x, 0.3, out=y)),
    rows_normalized(lambda: fastreg.LayerNorm(48), 48),
    rows_normalized(lambda: fastreg.RMSNorm(48), 48),
    rows_normalized(lambda: fastreg.GroupNorm(4, 48), 48, 5),
    rows_normalized(lambda: fastreg.InstanceNorm(6), 6, 7, 5),
    multiplied,
]


def short_map(patch):
    """An index of 32 bits: a map of so many elements begins again after 2³¹."""
    plain = fastreg.soft_threshold

    def threshold(W, much, *, out):
        plain(W[: 2**31], much, out=out[: 2**31])
        if W.size > 2**31:
            plain(W[: W.size - 2**31], much, out=out[: W.size - 2**31])

    patch.setattr(fastreg, "soft_threshold", threshold)


def short_sum(patch):
    """A sum that ends at 2³¹ elements."""
    plain = fastreg.l1_regularization_loss

    def loss(weights, much):
        return plain({"w": weights["w"][: 2**31]}, much)

    patch.setattr(fastreg, "l1_regularization_loss", loss)


def counted_twice(patch):
    """A sum of squares without its half."""
    plain = fastreg.l2_regularization_loss
    patch.setattr(fastreg, "l2_regularization_loss", lambda *given: 2 * plain(*given))


large(
    "N-10",
    "more than 2³¹ float32 in sums, Dropout, SGD, the maps and gradients of penalties, the norms of rows and products: the bits at the ends and around 2³¹ bytes, 2³² bytes and 2³¹ elements are those of small arrays",
    CHECKS,
    short_map,
    short_sum,
    counted_twice,
    planted=2,
)

"""What every kernel test shares: guarded buffers, edge sizes, layouts and special values."""

import contextlib
import os
import secrets
import sys

import numpy as np

import fastreg
from fastreg._core import _kernels

BLOCK = 16384  # elements of one kernel call
LANES = (1, 2, 4, 8, 16, 64)  # lane counts of all levels and dtypes, and the mask group

#: Zero, one, every lane count and the block at -1, 0, +1, and several blocks with a tail.
SIZES = sorted({0, *(n + d for n in (*LANES, BLOCK) for d in (-1, 0, 1)), 5 * BLOCK + 17})
THREADS = (1, 2, 3, 8)
DTYPES = (np.float32, np.float64)
MARGIN = 4096
GUARD = 0xA5

#: What the kernels' data are drawn from: the seed that is given; if none is, another one in every
#: run of continuous integration (CI is set there) and the same one everywhere else. It stays in the
#: environment, where the workers of a parallel run find it.
SEED = int(
    os.environ.get("FASTREG_TEST_SEED")
    or (secrets.randbits(32) if os.environ.get("CI") else 20150322)
)
os.environ["FASTREG_TEST_SEED"] = str(SEED)


def in_a_library(rule, library=None):
    """Whether a library has an optimizer's rule, whose numbers are then known."""
    means = getattr(fastreg.optim, rule)._decays
    return any(means[name] != "no class" for name in ([library] if library else means) if name)


@contextlib.contextmanager
def at_level(name):
    """Run at an instruction-set level; the one before comes back whatever happens."""
    before = _kernels.set_level(name)
    try:
        yield name
    finally:
        _kernels.set_level(before)


@contextlib.contextmanager
def serial_base():
    """Run on one thread at the lowest level: what every other result is compared with."""
    with at_level(_kernels.levels()[0]), fastreg.num_threads(1):
        yield


class Guarded:
    """Arrays between guard bytes; ``check`` fails if a kernel wrote outside an array."""

    def __init__(self):
        self._buffers = []

    def __call__(self, values, *, order="C", offset=0):
        """A copy of ``values`` whose first element lies ``offset`` elements off a cache line."""
        values = np.asarray(values)
        buffer = np.full(
            2 * MARGIN + values.nbytes + 64 + offset * values.itemsize, GUARD, np.uint8
        )
        start = MARGIN + -(buffer.ctypes.data + MARGIN) % 64 + offset * values.itemsize
        inside = buffer[start : start + values.nbytes]
        self._buffers.append((buffer, start, start + values.nbytes))
        array = inside.view(values.dtype).reshape(values.shape, order=order)
        array[...] = values
        return array

    def check(self):
        for buffer, start, stop in self._buffers:
            assert (buffer[:start] == GUARD).all(), "a kernel wrote before a buffer"
            assert (buffer[stop:] == GUARD).all(), "a kernel wrote past a buffer"


def specials(dtype):
    """Signed zeros, subnormals, the ends of the range, infinities and NaN."""
    info = np.finfo(dtype)
    positive = [0.0, info.smallest_subnormal, info.tiny, 1.0, info.max, np.inf]
    return np.array([*positive, *(-value for value in positive), np.nan], dtype)


def layouts(matrix):
    """The same matrix in every memory layout an input may have."""
    rows, cols = matrix.shape
    gapped = np.zeros((2 * rows, 3 * cols), matrix.dtype)[::2, ::3]
    gapped[...] = matrix
    unaligned = np.zeros(matrix.nbytes + 1, np.uint8)[1:].view(matrix.dtype).reshape(matrix.shape)
    unaligned[...] = matrix
    return {
        "C": np.ascontiguousarray(matrix),
        "F": np.asfortranarray(matrix),
        "gapped": gapped,
        "reversed": np.ascontiguousarray(matrix[::-1, ::-1])[::-1, ::-1],
        "unaligned": unaligned,
    }


def same_bits(actual, expected):
    """Equal in every bit; NaN equals NaN whatever its payload."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[actual.dtype.itemsize]
    actual, expected = np.ascontiguousarray(actual), np.ascontiguousarray(expected)
    different = actual.view(bits) != expected.view(bits)
    with np.errstate(invalid="ignore"):  # of a signalling NaN of bfloat16
        different &= ~(np.isnan(actual) & np.isnan(expected))
    assert not different.any(), (
        f"{different.sum()} of {different.size} differ, first at {np.argwhere(different)[0]}: "
        f"{actual[different][0]!r} for {expected[different][0]!r}"
    )


def interrupted(line, file, call, *arguments):
    """Raise KeyboardInterrupt before the line-th line that a call runs in a file.

    True if it got that far.
    """
    seen = 0

    def trace(frame, event, _):
        nonlocal seen
        if not frame.f_code.co_filename.endswith(file):
            return None
        seen += event == "line"
        if seen == line:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(*arguments)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def same_states(one, other):
    """Equal keys, equal numbers, equal bits."""
    assert list(one) == list(other)
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            same_bits(value, other[key])
        else:
            assert value == other[key], key


def step(optimizer, value, grad):
    """One parameter after one step of an optimizer."""
    params = {"w": np.array(value, float)}
    optimizer.update(params, {"w": np.array(grad, float)})
    return params["w"]


def finite_difference(function, array, step=1e-6):
    """Gradient of a scalar function of no arguments by the entries of an array it reads."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        gradient[index] = (above - function()) / (2 * step)
        array[index] = kept
    return gradient

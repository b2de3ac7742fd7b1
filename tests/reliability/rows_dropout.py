"""D: dropout's random numbers."""

import math

import numpy as np
from charter import Broken, kept_by, row

import fastreg
from fastreg._core import _kernels
from fastreg.reference import random


def seven_rounds(patch):
    patch.setattr(random.philox4x32, "__defaults__", (7,))


def swapped_halves(patch):
    plain = random.philox4x32
    patch.setattr(random, "philox4x32", lambda *a, **how: plain(*a, **how)[::-1])


def shifted_stream(patch):
    """An element's bits depend on where a slice begins."""
    plain = _kernels.dropout

    def dropout(*arguments):
        if len(arguments) > 9 and arguments[9]:
            arguments = (*arguments[:9], arguments[9] + 64, *arguments[10:])
        return plain(*arguments)

    patch.setattr(_kernels, "dropout", dropout)


MASK = "tests/dropout/test_mask.py::"
kept_by(
    "D-01",
    "Philox4x32-10: the published vectors, and words across every carry of the counter, at every level",
    MASK + "test_known_answers",
    MASK + "test_stream_is_as_defined_across_counter_carries",
    MASK + "test_same_bits_as_reference",
    times=20,
    faults=(seven_rounds, swapped_halves),
)
kept_by(
    "D-02",
    "a mask is a function of key, call and index: for any thread count, level, slice, layout and type",
    MASK + "test_mask_does_not_depend_on_dtype_or_slicing",
    MASK + "test_layouts",
    MASK + "test_any_shape_rate_and_seed",
    "tests/dropout/test_layers.py::test_same_bits_as_reference",
    times=20,
    faults=(shifted_stream,),
)


def kept_of(threshold, n, key):
    """How many of n elements are kept."""
    ones, kept = np.ones(1 << 20, np.float32), 0
    out = np.empty_like(ones)
    for first in range(0, n, ones.size):
        part = min(ones.size, n - first)
        _kernels.dropout("D-03", "x", ones[:part], out[:part], key, 0, threshold, 1.0, None, first)
        kept += np.count_nonzero(out[:part])
    return kept


def rounded_up(patch):
    """The threshold of 24 bits that a float has."""
    plain = _kernels.dropout

    def dropout(*arguments):
        coarse = math.ceil(arguments[6] / 2**20) << 20
        return plain(*arguments[:6], coarse, *arguments[7:])

    patch.setattr(_kernels, "dropout", dropout)


RATES = [0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999]
RATES += [1e-3, 1e-4, 1e-5, 1e-6, 1 - 1e-5, 1 - 1e-6, 1 / 3, 2 / 3]


@row(
    "D-03",
    "the probability to keep is within 2⁻³² of 1 − p: the threshold is, and the counts are within 6.5 deviations",
    "elements per rate, 16 rates",
    full=2**32,
    short=2**20,
    planted=2**22,
    faults=(rounded_up,),
)
def keep_rates(n):
    for k, rate in enumerate(RATES):
        threshold = random.keep_threshold(rate)
        if abs(threshold / 2**32 - (1 - rate)) > 2**-32:
            raise Broken(f"threshold of {rate}: {threshold}")
        keep = threshold / 2**32
        off = abs(kept_of(threshold, n, 77 + k) - n * keep)
        if off > 6.5 * math.sqrt(n * keep * (1 - keep)) + 1:
            raise Broken(f"rate {rate}: {off} of {n} too many or too few")
    return n


def wrong_tail(patch):
    """A test of normal deviations that finds everything likely."""
    patch.setattr(math, "erfc", lambda z: 1.0)


kept_by(
    "D-05",
    "a bias, a reused counter, a dropped carry, exchanged lanes and 7 rounds are noticed",
    "tests/dropout/test_noise.py::test_faults_planted_in_masks_raise_an_alarm",
    "tests/dropout/test_noise.py::test_faults_planted_in_deviates_raise_an_alarm",
    lacks="other keys than one of masks and one of deviates; what is spoilt in them is new in each run",
    times=200,
    faults=(wrong_tail,),
)


def calls_repeat(patch):
    plain = fastreg.Dropout.load_state_dict

    def load(self, state):
        plain(self, state | {"call": max(0, state["call"] - 1)})

    patch.setattr(fastreg.Dropout, "load_state_dict", load)


@row(
    "D-06",
    "no two masks of a run share random numbers: 50 layers, saved and loaded every 1,000 steps",
    "steps",
    full=10**5,
    short=100,
    faults=(calls_repeat,),
)
def no_reuse(n):
    layers = [fastreg.Dropout(0.5, rng=k) for k in range(50)]
    seen, x = set(), np.ones(1)
    every = min(1000, max(1, n // 3))
    for step in range(n):
        for k, layer in enumerate(layers):
            if step and step % every == 0:
                state = layer.state_dict()
                layers[k] = layer = fastreg.Dropout(0.5, rng=0)
                layer.load_state_dict(state)
            state = layer.state_dict()
            layer.forward(x)
            drawn = (int(state["key"]), int(state["call"]))
            if drawn in seen:
                raise Broken(f"step {step}: {drawn} is drawn twice")
            seen.add(drawn)
    return n

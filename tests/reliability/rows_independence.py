"""D-04: masks as chance would have them, by counts over all draws of a key."""

import math

import numpy as np
from charter import Broken, row

from fastreg._core import _kernels
from fastreg.reference import random

CHUNK = 1 << 20  # draws of one call
RATES = (0.5, 0.1, 0.75)
LAGS = (*range(1, 65), 128, 256, 1024, 16384)
MODULI = (4, 8, 16, 64, 16384)  # lanes, groups, and the block of a kernel
FALSE_ALARM = 1e-9  # of a whole run on new keys, in all its tests together


def kept_of(ones, out, key, call, threshold):
    """0 and 1: which elements of one call are kept."""
    return _kernels.dropout("D-04", "x", ones, out, key, call, threshold, 1.0, None, 0)


class Counts:
    """What is counted of one key, rate by rate: every statistic is a sum over calls."""

    def __init__(self, keep):
        self.keep, self.n, self.calls = keep, 0, 0
        self.kept = self.runs = 0
        self.places = np.zeros(max(MODULI))
        self.products = {}

    def add(self, here, others):
        self.n, self.calls = self.n + here.size, self.calls + 1
        self.kept += int(np.count_nonzero(here))
        self.runs += int(np.count_nonzero(here[1:] != here[:-1]))
        self.places += here.reshape(-1, max(MODULI)).sum(axis=0, dtype=np.float64)
        centred = here - np.float32(self.keep)
        for lag in LAGS:
            self.product(f"lag {lag}", centred[lag:], centred[:-lag])
        for name, other in others.items():
            self.product(name, centred, other - np.float32(self.keep))

    def product(self, name, a, b):
        before, n = self.products.get(name, (0.0, 0))
        self.products[name] = before + float(a @ b), n + a.size

    def chances(self):
        """How likely each statistic, or a stranger one, is by chance; twice the smaller tail."""
        from scipy import stats

        keep, spread = self.keep, self.keep * (1 - self.keep)
        tails = (stats.binom.cdf(self.kept, self.n, keep), stats.binom.sf(self.kept - 1, self.n, keep))  # fmt: skip
        yield "how many are kept", 2 * min(tails)
        for modulus in MODULI:
            share = self.n / modulus
            folded = self.places.reshape(-1, modulus).sum(axis=0)
            square = float(((folded - folded.mean()) ** 2).sum() / (share * spread))
            tails = (stats.chi2.cdf(square, modulus - 1), stats.chi2.sf(square, modulus - 1))
            yield f"by place modulo {modulus}", 2 * min(tails)
        pairs, change = self.n - self.calls, 2 * spread
        # neighbouring changes are dependent where kept and dropped are not equally likely
        variance = pairs * change * (1 - change) + 2 * (pairs - self.calls) * (spread - change**2)
        yield "runs", math.erfc(abs(self.runs - pairs * change) / math.sqrt(2 * variance))
        for name, (total, n) in self.products.items():
            yield name, math.erfc(abs(total) / (spread * math.sqrt(2 * n)))


def independence(n):
    """n draws at each rate, of a key that is new."""
    rng = np.random.default_rng()
    ones = np.ones(CHUNK, np.float32)
    outs = [np.empty_like(ones) for _ in range(5)]
    found, calls = [], -(-n // CHUNK)
    for rate in RATES:
        threshold = random.keep_threshold(rate)
        counts = Counts(threshold / 2**32)
        key = int(rng.integers(2**63))
        far = int(rng.integers(2**63))
        before = None
        for call in range(calls):
            here = kept_of(ones, outs[call % 2], key, call, threshold)
            others = {
                "the next key": kept_of(ones, outs[2], key + 1, call, threshold),
                "another seed": kept_of(ones, outs[3], far, call, threshold),
                "a layer whose key differs in the upper word": kept_of(
                    ones, outs[4], key ^ (1 << 40), call, threshold
                ),
            }
            if before is not None:
                others["the call before"] = before
            counts.add(here, others)
            before = here
        found += [(f"rate {rate}, key {key}: {name}", p) for name, p in counts.chances()]
    strange = [(name, p) for name, p in found if p * len(found) < FALSE_ALARM]
    if strange:
        raise Broken("\n".join(f"{name}: {p}" for name, p in strange[:10]))
    return calls * CHUNK


def patched(change):
    """A fault that changes arguments or result of the kernel."""

    def fault(patch):
        plain = _kernels.dropout
        patch.setattr(_kernels, "dropout", lambda *a: change(plain, *a))

    fault.__name__ = change.__name__
    return fault


def counter_reused(plain, *arguments):
    """Each call draws the numbers of the call before."""
    return plain(*arguments[:5], arguments[5] // 2, *arguments[6:])


def lane_copied(plain, *arguments):
    """Element 5 of each eight has the bit of element 2."""
    out = plain(*arguments)
    out[5::8] = out[2::8]
    return out


def upper_key_lost(plain, *arguments):
    """Only the lower word of a key counts."""
    return plain(*arguments[:4], arguments[4] & 0xFFFFFFFF, *arguments[5:])


def biased(plain, *arguments):
    """A hundredth more is kept."""
    return plain(*arguments[:6], min(arguments[6] + (1 << 32) // 100, 2**32 - 1), *arguments[7:])


def one_lane_biased(plain, *arguments):
    """Element 3 of sixteen is kept a tenth more often."""
    out = plain(*arguments)
    out[3::160] = 1
    return out


row(
    "D-04",
    "masks are as chance would have them: an exact binomial count, chi-square by place modulo 4, 8, 16, 64 and 16384, runs, 68 lags, "
    "and correlations with the next call, key, seed and layer, at three rates on new keys; a false alarm once in 10⁹ whole runs",
    "draws per rate, 3 rates",
    full=2**30,
    short=2**21,
    faults=tuple(
        map(patched, (counter_reused, lane_copied, upper_key_lost, biased, one_lane_biased))
    ),
)(independence)

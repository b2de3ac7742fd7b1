"""Normal deviates and the statistics of all noise.

Each statistic is turned into a p-value by its distribution for perfect noise: the limit for many
draws, of which there are enough to make p right within a factor of 10 down to where it counts. An
alarm is a p-value below ALARM = 1e-9. A mask takes 12 of them and deviates take 31, so were seeds
drawn anew, a test would raise a false alarm less than once in three million runs. What such tests
are worth is shown by planting faults: each must raise the alarm that is meant for it.
"""

import math
import zlib

import mpmath
import numpy as np
import pytest
from test_mask import plain_philox

import fastreg
from fastreg import GaussianDropout
from fastreg._core import _kernels
from fastreg.reference import random

ALARM = 1e-9
LAGS = (1, 2, 3, 4, 8, 16, 32, 64, 128)
GROUP = 64  # elements drawn together


# --- the transform from words to deviates -------------------------------------------------


def edge_words(rng):
    """Words of every magnitude, and all of them at both ends."""
    ends = np.arange(1 << 16, dtype=np.uint32)
    powers = np.exp2(rng.uniform(0, 32, 1 << 18)).astype(np.uint32)
    spread = rng.integers(0, 2**32, 1 << 19, dtype=np.uint32)
    return np.concatenate([ends, ~ends, powers, ~powers, spread])


def test_transform_has_the_same_bits_everywhere(level, guarded, rng):
    radii, angles = edge_words(rng), rng.permutation(edge_words(rng))
    radius, (first, second) = random.normal_radius(radii), random.normal_angle(angles)
    expected = np.stack([radius * first, radius * second])
    np.testing.assert_array_equal(
        _kernels.normals(guarded(radii), guarded(angles)).view(np.uint32), expected.view(np.uint32)
    )


def test_radius_is_accurate(fixed_rng):
    """Its distribution function to 1e-7, its value to 1.2e-7 of that for u as rounded."""
    words = edge_words(fixed_rng)
    radius = random.normal_radius(words).astype(float)
    u = ((words >> 1) + 0.5) / 2**31
    assert np.abs(np.exp(-(radius**2) / 2) - u).max() < 1e-7
    rounded = ((words >> 1).astype(np.float32) + np.float32(0.5)).astype(float) / 2**31
    exact = np.sqrt(-2 * np.log(rounded))
    assert np.all(np.abs(radius - exact) <= 1.2e-7 * exact)
    assert radius.min() == 0.0
    assert abs(radius.max() - math.sqrt(64 * math.log(2))) < 1e-6  # 6.66


def test_angle_is_accurate(fixed_rng):
    words = edge_words(fixed_rng)
    first, second = random.normal_angle(words)
    angle = (words.view(np.int32) >> 2) * (np.pi / 4 / 2**29)
    cosine = np.where(words & 2, -1.0, 1.0) * np.cos(angle)
    swap = (words & 1).astype(bool)
    assert np.abs(first - np.where(swap, np.sin(angle), cosine)).max() < 1.1e-7
    assert np.abs(second - np.where(swap, cosine, np.sin(angle))).max() < 1.1e-7


@pytest.mark.parametrize("first", [0, 2**34 - 64, 2**50])
def test_deviates_are_as_defined(first, level, guarded):
    """Python integers and exact functions give the same, also where counters carry."""
    key, call = 0x123456789ABCDEF0, 2**33 + 5
    ones, out = guarded(np.ones(130)), guarded(np.empty(130), offset=1)
    z = _kernels.gaussian_dropout("f", "x", ones, out, key, call, 1.0, None, first) - 1
    for element in (0, 1, 31, 32, 33, 63, 64, 129):
        group, e = divmod(first + element, GROUP)
        index = 16 * group + e % 32 // 2
        counter = index & 0xFFFFFFFF, index >> 32, call & 0xFFFFFFFF, call >> 32 | 1 << 30
        words = plain_philox(counter, (key & 0xFFFFFFFF, key >> 32))
        radius, angle = words[0:2] if e % 2 == 0 else words[2:4]
        length = math.sqrt(-2 * math.log(((radius >> 1) + 0.5) / 2**31))
        signed = angle - 2**32 if angle >> 31 else angle
        phi = math.pi / 4 * (signed >> 2) / 2**29
        pair = math.cos(phi) * (-1 if angle & 2 else 1), math.sin(phi)
        exact = length * pair[(e >= 32) ^ (angle & 1)]
        assert abs(z[element] - exact) < 1e-6 * max(1.0, abs(exact))


def test_deviates_do_not_depend_on_dtype_or_slicing(guarded):
    def noisy(n, first=0, dtype=np.float64):
        x = guarded(np.ones(n, dtype))
        return _kernels.gaussian_dropout("f", "x", x, x, 9, 4, 1.0, None, first)

    whole, single = noisy(3500), noisy(3500, dtype=np.float32)
    for first in (0, 64, 1024, 3392):
        np.testing.assert_array_equal(noisy(100, first), whole[first : first + 100])
    np.testing.assert_array_equal(single, whole.astype(np.float32))


def test_the_stream_stays_what_it_is():
    """The bits of stream version 1, for every release."""
    z = random.normals(0x123456789ABCDEF0, 7, (4096,))
    assert zlib.crc32(z.astype("<f4").tobytes()) == 0xA1F61C9
    keep = random.keep_mask(0x123456789ABCDEF0, 7, (4096,), 0.3)
    assert zlib.crc32(np.packbits(keep).tobytes()) == 0x8A10D070


# --- statistics ---------------------------------------------------------------------------


def normal_tail(z):
    """P(|Z| > |z|)."""
    return math.erfc(abs(z) / math.sqrt(2))


def chi_square_tail(statistic, degrees):
    return float(mpmath.gammainc(degrees / 2, statistic / 2, regularized=True))


def poisson_tail(count, mean):
    """P of a count at least as far from its mean, on either side."""
    fewer = mpmath.gammainc(count + 1, mean, regularized=True)
    more = mpmath.gammainc(count, 0, mean, regularized=True) if count else 1.0
    return min(1.0, 2 * float(min(fewer, more)))


def kolmogorov_tail(distance, n):
    """P(sqrt(n) D > d), the limit; exact enough beyond n = 1000."""
    t = 2 * n * distance**2
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-t * k * k) for k in range(1, 50)))


def normal_function(z):
    return np.vectorize(math.erfc)(-z / math.sqrt(2)) / 2


def dependence(d):
    """P-values of what no independent rows (calls, elements) of mean 0, variance 1 should show."""
    found = {"mean": normal_tail(d.sum() / math.sqrt(d.size))}
    groups = d[:, : d.shape[1] // GROUP * GROUP].reshape(-1, GROUP)
    places = groups.sum(axis=0) / math.sqrt(len(groups))
    found["place in the group"] = chi_square_tail((places**2).sum(), GROUP)
    for lag in LAGS:
        products = d[:, lag:] * d[:, :-lag]
        found[f"lag {lag}"] = normal_tail(products.sum() / math.sqrt(products.size))
    if len(d) > 1:
        products = d[1:] * d[:-1]
        found["next call"] = normal_tail(products.sum() / math.sqrt(products.size))
    return found


def mask_alarms(masks, rate):
    """What is wrong with 0/1 masks (calls, elements) that should keep with probability 1 - rate."""
    found = dependence((masks - (1.0 - rate)) / math.sqrt(rate * (1.0 - rate)))
    return {name for name, p in found.items() if p < ALARM}


def normal_alarms(z):
    """What is wrong with rows (calls, elements) that should be standard normal."""
    found = dependence(z)
    found |= {f"squares: {name}": p for name, p in dependence((z**2 - 1) / math.sqrt(2)).items()}
    n, root = z.size, math.sqrt(z.size)
    found["third moment"] = normal_tail((z**3).sum() / math.sqrt(15) / root)
    found["fourth moment"] = normal_tail((z**4 - 3).sum() / math.sqrt(96) / root)
    u = np.sort(normal_function(z.ravel()))
    steps = np.arange(n + 1) / n
    distance = max((steps[1:] - u).max(), (u - steps[:-1]).max())
    found["Kolmogorov-Smirnov"] = kolmogorov_tail(distance, n)
    counts = np.bincount((u * 256).astype(int), minlength=256)
    found["256 bins"] = chi_square_tail(((counts - n / 256) ** 2).sum() / (n / 256), 255)
    for bound in (3.0, 3.5, 4.0):
        expected = n * math.erfc(bound / math.sqrt(2))
        found[f"beyond {bound}"] = poisson_tail(int((np.abs(z) > bound).sum()), expected)
    return {name for name, p in found.items() if p < ALARM}


#: A layer, the shape of its input, calls: together some 500 000 independent draws.
MASKS = {
    "Dropout": ({}, (65536,), 8),
    "Dropout shared": ({"noise_shape": (None, 1, None)}, (256, 2, 256), 8),
    "Dropout plain": ({"inverted": False}, (65536,), 8),
    "SpatialDropout": ({}, (256, 256, 2), 8),
    "SpatialDropout last": ({"axis": -1}, (256, 2, 256), 8),
    "StochasticDepth": ({}, (65536, 1), 8),
    "StochasticDepth batch": ({"mode": "batch"}, (1, 1), 40_000),
    "DropConnect": ({}, (256, 256), 8),
    "AlphaDropout": ({}, (65536,), 8),
}


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("form", MASKS)
def test_masks(form, rate):
    options, shape, calls = MASKS[form]
    layer = getattr(fastreg, form.split()[0])(rate, rng=2024, **options)
    x, masks = np.ones(shape, np.float32), []
    for _ in range(calls):
        layer.forward(x)
        masks.append(layer.mask.ravel())
    masks = np.array(masks, float)
    if masks.shape[1] == 1:
        masks = masks.T  # one draw per call: the calls are the sequence
    assert not mask_alarms(masks, rate)


@pytest.fixture
def masks():
    """Good masks to spoil."""
    layer, kept = fastreg.Dropout(0.5, rng=3), []
    for _ in range(8):
        layer.forward(np.ones(65536, np.float32))
        kept.append(layer.mask)
    return np.array(kept, float)


def spoil(masks, fault, rng):
    sometimes = rng.random(masks.shape) < 0.02
    if fault == "mean":
        masks[sometimes] = 1.0  # keeps 51 % instead of 50 %
    elif fault == "place in the group":
        masks[:, 17::64] = np.maximum(masks[:, 17::64], rng.random(masks[:, 17::64].shape) < 0.2)
    elif fault == "lag 1":
        masks[:, 1:][sometimes[:, 1:]] = masks[:, :-1][sometimes[:, 1:]]
    elif fault == "lag 32":
        masks[:, 32:][sometimes[:, 32:]] = masks[:, :-32][sometimes[:, 32:]]
    elif fault == "next call":
        masks[1:][sometimes[1:]] = masks[:-1][sometimes[1:]]


@pytest.mark.parametrize("fault", ["mean", "place in the group", "lag 1", "lag 32", "next call"])
def test_faults_planted_in_masks_raise_an_alarm(fault, masks, rng):
    assert not mask_alarms(masks, 0.5)
    spoil(masks, fault, rng)
    assert fault in mask_alarms(masks, 0.5)


def deviates(calls=8, n=65536):
    layer, sigma, rows = GaussianDropout(0.5, rng=2025), 1.0, []
    for _ in range(calls):
        rows.append((layer.forward(np.ones(n)) - 1.0) / sigma)
    return np.array(rows)


def test_deviates_are_standard_normal():
    assert not normal_alarms(deviates())


def rarely(z, rng, fault, rate=0.02):
    return np.where(rng.random(z.shape) < rate, fault, z)


FAULTS = {
    "mean": lambda z, rng: z + 0.01,
    "place in the group": lambda z, rng: z + 0.1 * (np.arange(z.shape[1]) % GROUP == 17),
    "squares: mean": lambda z, rng: z * 1.01,
    "third moment": lambda z, rng: z + 0.01 * (z**2 - 1),
    "fourth moment": lambda z, rng: rarely(z, rng, 2 * z, 0.01),
    "Kolmogorov-Smirnov": lambda z, rng: np.round(z, 1),
    "256 bins": lambda z, rng: np.where(np.abs(z) < 0.01, 0.02, z),
    "beyond 4.0": lambda z, rng: np.where(np.abs(z) > 3.5, z * 1.2, z),
    "lag 32": lambda z, rng: 0.02 * np.roll(z, 32, axis=1) + math.sqrt(1 - 4e-4) * z,
    "squares: lag 32": lambda z, rng: rarely(z, rng, -np.roll(z, 32, axis=1)),
    "next call": lambda z, rng: 0.02 * np.roll(z, 1, axis=0) + math.sqrt(1 - 4e-4) * z,
}


@pytest.mark.parametrize("alarm", FAULTS)
def test_faults_planted_in_deviates_raise_an_alarm(alarm, rng):
    assert alarm in normal_alarms(FAULTS[alarm](deviates(), rng))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_gaussian_dropout_has_the_moments_of_dropout(rate, dtype):
    """Mean 1 and variance p / (1 - p), to six standard errors."""
    n, variance = 1_000_000, rate / (1 - rate)
    layer = GaussianDropout(rate, rng=4)
    y = layer.forward(np.ones(n, dtype)).astype(float)
    assert abs(y.mean() - 1) <= 6 * math.sqrt(variance / n)
    assert abs(((y - 1) ** 2).mean() - variance) <= 6 * variance * math.sqrt(2 / n) + 1e-6

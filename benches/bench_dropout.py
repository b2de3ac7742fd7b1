"""Dropout and its family in training, against what one writes in NumPy or torch."""

from functools import partial

import bandwidth
import numpy as np
import peers
import pytest
from comparison import SIZES, Comparison
from targets import faster, time_ratio
from verify import assert_same_bits

import fastreg

# With 512-bit registers the random bits hide behind memory; with less they cost time of their own.
COPY = time_ratio(1.3 if fastreg._core._kernels.level() == "avx512" else 2.5, "copyto")
TARGETS = {"25M": (faster(40, "torch eager"), COPY)}

RATE = 0.5
N = 25_000_000

#: Layer, shape of 25 million elements.
FAMILY = {
    "Dropout": (N,),
    "SpatialDropout": (500, 1000, 50),
    "StochasticDepth": (5000, 5000),
    "DropConnect": (5000, 5000),
    "AlphaDropout": (N,),
    "GaussianDropout": (N,),
}
FAMILY_TARGETS = {
    ("SpatialDropout", "forward"): (faster(10, "NumPy"),),
    ("AlphaDropout", "forward"): (faster(10, "NumPy"),),
    ("GaussianDropout", "forward"): (faster(10, "NumPy"),),
    ("Dropout", "backward"): (time_ratio(1.3, "copyto"),),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rate", [0.5, 0.1])
def bench_forward(compare, rate, size):
    """Time one call that is given its output."""
    x = np.random.default_rng(0).standard_normal(SIZES[size], dtype=np.float32)
    y = np.empty_like(x)
    ours, theirs = fastreg.Dropout(rate, rng=0), fastreg.reference.Dropout(rate, rng=0)
    assert_same_bits(ours.forward(x, out=y), theirs.forward(x))

    compare(
        Comparison(
            "Dropout",
            f"p={rate} {size}",
            partial(ours.forward, x, out=y),
            {"reference": partial(theirs.forward, x), "copyto": partial(np.copyto, y, x)}
            | peers.dropout(rate, x),
            elements=x.size,
            nbytes=2 * x.nbytes,  # x read, y written
            floor=bandwidth.copy,
            targets=TARGETS.get(size, ()),
        )
    )


def by_hand(name, x):
    """Write the layer as one does in NumPy: draw, compare, multiply."""
    rng = np.random.default_rng(0)
    kept = 1.0 - RATE

    def draw(shape):
        return (rng.random(shape, dtype=np.float32) < kept) / np.float32(kept)

    def alpha():
        saturation = np.float32(fastreg.dropout.noise.SATURATION)
        a = np.float32((kept * (1 + RATE * saturation**2)) ** -0.5)
        keep = rng.random(x.shape, dtype=np.float32) < kept
        return a * np.where(keep, x, saturation) - a * np.float32(RATE) * saturation

    def gaussian():
        sigma = np.float32((RATE / kept) ** 0.5)
        return x * (1 + sigma * rng.standard_normal(x.shape, dtype=np.float32))

    return {
        "SpatialDropout": lambda: x * draw((*x.shape[:2], 1)),
        "StochasticDepth": lambda: x * draw((len(x), 1)),
        "AlphaDropout": alpha,
        "GaussianDropout": gaussian,
    }.get(name, lambda: x * draw(x.shape))


@pytest.fixture(scope="module", params=FAMILY)
def problem(request):
    """Make each layer with its input, having shown on part of it that it is right."""
    name, shape = request.param, FAMILY[request.param]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    layer = getattr(fastreg, name)(RATE, rng=0)
    part = x[: max(1, 1_000_000 * len(x) // x.size)]
    twin = getattr(fastreg.reference, name)(RATE, rng=0)
    assert_same_bits(layer.forward(part), twin.forward(part))
    assert_same_bits(layer.backward(part), twin.backward(part))
    y = np.empty_like(x)
    layer.forward(x, out=y)
    return name, layer, x, y


@pytest.mark.parametrize("form", ["forward", "backward"])
def bench_family(compare, problem, form):
    """Time one call on 25 million elements."""
    name, layer, x, y = problem
    backends = {"copyto": partial(np.copyto, y, x)}
    if form == "forward":
        backends |= {"NumPy": by_hand(name, x)} | peers.noise(name, RATE, x)
    compare(
        Comparison(
            name,
            f"p={RATE} 25M {form}",
            partial(getattr(layer, form), x, out=y),
            backends,
            elements=x.size,
            nbytes=2 * x.nbytes,  # x or dy read, the result written
            floor=bandwidth.copy,
            targets=FAMILY_TARGETS.get((name, form), ()),
        )
    )

"""The rest of the dropout family in training, against what one writes in NumPy or torch."""

from functools import partial

import bandwidth
import numpy as np
import peers
import pytest
from comparison import Comparison
from targets import faster, time_ratio
from verify import assert_same_bits

import fastreg

RATE = 0.5
N = 25_000_000

#: Layer, shape of 25 million elements.
WORK = {
    "Dropout": (N,),
    "SpatialDropout": (500, 1000, 50),
    "StochasticDepth": (5000, 5000),
    "DropConnect": (5000, 5000),
    "AlphaDropout": (N,),
    "GaussianDropout": (N,),
}
TARGETS = {
    ("SpatialDropout", "forward"): (faster(10, "textbook"),),
    ("AlphaDropout", "forward"): (faster(10, "textbook"),),
    ("GaussianDropout", "forward"): (faster(10, "textbook"),),
    ("Dropout", "backward"): (time_ratio(1.3, "copyto"),),
}


def textbook(name, x):
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


@pytest.fixture(scope="module", params=WORK)
def problem(request):
    """Make each layer with its input, having shown on part of it that it is right."""
    name, shape = request.param, WORK[request.param]
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
def bench_25m(compare, problem, form):
    """Time one call on 25 million elements."""
    name, layer, x, y = problem
    backends = {"copyto": partial(np.copyto, y, x)}
    if form == "forward":
        backends |= {"textbook": textbook(name, x)} | peers.noise(name, RATE, x)
    compare(
        Comparison(
            name,
            f"p={RATE} 25M {form}",
            partial(getattr(layer, form), x, out=y),
            backends,
            elements=x.size,
            nbytes=2 * x.nbytes,  # x or dy read, the result written
            floor=bandwidth.copy,
            targets=TARGETS.get((name, form), ()),
        )
    )

"""Dropout in training, written to an array that is there."""

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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rate", [0.5, 0.1])
def bench_forward(compare, rate, size):
    """Time one call."""
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

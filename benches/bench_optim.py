"""One step of every optimizer that the library exports."""

import copy
from functools import partial

import bandwidth
import numpy as np
import peers
import pytest
from comparison import SIZES, Comparison
from targets import faster, of_floor, within
from verify import assert_same_bits

import fastreg
from fastreg import optim, reference

RULES = [name for name in optim.__all__ if getattr(getattr(optim, name), "_rule", "")]
TENSORS = {size: [n] for size, n in SIZES.items()} | {"100x1K": [SIZES["1K"]] * 100}
VERIFIED_STEPS = 2  # the first starts from zero state

TARGETS = {
    ("Adam", "1K"): (faster(40, "torch fused"), within(0.8)),
    ("Adam", "100K"): (faster(2.2, "torch fused"),),
    ("Adam", "100x1K"): (faster(20, "torch fused"),),
    ("Adam", "25M"): (faster(1.0, "torch fused"), of_floor(92)),
}


def draw(lengths):
    """Draw named arrays of normal numbers."""
    rng = np.random.default_rng(0)
    return {f"w{i}": rng.standard_normal(n, dtype=np.float32) for i, n in enumerate(lengths)}


def floor_bytes(rule, elements):
    """Count the gradient once, the parameter and every state slot twice: read and written."""
    slots = fastreg._kernels.rules()[getattr(optim, rule)._rule]
    return (3 + 2 * slots) * np.dtype(np.float32).itemsize * elements


@pytest.mark.parametrize("size", TENSORS)
@pytest.mark.parametrize("rule", RULES)
def bench_update(compare, rule, size):
    """Time one step on tensors that are bound already."""
    params = draw(TENSORS[size])
    grads = {name: param[::-1].copy() for name, param in params.items()}
    ours, theirs = getattr(optim, rule)(), getattr(reference, rule)()
    expected = copy.deepcopy(params)
    for _ in range(VERIFIED_STEPS):
        ours.update(params, grads)
        theirs.update(expected, grads)
    for name in params:
        assert_same_bits(params[name], expected[name])

    elements = sum(TENSORS[size])
    compare(
        Comparison(
            rule,
            size,
            partial(ours.update, params, grads),
            {"reference": partial(theirs.update, expected, grads)}
            | peers.optimizer(rule, list(params.values()), list(grads.values())),
            elements=elements,
            nbytes=floor_bytes(rule, elements),
            floor=bandwidth.sweep,
            targets=TARGETS.get((rule, size), ()),
        )
    )

"""One step of every optimizer that the library exports."""

import copy
from functools import partial

import bandwidth
import numpy as np
import peers
import pytest
from comparison import SIZES, Comparison
from targets import faster, of_floor, time_ratio, within
from verify import assert_same_bits

import fastreg
from fastreg import optim, reference

RULES = optim.__all__
TENSORS = {size: [n] for size, n in SIZES.items()} | {"100x1K": [SIZES["1K"]] * 100}
VERIFIED_STEPS = 2  # the first starts from zero state
FUSED = ("Adam", "AdamW", "AdaGrad", "SGD", "Momentum")  # in torch, on CPU


def targets(rule, size):
    """List what this rule should reach at this size."""
    if rule == "Adam":
        first = {
            "1K": [faster(40, "torch fused"), within(0.8)],
            "100K": [faster(2.2, "torch fused")],
            "100x1K": [faster(20, "torch fused"), faster(25, "reference")],
            "25M": [faster(1.0, "torch fused"), of_floor(92)],
        }
        return first.get(size, [])
    if size == "1K":
        return [within(1.2)]
    if size == "100x1K":
        factor = 35 if rule not in FUSED else 9 if rule in ("SGD", "Momentum") else 18
        return [faster(factor, "torch"), faster(25, "reference")]
    if size == "25M":
        return [faster(0.97 if rule in FUSED else 4, "torch"), of_floor(90)]
    return []


def draw(lengths):
    """Draw named arrays of normal numbers."""
    rng = np.random.default_rng(0)
    return {f"w{i}": rng.standard_normal(n, dtype=np.float32) for i, n in enumerate(lengths)}


#: LAMB reads the parameter and both moments twice, LARS the parameter and the gradient.
AGAIN = {"LAMB": 3, "LARS": 2}


def floor_bytes(optimizer, elements, itemsize=4):
    """Count the gradient once, the parameter and all state twice: read and written.

    What a rule that measures a whole tensor first reads again is in AGAIN.
    """
    arrays = len(optimizer._slot_names())
    again = AGAIN.get(type(optimizer).__name__, 0)
    return (3 + 2 * arrays + again) * itemsize * elements


def verify(ours, theirs, params, grads):
    """Check a few steps bit by bit; return the reference's copy of the parameters."""
    expected = copy.deepcopy(params)
    for _ in range(VERIFIED_STEPS):
        ours.update(params, grads)
        theirs.update(expected, grads)
    for name in params:
        assert_same_bits(params[name], expected[name])
    return expected


@pytest.mark.parametrize("size", TENSORS)
@pytest.mark.parametrize("rule", RULES)
def bench_update(compare, rule, size):
    """Time one step on tensors that are bound already."""
    params = draw(TENSORS[size])
    grads = {name: param[::-1].copy() for name, param in params.items()}
    ours, theirs = getattr(optim, rule)(), getattr(reference, rule)()
    expected = verify(ours, theirs, params, grads)
    elements = sum(TENSORS[size])
    compare(
        Comparison(
            rule,
            size,
            partial(ours.update, params, grads),
            {"reference": partial(theirs.update, expected, grads)}
            | peers.optimizer(rule, list(params.values()), list(grads.values())),
            elements=elements,
            nbytes=floor_bytes(ours, elements),
            floor=bandwidth.sweep,
            targets=targets(rule, size),
        )
    )


@pytest.mark.parametrize("rule", RULES)
def bench_call_float64(compare, rule):
    """Time a step of one small float64 tensor: the overhead of a call."""
    params = {"w": draw([1000])["w0"].astype(np.float64)}
    grads = {"w": params["w"][::-1].copy()}
    ours, theirs = getattr(optim, rule)(), getattr(reference, rule)()
    expected = verify(ours, theirs, params, grads)
    compare(
        Comparison(
            rule,
            "1K float64",
            partial(ours.update, params, grads),
            {"reference": partial(theirs.update, expected, grads)},
            elements=1000,
            nbytes=floor_bytes(ours, 1000, 8),
            targets=[within(1.2)],
        )
    )


SERVED = {
    "lambda_l1": 1e-3,
    "l1_mode": "prox",
    "weight_decay": 0.01,
    "clip_value": 1.0,
    "ema_decay": 0.99,
}


def bench_services(compare):
    """Time Adam with L1 prox, decay, clipping and averages: one pass, against torch's several."""
    params = draw([SIZES["25M"]])
    grads = {name: param[::-1].copy() for name, param in params.items()}
    ours, theirs = fastreg.Adam(**SERVED), reference.Adam(**SERVED)
    expected = verify(ours, theirs, params, grads)
    elements = SIZES["25M"]
    compare(
        Comparison(
            "Adam",
            "25M prox+decay+clip+EMA",
            partial(ours.update, params, grads),
            {"reference": partial(theirs.update, expected, grads)}
            | peers.served_adam(*params.values(), *grads.values()),
            elements=elements,
            nbytes=floor_bytes(ours, elements),
            floor=bandwidth.sweep,
            targets=[faster(4, "torch eager"), of_floor(95)],
        )
    )


def bench_clip_norm(compare):
    """Time Adam with the global norm clipped, against the step alone and torch's two calls."""
    params = draw([SIZES["25M"]])
    grads = {name: param[::-1].copy() for name, param in params.items()}
    ours, theirs = fastreg.Adam(clip_norm=1.0), reference.Adam(clip_norm=1.0)
    verify(ours, theirs, params, grads)
    plain, elements = fastreg.Adam(), SIZES["25M"]
    compare(
        Comparison(
            "Adam",
            "25M clip_norm",
            partial(ours.update, params, grads),
            {"unclipped": partial(plain.update, params, grads)}
            | peers.clipped_adam(*params.values(), *grads.values()),
            elements=elements,
            nbytes=floor_bytes(ours, elements) + 4 * elements,
            floor=bandwidth.sweep,
            targets=[time_ratio(1.3, "unclipped"), faster(1.2, "torch fused")],
        )
    )

"""Penalties on one tensor and on many, and constraints on the columns of a matrix."""

import copy
from functools import partial

import bandwidth
import numpy as np
import peers
import pytest
from comparison import SIZES, Comparison
from verify import assert_rounded, assert_same_bits

import fastreg
from fastreg import reference

TENSORS = {size: [n] for size, n in SIZES.items()} | {"100x1K": [SIZES["1K"]] * 100}
SHAPES = [(256, 1024), (4096, 1024)]

#: What is timed, on a module and its weights: a name, the call, and the arrays that it moves.
FORMS = [
    ("l1_regularization_loss", lambda m, w: m.l1_regularization_loss(w), 1),
    ("l2_regularization_loss", lambda m, w: m.l2_regularization_loss(w), 1),
    ("l1_gradient", lambda m, w: m.l1_gradient(w), 2),
    ("l2_gradient", lambda m, w: m.l2_gradient(w), 2),
    ("penalty_and_gradient", lambda m, w: m.penalty_and_gradient(w, lambda_l2=0.01), 2),
    ("ElasticNet", lambda m, w: m.ElasticNet().value_and_gradient(w), 2),
    ("soft_threshold", lambda m, w: m.soft_threshold(w, 0.01), 2),
    ("near_zero", lambda m, w: m.near_zero(w), 1),
    ("weight_histogram", lambda m, w: m.weight_histogram(w), 1),
]
GROUP_FORMS = [
    ("GroupLasso", lambda m, w: m.GroupLasso().value_and_gradient(w), 3),
    ("max_norm", lambda m, w: m.max_norm(w, 100.0), 1),  # all within, as after most steps
    ("unit_norm", lambda m, w: m.unit_norm(w), 3),
]


def draw(shapes):
    """Draw arrays of normal numbers."""
    rng = np.random.default_rng(0)
    return [0.05 * rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def verify(ours, theirs, compare_arrays):
    """Compare results of any nesting: numbers to rounding, arrays as told."""
    if isinstance(theirs, (list, tuple)):
        for our, their in zip(ours, theirs, strict=True):
            verify(our, their, compare_arrays)
    elif isinstance(theirs, np.ndarray) and theirs.dtype == np.float32:
        compare_arrays(ours, theirs)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", TENSORS)
@pytest.mark.parametrize(("name", "form", "moved"), FORMS, ids=[row[0] for row in FORMS])
def bench_penalty(compare, name, form, moved, size):
    """Time one call on a list of tensors."""
    weights = draw(TENSORS[size])
    verify(form(fastreg, weights), form(reference, weights), assert_same_bits)

    compare(
        Comparison(
            "penalty",
            f"{name} {size}",
            partial(form, fastreg, weights),
            {"reference": partial(form, reference, weights)} | peers.penalty(name, weights),
            elements=sum(TENSORS[size]),
            nbytes=moved * sum(w.nbytes for w in weights),
            floor=bandwidth.copy,
        )
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "{}x{}".format(*shape))
@pytest.mark.parametrize(
    ("name", "form", "moved"), GROUP_FORMS, ids=[row[0] for row in GROUP_FORMS]
)
def bench_groups(compare, name, form, moved, shape):
    """Time one call on a matrix whose columns are the groups."""
    weights = draw([shape])
    verify(form(fastreg, copy.deepcopy(weights)), form(reference, copy.deepcopy(weights)),
           assert_rounded)  # fmt: skip

    compare(
        Comparison(
            "penalty",
            f"{name} {shape[0]}x{shape[1]}",
            partial(form, fastreg, weights),
            {"reference": partial(form, reference, copy.deepcopy(weights))},
            elements=weights[0].size,
            nbytes=moved * weights[0].nbytes,
            floor=bandwidth.copy,
        )
    )

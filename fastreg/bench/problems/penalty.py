"""A penalty on weights: its value, its gradient, or what it makes of the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastreg import reference
from fastreg.bench.problems import close, draw

__all__ = ["FORMS", "bytes_moved", "check", "checked", "inputs", "operations"]

CALLS = 1

#: What is done with a module of the same names, on a list of weights; how many arrays it moves.
FORMS: dict[str, tuple[Callable[..., Any], int]] = {
    "l1_regularization_loss": (lambda m, w: m.l1_regularization_loss(w), 1),
    "l2_regularization_loss": (lambda m, w: m.l2_regularization_loss(w), 1),
    "l1_gradient": (lambda m, w: m.l1_gradient(w), 2),
    "l2_gradient": (lambda m, w: m.l2_gradient(w), 2),
    "penalty_and_gradient": (lambda m, w: m.penalty_and_gradient(w, lambda_l2=0.01), 2),
    "ElasticNet": (lambda m, w: m.ElasticNet().value_and_gradient(w), 2),
    "soft_threshold": (lambda m, w: m.soft_threshold(w, 0.01), 2),
    "near_zero": (lambda m, w: m.near_zero(w), 1),
    "weight_histogram": (lambda m, w: m.weight_histogram(w), 1),
    "GroupLasso": (lambda m, w: m.GroupLasso().value_and_gradient(w), 3),
    "max_norm": (lambda m, w: m.max_norm(w, 100.0), 1),  # all within, as after most steps
    "unit_norm": (lambda m, w: m.unit_norm(w), 3),
}


def checked(work: Any) -> Any:
    """Return the penalty of fewer weights; groups are columns, and keep their length."""
    return work.shrunk() if len(work.shape) == 1 else dataclasses.replace(work)


def inputs(work: Any) -> Any:
    """Draw weights."""
    scale = np.dtype(work.dtype).type(0.05)
    return [scale * draw(work.shape, work.dtype, seed=i) for i in range(work.count)]


def flat(result: Any) -> Iterator[Any]:
    """Yield arrays and numbers of any nesting."""
    if isinstance(result, (list, tuple)):
        for one in result:
            yield from flat(one)
    else:
        yield result


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Compare with the reference."""
    exact = FORMS[work.name][0](reference, arrays)
    close(list(flat(found)), list(flat(exact)))


def bytes_moved(work: Any) -> int:
    """Count what the form moves."""
    return FORMS[work.name][1] * work.elements * np.dtype(work.dtype).itemsize


def operations(work: Any) -> int:
    """Return nothing: penalties are bound by memory."""
    return 0

"""A loss of a batch: its value and the gradient with respect to the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import reference
from fastreg.bench.problems import close, draw

__all__ = ["bytes_moved", "check", "checked", "inputs", "operations"]

CALLS = 1


def checked(work: Any) -> Any:
    """Return the loss of fewer rows."""
    return work.shrunk()


def inputs(work: Any) -> Any:
    """Draw outputs and targets."""
    outputs, targets = (draw(work.shape, work.dtype, seed=i) for i in range(2))
    rng = np.random.default_rng(2)
    if work.name == "softmax_cross_entropy":
        return outputs, rng.integers(0, work.shape[1], work.shape[0])
    if work.name in ("binary_cross_entropy", "focal"):
        return outputs, rng.integers(0, 2, work.shape).astype(work.dtype)
    if work.name == "poisson":
        return outputs, rng.poisson(1.0, work.shape).astype(work.dtype)
    return outputs, targets


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Compare with the reference in float64."""
    outputs, targets = arrays
    value, gradient = getattr(reference, work.name)(outputs.astype(np.float64), targets)
    close(found, [value, gradient], units=1e3)


def bytes_moved(work: Any) -> int:
    """Count outputs, targets and gradient once."""
    arrays = 2 if work.name == "softmax_cross_entropy" else 3
    return arrays * work.elements * np.dtype(work.dtype).itemsize


def operations(work: Any) -> int:
    """Return nothing: exponentials are not counted in additions."""
    return 0

"""A layer of a network in training: norms, activations, Dense."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import reference
from fastreg.bench.problems import close, draw

__all__ = ["arguments", "bytes_moved", "check", "checked", "inputs", "operations"]

CALLS = 1
NORMS = ("BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm")
GROUPS = 8


def arguments(work: Any) -> Any:
    """Return what the layer of this name is made with, for this input."""
    if work.name == "Dense":
        return work.shape[1], work.shape[1]
    if work.name == "GroupNorm":
        return GROUPS, work.shape[1]
    return (work.shape[1],) if work.name in NORMS else ()


def checked(work: Any) -> Any:
    """Return the layer with fewer rows."""
    return work.shrunk()


def inputs(work: Any) -> Any:
    """Draw the input, the gradient with respect to the output, and Dense's weights."""
    x, dy = (draw(work.shape, work.dtype, seed=i) for i in range(2))
    if work.name != "Dense":
        return x, dy
    n = work.shape[1]
    return x, dy, draw((n, n), work.dtype, seed=2) / np.sqrt(n, dtype=work.dtype)


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Compare with the reference in float64."""
    x, dy, *weights = (array.astype(np.float64) for array in arrays)
    options = {"dtype": np.float64} if weights else {}
    layer = getattr(reference, work.name)(*arguments(work), **options)
    if weights:
        layer.W[...] = weights[0]
    exact = [layer.forward(x)]
    if work.form == "forward+backward":
        exact.append(layer.backward(dy))
    close(found, exact, units=1e3)


def bytes_moved(work: Any) -> int:
    """Count each array once per pass over it; a batch norm reads its inputs twice."""
    if work.name == "Dense":
        return 0
    forward, backward = (3, 5) if work.name == "BatchNorm" else (2, 3)
    passes = forward + backward * (work.form == "forward+backward")
    return passes * work.elements * np.dtype(work.dtype).itemsize


def operations(work: Any) -> int:
    """Count the additions and multiplications of products."""
    if work.name != "Dense":
        return 0
    return 2 * work.elements * work.shape[1] * (3 if work.form == "forward+backward" else 1)

"""What the machine can do at most: move bytes, multiply and add."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.bench.problems import draw

__all__ = ["bytes_moved", "check", "checked", "inputs", "operations"]

CALLS = 1


def checked(work: Any) -> Any:
    """Return the move of fewer bytes, or the product itself."""
    return work.shrunk()


def inputs(work: Any) -> Any:
    """Draw the two arrays that a copy or a product takes; a sweep takes the first."""
    return [draw(work.shape, work.dtype, seed=i) for i in range(2)]


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Compare with one plain call."""
    a, b = arrays
    exact = {"copy": lambda: b, "sweep": lambda: a, "product": lambda: a @ b.T}[work.name]()
    np.testing.assert_allclose(found[0], exact, rtol=0, atol=1e-2)


def bytes_moved(work: Any) -> int:
    """Count what is read and what is written."""
    return 0 if work.name == "product" else 2 * work.elements * np.dtype(work.dtype).itemsize


def operations(work: Any) -> int:
    """Count a multiplication and an addition per term."""
    return 2 * work.elements * work.shape[0] if work.name == "product" else 0

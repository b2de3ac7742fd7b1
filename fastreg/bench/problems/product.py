"""A matrix product into an array that is there; the form says how both sides lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.bench.problems import draw

__all__ = ["bytes_moved", "check", "checked", "inputs", "operations"]

CALLS = 1


def checked(work: Any) -> Any:
    """Return the product itself."""
    return work


def inputs(work: Any) -> Any:
    """Draw both sides: n as they lie, t turned."""
    rows, cols, depth = work.shape
    a = draw((depth, rows) if work.form[0] == "t" else (rows, depth), work.dtype)
    b = draw((cols, depth) if work.form[1] == "t" else (depth, cols), work.dtype, seed=1)
    return a.T if work.form[0] == "t" else a, b.T if work.form[1] == "t" else b


def check(work: Any, arrays: Any, found: Any, name: str) -> None:
    """Hold it against the bound that holds for any order of the sums."""
    a, b = (side.astype(np.float64) for side in arrays)
    exact, (out,) = a @ b, found
    unit = np.finfo(work.dtype).eps
    bound = 2 * (256 + work.shape[2] / 256) * unit * (abs(a) @ abs(b)).max()
    assert out.dtype == np.dtype(work.dtype)
    np.testing.assert_allclose(out, exact, rtol=0, atol=bound)


def bytes_moved(work: Any) -> int:
    """Count both sides and the product once."""
    rows, cols, depth = work.shape
    return (rows * depth + depth * cols + rows * cols) * np.dtype(work.dtype).itemsize


def operations(work: Any) -> int:
    """Count a multiplication and an addition per term."""
    rows, cols, depth = work.shape
    return 2 * rows * cols * depth

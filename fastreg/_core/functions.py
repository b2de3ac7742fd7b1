"""Fixed arithmetic on numbers and sums: what a schedule or a history computes once per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core._kernels import batch_statistics, cosine, missing_power, power, sine, sweep

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["cosine", "magnitudes", "missing_power", "moments", "power", "sine", "squares", "sums"]


def squares(arrays: list[Array]) -> float:
    """Return the sum of all squares in float64, in the kernels' fixed order."""
    return sums("squares", arrays, ("squares",))[0]


def sums(where: str, arrays: list[Array], kinds: tuple[str, ...], tol: float = 0.0) -> list[float]:
    """Return the sum of squares, of elements nearer to 0 than ``tol`` and the like of all arrays.

    In float64 and in the kernels' fixed order, from one pass over them.
    """
    return sweep(where, "arrays", arrays, kinds, number=tol)[0]


def magnitudes(array: Array) -> float:
    """Return the sum of all magnitudes in float64, in the kernels' fixed order."""
    return sums("magnitudes", [array], ("abs",))[0]


def moments(X: Array) -> tuple[Array, Array]:
    """Return means and biased variances down the rows of float64, in the kernels' fixed order."""
    rows = np.ascontiguousarray(X).reshape(len(X), -1)
    found = batch_statistics(rows, 1.0)
    return found[0].reshape(X.shape[1:]), found[1].reshape(X.shape[1:])

"""Counts of small weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.reference.penalty import arrays_of

__all__ = ["near_zero", "weight_histogram"]


def near_zero(weights: Any, tol: float = 0.01) -> Any:
    """Count, share, exact zeros and size."""
    arrays = arrays_of(weights)
    count = sum(int(np.sum(np.abs(w) < (w.dtype.type(tol) or tol))) for w in arrays)
    zeros = sum(int(np.sum(w == 0)) for w in arrays)
    size = sum(w.size for w in arrays)
    return count, count / size if size else 0.0, zeros, size


def weight_histogram(weights: Any, bins: int = 50) -> Any:
    """`numpy.histogram` of all weights in one row, in float64."""
    return np.histogram(np.concatenate([w.ravel().astype(float) for w in arrays_of(weights)]), bins)

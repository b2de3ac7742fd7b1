"""What a penalty has done to the weights: how many are near 0, and their histogram.

Weights are a float32 or float64 array, or a dict, list or tuple of arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastreg._core.checks import number, size
from fastreg.penalty.weights import dense, sweep

if TYPE_CHECKING:
    from fastreg._core.types import Array, Weights

__all__ = ["NearZero", "near_zero", "weight_histogram"]

CHUNK = 32768  # weights binned at a time, in float64, whose edges tell all float32 values apart


class NearZero(NamedTuple):
    """Weights near 0: their number, their share of all ``size``, and how many are exactly 0."""

    count: int  # type: ignore[assignment]  # of the weights, not a tuple's method
    share: float
    zeros: int
    size: int


def near_zero(weights: Weights, tol: float = 0.01) -> NearZero:
    """Count the weights with ``|w| < tol``, and those that are exactly 0.

    Parameters
    ----------
    weights : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout.
    tol : float, default 0.01
        The bound, at least 0, rounded to the dtype of each array.

    Returns
    -------
    NearZero
        ``(count, share, zeros, size)``; the share of no weights is 0. NaN is not near 0.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind or dtype, or the bound out of range.

    Examples
    --------
    >>> near_zero(np.array([0.5, 0.0, -0.001, -0.01]))
    NearZero(count=2, share=0.5, zeros=1, size=4)
    """
    where = "near_zero"
    tol = number(where, "tol", tol, low=0.0)
    _, arrays = dense(where, "weights", weights)
    (count, zeros), _ = sweep(where, "weights", arrays, ("near_zero", "zeros"), number=tol)
    total = sum(array.size for array in arrays)
    return NearZero(int(count), count / total if total else 0.0, int(zeros), total)


def weight_histogram(weights: Weights, bins: int = 50) -> tuple[Array, Array]:
    """Count the weights of all arrays together in equal bins from the smallest to the largest.

    Parameters
    ----------
    weights : ndarray, or dict, list or tuple of ndarray
        float32 or float64, any shape and memory layout, without NaN and infinity.
    bins : int, default 50
        Number of bins, at least 1.

    Returns
    -------
    counts : ndarray of shape (bins,)
    edges : ndarray of shape (bins + 1,)
        As from `numpy.histogram`; ``ax.stairs(counts, edges)`` draws them.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind or dtype or not finite, ``bins`` out of range, or the
        weights too far apart or too close together for that many bins in float64.

    Examples
    --------
    >>> counts, edges = weight_histogram([np.array([0.0, 0.25]), np.array([1.0])], bins=2)
    >>> counts, edges
    (array([2, 1]), array([0. , 0.5, 1. ]))
    """
    where = "weight_histogram"
    bins = size(where, "bins", bins)
    labels, arrays = dense(where, "weights", weights)
    ends = []
    for label, array in zip(labels, arrays, strict=True):
        if array.size:
            ends += [float(array.min()), float(array.max())]
            if not np.isfinite(ends[-2:]).all():
                raise ValueError(f"{where}: {label} must be finite, got NaN or infinity")
    limits = (min(ends), max(ends)) if ends else (0.0, 1.0)
    counts = np.zeros(bins, np.intp)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            edges = np.histogram_bin_edges([], bins, limits)
    except ValueError:
        edges = np.zeros(2)
    if not (np.diff(edges) > 0.0).all():
        raise ValueError(
            f"{where}: weights must leave room for {bins} bins in float64, got values from "
            f"{limits[0]} to {limits[1]}; pass fewer bins or scale the weights"
        )
    for array in arrays:
        flat = array.ravel()
        for start in range(0, flat.size, CHUNK):
            chunk = flat[start : start + CHUNK].astype(np.float64, copy=False)
            counts += np.histogram(chunk, bins, limits)[0]
    return counts, edges

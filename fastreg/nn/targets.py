"""Weights of samples, links of losses, what is read right: checked once for losses and trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core._kernels import count_right, empty_like
from fastreg._core.arrays import real
from fastreg._core.checks import shown
from fastreg._core.functions import magnitudes

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from fastreg._core.types import Array, MaybeArray

    Marked = TypeVar("Marked", bound=Callable[..., Any])

__all__ = [
    "LINKS",
    "NoWeightError",
    "check_probabilities",
    "element_arguments",
    "link_of",
    "linked",
    "option_of",
    "outputs_in",
    "rows_right",
    "shares",
    "targets_in",
    "weights",
]

LINKS = ("identity", "log", "sigmoid", "softmax")
TOLERANCE = 1e-3  # what the rounding of probabilities in half precision may add up to
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # found by identity, native order alone


class NoWeightError(ValueError):
    """All weights are 0, so that there is no mean."""


def linked(link: str) -> Callable[[Marked], Marked]:
    """Say what the outputs under a loss mean: its attribute ``link``."""

    def mark(loss):
        loss.link = link
        return loss

    return mark


def link_of(loss: Any) -> str | None:
    """Return what turns outputs into predictions under a loss, or under a partial of one.

    It is the attribute ``link`` of the loss: "softmax" (one of several classes), "sigmoid" (one of
    two classes), "log" (numbers by their logarithms) or "identity" (numbers); None if there is no
    such attribute.

    Examples
    --------
    >>> from fastreg.nn import mse
    >>> link_of(mse)
    'identity'
    """
    while not hasattr(loss, "link") and hasattr(loss, "func"):
        loss = loss.func
    link = getattr(loss, "link", None)
    if link is not None and (not isinstance(link, str) or link not in LINKS):
        names = ", ".join(LINKS)
        raise ValueError(f"Trainer: loss.link must be one of {names} or None, got {shown(link)}")
    return link


def option_of(loss: Any, name: str) -> Any:
    """Return what a partial of a loss gives as an argument, or None.

    Examples
    --------
    >>> from functools import partial
    >>> from fastreg.nn import softmax_cross_entropy
    >>> option_of(partial(softmax_cross_entropy, ignore_index=-1), "ignore_index")
    -1
    """
    while hasattr(loss, "func"):
        if name in getattr(loss, "keywords", ()):
            return loss.keywords[name]
        loss = loss.func
    return None


def rows_right(outputs: Array, y: Array, link: str | None) -> float | None:
    """Return how many rows' classes are read right; None where there are no classes.

    A row of several classes that are each there or not counts by the share that is right.

    Examples
    --------
    >>> rows_right(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]), "softmax")
    1
    """
    if link == "sigmoid":
        right = np.count_nonzero((outputs > 0) == (y.reshape(outputs.shape) > 0.5))
        return right / max(1, outputs.shape[1])
    if link == "softmax" and y.ndim == 2 and y.shape == outputs.shape:
        y = y.argmax(axis=1)  # soft targets: the likeliest class
    if link != "softmax" or y.dtype.kind not in "iu" or y.ndim != 1 or outputs.ndim != 2:
        return None
    return count_right(outputs, y)


def check_probabilities(where: str, name: str, rows: Array) -> None:
    """Refuse soft targets whose rows are no probabilities.

    Examples
    --------
    >>> check_probabilities("fit", "y", np.array([[0.5, 0.5]]))
    """
    sums = rows.sum(axis=1, dtype=np.float64)
    bad = ~((rows.min(axis=1) >= 0) & (np.abs(sums - 1) <= TOLERANCE))
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{where}: {name} must be classes, or rows of probabilities: at least 0, with a sum of "
            f"1; row {first} has the least {rows[first].min()} and the sum {sums[first]}"
        )


def weights(where: str, name: str, value: Any, n: int) -> MaybeArray:
    """Return weights of ``n`` samples or classes as float64, or None.

    Examples
    --------
    >>> weights("fit", "sample_weight", [1, 2], 2)
    array([1., 2.])
    """
    if value is None:
        return None
    found = real(where, name, value, "fiu", "numbers")
    if found.shape != (n,):
        raise ValueError(f"{where}: {name} must have shape ({n},), got {found.shape}")
    found = found.astype(np.float64)
    bad = ~(np.isfinite(found) & (found >= 0))
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f"{where}: {name} must be finite and at least 0, got {found[first]} at {first}"
        )
    return found


def shares(where: str, name: str, found: MaybeArray) -> MaybeArray:
    """Return weights that sum to 1, or None."""
    if found is None:
        return None
    with np.errstate(over="ignore"):
        total = magnitudes(found)
    if not 0 < total < np.inf:
        error = NoWeightError if total == 0 else ValueError
        raise error(f"{where}: {name} must have a positive finite sum, got {total}")
    return found / total


def outputs_in(where: str, name: str, outputs: Any) -> Array:
    """Return a network's outputs as a contiguous float matrix.

    Examples
    --------
    >>> outputs_in("mse", "outputs", np.zeros((3, 2))).shape
    (3, 2)
    """
    outputs = real(where, name, outputs)
    if outputs.dtype not in FLOATS:
        raise TypeError(f"{where}: {name} must be float32 or float64, got {outputs.dtype}")
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise ValueError(f"{where}: {name} must have shape (N, K), not empty, got {outputs.shape}")
    return np.ascontiguousarray(outputs)


def targets_in(where: str, targets: Any, outputs: Array, name: str = "targets") -> Array:
    """Return targets in the shape and dtype of the outputs.

    Examples
    --------
    >>> targets_in("mse", [1, 2], np.zeros((2, 1))).tolist()
    [[1.0], [2.0]]
    """
    targets = real(where, name, targets, what="numbers")
    if targets.shape == outputs.shape[:1] and outputs.shape[1] == 1:
        targets = targets[:, None]
    if targets.shape != outputs.shape:
        raise ValueError(f"{where}: {name} must have shape {outputs.shape}, got {targets.shape}")
    if targets.dtype == outputs.dtype:
        return np.ascontiguousarray(targets)
    converted = empty_like(where, "outputs", outputs)
    np.copyto(converted, targets, casting="unsafe")
    return converted


def element_arguments(
    where: str, name: str, outputs: Any, targets: Any, sample_weight: Any
) -> tuple[Array, Array, MaybeArray]:
    """Return what a loss of elements takes: outputs, targets alike, and the rows' shares.

    Examples
    --------
    >>> element_arguments("mse", "outputs", np.zeros((2, 1)), [1, 2], [1, 3])[2]
    array([0.25, 0.75])
    """
    outputs = outputs_in(where, name, outputs)
    targets = targets_in(where, targets, outputs)
    by_row = weights(where, "sample_weight", sample_weight, len(outputs))
    return outputs, targets, shares(where, "weights", by_row)

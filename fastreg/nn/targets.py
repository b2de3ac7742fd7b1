"""Weights of samples, links of losses, what is read right: checked once for losses and trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core._kernels import count_right
from fastreg._core.arrays import real
from fastreg._core.checks import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from fastreg._core.types import Array, MaybeArray

    Marked = TypeVar("Marked", bound=Callable[..., Any])

__all__ = ["LINKS", "NoWeightError", "link_of", "linked", "rows_right", "shares", "weights"]

LINKS = ("identity", "sigmoid", "softmax")


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
    two classes) or "identity" (numbers); None if there is no such attribute.

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
    if link != "softmax" or y.dtype.kind not in "iu" or y.ndim != 1 or outputs.ndim != 2:
        return None
    return count_right(outputs, y)


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
        total = found.sum()
    if not 0 < total < np.inf:
        error = NoWeightError if total == 0 else ValueError
        raise error(f"{where}: {name} must have a positive finite sum, got {total}")
    return found / total

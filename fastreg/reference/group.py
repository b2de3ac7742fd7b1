"""Group lasso and norm constraints."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.reference.penalty import arrays_of, each

__all__ = ["GroupLasso", "max_norm", "unit_norm"]


def norms(w: Any, axis: int | tuple[int, ...]) -> Any:
    """Norms of the groups, in float64, shaped to broadcast against w."""
    return np.sqrt(np.sum(np.square(w, dtype=float), axis=axis, keepdims=True))


def scale(w: Any, factors: Any) -> Any:
    """Each group times its factor, rounded to the dtype of w first."""
    return w * factors.astype(w.dtype)


class GroupLasso:
    """``lambda_group * sum over groups of sqrt(size) * norm`` (Yuan & Lin, 2006)."""

    axis: int | tuple[int, ...]
    lambda_group: float

    def __init__(self, lambda_group: float = 0.01, *, axis: int | tuple[int, ...] = 0) -> None:
        self.lambda_group, self.axis = lambda_group, axis

    def _strength(self, w):
        """What multiplies the norms."""
        return self.lambda_group * np.sqrt(w.size / max(1, norms(w, self.axis).size))

    def value(self, weights: Any) -> Any:
        """Return the penalty."""
        terms = (self._strength(w) * norms(w, self.axis).sum() for w in arrays_of(weights))
        return float(sum(terms))

    def gradient(self, W: Any) -> Any:
        """``strength * w / norm``, 0 for a group that is 0."""

        def formula(w):
            norm = norms(w, self.axis)
            return scale(w, self._strength(w) / np.where(norm == 0, np.inf, norm))

        return each(formula, W)

    def value_and_gradient(self, weights: Any) -> Any:
        """Return both."""
        return self.value(weights), self.gradient(weights)

    def prox(self, W: Any, step_size: float = 1.0) -> Any:
        """``w * max(0, 1 - step_size * strength / norm)``."""

        def formula(w):
            cut, norm = step_size * self._strength(w), norms(w, self.axis)
            return scale(w, np.where(norm > cut, 1.0 - cut / np.where(norm > cut, norm, 1.0), 0.0))

        return each(formula, W)


def max_norm(weights: Any, max_value: float, *, axis: int | tuple[int, ...] = 0) -> Any:
    """Shorten longer groups to ``max_value``, in place."""
    for w in arrays_of(weights):
        norm = norms(w, axis)
        w[...] = np.where(norm > max_value, scale(w, max_value / np.maximum(norm, max_value)), w)
    return weights


def unit_norm(weights: Any, *, axis: int | tuple[int, ...] = 0) -> Any:
    """Scale every group that is not 0 to norm 1, in place."""
    for w in arrays_of(weights):
        norm = norms(w, axis)
        w[...] = scale(w, 1.0 / np.where(norm == 0, 1.0, norm))
    return weights

"""Weight penalties and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "ElasticNet",
    "l1_gradient",
    "l1_regularization_loss",
    "l2_gradient",
    "l2_regularization_loss",
    "penalty_and_gradient",
    "soft_threshold",
]


def arrays_of(weights: Any) -> Any:
    """List the arrays of a dict, a list or a single array."""
    if isinstance(weights, (list, tuple)):
        return list(weights)
    return list(weights.values()) if isinstance(weights, dict) else [weights]


def each(formula: Any, weights: Any) -> Any:
    """Apply a formula to every array and keep the structure."""
    if isinstance(weights, dict):
        return {name: formula(w) for name, w in weights.items()}
    if isinstance(weights, (list, tuple)):
        return type(weights)(formula(w) for w in weights)
    return formula(weights)


def l1_regularization_loss(weights: Any, lambda_l1: float = 0.01) -> Any:
    """``lambda_l1 * sum |w|``."""
    if not lambda_l1:
        return 0.0
    return lambda_l1 * float(sum(np.sum(np.abs(w), dtype=float) for w in arrays_of(weights)))


def l1_gradient(W: Any, lambda_l1: float = 0.01) -> Any:
    """``lambda_l1 * sign(w)``."""
    return each(lambda w: lambda_l1 * np.sign(w) if lambda_l1 else np.zeros_like(w), W)


def l2_regularization_loss(weights: Any, lambda_l2: float = 0.01) -> Any:
    """``lambda_l2 / 2 * sum w**2``."""
    if not lambda_l2:
        return 0.0
    squares = sum(np.sum(np.square(w, dtype=float)) for w in arrays_of(weights))
    return 0.5 * lambda_l2 * float(squares)


def l2_gradient(W: Any, lambda_l2: float = 0.01) -> Any:
    """``lambda_l2 * w``."""
    return each(lambda w: lambda_l2 * w if lambda_l2 else np.zeros_like(w), W)


def penalty_and_gradient(weights: Any, *, lambda_l1: float = 0.0, lambda_l2: float = 0.0) -> Any:
    """Both of an elastic net; a strength of 0 leaves its part out."""
    net = ElasticNet(lambda_l1, lambda_l2)
    return net.value_and_gradient(weights)


def soft_threshold(W: Any, threshold: float) -> Any:
    """``sign(w) * max(|w| - threshold, 0)``, without a signed zero."""
    return each(lambda w: w - np.clip(w, -threshold, threshold), W)


class ElasticNet:
    """``lambda_l1 * sum |w| + lambda_l2 / 2 * sum w**2`` (Zou & Hastie, 2005)."""

    lambda_l2: float
    lambda_l1: float

    def __init__(self, lambda_l1: float = 0.01, lambda_l2: float = 0.01) -> None:
        self.lambda_l1, self.lambda_l2 = lambda_l1, lambda_l2

    def value(self, weights: Any) -> Any:
        """Return the penalty."""
        l1 = l1_regularization_loss(weights, self.lambda_l1) if self.lambda_l1 else 0.0
        return l1 + (l2_regularization_loss(weights, self.lambda_l2) if self.lambda_l2 else 0.0)

    def gradient(self, W: Any) -> Any:
        """Return the gradient, with sign(0) = 0."""
        if not self.lambda_l2 and self.lambda_l1:
            return l1_gradient(W, self.lambda_l1)
        if not self.lambda_l1:
            return l2_gradient(W, self.lambda_l2)
        return each(lambda w: self.lambda_l1 * np.sign(w) + self.lambda_l2 * w, W)

    def value_and_gradient(self, weights: Any) -> Any:
        """Return both."""
        return self.value(weights), self.gradient(weights)

    def prox(self, W: Any, step_size: float = 1.0) -> Any:
        """``soft_threshold(W, step_size * lambda_l1) / (1 + step_size * lambda_l2)``."""
        shrunk = soft_threshold(W, step_size * self.lambda_l1)
        return each(lambda w: w / (1.0 + step_size * self.lambda_l2), shrunk)

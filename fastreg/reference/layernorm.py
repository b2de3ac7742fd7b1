"""Layer norm and RMS norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Array

__all__ = ["LayerNorm", "RMSNorm"]


class LayerNorm:
    """Layer normalisation over the last axes (Ba, Kiros & Hinton, 2016)."""

    beta: Any
    gamma: Any
    affine: bool
    epsilon: float

    def __init__(
        self, n_features: int | Sequence[int], epsilon: float = 1e-5, *, affine: bool = True
    ) -> None:
        self.gamma, self.beta = np.ones(n_features), np.zeros(n_features)
        self.epsilon, self.affine = epsilon, affine

    def forward(self, X: Array) -> Array:
        """Normalise each row by its own statistics."""
        self._axes = tuple(range(X.ndim - self.gamma.ndim, X.ndim))
        mean = X.mean(axis=self._axes, keepdims=True)
        var = ((X - mean) ** 2).mean(axis=self._axes, keepdims=True)
        self._inv_std = 1.0 / np.sqrt(var + self.epsilon)
        self._X_norm = (X - mean) * self._inv_std
        return self.gamma.astype(X.dtype) * self._X_norm + self.beta.astype(X.dtype)

    def backward(self, dY: Array) -> Array:
        """Return dX; store dgamma and dbeta."""
        samples = tuple(range(dY.ndim - self.gamma.ndim))
        self.dgamma: Any = (dY * self._X_norm).sum(axis=samples).astype(self.gamma.dtype)
        self.dbeta: Any = dY.sum(axis=samples).astype(self.beta.dtype)
        dX_norm = dY * self.gamma.astype(dY.dtype)
        mean_dX = dX_norm.mean(axis=self._axes, keepdims=True)
        mean_dX_X = (dX_norm * self._X_norm).mean(axis=self._axes, keepdims=True)
        return self._inv_std * (dX_norm - mean_dX - self._X_norm * mean_dX_X)

    def train(self) -> None:
        """Enter training mode, which changes nothing."""

    def eval(self) -> None:
        """Enter inference mode, which changes nothing."""


class RMSNorm:
    """Root-mean-square normalisation over the last axes (Zhang & Sennrich, 2019)."""

    affine: bool
    epsilon: float

    def __init__(
        self, n_features: int | Sequence[int], epsilon: float = 1e-5, *, affine: bool = True
    ) -> None:
        self.gamma: Any = np.ones(n_features)
        self.epsilon, self.affine = epsilon, affine

    def forward(self, X: Array) -> Array:
        """Divide each row by its root mean square."""
        self._axes = tuple(range(X.ndim - self.gamma.ndim, X.ndim))
        self._inv_rms = 1.0 / np.sqrt((X**2).mean(axis=self._axes, keepdims=True) + self.epsilon)
        self._X_norm = X * self._inv_rms
        return self.gamma.astype(X.dtype) * self._X_norm

    def backward(self, dY: Array) -> Array:
        """Return dX; store dgamma."""
        samples = tuple(range(dY.ndim - self.gamma.ndim))
        self.dgamma: Any = (dY * self._X_norm).sum(axis=samples).astype(self.gamma.dtype)
        dX_norm = dY * self.gamma.astype(dY.dtype)
        mean_dX_X = (dX_norm * self._X_norm).mean(axis=self._axes, keepdims=True)
        return self._inv_rms * (dX_norm - self._X_norm * mean_dX_X)

    def train(self) -> None:
        """Enter training mode, which changes nothing."""

    def eval(self) -> None:
        """Enter inference mode, which changes nothing."""

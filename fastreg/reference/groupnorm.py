"""Group norm and instance norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["GroupNorm", "InstanceNorm"]


class GroupNorm:
    """Normalisation of groups of channels of each sample (Wu & He, 2018)."""

    beta: Any
    gamma: Any
    affine: bool
    epsilon: float
    n_groups: int

    def __init__(
        self, n_groups: int, n_features: int, epsilon: float = 1e-5, *, affine: bool = True
    ) -> None:
        self.gamma, self.beta = np.ones(n_features), np.zeros(n_features)
        self.n_groups, self.epsilon, self.affine = n_groups, epsilon, affine

    def forward(self, X: Array) -> Array:
        """Normalise each group by its own statistics."""
        groups = X.reshape(len(X), self.n_groups, -1)
        mean = groups.mean(axis=2, keepdims=True)
        var = ((groups - mean) ** 2).mean(axis=2, keepdims=True)
        self._inv_std = 1.0 / np.sqrt(var + self.epsilon)
        self._X_norm = ((groups - mean) * self._inv_std).reshape(*X.shape[:2], -1)
        Y = self._row(self.gamma, X) * self._X_norm + self._row(self.beta, X)
        return Y.reshape(X.shape)

    def backward(self, dY: Array) -> Array:
        """Return dX; store dgamma and dbeta."""
        dY_runs = dY.reshape(self._X_norm.shape)
        self.dgamma: Any = (dY_runs * self._X_norm).sum(axis=(0, 2)).astype(self.gamma.dtype)
        self.dbeta: Any = dY_runs.sum(axis=(0, 2)).astype(self.beta.dtype)
        dX_norm = (dY_runs * self._row(self.gamma, dY)).reshape(len(dY), self.n_groups, -1)
        X_norm = self._X_norm.reshape(dX_norm.shape)
        mean_dX = dX_norm.mean(axis=2, keepdims=True)
        mean_dX_X = (dX_norm * X_norm).mean(axis=2, keepdims=True)
        return (self._inv_std * (dX_norm - mean_dX - X_norm * mean_dX_X)).reshape(dY.shape)

    def _row(self, values, like):
        return values.astype(like.dtype)[:, None]

    def train(self) -> None:
        """Enter training mode, which changes nothing."""

    def eval(self) -> None:
        """Enter inference mode, which changes nothing."""


class InstanceNorm(GroupNorm):
    """Normalisation of each channel of each sample (Ulyanov, Vedaldi & Lempitsky, 2016)."""

    def __init__(self, n_features: int, epsilon: float = 1e-5, *, affine: bool = False) -> None:
        super().__init__(n_features, n_features, epsilon, affine=affine)

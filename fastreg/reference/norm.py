"""Batch norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["BatchNorm"]


class BatchNorm:
    """Batch normalisation over all axes but that of the channels (Ioffe & Szegedy, 2015)."""

    training: bool
    running_mean: Any
    running_var: Any
    beta: Any
    gamma: Any
    epsilon: float
    momentum: float | None
    affine: bool
    axis: int

    def __init__(
        self,
        n_features: int,
        momentum: float | None = 0.9,
        epsilon: float = 1e-5,
        *,
        axis: int = 1,
        affine: bool = True,
        track_running_stats: bool = True,
        unbiased_running_var: bool = False,
    ) -> None:
        self.gamma, self.beta = np.ones((1, n_features)), np.zeros((1, n_features))
        self.running_mean, self.running_var = np.zeros((1, n_features)), np.ones((1, n_features))
        self.momentum, self.epsilon, self.training = momentum, epsilon, True
        self.axis, self.affine = axis, affine
        self.batches: int = 0
        self.track_running_stats = track_running_stats
        self.unbiased_running_var = unbiased_running_var

    def forward(self, X: Array) -> Array:
        """Normalise by the batch's statistics in training, by the running ones otherwise."""
        rows = self._as_rows(X)
        self._by_batch = self.training or not self.track_running_stats
        if self._by_batch:
            mean = rows.mean(axis=0, keepdims=True)
            var = ((rows - mean) ** 2).mean(axis=0, keepdims=True)
        else:
            mean, var = self.running_mean.astype(X.dtype), self.running_var.astype(X.dtype)
        if self.training:
            self.batches += 1
            keep = 1.0 - 1.0 / self.batches if self.momentum is None else self.momentum
            bessel = len(rows) / (len(rows) - 1) if self.unbiased_running_var else 1.0
            self.running_mean = keep * self.running_mean + (1.0 - keep) * mean
            self.running_var = keep * self.running_var + (1.0 - keep) * var * bessel
        self._inv_std = 1.0 / np.sqrt(var + self.epsilon)
        self._X_norm = (rows - mean) * self._inv_std
        Y = self.gamma.astype(X.dtype) * self._X_norm + self.beta.astype(X.dtype)
        return self._from_rows(Y, X.shape)

    def backward(self, dY: Array) -> Array:
        """Return dX; store dgamma and dbeta."""
        rows = self._as_rows(dY)
        self.dgamma: Any = (rows * self._X_norm).sum(axis=0, keepdims=True).astype(self.gamma.dtype)
        self.dbeta: Any = rows.sum(axis=0, keepdims=True).astype(self.beta.dtype)
        dX_norm = rows * self.gamma.astype(dY.dtype)
        if not self._by_batch:
            return self._from_rows(dX_norm * self._inv_std, dY.shape)
        mean_dX = dX_norm.mean(axis=0, keepdims=True)
        mean_dX_X = (dX_norm * self._X_norm).mean(axis=0, keepdims=True)
        dX = self._inv_std * (dX_norm - mean_dX - self._X_norm * mean_dX_X)
        return self._from_rows(dX, dY.shape)

    def fold_into(self, W: Array, b: Array) -> Any:
        """Return the weights of one linear layer that does ``X W + b`` and then inference."""
        scale = self.gamma / np.sqrt(self.running_var + self.epsilon)
        return W * scale, (b - self.running_mean[0]) * scale[0] + self.beta[0]

    def train(self) -> None:
        """Enter training mode."""
        self.training = True

    def eval(self) -> None:
        """Enter inference mode."""
        self.training = False

    def _as_rows(self, X):
        return np.moveaxis(X, self.axis, -1).reshape(-1, X.shape[self.axis])

    def _from_rows(self, rows, shape):
        moved = np.moveaxis(np.empty(shape, np.int8), self.axis, -1).shape
        return np.moveaxis(rows.reshape(moved), -1, self.axis)

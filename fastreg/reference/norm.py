"""Normalisation layers."""

import numpy as np

__all__ = ["BatchNorm"]


class BatchNorm:
    """Batch normalisation over the rows of (N, n_features) (Ioffe & Szegedy, 2015)."""

    def __init__(self, n_features, momentum=0.9, epsilon=1e-5):
        self.gamma, self.beta = np.ones((1, n_features)), np.zeros((1, n_features))
        self.running_mean, self.running_var = np.zeros((1, n_features)), np.ones((1, n_features))
        self.momentum, self.epsilon, self.training = momentum, epsilon, True

    def forward(self, X):
        """Normalise by the batch's statistics in training, by the running ones otherwise."""
        if self.training:
            mean = X.mean(axis=0, keepdims=True)
            var = ((X - mean) ** 2).mean(axis=0, keepdims=True)
            keep = self.momentum
            self.running_mean = keep * self.running_mean + (1.0 - keep) * mean
            self.running_var = keep * self.running_var + (1.0 - keep) * var
        else:
            mean, var = self.running_mean.astype(X.dtype), self.running_var.astype(X.dtype)
        self._inv_std = 1.0 / np.sqrt(var + self.epsilon)
        self._X_norm = (X - mean) * self._inv_std
        self._by_batch = self.training
        return self.gamma.astype(X.dtype) * self._X_norm + self.beta.astype(X.dtype)

    def backward(self, dY):
        """Return dX; store dgamma and dbeta."""
        self.dgamma = (dY * self._X_norm).sum(axis=0, keepdims=True).astype(self.gamma.dtype)
        self.dbeta = dY.sum(axis=0, keepdims=True).astype(self.beta.dtype)
        dX_norm = dY * self.gamma.astype(dY.dtype)
        if not self._by_batch:
            return dX_norm * self._inv_std
        mean_dX = dX_norm.mean(axis=0, keepdims=True)
        mean_dX_X = (dX_norm * self._X_norm).mean(axis=0, keepdims=True)
        return self._inv_std * (dX_norm - mean_dX - self._X_norm * mean_dX_X)

    def train(self):
        """Enter training mode."""
        self.training = True

    def eval(self):
        """Enter inference mode."""
        self.training = False

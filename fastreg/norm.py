"""Normalisation layers."""

import numpy as np

from fastreg import _checks
from fastreg._kernels import (
    batch_backward,
    batch_input,
    batch_normalize,
    batch_statistics,
    blend,
    channels,
)
from fastreg._layer import Layer

__all__ = ["BatchNorm"]


class BatchNorm(Layer):
    r"""Batch normalisation of the columns of (N, n_features).

    .. math:: Y = \gamma \frac{X - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    In training :math:`\mu` and :math:`\sigma^2` are the batch's mean and biased variance, and
    the running statistics move towards them: ``running = momentum * running + (1 - momentum) *
    batch``. Otherwise the running statistics are used.

    Parameters
    ----------
    n_features : int
        Number of columns, at least 1.
    momentum : float, default 0.9
        Weight of the old running statistics, in [0, 1].
    epsilon : float, default 1e-5
        Added to the variance, above 0.

    Attributes
    ----------
    gamma, beta : ndarray of shape (1, n_features)
        Scale (ones at first) and shift (zeros); float64, or whatever float dtype is assigned.
    running_mean, running_var : ndarray of shape (1, n_features)
        Statistics for inference, zeros and ones at first.
    dgamma, dbeta : ndarray of shape (1, n_features)
        Gradients, set by ``backward``.
    training : bool
        Whether batch statistics are used; True at first.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Statistics are summed in blocks and merged in float64; a column with mean 1e7 and spread 1
    comes out right in float32. A batch of one row has variance 0 and gives ``beta``. The layer
    keeps X itself for ``backward``, not a copy: leave X unchanged until then.

    References
    ----------
    Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift", ICML 2015.

    Examples
    --------
    >>> layer = BatchNorm(2)
    >>> Y = layer.forward(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> Y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    """

    def __init__(self, n_features, momentum=0.9, epsilon=1e-5):
        super().__init__()
        self.n_features = _checks.integer("BatchNorm", "n_features", n_features, low=1)
        self.momentum = _checks.number("BatchNorm", "momentum", momentum, low=0.0, high=1.0)
        self.epsilon = _checks.number("BatchNorm", "epsilon", epsilon, low=0.0, open_low=True)
        shape = (1, self.n_features)
        self.gamma, self.beta = np.ones(shape), np.zeros(shape)
        self.running_mean, self.running_var = np.zeros(shape), np.ones(shape)
        self.dgamma = self.dbeta = None
        self._last = None  # (X, by_batch, statistics) of the last forward call

    def forward(self, X, *, out=None):
        """Normalise X.

        Parameters
        ----------
        X : ndarray of shape (N, n_features)
            float32 or float64, any memory layout; N at least 1 in training.
        out : ndarray, optional
            C-contiguous array of the shape and dtype of X for the result. May be X in inference
            only: in training, ``backward`` still needs X.

        Raises
        ------
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout, or a training batch is
            empty. Nothing has been written then.
        """
        where = "BatchNorm.forward"
        with self._lock:
            X = batch_input(where, "X", X, self.n_features)
            gamma, beta = self._channels(where, "gamma"), self._channels(where, "beta")
            running_mean = self._channels(where, "running_mean")
            running_var = self._channels(where, "running_var")
            if not self.training:
                inv_std = 1.0 / np.sqrt(running_var + self.epsilon)
                statistics = np.vstack([running_mean, running_var, inv_std])
                Y = batch_normalize(where, X, out, True, statistics, gamma, beta)
                self._last = X, False, statistics
                return Y
            if len(X) == 0:
                raise ValueError(f"{where}: X must have at least one row in training, got none")
            statistics = batch_statistics(X, self.epsilon)
            Y = batch_normalize(where, X, out, False, statistics, gamma, beta)
            self.running_mean = blend(running_mean, statistics[0], self.momentum)
            self.running_var = blend(running_var, statistics[1], self.momentum)
            self._last = X, True, statistics
            return Y

    def backward(self, dY, *, out=None):
        """Return dX and store ``dgamma`` and ``dbeta``.

        Parameters
        ----------
        dY : ndarray of shape (N, n_features)
            Gradient of the loss by the output of the last forward call, in the dtype of its X.
        out : ndarray, optional
            Where to write dX; may be dY, may not share memory with X.

        Raises
        ------
        RuntimeError
            If there was no forward call.
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where = "BatchNorm.backward"
        with self._lock:
            X, by_batch, statistics = self._forwarded(self._last)
            gamma = self._channels(where, "gamma")
            dX, dgamma, dbeta = batch_backward(where, dY, out, X, by_batch, statistics, gamma)
            self.dgamma = dgamma.astype(self.gamma.dtype, copy=False)
            self.dbeta = dbeta.astype(self.beta.dtype, copy=False)
            return dX

    def _observe(self, where, X):
        """Take a training batch that a fused kernel normalises.

        Returns X, its statistics, gamma and beta; the running statistics move.
        """
        with self._lock:
            X = batch_input(where, "X", X, self.n_features)
            gamma, beta = self._channels(where, "gamma"), self._channels(where, "beta")
            running_mean = self._channels(where, "running_mean")
            running_var = self._channels(where, "running_var")
            if len(X) == 0:
                raise ValueError(f"{where}: X must have at least one row in training, got none")
            statistics = batch_statistics(X, self.epsilon)
            self.running_mean = blend(running_mean, statistics[0], self.momentum)
            self.running_var = blend(running_var, statistics[1], self.momentum)
            self._last = X, True, statistics
            return X, statistics, gamma, beta

    def _channels(self, where, name):
        return channels(where, name, getattr(self, name), self.n_features)

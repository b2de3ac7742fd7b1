"""Batch norm."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core import checks
from fastreg._core._kernels import (
    batch_backward,
    batch_input,
    batch_normalize,
    batch_statistics,
    blend,
    channels,
    float_input,
)
from fastreg._core.layer import Layer

if TYPE_CHECKING:
    from fastreg._core.types import Array, MaybeArray, Saved

__all__ = ["BatchNorm"]

ONE_VALUE = (
    "BatchNorm.forward: a training batch with one value per channel has variance 0, so that the "
    "output is beta whatever X is, and running_var shrinks towards 0; use larger batches"
)


def _callers_level():
    """The ``stacklevel`` that makes a warning of the function calling this one the user's own."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == "fastreg":
        frame, level = frame.f_back, level + 1
    return level


def _axis(where, name, value):
    """Return ``value`` if it is 1 or -1."""
    axis = checks.integer(where, name, value)
    if axis not in (1, -1):
        raise ValueError(f"{where}: {name} must be 1 or -1, got {checks.shown(value)}")
    return axis


class BatchNorm(Layer):
    r"""Batch normalisation of each channel of (N, C), (N, C, L) or (N, C, H, W).

    .. math:: Y = \gamma \frac{X - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    In training :math:`\mu` and :math:`\sigma^2` are the batch's mean and biased variance, over
    all axes but that of the channels, and the running statistics move towards them: ``running =
    momentum * running + (1 - momentum) * batch``. Otherwise the running statistics are used.

    Parameters
    ----------
    n_features : int
        Number of channels C, at least 1.
    momentum : float or None, default 0.9
        Weight of the old running statistics, in [0, 1]; None averages over all training calls.
    epsilon : float, default 1e-5
        Added to the variance, above 0.
    axis : {1, -1}, default 1, keyword-only
        Where the channels are: in the second axis or in the last.
    affine : bool, default True, keyword-only
        Whether to learn a scale gamma and a shift beta.
    track_running_stats : bool, default True, keyword-only
        Whether to keep running statistics; without them inference uses the batch's, too.
    unbiased_running_var : bool, default False, keyword-only
        Whether the running variance averages the unbiased variances of the batches. Y is always
        computed with the biased one.

    Attributes
    ----------
    gamma, beta : ndarray of shape (1, n_features), or None
        Scale (ones at first) and shift (zeros); float64, or whatever float dtype is assigned.
    running_mean, running_var : ndarray of shape (1, n_features), or None
        Statistics for inference, zeros and ones at first.
    batches : int
        Number of training calls that went into the running statistics.
    dgamma, dbeta : ndarray of shape (1, n_features), or None
        Gradients, set by ``backward``.
    cache : dict
        What the last training call left: ``X``; its ``mean`` and ``var``, of shape (1,
        n_features); and ``X_norm``, the output before scale and shift, computed when asked for.
        Empty before the first call.
    training : bool
        Whether batch statistics are used; True at first.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Warns
    -----
    RuntimeWarning
        At the first training batch with one value per channel: the variance is 0, Y is ``beta``
        whatever X is, and the running variance shrinks towards 0.

    Notes
    -----
    Statistics are summed in blocks and merged in float64, so that a column with mean 1e7 and
    spread 1 is normalised correctly in float32. The layer keeps X itself for ``backward`` and
    ``cache``, not a copy: leave X unchanged until then.

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

    n_features: checks.Fixed = checks.Fixed(checks.size)
    momentum: checks.Checked = checks.Checked(checks.optional_number, low=0.0, high=1.0)
    epsilon: checks.Checked = checks.Checked(checks.number, low=0.0, open_low=True)
    axis: checks.Checked = checks.Checked(_axis)
    affine: checks.Checked = checks.Checked(checks.flag)
    track_running_stats: checks.Checked = checks.Checked(checks.flag)
    unbiased_running_var: checks.Checked = checks.Checked(checks.flag)
    batches: checks.Checked = checks.Checked(checks.integer, low=0)

    _batch = "_last", "_trained"

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
        super().__init__()
        self.n_features = n_features
        self.momentum, self.epsilon = momentum, epsilon
        self.axis, self.affine = axis, affine
        self.track_running_stats = track_running_stats
        self.unbiased_running_var = unbiased_running_var
        shape = (1, self.n_features)
        self.gamma: MaybeArray = np.ones(shape) if affine else None
        self.beta: MaybeArray = np.zeros(shape) if affine else None
        self.running_mean: MaybeArray = np.zeros(shape) if track_running_stats else None
        self.running_var: MaybeArray = np.ones(shape) if track_running_stats else None
        self.batches = 0
        self.dgamma: MaybeArray = None
        self.dbeta: MaybeArray = None
        # _last: (X, by_batch, statistics) of the last forward call
        self._trained: Any = (
            None  # (X, statistics) of the last training call, or what stands for cache
        )
        self._warned = False

    @property
    def cache(self) -> dict[str, Array]:
        """X, mean, var and X_norm of the last training call."""
        if self._trained is None or isinstance(self._trained, dict):
            return self._trained or {}
        X, statistics = self._trained
        mean, var, _ = (row.reshape(1, -1) for row in statistics)
        last = self.axis == -1
        plain = np.ones(mean.shape), np.zeros(mean.shape)
        X_norm = batch_normalize("BatchNorm.cache", X, None, False, statistics, *plain, last)
        return {"X": X, "mean": mean.astype(X.dtype), "var": var.astype(X.dtype), "X_norm": X_norm}

    @cache.setter
    def cache(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise TypeError(f"BatchNorm: cache must be a dict, got {type(value).__name__}")
        self._trained = value

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes: copies of the arrays, and ``batches``."""
        with self._lock.reading():
            return {**{name: self._array(name).copy() for name in self._arrays()},
                    "batches": self.batches}  # fmt: skip

    def load_state_dict(self, state: Saved) -> None:
        """Continue from ``state``; nothing changes unless all of it is valid.

        Arrays are written in place where shape and dtype are the same.
        """
        where = "BatchNorm.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{where}: state must be a dict, got {type(state).__name__}")
        names = self._arrays()
        if state.keys() != {*names, "batches"}:
            wanted, got = sorted([*names, "batches"]), sorted(map(str, state))
            raise ValueError(f"{where}: state must have {wanted}, got {got}")
        batches = checks.integer(where, "batches", state["batches"], low=0)
        new = {}
        for name in names:
            array = float_input(where, name, state[name])
            if array.size != self.n_features:
                shape = (1, self.n_features)
                raise ValueError(f"{where}: {name} must have shape {shape}, got {array.shape}")
            new[name] = array.copy()
        self._lock.run(
            BatchNorm._take, self, new, batches, arrays=[self._array(name) for name in names]
        )

    def _take(self, new, batches):
        for name, array in new.items():
            own = getattr(self, name)
            if own.shape == array.shape and own.dtype == array.dtype and own.flags.writeable:
                own[...] = array  # in place: an optimizer that holds this array keeps working
            else:
                setattr(self, name, array)
        self.batches = batches

    def _array(self, name):
        return float_input("BatchNorm.state_dict", name, getattr(self, name))

    def _arrays(self):
        """The names of the arrays that training changes."""
        names = ("gamma", "beta", "running_mean", "running_var")
        return [name for name in names if getattr(self, name) is not None]

    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Normalise X.

        Parameters
        ----------
        X : ndarray of shape (N, C), (N, C, L) or (N, C, H, W); (N, ..., C) for ``axis=-1``
            float32 or float64, any memory layout; integers and truth values count as float64. Not
            empty in training.
        out : ndarray, optional
            C-contiguous array of the shape and dtype of X for the result. It may be X in
            inference only; ``backward`` is not possible then, because it needs X.

        Raises
        ------
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout, or a training batch is
            empty. Nothing has been written then.
        """
        where = "BatchNorm.forward"
        self._mind_one_value(X)
        with self._lock:
            by_batch = self.training or not self.track_running_stats
            if by_batch:
                X, statistics, gamma, beta, moved = self._observed(where, X)
            else:
                X = batch_input(where, "X", X, self.n_features, self.axis == -1)
                gamma, beta = self._affine(where)
                mean, var = (values.reshape(1, -1) for values in self._running(where))
                statistics = np.vstack([mean, var, 1.0 / np.sqrt(var + self.epsilon)])
                moved = {}
            in_place = not self.training
            shared = isinstance(out, np.ndarray) and np.may_share_memory(X, out)
            moved["_last"] = None if in_place and shared else (X, by_batch, statistics)
            moved["_trained"] = (X, statistics) if self.training else self._trained
            own = self.__dict__
            Y = batch_normalize(where, X, out, in_place, statistics, gamma, beta, self.axis == -1)
            # Nothing is allocated any more, and in one call of C: an interrupt finds all or none.
            own.update(moved)
            return Y

    def backward(self, dY: Array, *, out: Array | None = None) -> Array:
        """Return dX and store ``dgamma`` and ``dbeta``.

        Parameters
        ----------
        dY : ndarray of the shape of X
            Gradient of the loss with respect to the output of the last forward call, in the dtype
            of its X.
        out : ndarray, optional
            Where to write dX; may be dY, may not share memory with X.

        Raises
        ------
        RuntimeError
            If there was no forward call that kept its X.
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where = "BatchNorm.backward"
        with self._lock:
            X, by_batch, statistics = self._forwarded(self._last)
            gamma, _ = self._affine(where)
            slopes = self._new_slopes()
            dX = batch_backward(
                where, dY, out, X, by_batch, statistics, gamma, self.axis == -1, slopes
            )
            self.dgamma, self.dbeta = slopes or (None, None)
            return dX

    def fold_into(self, W: Array, b: Array) -> tuple[Array, Array]:
        r"""Return the weights of one linear layer that does ``X W + b`` and this layer's inference.

        .. math:: W' = W \,\mathrm{diag}(s), \quad b' = (b - \mu) s + \beta, \quad
                  s = \gamma / \sqrt{\sigma^2 + \epsilon}

        Parameters
        ----------
        W : ndarray of shape (n_in, n_features)
            Weights of the layer before this one, float32 or float64.
        b : ndarray with n_features elements
            Its biases.

        Returns
        -------
        tuple of ndarray
            ``W'`` and ``b'`` as new arrays in the shapes and dtypes of W and b.

        Raises
        ------
        TypeError, ValueError
            If an array is of the wrong kind, dtype or shape.
        RuntimeError
            If the layer tracks no running statistics.

        Examples
        --------
        >>> layer, W, b = BatchNorm(2, epsilon=1.0), np.ones((3, 2)), np.zeros(2)
        >>> layer.running_mean, layer.running_var = np.array([[4.0, 4.0]]), np.array([[3.0, 8.0]])
        >>> layer.fold_into(W, b)[1].round(3)
        array([-2.   , -1.333])
        """
        where = "BatchNorm.fold_into"
        with self._lock:
            if not self.track_running_stats:
                raise RuntimeError(f"{where}: track_running_stats must be True")
            rows = W.shape[:1] if getattr(W, "ndim", 0) == 2 else (1,)
            flat_W = channels(where, "W", W, (*rows, self.n_features))
            flat_b = channels(where, "b", b, (self.n_features,))
            gamma, beta = self._affine(where)
            mean, var = self._running(where)
            scale = gamma.ravel() / np.sqrt(var.ravel() + self.epsilon)
            folded_b = (flat_b.ravel() - mean.ravel()) * scale + beta.ravel()
            return (flat_W * scale).astype(W.dtype), folded_b.reshape(b.shape).astype(b.dtype)

    def _observed(self, where, X):
        """X, its statistics, gamma, beta, and what the running statistics become in training."""
        X = batch_input(where, "X", X, self.n_features, self.axis == -1)
        gamma, beta = self._affine(where)
        statistics = self._batch_statistics(where, X)
        moved = {}
        if self.training and self.track_running_stats:
            moved = self._moved(where, statistics, X.size // self.n_features)
        return X, statistics, gamma, beta, moved

    def _mind_one_value(self, X):
        """Warn of the first training batch with one value per channel."""
        one = isinstance(X, np.ndarray) and X.size == self.n_features and X.ndim > 1
        if self._warned or not (self.training and one) or self.unbiased_running_var:
            return
        self._warned = True
        warnings.warn(ONE_VALUE, RuntimeWarning, stacklevel=_callers_level())

    def _new_slopes(self):
        """Arrays for dgamma and dbeta, in the shapes and dtypes of what they belong to."""
        if not self.affine:
            return []
        return [np.empty(array.shape, array.dtype) for array in (self.gamma, self.beta)]

    def _batch_statistics(self, where, X):
        """Mean, biased variance and 1 / sqrt(variance + epsilon) of the batch's channels."""
        count = X.size // self.n_features
        if count == 0:
            raise ValueError(f"{where}: X must have at least one row in training, got none")
        tracked = self.training and self.track_running_stats
        if count == 1 and self.unbiased_running_var and tracked:
            raise ValueError(
                f"{where}: X must have two values per channel or more for an unbiased variance, "
                "got one; leave unbiased_running_var out"
            )
        return batch_statistics(X, self.epsilon, self.axis == -1)

    def _moved(self, where, statistics, count):
        """What a batch of ``count`` values per channel makes of the running statistics."""
        running, mean, var = self._running(where), statistics[0], statistics[1]
        keep = self.batches / (self.batches + 1) if self.momentum is None else self.momentum
        if self.unbiased_running_var:
            var = var * (count / (count - 1))
        return {
            "running_mean": blend(running[0], mean, keep),
            "running_var": blend(running[1], var, keep),
            "batches": self.batches + 1,
        }

    def _affine(self, where):
        """Gamma and beta in float64."""
        if not self.affine:
            return np.ones((1, self.n_features)), np.zeros((1, self.n_features))
        shape = (1, self.n_features)
        return channels(where, "gamma", self.gamma, shape), channels(
            where, "beta", self.beta, shape
        )

    def _running(self, where):
        """The running mean and variance in float64."""
        shape = (1, self.n_features)
        mean = channels(where, "running_mean", self.running_mean, shape)
        return mean, channels(where, "running_var", self.running_var, shape)

"""The common part of the norms without running statistics: each row is normalised by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core import checks
from fastreg._core._kernels import channels, float_input, row_backward, row_input, row_normalize
from fastreg._core.layer import Layer

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["RowNorm"]


class RowNorm(Layer):
    """A layer over rows; a subclass says what a row is and which parameters there are."""

    _centred = True  # whether the mean is subtracted
    _names: tuple[str, ...] = ("gamma", "beta")

    epsilon: checks.Checked = checks.Checked(checks.number, low=0.0, open_low=True)
    affine: checks.Checked = checks.Checked(checks.flag)

    def __init__(self, shape: tuple[int, ...], epsilon: float, affine: bool) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.affine = affine
        self._shape = shape
        for name, make in zip(self._names, (np.ones, np.zeros), strict=False):
            setattr(self, name, make(shape) if self.affine else None)
            setattr(self, f"d{name}", None)
        # _last: (X, statistics) of the last forward call

    def _rows(self, where: str, X: Array) -> tuple[int, int, int]:
        """The number of rows in X, of rows in a sample, and of channels in a row."""
        raise NotImplementedError

    def forward(self, X: Array, *, out: Array | None = None) -> Array:
        """Normalise X; the same in training and in inference.

        Parameters
        ----------
        X : ndarray
            float32 or float64 of the layer's shape, any memory layout; integers and truth values
            count as float64.
        out : ndarray, optional
            C-contiguous array of the shape and dtype of X for the result. It may be X in
            inference only; ``backward`` is not possible then, because it needs X.

        Raises
        ------
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where = f"{type(self).__name__}.forward"
        with self._lock:
            X = row_input(where, "X", X)
            cut = self._rows(where, X)
            gamma = self._parameter(where, "gamma", 1.0, X)
            beta = self._parameter(where, "beta", 0.0, X)
            shared = isinstance(out, np.ndarray) and np.may_share_memory(X, out)
            last = [X, None]
            Y, last[1] = row_normalize(
                where, X, out, not self.training, cut, gamma, beta, self.epsilon, self._centred
            )
            # Nothing is allocated any more.
            self._last = None if shared and not self.training else last
            return Y

    def backward(self, dY: Array, *, out: Array | None = None) -> Array:
        """Return dX and store the parameters' gradients.

        Parameters
        ----------
        dY : ndarray
            Gradient of the loss with respect to the output of the last forward call, in the
            shape and dtype of its X.
        out : ndarray, optional
            Where to write dX; may be dY, may not share memory with X.

        Raises
        ------
        RuntimeError
            If there was no forward call that kept its X.
        TypeError, ValueError
            If an array is of the wrong kind, dtype, shape or layout; nothing is written then.
        """
        where = f"{type(self).__name__}.backward"
        with self._lock:
            X, statistics = self._forwarded(self._last)
            gamma = self._parameter(where, "gamma", 1.0, X)
            slopes = {
                f"d{name}": np.empty(
                    self._shape, float_input(where, name, getattr(self, name)).dtype
                )
                for name in (self._names if self.affine else ())
            }
            cut, own, new = self._rows(where, X), self.__dict__, list(slopes.values())
            dX = row_backward(where, dY, out, X, cut, statistics, gamma, self._centred, new)
            # Nothing is allocated any more, and in one call: an interrupt finds all or none.
            own.update(slopes)
            return dX

    def _parameter(self, where, name, default, X):
        """The parameter, or its neutral value where there is none, in the dtype of X."""
        if not self.affine or name not in self._names:
            return np.full(self._shape, default, X.dtype)
        return channels(where, name, getattr(self, name), self._shape, X)

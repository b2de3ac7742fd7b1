"""Layer norm and RMS norm, over the last axes of each sample.

Batch norm takes its statistics down a column, over the samples of a batch; layer norm takes
them along a row, over the features of one sample. The consequences are:

=====================  ==============================  ==========================
..                     BatchNorm                       LayerNorm
=====================  ==============================  ==========================
statistics over        the batch, for each feature     the features of each sample
depends on the batch   yes; noisy when it is small     no; one sample is enough
inference              running averages from training  the same as in training
running statistics     running_mean, running_var       none
typical use            convolutional networks          sequences, transformers
=====================  ==============================  ==========================

A sample's output depends on the rest of its batch with batch norm, not with layer norm; batch
norm needs at least two samples in training; and only batch norm changes in inference:

>>> batch, layer = fastreg.BatchNorm(3), fastreg.LayerNorm(3)
>>> X = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 0.0], [7.0, 9.0, 8.0]])
>>> def alike(a, b):
...     return bool(np.allclose(a, b))
>>> alike(batch.forward(X)[:2], batch.forward(X[:2])), alike(layer.forward(X)[:2],
...     layer.forward(X[:2]))
(False, True)
>>> layer.forward(X[0]).round(2).tolist()
[-0.93, -0.46, 1.39]
>>> before = batch.forward(X), layer.forward(X)
>>> batch.eval(), layer.eval()
(None, None)
>>> alike(batch.forward(X), before[0]), alike(layer.forward(X), before[1])
(False, True)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastreg._core import checks
from fastreg.norm.rows import RowNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LayerNorm", "RMSNorm"]


class _LastAxesNorm(RowNorm):
    """A norm whose rows are the last axes of its input."""

    def __init__(self, n_features: int | Sequence[int], epsilon: float, affine: bool) -> None:
        where = type(self).__name__
        sizes = n_features if isinstance(n_features, (tuple, list)) else (n_features,)
        shape: tuple[int, ...] = ()
        room = checks.LARGEST
        for n in sizes:
            shape += (checks.size(where, "n_features", n, room),)
            room //= shape[-1]
        if not shape:
            raise ValueError(
                f"{where}: n_features must be one or more sizes, got {checks.shown(n_features)}"
            )
        super().__init__(shape, epsilon, affine)
        self.n_features = n_features

    def _rows(self, where, X):
        if X.shape[-len(self._shape) :] != self._shape:
            wanted = ", ".join(str(size) for size in ("...", *self._shape))
            raise ValueError(f"{where}: X must have shape ({wanted}), got {X.shape}")
        return math.prod(X.shape[: -len(self._shape)]), 1, math.prod(self._shape)


class LayerNorm(_LastAxesNorm):
    r"""Layer normalisation of each sample over its features.

    .. math:: Y = \gamma \frac{X - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with the mean :math:`\mu` and the biased variance :math:`\sigma^2` of each row, the same in
    training and in inference. See the module's docstring for a comparison with batch norm.

    Parameters
    ----------
    n_features : int or tuple of int
        Length of the last axis, or shape of the last axes, that make up a row. X has any axes
        before them, or none: one sample.
    epsilon : float, default 1e-5
        Added to the variance, above 0.
    affine : bool, default True, keyword-only
        Whether to learn a scale gamma and a shift beta.

    Attributes
    ----------
    gamma, beta : ndarray of shape n_features, or None
        Scale (ones at first) and shift (zeros); float64, or whatever float dtype is assigned.
    dgamma, dbeta : ndarray of shape n_features, or None
        Gradients, set by ``backward``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Accuracy is as in `BatchNorm`: a row with mean 1e7 and spread 1 is normalised
    correctly in float32, and a constant row gives ``beta``. The layer keeps X itself for
    ``backward``, not a copy: leave X unchanged until then.

    References
    ----------
    Ba, Kiros & Hinton, "Layer Normalization", 2016.

    Examples
    --------
    >>> layer = LayerNorm(3)
    >>> layer.forward(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])).round(3)
    array([[-1.225,  0.   ,  1.225],
           [-1.225,  0.   ,  1.225]])
    """

    def __init__(
        self, n_features: int | Sequence[int], epsilon: float = 1e-5, *, affine: bool = True
    ) -> None:
        super().__init__(n_features, epsilon, affine)


class RMSNorm(_LastAxesNorm):
    r"""Root-mean-square normalisation of each sample over its features.

    .. math:: Y = \gamma \frac{X}{\sqrt{\overline{X^2} + \epsilon}}

    Layer norm without the mean and without the shift, the same in training and in inference.

    Parameters
    ----------
    n_features : int or tuple of int
        Length of the last axis, or shape of the last axes, that make up a row. X has any axes
        before them, or none: one sample.
    epsilon : float, default 1e-5
        Added to the mean square, above 0.
    affine : bool, default True, keyword-only
        Whether to learn a scale gamma.

    Attributes
    ----------
    gamma : ndarray of shape n_features, or None
        Scale, ones at first; float64, or whatever float dtype is assigned.
    dgamma : ndarray of shape n_features, or None
        Its gradient, set by ``backward``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    Zhang & Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.

    Examples
    --------
    >>> layer = RMSNorm(2)
    >>> layer.forward(np.array([[3.0, 4.0], [-30.0, 40.0]])).round(3)
    array([[ 0.849,  1.131],
           [-0.849,  1.131]])
    """

    _centred = False
    _names = ("gamma",)

    def __init__(
        self, n_features: int | Sequence[int], epsilon: float = 1e-5, *, affine: bool = True
    ) -> None:
        super().__init__(n_features, epsilon, affine)

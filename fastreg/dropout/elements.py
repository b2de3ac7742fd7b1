"""Dropout: of elements, of whole channels, of weights, of residual branches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastreg._core import checks
from fastreg._core._kernels import dropout, float_input, scale_runs, spread_dropout
from fastreg.dropout.base import RandomLayer, threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Array, Seed

    Noise = tuple[int, int, int, float]  # key, call, threshold, scale

__all__ = ["DropConnect", "Dropout", "SpatialDropout", "StochasticDepth"]


class Dropout(RandomLayer):
    r"""Inverted dropout: zero an element with probability p, scale the others by 1 / (1 - p).

    .. math:: Y = X \odot M, \qquad M_i = \begin{cases} 1 / (1 - p) & \text{with probability }
              1 - p \\ 0 & \text{otherwise} \end{cases}

    Parameters
    ----------
    drop_rate : float, default 0.5
        Probability p of dropping an element, in [0, 1]; 0 keeps and 1 drops everything.
    rng : optional
        Anything :func:`numpy.random.default_rng` takes; it determines the masks of all calls.
        Left out, the seed is drawn from NumPy's global state at the first training call, so that
        ``numpy.random.seed`` determines it.
    noise_shape : tuple of int or None, optional
        Shape of the mask, one entry per axis of X. With 1, all indices of that axis are dropped
        together; with None or the axis's length, each by itself. ``(None, 1, None)`` drops
        features of (N, T, F) for all T steps. Left out, every element is dropped by itself.
    inverted : bool, default True
        Whether to scale in training. With False, training gives ``X * mask``, and inference
        multiplies by 1 - p instead.

    Attributes
    ----------
    training : bool
        Whether ``forward`` drops (True at first) or returns its input unchanged.
    mask : ndarray or None
        The 0/1 mask of the last training call, drawn again when asked for.

    Raises
    ------
    TypeError, ValueError
        If ``drop_rate`` is not a number in [0, 1], or another argument is of the wrong kind.

    Notes
    -----
    No mask is stored between forward and backward. It is a pure function of the seed,
    the number of the call and the element's index in C order; it does not depend on threads,
    instruction set, dtype or memory layout. Later releases keep this stream (version 1). P(keep) is
    within 2**-32 of 1 - p.

    References
    ----------
    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 15, 2014. Random bits: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
    SC11 (Philox4x32-10).

    Examples
    --------
    >>> layer = Dropout(0.5, rng=0)
    >>> Y = layer.forward(np.ones((2, 4)))
    >>> bool(np.all(Y == 2.0 * layer.mask))
    True
    """

    def __init__(
        self,
        drop_rate: float = 0.5,
        *,
        rng: Seed = None,
        noise_shape: Sequence[int | None] | None = None,
        inverted: bool = True,
    ) -> None:
        self._inverted = checks.flag("Dropout", "inverted", inverted)
        self._noise_shape = _noise_shape(noise_shape)
        super().__init__(drop_rate, rng)

    @property
    def mask(self) -> Array | None:
        """The 0/1 mask of the last training call in int64; None before the first.

        It has the shape of the noise, which broadcasts to that of X.
        """
        return self._keep_mask()

    def _scalars_of(self, rate):
        if not self._inverted:
            return threshold(rate), 1.0
        return threshold(rate), 1.0 / (1.0 - rate) if rate < 1.0 else 0.0

    def _noise_shape_of(self, where, name, X):
        wanted = self._noise_shape
        if wanted is None:
            return None
        shape = float_input(where, name, X).shape
        if len(wanted) != len(shape) or any(
            m not in (None, 1, n) for m, n in zip(wanted, shape, strict=True)
        ):
            raise ValueError(
                f"{where}: {name} must have a shape that noise_shape {wanted} broadcasts to axis "
                f"by axis, got {shape}"
            )
        return tuple(n if m is None else m for m, n in zip(wanted, shape, strict=True))

    def _noisy(
        self, where, name, X, out, noise: tuple[int, int, int, float], noise_shape, shape=None
    ):
        first = self._first(X, noise_shape)
        if noise_shape is None:
            return dropout(where, name, X, out, *noise, shape, first)
        return spread_dropout(where, name, X, out, *noise, noise_shape, shape, first)

    def _quiet(self, where, name, X, out, rate, shape=None):
        if self._inverted:
            return super()._quiet(where, name, X, out, rate, shape)
        return scale_runs(where, name, X, out, np.full((1,) * np.ndim(X), 1.0 - rate), shape)


def _channel_axis(where, name, value):
    """Return ``value`` as the number of an axis that is not that of the samples."""
    axis = checks.integer(where, name, value)
    if axis == 0:
        raise ValueError(f"{where}: {name} must not be 0, the samples' axis, got 0")
    return axis


class SpatialDropout(Dropout):
    """Dropout of whole channels: a sample keeps all of a channel, scaled, or none of it.

    Neighbouring pixels carry almost the same information, so dropping single ones regularises
    little.

    Parameters
    ----------
    drop_rate : float, default 0.5
        Probability of dropping a channel of a sample, in [0, 1].
    axis : int, default 1
        Axis of the channels, not 0; -1 for channels last. Axis 0 holds the samples.
    rng : optional
        As in `Dropout`.

    Attributes
    ----------
    training, mask
        As in `Dropout`; ``mask`` has length 1 along all axes but 0 and ``axis``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Sample n and channel c of C draw as element n * C + c of the noise, whatever ``axis`` is.

    References
    ----------
    Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.

    Examples
    --------
    >>> layer = SpatialDropout(0.5, rng=0)
    >>> Y = layer.forward(np.ones((2, 3, 4, 4)))
    >>> layer.mask.shape
    (2, 3, 1, 1)
    """

    axis: checks.Checked = checks.Checked(_channel_axis)

    def __init__(self, drop_rate: float = 0.5, *, axis: int = 1, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng=rng)
        self.axis = axis

    def _noise_shape_of(self, where, name, X):
        shape = float_input(where, name, X).shape
        axis = self.axis % len(shape) if -len(shape) <= self.axis < len(shape) else 0
        if axis == 0:
            raise ValueError(
                f"{where}: {name} must have samples along axis 0 and channels along axis "
                f"{self.axis}, got shape {shape}"
            )
        return tuple(n if k in (0, axis) else 1 for k, n in enumerate(shape))


class StochasticDepth(Dropout):
    """Drop a residual branch: for each sample, or for the whole batch.

    ``Y = X + depth.forward(branch(X))`` skips the branch with probability p and scales it by
    1 / (1 - p) otherwise.

    Parameters
    ----------
    drop_rate : float, default 0.5
        Probability p of dropping, in [0, 1].
    mode : {"row", "batch"}, default "row"
        Whether each sample (index of axis 0) is dropped by itself, or the whole batch at once.
    rng : optional
        As in `Dropout`.

    Attributes
    ----------
    training, mask
        As in `Dropout`; ``mask`` has length 1 along all axes, but 0 by row.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.

    Examples
    --------
    >>> depth = StochasticDepth(0.2, rng=0)
    >>> Y = depth.forward(np.ones((8, 3)))
    >>> set((Y / 1.25).ravel()) <= {0.0, 1.0}
    True
    """

    mode: checks.Checked = checks.Checked(checks.choice, choices=("row", "batch"))

    def __init__(self, drop_rate: float = 0.5, *, mode: str = "row", rng: Seed = None) -> None:
        super().__init__(drop_rate, rng=rng)
        self.mode = mode

    def _noise_shape_of(self, where, name, X):
        shape = float_input(where, name, X).shape
        if self.mode == "batch":
            return (1,) * len(shape)
        if not shape:
            raise ValueError(f"{where}: {name} must have samples along axis 0, got shape ()")
        return shape[:1] + (1,) * (len(shape) - 1)


class DropConnect(Dropout):
    """Dropout of the weights of a dense layer instead of its activations.

    .. code-block:: python

        weights = connect.forward(W)  # then H = X @ weights
        dW = connect.backward(X.T @ dH)

    Parameters
    ----------
    drop_rate : float, default 0.5
        Probability p of dropping a weight, in [0, 1]; the others are scaled by 1 / (1 - p).
    rng : optional
        As in `Dropout`.

    Attributes
    ----------
    training, mask
        As in `Dropout`, for the weights.

    Raises
    ------
    TypeError, ValueError
        If ``drop_rate`` is not a number in [0, 1].

    Notes
    -----
    One mask is used for the whole batch, and inference uses the mean of the weights, W itself.
    The paper draws a mask for each sample, and samples the activations in inference.

    References
    ----------
    Wan et al., "Regularization of Neural Networks using DropConnect", ICML 2013.

    Examples
    --------
    >>> connect, W = DropConnect(0.5, rng=0), np.ones((3, 2))
    >>> weights = connect.forward(W)
    >>> bool(np.all(connect.backward(W) == weights))
    True
    """

    _names = "W", "dW"

    def __init__(self, drop_rate: float = 0.5, *, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng=rng)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, W: Array, *, out: Array | None = None
    ) -> Array:
        """Return W with dropped weights in training, W itself otherwise; see `Dropout`."""
        return super().forward(W, out=out)

    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, dW: Array, *, out: Array | None = None
    ) -> Array:
        """Return the gradient with respect to W, given that with respect to the masked weights."""
        return super().backward(dW, out=out)


def _noise_shape(value):
    """Return ``noise_shape`` as a tuple of lengths and None, or None."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)):
        raise TypeError(
            f"Dropout: noise_shape must be a tuple of int or None, got {checks.shown(value)}; "
            "write one entry per axis"
        )
    return tuple(
        n if n is None else checks.integer("Dropout", "noise_shape", n, low=1) for n in value
    )

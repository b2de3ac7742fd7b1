"""Noise that preserves more than the mean: alpha dropout and Gaussian dropout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastreg._core._kernels import alpha_dropout, dropout, gaussian_dropout
from fastreg.dropout.base import RandomLayer, threshold

if TYPE_CHECKING:
    from fastreg._core.types import Array, Seed

__all__ = ["AlphaDropout", "GaussianDropout"]

SATURATION = -1.7580993408473766  # -scale * alpha of SELU: its limit at minus infinity


class AlphaDropout(RandomLayer):
    r"""Dropout for SELU networks: it preserves mean 0 and variance 1.

    .. math:: Y = a \, (X \odot K + \alpha' (1 - K)) + b, \qquad
              a = \left((1 - p)(1 + p \alpha'^2)\right)^{-1/2}, \quad b = -a \, p \, \alpha'

    with :math:`K_i = 1` with probability 1 - p, 0 otherwise, and :math:`\alpha' \approx -1.7581`,
    the value at which SELU saturates.

    Parameters
    ----------
    drop_rate : float, default 0.5
        Probability p of dropping an element, in [0, 1]; with 1 every output is 0, the limit.
    rng : optional
        As in `Dropout`.

    Attributes
    ----------
    training : bool
        Whether ``forward`` drops (True at first) or returns its input.
    mask : ndarray or None
        The 0/1 mask K of the last training call, drawn again when asked for.

    Raises
    ------
    TypeError, ValueError
        If ``drop_rate`` is not a number in [0, 1].

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.

    Examples
    --------
    >>> layer = AlphaDropout(0.1, rng=0)
    >>> Y = layer.forward(np.random.default_rng(0).standard_normal(8_000))
    >>> round(float(Y.mean()), 1) == 0.0, round(float(Y.std()), 1)
    (True, 1.0)
    """

    def __init__(self, drop_rate: float = 0.5, *, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng)

    @property
    def mask(self) -> Array | None:
        """The 0/1 mask of the last training call in int64; None before the first."""
        return self._keep_mask()

    def _scalars_of(self, rate):
        # a; b for kept elements; a * SATURATION + b for dropped ones
        a = 1.0 / math.sqrt((1.0 - rate) * (1.0 + rate * SATURATION**2)) if rate < 1.0 else 0.0
        return threshold(rate), a, -a * rate * SATURATION, a * (1.0 - rate) * SATURATION

    def _noisy(self, where, name, X, out, noise, noise_shape):
        first = self._first(X)
        return alpha_dropout(where, name, X, out, *noise, first)  # pyright: ignore[reportCallIssue]

    def _gradient(self, where, name, dout, out, noise, noise_shape, shape):
        first = self._first(dout)
        return dropout(where, name, dout, out, *noise[:4], shape, first)  # pyright: ignore[reportCallIssue]


class GaussianDropout(RandomLayer):
    r"""Multiply by normal noise with the mean and variance of dropout's mask.

    .. math:: Y = X \odot (1 + \sigma Z), \qquad Z_i \sim N(0, 1), \quad
              \sigma = \sqrt{p / (1 - p)}

    Parameters
    ----------
    drop_rate : float, default 0.5
        The rate p of the dropout that has the same variance, in [0, 1).
    rng : optional
        As in `Dropout`.

    Attributes
    ----------
    training : bool
        Whether ``forward`` multiplies (True at first) or returns its input.
    noise : ndarray or None
        The factors of the last training call, drawn again when asked for.

    Raises
    ------
    TypeError, ValueError
        If ``drop_rate`` is not a number in [0, 1).

    Notes
    -----
    Deviates are float32, by Box and Muller's method from 62 bits per pair, and widened for float64
    arrays. Their distribution function is within 2e-7 of the normal one, and none is beyond 6.67
    (which a true deviate is once in 4e10). Like a mask they depend on seed, call number and
    element index alone, not on threads or instruction set.

    References
    ----------
    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 15, 2014, section 10. Box & Muller, "A Note on the Generation of Random Normal
    Deviates", Annals of Mathematical Statistics 29, 1958.

    Examples
    --------
    >>> layer = GaussianDropout(0.2, rng=0)  # standard deviation 0.5
    >>> Y = layer.forward(np.ones(8_000))
    >>> round(float(Y.mean()), 1), round(float(Y.std()), 1)
    (1.0, 0.5)
    """

    _rate_below_one = True

    def __init__(self, drop_rate: float = 0.5, *, rng: Seed = None) -> None:
        super().__init__(drop_rate, rng)

    @property
    def noise(self) -> Array | None:
        """The factors of the last training call in its dtype; None before the first."""
        if self._drawn is None:
            return None
        noise, shape, dtype = self._drawn
        ones = np.ones(shape, dtype if dtype.kind == "f" else np.float64)
        return gaussian_dropout("", "noise", ones, ones, *noise)

    def _scalars_of(self, rate):
        return (math.sqrt(rate / (1.0 - rate)),)

    def _noisy(self, where, name, X, out, noise: tuple[int, int, float], noise_shape, shape=None):
        return gaussian_dropout(where, name, X, out, *noise, shape, self._first(X))

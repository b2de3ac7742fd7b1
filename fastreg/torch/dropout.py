"""Dropout modules: masks that are drawn again instead of stored, from torch's generator."""

from __future__ import annotations

import math
import threading
from typing import Any

import torch

from fastreg._core._kernels import alpha_dropout, dropout, gaussian_dropout, spread_dropout
from fastreg.torch.tensors import applied, array, back, layout, readable, tensor, torchs_own

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "GaussianDropout"]

SATURATION = -1.7580993408473766  # of SELU, below: minus scale times alpha


def multiplied(where: Any, x: Any, noise: Any, shape: Any) -> Any:
    """What dropout's mask makes of x; the mask has one entry per channel if it has a shape."""
    if shape is None:
        return dropout(where, "input", x, None, *noise)
    key, call, threshold, scale = noise
    return spread_dropout(where, "input", x, None, key, call, threshold, scale, shape)


def shifted(where: Any, x: Any, noise: Any, shape: Any) -> Any:
    """What alpha dropout makes of x."""
    key, call, threshold, scale, kept, dropped = noise
    return alpha_dropout(where, "input", x, None, key, call, threshold, scale, kept, dropped)


def scaled(where: Any, x: Any, noise: Any, shape: Any) -> Any:
    """The gradient of ``shifted``."""
    return dropout(where, "input", x, None, *noise[:4])


def blurred(where: Any, x: Any, noise: Any, shape: Any) -> Any:
    """What Gaussian noise makes of x."""
    return gaussian_dropout(where, "input", x, None, *noise)


def run(kernel: Any, where: Any, X: Any, noise: Any, channelwise: Any, order: Any) -> Any:
    """Run a kernel over an array in an order of its axes; a tensor comes out."""
    shape = None
    if channelwise:
        shape = (*X.shape[:2], *(1 for _ in X.shape[2:]))
        shape = shape if order is None else tuple(shape[axis] for axis in order)
    if order is None:
        return tensor(kernel(where, X, noise, shape))
    return tensor(kernel(where, X.transpose(order), noise, shape).transpose(back(order)))


class Noisy(torch.autograd.Function):
    """Noise as a function of its key: forward by one kernel, backward by another."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, X: Any, kernels: Any, how: Any) -> torch.Tensor:
        """Apply the noise to x, over which X is an array."""
        ctx.work = kernels[1], how, X.shape, x.dtype
        return run(kernels[0], how[0], X, *how[1:])

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        """Draw the same noise again; differentiable, where a graph is made of it."""
        kernel, how, shape, dtype = ctx.work
        dY = readable(dy)
        if dY is None:  # a batch of gradients, say: the factors themselves
            dx = dy * run(kernel, how[0], array(torch.ones(shape, dtype=dtype)), *how[1:])
        elif torch.is_grad_enabled():
            dx = apply(dy, dY, (kernel, kernel), how)
        else:
            dx = run(kernel, how[0], dY, *how[1:])
        return dx, None, None, None


apply = applied(Noisy)
DRAWN = threading.local()


def draw() -> int:
    """A number from torch's generator."""
    try:
        place = DRAWN.place
    except AttributeError:
        with torch.inference_mode(False):  # one that may be written to in any mode
            place = DRAWN.place = torch.empty((), dtype=torch.int64, device="cpu")
    number: Any = place.random_().item()
    return number


class Drawing:
    """What dropout modules share: their noise is drawn where torch would draw it."""

    p: float
    training: bool
    inplace: bool
    _kernels: Any = (multiplied, multiplied)
    _ndim: int | None = None  # of an input with channels

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply dropout in training, as torch's module does; see :mod:`fastreg.torch`."""
        if not self.training or self.p == 0.0 and not self.inplace:
            if isinstance(input, torch.Tensor) and self._ndim in (None, input.ndim):
                return input
            return torchs_own(super().forward, self, input)  # type: ignore[misc]
        X = readable(input)
        if (
            X is None
            or self.inplace
            or not X.size
            or self._ndim not in (None, X.ndim)
            or not 0.0 <= self.p <= 1.0
        ):
            return torchs_own(super().forward, self, input)  # type: ignore[misc]
        noise = (draw(), 0, *self._scalars())
        how = (type(self).__name__, noise, self._ndim is not None, layout(X))
        if input.requires_grad and torch.is_grad_enabled():
            return apply(input, X, self._kernels, how)
        return run(self._kernels[0], how[0], X, *how[1:])

    def _scalars(self):
        keep = 1.0 - self.p
        return round(keep * 2**32), 1.0 / keep if keep else 0.0


class Dropout(Drawing, torch.nn.Dropout):
    """:class:`torch.nn.Dropout` whose mask is not stored."""


class Dropout1d(Drawing, torch.nn.Dropout1d):
    """:class:`torch.nn.Dropout1d` whose mask is not stored."""

    _ndim = 3


class Dropout2d(Drawing, torch.nn.Dropout2d):
    """:class:`torch.nn.Dropout2d` whose mask is not stored."""

    _ndim = 4


class Dropout3d(Drawing, torch.nn.Dropout3d):
    """:class:`torch.nn.Dropout3d` whose mask is not stored."""

    _ndim = 5


class AlphaDropout(Drawing, torch.nn.AlphaDropout):
    """:class:`torch.nn.AlphaDropout` whose mask is not stored."""

    _kernels = (shifted, scaled)

    def _scalars(self):
        p = self.p
        a = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * SATURATION**2)) if p < 1.0 else 0.0
        return round((1.0 - p) * 2**32), a, -a * p * SATURATION, a * (1.0 - p) * SATURATION


class PlainGaussianDropout(torch.nn.modules.dropout._DropoutNd):
    """Gaussian dropout by torch's own operations; torch has no such module."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(p, inplace)
        self._spread()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by noise of mean 1 in training."""
        if not self.training:
            return input
        noise = 1.0 + self._spread() * torch.randn_like(input)
        return input.mul_(noise) if self.inplace else input * noise

    def _spread(self):
        if not 0.0 <= self.p < 1.0:
            raise ValueError(
                f"dropout probability has to be from 0 to below 1 for Gaussian noise, got {self.p}"
            )
        return math.sqrt(self.p / (1.0 - self.p))


class GaussianDropout(Drawing, PlainGaussianDropout):
    """Multiply by normal noise of mean 1 and variance p / (1 - p) in training.

    References
    ----------
    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 15, 2014, section 10.
    """

    _kernels = (blurred, blurred)

    def _scalars(self):
        return (self._spread(),)

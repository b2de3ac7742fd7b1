"""Norm modules: statistics and gradients by fastreg's kernels, parameters and state torch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from fastreg._core._kernels import (
    batch_backward,
    batch_normalize,
    batch_statistics,
    follow,
    kept_statistics,
    row_backward,
    row_normalize,
    wide_row,
)
from fastreg.torch.tensors import (
    applied,
    array,
    back,
    fitting,
    layout,
    readable,
    tensor,
    torchs_own,
)

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]


def numbers_of(module: Any) -> Any:
    """A module's weight and bias, past the slow look-up of modules where they are its own."""
    own = module._parameters
    try:
        return own["weight"], own["bias"]
    except KeyError:  # it is computed from others
        return module.weight, module.bias


def slopes_for(weight: Any, bias: Any, shape: Any, dtype: Any) -> Any:
    """Arrays for the gradients of weight and bias, and what a kernel writes, weight's first."""
    if weight is None:
        slopes = [] if bias is None else [np.empty(shape, dtype)]
        return slopes, [np.empty(shape, dtype), slopes[0]] if slopes else []
    slopes = [np.empty(shape, dtype)]
    if bias is not None:
        slopes.append(np.empty(shape, dtype))
    return slopes, slopes


def slopes_of(slopes: Any, weight: Any, bias: Any) -> Any:
    """The two gradients as tensors, None where there is none."""
    if weight is not None and bias is not None:
        return tensor(slopes[0]), tensor(slopes[1])
    left = [tensor(s) for s in slopes]
    return tuple(left.pop(0) if p is not None else None for p in (weight, bias))


class Normed(torch.autograd.Function):
    """A norm: forward and backward by kernels, twice differentiable by torch's own formula."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Any, bias: Any, norm: Any, arrays: Any) -> Any:
        """Normalise x, scale and shift it; the arrays are over the three tensors."""
        ctx.save_for_backward(x, weight)
        ctx.norm, ctx.bias = norm, bias  # no gradient depends on the bias: it may change
        return norm.forward(*arrays)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        """The gradients with respect to x, weight and bias."""
        (x, weight), bias = ctx.saved_tensors, ctx.bias
        graph = torch.is_grad_enabled()
        dY = None if graph else readable(dy)
        if dY is None:  # a graph is wanted, or dy is a batch of gradients
            wanted = [t for t in (x, weight, bias) if t is not None and t.requires_grad]
            with torch.enable_grad():
                y = ctx.norm.torchs(x, weight, bias)
                found = list(torch.autograd.grad(y, wanted, dy, create_graph=graph))
            every = [
                found.pop(0) if t is not None and t.requires_grad else None
                for t in (x, weight, bias)
            ]
            return (*every, None, None)
        return (*ctx.norm.backward(dY, array(x), weight, bias), None, None)


apply = applied(Normed)


class ByBatch:
    """Batch norm of one call: by running statistics, or by the batch's, which move running ones.

    ``moved``: the arrays of mean and variance, and how far these go towards the batch's.
    """

    def __init__(self, epsilon: Any, running: Any = None, moved: Any = None) -> None:
        self.epsilon: float = epsilon
        self.running: Any = running
        self.moved: Any = moved
        self.order: Any = None
        self.statistics: Any = None
        self.gamma: Any = None

    def forward(self, X: Any, gamma: Any, beta: Any) -> Any:
        """Y as a tensor."""
        order: Any = layout(X)
        self.order = order
        n, last = X.shape[1], order is not None
        X = np.ascontiguousarray(X.transpose(order) if last else X)
        if self.running is None:
            self.statistics = batch_statistics(X, self.epsilon, last)
        else:
            mean, var = self.running
            self.statistics = kept_statistics(mean, var, self.epsilon)
        if self.moved is not None:  # here, as checkpointing may end its second run behind this
            mean, var, factor = self.moved
            count = X.size // n
            follow(mean, self.statistics, 0, factor, 1.0)
            follow(var, self.statistics, 1, factor, count / (count - 1))
        gamma, beta = wide_row(gamma, n, 1.0), wide_row(beta, n, 0.0)
        self.gamma = gamma
        Y = batch_normalize("forward", X, None, False, self.statistics, gamma, beta, last)
        return tensor(Y.transpose(back(order)) if last else Y)

    def backward(self, dY: Any, X: Any, weight: Any, bias: Any) -> Any:
        """The gradients with respect to x, weight and bias."""
        order, last = self.order, self.order is not None
        slopes, pair = slopes_for(weight, bias, (X.shape[1],), X.dtype)
        dX = batch_backward(
            "backward",
            dY.transpose(order) if last else dY,
            None,
            np.ascontiguousarray(X.transpose(order) if last else X),
            self.running is None,
            self.statistics,
            self.gamma,
            last,
            pair,
        )
        dx = tensor(dX.transpose(back(order)) if last else dX)
        return (dx, *slopes_of(slopes, weight, bias))

    def torchs(self, x: Any, weight: Any, bias: Any) -> Any:
        """The same by torch's own function."""
        mean = var = None
        if self.running is not None:  # which may have moved since
            mean, var = (tensor(row).to(x.dtype) for row in self.statistics[:2])
        return torch.nn.functional.batch_norm(
            x, mean, var, weight, bias, mean is None, 0.0, self.epsilon
        )


class ByRow:
    """A norm of rows. ``cut``: how many rows, rows of a sample, channels of a row."""

    def __init__(self, cut: Any, shape: Any, epsilon: Any, centred: Any, torchs: Any) -> None:
        self.cut: tuple[int, int, int] = cut
        self.shape: tuple[int, ...] = shape
        self.epsilon: float = epsilon
        self.centred: bool = centred
        self.statistics: Any = None
        self.gamma: Any = None
        self._torchs = torchs

    def forward(self, X: Any, gamma: Any, beta: Any) -> Any:
        """Y as a tensor."""
        X = np.ascontiguousarray(X)
        gamma = self.gamma = self._numbers(gamma, 1.0, X)
        Y, self.statistics = row_normalize(
            "forward", X, None, False, self.cut, gamma, self._numbers(beta, 0.0, X), self.epsilon,
            self.centred,
        )  # fmt: skip
        return tensor(Y)

    def backward(self, dY: Any, X: Any, weight: Any, bias: Any) -> Any:
        """The gradients with respect to x, weight and bias."""
        X = np.ascontiguousarray(X)
        slopes, pair = slopes_for(weight, bias, self.shape, X.dtype)
        dX = row_backward(
            "backward", dY, None, X, self.cut, self.statistics, self.gamma, self.centred, pair
        )
        return (tensor(dX), *slopes_of(slopes, weight, bias))

    def torchs(self, x: Any, weight: Any, bias: Any) -> Any:
        """The same by torch's own function."""
        return self._torchs(x, weight, bias, self.epsilon)

    def _numbers(self, P, default, X):
        """A parameter's array, or its neutral value where there is none."""
        return np.full(self.shape, default, X.dtype) if P is None else np.ascontiguousarray(P)


def normed(norm: Any, x: Any, weight: Any, bias: Any, arrays: Any) -> Any:
    """Run a norm, in a graph where one is wanted."""
    if torch.is_grad_enabled() and (
        x.requires_grad
        or (weight is not None and weight.requires_grad)
        or (bias is not None and bias.requires_grad)
    ):
        return apply(x, weight, bias, norm, arrays)
    return norm.forward(*arrays)


class Batch:
    """What the batch norms share."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        module: Any = self
        weight, bias = numbers_of(module)
        mean: Any = module._buffers["running_mean"]
        var: Any = module._buffers["running_var"]
        by_batch = module.training or (mean is None and var is None)
        n = module.num_features
        arrays = fitting(input, (n,), weight, bias, mean, var)
        X = None if arrays is None or (mean is None) != (var is None) else arrays[0]
        if arrays is None or X is None or X.ndim < 2 or X.shape[1] != n or X.size <= n:
            return torchs_own(super().forward, self, input)  # type: ignore[misc]
        module._check_input_dim(input)
        *arrays, M, V = arrays
        moved = None
        if module.training and module.track_running_stats:
            factor = module.momentum
            batches = module._buffers["num_batches_tracked"]
            if batches is not None:
                batches.add_(1)
                if factor is None:
                    factor = 1.0 / batches.item()
            if M is not None:
                moved = M, V, factor or 0.0
        norm = ByBatch(module.eps, None if by_batch else (M, V), moved)
        return normed(norm, input, weight, bias, arrays)


class BatchNorm1d(Batch, torch.nn.BatchNorm1d):
    """:class:`torch.nn.BatchNorm1d` by fastreg's kernels."""


class BatchNorm2d(Batch, torch.nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` by fastreg's kernels."""


class BatchNorm3d(Batch, torch.nn.BatchNorm3d):
    """:class:`torch.nn.BatchNorm3d` by fastreg's kernels."""


class LayerNorm(torch.nn.LayerNorm):
    """:class:`torch.nn.LayerNorm` by fastreg's kernels."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        shape = self.normalized_shape
        weight, bias = numbers_of(self)
        arrays = fitting(input, shape, weight, bias)
        cut = None if arrays is None else rows_of(arrays[0].shape, shape)
        if cut is None:
            return torchs_own(super().forward, self, input)
        norm = ByRow(cut, shape, self.eps, True, layer_norm(shape))
        return normed(norm, input, weight, bias, arrays)


class RMSNorm(torch.nn.RMSNorm):
    """:class:`torch.nn.RMSNorm` by fastreg's kernels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        shape = self.normalized_shape
        try:  # as in numbers_of
            weight: Any = self._parameters["weight"]
        except KeyError:
            weight = self.weight
        arrays = fitting(x, shape, weight, None)
        cut = None if arrays is None else rows_of(arrays[0].shape, shape)
        if cut is None:
            return torchs_own(super().forward, self, x)
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        norm = ByRow(cut, shape, eps, False, rms_norm(shape))
        return normed(norm, x, weight, None, arrays)


class GroupNorm(torch.nn.GroupNorm):
    """:class:`torch.nn.GroupNorm` by fastreg's kernels."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        n, groups = self.num_channels, self.num_groups
        weight, bias = numbers_of(self)
        arrays = fitting(input, (n,), weight, bias)
        X = None if arrays is None else arrays[0]
        if (
            X is None
            or X.ndim < 2
            or X.shape[1] != n
            or X.size <= X.shape[0] * groups
            or not X.flags.c_contiguous
        ):
            return torchs_own(super().forward, self, input)
        cut = (X.shape[0] * groups, groups, n // groups)
        norm = ByRow(cut, (n,), self.eps, True, group_norm(groups))
        return normed(norm, input, weight, bias, arrays)


class Instance:
    """What the instance norms share."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        return torchs_own(super().forward, self, input)  # type: ignore[misc]

    def _apply_instance_norm(self, input: torch.Tensor) -> torch.Tensor:
        module: Any = self
        n = module.num_features
        weight, bias = numbers_of(module)
        arrays = fitting(input, (n,), weight, bias)
        X = None if arrays is None else arrays[0]
        if (
            X is None
            or module.running_mean is not None
            or X.shape[1] != n
            or X.size <= X.shape[0] * n
            or not X.flags.c_contiguous
        ):
            return super()._apply_instance_norm(input)  # type: ignore[misc]
        norm = ByRow((X.shape[0] * n, n, 1), (n,), module.eps, True, instance_norm)
        return normed(norm, input, weight, bias, arrays)


class InstanceNorm1d(Instance, torch.nn.InstanceNorm1d):
    """:class:`torch.nn.InstanceNorm1d` by fastreg's kernels."""


class InstanceNorm2d(Instance, torch.nn.InstanceNorm2d):
    """:class:`torch.nn.InstanceNorm2d` by fastreg's kernels."""


class InstanceNorm3d(Instance, torch.nn.InstanceNorm3d):
    """:class:`torch.nn.InstanceNorm3d` by fastreg's kernels."""


def rows_of(shape: Any, row: Any) -> Any:
    """A shape cut into rows of another; None if it is empty or does not end in that."""
    n = len(shape) - len(row)
    if n < 0 or shape[n:] != row or 0 in shape:
        return None
    return math.prod(shape[:n]), 1, math.prod(row)


def layer_norm(shape: Any) -> Any:
    """The formula of torch for rows of this shape."""
    return lambda x, weight, bias, eps: torch.nn.functional.layer_norm(x, shape, weight, bias, eps)


def rms_norm(shape: Any) -> Any:
    """The formula of torch for rows of this shape."""
    return lambda x, weight, bias, eps: torch.nn.functional.rms_norm(x, shape, weight, eps)


def group_norm(groups: Any) -> Any:
    """The formula of torch for a number of groups."""
    return lambda x, weight, bias, eps: torch.nn.functional.group_norm(x, groups, weight, bias, eps)


def instance_norm(x: Any, weight: Any, bias: Any, eps: Any) -> Any:
    """The formula of torch."""
    return torch.nn.functional.instance_norm(x, weight=weight, bias=bias, eps=eps)

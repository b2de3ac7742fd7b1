"""Norm modules: statistics and gradients by fastreg's kernels, parameters and state torch's."""

from __future__ import annotations

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
from fastreg.torch.tensors import array, back, fits, layout, readable, tensor

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


def contiguous(x: Any) -> Any:
    """The array of a tensor's numbers side by side."""
    return np.ascontiguousarray(array(x))


def wants_graph(*tensors: Any) -> Any:
    """Whether somebody will want gradients."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def numbers_of(module: Any) -> Any:
    """A module's weight and bias, past the slow look-up of modules where they are its own."""
    own = module._parameters
    try:
        return own["weight"], own["bias"]
    except KeyError:  # it is computed from others
        return module.weight, module.bias


def slopes_for(weight: Any, bias: Any, like: Any) -> Any:
    """Arrays for the gradients of weight and bias, and what a kernel writes, weight's first."""
    slopes = [np.empty(p.shape, like.dtype) for p in (weight, bias) if p is not None]
    if weight is None and bias is not None:
        return slopes, [np.empty_like(slopes[0]), slopes[0]]
    return slopes, slopes


def slopes_of(slopes: Any, weight: Any, bias: Any) -> Any:
    """The two gradients as tensors, None where there is none."""
    left = [tensor(s) for s in slopes]
    return tuple(left.pop(0) if p is not None else None for p in (weight, bias))


class Normed(torch.autograd.Function):
    """A norm: forward and backward by kernels, twice differentiable by torch's own formula."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Any, bias: Any, norm: Any) -> torch.Tensor:
        """Normalise x, scale and shift it."""
        y, ctx.kept = norm.forward(x, weight, bias)
        ctx.save_for_backward(x, weight, bias)
        ctx.norm = norm
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        """The gradients with respect to x, weight and bias."""
        x, weight, bias = ctx.saved_tensors
        graph = torch.is_grad_enabled()
        if graph or not readable(dy):  # a graph is wanted, or dy is a batch of gradients
            wanted = [t for t in (x, weight, bias) if t is not None and t.requires_grad]
            with torch.enable_grad():
                y = ctx.norm.torchs(x, weight, bias)
                found = list(torch.autograd.grad(y, wanted, dy, create_graph=graph))
            every = [
                found.pop(0) if t is not None and t.requires_grad else None
                for t in (x, weight, bias)
            ]
            return (*every, None)
        return (*ctx.norm.backward(dy, x, weight, bias, ctx.kept), None)


class ByBatch:
    """Batch norm of one call: by the batch's statistics, or by running ones."""

    def __init__(self, epsilon: Any, running: Any = None) -> None:
        self.epsilon: float = epsilon
        self.running: Any = running
        self.order: Any = None
        self.statistics: Any = None

    def forward(self, x: Any, weight: Any, bias: Any) -> Any:
        """Y, and what backward needs beside the inputs."""
        order = self.order = layout(x)
        X = contiguous(x if order is None else x.permute(order))
        last = order is not None
        if self.running is None:
            statistics = batch_statistics(X, self.epsilon, last)
        else:
            mean, var = self.running
            statistics = kept_statistics(array(mean), array(var), self.epsilon)
        n = x.shape[1]
        gamma = wide_row(None if weight is None else array(weight), n, 1.0)
        beta = wide_row(None if bias is None else array(bias), n, 0.0)
        Y = tensor(batch_normalize("forward", X, None, False, statistics, gamma, beta, last))
        self.statistics = statistics
        return Y if order is None else Y.permute(back(order)), (statistics, gamma)

    def backward(self, dy: Any, x: Any, weight: Any, bias: Any, kept: Any) -> Any:
        """The gradients with respect to x, weight and bias."""
        statistics, gamma = kept
        order = self.order
        X = contiguous(x if order is None else x.permute(order))
        slopes, pair = slopes_for(weight, bias, X)
        dX = batch_backward(
            "backward",
            array(dy if order is None else dy.permute(order)),
            None,
            X,
            self.running is None,
            statistics,
            gamma,
            order is not None,
            pair,
        )
        dx = tensor(dX) if order is None else tensor(dX).permute(back(order))
        return (dx, *slopes_of(slopes, weight, bias))

    def torchs(self, x: Any, weight: Any, bias: Any) -> Any:
        """The same by torch's own function."""
        mean, var = self.running or (None, None)
        by_batch = self.running is None
        return torch.nn.functional.batch_norm(
            x, mean, var, weight, bias, by_batch, 0.0, self.epsilon
        )


class ByRow:
    """A norm of rows. ``cut``: how many rows, rows of a sample, channels of a row."""

    def __init__(self, cut: Any, shape: Any, epsilon: Any, centred: Any, torchs: Any) -> None:
        self.cut: tuple[int, int, int] = cut
        self.shape: tuple[int, ...] = shape
        self.epsilon: float = epsilon
        self.centred: bool = centred
        self._torchs = torchs

    def numbers(self, p: Any, default: Any, X: Any) -> Any:
        """A parameter's array, or its neutral value where there is none."""
        if p is None:
            return np.full(self.shape, default, X.dtype)
        return contiguous(p)

    def forward(self, x: Any, weight: Any, bias: Any) -> Any:
        """Y, and what backward needs beside the inputs."""
        X = contiguous(x)
        gamma, beta = self.numbers(weight, 1.0, X), self.numbers(bias, 0.0, X)
        Y, statistics = row_normalize(
            "forward", X, None, False, self.cut, gamma, beta, self.epsilon, self.centred
        )
        return tensor(Y), (statistics, gamma)

    def backward(self, dy: Any, x: Any, weight: Any, bias: Any, kept: Any) -> Any:
        """The gradients with respect to x, weight and bias."""
        statistics, gamma = kept
        X = contiguous(x)
        slopes, pair = slopes_for(weight, bias, X)
        dX = row_backward(
            "backward", array(dy), None, X, self.cut, statistics, gamma, self.centred, pair
        )
        return (tensor(dX), *slopes_of(slopes, weight, bias))

    def torchs(self, x: Any, weight: Any, bias: Any) -> Any:
        """The same by torch's own function."""
        return self._torchs(x, weight, bias, self.epsilon)


def normed(norm: Any, x: Any, weight: Any, bias: Any) -> Any:
    """Run a norm, in a graph where one is wanted."""
    if wants_graph(x, weight, bias):
        return Normed.apply(x, weight, bias, norm)
    return norm.forward(x, weight, bias)[0]


class Batch:
    """What the batch norms share."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        module: Any = self
        weight, bias = numbers_of(module)
        mean: Any = module._buffers["running_mean"]
        var: Any = module._buffers["running_var"]
        by_batch = module.training or (mean is None and var is None)
        n = input.shape[1] if input.ndim > 1 else 0
        if (
            n != module.num_features
            or (mean is None) != (var is None)
            or input.numel() <= n
            or not fits(input, (n,), weight, bias, mean, var)
        ):
            return super().forward(input)  # type: ignore[misc]
        module._check_input_dim(input)
        if not by_batch:
            return normed(ByBatch(module.eps, (mean, var)), input, weight, bias)
        norm = ByBatch(module.eps)
        result = normed(norm, input, weight, bias)
        if module.training and module.track_running_stats:
            factor = module.momentum
            batches = module._buffers["num_batches_tracked"]
            if batches is not None:
                batches.add_(1)
                if factor is None:
                    factor = 1.0 / batches.item()
            if mean is not None and var is not None:
                count = input.numel() // n
                follow(array(mean), norm.statistics, 0, factor or 0.0, 1.0)
                follow(array(var), norm.statistics, 1, factor or 0.0, count / (count - 1))
        return result


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
        if not ends_in(input, shape) or not fits(input, shape, weight, bias):
            return super().forward(input)
        norm = ByRow(rows_of(input, shape), shape, self.eps, True, layer_norm(shape))
        return normed(norm, input, weight, bias)


class RMSNorm(torch.nn.RMSNorm):
    """:class:`torch.nn.RMSNorm` by fastreg's kernels."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        shape = self.normalized_shape
        if not ends_in(input, shape) or not fits(input, shape, self.weight):
            return super().forward(input)
        eps = torch.finfo(input.dtype).eps if self.eps is None else self.eps
        norm = ByRow(rows_of(input, shape), shape, eps, False, rms_norm(shape))
        return normed(norm, input, self.weight, None)


class GroupNorm(torch.nn.GroupNorm):
    """:class:`torch.nn.GroupNorm` by fastreg's kernels."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, as torch's module does; see :mod:`fastreg.torch`."""
        n, groups = self.num_channels, self.num_groups
        if (
            input.ndim < 2
            or input.shape[1] != n
            or input.numel() <= input.shape[0] * groups
            or not input.is_contiguous()
            or not fits(input, (n,), self.weight, self.bias)
        ):
            return super().forward(input)
        cut = (input.shape[0] * groups, groups, n // groups)
        norm = ByRow(cut, (n,), self.eps, True, group_norm(groups))
        return normed(norm, input, self.weight, self.bias)


class Instance:
    """What the instance norms share."""

    def _apply_instance_norm(self, input: torch.Tensor) -> torch.Tensor:
        module: Any = self
        n = input.shape[1]
        if (
            module.running_mean is not None
            or n != module.num_features
            or input.numel() <= input.shape[0] * n
            or not input.is_contiguous()
            or not fits(input, (n,), module.weight, module.bias)
        ):
            return super()._apply_instance_norm(input)  # type: ignore[misc]
        norm = ByRow((input.shape[0] * n, n, 1), (n,), module.eps, True, instance_norm)
        return normed(norm, input, module.weight, module.bias)


class InstanceNorm1d(Instance, torch.nn.InstanceNorm1d):
    """:class:`torch.nn.InstanceNorm1d` by fastreg's kernels."""


class InstanceNorm2d(Instance, torch.nn.InstanceNorm2d):
    """:class:`torch.nn.InstanceNorm2d` by fastreg's kernels."""


class InstanceNorm3d(Instance, torch.nn.InstanceNorm3d):
    """:class:`torch.nn.InstanceNorm3d` by fastreg's kernels."""


def ends_in(x: Any, shape: Any) -> Any:
    """Whether the last axes of a tensor that is not empty are these."""
    return x.numel() > 0 and x.ndim >= len(shape) and tuple(x.shape[x.ndim - len(shape) :]) == shape


def rows_of(x: Any, shape: Any) -> Any:
    """A tensor cut into rows of this shape."""
    size = 1
    for length in shape:
        size *= length
    return x.numel() // size, 1, size


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

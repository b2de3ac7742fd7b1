"""Tensors as arrays and back, and when a module must leave the work to torch."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from fastreg._core._kernels import tensor_view

__all__ = ["array", "back", "fits", "layout", "readable", "tensor"]

PLAIN = (torch.Tensor, torch.nn.Parameter)
TABLE = torch.Tensor.__dlpack_c_exchange_api__  # type: ignore[attr-defined]
FLOATS = (torch.float32, torch.float64)
STRIDED = torch.strided
MOST_AXES = 32  # that an array over a tensor may have

tensor = torch.from_numpy  # the memory is the pool's, and returns to it with the tensor


def array(x: torch.Tensor) -> Any:
    """The array over a tensor's memory."""
    return tensor_view(TABLE, x)


def direct() -> bool:
    """Whether code runs as it stands: it is not compiled, traced, transformed or watched."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack()
        or forward_ad._current_level >= 0
    )


def fits(x: torch.Tensor, shape: tuple[int, ...] = (), *more: torch.Tensor | None) -> bool:
    """Whether a kernel can read a layer's input, and its parameters, all of this shape."""
    if not direct() or type(x) not in PLAIN or x.dtype not in FLOATS or not plain(x):
        return False
    for p in more:
        if p is None:
            continue
        if type(p) not in PLAIN or p.dtype != x.dtype or p.shape != shape or not plain(p):
            return False
    return True


def readable(dy: torch.Tensor) -> bool:
    """Whether a kernel can read a gradient, which may be a batch of gradients in disguise."""
    return direct() and type(dy) in PLAIN and not dy.is_neg() and array(dy) is not None


def plain(x: torch.Tensor) -> bool:
    """Whether a tensor's numbers lie in the host's memory, as they are."""
    return x.is_cpu and x.layout is STRIDED and x.ndim <= MOST_AXES and not x.is_neg()


def layout(x: torch.Tensor) -> tuple[int, ...] | None:
    """The order of axes that makes a channels-last tensor contiguous; None for any other."""
    if x.ndim in (4, 5) and not x.is_contiguous():
        order = (0, *range(2, x.ndim), 1)
        if x.permute(order).is_contiguous():
            return order
    return None


def back(order: tuple[int, ...]) -> tuple[int, ...]:
    """The order of axes that undoes another."""
    return tuple(order.index(axis) for axis in range(len(order)))

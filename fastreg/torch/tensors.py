"""Tensors as arrays and back, and when a module must leave the work to torch."""

from __future__ import annotations

from typing import Any

import torch
import torch.fx
from torch.autograd import forward_ad

from fastreg._core._kernels import tensor_view

__all__ = [
    "applied",
    "array",
    "back",
    "direct",
    "fitting",
    "layout",
    "readable",
    "tensor",
    "torchs_own",
]

PLAIN = (torch.Tensor, torch.nn.Parameter)
TABLE = torch.Tensor.__dlpack_c_exchange_api__  # type: ignore[attr-defined]

tensor = torch.from_numpy  # the memory is the pool's, and returns to it with the tensor


def array(x: torch.Tensor) -> Any:
    """The array over a tensor's memory; None if a kernel cannot read it."""
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


def readable(x: torch.Tensor) -> Any:
    """The array over a tensor, where code runs as it stands; None if a kernel cannot read it."""
    if type(x) in PLAIN and direct() and not x.is_neg():
        return tensor_view(TABLE, x)
    return None


def fitting(x: torch.Tensor, shape: tuple[int, ...], *more: torch.Tensor | None) -> Any:
    """The arrays over a layer's input and its parameters, all of this shape; None without one."""
    X = readable(x)
    if X is None:
        return None
    arrays, dtype = [X], X.dtype
    for p in more:
        P: Any = p
        if p is not None:
            P = tensor_view(TABLE, p) if type(p) in PLAIN and not p.is_neg() else None
            if P is None or P.shape != shape or P.dtype != dtype:
                return None
        arrays.append(P)
    return arrays


def applied(function: type[torch.autograd.Function]) -> Any:
    """A function's ``apply`` without torch's care for transforms, which ``direct`` excludes."""
    return super(torch.autograd.Function, function).apply  # type: ignore[misc]


def torchs_own(forward: Any, module: Any, x: Any) -> Any:
    """What torch's forward does; ``torch.fx`` gets a node, as it does of torch's own modules."""
    if isinstance(x, torch.fx.Proxy) and isinstance(x.tracer, torch.fx.Tracer):
        path = x.tracer.path_of_module(module)
        return x.tracer.create_proxy("call_module", path, (x,), {})
    return forward(x)


def layout(X: Any) -> tuple[int, ...] | None:
    """The order of axes that makes a channels-last array contiguous; None for any other."""
    if X.flags.c_contiguous or X.ndim not in (4, 5):
        return None
    order = (0, *range(2, X.ndim), 1)
    return order if X.transpose(order).flags.c_contiguous else None


def back(order: tuple[int, ...]) -> tuple[int, ...]:
    """The order of axes that undoes another."""
    return tuple(order.index(axis) for axis in range(len(order)))

"""What an optimizer's parameters, gradients and state must be, and what is said of others."""

from __future__ import annotations

from typing import Any

import torch

from fastreg._core import checks

__all__ = [
    "HALVES",
    "checked_entry",
    "checked_parameter",
    "fresh_entries",
    "laid_out",
    "restored",
    "state_type",
]

DISPATCH: Any = getattr(torch.Tensor, "__torch_dispatch__")  # noqa: B009
FLOATS = (torch.float32, torch.float64)
HALVES = (torch.bfloat16, torch.float16)


def state_type(p: torch.Tensor) -> torch.dtype:
    """The type of a parameter's state: floats for one of 16 bits."""
    return torch.float32 if p.dtype in HALVES else p.dtype


def is_compact(p: torch.Tensor) -> bool:
    """Whether a tensor is contiguous in some order of its axes."""
    if p.is_contiguous():
        return True
    order = sorted(range(p.ndim), key=p.stride().__getitem__, reverse=True)
    return p.permute(order).is_contiguous()


def checked_parameter(name: str, p: Any, where: str) -> None:
    """Check that a kernel can step a parameter."""
    if not isinstance(p, torch.Tensor):
        got = checks.shown(p)
    elif getattr(type(p), "__torch_dispatch__", None) is not DISPATCH:
        got = f"a {type(p).__name__}"
    elif p.layout != torch.strided:
        got = str(p.layout)
    elif p.device.type != "cpu":
        got = f"one on {p.device}"
    elif p.dtype not in FLOATS + HALVES:
        got = str(p.dtype)
    elif p.is_neg():
        got = "one that is negated where it is read"
    elif not is_compact(p):
        got = f"strides {p.stride()} for shape {tuple(p.shape)}"
    else:
        return
    raise TypeError(
        f"{name}: {where} must be a contiguous float tensor of 16, 32 or 64 bits on the CPU, got "
        f"{got}; use torch.optim.{name} for such parameters"
    )


def laid_out(name: str, where: str, grad: Any, param: torch.Tensor) -> torch.Tensor:
    """A copy of a gradient in its parameter's layout."""
    if grad.layout != torch.strided:
        raise TypeError(
            f"{name}.step: the gradient of {where} must be dense, got {grad.layout}; use "
            f"torch.optim.{name}, or sparse=False in the embedding"
        )
    if grad.dtype != param.dtype or grad.device != param.device:
        raise TypeError(
            f"{name}.step: the gradient of {where} must be {param.dtype} on {param.device}, "
            f"got {grad.dtype} on {grad.device}"
        )
    if grad.shape != param.shape:  # the parameter's data have been replaced
        raise ValueError(
            f"{name}.step: the gradient of {where} must have its parameter's shape "
            f"{tuple(param.shape)}, got {tuple(grad.shape)}; compute the gradients anew"
        )
    with torch.no_grad():
        return torch.empty_like(param).copy_(grad)


def is_count(value: Any) -> bool:
    """Whether an entry is a tensor that can count."""
    return (
        isinstance(value, torch.Tensor)
        and value.dtype in FLOATS
        and value.numel() == 1
        and value.device.type == "cpu"
    )


def checked_entry(
    where: str, p: torch.Tensor, state: Any, numbers: Any, keys: Any, late: Any
) -> None:
    """Check the state of a parameter. ``late`` are the keys that a setting may add later."""
    if not isinstance(state, dict):
        raise TypeError(f"{where} must be a dict, got {checks.shown(state)}")
    if not state:
        return
    for key in (*numbers, *keys):
        value = state.get(key)
        if value is None:
            if key in late:
                continue
            raise ValueError(
                f"{where} must have the entries {(*numbers, *keys)}, got no {key!r}; load a "
                "complete state_dict, or make a new optimizer"
            )
        if key in numbers:
            checked_number(where, key, value)
        elif not isinstance(value, torch.Tensor):
            raise TypeError(f"{where}: {key!r} must be a tensor, got {checks.shown(value)}")
        elif (value.shape, value.device, value.dtype) != (p.shape, p.device, state_type(p)):
            raise ValueError(
                f"{where}: {key!r} must have its parameter's shape {tuple(p.shape)} and "
                f"{state_type(p)} on {p.device}, got {tuple(value.shape)} and {value.dtype} on "
                f"{value.device}; load a state_dict after converting the model, or make a new "
                "optimizer"
            )
        elif value.layout != torch.strided:
            raise TypeError(f"{where}: {key!r} must be dense, got {value.layout}")


def checked_number(where, key, value):
    """Check a number that is carried from step to step; a count is a whole number."""
    wanted = "a whole number from 0" if key == "step" else "a number"
    got = checks.shown(value)
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex() or value.is_meta or value.dtype == torch.bool:
            raise TypeError(f"{where}: {key!r} must be {wanted}, got {got}")
        value = value.item()
    elif not checks.is_number(value):
        raise TypeError(f"{where}: {key!r} must be {wanted}, got {got}")
    if key == "step" and not (0 <= value <= 2**53 and float(value).is_integer()):
        raise ValueError(f"{where}: {key!r} must be {wanted}, got {got}")


def fresh_entries(p: torch.Tensor, state: Any, numbers: Any, keys: Any) -> dict[str, torch.Tensor]:
    """What a parameter's state lacks; what has another layout is laid out anew."""
    fresh = {}
    double = torch.get_default_dtype() == torch.float64
    for key, first in numbers.items():
        known = state.get(key, first)
        if not is_count(known):
            known = torch.tensor(float(known), dtype=torch.float64 if double else torch.float32)
            if key in state:
                state[key] = known
            else:
                fresh[key] = known
    for key in keys:
        known = state.get(key)
        if known is None:
            fresh[key] = torch.zeros_like(p, dtype=state_type(p)).detach()
            if key in ("ema", "master"):
                fresh[key].copy_(p)
        elif known.stride() != p.stride():
            state[key] = torch.empty_like(p, dtype=state_type(p)).copy_(known)
    return fresh


def restored(state: Any, groups: Any, saved: Any) -> None:
    """Give parameters of 16 bits the state that was saved, in floats.

    torch's ``load_state_dict`` has rounded it to the parameters' type.
    """
    theirs = [i for group in saved["param_groups"] for i in group["params"]]
    ours = [p for group in groups for p in group["params"]]
    for p, i in zip(ours, theirs, strict=True):
        if p.dtype in HALVES and isinstance(saved["state"].get(i), dict) and p in state:
            for key, value in saved["state"][i].items():
                if key != "step" and isinstance(value, torch.Tensor):
                    state[p][key] = value.to(device=p.device, dtype=torch.float32, copy=True)

"""The optimizers: a torch class each, and how its state is called."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastreg.torch.optimizer import Fused

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "RAdam",
    "RMSprop",
]


class SGD(Fused, torch.optim.SGD):
    """:class:`torch.optim.SGD`, fused."""

    _counts = False

    def _rule(self, group):
        if not group["momentum"]:
            return "sgd"
        return "nesterov" if group["nesterov"] else "momentum"

    def _keys(self, rule):
        return () if rule == "sgd" else ("momentum_buffer",)


class Adagrad(Fused, torch.optim.Adagrad):
    """:class:`torch.optim.Adagrad`, fused."""

    def _rule(self, group):
        return "adagrad"

    def _keys(self, rule):
        return ("sum",)


class RMSprop(Fused, torch.optim.RMSprop):
    """:class:`torch.optim.RMSprop`, fused."""

    def _rule(self, group):
        centered, momentum = group["centered"], bool(group["momentum"] > 0)
        return "rmsprop" + "_centered" * bool(centered) + "_momentum" * momentum

    def _keys(self, rule):
        centered, momentum = "_centered" in rule, "_momentum" in rule
        return ("square_avg",) + ("grad_avg",) * centered + ("momentum_buffer",) * momentum


class Adam(Fused, torch.optim.Adam):
    """:class:`torch.optim.Adam`, fused."""

    def _rule(self, group):
        return "amsgrad" if group["amsgrad"] else "adam"

    def _keys(self, rule):
        return ("exp_avg", "exp_avg_sq") + ("max_exp_avg_sq",) * (rule == "amsgrad")


class AdamW(Fused, torch.optim.AdamW):
    """:class:`torch.optim.AdamW`, fused."""

    _rule = Adam._rule
    _keys = Adam._keys


class NAdam(Fused, torch.optim.NAdam):
    """:class:`torch.optim.NAdam`, fused."""

    _memory = "mu_product"

    def _rule(self, group):
        return "nadam"

    def _keys(self, rule):
        return ("exp_avg", "exp_avg_sq")


class RAdam(Fused, torch.optim.RAdam):
    """:class:`torch.optim.RAdam`, fused."""

    def _rule(self, group):
        return "radam"

    def _keys(self, rule):
        return ("exp_avg", "exp_avg_sq")


class Adamax(Fused, torch.optim.Adamax):
    """:class:`torch.optim.Adamax`, fused."""

    def _rule(self, group):
        return "adamax"

    def _keys(self, rule):
        return ("exp_avg", "exp_inf")


class Adadelta(Fused, torch.optim.Adadelta):
    """:class:`torch.optim.Adadelta`, fused."""

    def _rule(self, group):
        return "adadelta"

    def _keys(self, rule):
        return ("square_avg", "acc_delta")


def is_within(value: Any, below: float = math.inf) -> bool:
    """Whether a value is a number from 0 to below another."""
    try:
        return 0.0 <= float(value) < below
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        return False


class PlainLion(torch.optim.Optimizer):
    """The arguments of Lion, which torch does not have."""

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, torch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not is_within(lr):
            raise ValueError(f"Invalid learning rate: {lr}")
        for k, beta in enumerate(betas):
            if not is_within(beta, 1.0):
                raise ValueError(f"Invalid beta parameter at index {k}: {beta}")
        if not is_within(weight_decay):
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        defaults = dict(lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize)
        super().__init__(params, defaults)


class Lion(Fused, PlainLion):
    """Lion, with decoupled decay; torch has no class of this name.

    References
    ----------
    Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.
    """

    _counts = False

    def _rule(self, group):
        return "lion"

    def _keys(self, rule):
        return ("exp_avg",)

    def _is_coupled(self, group):
        return False

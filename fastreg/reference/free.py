"""AdamW without a schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Unpack

from fastreg.reference.optimizer import Optimizer, root_mean_square
from fastreg.reference.scalars import power

if TYPE_CHECKING:
    from fastreg._core.types import Number, Services

__all__ = ["ScheduleFreeAdamW"]


class ScheduleFreeAdamW(Optimizer):
    """z takes the steps, x is its average, and the parameter is between the two.

    The average is kept as that of ``ema_decay`` is; the loop around the rules does both.
    """

    couples: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Number = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: float = 0.0,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        hypers |= {"epsilon": epsilon, "warmup_steps": warmup_steps}
        super().__init__(("z", "v"), hypers, **services)
        self.initial["z"] = None

    @property
    def averaged(self) -> bool:
        """There always is an average."""
        return True

    @property
    def x(self) -> Any:
        """The average of z."""
        return self.ema

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        root_bc2, warm = math.sqrt(1.0 - power(h["beta2"], t)), h["warmup_steps"]
        done = t - 1.0 if self.compat == "optax" else t
        lr = h["learning_rate"] * (done / warm if done < warm else 1.0)
        c = 1.0 / t
        if t <= warm:
            c = 6.0 * t / ((t + 1.0) * (2.0 * t + 1.0))
        elif warm > 0.0:
            c = 1.0 / ((warm + 1.0) * (2.0 * warm + 1.0) / (6.0 * warm) + (t - warm))
        return {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "rate": lr * root_bc2,
            "epsilon": h["epsilon"] * root_bc2,
            "metric": lr * root_bc2,
            "lr": lr,
            "average": 1.0 - c,
            "one_minus_average": c,
        }

    def move(self, g: Any, state: Any, s: Any) -> Any:
        s["decay"] *= s["lr"]
        s["keep"] = 1.0
        feed = 1.0 - s["beta2"]
        state["v"], root = root_mean_square(state["v"], g, s["beta2"], feed, floor=s["epsilon"])
        denominator = root + s["epsilon"]
        return s["rate"] * (g / denominator), denominator

"""Adam and its descendants, one formula each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastreg.reference.optimizer import Optimizer, held, in_units, root_mean_square, units
from fastreg.reference.scalars import power

if TYPE_CHECKING:
    from fastreg._core.types import Number, Services, ServicesOfAll

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


class Adam(Optimizer):
    """Adam, with the bias corrections folded into two scalars.

    The chapter writes ``theta -= lr * (m / bc1) / (sqrt(v / bc2) + epsilon)``. Multiplying the
    fraction by ``sqrt(bc2)`` gives the same number with one division per element.
    """

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        amsgrad: bool = False,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        slots = ("m", "v", "peak") if amsgrad else ("m", "v")
        super().__init__(slots, hypers | {"epsilon": epsilon}, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        root_bc2 = math.sqrt(1.0 - power(h["beta2"], t))
        s = {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "rate": h["learning_rate"] * root_bc2 / (1.0 - power(h["beta1"], t)),
            "epsilon": h["epsilon"] if self.compat == "keras" else h["epsilon"] * root_bc2,
            "metric": h["learning_rate"] * root_bc2,
            "peak": 1.0,
        }
        if self.compat == "optax" and "peak" in self.state:
            s["peak"] = 1.0 / (1.0 - power(h["beta2"], t))
            s["rate"] = h["learning_rate"] / (1.0 - power(h["beta1"], t))
            s["epsilon"] = h["epsilon"]
        return s

    def move(self, g: Any, state: Any, s: Any) -> Any:
        if "peak" not in state:
            denominator = self.means(g, state, s) + s["epsilon"]
            return s["rate"] * (state["m"] / denominator), denominator
        state["m"] = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        unit, back = units(g, state["peak"], s["epsilon"])
        square = g * unit * (g * unit)
        v = s["beta2"] * in_units(state["v"], unit) + (1.0 - s["beta2"]) * square
        before, raised = in_units(state["peak"], unit), s["peak"] * v
        peak = np.where(before >= raised, before, raised)
        root = np.sqrt(peak) * back
        state["v"], state["peak"] = held(v, np.sqrt(v) * back, back), held(peak, root, back)
        denominator = root + s["epsilon"]
        return s["rate"] * (state["m"] / denominator), denominator

    @staticmethod
    def means(g: Any, state: Any, s: Any) -> Any:
        """Advance the running means of the gradient and of its square; return the latter's root."""
        state["m"] = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        floor, beta2 = s.get("floor", s["epsilon"]), s["beta2"]
        state["v"], root = root_mean_square(state["v"], g, beta2, 1.0 - beta2, floor=floor)
        return root


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    couples: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: Number = 0.01,
        **services: Unpack[ServicesOfAll],
    ) -> None:
        super().__init__(
            learning_rate, beta1, beta2, epsilon, weight_decay=weight_decay, **services
        )


class NAdam(Adam):
    """Adam with Nesterov momentum; memory is the product of the momenta so far."""

    def __init__(
        self,
        learning_rate: Number = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        momentum_decay: float = 0.004,
        **services: Unpack[Services],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **services)
        self.hypers["momentum_decay"] = momentum_decay

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        beta1, root_bc2 = h["beta1"], math.sqrt(1.0 - power(h["beta2"], t))
        lr = h["learning_rate"] * root_bc2
        s = {"beta1": beta1, "beta2": h["beta2"], "epsilon": h["epsilon"] * root_bc2}
        s |= {"rate": lr, "metric": lr}
        if self.compat == "optax":
            s["gradient_share"] = (1.0 - beta1) / (1.0 - beta1**t)
            return s | {"mean_share": beta1 / (1.0 - power(beta1, t + 1.0))}
        now = beta1 * (1.0 - 0.5 * power(0.96, t * h["momentum_decay"]))
        following = beta1 * (1.0 - 0.5 * power(0.96, (t + 1.0) * h["momentum_decay"]))
        memory *= now
        s["gradient_share"] = (1.0 - now) / (1.0 - memory)
        return s | {"mean_share": following / (1.0 - memory * following), "memory": memory}

    def move(self, g: Any, state: Any, s: Any) -> Any:
        denominator = self.means(g, state, s) + s["epsilon"]
        far = units(g, np.zeros_like(g), 1.0)[0]  # both together may be beyond the largest number
        blend = s["gradient_share"] * (g * far) + s["mean_share"] * (state["m"] * far)
        return s["rate"] * (blend / (denominator * far)), denominator


class RAdam(Adam):
    """Rectified Adam: momentum alone until the variance of v is tractable."""

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **services: Unpack[Services],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        beta2_t = power(h["beta2"], t)
        root_bc2 = math.sqrt(1.0 - beta2_t)
        most = 2.0 / (1.0 - h["beta2"]) - 1.0
        length = most - 2.0 * t * beta2_t / (1.0 - beta2_t)
        s = {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "rate": h["learning_rate"] / (1.0 - power(h["beta1"], t)),
            "metric": h["learning_rate"],
            "root": 0.0,
            "epsilon": 1.0,
            "floor": h["epsilon"],
        }
        optax = self.compat == "optax"
        if length >= 5.0 if optax else length > 5.0:
            rectified = math.sqrt(
                (length - 4.0) * (length - 2.0) * most / ((most - 4.0) * (most - 2.0) * length)
            )
            s["rate"] *= rectified * root_bc2
            s["metric"] *= rectified * root_bc2
            s |= {"root": 1.0, "epsilon": h["epsilon"] * root_bc2 if optax else h["epsilon"]}
        return s

    def move(self, g: Any, state: Any, s: Any) -> Any:
        denominator = s["root"] * self.means(g, state, s) + s["epsilon"]
        return s["rate"] * (state["m"] / denominator), denominator


class Adamax(Optimizer):
    """m as Adam's; u = max(beta2 u, ``|g|`` + epsilon); theta -= lr / bc1 m / u."""

    def __init__(
        self,
        learning_rate: Number = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        super().__init__(("m", "u"), hypers | {"epsilon": epsilon}, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        keras = self.compat == "keras"
        return {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "rate": h["learning_rate"] / (1.0 - power(h["beta1"], t)),
            "inside": 0.0 if keras else h["epsilon"],
            "epsilon": h["epsilon"] if keras else 0.0,
            "metric": h["learning_rate"],
        }

    def move(self, g: Any, state: Any, s: Any) -> Any:
        size, faded = np.abs(g) + s["inside"], s["beta2"] * state["u"]
        state["m"] = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        state["u"] = np.where(faded >= size, faded, size)[()]
        denominator = state["u"] + s["epsilon"]
        return s["rate"] * (state["m"] / denominator), denominator

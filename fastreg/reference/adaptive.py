"""Later rules of Adam's kind, one formula each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastreg.reference.adam import Adam
from fastreg.reference.narrow import NARROW_KINDS
from fastreg.reference.optimizer import Optimizer, held, in_units, units
from fastreg.reference.scalars import power

if TYPE_CHECKING:
    from fastreg._core.types import Number, Services

__all__ = ["Adan", "Yogi"]


class Yogi(Adam):
    """Adam whose v moves by a share of g^2, towards it."""

    def __init__(
        self,
        learning_rate: Number = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-3,
        *,
        initial_accumulator: float = 1e-6,
        **services: Unpack[Services],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **services)
        self.initial["v"] = initial_accumulator
        self.initial["m"] = initial_accumulator if self.compat == "optax" else 0.0

    def move(self, g: Any, state: Any, s: Any) -> Any:
        state["m"] = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        unit, back = units(g, state["v"], s["epsilon"])
        square, before = g * unit * (g * unit), in_units(state["v"], unit)
        v = before - (1.0 - s["beta2"]) * (np.sign(before - square) * square)
        root = np.sqrt(v) * back
        state["v"] = held(v, root, back)
        denominator = root + s["epsilon"]
        return s["rate"] * (state["m"] / denominator), denominator


class Adan(Optimizer):
    """Means of the gradient, of its difference, and of the square of both together."""

    kinds: dict[str, str] = NARROW_KINDS | {"v": "n"}
    first_decays: tuple[str, ...] = ("beta1", "beta2")

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        epsilon: float = 1e-8,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "beta3": beta3}
        slots = ("m", "v", "n", "previous")
        super().__init__(slots, hypers | {"epsilon": epsilon}, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        bc3, optax = 1.0 - power(h["beta3"], t), self.compat == "optax"
        share, root_bc3 = 1.0 - h["beta2"] if optax else h["beta2"], math.sqrt(bc3)
        return {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "beta3": h["beta3"],
            "first": t == 1,
            "share": share,
            "mean_share": 1.0 / (1.0 - power(h["beta1"], t)),
            "change_share": share / (1.0 - power(h["beta2"], t)),
            "rate": h["learning_rate"] * root_bc3,
            "metric": h["learning_rate"] * root_bc3,
            "inside": 1e-8 * bc3 if optax else 0.0,
            "epsilon": h["epsilon"] * root_bc3,
            "floor": math.inf if optax else h["epsilon"] * root_bc3,
        }

    def move(self, g: Any, state: Any, s: Any) -> Any:
        last = g if s["first"] else state["previous"]
        far = np.minimum(units(g, np.zeros_like(g), 1.0)[0], units(last, np.zeros_like(g), 1.0)[0])
        change = g * far - last * far
        following = g * far + s["share"] * change
        state["m"] = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        v = s["beta2"] * (state["v"] * far) + (1.0 - s["beta2"]) * change
        state["v"], state["previous"] = v * (1 / far), g
        unit = np.where(far != 1, far, units(following, state["n"], s["floor"])[0])
        size, back = np.where(far != 1, following, following * unit), 1 / unit
        n = s["beta3"] * in_units(state["n"], unit) + (1.0 - s["beta3"]) * (size * size)
        root = np.sqrt(n + s["inside"] * unit * unit) * back
        state["n"] = held(n, root, back)
        denominator = root + s["epsilon"]
        blend = s["mean_share"] * (state["m"] * far) + s["change_share"] * (state["v"] * far)
        return s["rate"] * (blend / (denominator * far)), denominator

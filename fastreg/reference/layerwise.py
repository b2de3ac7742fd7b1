"""Rules whose rate is each tensor's own, one formula each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastreg.reference.adam import Adam
from fastreg.reference.narrow import NARROW_KINDS
from fastreg.reference.optimizer import Optimizer, norm_of
from fastreg.reference.scalars import power

if TYPE_CHECKING:
    from fastreg._core.types import Number, Services

__all__ = ["LAMB", "LARS"]


def trust(s: Any, move: Any, more: float = 0.0) -> float:
    """The norm of the parameter over that of its step; 1 if one of them is 0."""
    weight, size = norm_of(s["theta"], s["half"]), norm_of(move, s["half"])
    if not s["penalised"] or weight == 0.0 or size == 0.0:
        return 1.0
    return s["trust"] * weight / (size + more)


class LAMB(Adam):
    """u = Adam's step + decay theta; theta -= lr ``|theta| / |u|`` u."""

    couples: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        **services: Unpack[Services],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        feed = math.sqrt(1.0 - power(h["beta2"], t)) / (1.0 - power(h["beta1"], t))
        return super().scalars(h, t, memory) | {
            "feed": feed,
            "lr": h["learning_rate"],
            "trust": 1.0,
        }

    def move(self, g: Any, state: Any, s: Any) -> Any:
        root = self.means(g, state, s)
        if self.state_dtype is not None:  # the step is taken from the state as it is kept
            kept = s["kept"] = {slot: self.narrow(slot, state[slot], s) for slot in ("m", "v")}
            state |= {slot: self.floats(slot, kept[slot], s) for slot in kept}
            root = np.where(state["v"] < 0, -state["v"], np.sqrt(np.abs(state["v"])))
        denominator = root + s["epsilon"]
        u = s["feed"] * (state["m"] / denominator)
        u = u + (s["decay"] * s["theta"] if s["decay"] else -0.0)
        ratio = s["ratio"] = trust(s, u)
        s["keep"] = 1.0 - ratio * (s["lr"] * s["decay"])
        return s["rate"] * ratio * (state["m"] / denominator), denominator


class LARS(Optimizer):
    """v = momentum v + lr k ``|theta| / |g|`` g, g with its decay; theta -= v."""

    couples: tuple[Any, ...] = (None, "optax")
    kinds: dict[str, str] = NARROW_KINDS | {"v": "n"}

    def __init__(
        self,
        learning_rate: Number = 1.0,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
        epsilon: float = 0.0,
        *,
        nesterov: bool = False,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "momentum": momentum, "epsilon": epsilon}
        super().__init__(("v",), hypers | {"trust_coefficient": trust_coefficient}, **services)
        self.nesterov = nesterov

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        lr = h["learning_rate"]
        s = {"momentum": h["momentum"], "epsilon": h["epsilon"], "lr": lr, "metric": lr}
        return s | {"trust": h["trust_coefficient"]}

    def move(self, g: Any, state: Any, s: Any) -> Any:
        ratio = s["ratio"] = trust(s, g, s["epsilon"])
        state["v"] = s["momentum"] * state["v"] + s["lr"] * ratio * g
        if self.nesterov:
            return s["momentum"] * state["v"] + s["lr"] * ratio * g, 1.0
        return 1.0 * state["v"], 1.0

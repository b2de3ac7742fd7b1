"""Optimizers: one formula each, in one common loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastreg.reference.narrow import NARROW_KINDS
from fastreg.reference.optimizer import Optimizer, held, in_units, root_mean_square, units

if TYPE_CHECKING:
    from fastreg._core.types import Compat, Number, Services

__all__ = ["AdaGrad", "Adadelta", "Lion", "Momentum", "RMSprop", "SGD"]


class SGD(Optimizer):
    """theta -= lr g."""

    def __init__(self, learning_rate: Number = 0.01, **services: Unpack[Services]) -> None:
        super().__init__((), {"learning_rate": learning_rate}, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        return {"rate": h["learning_rate"], "metric": h["learning_rate"]}

    def move(self, g: Any, state: Any, s: Any) -> Any:
        return s["rate"] * g, 1.0


class Momentum(Optimizer):
    """v = momentum v + (1 - dampening) g; theta -= lr v. In Keras v carries the learning rate."""

    kinds: dict[str, str] = NARROW_KINDS | {"v": "n"}

    def __init__(
        self,
        learning_rate: Number = 0.01,
        momentum: float = 0.9,
        *,
        nesterov: bool = False,
        dampening: float = 0.0,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "momentum": momentum, "dampening": dampening}
        super().__init__(("v",), hypers, **services)
        self.nesterov = nesterov

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        lr, carries = h["learning_rate"], self.compat == "keras"
        feed = (lr if carries else 1.0) * (1.0 - h["dampening"] if t > 1 else 1.0)
        s = {"momentum": h["momentum"], "feed": feed, "metric": lr}
        s["rate"] = (1.0 if carries else lr) * (h["momentum"] if self.nesterov else 1.0)
        return s | {"gradient_rate": lr}

    def move(self, g: Any, state: Any, s: Any) -> Any:
        state["v"] = s["momentum"] * state["v"] + s["feed"] * g
        if self.nesterov:
            return s["rate"] * state["v"] + s["gradient_rate"] * g, 1.0
        return s["rate"] * state["v"], 1.0


def place_epsilon(epsilon: float, compat: Compat | None) -> Any:
    """Epsilon inside the root, and outside as torch has it; roots below floor do not count."""
    if compat == "torch":
        return {"inside": 0.0, "epsilon": epsilon, "floor": epsilon}
    return {"inside": epsilon, "epsilon": 0.0, "floor": np.inf if epsilon else 0.0}


class AdaGrad(Optimizer):
    """v += g^2; theta -= lr g / sqrt(v + epsilon)."""

    def __init__(
        self,
        learning_rate: Number = 0.01,
        epsilon: float = 1e-8,
        *,
        initial_accumulator: float = 0.0,
        **services: Unpack[Services],
    ) -> None:
        super().__init__(("v",), {"learning_rate": learning_rate, "epsilon": epsilon}, **services)
        self.initial["v"] = initial_accumulator

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        lr = h["learning_rate"]
        return place_epsilon(h["epsilon"], self.compat) | {"rate": lr, "metric": lr}

    def move(self, g: Any, state: Any, s: Any) -> Any:
        how = {"inside": s["inside"], "floor": s["floor"]}
        state["v"], root = root_mean_square(state["v"], g, 1.0, 1.0, **how)
        denominator = root + s["epsilon"]
        return s["rate"] * (g / denominator), denominator


class RMSprop(Optimizer):
    """v = beta v + (1 - beta) g^2; theta -= lr g / sqrt(v + epsilon)."""

    def __init__(
        self,
        learning_rate: Number = 0.001,
        beta: float = 0.9,
        epsilon: float = 1e-8,
        *,
        centered: bool = False,
        momentum: float = 0.0,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "beta": beta, "epsilon": epsilon}
        slots = ("v",) + ("mean",) * bool(centered) + ("velocity",) * bool(momentum)
        super().__init__(slots, hypers | {"momentum": momentum}, **services)
        self.kinds: dict[str, str] = NARROW_KINDS | ({"v": "f"} if centered else {})

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        lr, carries = h["learning_rate"], self.compat in ("keras", "optax")
        with_velocity = "velocity" in self.state
        return place_epsilon(h["epsilon"], self.compat) | {
            "beta": h["beta"],
            "momentum": h["momentum"],
            "feed": lr if carries else 1.0,
            "rate": 1.0 if carries and with_velocity else lr,
            "metric": lr,
        }

    def move(self, g: Any, state: Any, s: Any) -> Any:
        if "mean" in state:
            root = self.deviation(g, state, s)
        else:
            how = {"inside": s["inside"], "floor": s["floor"]}
            state["v"], root = root_mean_square(state["v"], g, s["beta"], 1.0 - s["beta"], **how)
        denominator = root + s["epsilon"]
        if "velocity" not in state:
            return s["rate"] * (g / denominator), denominator
        state["velocity"] = s["momentum"] * state["velocity"] + s["feed"] * (g / denominator)
        return s["rate"] * state["velocity"], denominator

    @staticmethod
    def deviation(g: Any, state: Any, s: Any) -> Any:
        """Advance v and the mean; return the root of ``v - mean^2``, 0 where that is negative."""
        beta, (unit, back) = s["beta"], units(g, state["v"], s["floor"])
        v = beta * in_units(state["v"], unit) + (1.0 - beta) * (g * unit * (g * unit))
        state["mean"] = beta * state["mean"] + (1.0 - beta) * g
        state["v"] = held(v, np.sqrt(v) * back, back)
        variance = v - state["mean"] * unit * (state["mean"] * unit)
        variance = np.where(variance < 0, variance.dtype.type(0.0), variance)[()]
        return np.sqrt(variance + s["inside"] * unit * unit) * back


class Adadelta(Optimizer):
    """Steps in the units of the parameters."""

    couples: tuple[str, ...] = ("torch", "optax")

    def __init__(
        self,
        learning_rate: Number = 1.0,
        rho: float = 0.9,
        epsilon: float = 1e-6,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "rho": rho, "epsilon": epsilon}
        super().__init__(("v", "d"), hypers, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        lr = h["learning_rate"]
        scalars = place_epsilon(h["epsilon"], None)
        return scalars | {"rho": h["rho"], "rate": lr, "metric": lr}

    def move(self, g: Any, state: Any, s: Any) -> Any:
        rho, how = s["rho"], {"inside": s["inside"], "floor": s["floor"]}
        before = np.sqrt(state["d"] + s["inside"])
        state["v"], now = root_mean_square(state["v"], g, rho, 1.0 - rho, **how)
        move = before * (g / now)
        state["d"] = rho * state["d"] + (1.0 - rho) * (move * move)
        return s["rate"] * move, now / before


class Lion(Optimizer):
    """theta -= lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g."""

    first_decays: tuple[str, ...] = ("beta1", "beta2")

    def __init__(
        self,
        learning_rate: Number = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        **services: Unpack[Services],
    ) -> None:
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        super().__init__(("m",), hypers, **services)

    def scalars(self, h: Any, t: Any, memory: Any) -> Any:
        lr = h["learning_rate"]
        return {"beta1": h["beta1"], "beta2": h["beta2"], "rate": lr, "metric": lr}

    def move(self, g: Any, state: Any, s: Any) -> Any:
        blend = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        state["m"] = s["beta2"] * state["m"] + (1.0 - s["beta2"]) * g
        return s["rate"] * np.sign(blend), 1.0

"""Optimizers, one formula each, over one textbook loop."""

import numpy as np

from fastreg.reference.optimizer import Optimizer

__all__ = ["AdaGrad", "Adadelta", "Lion", "Momentum", "RMSprop", "SGD"]


class SGD(Optimizer):
    """theta -= lr g."""

    def __init__(self, learning_rate=0.01, **services):
        super().__init__((), {"learning_rate": learning_rate}, **services)

    def scalars(self, h, t, memory):
        return {"rate": h["learning_rate"], "metric": h["learning_rate"]}

    def move(self, g, state, s):
        return s["rate"] * g, 1.0


class Momentum(Optimizer):
    """v = momentum v + g; theta -= lr v. In Keras v carries the learning rate."""

    def __init__(self, learning_rate=0.01, momentum=0.9, *, nesterov=False, **services):
        hypers = {"learning_rate": learning_rate, "momentum": momentum}
        super().__init__(("v",), hypers, **services)
        self.nesterov = nesterov

    def scalars(self, h, t, memory):
        lr, carries = h["learning_rate"], self.compat == "keras"
        s = {"momentum": h["momentum"], "feed": lr if carries else 1.0, "metric": lr}
        s["rate"] = (1.0 if carries else lr) * (h["momentum"] if self.nesterov else 1.0)
        return s | {"gradient_rate": lr}

    def move(self, g, state, s):
        state["v"] = s["momentum"] * state["v"] + s["feed"] * g
        if self.nesterov:
            return s["rate"] * state["v"] + s["gradient_rate"] * g, 1.0
        return s["rate"] * state["v"], 1.0


def place_epsilon(epsilon, compat):
    """Epsilon inside the root, and outside as torch has it."""
    return {"inside": 0.0, "epsilon": epsilon} if compat == "torch" else {
        "inside": epsilon, "epsilon": 0.0
    }  # fmt: skip


class AdaGrad(Optimizer):
    """v += g^2; theta -= lr g / sqrt(v + epsilon)."""

    def __init__(self, learning_rate=0.01, epsilon=1e-8, *, initial_accumulator=0.0, **services):
        super().__init__(("v",), {"learning_rate": learning_rate, "epsilon": epsilon}, **services)
        self.initial = initial_accumulator

    def scalars(self, h, t, memory):
        lr = h["learning_rate"]
        return place_epsilon(h["epsilon"], self.compat) | {"rate": lr, "metric": lr}

    def move(self, g, state, s):
        state["v"] = state["v"] + g * g
        denominator = np.sqrt(state["v"] + s["inside"]) + s["epsilon"]
        return s["rate"] * g / denominator, denominator


class RMSprop(Optimizer):
    """v = beta v + (1 - beta) g^2; theta -= lr g / sqrt(v + epsilon)."""

    def __init__(
        self,
        learning_rate=0.001,
        beta=0.9,
        epsilon=1e-8,
        *,
        centered=False,
        momentum=0.0,
        **services,
    ):
        hypers = {"learning_rate": learning_rate, "beta": beta, "epsilon": epsilon}
        slots = ("v",) + ("mean",) * bool(centered) + ("velocity",) * bool(momentum)
        super().__init__(slots, hypers | {"momentum": momentum}, **services)

    def scalars(self, h, t, memory):
        lr, carries = h["learning_rate"], self.compat in ("keras", "optax")
        with_velocity = "velocity" in self.state
        return place_epsilon(h["epsilon"], self.compat) | {
            "beta": h["beta"],
            "momentum": h["momentum"],
            "feed": lr if carries else 1.0,
            "rate": 1.0 if carries and with_velocity else lr,
            "metric": lr,
        }

    def move(self, g, state, s):
        beta = s["beta"]
        state["v"] = beta * state["v"] + (1.0 - beta) * (g * g)
        spread = state["v"]
        if "mean" in state:
            state["mean"] = beta * state["mean"] + (1.0 - beta) * g
            variance = spread - state["mean"] * state["mean"]
            spread = np.where(variance < 0, variance.dtype.type(0.0), variance)[()]
        denominator = np.sqrt(spread + s["inside"]) + s["epsilon"]
        if "velocity" not in state:
            return s["rate"] * g / denominator, denominator
        state["velocity"] = s["momentum"] * state["velocity"] + s["feed"] * g / denominator
        return s["rate"] * state["velocity"], denominator


class Adadelta(Optimizer):
    """Steps in the units of the parameters."""

    couples = ("torch", "optax")

    def __init__(self, learning_rate=1.0, rho=0.9, epsilon=1e-6, **services):
        hypers = {"learning_rate": learning_rate, "rho": rho, "epsilon": epsilon}
        super().__init__(("v", "d"), hypers, **services)

    def scalars(self, h, t, memory):
        lr = h["learning_rate"]
        return {"rho": h["rho"], "inside": h["epsilon"], "rate": lr, "metric": lr}

    def move(self, g, state, s):
        rho = s["rho"]
        state["v"] = rho * state["v"] + (1.0 - rho) * (g * g)
        before, now = np.sqrt(state["d"] + s["inside"]), np.sqrt(state["v"] + s["inside"])
        move = before / now * g
        state["d"] = rho * state["d"] + (1.0 - rho) * (move * move)
        return s["rate"] * move, now / before


class Lion(Optimizer):
    """theta -= lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g."""

    def __init__(self, learning_rate=1e-4, beta1=0.9, beta2=0.99, **services):
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        super().__init__(("m",), hypers, **services)

    def scalars(self, h, t, memory):
        lr = h["learning_rate"]
        return {"beta1": h["beta1"], "beta2": h["beta2"], "rate": lr, "metric": lr}

    def move(self, g, state, s):
        blend = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        state["m"] = s["beta2"] * state["m"] + (1.0 - s["beta2"]) * g
        return s["rate"] * np.sign(blend), 1.0

"""Optimizers, one formula each, over one textbook loop.

A rule is two methods: ``scalars`` computes what a step needs once, from the hyper-parameters of
the parameter's group; ``move`` updates the state of one tensor and returns what is subtracted
from the parameter, and the denominator of the rule's metric.
"""

import fnmatch
import math

import numpy as np

__all__ = [
    "SGD",
    "AdaGrad",
    "Adadelta",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Momentum",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
]

BLOCK, LANES = 16384, 16


def squares(x):
    """Sums of x^2 over blocks, in float64 and in the kernels' order: lanes, pairs of lanes."""
    x = np.ravel(x, order="K").astype(np.float64)
    for start in range(0, x.size, BLOCK):
        block = x[start : start + BLOCK]
        lanes = np.pad(block, (0, -block.size % LANES)).reshape(-1, LANES)
        sums = np.add.reduce(lanes * lanes, axis=0)
        while sums.size > 1:
            sums = sums[: sums.size // 2] + sums[sums.size // 2 :]
        yield float(sums[0])


def shrink(theta, threshold):
    """Soft threshold, the proximal operator of ``threshold * |theta|``."""
    inside = np.where(np.isnan(theta), theta, theta.dtype.type(0.0))
    below = np.where(theta < -threshold, theta + threshold, inside)
    return np.where(theta > threshold, theta - threshold, below)[()]


class Optimizer:
    """The loop, and the services in their order."""

    def __init__(
        self,
        slots,
        hypers,
        *,
        weight_decay=0.0,
        lambda_l2=0.0,
        lambda_l1=0.0,
        l1_mode="subgradient",
        clip_norm=None,
        clip_value=None,
        exclude=(),
        groups=None,
        on_nonfinite="propagate",
        ema_decay=None,
        compat=None,
    ):
        services = {"weight_decay": weight_decay, "lambda_l2": lambda_l2, "lambda_l1": lambda_l1}
        self.hypers = hypers | services | {"clip_value": clip_value}
        self.l1_mode, self.clip_norm, self.exclude = l1_mode, clip_norm, exclude
        self.groups, self.on_nonfinite = groups or {}, on_nonfinite
        self.ema_decay, self.compat = ema_decay, compat
        self.state, self.ema = {name: {} for name in slots}, {}
        self.initial, self.memory = 0.0, {}
        self.t = self.skipped = 0
        self.grad_norm = math.nan

    def __getattr__(self, name):
        if name in self.__dict__.get("state", {}):
            return self.state[name]
        raise AttributeError(name)

    @property
    def lr(self):
        """The learning rate, a number or a schedule."""
        return self.hypers["learning_rate"]

    @lr.setter
    def lr(self, value):
        self.hypers["learning_rate"] = value

    def update(self, params, grads):
        """Advance one step; arrays change in place, scalar entries are replaced."""
        names = list(params) if isinstance(params, dict) else range(len(params))
        scale = self.gradient_scale([grads[name] for name in names])
        if scale is None:
            self.skipped += 1
            return
        self.t += 1
        memory = dict(self.memory)
        for name in names:
            self.step(params, name, grads[name], scale, memory)
        self.memory = memory

    def gradient_scale(self, grads):
        """The factor that clips the global norm; None if the step is to be skipped."""
        if self.clip_norm is None and self.on_nonfinite == "propagate":
            return 1.0
        total = 0.0
        for block in (block for g in grads for block in squares(g)):
            total += block  # in this order: sum() would compensate
        finite = all(np.isfinite(g).all() for g in grads)
        self.grad_norm = math.sqrt(total)
        if not finite and self.on_nonfinite == "raise":
            raise FloatingPointError("gradients must be finite")
        if not finite and self.on_nonfinite == "skip":
            return None
        if self.clip_norm is not None and self.clip_norm < self.grad_norm < math.inf:
            return self.clip_norm / self.grad_norm
        return 1.0

    def step(self, params, name, g, scale, memory):
        """Advance one parameter."""
        group, h = self.group_of(name)
        s = self.scalars(h, self.t, self.memory.get(group, 1.0))
        memory[group] = s.get("memory", 1.0)
        theta = params[name]
        penalised = not self.excluded(name)
        l2 = h["lambda_l2"] if penalised else 0.0
        l1 = h["lambda_l1"] if penalised and self.l1_mode == "subgradient" else 0.0
        prox = h["lambda_l1"] if penalised and self.l1_mode == "prox" else 0.0
        keep = 1.0 - h["learning_rate"] * h["weight_decay"] if penalised else 1.0
        clip = math.inf if h["clip_value"] is None else h["clip_value"]
        served = (scale, clip, l2, l1, prox) != (1.0, math.inf, 0.0, 0.0, 0.0)
        served = served or self.ema_decay is not None
        if served:
            g = np.clip(g * scale, -clip, clip)
            g = g + (l2 * theta + l1 * np.sign(theta))
        state = {}
        for k, (slot, known) in enumerate(self.state.items()):
            first = np.full_like(theta, self.initial if k == 0 else 0.0, subok=False)
            state[slot] = known.get(name, first)
        move, denominator = self.move(g, state, s)
        for slot, known in self.state.items():
            known[name] = state[slot]
        average = self.ema.get(name, np.array(theta))
        if served or keep != 1.0:
            moved = theta * keep - move
            if served:
                moved = shrink(np.asarray(moved), prox * s["metric"] / denominator)
            if isinstance(theta, np.ndarray):
                theta[...] = moved
            else:
                params[name] = moved
        else:
            params[name] -= move
        if self.ema_decay is not None:
            decay = self.ema_decay
            self.ema[name] = decay * average + (1.0 - decay) * params[name]

    def group_of(self, name):
        """The pattern that a name falls under, and its hyper-parameters at this step."""
        pattern = next((p for p in self.groups if fnmatch.fnmatchcase(str(name), p)), None)
        h = self.hypers | self.groups.get(pattern, {})
        return pattern, {k: v(self.t - 1) if callable(v) else v for k, v in h.items()}

    def excluded(self, name):
        """Whether decay and penalties leave a name alone."""
        if callable(self.exclude):
            return self.exclude(name)
        return any(fnmatch.fnmatchcase(str(name), pattern) for pattern in self.exclude)

    def swap_ema(self, params):
        """Exchange the parameters with their averages."""
        for name, average in self.ema.items():
            params[name], self.ema[name] = average, params[name]


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


class Adam(Optimizer):
    """Adam, with the bias corrections folded into two scalars.

    The chapter writes ``theta -= lr * (m / bc1) / (sqrt(v / bc2) + epsilon)``. Multiplying the
    fraction by ``sqrt(bc2)`` gives the same number with one division an element.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        *,
        amsgrad=False,
        **services,
    ):
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        slots = ("m", "v", "peak") if amsgrad else ("m", "v")
        super().__init__(slots, hypers | {"epsilon": epsilon}, **services)

    def scalars(self, h, t, memory):
        root_bc2 = math.sqrt(1.0 - h["beta2"] ** t)
        s = {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "rate": h["learning_rate"] * root_bc2 / (1.0 - h["beta1"] ** t),
            "epsilon": h["epsilon"] if self.compat == "keras" else h["epsilon"] * root_bc2,
            "metric": h["learning_rate"] * root_bc2,
            "peak": 1.0,
        }
        if self.compat == "optax" and "peak" in self.state:
            s["peak"] = 1.0 / (1.0 - h["beta2"] ** t)
            s["rate"] = h["learning_rate"] / (1.0 - h["beta1"] ** t)
            s["epsilon"] = h["epsilon"]
        return s

    def move(self, g, state, s):
        self.means(g, state, s)
        v = state["v"]
        if "peak" in state:
            raised = s["peak"] * v
            v = state["peak"] = np.where(state["peak"] >= raised, state["peak"], raised)[()]
        denominator = np.sqrt(v) + s["epsilon"]
        return s["rate"] * state["m"] / denominator, denominator

    @staticmethod
    def means(g, state, s):
        """Advance the running means of the gradient and of its square."""
        state["m"] = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        state["v"] = s["beta2"] * state["v"] + (1.0 - s["beta2"]) * (g * g)


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        learning_rate=0.001,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        weight_decay=0.01,
        **services,
    ):
        super().__init__(
            learning_rate, beta1, beta2, epsilon, weight_decay=weight_decay, **services
        )


class NAdam(Adam):
    """Adam with Nesterov momentum; memory is the product of the momenta so far."""

    def __init__(
        self,
        learning_rate=0.002,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        *,
        momentum_decay=0.004,
        **services,
    ):
        super().__init__(learning_rate, beta1, beta2, epsilon, **services)
        self.hypers["momentum_decay"] = momentum_decay

    def scalars(self, h, t, memory):
        beta1, root_bc2 = h["beta1"], math.sqrt(1.0 - h["beta2"] ** t)
        lr = h["learning_rate"] * root_bc2
        s = {"beta1": beta1, "beta2": h["beta2"], "epsilon": h["epsilon"] * root_bc2, "metric": lr}
        if self.compat == "optax":
            s["gradient_rate"] = lr * (1.0 - beta1) / (1.0 - beta1**t)
            return s | {"rate": lr * beta1 / (1.0 - beta1 ** (t + 1.0))}
        now = beta1 * (1.0 - 0.5 * 0.96 ** (t * h["momentum_decay"]))
        following = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * h["momentum_decay"]))
        memory *= now
        s["gradient_rate"] = lr * (1.0 - now) / (1.0 - memory)
        return s | {"rate": lr * following / (1.0 - memory * following), "memory": memory}

    def move(self, g, state, s):
        self.means(g, state, s)
        denominator = np.sqrt(state["v"]) + s["epsilon"]
        return (s["gradient_rate"] * g + s["rate"] * state["m"]) / denominator, denominator


class RAdam(Adam):
    """Rectified Adam: momentum alone until the variance of v is tractable."""

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, **services):
        super().__init__(learning_rate, beta1, beta2, epsilon, **services)

    def scalars(self, h, t, memory):
        beta2_t = h["beta2"] ** t
        root_bc2 = math.sqrt(1.0 - beta2_t)
        most = 2.0 / (1.0 - h["beta2"]) - 1.0
        length = most - 2.0 * t * beta2_t / (1.0 - beta2_t)
        s = {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "rate": h["learning_rate"] / (1.0 - h["beta1"] ** t),
            "metric": h["learning_rate"],
            "root": 0.0,
            "epsilon": 1.0,
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

    def move(self, g, state, s):
        self.means(g, state, s)
        denominator = s["root"] * np.sqrt(state["v"]) + s["epsilon"]
        return s["rate"] * state["m"] / denominator, denominator


class Adamax(Optimizer):
    """m as Adam's; u = max(beta2 u, |g| + epsilon); theta -= lr / bc1 m / u."""

    def __init__(self, learning_rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-8, **services):
        hypers = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2}
        super().__init__(("m", "u"), hypers | {"epsilon": epsilon}, **services)

    def scalars(self, h, t, memory):
        keras = self.compat == "keras"
        return {
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "rate": h["learning_rate"] / (1.0 - h["beta1"] ** t),
            "inside": 0.0 if keras else h["epsilon"],
            "epsilon": h["epsilon"] if keras else 0.0,
            "metric": h["learning_rate"],
        }

    def move(self, g, state, s):
        size, faded = np.abs(g) + s["inside"], s["beta2"] * state["u"]
        state["m"] = s["beta1"] * state["m"] + (1.0 - s["beta1"]) * g
        state["u"] = np.where(faded >= size, faded, size)[()]
        denominator = state["u"] + s["epsilon"]
        return s["rate"] * state["m"] / denominator, denominator


class Adadelta(Optimizer):
    """Steps in the units of the parameters."""

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

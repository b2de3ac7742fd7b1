"""The steps of a training: the optimizer, its rate, and what is done to the weights after it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

import fastreg
from fastreg import optim, schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import Array

__all__ = ["OPTIMIZERS", "SCHEDULES", "Steps"]

NAMES: Any = vars(optim)["__all__"]
OPTIMIZERS: dict[str, Any] = {name.lower(): getattr(optim, name) for name in NAMES}
MOMENTS = ("adam", "adamw", "nadam", "radam", "adamax")  # take beta_1, beta_2 and epsilon

#: Schedules by name: functions of the first rate and of the run's number of steps.
SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "constant": lambda rate, n: schedule.constant(rate),
    "cosine": lambda rate, n: schedule.cosine(rate, n),
    "exponential": lambda rate, n: schedule.exponential(rate, 0.01, decay_steps=n),
    "inverse_time": lambda rate, n: schedule.inverse_time(rate, 9.0, decay_steps=n),
    "linear": lambda rate, n: schedule.linear(rate, 0.0, n),
    "multi_step": lambda rate, n: schedule.multi_step(rate, [n // 2 + 1, 3 * n // 4 + 2]),
    "one_cycle": lambda rate, n: schedule.one_cycle(rate, max(n, 2)),
    "polynomial": lambda rate, n: schedule.polynomial(rate, 0.0, n, power=2.0),
    "step": lambda rate, n: schedule.step(rate, 0.5, max(1, n // 10)),
    "warm_restarts": lambda rate, n: schedule.warm_restarts(rate, max(1, n // 10)),
    "warmup": lambda rate, n: schedule.warmup(schedule.constant(rate), n // 10),
    "warmup_cosine": lambda rate, n: schedule.warmup(schedule.cosine(rate, n), n // 10),
    "warmup_stable_decay": lambda rate, n: schedule.warmup_stable_decay(
        rate, n // 10, n - n // 10 - max(1, n // 5), max(1, n // 5)
    ),
}


class Steps:
    """Takes the steps of one estimator's training.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Its parameters say which optimizer, rates, penalties and constraints.
    steps_per_epoch : int
        With ``max_iter`` epochs, the steps that the run has at most, for schedules.

    Attributes
    ----------
    optimizer : fastreg.Optimizer
    learning_rate : float
        Of the next step.
    """

    alpha: float
    max_norm: float | None
    power_t: float
    first_rate: float
    mode: str
    fused: bool
    optimizer: Any
    schedule: Any
    averages: bool
    swapped: bool

    def __init__(self, estimator: Any, steps_per_epoch: int) -> None:
        self.alpha, self.max_norm = float(estimator.alpha), estimator.max_norm
        self.power_t, self.first_rate = estimator.power_t, float(estimator.learning_rate_init)
        given = estimator.optimizer
        sgd = estimator.solver == "sgd" and given is None
        self.mode = estimator.learning_rate if sgd else "constant"
        self.fused = given is None or isinstance(given, str)  # the penalty is the optimizer's
        self.optimizer = _optimizer_of(estimator) if self.fused else copy.deepcopy(given)
        self.schedule = estimator.schedule
        if isinstance(self.schedule, str):
            total = steps_per_epoch * estimator.max_iter
            self.schedule = SCHEDULES[self.schedule](self.first_rate, total)
        elif hasattr(self.schedule, "bind"):
            lengths = {"steps_per_epoch": steps_per_epoch, "epochs": estimator.max_iter}
            self.schedule = self.schedule.bind(**lengths)
        self.schedule = copy.deepcopy(self.schedule)
        self.averages = self.optimizer.averaged
        self.swapped = False
        self._weight = 0.0

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.optimizer.lr

    def take(self, params: dict[str, Array], grads: dict[str, Array], weight: float) -> None:
        """Take a step after a batch of this weight: its rows, or the sum of their weights."""
        if self.alpha and self.fused and weight != self._weight:
            self.optimizer.lambda_l2 = self.alpha / weight
            self._weight = weight
        elif self.alpha and not self.fused:
            for name, grad in grads.items():
                if name.endswith(".W"):
                    grad += (self.alpha / weight) * params[name]
        if self.schedule is not None:
            self.optimizer.lr = float(self.schedule(self.optimizer.t))
        self.optimizer.update(params, grads)
        if self.max_norm is not None:
            fastreg.max_norm(
                [W for name, W in params.items() if name.endswith(".W")], self.max_norm
            )

    def penalty(self, weights: list[Array], weight: float) -> float:
        """Return the value of the L2 penalty of weight matrices."""
        if not self.alpha:
            return 0.0
        return fastreg.l2_regularization_loss(weights, self.alpha) / weight

    def end_epoch(self, seen: int, loss: float) -> None:
        """Change the rate as "invscaling" does, or let a plateau schedule know the loss."""
        if self.mode == "invscaling":
            self.optimizer.lr = self.first_rate / (seen + 1) ** self.power_t
        if hasattr(self.schedule, "update"):
            self.schedule.update(loss)

    def stops(self, message: str, verbose: Any) -> bool:
        """Say whether training ends if it does not improve any more; "adaptive" goes on slower."""
        rate = self.optimizer.lr
        stop = self.mode != "adaptive" or rate <= 1e-6
        if stop:
            end = " Learning rate too small. Stopping." if self.mode == "adaptive" else " Stopping."
        else:
            self.optimizer.lr = rate / 5.0
            end = f" Setting learning rate to {rate / 5.0:f}"
        if verbose:
            print(message + end)
        return stop

    def show(self, params: dict[str, Array], averages: bool) -> None:
        """Put the averages of the weights in the network, or take them out for the next step."""
        if self.averages and averages != self.swapped and self.optimizer.t:
            self.optimizer.swap_ema(params)
            self.swapped = averages

    def fit(self, params: dict[str, Array]) -> None:
        """Convert the state of the optimizer if the network's dtype has changed."""
        state, changed = self.optimizer.state_dict(), False
        for key, value in state.items():
            like = params.get(key.rpartition(".")[0])
            if isinstance(value, np.ndarray) and like is not None and value.dtype != like.dtype:
                state[key], changed = value.astype(like.dtype), True
        if changed:
            self.optimizer.load_state_dict(state)


def _optimizer_of(estimator):
    """The optimizer that the solver or a name asks for."""
    name = estimator.optimizer or estimator.solver
    services = {
        "lambda_l1": float(estimator.lambda_l1),
        "l1_mode": "prox",
        "clip_norm": estimator.clip_norm,
        "ema_decay": estimator.ema_decay,
        "exclude": optim.BIASES_AND_SCALES,
    }
    if estimator.weight_decay is not None:
        services["weight_decay"] = float(estimator.weight_decay)
    rate, momentum = float(estimator.learning_rate_init), float(estimator.momentum)
    momentum = min(momentum, math.nextafter(1.0, 0.0))
    if name == "momentum" or (estimator.optimizer is None and name == "sgd"):
        if estimator.optimizer is None:  # velocities that carry the rate, as scikit-learn's
            services["compat"] = "keras"
        nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
        return optim.Momentum(rate, momentum, nesterov=nesterov, **services)
    hypers = ()
    if name in MOMENTS:
        hypers = float(estimator.beta_1), float(estimator.beta_2), float(estimator.epsilon)
    if estimator.optimizer is None:  # epsilon on the raw root, as scikit-learn has it
        services["compat"] = "keras"
    return OPTIMIZERS[name](rate, *hypers, **services)

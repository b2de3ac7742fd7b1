"""Networks without a norm, with batch norm and with layer norm, that are alike in all else."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import SGD, BatchNorm, LayerNorm
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import train
from fastreg.lab.result import Result
from fastreg.nn import Dense, ReLU, Sequential
from fastreg.train import Trainer

__all__ = ["COLOURS", "NAMES", "Sensitivity", "fit", "network"]

NAMES = {"none": "no norm", "batch": "batch norm", "layer": "layer norm"}
COLOURS = {"none": plots.GREY, "batch": plots.BLUE, "layer": plots.ORANGE}


def network(sizes: Any, norm: Any, scale: Any, seed: Any) -> Any:
    """Build a network; its weights depend on sizes, scale and seed alone."""
    rng = np.random.default_rng(seed)
    layers: list[Any] = []
    for n_in, n_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers.append(Dense(n_in, n_out, init_scale=scale, rng=rng))
        kinds: dict[str, list[Any]]
        kinds = {"none": [], "batch": [BatchNorm(n_out)], "layer": [LayerNorm(n_out)]}
        layers += kinds[norm]
        layers.append(ReLU())
    return Sequential([*layers, Dense(*sizes[-2:], init_scale=scale, rng=rng)])


def fit(
    data: Any, norm: Any, rate: Any, scale: Any, epochs: Any, seed: Any, batch_size: int = 64
) -> Any:
    """Train one network; for one seed, all but norm, rate and scale is the same."""
    problem = load(data, seed)
    model = network([problem.n_in, 64, 64, 64, problem.n_out], norm, scale, seed)
    trainer = Trainer(model, problem.loss, SGD(rate), rng=seed)
    outcome = train(trainer, problem, epochs=epochs, batch_size=batch_size)
    return outcome | {"last": outcome["val_loss"][-1], "ignorant": problem.ignorant_loss}


class Sensitivity(Result):
    """Losses by norm, learning rate and initial scale, and which of them reach a common loss."""

    scales: Any
    rates: Any
    last: Any

    def __post_init__(self) -> None:
        """Set the loss to reach, and choose each norm's setting by validation loss."""
        self.problem: Any = load(self.outcomes[0]["data"])
        self.rates, self.scales = (sorted({one[key] for one in self.outcomes})
                                   for key in ("rate", "scale"))  # fmt: skip
        self.ignorant: float = float(np.mean([one["ignorant"] for one in self.outcomes]))
        self.last = {norm: np.array([[self.get("last", norm, rate, scale) for rate in self.rates]
                                     for scale in self.scales]) for norm in NAMES}  # fmt: skip
        self.mean: Any = {norm: last.mean(axis=2) for norm, last in self.last.items()}
        lowest = min(mean.min() for mean in self.mean.values())
        self.target: Any = lowest + 0.1 * (self.ignorant - lowest)
        self.reached: Any = {n: (self.last[n] <= self.target).mean(axis=(0, 1)) for n in NAMES}
        best = {n: np.unravel_index(mean.argmin(), mean.shape) for n, mean in self.mean.items()}
        self.best: Any = {norm: (self.rates[j], self.scales[i]) for norm, (i, j) in best.items()}
        self.middle: int = int(np.abs(np.log(self.scales)).argmin())

    def choices(self) -> Any:
        """Each norm's setting, and the loss to reach."""
        return self.best, self.target

    def get(self, key: Any, norm: Any, rate: Any, scale: Any) -> Any:
        """Return a value or a curve per seed."""
        return self.outcomes.values(key, norm=norm, rate=rate, scale=scale)

    def span(self, norm: Any, *, of_rates: Any) -> Any:
        """Say which rates reach the loss at the middle scale, or which scales at some rate."""
        ok = self.mean[norm] <= self.target
        values, ok = (self.rates, ok[self.middle]) if of_rates else (self.scales, ok.any(axis=1))
        found = [value for value, reached in zip(values, ok, strict=True) if reached]
        return (
            " to ".join(dict.fromkeys(f"{x:g}" for x in (found[0], found[-1]))) if found else "none"
        )

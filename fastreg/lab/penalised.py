"""Networks trained with a penalty on their weights, for the two halves of exercise 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import SGD, near_zero
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, run, seeds_of, train
from fastreg.lab.result import Result
from fastreg.lab.statistics import mean_interval
from fastreg.nn import mlp
from fastreg.optim import BIASES_AND_SCALES
from fastreg.schedule import cosine
from fastreg.train import Trainer

__all__ = ["EDGES", "PENALTIES", "SMALL", "STYLES", "Penalised", "fit", "train_all"]

PENALTIES = ("no penalty", "L2", "L1", "proximal L1")
STYLES = ((plots.GREY, "-"), (plots.BLUE, "-"), (plots.ORANGE, "-"), (plots.GREEN, "--"))
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.03, 0.05, 0.1)
SMALL = 0.01  # a weight below it is near zero; the middle bin of the histogram holds just these
EDGES = np.linspace(-0.61, 0.61, 62)


def train_all(
    sets: Any,
    seeds: Any,
    *,
    quick: bool = False,
    strengths: Any = None,
    noise: Any = 0.2,
    epochs: Any = None,
    **how: Any,
) -> Any:
    """Train on each data set with each penalty, strength and seed; return outcomes and settings.

    ``how`` is for `fastreg.lab.fits.run`.
    """
    epochs = epochs or (30 if quick else 100)
    strengths = list(strengths or (STRENGTHS[2::2] if quick else STRENGTHS))
    same = {"noise": [noise], "epochs": [epochs], "seed": seeds_of(seeds)}
    fits = grid(data=sets, penalty=list(PENALTIES[:1]), strength=[0.0], **same)
    fits += grid(data=sets, penalty=list(PENALTIES[1:]), strength=strengths, **same)
    settings = {
        "data": ". And ".join(load(data).describe() for data in sets),
        "label noise": f"{noise:.0%} of the training rows exchange their targets",
        "network": "one hidden layer of 32, ReLU; biases are not penalised",
        "training": f"SGD, 0.3 (reals: 0.03) to 0 as a cosine, batches of 64, {epochs} epochs",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every penalty",
    }
    return run(fit, fits, **how), settings


def fit(data: Any, penalty: Any, strength: Any, noise: Any, epochs: Any, seed: Any) -> Any:
    """Train one network; for one seed all but the penalty is the same."""
    problem = load(data, seed, label_noise=noise)
    model = mlp([problem.n_in, 32, problem.n_out], rng=seed)
    services = {"no penalty": {}, "L2": {"lambda_l2": strength}, "L1": {"lambda_l1": strength},
                "proximal L1": {"lambda_l1": strength, "l1_mode": "prox"}}  # fmt: skip
    first = 0.3 if problem.n_classes else 0.03  # squared errors have the steeper slopes
    rate = cosine(first, epochs * -(-len(problem.X_train) // 64))
    optimizer = SGD(rate, exclude=BIASES_AND_SCALES, **services[penalty])
    outcome = train(Trainer(model, problem.loss, optimizer, rng=seed), problem, epochs=epochs)
    model.backward(problem.loss(model.forward(problem.X_train), problem.y_train)[1])
    weights = np.concatenate([w.ravel() for key, w in model.params.items() if "W" in key])
    pulls = np.concatenate([g.ravel() for key, g in model.grads.items() if "W" in key])
    near, pulls = near_zero(weights, SMALL), np.abs(pulls[np.abs(weights) < SMALL])
    return {
        **{key: outcome[key][-1] for key in ("loss", "val_loss", "val_score")},
        "test_score": outcome["test_score"],
        "near_zero": near.share,
        **spread_of(weights),
        "zeros": near.zeros / near.size,
        "pull": float(np.median(pulls)) if near.count else 0.0,
        "held": float(np.mean(pulls <= strength)) if near.count else 0.0,
        "histogram": (np.histogram(weights, EDGES)[0] / near.size).tolist(),
        "inputs": np.abs(model.params["0.W"]).max(axis=1).tolist(),  # largest weight of each
    }


def spread_of(weights: Any) -> Any:
    """Return how large weights are, and how evenly their squares are shared out."""
    squares = np.sort(weights.astype(np.float64) ** 2)[::-1]
    tenth = squares[: len(squares) // 10].sum()
    return {
        "std": float(weights.std()),
        "largest": float(np.abs(weights).max()),
        "tenth": float(tenth / squares.sum()) if squares.any() else float("nan"),
    }


class Penalised(Result):
    """Outcomes on one data set, by penalty and strength."""

    def __post_init__(self) -> None:
        """Choose each penalty's strength by validation loss."""
        self.problem: Any = load(self.outcomes[0]["data"])
        self.strengths: Any = sorted({one["strength"] for one in self.outcomes} - {0.0})
        self.best: Any = {PENALTIES[0]: 0.0}
        for penalty in PENALTIES[1:]:
            losses = [self.get("val_loss", penalty, s).mean() for s in self.strengths]
            self.best[penalty] = self.strengths[int(np.argmin(losses))]

    def choices(self) -> Any:
        """Each penalty's strength."""
        return self.best

    def get(self, key: Any, penalty: Any, strength: Any = None) -> Any:
        """Return a value per seed, at the chosen strength unless told."""
        if strength is None or penalty == PENALTIES[0]:
            strength = self.best[penalty]
        return self.outcomes.values(key, penalty=penalty, strength=strength)

    def mean(self, key: Any, penalty: Any, scale: Any = 100.0) -> Any:
        """Return the mean at the chosen strength as text, as per cent unless told."""
        return mean_interval(self.get(key, penalty)).text(1 if scale > 1 else 3, scale=scale)

"""Section 3.1: how the inputs of a layer move in training, with and without batch norm."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastreg import SGD
from fastreg.callbacks import Callback
from fastreg.lab import plots
from fastreg.lab.data import Problem, load
from fastreg.lab.fits import grid, seeds_of, train
from fastreg.lab.fits import run as run_fits
from fastreg.lab.normed import COLOURS, NAMES, network
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval, paired_difference
from fastreg.nn import Dense, ReLU
from fastreg.train import Trainer

TINY = {"epochs": 3}

__all__ = ["CovariateShift", "fit", "run"]

PROBE = 256  # training rows whose way through the network is followed
LEVELS = (15, 50, 85)  # percentiles, as in Ioffe & Szegedy, 2015, figure 1


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    epochs: Any = None,
    rate: Any = 0.03,
    **how: Any,
) -> Any:
    """Follow the inputs of the last hidden layer for each norm; ``how`` is passed to `fits.run`."""
    epochs = epochs or (10 if quick else 30)
    fits = grid(data=[data], norm=list(NAMES), rate=[rate], epochs=[epochs], seed=seeds_of(seeds))
    problem = load(data)
    settings = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-64-64-64-{problem.n_out}, ReLU; the norm before each ReLU",
        "training": f"SGD at {rate:g}, batches of 64, {epochs} epochs",
        "measured": f"what enters the third ReLU, on the same {PROBE} training rows after every "
        "epoch: its mean and standard deviation in each of 64 units",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every norm",
    }
    return CovariateShift(run_fits(fit, fits, **how), settings)


def fit(data: Any, norm: Any, rate: Any, epochs: Any, seed: Any) -> Any:
    """Train one network and note the distribution of the third layer's inputs every epoch."""
    problem, seen = load(data, seed), []
    model = network([problem.n_in, 64, 64, 64, problem.n_out], norm, 1.0, seed)
    rows = problem.X_train[:PROBE]

    class Watch(Callback):
        def on_train_begin(self, logs=None):
            seen.append(_inputs(model, rows))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(_inputs(model, rows))

    trainer = Trainer(model, problem.loss, SGD(rate), rng=seed, callbacks=[Watch()])
    outcome = train(trainer, problem, epochs=epochs)
    means, spreads = (np.array([one[part] for one in seen]) for part in ("mean", "std"))
    moves = np.abs(np.diff(means, axis=0)) / np.maximum(spreads[:-1], 1e-12)
    return {
        "val_loss": outcome["val_loss"],
        "test_score": outcome["test_score"],
        "mean": np.median(np.abs(means), axis=1).tolist(),
        "std": np.median(spreads, axis=1).tolist(),
        "move": np.median(moves, axis=1).tolist(),
        "drift": float(np.median(np.abs(means[-1] - means[0]) / np.maximum(spreads[0], 1e-12))),
        "widening": float(np.median(np.maximum(spreads[-1], 1e-12) / spreads[0])),
        "unit": [one["unit"] for one in seen],
    }


def _inputs(model, rows):
    """Return what enters the third ReLU: mean and spread of each unit, percentiles of the first."""
    hidden, dense = rows, 0
    for layer in copy.deepcopy(model).layers:  # batch norm takes its statistics from these rows
        dense += isinstance(layer, Dense)
        if dense == 3 and isinstance(layer, ReLU):
            break
        hidden = layer.forward(hidden)
    hidden = hidden.astype(np.float64)
    unit = np.percentile(hidden[:, 0], LEVELS).tolist()
    return {"mean": hidden.mean(axis=0), "std": hidden.std(axis=0), "unit": unit}


class CovariateShift(Result):
    """How far the inputs of a layer move, by norm."""

    title = "Section 3.1: internal covariate shift, measured"
    question = (
        "While the layers below learn, the distribution of a layer's inputs changes: internal "
        "covariate shift. How far do the inputs of the third hidden layer move without a norm, "
        "with batch norm and with layer norm?"
    )

    def __post_init__(self) -> None:
        """Add up the steps of the means, in standard deviations."""
        self.problem: Problem = load(self.outcomes[0]["data"])
        self.path: dict[str, Any] = {norm: self.get("move", norm).sum(axis=0) for norm in NAMES}

    def get(self, key: Any, norm: Any) -> Any:
        """Return a value or a curve per seed."""
        return self.outcomes.values(key, norm=norm)

    def table(self) -> Table:
        """How far means and spreads move, and what training came to."""
        header = ("norm", "path of the mean (standard deviations)", "drift from first to last",
                  "spread, last over first", "validation loss",
                  f"test {self.problem.score_label}")  # fmt: skip
        rows = [
            (name, mean_interval(self.path[norm]).text(2),
             mean_interval(self.get("drift", norm)).text(2),
             mean_interval(self.get("widening", norm)).text(2),
             mean_interval(self.get("val_loss", norm)[-1]).text(),
             mean_interval(self.get("test_score", norm)).percent())
            for norm, name in NAMES.items()
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Whether batch norm makes the inputs move less, and what it does to their spread."""
        less = paired_difference(self.path["none"], self.path["batch"])
        drift = paired_difference(self.get("drift", "none"), self.get("drift", "batch"))
        paths = [f"{mean_interval(self.path[n]).text(2)} with {NAMES[n]}" for n in NAMES]
        wide = {norm: mean_interval(self.get("widening", norm)).text(2) for norm in NAMES}
        claim = "Within the noise the inputs of the layer move as far with batch norm as without."
        if less.excludes_zero:
            word = "less" if less.mean > 0 else "more"
            claim = (
                f"With batch norm the inputs of the layer move {word}, "
                f"by {abs(less.mean):.2f} ± {less.half:.2f} of their standard deviations."
            )
        return [
            Finding(
                claim,
                f"Added up over the epochs, the mean input of the median unit moves by "
                f"{', '.join(paths)}. The drift from first to last "
                f"without batch norm less that with it: {drift.text(2)} (pairs of the same seed).",
            ),
            Finding(
                f"After training, the spread of the inputs is {wide['batch']} times what it was "
                f"before with batch norm, {wide['none']} times without.",
                f"That of the median unit; with layer norm it is {wide['layer']} times. After "
                "batch norm, mean and spread are β and |γ|, which are learnt: they move only by "
                "their own steps. That this is why it helps is disputed (Santurkar et al., 2018).",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw how far the mean input has come by each epoch."""
        ax.set(xlabel="epoch", ylabel="path of the mean (standard deviations)",
               title=self.findings()[0].claim.removesuffix("."))  # fmt: skip
        runs = {NAMES[n]: np.cumsum(self.get("move", n), axis=0) for n in NAMES}
        colours = {NAMES[n]: COLOURS[n] for n in NAMES}
        epochs = range(1, len(runs["no norm"]) + 1)
        plots.named_curves(ax, epochs, runs, colours, within=(0, np.inf))

    def plot_unit(self, figure: Any) -> None:
        """Draw the percentiles of one unit's inputs by epoch, a panel per norm."""
        for ax, norm in zip(figure.subplots(1, 3, sharey=True), NAMES, strict=True):
            levels = np.array(self.outcomes.where(norm=norm)[0]["unit"]).T
            for level, values in zip(LEVELS, levels, strict=True):
                ax.plot(range(len(values)), values, color=COLOURS[norm], label=f"{level} %",
                        lw=2 if level == 50 else 1)  # fmt: skip
                plots.label_end(ax, len(values) - 1, values[-1], f"{level} %", plots.MUTED)
            ax.set(title=NAMES[norm], xlabel="epoch")
        figure.axes[0].set_ylabel("input of the first unit")
        plots.headline(figure, "The inputs of one unit of the third layer, one seed: percentiles")

    def pictures(self) -> list[Picture]:
        """The path of all units, and the inputs of one."""
        return [
            Picture("path", lambda figure: self.plot(figure.subplots()), (10.4, 3.6),
                    "Median over the units; mean over the seeds, bands: 95 % intervals."),
            Picture("unit", self.plot_unit, (10.4, 3.4),
                    "What enters the ReLU, on the same rows every epoch."),
        ]  # fmt: skip

"""Exercise 4: optimizers at one common learning rate, then each at its own best one."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

import fastreg
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import run as run_fits
from fastreg.lab.fits import seeds_of, train
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.search import METHODS, search
from fastreg.lab.statistics import Ranking, mean_interval
from fastreg.nn import mlp
from fastreg.train import Trainer

TINY: Any = {"epochs": 2, "method": "grid"}

__all__ = ["Optimizers", "fit", "run"]

NAMES = ("SGD", "Momentum", "RMSprop", "Adam", "AdaGrad", "AdamW", "Lion")
COLOURS: dict[str, str] = dict(zip(NAMES, plots.COLOURS, strict=False))
COMMON = 0.01
RATES = (1e-4, 3e-4, 1e-3, 3e-3, COMMON, 3e-2, 0.1, 0.3, 1.0)


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    method: Any = None,
    epochs: Any = None,
    **how: Any,
) -> Any:
    """Train with each optimizer at each rate of the search, by its method if one is given."""
    epochs = epochs or (10 if quick else 40)

    def attempt(tried):
        tried = [{**one, "data": data, "epochs": epochs} for one in tried]
        return run_fits(fit, [{**one, "seed": s} for one in tried for s in seeds_of(seeds)], **how)

    outcomes, method = search(attempt, NAMES, RATES, common=COMMON, method=method)
    problem = load(data)
    settings = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-64-32-{problem.n_out}, ReLU",
        "training": f"batches of 64, {epochs} epochs",
        "search": f"{METHODS[method]}: {len(RATES)} rates from {RATES[0]:g} to {RATES[-1]:g}",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every fit",
    }
    return Optimizers(outcomes, settings)


def fit(data: Any, name: Any, rate: Any, epochs: Any, seed: Any) -> Any:
    """Train one network; for one seed all but the optimizer and its rate is the same."""
    problem = load(data, seed)
    model = mlp([problem.n_in, 64, 32, problem.n_out], rng=seed)
    trainer = Trainer(model, problem.loss, getattr(fastreg, name)(rate), rng=seed)
    outcome = train(trainer, problem, epochs=epochs)
    return {**outcome, "step": 1e3 * median(trainer.history.get("ms_per_step", [float("nan")]))}


class Optimizers(Result):
    """Curves, scores and times of each optimizer, at the common and at its own rate."""

    title = "Exercise 4: which optimizer?"
    question = (
        "Seven optimizers train the same network: first all at one learning rate, then each at the "
        "rate of its lowest validation loss. The test data are used once, at the end."
    )

    def __post_init__(self) -> None:
        """Choose each optimizer's rate, then rank them, by final validation loss."""
        self.problem: Any = load(self.outcomes[0]["data"])
        pairs = {(outcome["name"], outcome["rate"]) for outcome in self.outcomes}
        self.loss: Any = {pair: self.at(pair, "val_loss")[-1] for pair in sorted(pairs)}
        ranked = sorted(self.loss, key=lambda pair: self.loss[pair].mean())
        best = {name: next(pair for pair in ranked if pair[0] == name) for name in NAMES}
        self.tuned: Any = sorted(best.values(), key=ranked.index)
        self.common: Any = [(name, COMMON) for name, _ in self.tuned]
        means = [[self.loss[pair].mean() for pair in pairs] for pairs in (self.common, self.tuned)]
        one, own = (f"{max(mean) / min(mean):.3g} times the lowest" for mean in means)
        self.contrast: Any = (
            f"On average the highest validation loss at {COMMON:g} for all: {one}; tuned: {own}"
        )
        (slow, low), *_, (fast, high) = sorted(self.tuned, key=lambda pair: pair[1])
        self.extremes: Any = f"The best rates go from {low:.2g} ({slow}) to {high:.2g} ({fast})"

    def choices(self) -> Any:
        """Each optimizer's rate, and their order."""
        return self.tuned, self.contrast

    def at(self, pair: Any, key: Any) -> Any:
        """What came out with an optimizer and a rate, the seed as the last axis."""
        return self.outcomes.values(key, name=pair[0], rate=pair[1])

    def table(self) -> Table:
        """Losses, scores and times of each optimizer, the best first."""
        unit = f"test {self.problem.score_label}"
        header = ("optimizer", f"validation loss at {COMMON:g}", f"{unit} at {COMMON:g}",
                  "its rate", "validation loss", unit, "training (s)", "step (µs)")  # fmt: skip
        rows = []
        for same, own in zip(self.common, self.tuned, strict=True):
            scores = [mean_interval(self.at(pair, "test_score")).percent() for pair in (same, own)]
            losses = [mean_interval(self.loss[pair]).text() for pair in (same, own)]
            seconds, step = (mean_interval(self.at(own, key)) for key in ("seconds", "step"))
            rows.append((own[0], losses[0], scores[0], f"{own[1]:.2g}", losses[1], scores[1],
                         seconds.text(2), step.text(0)))  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Whether one is best, what the rate does, and what a step costs."""
        ranking = Ranking({pair[0]: self.loss[pair] for pair in self.tuned})
        score = Ranking({pair[0]: self.at(pair, "test_score") for pair in self.tuned},
                        highest=True, step=self.problem.score_step)  # fmt: skip
        scores = [
            f"{name} {mean_interval(self.at((name, rate), 'test_score')).percent()}"
            for name, rate in self.tuned
        ]
        edge = [name for name, rate in self.tuned if rate in (RATES[0], RATES[-1])]
        (cheap, a), *_, (dear, b) = sorted((self.at(p, "step").mean(), p[0]) for p in self.tuned)
        return [
            Finding(
                f"Tuned: {ranking.claim('validation loss').replace('Within', 'within')}",
                f"{ranking.best}'s mean is lowest, {mean_interval(self.loss[self.tuned[0]]).text()}"
                f"; higher in pairs of the same seed: {ranking.evidence()}.",
            ),
            Finding(
                f"On test data: {score.claim(self.problem.score_name).replace('Within', 'within')}",
                f"Test {self.problem.score_label}, tuned: {', '.join(scores)}.",
            ),
            Finding(
                f"{self.contrast}.",
                f"{self.extremes}: at one rate for all, those that it suits look best."
                + (f" At an end of the rates tried: {', '.join(edge)}." if edge else "")
                + f" A step takes {cheap:.0f} µs ({a}) to {dear:.0f} µs ({b}).",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw the search: final validation loss against the rate."""
        most = 2 * self.problem.ignorant_loss  # what is higher is drawn there
        ax.set(xscale="log", yscale="log", xlabel="learning rate", title=self.extremes,
               ylabel=f"validation {self.problem.loss_label}")  # fmt: skip
        for name, colour in COLOURS.items():
            rates = [rate for tried, rate in self.loss if tried == name]
            means = [min(self.loss[name, rate].mean(), most) for rate in rates]
            ax.plot(rates, means, ".-", color=colour)
        for name, rate in self.tuned:
            best = [rate], [np.minimum(self.loss[name, rate], most)]
            plots.intervals(ax, *best, colour=COLOURS[name], label=name, line=False,
                            within=(0, most))  # fmt: skip
        ax.axvline(COMMON, color=plots.GREY, ls=":")
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

    def plot_curves(self, figure: Any) -> None:
        """Draw training and validation losses by epoch, at the common rate and tuned."""
        most = 10 * self.problem.ignorant_loss  # what is higher is drawn there
        for row, key in zip(figure.subplots(2, 2, sharey="row"), ("loss", "val_loss"), strict=True):
            kind = f"{'training' if key == 'loss' else 'validation'} loss"
            row[0].set(title=f"{kind}, {COMMON:g} for all", ylabel=self.problem.loss_label)
            row[1].set_title(f"{kind}, each at its own rate")
            runs = [{pair[0]: np.minimum(self.at(pair, key), most) for pair in pairs}
                    for pairs in (self.common, self.tuned)]  # fmt: skip
            for ax in row:
                ax.set(yscale="log", xlabel="epoch")
            epochs = range(1, len(runs[0]["Adam"]) + 1)
            plots.named_curves(row, epochs, runs, COLOURS, within=(0, most))
        plots.headline(figure, self.contrast)

    def pictures(self) -> list[Picture]:
        """Losses by epoch, and the search."""
        return [
            Picture("curves", self.plot_curves, (10.4, 6.4), "Means; bands: 95 % intervals."),
            Picture("search", lambda figure: self.plot(figure.subplots()), (10.4, 4.0),
                    "Means of the last epoch; bars: 95 % intervals; dotted: the common rate. A "
                    f"loss above twice that of guessing by {self.problem.guess} is drawn there."),
        ]  # fmt: skip

"""Exercise 2: train with several dropout rates; which is best, what does a high one do."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import Adam
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of, train
from fastreg.lab.fits import run as run_fits
from fastreg.lab.plots import BLUE, ORANGE
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import Ranking, mean_interval, paired_difference
from fastreg.nn import mlp
from fastreg.train import Trainer

TINY: Any = {"rates": (0.0, 0.3, 0.9), "epochs": 2}

__all__ = ["DropoutRate", "fit", "run"]

RATES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
NOISE = 0.2


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    rates: Any = RATES,
    epochs: Any = None,
    **how: Any,
) -> Any:
    """Train a network at each rate, on clean and on noisy labels; ``how`` is for `fits.run`."""
    epochs = epochs or (15 if quick else 60)
    settings = grid(data=[data], label_noise=[0.0, NOISE], rate=sorted(rates), epochs=[epochs],
                    seed=seeds_of(seeds))  # fmt: skip
    problem = load(data)
    about = {
        "data": problem.describe(),
        "noisy labels": f"{NOISE:.0%} of the training rows have exchanged their targets",
        "network": f"{problem.n_in}-256-128-{problem.n_out}, ReLU, dropout after each hidden layer",
        "training": f"Adam at 0.001, batches of 64, {epochs} epochs; the last weights are judged",
        "seeds": f"0 to {seeds - 1}: all but rate and noise is the same for one seed",
    }
    return DropoutRate(run_fits(fit, settings, **how), about)


def fit(data: Any, label_noise: Any, rate: Any, epochs: Any, seed: Any) -> Any:
    """Train one network; for one seed all but rate and noise is the same."""
    problem = load(data, seed, label_noise=label_noise)
    model = mlp([problem.n_in, 256, 128, problem.n_out], dropout=rate, rng=seed)
    trainer = Trainer(model, problem.loss, Adam(0.001), rng=seed)
    return train(trainer, problem, epochs=epochs)


class DropoutRate(Result):
    """Curves and test scores by dropout rate, on clean and on noisy labels."""

    title = "Exercise 2: how much dropout?"
    question = (
        "The same network is trained with dropout rates from none to very high, on clean labels "
        "and on labels with noise to overfit. Validation loss chooses the rate."
    )

    def __post_init__(self) -> None:
        """Choose the rate of the lowest final validation loss, for each kind of labels."""
        self.problem: Any = load(self.outcomes[0]["data"])
        self.rates: Any = sorted({outcome["rate"] for outcome in self.outcomes})
        self.kinds: Any = {0.0: "clean", NOISE: "noisy"}
        self.best: Any = {
            noise: min(self.rates, key=lambda rate: self.last("val_loss", noise, rate).mean())
            for noise in self.kinds
        }

    def last(self, curve: Any, noise: Any, rate: Any) -> Any:
        """Return where a curve ends, a value per seed."""
        return self.outcomes.values(curve, label_noise=noise, rate=rate)[-1]

    def score(self, noise: Any, rate: Any) -> Any:
        """Return the test scores, a value per seed."""
        return self.outcomes.values("test_score", label_noise=noise, rate=rate)

    def table(self) -> Table:
        """Final losses and scores of each rate; a star marks the choice."""
        unit = self.problem.score_label
        header = ("labels, rate", "training loss", "validation loss", f"validation {unit}")
        rows = []
        for noise, kind in self.kinds.items():
            for rate in self.rates:
                losses = [self.last(key, noise, rate) for key in ("loss", "val_loss")]
                scores = [self.last("val_score", noise, rate), self.score(noise, rate)]
                name = f"{kind}, {rate:g}{' *' if rate == self.best[noise] else ''}"
                rows.append((name, *(mean_interval(loss).text() for loss in losses),
                             *(mean_interval(score).percent() for score in scores)))  # fmt: skip
        return Table((*header, f"test {unit}"), rows)

    def choices(self) -> Any:
        """The rate for each kind of labels."""
        return self.best

    def findings(self) -> list[Finding]:
        """The best rate on both kinds of labels, and what the highest did."""
        return [self._choice(NOISE), self._choice(0.0), self._highest()]

    def _choice(self, noise):
        best, none, kind = self.best[noise], self.rates[0], self.kinds[noise]
        gain = paired_difference(self.score(noise, best), self.score(noise, none),
                                 step=self.problem.score_step)  # fmt: skip
        worth = f"{gain.percent()} points of test {self.problem.score_name}"
        claim = f"On {kind} labels dropout {best:g} is worth {worth}."
        if best == none:
            claim = f"On {kind} labels the validation loss chooses no dropout."
        elif not gain.excludes_zero:
            claim = (
                f"Within the noise dropout {best:g} cannot be told from none on {kind} labels: it "
                f"is worth {worth}."
            )
        ranking = Ranking({f"{rate:g}": self.last("val_loss", noise, rate) for rate in self.rates})
        loss = mean_interval(self.last("val_loss", noise, best)).text()
        score = mean_interval(self.score(noise, best)).percent()
        return Finding(
            claim,
            f"{best:g} has the lowest mean validation loss, {loss}. {ranking.claim('loss')} Test "
            f"{self.problem.score_label}: {score}; differences are of pairs of the same seed.",
        )

    def _highest(self):
        high, best = self.rates[-1], self.best[0.0]
        train, val = (self.last(key, 0.0, high).mean() for key in ("loss", "val_loss"))
        underfits = train > max(val - train, 0.2 * self.problem.ignorant_loss)
        cost = paired_difference(self.score(0.0, best), self.score(0.0, high),
                                 step=self.problem.score_step)  # fmt: skip
        points = f"{cost.percent()} points of test {self.problem.score_name}"
        if high == best:
            claim = f"On clean labels the validation loss chooses {high:g}, the highest rate tried."
        elif not cost.excludes_zero:
            claim = (
                f"Within the noise dropout {high:g} cannot be told from {best:g} on clean labels: "
                f"it costs {points}."
            )
        elif cost.mean < 0:
            claim = f"Dropout {high:g} scores more than {best:g} does: it gains {points[1:]}."
        else:
            claim = f"Dropout {high:g} {'underfits and ' if underfits else ''}costs {points}."
        return Finding(
            claim,
            f"On clean labels it ends with a training loss of {train:.2g} and validation at "
            f"{val:.2g}; knowing nothing costs {self.problem.ignorant_loss:.2g}, and with {best:g} "
            f"training loss goes to {self.last('loss', 0.0, best).mean():.2g}.",
        )

    def plot(self, ax: Any) -> None:
        """Draw the errors on test data against the rate."""
        ax.set_title(self.findings()[0].claim.removesuffix("."))
        ax.set_yscale("symlog", linthresh=1, linscale=0.3)  # there may be no errors at all
        most = 100 if self.problem.n_classes else np.inf
        for (noise, kind), colour in zip(self.kinds.items(), (BLUE, ORANGE), strict=True):
            errors = [1.0 - self.score(noise, rate) for rate in self.rates]
            mean, _ = plots.intervals(ax, self.rates, errors, colour=colour, scale=100,
                                      label=f"{kind} labels", within=(0, most))  # fmt: skip
            place = self.rates.index(self.best[noise])
            ax.plot(self.best[noise], mean[place], "o", ms=12, mfc="none", color=colour)
        ax.set(xlabel="dropout rate", ylabel=f"test {self.problem.error_label}")
        ax.set_ylim(bottom=-0.3)
        ax.set_yticks(ticks := (0, 1, 2, 5, 10, 20, 50, 100), map(str, ticks))
        ax.legend()

    def plot_accuracy(self, figure: Any) -> None:
        """Draw both scores against the epoch: a row per kind, a column per rate."""
        grid = figure.subplots(2, len(self.rates), sharex=True, sharey="row", squeeze=False)
        low, high = self.problem.score_range
        for row, (noise, kind) in zip(grid, self.kinds.items(), strict=True):
            for ax, rate in zip(row, self.rates, strict=True):
                for key, name, colour in (("val_score", "validation", ORANGE),
                                          ("train_score", "training", BLUE)):  # fmt: skip
                    runs = self.outcomes.values(key, label_noise=noise, rate=rate)
                    runs = 100 * np.maximum(runs, -1)  # a variance explained has no lower end
                    plots.curve(ax, range(1, len(runs) + 1), runs, colour=colour, label=name,
                                within=(max(-100, low), high))  # fmt: skip
                if noise == 0.0:
                    ax.set_title(f"rate {rate:g}")
                else:
                    ax.set_xlabel("epoch")
            row[0].set_ylabel(f"{kind} labels:\n{self.problem.score_label}")
        grid[0, 0].legend(loc="lower right")
        plots.headline(figure, self.findings()[2].claim)

    def plot_curves(self, figure: Any) -> None:
        """Draw the losses on noisy labels against the epoch, a panel per rate."""
        panels = figure.subplots(1, len(self.rates), sharey=True)
        for ax, rate in zip(panels, self.rates, strict=True):
            ax.set(title=f"rate {rate:g}", xlabel="epoch")
            for key, name, colour in (("val_loss", "validation", ORANGE),
                                      ("loss", "training", BLUE)):  # fmt: skip
                runs = self.outcomes.values(key, label_noise=NOISE, rate=rate)
                plots.curve(ax, range(1, len(runs) + 1), runs, colour=colour, label=name,
                            within=(0, np.inf))  # fmt: skip
        panels[0].set_ylabel(self.problem.loss_label)
        panels[-1].legend()
        low, best = (self.rates[0], self.best[NOISE])
        ends = [mean_interval(self.last("loss", NOISE, rate)).text(2) for rate in (low, best)]
        plots.headline(
            figure,
            f"On noisy labels training loss ends at {ends[0]} with dropout "
            f"{low:g}" + (f", at {ends[1]} with {best:g}" if best != low else ""),
        )

    def pictures(self) -> list[Picture]:
        """The scores by rate, and the curves behind them."""
        return [
            Picture("by_rate", lambda figure: self.plot(figure.subplots()), (10.4, 3.6),
                    "Bars: 95 % intervals over the seeds. Rings: chosen by validation loss."),
            Picture("accuracy", self.plot_accuracy, (10.4, 5.0),
                    "Mean over the seeds; bands: 95 % intervals, within what is possible. Both are "
                    "measured without dropout; on noisy labels training counts the noisy ones."),
            Picture("curves", self.plot_curves, (10.4, 3.2),
                    "Noisy labels. Mean over the seeds; bands: 95 % intervals; without dropout."),
        ]  # fmt: skip

"""Exercise 5: a constant rate, step decay, cosine, and warm-up before the cosine."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import Adam, schedule
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of, train
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import Ranking, mean_interval, paired_difference
from fastreg.nn import mlp
from fastreg.train import Trainer

TINY = {"epochs": 2}

__all__ = ["Schedules", "fit", "run"]

NAMES = ("constant", "step decay", "cosine", "warmup + cosine")
COLOURS = dict(zip(NAMES, plots.COLOURS, strict=False))
PEAKS = (0.001, 0.003, 0.01)
LAST = 10  # epochs over which the changes at the end are measured


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    peaks: Any = PEAKS,
    epochs: Any = None,
    **how: Any,
) -> Any:
    """Train with each schedule, from each highest rate."""
    epochs = epochs or (40 if quick else 80)
    same, varied = {"data": [data], "epochs": [epochs]}, {"name": list(NAMES), "peak": list(peaks)}
    outcomes = run_fits(fit, grid(**same, **varied, seed=seeds_of(seeds)), **how)
    problem = load(data)
    settings = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-64-32-{problem.n_out}, ReLU",
        "training": f"Adam, batches of 64, {epochs} epochs; highest rates {peaks}",
        "schedules": "step decay halves every 20 epochs; the warm-up takes 5 (half of a short run)",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every fit",
    }
    return Schedules(outcomes, settings)


def fit(data: Any, name: Any, peak: Any, epochs: Any, seed: Any) -> Any:
    """Train one network; for one seed all but the learning rate is the same."""
    problem = load(data, seed)
    epoch = -(-len(problem.X_train) // 64)  # in steps
    total, rise = epochs * epoch, min(5, epochs // 2) * epoch
    rate = {
        "constant": schedule.constant(peak),
        "step decay": schedule.step(peak, drop_factor=0.5, drop_every=20 * epoch),
        "cosine": schedule.cosine(peak, total),
        "warmup + cosine": schedule.warmup(schedule.cosine(peak, total - rise), rise),
    }[name]
    model = mlp([problem.n_in, 64, 32, problem.n_out], rng=seed)
    trainer = Trainer(model, problem.loss, Adam(peak), schedule=rate, rng=seed)
    outcome = train(trainer, problem, epochs=epochs)
    return {**outcome, "rate": trainer.history["learning_rate"]}


class Schedules(Result):
    """Rates and losses by epoch, and how each schedule ends."""

    title = "Exercise 5: which learning-rate schedule?"
    question = (
        "Four schedules, each from the highest rate that gives its lowest validation loss: which "
        "achieves the best final test accuracy, and by more than the noise?"
    )

    def __post_init__(self) -> None:
        """Choose each schedule's highest rate, then rank them, by final validation loss."""
        self.problem: Any = load(self.outcomes[0]["data"])
        self.peaks: Any = sorted({outcome["peak"] for outcome in self.outcomes})
        self.peak: Any = {name: min(self.peaks, key=lambda peak: self.final(name, peak).mean())
                     for name in NAMES}  # fmt: skip
        self.ranked: Any = sorted(NAMES, key=lambda name: self.final(name).mean())

    def choices(self) -> Any:
        """Each schedule's highest rate, and their order."""
        return self.peak, self.ranked

    def at(self, key: Any, name: Any, peak: Any = None) -> Any:
        """What came out, with the schedule's own highest rate if none is given."""
        return self.outcomes.values(key, name=name, peak=peak or self.peak[name])

    def final(self, name: Any, peak: Any = None) -> Any:
        """The validation losses after the last epoch."""
        return self.at("val_loss", name, peak)[-1]

    def unrest(self, name: Any) -> Any:
        """Mean change of the validation loss from epoch to epoch, at the end."""
        return np.abs(np.diff(self.at("val_loss", name)[-LAST:], axis=0)).mean(axis=0)

    def table(self) -> Table:
        """Losses and scores of each schedule, the best first."""
        header = ("schedule", "highest rate", "training loss", "validation loss",
                  "change per epoch at the end", f"test {self.problem.score_label}")  # fmt: skip
        rows = []
        for name in self.ranked:
            score = mean_interval(self.at("test_score", name)).percent()
            parts = self.at("loss", name)[-1], self.final(name), self.unrest(name)
            losses = [mean_interval(one).text(5) for one in parts]
            rows.append((name, f"{self.peak[name]:g}", *losses, score))
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Which ends best, whether beyond the noise, and what a schedule is good for."""
        unit = self.problem.score_label
        scores = {name: self.at("test_score", name) for name in NAMES}
        score = Ranking(scores, highest=True, step=self.problem.score_step)
        loss = Ranking({name: self.final(name) for name in NAMES})
        calm = Ranking({name: self.unrest(name) for name in NAMES})
        each = [f"{name} {mean_interval(scores[name]).percent()}" for name in score.names]
        return [
            Finding(
                score.claim(f"final test {self.problem.score_name}"),
                f"Test {unit}: {', '.join(each)}. In points lower than {score.best}, pairs of the "
                f"same seed: {score.evidence(1, scale=100)}.",
            ),
            Finding(
                loss.claim("validation loss"),
                f"The lowest mean is that of {loss.best}, "
                f"{mean_interval(self.final(loss.best)).text()}; "
                f"higher in pairs of the same seed: {loss.evidence(4)}.",
            ),
            Finding(
                calm.claim("unrest at the end"),
                f"The validation loss of {calm.best} changes by "
                f"{self.unrest(calm.best).mean():.1e} per epoch at the "
                f"end, that of {calm.names[-1]} by "
                f"{self.unrest(calm.names[-1]).mean():.1e}.",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw the final validation loss against the highest rate."""
        best, *_, worst = sorted(NAMES, key=lambda name: self.final(name, self.peaks[-1]).mean())
        gap = paired_difference(*(self.final(name, self.peaks[-1]) for name in (worst, best)),
                                among=len(NAMES))  # fmt: skip
        ax.set(xscale="log", xlabel="highest learning rate", ylabel=self.problem.loss_label,
               title=f"From {self.peaks[-1]:g} {worst} ends {gap.text()} above {best}"
               + ("" if gap.excludes_zero else ", within the noise"))  # fmt: skip
        for i, name in enumerate(NAMES):
            places = [peak * 1.04 ** (i - 1.5) for peak in self.peaks]  # beside each other
            runs = [self.final(name, peak) for peak in self.peaks]
            plots.intervals(ax, places, runs, colour=COLOURS[name], label=name, within=(0, np.inf))
        ax.set_xticks(self.peaks, map(str, self.peaks))
        ax.minorticks_off()
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

    def plot_curves(self, figure: Any) -> None:
        """Draw rates and losses by epoch, each schedule from its own highest rate."""
        labels = {"rate": "learning rate", "loss": "training loss", "val_loss": "validation loss"}
        for ax, (key, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
            ax.set(title=label, xlabel="epoch", yscale="linear" if key == "rate" else "log")
            ax.set_ylabel("step size" if key == "rate" else self.problem.loss_label)
            for name, colour in COLOURS.items():
                runs = self.at(key, name)
                plots.curve(ax, range(1, len(runs) + 1), runs, colour=colour, label=name,
                            within=(0, np.inf))  # fmt: skip
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        plots.headline(figure, self.findings()[1].claim)

    def plot_scores(self, figure: Any) -> None:
        """Draw the final test scores, each schedule from its own highest rate."""
        ax = figure.subplots()
        ax.set(ylabel=f"test {self.problem.score_label}", xlabel="schedule")
        for i, name in enumerate(self.ranked):
            plots.intervals(ax, [i], [self.at("test_score", name)], colour=COLOURS[name],
                            label=name, scale=100, within=self.problem.score_range)  # fmt: skip
        ax.set_xticks(range(len(NAMES)), self.ranked)
        ax.set_title(self.findings()[0].claim.removesuffix("."))

    def pictures(self) -> list[Picture]:
        """Scores, curves, and the final loss against the highest rate."""
        return [
            Picture("scores", self.plot_scores, (10.4, 3.2), "Means; bars: 95 % intervals."),
            Picture("curves", self.plot_curves, (10.4, 4.2), "Means; bands: 95 % intervals."),
            Picture("peaks", lambda f: self.plot(f.subplots()), (10.4, 3.6), "95 % intervals."),
        ]

"""Exercise 6: make a network overfit, and stop it early with patience 5, 10 and 20."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import Adam, EarlyStopping
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of, train
from fastreg.lab.fits import run as run_fits
from fastreg.lab.plots import BLUE, GREEN, ORANGE, PURPLE
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import Ranking, mean_interval, paired_difference
from fastreg.nn import mlp
from fastreg.train import Trainer

TINY: Any = {"patiences": (1, 2), "epochs": 4}

__all__ = ["EarlyStop", "fit", "run"]

PATIENCES = (5, 10, 20)
NOISE = 0.4


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    patiences: Any = PATIENCES,
    epochs: Any = None,
    **how: Any,
) -> Any:
    """Train without stopping and with each patience, on noisy labels; ``how`` is for `fits.run`."""
    epochs = epochs or (40 if quick else 80)
    settings = grid(data=[data], label_noise=[NOISE], patience=[None, *sorted(patiences)],
                    epochs=[epochs], seed=seeds_of(seeds))  # fmt: skip
    problem = load(data)
    about = {
        "data": problem.describe(),
        "noise to overfit": f"{NOISE:.0%} of the training rows have exchanged their targets",
        "network": f"{problem.n_in}-256-128-{problem.n_out}, ReLU, no regularisation",
        "training": f"Adam at 0.001, batches of 64, at most {epochs} epochs; stopped on validation "
        "loss (min_delta 0.0001), which puts the best weights back",
        "seeds": f"0 to {seeds - 1}: all but the patience is the same for one seed",
    }
    return EarlyStop(run_fits(fit, settings, **how), about)


def fit(data: Any, label_noise: Any, patience: Any, epochs: Any, seed: Any) -> Any:
    """Train one network; without patience to the end."""
    problem = load(data, seed, label_noise=label_noise)
    model = mlp([problem.n_in, 256, 128, problem.n_out], rng=seed)
    stopping = None if patience is None else EarlyStopping(patience, verbose=False)
    trainer = Trainer(model, problem.loss, Adam(0.001), early_stopping=stopping, rng=seed)
    outcome = train(trainer, problem, epochs=epochs)
    return {**outcome, "epochs_run": len(outcome["loss"]), "stopped": trainer.stop_training}


class EarlyStop(Result):
    """Curves of a run without stopping, and where each patience ends it."""

    title = "Exercise 6: when to stop?"
    question = (
        "A network that can learn the noise in its labels is trained to the end, and again with "
        "early stopping. What does each patience gain in score, and how many epochs does it save?"
    )

    def __post_init__(self) -> None:
        """Replay each patience on the losses of the runs without stopping."""
        self.problem: Any = load(self.outcomes[0]["data"])
        self.epochs: Any = self.outcomes[0]["epochs"]
        self.patiences: Any = sorted({o["patience"] for o in self.outcomes} - {None})
        self.replays: Any = [
            EarlyStopping.replay(one["val_loss"], self.patiences)
            for one in self.outcomes.where(patience=None)
        ]

    def choices(self) -> Any:
        """The epochs that each patience keeps."""
        return self.replays, [self.saved(patience).tolist() for patience in self.patiences]

    def agreement(self) -> Any:
        """Return how many live runs ended with the epoch that the replay says, of how many."""
        live = [self.outcomes.values("epochs_run", patience=p) for p in self.patiences]
        replayed = [[replay.epochs_run for replay in run] for run in self.replays]
        same = np.array(live) == np.array(replayed).T
        return int(same.sum()), same.size

    def saved(self, patience: Any) -> Any:
        """Return the share of the epochs that a patience saves, a value per seed."""
        return 1.0 - self.outcomes.values("epochs_run", patience=patience) / self.epochs

    def score(self, patience: Any) -> Any:
        """Return the test scores, a value per seed."""
        return self.outcomes.values("test_score", patience=patience)

    def gain(self, patience: Any) -> Any:
        """Return what stopping adds to the test score, as an interval."""
        return paired_difference(
            self.score(patience), self.score(None), step=self.problem.score_step
        )

    def called(self, patience: Any) -> Any:
        """Return the name of a patience."""
        return f"patience {patience}" if patience else "no stopping"

    def table(self) -> Table:
        """Epochs and test scores of each patience."""
        header = ("patience", "epochs run", "epochs saved (%)",
                  f"test {self.problem.score_label}", "gain (points)")  # fmt: skip
        rows = []
        for patience in (None, *self.patiences):
            runs = self.outcomes.values("epochs_run", patience=patience)
            saved, score = mean_interval(self.saved(patience)), mean_interval(self.score(patience))
            gain = self.gain(patience).percent() if patience else "–"
            rows.append((str(patience or "none"), mean_interval(runs).text(1), saved.percent(0),
                         score.percent(), gain))  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """What each patience is worth, how the curves show it, and whether the replay agrees."""
        first, last = self.patiences[0], self.patiences[-1]
        worth = "; ".join(
            f"patience {p}: {self.gain(p).percent()} points, {100 * self.saved(p).mean():.0f} % "
            "of the epochs saved" for p in self.patiences
        )  # fmt: skip
        more = paired_difference(self.score(last), self.score(first), step=self.problem.score_step)
        losses = self.outcomes.values("val_loss", patience=None)
        lowest = mean_interval(losses.argmin(axis=0) + 1).text(1)
        train = self.outcomes.values("loss", patience=None)[-1].mean()
        same, of = self.agreement()
        unit = self.problem.score_label
        points = f"{self.gain(first).percent()} points of test {self.problem.score_name}"
        saves = f"saves {100 * self.saved(first).mean():.0f} % of the epochs"
        scores = {self.called(p): self.score(p) for p in (None, *self.patiences)}
        each = [f"{name} {mean_interval(values).percent()}" for name, values in scores.items()]
        return [
            Finding(
                f"Patience {first} {saves} and {'gains' if self.gain(first).mean > 0 else 'costs'}"
                f" {points.removeprefix('-')}."
                if self.gain(first).excludes_zero
                else f"Within the noise stopping does not change the test score; patience {first} "
                f"{saves}.",
                f"Against no stopping: {worth}. The score of patience {last} less that of "
                f"{first}: {more.percent()} points (pairs of the same seed).",
            ),
            Finding(
                Ranking(scores, highest=True, step=self.problem.score_step).claim(
                    f"test {self.problem.score_name}"
                ),
                f"Final test {unit}: {', '.join(each)}.",
            ),
            Finding(
                f"Validation loss is lowest at epoch {lowest}.",
                f"There it is {losses.min(axis=0).mean():.3f}, after {self.epochs} epochs "
                f"{losses[-1].mean():.3f}, while training loss goes on to {train:.3g}.",
            ),
            Finding(
                f"The replay of one run agrees with {same} of {of} live runs.",
                "Patience would have ended the run without stopping where it ended a live one.",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw the curves without stopping, and where each patience ends."""
        for key, name, colour in (("val_loss", "validation", ORANGE), ("loss", "training", BLUE)):
            runs = self.outcomes.values(key, patience=None)
            plots.curve(ax, range(1, self.epochs + 1), runs, colour=colour, label=name,
                        within=(0, np.inf))  # fmt: skip
            plots.label_end(ax, self.epochs, runs[-1].mean(), name, colour)
        for place, patience in enumerate(self.patiences):
            colour = (GREEN, PURPLE, plots.INK)[place % 3]
            runs = self.outcomes.values("epochs_run", patience=patience)
            ax.axvline(runs.mean(), color=colour, ls="--", lw=1.4)
            text = f"patience {patience}: epoch {runs.mean():.0f}, {self.gain(patience).percent()}"
            late = runs.mean() > 0.6 * self.epochs  # no room at the right
            ax.annotate(text, (runs.mean(), 1 - 0.08 * place), (-5 if late else 5, -12),
                        xycoords=("data", "axes fraction"), textcoords="offset points",
                        ha="right" if late else "left", fontweight="bold", color=colour,
                        bbox={"fc": plots.PAPER, "ec": "none", "pad": 1})  # fmt: skip
        ax.set(xlabel="epoch", ylabel=self.problem.loss_label)
        ax.set_title(self.findings()[0].claim.removesuffix("."))

    def plot_scores(self, figure: Any) -> None:
        """Draw the test score of each patience."""
        ax, names = figure.subplots(), [self.called(p) for p in (None, *self.patiences)]
        values = [self.score(patience) for patience in (None, *self.patiences)]
        ax.set(xlabel="early stopping", ylabel=f"test {self.problem.score_label}")
        plots.intervals(ax, range(len(names)), values, colour=BLUE, scale=100, line=False,
                        label=self.problem.score_label,
                        within=self.problem.score_range)  # fmt: skip
        ax.set_xticks(range(len(names)), names)
        ax.set_title(self.findings()[1].claim.removesuffix("."))

    def pictures(self) -> list[Picture]:
        """The curves, marked, and the test scores."""
        return [
            Picture("curves", lambda figure: self.plot(figure.subplots()), (10.4, 4.2),
                    "Mean of the runs without stopping; bands: 95 % intervals. Dashed: mean epoch "
                    "at which a patience stops, with its gain in test score in points."),
            Picture("scores", self.plot_scores, (10.4, 3.2), "Means; bars: 95 % intervals."),
        ]  # fmt: skip

"""Sections 5.1, 5.2 and 5.3: step decay, cosine and warm-up; their rates, and what each changes."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastreg
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.experiments.schedules import COLOURS, NAMES, fit
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval, paired_difference

TINY = {"epochs": 2}

__all__ = ["LearningRates", "run"]

PEAK = 0.01  # the highest of exercise 5, where schedules matter most
EPOCHS = (0, 5, 10, 20, 25, 30, 40, 50, 100)
CHAPTER: Any = {  # the chapter's functions with the arguments of its examples
    "step_decay": fastreg.step_decay,
    "cosine_annealing, 50": lambda epoch: fastreg.cosine_annealing(epoch, total_epochs=50),
    "warmup_schedule": fastreg.warmup_schedule,
    "warmup_cosine, 100": lambda epoch: fastreg.warmup_cosine(
        epoch, total_epochs=100, warmup_epochs=10
    ),
}


def run(
    data: Any = "digits", seeds: Any = 5, *, quick: bool = False, epochs: Any = None, **how: Any
) -> Any:
    """Train with each schedule from one peak, as exercise 5 does; ``how`` is for `fits.run`."""
    epochs = epochs or (40 if quick else 80)
    fits = grid(data=[data], epochs=[epochs], name=list(NAMES), peak=[PEAK], seed=seeds_of(seeds))
    problem = load(data)
    settings = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-64-32-{problem.n_out}, ReLU",
        "training": f"Adam, batches of 64, {epochs} epochs, from a peak of {PEAK:g} for all",
        "schedules": "as in exercise 5, which also tunes the peak of each",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every fit",
    }
    return LearningRates(run_fits(fit, fits, **how), settings)


class LearningRates(Result):
    """The chapter's rates, and the curves they lead to from one peak."""

    title = "Sections 5.1, 5.2 and 5.3: step decay, cosine annealing, warm-up"
    question = (
        "Which rates do the chapter's functions give, and what does each schedule change if "
        "everything else, including the highest rate, stays the same?"
    )

    def get(self, key: Any, name: Any) -> Any:
        """Return a curve or a value per seed."""
        return self.outcomes.values(key, name=name)

    def tables(self) -> dict[str, Table]:
        """The rates, and what came of them."""
        return {"The chapter's rates by epoch": self.rates(), "One peak for all": self.table()}

    def rates(self) -> Any:
        """Return the chapter's functions by epoch."""
        rows = [
            (name, *(f"{rate(epoch):.4g}" if epoch <= _last(name) else "–" for epoch in EPOCHS))
            for name, rate in CHAPTER.items()
        ]
        return Table(("function", *map(str, EPOCHS)), rows)

    def table(self) -> Table:
        """Losses after the first and the last epoch, and scores."""
        header = ("schedule", "validation loss, epoch 1", "validation loss, last",
                  f"test {load(self.outcomes[0]['data']).score_label}")  # fmt: skip
        rows = [
            (name, mean_interval(self.get("val_loss", name)[0]).text(),
             mean_interval(self.get("val_loss", name)[-1]).text(4),
             mean_interval(self.get("test_score", name)).percent())
            for name in NAMES
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """One for each section."""
        constant, step, cosine, warm = NAMES
        first = self._gap(cosine, warm, 0)
        rates = {name: self.get("rate", name).mean(axis=1) for name in NAMES}
        changes = [
            f"{name} {np.ptp(np.log(rate)) / np.log(10):.1f}" for name, rate in rates.items()
        ]
        return [
            self._finding("5.1", step, constant, "The rate is halved every 20 epochs."),
            self._finding("5.2", cosine, constant, "The rate falls smoothly, to 0 at the end."),
            self._finding(
                "5.3", warm, cosine,
                "The rate rises over the first epochs. After the first epoch the validation loss "
                f"is {abs(first.mean):.3f} ± {first.half:.3f} "
                f"{'lower' if first.mean > 0 else 'higher'} with the warm-up"
                + ("" if first.excludes_zero else ", within the noise")
                + f". Powers of ten that a rate spans over the epochs: {', '.join(changes)}.",
            ),
        ]  # fmt: skip

    def _gap(self, first, second, epoch):
        """How much higher the first's validation loss is."""
        losses = [self.get("val_loss", name)[epoch] for name in (first, second)]
        return paired_difference(*losses)

    def _finding(self, section, name, other, why):
        gap = self._gap(other, name, -1)
        score = paired_difference(self.get("test_score", name), self.get("test_score", other),
                                  step=load(self.outcomes[0]["data"]).score_step)  # fmt: skip
        claim = f"Section {section}: within the noise {name} ends where {other} does."
        if gap.excludes_zero:
            side = "lower" if gap.mean > 0 else "higher"
            claim = f"Section {section}: {name} ends {side} than {other}, by {abs(gap.mean):.4f} ± "
            claim += f"{gap.half:.4f} in validation loss."
        return Finding(
            claim,
            f"Validation loss of {other} less that of {name}: {gap.text(4)}; test score of {name} "
            f"less that of {other}: {score.percent()} points; pairs of the same seed. {why}",
        )

    def plot(self, ax: Any) -> None:
        """Draw the chapter's rates against the epoch."""
        for (name, rate), colour in zip(CHAPTER.items(), plots.COLOURS, strict=False):
            epochs = np.arange(_last(name) + 1)
            ax.plot(epochs, [rate(int(epoch)) for epoch in epochs], color=colour, label=name,
                    drawstyle="steps-post")  # fmt: skip
        ax.set(xlabel="epoch", ylabel="learning rate", title="The chapter's learning rates")
        ax.legend()

    def plot_curves(self, figure: Any) -> None:
        """Draw the validation losses from one peak."""
        ax = figure.subplots()
        ax.set(yscale="log", xlabel="epoch", title=self.findings()[0].claim.removesuffix("."),
               ylabel=f"validation {load(self.outcomes[0]['data']).loss_label}")  # fmt: skip
        runs = {name: self.get("val_loss", name) for name in NAMES}
        plots.named_curves(ax, range(1, len(runs[NAMES[0]]) + 1), runs, COLOURS, within=(0, np.inf))

    def pictures(self) -> list[Picture]:
        """The rates, and the losses."""
        return [
            Picture("rates", lambda figure: self.plot(figure.subplots()), (10.4, 3.4),
                    "From 0.1, the chapter's default."),
            Picture("curves", self.plot_curves, (10.4, 3.8),
                    f"All from a peak of {PEAK:g}. Means; bands: 95 % intervals."),
        ]  # fmt: skip


def _last(name):
    """The last epoch for which a function is meant."""
    return int(name.partition(", ")[2] or 50)

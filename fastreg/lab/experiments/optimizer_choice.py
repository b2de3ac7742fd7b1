"""Section 4.4: the chapter's guidelines for choosing an optimizer, held against results."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.lab import plots
from fastreg.lab.experiments import optimizers
from fastreg.lab.result import Finding, Picture, Table
from fastreg.lab.statistics import listed, mean_interval, paired_difference

TINY: Any = {"epochs": 2, "method": "grid"}

__all__ = ["OptimizerChoice", "run"]

NEAR = 2.0  # times the lowest loss: as good as the best, for a first try


def run(data: Any = "digits", seeds: Any = 5, *, quick: bool = False, **how: Any) -> Any:
    """Train as exercise 4 does; ``how`` is for `optimizers.run`."""
    result = optimizers.run(data, seeds, quick=quick, **how)
    return OptimizerChoice(result.outcomes, result.settings)


class OptimizerChoice(optimizers.Optimizers):
    """Each guideline, and whether the trainings of exercise 4 support it."""

    title = "Section 4.4: which optimizer to choose"
    question = (
        "Adam as a default, momentum when tuned, AdamW for its decay, RMSprop where the goal "
        "moves: do the trainings of exercise 4 support the chapter's guidelines?"
    )

    def __post_init__(self) -> None:
        """Count the rates at which each optimizer comes near the lowest loss."""
        super().__post_init__()
        self.best: Any = dict(self.tuned)
        lowest = min(loss.mean() for loss in self.loss.values())
        self.near: Any = {
            name: np.mean(
                [self.loss[pair] <= NEAR * lowest for pair in self.loss if pair[0] == name], axis=0
            )
            for name in optimizers.NAMES
        }

    def table(self) -> Table:
        """The numbers that the guidelines are about, for each optimizer."""
        unit = f"test {self.problem.score_label}"
        header = ("optimizer", "rates that suit it (%)", "its rate", "validation loss", unit)
        rows = [
            (name, mean_interval(self.near[name]).percent(0), f"{rate:.2g}",
             mean_interval(self.loss[name, rate]).text(),
             mean_interval(self.at((name, rate), "test_score")).percent())
            for name, rate in self.tuned
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """One for each guideline."""
        return [
            self._default(),
            self._tuned("Momentum", "Adam", "SGD with momentum, often better when tuned"),
            self._tuned("AdamW", "Adam", "AdamW, for its proper weight decay"),
            self._tuned("RMSprop", "Adam", "RMSprop, for recurrent networks and moving goals",
                        " Recurrent networks are not tried here; a goal that moves is, under "
                        "sections 4.1 to 4.3."),
        ]  # fmt: skip

    def _default(self):
        """Whether Adam comes near the best at more rates than others."""
        gaps = {name: paired_difference(self.near["Adam"], self.near[name], among=len(self.near),
                                        step=1 / len(optimizers.RATES))
                for name in self.near if name != "Adam"}  # fmt: skip
        more = [name for name, gap in gaps.items() if gap.low > 0]
        less = [name for name, gap in gaps.items() if gap.high < 0]
        same = [name for name in gaps if name not in more and name not in less]
        parts = [
            f"{words} {listed(names) if len(names) < len(gaps) else 'all others'}"
            for words, names in (("within the noise as many rates suit it as", same),
                                 ("more rates suit it than", more),
                                 ("fewer rates suit it than", less))
            if names
        ]  # fmt: skip
        each = [f"{name} {mean_interval(near).percent(0)} %" for name, near in self.near.items()]
        return Finding(
            f"Adam, a good default: {'; '.join(parts)}.",
            "A rate suits an optimizer if the validation loss is at most "
            f"{NEAR:g} times the lowest of all. Of the {len(optimizers.RATES)} rates tried these "
            f"suit: {', '.join(each)}.",
        )

    def _tuned(self, name, other, rule, more=""):
        """Compare two optimizers, each at its best rate."""
        pairs = [(one, self.best[one]) for one in (name, other)]
        loss = paired_difference(*(self.loss[pair] for pair in pairs))
        score = paired_difference(*(self.at(pair, "test_score") for pair in pairs),
                                  step=self.problem.score_step)  # fmt: skip
        unit = self.problem.score_label
        verdict = f"within the noise {name} scores as {other} does on test data"
        if score.excludes_zero:
            side = "higher" if score.mean > 0 else "lower"
            verdict = f"{name} scores {side} than {other} on test data"
        return Finding(
            f"{rule}: {verdict}, {score.percent()} points.",
            f"Test {unit} of {name} less that of {other}, each at its best rate, pairs of the same "
            f"seed; the validation losses differ by {loss.text()}.{more}",
        )

    def plot(self, ax: Any) -> None:
        """Draw the share of rates that suit each."""
        names = sorted(self.near, key=lambda name: -self.near[name].mean())
        for i, name in enumerate(names):
            plots.intervals(ax, [i], [self.near[name]], colour=optimizers.COLOURS[name],
                            label=name, scale=100, within=(0, 100))  # fmt: skip
        ax.set(xlabel="optimizer", ylabel="rates that suit it (%)", ylim=(-4, 104),
               title=self.findings()[0].claim.removesuffix("."))  # fmt: skip
        ax.set_xticks(range(len(names)), names)

    def pictures(self) -> list[Picture]:
        """How many rates suit each optimizer."""
        return [
            Picture("forgiving", lambda figure: self.plot(figure.subplots()), (10.4, 3.4),
                    f"Rates whose validation loss is at most {NEAR:g} times the lowest of all. "
                    "Means over the seeds; bars: 95 % intervals."),
        ]  # fmt: skip

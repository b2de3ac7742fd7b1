"""Section 2.2: what L2 does to the weights; their size, and how evenly it is shared out."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.lab import plots
from fastreg.lab.penalised import PENALTIES, Penalised, train_all
from fastreg.lab.result import Finding, Picture, Table
from fastreg.lab.statistics import paired_difference

TINY: Any = {"strengths": (0.001, 0.1), "epochs": 2}

__all__ = ["L2Weights", "run"]

NONE, L2, L1 = PENALTIES[:3]
COLOURS = {NONE: plots.GREY, L2: plots.BLUE, L1: plots.ORANGE}
LABELS = {"std": "standard deviation of the weights", "largest": "largest |w|",
          "tenth": "share of Σw² in a tenth of them (%)"}  # fmt: skip


def run(data: Any = "digits", seeds: Any = 5, *, quick: bool = False, **how: Any) -> Any:
    """Train with each penalty and strength, as in exercise 1; ``how`` is for `train_all`."""
    return L2Weights(*train_all([data], seeds, quick=quick, **how))


class L2Weights(Penalised):
    """Size and spread of the weights by penalty and strength."""

    title = "Section 2.2: what does L2 do to the weights?"
    question = (
        "L2 is said to penalise large weights more, and to leave small, distributed ones. How "
        "large are the weights with and without it, and how much of their sum of squares do the "
        "largest tenth of them hold? The strength λ is chosen by validation loss."
    )

    def table(self) -> Table:
        """The weights' statistics at each penalty's chosen strength."""
        header = ("penalty", "chosen λ", "standard deviation", "largest |w|",
                  "Σw² in the largest tenth (%)")  # fmt: skip
        rows = [
            (penalty, f"{self.best[penalty]:g}", self.mean("std", penalty, 1.0),
             self.mean("largest", penalty, 1.0), self.mean("tenth", penalty))
            for penalty in COLOURS
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Whether L2 shrinks the weights, the large ones most, and whether it spreads them."""
        small = paired_difference(self.get("std", NONE), self.get("std", L2))
        even = paired_difference(self.get("tenth", L1), self.get("tenth", L2))
        ratio = {key: self.get(key, L2).mean() / self.get(key, NONE).mean() for key in LABELS}
        shrunk = (f"L2 makes the weights smaller: {ratio['std']:.2f} times the standard deviation "
                  "without it.")  # fmt: skip
        spread = "L2 shares the weight out more evenly than L1."
        return [
            Finding(
                shrunk if small.low > 0 else "Within the noise L2 leaves the weights as they were.",
                f"The standard deviation falls by {small.text()}, pairs of the same seed, and the "
                f"largest weight is {ratio['largest']:.2f} times the one without: the pull λw "
                "grows with the weight.",
            ),
            Finding(
                spread if even.low > 0 else "Within the noise L2 is no more even than L1.",
                f"The largest tenth of the weights holds {self.mean('tenth', L2)} % of the sum of "
                f"squares with L2, {self.mean('tenth', L1)} % with L1 and "
                f"{self.mean('tenth', NONE)} % without a penalty.",
            ),
        ]

    def plot(self, ax: Any, key: Any = "std") -> None:
        """Draw a statistic of the weights against the strength."""
        ax.set(xscale="log", xlabel="strength λ", ylabel=LABELS[key])
        scale = 100 if key == "tenth" else 1
        for penalty, colour in COLOURS.items():
            runs = [scale * self.get(key, penalty, strength) for strength in self.strengths]
            plots.curve(ax, self.strengths, runs, colour=colour, label=penalty,
                        within=(0, 100 if key == "tenth" else np.inf))  # fmt: skip
        ax.set_title(self.findings()[0].claim.removesuffix("."))

    def plot_all(self, figure: Any) -> None:
        """Draw the three statistics."""
        for ax, key in zip(figure.subplots(1, 3), LABELS, strict=True):
            self.plot(ax, key)
            ax.set_title("")
        figure.axes[0].legend()
        plots.headline(figure, self.findings()[0].claim)

    def pictures(self) -> list[Picture]:
        """The statistics by strength."""
        return [Picture("spread", self.plot_all, (10.4, 3.4),
                        "All weights. Mean over the seeds; bands: 95 % intervals.")]  # fmt: skip

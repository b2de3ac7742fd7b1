"""Exercise 1: no penalty, L2, L1 and proximal L1; which weights become 0, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.lab import plots
from fastreg.lab.penalised import EDGES, PENALTIES, SMALL, STYLES, Penalised, train_all
from fastreg.lab.result import Finding, Picture, Table
from fastreg.lab.statistics import Ranking, mean_interval, paired_difference

TINY: Any = {"strengths": (0.001, 0.1), "epochs": 2}

__all__ = ["L1VsL2", "run"]


def run(data: Any = "digits", seeds: Any = 5, *, quick: bool = False, **how: Any) -> Any:
    """Train with each penalty, strength and seed; ``how`` is for `train_all`."""
    return L1VsL2(*train_all([data], seeds, quick=quick, **how))


class L1VsL2(Penalised):
    """Weights and scores by penalty and strength."""

    title = "Exercise 1: L1 against L2, and which weights become zero"
    question = (
        "The same network is trained without a penalty, with L2, with L1 by its subgradient and by "
        "its proximal step. The strength λ of each is chosen by validation loss."
    )

    def table(self) -> Table:
        """Sparsity and scores of each penalty at its chosen strength."""
        unit = self.problem.score_label
        header = ("penalty", "chosen λ", "|w| < 0.01 (%)", "exactly 0 (%)", "validation loss",
                  f"validation {unit}", f"test {unit}")  # fmt: skip
        rows = [
            (penalty, f"{strength:g}", self.mean("near_zero", penalty), self.mean("zeros", penalty),
             self.mean("val_loss", penalty, 1.0), self.mean("val_score", penalty),
             self.mean("test_score", penalty))
            for penalty, strength in self.best.items()
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Who has more weights near 0, who has exact zeros, why, and what it does for the score."""
        none, ridge, lasso, prox = PENALTIES
        more = paired_difference(self.get("near_zero", lasso), self.get("near_zero", ridge))
        near = [f"{self.mean('near_zero', penalty)} % with {penalty}" for penalty in PENALTIES]
        held, pull = self.get("held", prox).mean(), self.get("pull", prox).mean()
        force, fading = self.best[prox], SMALL * self.best[ridge]
        ranking = Ranking({p: self.get("val_loss", p) for p in PENALTIES})
        scores = [f"{self.mean('test_score', penalty)} with {penalty}" for penalty in PENALTIES]
        return [
            Finding(
                "L1 leaves more weights near 0 than L2."
                if more.low > 0
                else "Within the noise L1 leaves as many weights near 0 as L2.",
                f"Below 0.01 in magnitude are {', '.join(near)}: {more.text(1, scale=100)} points "
                "more with L1 than with L2, pairs of the same seed.",
            ),
            Finding(
                f"Exactly 0 are {self.mean('zeros', prox)} % of the weights with the proximal "
                f"step, {self.mean('zeros', lasso)} % with the subgradient.",
                "This is sparsity: L1's slope is λ up to 0 itself, so a weight that the data hold "
                "back less than λ ends there. A subgradient step has one length and passes over "
                "0, back and forth; the proximal step stops at it. L2's slope fades with the "
                "weight, which shrinks and never arrives.",
            ),
            Finding(
                "L1's pull to 0 does not fade on the way, L2's does."
                if force > fading and held > 0.5
                else "The pulls alone do not explain which weights are near 0.",
                f"L1 pulls with λ = {force:g} whatever the weight; L2, with λ|w|, pulls one of "
                f"0.01 with {fading:.2g}. On the near-zero weights of proximal L1 the data's "
                f"gradient is {pull:.2g} (median), and no more than λ on {100 * held:.1f} % of "
                "them: these have no way out.",
            ),
            Finding(
                ranking.claim("validation loss"),
                f"Higher than with {ranking.best}, the lowest mean: {ranking.evidence()}. Test "
                f"{self.problem.score_label}: {', '.join(scores)}.",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw the histograms of all weights on one axis."""
        share = {penalty: 100 * self.get("near_zero", penalty).mean() for penalty in PENALTIES}
        ax.set_title(
            f"On average {share['L1']:.0f} % of L1's weights lie within ±0.01, "
            f"{share['L2']:.0f} % of L2's, {share['no penalty']:.0f} % without a penalty"
        )
        ax.set(yscale="log", xlabel="weight w", ylabel="weights in a bin of 0.02 (%)")
        for (penalty, strength), (colour, ls) in zip(self.best.items(), STYLES, strict=True):
            mean, half = mean_interval(100 * self.get("histogram", penalty))
            half = np.minimum(half, 100 - mean)  # a share has its ends
            label = penalty + (f", λ = {strength:g}" if strength else "")
            ax.stairs(mean, EDGES, color=colour, ls=ls, lw=1.8, label=label)
            low = np.maximum(mean - half, 0.03)
            ax.stairs(
                np.maximum(mean + half, low),
                EDGES,
                baseline=low,
                fill=True,
                color=colour,
                alpha=0.18,
                lw=0,
            )
        ax.set_ylim(bottom=0.03)
        ax.legend()

    def plot_strengths(self, figure: Any) -> None:
        """Draw what each strength does to weights and score, a panel each."""
        panels = dict(zip(("near_zero", "zeros", "val_score"), figure.subplots(1, 3), strict=True))
        labels = ("weights below 0.01 (%)", "weights exactly 0 (%)",
                  f"validation {self.problem.score_label}")  # fmt: skip
        ranges = {"val_score": self.problem.score_range}
        for (key, ax), label in zip(panels.items(), labels, strict=True):
            ax.set(xscale="log", xlabel="strength λ", ylabel=label)
            for penalty, (colour, ls) in zip(PENALTIES, STYLES, strict=True):
                runs = [100 * self.get(key, penalty, s) for s in self.strengths]
                plots.curve(ax, self.strengths, runs, colour=colour, ls=ls, label=penalty,
                            within=ranges.get(key, (0, 100)))  # fmt: skip
        panels["near_zero"].legend()
        near, zeros, score = (100 * self.get(key, PENALTIES[3]).mean() for key in panels)
        plots.headline(
            figure, f"Proximal L1 at its best λ, on average: {near:.0f} % of the weights near 0, "
            f"{zeros:.0f} % exactly 0, validation score {score:.0f} % ({PENALTIES[0]}: "
            f"{100 * self.get('val_score', PENALTIES[0]).mean():.0f} %)",
        )  # fmt: skip

    def pictures(self) -> list[Picture]:
        """The weights at the chosen strengths, and all strengths."""
        return [
            Picture("weights", lambda figure: self.plot(figure.subplots()), (10.4, 3.8),
                    "All weights at the λ chosen; the middle bin is |w| < 0.01. Mean over seeds."),
            Picture("strengths", self.plot_strengths, (10.4, 3.4),
                    "Mean over the seeds; bands: 95 % intervals. Grey: no penalty."),
        ]  # fmt: skip

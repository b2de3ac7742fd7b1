"""Section 2.1: which inputs L1 switches off, checked where the useless ones are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.lab import plots
from fastreg.lab.penalised import PENALTIES, SMALL, STYLES, Penalised, train_all
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval, paired_difference

TINY: Any = {"strengths": (0.001, 0.1), "epochs": 2}

__all__ = ["L1Inputs", "run"]

L2, PROX = PENALTIES[1], PENALTIES[3]
MOST_LISTED = 24  # inputs of the user's data; more make no sentence


def run(data: Any = "digits", seeds: Any = 5, *, quick: bool = False, **how: Any) -> Any:
    """Train on the synthetic set, too; ``how`` is for `fastreg.lab.penalised.train_all`."""
    sets = list(dict.fromkeys(["synthetic", data]))
    return L1Inputs(*train_all(sets, seeds, quick=quick, **how))


class L1Inputs(Result):
    """Inputs switched off by penalty and strength."""

    title = "Section 2.1: which inputs does L1 switch off?"
    question = (
        "An input is off if none of its weights into the first layer reaches 0.01. In the "
        "synthetic set the class depends on few of the inputs, and the others are noise: does the "
        "penalty find them? The strength λ of each penalty is chosen by validation loss."
    )

    def __post_init__(self) -> None:
        """Choose strengths set by set, and find λ that keeps all informative inputs and no more."""
        data = self.outcomes[-1]["data"]
        self.synthetic: Any = Penalised(self.outcomes.where(data="synthetic"), {})
        self.asked: Any = (
            None if data == "synthetic" else Penalised(self.outcomes.where(data=data), {})
        )
        problem = self.synthetic.problem
        self.informative: Any = np.isin(np.arange(problem.n_in), problem.informative)
        keeping = [s for s in self.synthetic.strengths if not self.off(PROX, s)[1].any()]
        self.keeping: Any = max(keeping, default=None)

    def choices(self) -> Any:
        """The strengths on both sets, and that which keeps all informative inputs."""
        return self.synthetic.best, self.keeping, self.asked and self.asked.best

    def off(self, penalty: Any, strength: Any = None) -> Any:
        """Return the shares of useless and of informative inputs that are off, a value per seed."""
        dead = self.synthetic.get("inputs", penalty, strength) < SMALL
        return dead[~self.informative].mean(axis=0), dead[self.informative].mean(axis=0)

    def table(self) -> Table:
        """Inputs off on the synthetic set at each penalty's chosen strength, and the score."""
        header = ("penalty (synthetic set)", "chosen λ", "useless inputs off (%)",
                  "informative inputs off (%)", "validation loss", "test accuracy (%)")  # fmt: skip
        rows = [
            (penalty, f"{strength:g}", *(mean_interval(one).percent() for one in self.off(penalty)),
             self.synthetic.mean("val_loss", penalty, 1.0),
             self.synthetic.mean("test_score", penalty))
            for penalty, strength in self.synthetic.best.items()
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Whether L1 finds the useless inputs, at which price, and what it drops elsewhere."""
        useless, informative = self.off(PROX)
        chosen, apart = (
            self.synthetic.best[PROX],
            paired_difference(useless, informative, step=1 / self.informative.sum()),
        )
        count = np.bincount(self.informative)
        found = [
            Finding(
                "L1 tells useless inputs from informative ones."
                if apart.low > 0
                else "Within the noise L1 does not tell useless inputs from informative ones.",
                f"At λ = {chosen:g}, the best for the validation loss, proximal L1 switches off "
                f"{mean_interval(useless).percent()} % of the {count[0]} useless and "
                f"{mean_interval(informative).percent()} % of the {count[1]} informative inputs; "
                f"L2 at its best switches off {mean_interval(self.off(L2)[0]).percent()} and "
                f"{mean_interval(self.off(L2)[1]).percent()} %.",
            )
        ]
        if self.keeping is None:
            found.append(Finding("No λ tried keeps every informative input in every seed.", ""))
        else:
            losses = [self.synthetic.get("val_loss", PROX, s) for s in (self.keeping, chosen)]
            price = "It is also the best for the validation loss"
            if self.keeping != chosen:
                more = paired_difference(*losses)
                price = f"Its validation loss is {more.text()} above that of λ = {chosen:g}"
                price += (
                    ": the best λ for prediction is not the best for selection"
                    if more.low > 0
                    else ", which is within the noise"
                )
            found.append(
                Finding(
                    f"With λ = {self.keeping:g} proximal L1 keeps all {count[1]} informative "
                    f"inputs and drops {mean_interval(self.off(PROX, self.keeping)[0]).percent()} "
                    f"% of the {count[0]} others.",
                    f"It is the strongest λ that loses none. {price}.",
                )
            )
        return found + self._asked()

    def _asked(self):
        if self.asked is None:
            return []
        dead = np.flatnonzero((self.asked.get("inputs", PROX) < SMALL).all(axis=1))
        problem, more = self.asked.problem, ", …" if len(dead) > MOST_LISTED else ""
        names = ", ".join(map(str, dead[:MOST_LISTED])) + more
        return [
            Finding(
                f"In {problem.name} proximal L1 switches off {len(dead)} of {problem.n_in} inputs "
                "in every seed.",
                f"At λ = {self.asked.best[PROX]:g}, chosen by validation loss"
                + (f", these are, from 0: {names}." if names else "."),
            )
        ]

    def plot(self, ax: Any, penalty: Any = PROX) -> None:
        """Draw each synthetic input's largest weight at the chosen strength."""
        runs = self.synthetic.get("inputs", penalty)
        ax.set(title=f"{penalty}, λ = {self.synthetic.best[penalty]:g}", xlabel="input",
               ylabel="largest |w| of the input")  # fmt: skip
        for known, colour, marker, label in ((False, plots.BLUE, "o", "useless"),
                                             (True, plots.ORANGE, "D", "informative")):  # fmt: skip
            at = np.flatnonzero(self.informative == known)
            plots.intervals(ax, at, runs[at], colour=colour, marker=marker, label=label, line=False,
                            within=(0, np.inf))  # fmt: skip
        ax.axhline(SMALL, color=plots.GREY, ls=":")

    def plot_inputs(self, figure: Any) -> None:
        """Draw the inputs under L2 and under L1."""
        panels = figure.subplots(1, 2, sharey=True)
        for ax, penalty in zip(panels, (L2, PROX), strict=True):
            self.plot(ax, penalty)
        panels[1].legend()
        runs = [self.synthetic.get("inputs", one).mean(axis=1) for one in (L2, PROX)]
        times = [r[self.informative].mean() / r[~self.informative].mean() for r in runs]
        plots.headline(
            figure,
            f"On average an informative input's weight is {times[1]:.1f} times "
            f"a useless one's with L1, {times[0]:.1f} times with L2",
        )

    def plot_strengths(self, figure: Any) -> None:
        """Draw the shares switched off against the strength, a panel per kind of input."""
        panels = figure.subplots(1, 2, sharey=True)
        strengths = self.synthetic.strengths
        for kind, (ax, name) in enumerate(zip(panels, ("useless", "informative"), strict=True)):
            ax.set(xscale="log", xlabel="strength λ", ylabel=f"{name} inputs off (%)")
            for penalty, (colour, ls) in zip(PENALTIES, STYLES, strict=True):
                runs = np.array([100 * self.off(penalty, s)[kind] for s in strengths])
                plots.curve(ax, strengths, runs, colour=colour, ls=ls, label=penalty,
                            within=(0, 100))  # fmt: skip
        panels[0].legend()
        share = self.keeping and 100 * self.off(PROX, self.keeping)[0].mean()
        plots.headline(figure, "No λ keeps every informative input" if share is None else
                       f"At λ = {self.keeping:g} proximal L1 keeps every informative input and "
                       f"drops {share:.0f} % of the useless")  # fmt: skip

    def pictures(self) -> list[Picture]:
        """The inputs at the chosen strengths, and all strengths."""
        return [
            Picture("inputs", self.plot_inputs, (10.4, 3.4),
                    "Synthetic set. Below the dotted line an input is off. Bars: 95 % intervals."),
            Picture("strengths", self.plot_strengths, (10.4, 3.4),
                    "Synthetic set. Mean over the seeds; bands: 95 % intervals."),
        ]  # fmt: skip

"""Section 1.1: underfitting, good fit, overfitting and divergence, told apart by their curves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from fastreg import SGD, Adam, diagnose
from fastreg.lab import plots
from fastreg.lab.data import Problem, load
from fastreg.lab.fits import run as run_fits
from fastreg.lab.fits import seeds_of, train
from fastreg.lab.plots import BLUE, ORANGE
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval
from fastreg.nn import mlp
from fastreg.train import Trainer

TINY = {"epochs": 3}

__all__ = ["FitStatus", "fit", "run"]

CASES = {  # hidden units, dropout rate, label noise, optimizer, learning rate
    "2 units": (2, 0.0, 0.0, "Adam", 0.001),
    "64 units, dropout 0.7": (64, 0.7, 0.0, "Adam", 0.001),
    "512 units, noisy labels": (512, 0.0, 0.4, "Adam", 0.001),
    "32 units, rate 4": (32, 0.0, 0.0, "SGD", 4.0),
}
NAMES = ("case", "units", "dropout", "label_noise", "optimizer", "rate")


def run(
    data: Any = "digits", seeds: Any = 5, *, quick: bool = False, epochs: Any = 40, **how: Any
) -> Any:
    """Train four networks and diagnose their curves; ``how`` is for `fits.run`."""
    settings = [
        {"data": data, **dict(zip(NAMES, (name, *case), strict=True)), "epochs": epochs, "seed": s}
        for name, case in CASES.items()
        for s in seeds_of(seeds)
    ]
    problem = load(data)
    about = {
        "data": problem.describe(),
        "networks": "one hidden layer; Adam at 0.001, but SGD at 4 in the last case",
        "noisy labels": "40% of the training rows have exchanged their targets",
        "training": f"batches of 64, {epochs} epochs",
        "diagnosis": "fastreg.diagnose on the loss curves; baseline: the loss of knowing only "
        f"{problem.guess}",
        "seeds": f"0 to {seeds - 1}",
    }
    return FitStatus(run_fits(fit, settings, **how), about)


def fit(
    data: Any,
    case: Any,
    units: Any,
    dropout: Any,
    label_noise: Any,
    optimizer: Any,
    rate: Any,
    epochs: Any,
    seed: Any,
) -> Any:
    """Train one network and diagnose its curves."""
    problem = load(data, seed, label_noise=label_noise)
    model = mlp([problem.n_in, units, problem.n_out], dropout=dropout, rng=seed)
    optimizer = {"Adam": Adam, "SGD": SGD}[optimizer](rate)
    outcome = train(Trainer(model, problem.loss, optimizer, rng=seed), problem, epochs=epochs)
    status = diagnose(outcome["loss"], outcome["val_loss"], baseline=problem.ignorant_loss)
    return {**outcome, "verdict": status.verdict, "reason": status.reason}


class FitStatus(Result):
    """The verdict on each network."""

    title = "Section 1.1: underfitting or overfitting?"
    question = (
        "Four networks are built to show one kind of fit each. Does the diagnosis tell them apart "
        "from their loss curves alone?"
    )

    def __post_init__(self) -> None:
        """Count the verdicts."""
        self.cases: Any = list(dict.fromkeys(outcome["case"] for outcome in self.outcomes))
        self.verdicts: Any = {
            case: Counter(outcome["verdict"] for outcome in self.outcomes.where(case=case))
            for case in self.cases
        }
        self.verdict: dict[str, str] = {
            case: v.most_common(1)[0][0] for case, v in self.verdicts.items()
        }
        self.kinds: int = len(set(self.verdict.values()))
        self.problem: Problem = load(self.outcomes[0]["data"])
        self.ignorant: float = self.problem.ignorant_loss

    def _last(self, key, case):
        return self.outcomes.values(key, case=case)[-1]

    def table(self) -> Table:
        """The chapter's table of scenarios with what was measured in each."""
        header = ("scenario", "network", "training error", "validation error", "seeds that agree",
                  "status")  # fmt: skip
        meaning = {"underfitting": "model too simple", "good fit": "optimal",
                   "overfitting": "model memorises", "diverging": "rate too high"}  # fmt: skip
        rows = []
        for case in self.cases:
            verdict, verdicts = self.verdict[case], self.verdicts[case]
            errors = [self._error(key, case) for key in ("loss", "val_loss")]
            agree = f"{verdicts[verdict]} of {verdicts.total()}"
            rows.append((verdict, case, *errors, agree, meaning.get(verdict, verdict)))
        return Table(header, rows)

    def _error(self, key, case):
        """Return a final loss with a word for it: the limits are ours."""
        losses = self._last(key, case)
        if not np.isfinite(losses).all():
            return "infinite"
        share = losses.mean() / self.ignorant
        word = "very low" if share < 0.02 else "low" if share < 0.25 else "high"
        return f"{word} ({mean_interval(losses).text()})"

    def findings(self) -> list[Finding]:
        """How many kinds of fit are told apart, and why."""
        reasons = []
        for case in self.cases:
            verdict = self.verdict[case]
            first = self.outcomes.where(case=case, verdict=verdict)[0]
            why = f"Seed {first['seed']}: {first['reason']}."
            reasons.append(Finding(f"{case}: {verdict}.", why))
        kinds = f"{self.kinds} kinds of fit" if self.kinds > 1 else "no kinds of fit"
        agree = sum(v[self.verdict[case]] for case, v in self.verdicts.items())
        of = len(self.outcomes)
        sure = f"{agree} of {of} trainings have their network's verdict"
        return [
            Finding(
                f"The diagnosis tells {kinds} apart: {sure}.",
                "In the table an error is the loss, very low below 2 % and low below 25 % of "
                f"{self.ignorant:.2g}, the loss of knowing only {self.problem.guess}.",
            ),
            *reasons,
        ]

    def plot(self, ax: Any, case: Any = None) -> None:
        """Draw the curves of one network, the first unless another is named."""
        case = case or self.cases[0]
        scale = "log" if self.outcomes.values("loss", case=case).max() > 100 else "linear"
        ax.set(title=f"{case}:\n{self.verdict[case]}", yscale=scale, xlabel="epoch")
        ax.set_ylabel(self.problem.loss_label)
        if not np.isfinite(self.outcomes.values("loss", case=case)).any():
            ax.set(yscale="linear", xticks=[], yticks=[])
            ax.annotate("infinite from\nthe first epoch", (0.5, 0.5), ha="center", va="center",
                        xycoords="axes fraction", color=plots.MUTED)  # fmt: skip
        for key, colour in (("val_loss", ORANGE), ("loss", BLUE)):
            for outcome in self.outcomes.where(case=case):
                epochs = range(1, len(outcome[key]) + 1)
                label = {"loss": "training", "val_loss": "validation"}[key]
                first = outcome["seed"] == self.seeds()[0]
                ax.plot(epochs, outcome[key], color=colour, lw=1.2, label=label if first else None)

    def plot_all(self, figure: Any) -> None:
        """Draw the curves of every network."""
        for ax, case in zip(figure.subplots(1, len(self.cases)), self.cases, strict=True):
            self.plot(ax, case)
            ax.set_ylabel("" if case != self.cases[0] else ax.get_ylabel())
        figure.axes[-1].legend()
        plots.headline(figure, self.findings()[0].claim)

    def pictures(self) -> list[Picture]:
        """All the curves."""
        return [Picture("curves", self.plot_all, (10.4, 3.4), "Loss; one line per seed.")]

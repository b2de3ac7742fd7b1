"""Sections 4.1, 4.2 and 4.3: the steps of momentum, AdaGrad and RMSprop on a known gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import fastreg
from fastreg.lab import plots
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import Ranking, mean_interval, paired_difference

TINY = {"steps": 40}

__all__ = ["StepSizes", "fit", "run"]

NAMES = ("SGD", "Momentum", "AdaGrad", "RMSprop", "Adam")
COLOURS = dict(zip(NAMES, plots.COLOURS, strict=False))
RATE, NOISE, PARAMETERS = 0.01, 0.1, 200
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # for the moving target
PERIOD = 40  # steps after which the target jumps


def run(
    data: Any = None, seeds: Any = 5, *, quick: bool = False, steps: Any = None, **how: Any
) -> Any:
    """Feed each optimizer steady, alternating and moving gradients; there are no data."""
    steps = steps or (400 if quick else 2000)
    same = {"name": list(NAMES), "steps": [steps], "seed": seeds_of(seeds)}
    fits = [
        *grid(task=["steady", "alternating"], rate=[RATE], **same),
        *grid(task=["moving"], rate=list(RATES), **same),
    ]
    settings = {
        "steady": f"{PARAMETERS} parameters whose gradient is 1 plus normal noise of {NOISE:g}",
        "alternating": "the same, but its sign changes at every step",
        "moving": f"the gradient of ½(p - target)², plus noise; the target jumps every {PERIOD} "
        f"steps; the rate of {RATES} that follows it best counts",
        "training": f"{steps} updates, learning rate {RATE:g} for steady and alternating",
        "seeds": f"0 to {seeds - 1}: of the noise",
    }
    return StepSizes(run_fits(fit, fits, **how), settings)


def fit(task: Any, name: Any, rate: Any, steps: Any, seed: Any) -> Any:
    """Return the length of every step over the rate, or the error in following a target."""
    rng, optimizer = np.random.default_rng(seed), getattr(fastreg, name)(rate)
    p, moved, errors = np.zeros(PARAMETERS), [], []
    target: Any = 0.0
    for step in range(steps):
        if task == "moving":
            if step % PERIOD == 0:
                target = rng.choice([-1.0, 1.0], PARAMETERS)
            gradient = p - target
            errors.append(float(np.mean(gradient**2)))
        else:
            gradient = np.full(PARAMETERS, -1.0 if task == "alternating" and step % 2 else 1.0)
        before = p.copy()
        optimizer.update({"p": p}, {"p": gradient + NOISE * rng.normal(size=PARAMETERS)})
        moved.append(float(np.mean(np.abs(p - before)) / rate))
    late = errors[steps // 2 :] or [0.0]
    every = np.unique(np.geomspace(1, steps, 60).astype(int)) - 1
    return {"moved": np.array(moved)[every].tolist(), "step": (every + 1).tolist(),
            "error": min(float(np.mean(late)), 1e6)}  # fmt: skip


class StepSizes(Result):
    """How long the steps are, by optimizer and gradient."""

    title = "Sections 4.1, 4.2 and 4.3: how long are the steps?"
    question = (
        "On gradients that are known, what do momentum's velocity (4.1), AdaGrad's sum of squares "
        "(4.2) and RMSprop's moving average (4.3) make of the learning rate?"
    )

    def __post_init__(self) -> None:
        """Choose each optimizer's rate for the moving target by its error."""
        self.steps: Any = self.outcomes[0]["step"]
        self.rate: Any = {name: min(RATES, key=partial(self._mean_error, name)) for name in NAMES}

    def moved(self, name: Any, task: str = "steady") -> Any:
        """Return the lengths of the steps over the rate, the seed as the last axis."""
        return self.outcomes.values("moved", name=name, task=task)

    def _mean_error(self, name, rate):
        return self.error(name, rate).mean()

    def error(self, name: Any, rate: Any = None) -> Any:
        """Return the squared distance from the moving target, a value per seed."""
        rate = self.rate[name] if rate is None else rate
        return self.outcomes.values("error", name=name, task="moving", rate=rate)

    def table(self) -> Table:
        """First and last steps, and the error in following a target."""
        header = ("optimizer", "first step / rate", "last step / rate",
                  "last step, alternating", "best rate, moving target", "its error")  # fmt: skip
        rows = [
            (name, mean_interval(self.moved(name)[0]).text(),
             mean_interval(self.moved(name)[-1]).text(),
             mean_interval(self.moved(name, "alternating")[-1]).text(), f"{self.rate[name]:g}",
             mean_interval(self.error(name)).text())
            for name in NAMES
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """One for each section."""
        n, last = self.steps[-1], {name: mean_interval(self.moved(name)[-1]) for name in NAMES}
        other = {name: mean_interval(self.moved(name, "alternating")[-1]) for name in NAMES}
        gap = paired_difference(self.error("AdaGrad"), self.error("RMSprop"))
        follows = "within the noise RMSprop follows it as AdaGrad does"
        if gap.excludes_zero:
            follows = (
                f"RMSprop follows it {'closer' if gap.mean > 0 else 'less closely'} than AdaGrad"
            )
        ranking = Ranking({name: self.error(name) for name in NAMES})
        each = [f"{name} {mean_interval(self.error(name)).text()}" for name in NAMES]
        return [
            Finding(
                f"Section 4.1, momentum: steady gradients give steps of "
                f"{last['Momentum'].text(2)} times the rate, "
                f"alternating ones {other['Momentum'].text(2)}.",
                f"SGD's are {last['SGD'].text(2)} and {other['SGD'].text(2)}. The velocity adds "
                "up gradients that agree, to 1 / (1 - 0.9) = 10 of them, and cancels those that "
                "do not: 1 / (1 + 0.9) = 0.53.",
            ),
            Finding(
                f"Section 4.2, AdaGrad: after {n} steps a step is {last['AdaGrad'].text()} times "
                "the rate.",
                f"The sum of squares only grows: on a steady gradient the step falls as 1/√t, here "
                f"to 1/√{n} = {n**-0.5:.3f}. A parameter whose gradients come late learns slowly.",
            ),
            Finding(
                f"Section 4.3, RMSprop: after {n} steps a step is still {last['RMSprop'].text()} "
                "times the rate.",
                "Its average forgets, so that the step does not fade. The first step is "
                f"{self.moved('RMSprop')[0].mean():.2f} times the rate, since the average starts "
                f"at 0; Adam's correction makes that {self.moved('Adam')[0].mean():.2f}.",
            ),
            Finding(
                f"Section 4.3, a target that moves: {follows}.",
                f"Mean squared distance over the second half, each at its best rate: "
                f"{', '.join(each)}. {ranking.claim('error')}",
            ),
        ]  # fmt: skip

    def plot(self, ax: Any) -> None:
        """Draw the length of a step against its number, for steady gradients."""
        self._draw([ax], ["steady"])
        last = {name: self.moved(name)[-1].mean() for name in NAMES}
        ax.set_title(f"Steady gradients: AdaGrad's steps fade to {last['AdaGrad']:.2f}, momentum's "
                     f"grow to {last['Momentum']:.1f}")  # fmt: skip

    def _draw(self, panels, tasks):
        for ax, task in zip(panels, tasks, strict=True):
            ax.set(xscale="log", yscale="log", xlabel="step", ylabel="length of the step / rate",
                   title=f"{task} gradients")  # fmt: skip
        runs = [{name: self.moved(name, task) for name in NAMES} for task in tasks]
        plots.named_curves(panels, self.steps, runs, COLOURS)

    def plot_both(self, figure: Any) -> None:
        """Draw steady and alternating gradients."""
        panels = figure.subplots(1, 2, sharey=True)
        self._draw(panels, ("steady", "alternating"))
        panels[1].set_ylabel("")
        plots.headline(figure, self.findings()[0].claim)

    def pictures(self) -> list[Picture]:
        """The lengths of the steps."""
        return [Picture("steps", self.plot_both, (10.4, 3.8),
                        "Mean over parameters and seeds; bands: 95 % intervals.")]  # fmt: skip

"""Section 3.2: batch norm's three steps, and how fast its running statistics arrive."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import BatchNorm
from fastreg.lab import plots
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval

TINY = {"batches": 12}

__all__ = ["BatchNormSteps", "fit", "run"]

MEAN, SPREAD, FEATURES = 10.0, 5.0, 64  # the chapter's example: 10 and 5
GAMMA, BETA, MOMENTUM = 2.0, -1.0, 0.9
SIZES = (8, 64)


def run(
    data: Any = None,
    seeds: Any = 5,
    *,
    quick: bool = False,
    sizes: Any = SIZES,
    batches: Any = None,
    **how: Any,
) -> Any:
    """Send batches through one layer; ``how`` is for `fits.run`. There are no data to choose."""
    batches = batches or (60 if quick else 100)
    settings = {
        "input": f"normal draws of mean {MEAN:g} and standard deviation {SPREAD:g}, {FEATURES} "
        "features, as in the chapter's example",
        "layer": f"BatchNorm, momentum {MOMENTUM:g}; then γ = {GAMMA:g}, β = {BETA:g}",
        "batches": f"{batches} of {' and of '.join(map(str, sizes))} rows",
        "seeds": f"0 to {seeds - 1}: of the draws",
    }
    fits = grid(size=list(sizes), batches=[batches], seed=seeds_of(seeds))
    return BatchNormSteps(run_fits(fit, fits, **how), settings)


def fit(size: Any, batches: Any, seed: Any) -> Any:
    """Take the three steps apart on the last batch, and follow the running statistics."""
    rng, layer = np.random.default_rng(seed), BatchNorm(FEATURES, momentum=MOMENTUM)
    track = []
    for _ in range(batches):
        X = MEAN + SPREAD * rng.normal(size=(size, FEATURES))
        normal = layer.forward(X).copy()
        track.append((layer.running_mean.mean(), np.sqrt(layer.running_var.mean())))
    layer.gamma[:], layer.beta[:] = GAMMA, BETA
    shifted = layer.forward(X).copy()
    layer.eval()
    fresh = MEAN + SPREAD * rng.normal(size=(1000, FEATURES))
    evaluated = (layer.forward(fresh) - BETA) / GAMMA
    stages = {"input": X, "normalised": normal, "scaled and shifted": shifted,
              "evaluated": evaluated}  # fmt: skip
    return {
        "stages": {
            name: [float(np.abs(Z.mean(axis=0)).mean()), float(Z.std(axis=0).mean())]
            for name, Z in stages.items()
        },
        "mean": [float(mean) for mean, _ in track],
        "std": [float(std) for _, std in track],
    }


class BatchNormSteps(Result):
    """Means and spreads step by step, and running statistics by the number of batches."""

    title = "Section 3.2: how batch normalisation works"
    question = (
        "Compute mean and variance, normalise, scale and shift: what does each step leave? And "
        "how many batches does it take until the running statistics, used in evaluation, arrive?"
    )

    def __post_init__(self) -> None:
        """Compare the running mean with its formula."""
        self.sizes: Any = sorted({one["size"] for one in self.outcomes})
        self.batches: Any = self.outcomes[0]["batches"]
        self.theory: Any = MEAN * (1 - MOMENTUM ** np.arange(1, self.batches + 1))
        self.arrival: Any = {size: self._arrival(size) for size in self.sizes}

    def _arrival(self, size):
        """Return the first batch after which the running mean is within 1 %, a value per seed."""
        near = np.abs(self.outcomes.values("mean", size=size) - MEAN) < 0.01 * MEAN
        return np.where(near.any(axis=0), near.argmax(axis=0) + 1.0, np.inf)

    def stage(self, name: Any, size: Any, part: Any) -> Any:
        """Return |mean| (0) or standard deviation (1) of a stage, a value per seed."""
        chosen = self.outcomes.where(size=size)
        return np.array([one["stages"][name][part] for one in chosen])

    def table(self) -> Table:
        """Means and spreads of the features after each step."""
        header = ["step", *(f"{what}, batches of {size}" for size in self.sizes
                            for what in ("|mean|", "standard deviation"))]  # fmt: skip
        rows = [
            (name, *(mean_interval(self.stage(name, size, part)).text(4)
                     for size in self.sizes for part in (0, 1)))
            for name in self.outcomes[0]["stages"]
        ]  # fmt: skip
        return Table(tuple(header), rows)

    def findings(self) -> list[Finding]:
        """What normalisation leaves, what γ and β make of it, and when evaluation is right."""
        small, large = self.sizes[0], self.sizes[-1]
        off = max(self.stage("normalised", size, 0).max() for size in self.sizes)
        stds = [mean_interval(self.stage("normalised", size, 1)).text(4) for size in self.sizes]
        arrived = [
            f"{mean_interval(self.arrival[size]).text(0)} batches of {size}"
            for size in self.sizes if np.isfinite(self.arrival[size]).all()
        ]  # fmt: skip
        steps = int(np.ceil(np.log(0.01) / np.log(MOMENTUM)))
        evaluated = [mean_interval(self.stage("evaluated", s, 1)).text(3) for s in (small, large)]
        return [
            Finding(
                f"Normalised, every feature has a mean within {off:.0e} of 0 and a standard "
                f"deviation of {stds[-1]}.",
                f"The input has mean {MEAN:g} and standard deviation {SPREAD:g}; ε keeps the "
                f"spread a little below 1. With γ = {GAMMA:g} and β = {BETA:g} the output has "
                f"standard deviation {self.stage('scaled and shifted', large, 1).mean():.3f} and "
                f"|mean| {self.stage('scaled and shifted', large, 0).mean():.3f}.",
            ),
            Finding(
                f"The running mean is within 1 % after {' and '.join(arrived)}."
                if arrived
                else f"{self.batches} batches do not bring the running mean within 1 %.",
                f"After n batches it is 1 - {MOMENTUM:g}ⁿ of the way, whatever the batch size: "
                f"99 % after {steps}. A network evaluated earlier is evaluated wrongly.",
            ),
            Finding(
                f"In evaluation the standard deviation is {evaluated[0]} for a layer that saw "
                f"batches of {small}, {evaluated[1]} for one that saw {large}.",
                f"The chapter's variance divides by m, so that of a batch is (m - 1) / m of the "
                f"true one on average: {1 / np.sqrt(1 - 1 / small):.3f} is to be expected for "
                f"{small} rows.",
            ),
        ]

    def plot(self, ax: Any, key: Any = "mean", goal: Any = MEAN) -> None:
        """Draw a running statistic against the number of batches."""
        n = range(1, self.batches + 1)
        for size, colour in zip(self.sizes, plots.COLOURS, strict=False):
            plots.curve(ax, n, self.outcomes.values(key, size=size), colour=colour,
                        label=f"batches of {size}")  # fmt: skip
        ax.axhline(goal, color=plots.GREY, ls=":")
        ax.set(xlabel="batches seen", ylabel="running mean")
        if key == "mean":
            ax.plot(n, self.theory, color=plots.INK, ls="--", lw=1, label=f"1 - {MOMENTUM:g}ⁿ")
        ax.set_title(self.findings()[1].claim.removesuffix("."))

    def plot_both(self, figure: Any) -> None:
        """Draw mean and standard deviation."""
        left, right = figure.subplots(1, 2)
        self.plot(left)
        self.plot(right, "std", SPREAD)
        right.set_ylabel("square root of the running variance")
        for ax in (left, right):
            ax.set_title("")
        left.legend()
        plots.headline(figure, self.findings()[1].claim)

    def pictures(self) -> list[Picture]:
        """The running statistics."""
        return [Picture("running", self.plot_both, (10.4, 3.4),
                        "Mean over the features; mean over the seeds and 95 % intervals. Dotted: "
                        "the truth.")]  # fmt: skip

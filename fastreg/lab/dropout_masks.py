"""Dropout's masks made visible: what one draw leaves, and what the mean of many gives back."""

import math

import numpy as np

from fastreg import Dropout
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval

__all__ = ["DropoutMasks", "fit", "run"]

RATES = (0.1, 0.3, 0.5, 0.7, 0.9)


def run(data="digits", seeds=5, *, quick=False, rates=RATES, draws=None, **how):
    """Draw masks of each rate over the first training rows."""
    draws = draws or (300 if quick else 3000)
    settings = grid(data=[data], rate=list(rates), draws=[draws], seed=seeds_of(seeds))
    outcomes = run_fits(fit, settings, **how)
    settings = {
        "data": load(data).describe(),
        "masks": f"{draws} draws of Dropout over the first 32 training rows; units are features",
        "seeds": f"0 to {seeds - 1}: of the split and of the masks",
    }
    return DropoutMasks(outcomes, settings)


def fit(data, rate, draws, seed):
    """Draw masks; return the shares kept and how far the mean of n draws is from the input."""
    X = load(data, seed).X_train[:32]
    layer, total, kept, distance = Dropout(rate, rng=seed), np.zeros(X.shape), 0.0, []
    every = np.unique(np.geomspace(1, draws, 12).astype(int)).tolist()
    for n in range(1, draws + 1):
        Y = layer.forward(X)
        if n == 1:
            first, mask = Y.copy(), layer.mask
        total += Y
        kept += float(layer.mask.mean()) / draws
        if n in every:
            gap = total / n - X
            distance.append(float(np.sqrt(np.mean(gap**2) / np.mean(X**2))))
    return {
        "kept": kept,
        "n": every,
        "distance": distance,
        "scale": float(np.max(np.abs(first[X != 0] / X[X != 0]))),
        "mask": mask.astype(int).tolist(),
        "pictures": [one.round(3).tolist() for one in (first[0], total[0] / draws)],
    }


class DropoutMasks(Result):
    """Masks, and what they do to the input."""

    title = "What dropout drops"
    question = "How many units does a mask leave, and does the mean of many give the input back?"

    def __post_init__(self):
        """Look up the rates."""
        self.rates = sorted({outcome["rate"] for outcome in self.outcomes})
        self.n = self.outcomes[0]["n"]

    def at(self, key, rate):
        """What came out with a rate."""
        return self.outcomes.values(key, rate=rate)

    def theory(self, rate):
        """The distance of the mean of n draws: each has the variance p / (1 - p) of its input."""
        return np.sqrt(rate / (1.0 - rate) / np.array(self.n))

    def table(self):
        """Shares kept, scales and distances of each rate."""
        header = ("dropout rate", "kept (%)", "kept values times", "one draw is off by (%)",
                  f"mean of {self.n[-1]} off by (%)", "theory (%)")  # fmt: skip
        rows = []
        for rate in self.rates:
            off = self.at("distance", rate)
            texts = [
                mean_interval(one).percent(2) for one in (self.at("kept", rate), off[0], off[-1])
            ]
            scale, theory = mean_interval(self.at("scale", rate)).text(), self.theory(rate)[-1]
            rows.append((f"{rate:g}", texts[0], scale, *texts[1:], f"{100 * theory:.2f}"))
        return Table(header, rows)

    def findings(self):
        """Whether the share is right, and whether the mean comes back."""
        low, high = self.rates[0], self.rates[-1]
        off = max(abs(self.at("kept", rate).mean() - (1 - rate)) for rate in self.rates)
        ends = [mean_interval(self.at("distance", rate)[-1]).percent(2) for rate in (low, high)]
        ratio = [self.at("distance", r)[-1].mean() / self.theory(r)[-1] for r in self.rates]
        return [
            Finding(
                f"Over {self.n[-1]} masks the share kept is 1 - p within {100 * off:.2f} points.",
                "A single mask strays further. What is kept is multiplied by up to "
                f"{self.at('scale', high).mean():.2f} (rate {high:g}).",
            ),
            Finding(
                f"The mean of {self.n[-1]} draws is {ends[0]} % off the input at rate {low:g}, "
                f"{ends[1]} % at {high:g}.",
                "By theory it falls as sqrt(p / (1 - p) / n); measured over theory: "
                f"{min(ratio):.2f} to {max(ratio):.2f}.",
            ),
        ]

    def plot(self, ax):
        """Draw the distance from the input against the number of draws."""
        ax.set(xscale="log", yscale="log", xlabel="draws in the mean", ylabel="RMS error / input",
               title=self.findings()[1].claim)  # fmt: skip
        for rate in self.rates:
            ax.plot(self.n, self.theory(rate), ":", color=plots.GREY)
        runs = {f"rate {rate:g}": self.at("distance", rate) for rate in self.rates}
        colours = dict(zip(runs, plots.shades(len(runs)), strict=True))
        plots.named_curves(ax, self.n, runs, colours)

    def plot_masks(self, figure):
        """Draw a mask a rate, and the first row under it and in the mean."""
        panels = figure.subplots(3, len(self.rates), height_ratios=(1.2, 1, 1), squeeze=False)
        for column, rate in zip(panels.T, self.rates, strict=True):
            (outcome,) = self.outcomes.where(rate=rate, seed=0)
            mask = np.array(outcome["mask"])
            column[0].imshow(mask, cmap="Blues", aspect="auto", vmin=-0.3, vmax=1.3)
            column[0].set_title(f"rate {rate:g}: {100 * mask.mean():.1f} % kept")
            for ax, row in zip(column[1:], outcome["pictures"], strict=True):
                side = math.isqrt(len(row))
                shape = (side, side) if side**2 == len(row) else (1, -1)
                ax.imshow(np.reshape(row, shape), cmap="PuOr", vmin=-3, vmax=3)
        names = ("samples × units", "one draw", f"mean of {self.n[-1]}")
        for ax, name in zip(panels[:, 0], names, strict=True):
            ax.set_ylabel(name)
        for ax in panels.flat:
            ax.set(xticks=[], yticks=[])
        plots.headline(figure, self.findings()[0].claim)

    def pictures(self):
        """Masks and inputs, and the mean of many."""
        marks = "Dark: kept. Below, the first training row: purple above, orange below its mean."
        return [
            Picture("masks", self.plot_masks, (10.4, 5.6), marks),
            Picture("mean", lambda f: self.plot(f.subplots()), (10.4, 3.8), "Dotted: theory."),
        ]

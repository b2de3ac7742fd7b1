"""Section 2.3: dropout's masks made visible; what one keeps, what many of them average to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from fastreg import Dropout
from fastreg.lab import plots
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval

TINY = {"rates": (0.1, 0.5)}

__all__ = ["DropoutMasks", "fit", "run"]

RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
COUNTS = (1, 10, 100, 1000)


def run(
    data: Any = "digits", seeds: Any = 5, *, quick: bool = False, rates: Any = RATES, **how: Any
) -> Any:
    """Drop pixels of one image with many masks; the image is a digit whatever ``data`` is."""
    about = {
        "data": "scikit-learn's first handwritten digit, 8 x 8 pixels from 0 to 1",
        "masks": f"{max(COUNTS)} for each rate and seed, in one call of fastreg.Dropout",
        "seeds": f"0 to {seeds - 1}",
    }
    settings = grid(rate=sorted(rates), counts=[list(COUNTS)], seed=seeds_of(seeds))
    return DropoutMasks(run_fits(fit, settings, **how), about)


def fit(rate: Any, counts: Any, seed: Any) -> Any:
    """Look at one layer: its masks, its averages, and what it does in evaluation."""
    digits: Any = load_digits()
    image = (digits.images[0] / 16).ravel().astype(np.float32)
    layer = Dropout(rate, rng=seed)
    kept = layer.forward(np.ones((max(counts), image.size), np.float32)) > 0
    dropped = np.where(kept, image / np.float32(1 - rate), 0)
    means = [dropped[:count].mean(axis=0) for count in counts]
    layer.eval()
    return {
        "kept": float(kept.mean()),
        "mask": kept[0].astype(int).tolist(),
        "means": [mean.tolist() for mean in means],
        "error": [float(np.sqrt(np.mean((mean - image) ** 2))) for mean in means],
        "size": float(np.sqrt(np.mean(image**2))),
        "unchanged": bool(np.array_equal(layer.forward(image[None])[0], image)),
    }


class DropoutMasks(Result):
    """Shares kept, and errors of averages by the number of masks."""

    title = "Section 2.3: what does dropout drop?"
    question = (
        "Each training step draws a new mask and divides what is kept by 1 - p. Does a mask keep "
        "its share, do many average to the image again, and is evaluation left alone?"
    )

    def __post_init__(self) -> None:
        """Compare with theory: each average strays by the image times sqrt(p / (1 - p) / n)."""
        self.rates: Any = sorted({outcome["rate"] for outcome in self.outcomes})
        self.counts: Any = self.outcomes[0]["counts"]
        self.size: Any = self.outcomes[0]["size"]
        drawn = max(self.counts) * len(self.outcomes[0]["mask"]) * len(self.seeds())
        self.z: Any = {
            rate: (self.outcomes.values("kept", rate=rate).mean() - (1 - rate))
            / math.sqrt(rate * (1 - rate) / drawn)
            for rate in self.rates
        }
        self.error: Any = {rate: self.outcomes.values("error", rate=rate) for rate in self.rates}

    def expected(self, rate: Any) -> Any:
        """What the error should be for each number of masks."""
        return self.size * np.sqrt(rate / (1 - rate) / np.array(self.counts))

    def table(self) -> Table:
        """Shares kept and errors of averages."""
        header = ("dropout rate", "kept (%)", "standard errors off",
                  *(f"error of mean of {count}" for count in self.counts))  # fmt: skip
        rows = [
            (
                f"{rate:g}",
                mean_interval(self.outcomes.values("kept", rate=rate)).percent(2),
                f"{self.z[rate]:+.1f}",
                *(mean_interval(errors).text() for errors in self.error[rate]),
            )
            for rate in self.rates
        ]
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Whether shares, averages and evaluation are as they should be."""
        off = max(map(abs, self.z.values()))
        ratio = [self.error[rate].mean(axis=1) / self.expected(rate) for rate in self.rates]
        same = sum(outcome["unchanged"] for outcome in self.outcomes)
        middle = self.rates[len(self.rates) // 2]
        first, last = (f"{self.error[middle][i].mean():.3f}" for i in (0, -1))
        return [
            Finding(
                f"{self.counts[-1]} masks average to the image again: error {last}, {first} for 1.",
                f"At rate {middle:g}. The error is "
                f"{np.min(ratio):.2f} to {np.max(ratio):.2f} times what independent masks give.",
            ),
            Finding(
                f"The shares kept are {'' if off < 3 else 'not '}those of the rates.",
                f"They stray by at most {off:.1f} standard errors.",
            ),
            Finding(
                f"In evaluation {same} of {len(self.outcomes)} layers return the image unchanged.",
                "Dividing by 1 - p in training is what makes that right.",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw the error of the average against the number of masks."""
        ax.set(xscale="log", yscale="log", xlabel="masks averaged",
               ylabel="error of the average (pixel value)")  # fmt: skip
        for rate, colour in zip(self.rates, plots.shades(len(self.rates)), strict=True):
            mean, _ = plots.intervals(
                ax, self.counts, self.error[rate], colour=colour, line=False, label=f"rate {rate:g}"
            )
            ax.plot(self.counts, self.expected(rate), color=colour, lw=1)
        ax.set_title(self.findings()[0].claim.removesuffix("."))
        ax.legend(loc="lower left")

    def plot_masks(self, figure: Any) -> None:
        """Draw a mask of each rate and what many average to."""
        panels = figure.subplots(len(self.rates), 1 + len(self.counts), squeeze=False)
        for row, rate in zip(panels, self.rates, strict=True):
            outcome = self.outcomes.where(rate=rate)[0]
            for ax, image in zip(row, (outcome["mask"], *outcome["means"]), strict=True):
                side = math.isqrt(len(image))
                ax.imshow(np.reshape(image, (side, side)), cmap="gray", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
                ax.grid(visible=False)
            row[0].set_ylabel(f"rate {rate:g}")
        for ax, name in zip(panels[0], ("mask", *map(str, self.counts)), strict=True):
            ax.set_title(name)
        plots.headline(figure, f"A mask, and the mean of {self.counts[0]} to {self.counts[-1]}: "
                       "the image again")  # fmt: skip

    def pictures(self) -> list[Picture]:
        """Masks with their averages, and the errors."""
        return [
            Picture("masks", self.plot_masks, (5.1, 5.4),
                    "White pixels of a mask are kept. The first columns of means are brighter "
                    "where pixels were kept, since those are divided by 1 - p."),
            Picture("error", lambda figure: self.plot(figure.subplots()), (5.1, 5.4),
                    "Lines: what independent masks give. Bars: 95 % intervals over the seeds."),
        ]  # fmt: skip

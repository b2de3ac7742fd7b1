"""Section 1.2: the U curve; bias and variance of polynomials against their degree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import fastreg
from fastreg.lab import plots
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.plots import BLUE, GREEN, GREY, ORANGE
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import Ranking, mean_interval

if TYPE_CHECKING:
    from fastreg._core.types import Array

TINY: Any = {"degrees": (0, 2), "rounds": 4}

__all__ = ["BiasVariance", "fit", "run"]

DEGREES = tuple(range(10))
POINTS, SIGMA = 40, 0.3
FLOOR = 1e-3  # an estimate of bias² may be 0 or negative


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    degrees: Any = DEGREES,
    rounds: int | None = None,
    **how: Any,
) -> Any:
    """Decompose the error of each degree; the truth must be known, so ``data`` is not used."""
    rounds = rounds or (60 if quick else 300)
    settings = grid(degree=sorted(degrees), n_points=[POINTS], sigma=[SIGMA], rounds=[rounds],
                    seed=seeds_of(seeds))  # fmt: skip
    about = {
        "data": f"artificial, whatever the other experiments use: sin 2πx with normal noise of "
        f"{SIGMA:g}; {rounds} fresh samples of {POINTS} points per seed, the same for every degree",
        "model": "polynomial by least squares",
        "error": "squared, at 2000 noisy points from 0.05 to 0.95",
        "seeds": f"0 to {seeds - 1}",
    }
    return BiasVariance(run_fits(fit, settings, **how), about)


class Polynomial:
    """Least squares on Chebyshev polynomials of x in [0, 1]."""

    def __init__(self, degree: Any) -> None:
        self.degree = degree

    def fit(self, X: Any, y: Any) -> None:
        """Solve for the coefficients."""
        self.series: Any = np.polynomial.Chebyshev.fit(X, y, self.degree, domain=[0, 1])

    def predict(self, X: Any) -> Array:
        """Return the polynomial's values."""
        return self.series(X)


def fit(degree: Any, n_points: Any, sigma: Any, rounds: int, seed: Any) -> Any:
    """Decompose the squared error of one degree."""
    rng = np.random.default_rng(seed)  # the same samples for every degree
    pool, points = rng.uniform(size=20_000), np.linspace(0.05, 0.95, 2000)
    y, truth = (np.sin(2 * np.pi * x) for x in (pool, points))
    noisy = [v + sigma * rng.normal(size=v.shape) for v in (y, truth)]
    parts = fastreg.bias_variance(
        lambda: Polynomial(degree), pool, noisy[0], points, noisy[1], truth=truth,
        rounds=rounds, train_size=n_points, rng=seed, progress=False,
    )  # fmt: skip
    return parts._asdict()


class BiasVariance(Result):
    """The error's parts by degree."""

    title = "Section 1.2: bias or variance?"
    question = "Error is bias² + variance + noise. How do the parts change with a model's capacity?"

    def __post_init__(self) -> None:
        """Find the degree of the smallest expected error."""
        self.degrees: Any = sorted({outcome["degree"] for outcome in self.outcomes})
        self.total: Any = {degree: self.part("total", degree).mean() for degree in self.degrees}
        self.best: Any = min(self.degrees, key=self.total.__getitem__)

    def part(self, name: Any, degree: Any) -> Any:
        """Return a part of the error, a value per seed."""
        return self.outcomes.values(name, degree=degree)

    def table(self) -> Table:
        """The parts of each degree's error."""
        names = ("bias2", "variance", "noise", "total")
        rows = [
            (
                f"{degree}{' *' if degree == self.best else ''}",
                *(mean_interval(self.part(name, degree)).text(4) for name in names),
            )
            for degree in self.degrees
        ]
        return Table(("degree", "bias²", "variance", "noise", "error"), rows)

    def findings(self) -> list[Finding]:
        """Where the error is lowest, what it is made of there, and whether the parts add up."""
        low, high, best = self.degrees[0], self.degrees[-1], self.best
        bias2, variance = (
            {d: self.part(name, d).mean() for d in self.degrees} for name in ("bias2", "variance")
        )
        ranking = Ranking({f"degree {d}": self.part("total", d) for d in self.degrees})
        claim = ranking.claim("error")
        evidence = (
            f"The lowest mean is that of degree {best}. From degree {low} to {high} bias² goes "
            f"from {bias2[low]:.2g} to {bias2[high]:.2g} "
            f"and variance from {variance[low]:.2g} to {variance[high]:.2g}; their sum with the "
            f"noise goes {self.total[low]:.3g}, {self.total[best]:.3g}, {self.total[high]:.3g}."
        )
        off = max(
            abs(self.part("residual", degree).mean()) / self.total[degree]
            for degree in self.degrees
        )
        sums = Finding(
            f"Bias², variance and noise add up to the measured error within {100 * off:.2g} %.",
            "What is left is the chance correlation of noise and bias on the test points.",
        )
        return [Finding(claim, evidence), sums]

    def plot(self, ax: Any) -> None:
        """Draw the U curve and its parts."""
        ax.set(yscale="log", xlabel="degree of the polynomial",
               ylabel="squared error")  # fmt: skip
        for name, label, colour in (
            ("bias2", "bias²", BLUE), ("variance", "variance", ORANGE), ("total", "error", GREEN),
        ):  # fmt: skip
            runs = [np.maximum(self.part(name, degree), FLOOR) for degree in self.degrees]
            mean, _ = plots.intervals(ax, self.degrees, runs, colour=colour, label=label)
            high = (self.degrees[-1], mean[-1])
            plots.label_end(ax, *high, label, colour, dy=-14 if name == "variance" else 0)
        noise = np.mean([self.part("noise", degree) for degree in self.degrees])
        ax.axhline(noise, color=GREY, ls=":", lw=1.4)
        ax.annotate(f"noise {noise:.3f}", (self.degrees[0], noise), (0, 4), color=GREY,
                    textcoords="offset points")  # fmt: skip
        ax.set_title(f"On average the error is lowest at degree {self.best}: "
                     f"{self.total[self.best]:.3f}, "
                     f"{self.total[self.degrees[0]]:.2f} at {self.degrees[0]}, "
                     f"{self.total[self.degrees[-1]]:.2f} at {self.degrees[-1]}")  # fmt: skip

    def pictures(self) -> list[Picture]:
        """The U curve."""
        return [
            Picture("u_curve", lambda figure: self.plot(figure.subplots()), (10.4, 4.0),
                    "Means over the seeds; bars: 95 % intervals. A part below "
                    f"{FLOOR:g} counts as that."),
        ]  # fmt: skip

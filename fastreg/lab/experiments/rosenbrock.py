"""Section 4.4: the paths of SGD, Momentum, RMSprop and Adam down Rosenbrock's valley."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastreg
from fastreg.lab import plots
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval

TINY = {"steps": 30}

__all__ = ["Rosenbrock", "fit", "gradient", "run", "value"]

NAMES = ("SGD", "Momentum", "RMSprop", "Adam")
COLOURS = dict(zip(NAMES, plots.COLOURS, strict=False))
RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5)
NEAR = 1e-3  # a value this low counts as arrived, also in `fit`


def value(x: Any, y: Any) -> Any:
    """Rosenbrock's function, ``(1 - x)^2 + 100 (y - x^2)^2``: 0 at (1, 1), in a curved valley."""
    return (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2


def gradient(x: Any, y: Any) -> Any:
    """Its slopes along x and y."""
    return np.array([-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)])


def run(
    data: Any = None, seeds: Any = 5, *, quick: bool = False, steps: Any = None, **how: Any
) -> Any:
    """Descend with each optimizer and rate; there are no data."""
    steps = steps or (500 if quick else 1000)
    varied = {"name": list(NAMES), "rate": list(RATES), "seed": seeds_of(seeds)}
    outcomes = run_fits(fit, grid(steps=[steps], **varied), **how)
    settings = {
        "function": "(1 - x)² + 100 (y - x²)², exact gradients",
        "start": "(-1.2, 1), each coordinate moved by a normal draw of size 0.1",
        "rates": f"{RATES}: that of the lowest mean logarithm of the value at step {steps} counts",
        "seeds": f"0 to {seeds - 1}: of the start, the same for all",
    }
    return Rosenbrock(outcomes, settings)


def fit(name: Any, rate: Any, steps: Any, seed: Any) -> Any:
    """Descend from the seed's start; the path ends where it leaves the plane's middle."""
    point = np.array([-1.2, 1.0]) + 0.1 * np.random.default_rng(seed).normal(size=2)
    optimizer, path = getattr(fastreg, name)(rate), [point.copy()]
    for _ in range(steps):
        optimizer.update({"point": point}, {"point": gradient(*point)})
        if not np.abs(point).max() < 10.0:
            break
        path.append(point.copy())
    way, lost = np.array(path), len(path) <= steps
    values = np.maximum(value(*way.T), 1e-30)  # so that they have a logarithm
    near, every = np.flatnonzero(values < 1e-3), np.unique(np.geomspace(1, steps, 99).astype(int))
    return {
        "lost": lost,
        "end": float("inf") if lost else values[-1],
        "arrived": int(near[0]) if len(near) and not lost else float("inf"),
        "step": every.tolist(),
        "values": np.append(values, np.full(steps + 1 - len(path), np.inf))[every].tolist(),
        "path": way[:: max(1, steps // 1000)].round(4).tolist() if seed == 0 else [],
    }


class Rosenbrock(Result):
    """Paths, and the steps it takes to arrive."""

    title = "Section 4.4: down Rosenbrock's valley"
    question = "A curved valley, steep across, flat along: which arrive, each at its best rate?"

    def __post_init__(self) -> None:
        """Choose each optimizer's rate by where it ends, and rank them by that."""
        self.rate: Any = {
            name: min(RATES, key=lambda rate: self.depth(name, rate)) for name in NAMES
        }
        self.ranked: Any = sorted(NAMES, key=lambda name: self.depth(name, self.rate[name]))

    def depth(self, name: Any, rate: Any) -> Any:
        """Mean logarithm of the value at the end."""
        return np.log(self.outcomes.values("end", name=name, rate=rate)).mean()

    def at(self, key: Any, name: Any) -> Any:
        """What came out with an optimizer's best rate."""
        return self.outcomes.values(key, name=name, rate=self.rate[name])

    def table(self) -> Table:
        """Rates, values at the end and steps to arrive."""
        header = "optimizer", "its rate", "rate held", "log10 of the last value", "steps to arrive"
        rows = []
        for name in self.ranked:
            end = mean_interval(np.log10(self.at("end", name))).text(2)
            arrived = mean_interval(self.at("arrived", name)).text(0)
            rows.append((name, f"{self.rate[name]:g}", f"{self.held(name):g}", end, arrived))
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Which optimizers arrive, and how far the others come."""
        there = [name for name in self.ranked if np.isfinite(self.at("arrived", name)).all()]
        there.sort(key=lambda name: self.at("arrived", name).mean())
        arrived = [f"{name} ({mean_interval(self.at('arrived', name)).text(0)})" for name in there]
        ends = {name: np.exp(self.depth(name, self.rate[name])) for name in self.ranked}
        late = [f"{name} at {ends[name]:.1e}" for name in self.ranked if name not in there]
        return [
            Finding(
                f"{len(there)} of {len(NAMES)} arrive within {self.outcomes[0]['steps']} steps"
                + (f": {', '.join(arrived)}." if there else "."),
                f"Arrived: a value of {NEAR:g}, from every start. Still under way (geometric mean "
                f"of the last value): {', '.join(late) or 'none'}.",
            ),
            Finding(
                f"SGD stays in the valley up to a rate of {self.held('SGD'):g}, and is slow there.",
                "Steep walls limit the step: 2 over the largest curvature at the minimum is 0.002.",
            ),
        ]

    def held(self, name: Any) -> Any:
        """The highest rate from which no start was lost."""
        lost = {outcome["rate"] for outcome in self.outcomes.where(name=name, lost=True)}
        return max(set(RATES) - lost, default=0.0)

    def plot(self, ax: Any) -> None:
        """Draw the first seed's paths on the contours."""
        x, y = np.meshgrid(np.linspace(-1.9, 1.7, 300), np.linspace(-0.7, 2.0, 300))
        ax.contour(x, y, value(x, y), 2.0 ** np.arange(-3, 11), colors=plots.GREY, linewidths=0.6)
        for i, name in enumerate(("RMSprop", "SGD", "Momentum", "Adam")):  # wide below narrow
            (outcome,) = self.outcomes.where(name=name, rate=self.rate[name], seed=0)
            path = np.array(outcome["path"])
            label, width = f"{name}, {self.rate[name]:g}: {outcome['end']:.0e}", (5, 2, 1.2, 1.2)[i]
            ax.plot(*path.T, color=COLOURS[name], lw=width, label=label)
            ax.plot(*path[-1], "s", ms=8, mec=plots.PAPER, color=COLOURS[name], zorder=5)
        ax.plot(*path[0], "o", color=plots.INK)
        ax.plot(1, 1, "*", color=plots.INK, ms=12, mec=plots.PAPER, zorder=6)
        ax.set(xlabel="x", ylabel="y", title=self.findings()[0].claim.removesuffix("."))
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="rate: last value")

    def plot_values(self, ax: Any) -> None:
        """Draw the value by step."""
        runs = {name: np.log10(self.at("values", name)) for name in NAMES}
        steps, lowest = self.outcomes[0]["step"], 10 ** runs[self.ranked[0]][-1].mean()
        ax.set(xlabel="step", xscale="log", ylabel="log10 of the value",
               title=f"After {steps[-1]} steps {self.ranked[0]} is at {lowest:.0e}")  # fmt: skip
        plots.named_curves(ax, steps, runs, COLOURS)

    def pictures(self) -> list[Picture]:
        """The paths, and the values along them."""
        marks = "Dot: start; star: minimum; squares: ends; contours: factors of 2."
        return [
            Picture("paths", lambda f: self.plot(f.subplots()), (10.4, 5.2), marks),
            Picture("values", lambda f: self.plot_values(f.subplots()), (10.4, 3.6), "95 % bands."),
        ]

"""Section 3.3: batch norm and layer norm compared, row by row of the chapter's table."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastreg import BatchNorm, LayerNorm
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import Outcomes, grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.normed import COLOURS, NAMES, fit
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import listed, mean_interval, paired_difference

TINY: Any = {"rates": (0.01, 3.0), "sizes": (2, 64), "epochs": 1}

__all__ = ["BatchVsLayerNorm", "aspects", "run"]

SIZES = (2, 8, 64)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    sizes: Any = SIZES,
    rates: Any = None,
    epochs: Any = None,
    **how: Any,
) -> Any:
    """Train with each norm, batch size, rate and seed; ``how`` is for `fastreg.lab.fits.run`."""
    epochs = epochs or (2 if quick else 5)
    rates = list(rates or (RATES[1::2] if quick else RATES))
    fits = grid(data=[data], norm=list(NAMES), batch_size=list(sizes), rate=rates, scale=[1.0],
                epochs=[epochs], seed=seeds_of(seeds))  # fmt: skip
    problem = load(data)
    settings = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-64-64-64-{problem.n_out}, ReLU; the norm before each ReLU",
        "training": f"SGD, {epochs} epochs; the last weights are judged",
        "rates": f"{', '.join(map(str, rates))}: for each norm and size the best on validation",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every norm",
    }
    shape = grid(norm=["batch", "layer"], sizes=[list(sizes)], seed=seeds_of(seeds))
    outcomes = run_fits(fit, fits, **how)
    return BatchVsLayerNorm(Outcomes(outcomes + run_fits(aspects, shape, **how)), settings)


def aspects(norm: Any, sizes: Any, seed: Any, features: int = 16) -> Any:
    """Measure a norm alone: its axis, what the other rows do to one, and what evaluation does."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(max(sizes), features)) + rng.normal(size=features)
    X += 2 * rng.normal(size=(len(X), 1))
    make = {"batch": BatchNorm, "layer": LayerNorm}[norm]
    Y = make(features).forward(X)
    moved, changed = [], []
    for size in sizes:
        layer, pairs = make(features), []
        for _ in range(100):  # one row in two companies; the running statistics settle meanwhile
            company = X[rng.integers(1, len(X), size=(2, size - 1))]
            pairs.append([layer.forward(np.vstack([X[:1], rows]))[0].copy() for rows in company])
        one, other = np.moveaxis(np.array(pairs), 1, 0)
        moved.append(float(np.sqrt(np.mean((one - other) ** 2))))
        batch = np.vstack([X[:1], company[-1]])
        training = layer.forward(batch).copy()
        layer.eval()
        changed.append(float(np.sqrt(np.mean((layer.forward(batch) - training) ** 2))))
    means = {"columns": 0, "rows": 1}
    return {
        **{name: float(np.abs(Y.mean(axis=axis)).max()) for name, axis in means.items()},
        "moved": moved,
        "changed": changed,
    }


class BatchVsLayerNorm(Result):
    """Losses by norm and batch size, each at its best rate."""

    rates: Any
    sizes: Any

    title = "Section 3.3: batch norm or layer norm?"
    question = (
        "Batch norm takes its mean and variance from the batch, layer norm from one sample's "
        "features. The rows of the chapter's table are measured here, and what small batches cost "
        "each; each norm and size has the learning rate of the lowest validation loss."
    )

    def __post_init__(self) -> None:
        """Choose the rate of each norm and size by validation loss."""
        self.problem: Any = load(self.outcomes[0]["data"])
        trained = [one for one in self.outcomes if "rate" in one]
        self.sizes, self.rates = (sorted({one[key] for one in trained})
                                  for key in ("batch_size", "rate"))  # fmt: skip
        self.ignorant: float = float(np.mean([one["ignorant"] for one in trained]))
        self.best: Any = {
            (norm, size): min(self.rates, key=partial(self._mean, norm, size))
            for norm in NAMES
            for size in self.sizes
        }

    def _mean(self, norm, size, rate):
        return self.at(norm, size, rate).mean()

    def at(self, norm: Any, size: Any, rate: Any = None, key: Any = "last") -> Any:
        """Return a value or a curve per seed, at the best rate unless told."""
        rate = self.best[norm, size] if rate is None else rate
        return self.outcomes.values(key, norm=norm, batch_size=size, rate=rate)

    def choices(self) -> Any:
        """The rate of each norm and size."""
        return self.best

    def tables(self) -> dict[str, Table]:
        """The chapter's table, and the losses."""
        return {"The chapter's table, measured": self.chapter(), "The losses": self.table()}

    def chapter(self) -> Any:
        """Return the four rows of the chapter's table with what was measured for each."""
        sizes = self.outcomes.where(norm="batch")[-1]["sizes"]
        columns = []
        for norm in ("batch", "layer"):
            get = {
                key: mean_interval(self.outcomes.where(norm=norm, sizes=sizes).values(key)).mean
                for key in ("columns", "rows", "moved", "changed")
            }
            axes = ["features over the batch", "samples over their features"]
            over = axes[:: 1 if get["columns"] < get["rows"] else -1]
            moved, changed = (
                ", ".join(f"{x:.2g} ({size})" for x, size in zip(get[key], sizes, strict=True))
                for key in ("moved", "changed")
            )
            ahead = [str(size) for size in self.sizes if self.ahead(size) == norm]
            best = f"batches of {listed(ahead)}" if ahead else "none within the noise"
            columns.append(
                (
                    f"{over[0]} (largest mean {min(get['columns'], get['rows']):.0e})",
                    f"yes, by {moved}" if max(get["moved"]) > 1e-6 else "no, by 0",
                    f"running statistics, changes by {changed}"
                    if max(get["changed"]) > 1e-6
                    else "same as training, changes by 0",
                    f"{best}, in this feed-forward network",
                )
            )
        names = ("normalises", "other rows of the batch move a row's output (batch size)",
                 "in evaluation (batch size)", "surely lower loss with")  # fmt: skip
        rows = [(name, *cells) for name, *cells in zip(names, *columns, strict=True)]
        return Table(("aspect", NAMES["batch"], NAMES["layer"]), rows)

    def ahead(self, size: Any) -> Any:
        """Return the norm whose loss is surely lower with batches of a size, or None."""
        gap = paired_difference(self.at("batch", size), self.at("layer", size))
        return ("layer" if gap.mean > 0 else "batch") if gap.excludes_zero else None

    def table(self) -> Table:
        """Losses and scores of each norm and batch size."""
        header = ("norm and batch size", "best rate", "training loss", "validation loss",
                  f"test {self.problem.score_label}")  # fmt: skip
        rows = [
            (f"{NAMES[norm]}, {size}", f"{rate:g}",
             mean_interval(self.at(norm, size, key="loss")[-1]).text(),
             mean_interval(self.at(norm, size)).text(),
             mean_interval(self.at(norm, size, key="test_score")).percent())
            for (norm, size), rate in self.best.items()
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """Which norm is ahead at each batch size, and what small batches cost each."""
        found = []
        for size in self.sizes:
            gap = paired_difference(self.at("batch", size), self.at("layer", size))
            claim = f"Within the noise neither norm is ahead with batches of {size}."
            if winner := self.ahead(size):
                claim = f"With batches of {size}, {NAMES[winner]} is ahead."
            losses = [f"{mean_interval(self.at(norm, size)).text()} with {name}"
                      for norm, name in NAMES.items()]  # fmt: skip
            found.append(
                Finding(
                    claim,
                    f"Validation losses: {', '.join(losses)}. Batch norm's less "
                    f"layer norm's: {gap.text()}, pairs of the same seed.",
                )
            )
        small, large = self.sizes[0], self.sizes[-1]
        cost = {n: paired_difference(self.at(n, small), self.at(n, large)) for n in NAMES}
        costs = [f"{cost[norm].text()} with {name}" for norm, name in NAMES.items()]
        found.append(
            Finding(
                f"Batches of {small} instead of {large} cost batch norm "
                f"{cost['batch'].text(2)} in loss."
                if cost["batch"].low > 0
                else f"Within the noise batches of {small} cost batch norm no more than {large}.",
                f"The loss changes by {', '.join(costs)}.",
            )
        )
        return found

    def plot(self, ax: Any) -> None:
        """Draw the last validation loss against the batch size."""
        small, (batch, layer) = self.sizes[0], (
            mean_interval(self.at(norm, self.sizes[0])).text(2)
            for norm in ("batch", "layer"))  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="batch size (samples)",
               ylabel=self.problem.loss_label, title=f"With batches of {small} batch norm ends at "
               f"{batch}, layer norm at {layer}")  # fmt: skip
        for norm, name in NAMES.items():
            runs = [np.minimum(self.at(norm, size), self.ignorant) for size in self.sizes]
            plots.intervals(ax, self.sizes, runs, colour=COLOURS[norm], label=name,
                            within=(0, self.ignorant))  # fmt: skip
        ax.minorticks_off()
        ax.set_xticks(self.sizes, [str(size) for size in self.sizes])
        ax.legend()

    def plot_rates(self, figure: Any) -> None:
        """Draw the last validation loss against the rate, a panel per batch size."""
        panels = figure.subplots(1, len(self.sizes), sharey=True, squeeze=False)[0]
        for ax, size in zip(panels, self.sizes, strict=True):
            ax.set(xscale="log", yscale="log", xlabel="learning rate", title=f"batches of {size}")
            for norm, name in NAMES.items():
                runs = [np.minimum(self.at(norm, size, rate), self.ignorant) for rate in self.rates]
                plots.intervals(ax, self.rates, runs, colour=COLOURS[norm], label=name,
                                within=(0, self.ignorant))  # fmt: skip
        panels[0].set_ylabel(self.problem.loss_label)
        panels[-1].legend()
        best = ", ".join(f"{self.best['batch', size]:g} for {size}" for size in self.sizes)
        plots.headline(figure, f"Batch norm's best rate by batch size: {best}")

    def pictures(self) -> list[Picture]:
        """The losses by batch size, and by rate."""
        how = "Last validation loss, 95 % intervals; what is above the loss of guessing, by "
        how += f"{self.problem.guess}, is drawn there."
        return [
            Picture("sizes", lambda figure: self.plot(figure.subplots()), (10.4, 3.4),
                    f"At the best rate of each. {how}"),
            Picture("rates", self.plot_rates, (10.4, 3.4), how),
        ]  # fmt: skip

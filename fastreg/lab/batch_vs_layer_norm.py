"""Exercise 3, continued: batch norm against layer norm when the batches are small."""

import numpy as np

from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.normed import COLOURS, NAMES, fit
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval, paired_difference

__all__ = ["BatchVsLayerNorm", "run"]

SIZES = (2, 8, 64)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def run(data="digits", seeds=5, *, quick=False, sizes=SIZES, rates=None, epochs=None, **how):
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
    return BatchVsLayerNorm(run_fits(fit, fits, **how), settings)


class BatchVsLayerNorm(Result):
    """Losses by norm and batch size, each at its best rate."""

    title = "Batch norm or layer norm, when batches are small?"
    question = (
        "Batch norm takes its mean and variance from the batch, layer norm from one sample's "
        "features. How much do small batches cost each? Each norm and size has "
        "the learning rate of the lowest validation loss."
    )

    def __post_init__(self):
        """Choose the rate of each norm and size by validation loss."""
        self.problem = load(self.outcomes[0]["data"])
        self.sizes, self.rates = (sorted({one[key] for one in self.outcomes})
                                  for key in ("batch_size", "rate"))  # fmt: skip
        self.ignorant = float(np.mean([one["ignorant"] for one in self.outcomes]))
        self.best = {
            (norm, size): min(self.rates, key=lambda r, n=norm, s=size: self.at(n, s, r).mean())
            for norm in NAMES
            for size in self.sizes
        }

    def at(self, norm, size, rate=None, key="last"):
        """Return a value or a curve a seed, at the best rate unless told."""
        rate = self.best[norm, size] if rate is None else rate
        return self.outcomes.values(key, norm=norm, batch_size=size, rate=rate)

    def table(self):
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

    def findings(self):
        """Which norm is ahead at each batch size, and what small batches cost each."""
        found = []
        for size in self.sizes:
            ahead = paired_difference(self.at("batch", size), self.at("layer", size))
            winner = "neither norm is surely ahead"
            if ahead.excludes_zero:
                winner = f"{NAMES['layer' if ahead.mean > 0 else 'batch']} is ahead"
            losses = [f"{mean_interval(self.at(norm, size)).text()} with {name}"
                      for norm, name in NAMES.items()]  # fmt: skip
            found.append(
                Finding(
                    f"With batches of {size}, {winner}.",
                    f"Validation losses: {', '.join(losses)}. Batch norm's is "
                    f"{ahead.text()} above layer norm's, pairs of the same seed.",
                )
            )
        small, large = self.sizes[0], self.sizes[-1]
        cost = {n: paired_difference(self.at(n, small), self.at(n, large)) for n in NAMES}
        costs = [f"{cost[norm].text()} with {name}" for norm, name in NAMES.items()]
        found.append(
            Finding(
                f"Batches of {small} instead of {large} "
                f"{'cost' if cost['batch'].low > 0 else 'may not cost'} batch norm some loss.",
                f"The loss changes by {', '.join(costs)}.",
            )
        )
        return found

    def plot(self, ax):
        """Draw the last validation loss against the batch size."""
        small, (batch, layer) = self.sizes[0], (
            self.at(norm, self.sizes[0]).mean() for norm in ("batch", "layer"))  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="batch size (samples)",
               ylabel=self.problem.loss_label, title=f"With batches of {small} batch norm ends at "
               f"{batch:.2g}, layer norm at {layer:.2g}")  # fmt: skip
        for norm, name in NAMES.items():
            runs = [np.minimum(self.at(norm, size), self.ignorant) for size in self.sizes]
            plots.intervals(ax, self.sizes, runs, colour=COLOURS[norm], label=name)
        ax.minorticks_off()
        ax.set_xticks(self.sizes, [str(size) for size in self.sizes])
        ax.legend()

    def plot_rates(self, figure):
        """Draw the last validation loss against the rate, a panel a batch size."""
        panels = figure.subplots(1, len(self.sizes), sharey=True, squeeze=False)[0]
        for ax, size in zip(panels, self.sizes, strict=True):
            ax.set(xscale="log", yscale="log", xlabel="learning rate", title=f"batches of {size}")
            for norm, name in NAMES.items():
                runs = [np.minimum(self.at(norm, size, rate), self.ignorant) for rate in self.rates]
                plots.intervals(ax, self.rates, runs, colour=COLOURS[norm], label=name)
        panels[0].set_ylabel(self.problem.loss_label)
        panels[-1].legend()
        best = ", ".join(f"{self.best['batch', size]:g} for {size}" for size in self.sizes)
        plots.headline(figure, f"Batch norm's best rate by batch size: {best}")

    def pictures(self):
        """The losses by batch size, and by rate."""
        how = "Last validation loss, 95 % intervals. A loss above that of ignorance counts as that."
        return [
            Picture("sizes", lambda figure: self.plot(figure.subplots()), (10.4, 3.4),
                    f"At the best rate of each. {how}"),
            Picture("rates", self.plot_rates, (10.4, 3.4), how),
        ]  # fmt: skip

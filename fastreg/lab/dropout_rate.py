"""Exercise 2: train with several dropout rates; which is best, what does a high one do.

The template of an experiment: settings, one fit, and what the numbers of all fits say.
"""

from fastreg import Adam
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of, train
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval, paired_difference
from fastreg.nn import mlp
from fastreg.train import Trainer

__all__ = ["DropoutRate", "fit", "run"]

RATES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def run(data="digits", seeds=5, *, quick=False, rates=RATES, epochs=None, **how):
    """Train a network with each rate and seed; ``how`` is for `fastreg.lab.fits.run`."""
    epochs = epochs or (15 if quick else 60)
    outcomes = run_fits(
        fit, grid(data=[data], rate=list(rates), epochs=[epochs], seed=seeds_of(seeds)), **how
    )
    problem = load(data)
    settings = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-256-128-{problem.n_out}, ReLU, dropout after each hidden layer",
        "training": f"Adam at 0.001, batches of 64, {epochs} epochs; the last weights are judged",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every rate",
    }
    return DropoutRate(outcomes, settings)


def fit(data, rate, epochs, seed):
    """Train one network; for one seed all but the rate is the same."""
    problem = load(data, seed)
    model = mlp([problem.n_in, 256, 128, problem.n_out], dropout=rate, rng=seed)
    trainer = Trainer(model, problem.loss, Adam(0.001), rng=seed)
    return train(trainer, problem, epochs=epochs)


class DropoutRate(Result):
    """Curves and test scores by dropout rate."""

    title = "How much dropout?"
    question = (
        "The same network is trained with dropout rates from none to very high. The rate is chosen "
        "by validation loss; the test data are asked once, at the end."
    )

    def __post_init__(self):
        """Choose the rate of the lowest final validation loss."""
        self.problem = load(self.outcomes[0]["data"])
        self.rates = sorted({outcome["rate"] for outcome in self.outcomes})
        self.final = {rate: self._last("val_loss", rate) for rate in self.rates}
        self.best = min(self.rates, key=lambda rate: self.final[rate].mean())

    def _last(self, curve, rate):
        return self.outcomes.values(curve, rate=rate)[-1]

    def table(self):
        """Final losses and scores of each rate."""
        unit = self.problem.score_label
        header = ("dropout rate", "training loss", "validation loss", f"validation {unit}",
                  f"test {unit}")  # fmt: skip
        rows = [
            (
                f"{rate:g}" + (" (best)" if rate == self.best else ""),
                mean_interval(self._last("loss", rate)).text(),
                mean_interval(self.final[rate]).text(),
                mean_interval(self._last("val_score", rate)).percent(),
                mean_interval(self.outcomes.values("test_score", rate=rate)).percent(),
            )
            for rate in self.rates
        ]
        return Table(header, rows)

    def findings(self):
        """The best rate, whether it beats none beyond noise, and what the highest did."""
        best, low, high = self.best, self.rates[0], self.rates[-1]
        test = mean_interval(self.outcomes.values("test_score", rate=best))
        found = [
            Finding(
                f"Dropout {best:g} has the lowest validation loss.",
                f"It ends at {mean_interval(self.final[best]).text()}; on test data its "
                f"{self.problem.score_label} is {test.percent()}.",
            )
        ]
        for other in {low, high} - {best}:
            worse = paired_difference(self.final[other], self.final[best])
            verdict = "worse" if worse.excludes_zero else "not surely worse"
            train = mean_interval(self._last("loss", other)).mean
            trained = mean_interval(self._last("loss", best)).mean
            gap = mean_interval(self.final[other]).mean - train
            found.append(
                Finding(
                    f"{'No dropout' if other == 0 else f'Dropout {other:g}'} is {verdict} than "
                    f"{best:g}.",
                    f"Its validation loss is higher by {worse.text()} (pairs of the same seed). "
                    f"It ends with a training loss of {train:.2g} (with {best:g}: {trained:.2g}) "
                    f"and validation {gap:.2g} above it: "
                    + ("it overfits." if gap > train else "it underfits."),
                )
            )
        return found

    def plot(self, ax):
        """Draw the final losses against the rate."""
        worst = max(self.rates, key=lambda rate: self.final[rate].mean())
        ratio = self.final[worst].mean() / self.final[self.best].mean()
        ax.set_title(
            f"Validation loss is lowest at dropout {self.best:g}; at {worst:g} it is "
            f"{ratio:.1f} times that"
        )
        ax.set(yscale="log", xlabel="dropout rate", ylabel=self.problem.loss_label)
        for key, colour in (("val_loss", plots.ORANGE), ("loss", plots.BLUE)):
            runs = [self._last(key, rate) for rate in self.rates]
            mean, _ = plots.intervals(ax, self.rates, runs, colour=colour)
            label = "validation" if key == "val_loss" else "training"
            plots.label_end(ax, self.rates[-1], mean[-1], label, colour)
        ax.axvline(self.best, color=plots.GREY, lw=1, ls=":", zorder=0)

    def plot_curves(self, figure):
        """Draw the losses of each rate against the epoch, a panel a rate."""
        panels = figure.subplots(1, len(self.rates), sharey=True)
        for ax, rate in zip(panels, self.rates, strict=True):
            ax.set(title=f"rate {rate:g}", yscale="log", xlabel="epoch")
            for key, colour in (("val_loss", plots.ORANGE), ("loss", plots.BLUE)):
                runs = self.outcomes.values(key, rate=rate)
                plots.curve(ax, range(1, len(runs) + 1), runs, colour=colour)
        panels[0].set_ylabel(self.problem.loss_label)
        gap = [(self.final[r] - self._last("loss", r)).mean() for r in (self.rates[0], self.best)]
        plots.headline(
            figure, f"Validation (orange) ends {gap[0]:.2g} above training (blue) without dropout, "
            f"{gap[1]:.2g} with {self.best:g}",
        )  # fmt: skip

    def pictures(self):
        """The losses by rate, and the curves they end."""
        return [
            Picture("by_rate", lambda figure: self.plot(figure.subplots()), (10.4, 3.6),
                    "After the last epoch, without dropout's noise. Bars: 95 % intervals."),
            Picture("curves", self.plot_curves, (10.4, 3.2),
                    "Mean over the seeds; bands: 95 % intervals. Training loss without noise."),
        ]  # fmt: skip

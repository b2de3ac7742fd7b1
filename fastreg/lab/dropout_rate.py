"""Exercise 2: train with several dropout rates; which is best, what does a high one do."""

from fastreg import Adam
from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of, train
from fastreg.lab.fits import run as run_fits
from fastreg.lab.plots import BLUE, ORANGE
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval, paired_difference
from fastreg.nn import mlp
from fastreg.train import Trainer

__all__ = ["DropoutRate", "fit", "run"]

RATES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
NOISE = 0.2


def run(data="digits", seeds=5, *, quick=False, rates=RATES, epochs=None, **how):
    """Train a network at each rate, on clean and on noisy labels; ``how`` is for `fits.run`."""
    epochs = epochs or (15 if quick else 60)
    settings = grid(data=[data], label_noise=[0.0, NOISE], rate=sorted(rates), epochs=[epochs],
                    seed=seeds_of(seeds))  # fmt: skip
    problem = load(data)
    about = {
        "data": problem.describe(),
        "noisy labels": f"{NOISE:.0%} of the training rows have exchanged their targets",
        "network": f"{problem.n_in}-256-128-{problem.n_out}, ReLU, dropout after each hidden layer",
        "training": f"Adam at 0.001, batches of 64, {epochs} epochs; the last weights are judged",
        "seeds": f"0 to {seeds - 1}: all but rate and noise is the same for one seed",
    }
    return DropoutRate(run_fits(fit, settings, **how), about)


def fit(data, label_noise, rate, epochs, seed):
    """Train one network; for one seed all but rate and noise is the same."""
    problem = load(data, seed, label_noise=label_noise)
    model = mlp([problem.n_in, 256, 128, problem.n_out], dropout=rate, rng=seed)
    trainer = Trainer(model, problem.loss, Adam(0.001), rng=seed)
    return train(trainer, problem, epochs=epochs)


class DropoutRate(Result):
    """Curves and test scores by dropout rate, on clean and on noisy labels."""

    title = "How much dropout?"
    question = (
        "The same network is trained with dropout rates from none to very high, on clean labels "
        "and on labels with noise to overfit. Validation loss chooses the rate."
    )

    def __post_init__(self):
        """Choose the rate of the lowest final validation loss, for each kind of labels."""
        self.problem = load(self.outcomes[0]["data"])
        self.rates = sorted({outcome["rate"] for outcome in self.outcomes})
        self.kinds = {0.0: "clean", NOISE: "noisy"}
        self.best = {
            noise: min(self.rates, key=lambda rate: self.last("val_loss", noise, rate).mean())
            for noise in self.kinds
        }

    def last(self, curve, noise, rate):
        """Return where a curve ends, a value a seed."""
        return self.outcomes.values(curve, label_noise=noise, rate=rate)[-1]

    def score(self, noise, rate):
        """Return the test scores, a value a seed."""
        return self.outcomes.values("test_score", label_noise=noise, rate=rate)

    def table(self):
        """Final losses and scores of each rate; a star marks the choice."""
        unit = self.problem.score_label
        header = ("labels, rate", "training loss", "validation loss", f"validation {unit}")
        rows = []
        for noise, kind in self.kinds.items():
            for rate in self.rates:
                losses = [self.last(key, noise, rate) for key in ("loss", "val_loss")]
                scores = [self.last("val_score", noise, rate), self.score(noise, rate)]
                name = f"{kind}, {rate:g}{' *' if rate == self.best[noise] else ''}"
                rows.append((name, *(mean_interval(loss).text() for loss in losses),
                             *(mean_interval(score).percent() for score in scores)))  # fmt: skip
        return Table((*header, f"test {unit}"), rows)

    def findings(self):
        """The best rate on both kinds of labels, and what the highest did."""
        return [self._choice(NOISE), self._choice(0.0), self._highest()]

    def _choice(self, noise):
        best, none = self.best[noise], self.rates[0]
        gain = paired_difference(self.score(noise, best), self.score(noise, none))
        sure = "" if gain.excludes_zero else ", within the noise"
        loss = mean_interval(self.last("val_loss", noise, best)).text()
        score = mean_interval(self.score(noise, best)).percent()
        claim = f"On {self.kinds[noise]} labels dropout {best:g} has the lowest validation loss"
        evidence = f"Validation loss {loss}; test {self.problem.score_label} {score}"
        if best != none:
            claim += f" and is worth {100 * gain.mean:.1f} points on test data{sure}"
            evidence += f", {gain.percent()} points more than with {none:g} (pairs of a seed)"
        return Finding(f"{claim}.", f"{evidence}.")

    def _highest(self):
        high, best = self.rates[-1], self.best[0.0]
        train, val = (self.last(key, 0.0, high).mean() for key in ("loss", "val_loss"))
        kind = "underfits" if train > max(val - train, 0.2 * self.problem.ignorant_loss) else "fits"
        worse = paired_difference(self.score(0.0, best), self.score(0.0, high))
        side = f"{'above' if worse.mean < 0 else 'below'} {best:g}"
        side += "" if worse.excludes_zero else ", within the noise"
        place = f"{100 * abs(worse.mean):.1f} points {side}"
        return Finding(
            f"Dropout {high:g} {kind}: {place if high != best else 'it is the choice'}.",
            f"On clean labels it ends with a training loss of {train:.2g} and validation at "
            f"{val:.2g}; knowing nothing costs {self.problem.ignorant_loss:.2g}, and with {best:g} "
            f"training loss goes to {self.last('loss', 0.0, best).mean():.2g}.",
        )

    def plot(self, ax):
        """Draw the errors on test data against the rate."""
        noisy, none = self.best[NOISE], self.rates[0]
        gain = paired_difference(self.score(NOISE, noisy), self.score(NOISE, none)).percent()
        worth = f"{noisy:g} is worth {gain} points" if noisy != none else f"{none:g} is the choice"
        ax.set_title(f"On noisy labels dropout {worth}; on clean ones {self.best[0.0]:g} is chosen")
        for (noise, kind), colour in zip(self.kinds.items(), (BLUE, ORANGE), strict=True):
            errors = [1.0 - self.score(noise, rate) for rate in self.rates]
            mean, _ = plots.intervals(ax, self.rates, errors, colour=colour, scale=100)
            plots.label_end(ax, self.rates[-1], mean[-1], kind, colour, dy=6 if noise else -6)
            place = self.rates.index(self.best[noise])
            ax.plot(self.best[noise], mean[place], "o", ms=12, mfc="none", color=colour)
        ax.set(xlabel="dropout rate", ylabel=f"test {self.problem.error_label}")
        ax.set_yscale("symlog", linthresh=1, linscale=0.3)  # there may be no errors at all
        ax.set_ylim(bottom=-0.3)
        ax.set_yticks(ticks := (0, 1, 2, 5, 10, 20, 50, 100), map(str, ticks))

    def plot_curves(self, figure):
        """Draw the losses on noisy labels against the epoch, a panel a rate."""
        panels = figure.subplots(1, len(self.rates), sharey=True)
        for ax, rate in zip(panels, self.rates, strict=True):
            ax.set(title=f"rate {rate:g}", xlabel="epoch")
            for key, colour in (("val_loss", ORANGE), ("loss", BLUE)):
                runs = self.outcomes.values(key, label_noise=NOISE, rate=rate)
                plots.curve(ax, range(1, len(runs) + 1), runs, colour=colour)
        panels[0].set_ylabel(self.problem.loss_label)
        ends = [self.last("loss", NOISE, r).mean() for r in (self.rates[0], self.best[NOISE])]
        plots.headline(figure, "On noisy labels training (blue) learns the noise, to {:.2g} without"
                       " dropout, {:.2g} with {:g}; validation: orange".format(
                           *ends, self.best[NOISE]))  # fmt: skip

    def pictures(self):
        """The scores by rate, and the curves behind them."""
        return [
            Picture("by_rate", lambda figure: self.plot(figure.subplots()), (10.4, 3.6),
                    "Bars: 95 % intervals over the seeds. Rings: chosen by validation loss."),
            Picture("curves", self.plot_curves, (10.4, 3.2),
                    "Mean over the seeds; bands: 95 % intervals. Losses are without dropout."),
        ]  # fmt: skip

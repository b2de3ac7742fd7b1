"""Exercise 3: without batch norm, with it, and with layer norm: which rates and scales train."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg.lab import plots
from fastreg.lab.data import load
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.normed import COLOURS, NAMES, Sensitivity, fit
from fastreg.lab.result import Finding, Picture, Table
from fastreg.lab.statistics import mean_interval, paired_difference

TINY: Any = {"rates": (0.01, 3.0), "scales": (1.0, 10.0), "epochs": 2}

__all__ = ["BatchNormAblation", "run"]

RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # three decades
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)  # two decades


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    rates: Any = None,
    scales: Any = None,
    epochs: Any = None,
    **how: Any,
) -> Any:
    """Train with each norm, rate, scale and seed; ``how`` is for `fastreg.lab.fits.run`."""
    epochs = epochs or (8 if quick else 20)
    rates = list(rates or (RATES[::2] if quick else RATES))
    scales = list(scales or (SCALES[::2] if quick else SCALES))
    fits = grid(data=[data], norm=list(NAMES), rate=rates, scale=scales, epochs=[epochs],
                seed=seeds_of(seeds))  # fmt: skip
    problem = load(data)
    settings = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-64-64-64-{problem.n_out}, ReLU; the norm before each ReLU",
        "initial weights": "He's standard deviation times the scale, in every layer",
        "training": f"SGD, batches of 64, {epochs} epochs; the last weights are judged",
        "guessing": f"knowing only {problem.guess}",
        "seeds": f"0 to {seeds - 1}: split, initial weights and order are those of every norm",
    }
    return BatchNormAblation(run_fits(fit, fits, **how), settings)


class BatchNormAblation(Sensitivity):
    """Losses by norm, learning rate and initial scale."""

    title = "Exercise 3: what does batch norm make possible?"
    question = (
        "The same network is trained without a norm, with batch norm and with layer norm, for "
        "learning rates and initial scales over decades. Which settings train at all?"
    )

    def table(self) -> Table:
        """Settings that reach the loss, and the best of each norm."""
        header = ("norm", f"reach {self.target:.2g} (% of settings)",
                  f"rates (scale {self.scales[self.middle]:g})", "scales (any rate)",
                  "best rate, scale", "loss", f"test {self.problem.score_label}")  # fmt: skip
        rows = [
            (name, mean_interval(self.reached[norm]).percent(), self.span(norm, of_rates=True),
             self.span(norm, of_rates=False), "{:g}, {:g}".format(*self.best[norm]),
             mean_interval(self.get("last", norm, *self.best[norm])).text(),
             mean_interval(self.get("test_score", norm, *self.best[norm])).percent())
            for norm, name in NAMES.items()
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """How many settings train with each norm, and what happens at the ends."""
        more = paired_difference(self.reached["batch"], self.reached["none"],
                                 step=1 / self.mean["none"].size)  # fmt: skip
        share = [f"{mean_interval(self.reached[n]).percent()} % with {NAMES[n]}" for n in NAMES]
        return [
            Finding(
                "Batch norm makes more settings train."
                if more.low > 0
                else "Within the noise as many settings train without batch norm as with it.",
                f"A validation loss of {self.target:.2g}, nine tenths of the way from guessing to "
                f"the best, is reached by {', '.join(share)} of {self.mean['none'].size} settings: "
                f"{more.text(1, scale=100)} points more with batch norm than without.",
            ),
            self._initial(),
            self._end("rate", self.middle, -1),
            self._end("scale", -1, int(self.mean["batch"][-1].argmin())),
        ]

    def _initial(self):
        """Say how much the scale of the initial weights matters, at each norm's best rate."""
        spread = {}
        for norm in NAMES:
            j = self.rates.index(self.best[norm][0])
            last = np.log10(np.minimum(self.last[norm][:, j], self.ignorant))
            spread[norm] = last.max(axis=0) - last.min(axis=0)
        less = paired_difference(spread["none"], spread["batch"])
        text = [f"{mean_interval(spread[norm]).text(2)} with {NAMES[norm]}" for norm in NAMES]
        return Finding(
            "Batch norm makes training less sensitive to the initial weights."
            if less.low > 0
            else "Within the noise batch norm is as sensitive to the initial weights.",
            f"Over scales from {self.scales[0]:g} to {self.scales[-1]:g}, each norm at its best "
            f"rate, the last validation loss varies by so many powers of ten: {', '.join(text)}. "
            f"Difference, pairs of the same seed: {less.text(2)}.",
        )

    def _end(self, what, i, j):
        """Say what a setting at the end of the grid does; below half of guessing it trains."""
        ok = {norm: int((self.last[norm][i, j] < self.ignorant / 2).sum()) for norm in NAMES}
        n, diverged = len(self.seeds()), self.get("diverged", "none", self.rates[j], self.scales[i])
        apart = ok["batch"] > n / 2 > ok["none"]
        return Finding(
            f"The largest {what} trains with batch norm and fails without."
            if apart
            else f"The largest {what} does not tell batch norm from none.",
            f"At rate {self.rates[j]:g} and scale {self.scales[i]:g}, "
            f"{', '.join(f'{ok[m]} of {n} runs with {NAMES[m]}' for m in NAMES)} end below half of "
            f"the loss of guessing; {diverged.sum():.0f} runs without a norm diverged.",
        )

    def plot(self, ax: Any) -> None:
        """Draw the last validation loss against the learning rate."""
        within = (0, self.ignorant)
        spans = [self.span(norm, of_rates=True) for norm in ("batch", "none")]
        ax.set(xscale="log", yscale="log", xlabel="learning rate",
               ylabel=self.problem.loss_label, title=f"Rates that reach {self.target:.2g}: "
               f"{spans[0]} with batch norm, {spans[1]} without")  # fmt: skip
        for norm, name in NAMES.items():
            runs = np.minimum(self.last[norm][self.middle], self.ignorant)
            plots.intervals(ax, self.rates, runs, colour=COLOURS[norm], label=name, within=within)
        ax.axhline(self.target, color=plots.GREY, ls=":")
        ax.legend()

    def plot_sensitivity(self, figure: Any) -> None:
        """Draw the last validation loss of every rate and scale, a panel per norm."""
        limits = {"vmin": np.log(self.target / 4), "vmax": np.log(self.ignorant)}
        for ax, norm in zip(figure.subplots(1, 3), NAMES, strict=True):
            cell = np.minimum(self.last[norm], self.ignorant).mean(axis=2)
            image = ax.imshow(
                np.log(cell), cmap="viridis_r", aspect="auto", origin="lower", **limits
            )
            for (i, j), value in np.ndenumerate(cell):
                weight = "bold" if self.mean[norm][i, j] <= self.target else "normal"
                ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=8, weight=weight,
                        color="white" if image.norm(np.log(value)) > 0.45 else "black")  # fmt: skip
            ax.set(title=f"{NAMES[norm]}: {100 * self.reached[norm].mean():.0f} %",
                   xlabel="learning rate", ylabel="scale of the initial weights")  # fmt: skip
            ax.set_xticks(range(len(self.rates)), [f"{x:g}" for x in self.rates])
            ax.set_yticks(range(len(self.scales)), [f"{x:g}" for x in self.scales])
            ax.grid(visible=False)
        share = [f"{100 * self.reached[norm].mean():.0f} %" for norm in ("batch", "none")]
        plots.headline(figure, f"{self.findings()[0].claim} On average {share[0]} end with a loss "
                               f"of {self.target:.2g} or less, without {share[1]}")  # fmt: skip

    def plot_curves(self, figure: Any) -> None:
        """Draw the loss curves: rates above, scales below, a column per norm."""
        for row, panels in enumerate(figure.subplots(2, 3, sharex=True, sharey=True)):
            values = self.scales if row else self.rates
            for ax, norm in zip(panels, NAMES, strict=True):
                fixed = self.best[norm][0] if row else self.scales[self.middle]
                ax.set(yscale="log", xlabel="epoch" if row else "", ylabel="training loss",
                       title=f"{NAMES[norm]}, {'rate' if row else 'scale'} {fixed:g}")  # fmt: skip
                for value, colour in zip(values, plots.shades(len(values)), strict=True):
                    at = (fixed, value) if row else (value, fixed)
                    runs = np.minimum(self.get("loss", norm, *at), self.ignorant)
                    plots.curve(
                        ax, range(1, len(runs) + 1), runs, colour=colour, label=f"{value:g}",
                        within=(0, self.ignorant),
                    )  # fmt: skip
                ax.label_outer()
            panels[2].legend(title="scale" if row else "rate", loc=(1.02, 0))
        ends = [sum(m[self.middle] < self.ignorant / 2) for m in self.mean.values()]
        plots.headline(figure, f"{ends[1]} of {len(self.rates)} rates end below half of the loss "
                               f"of guessing with batch norm, {ends[0]} without")  # fmt: skip

    def pictures(self) -> list[Picture]:
        """All settings, the rates alone, and the curves."""
        how = "Means over the seeds, 95 % intervals. A loss above that of guessing is drawn there."
        return [
            Picture("sensitivity", self.plot_sensitivity, (10.4, 3.4),
                    f"Last validation loss; bold where it is reached. {how}"),
            Picture("rates", lambda figure: self.plot(figure.subplots()), (10.4, 3.4),
                    f"Last validation loss at scale {self.scales[self.middle]:g}. {how}"),
            Picture("curves", self.plot_curves, (10.4, 5.4),
                    f"The stronger the colour, the larger. {how}"),
        ]  # fmt: skip

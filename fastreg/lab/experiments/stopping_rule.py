"""Section 6: the early-stopping rule on the chapter's simulated losses, where the best is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastreg import EarlyStopping
from fastreg.lab import plots
from fastreg.lab.fits import grid, seeds_of
from fastreg.lab.fits import run as run_fits
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.lab.statistics import mean_interval, paired_difference

TINY = {"rounds": 20}

__all__ = ["StoppingRule", "fit", "run"]

PATIENCES, NOISES = (1, 2, 5, 10, 20), (0.0, 0.02, 0.1)
TURN, EPOCHS = 20, 100  # the chapter's curve falls until epoch 20 and rises from then on


def run(
    data: Any = None, seeds: Any = 5, *, quick: bool = False, rounds: int | None = None, **how: Any
) -> Any:
    """Stop many simulated curves with each patience; there are no data."""
    rounds = rounds or (100 if quick else 400)
    settings = {
        "losses": f"the chapter's: 1 - 0.03 t until epoch {TURN}, then 0.4 + 0.02 (t - {TURN}), "
        f"plus normal noise of {', '.join(map(str, NOISES))} (the chapter's is 0.02)",
        "rule": f"EarlyStopping with min_delta 0.0001, at most {EPOCHS} epochs",
        "curves": f"{rounds} for each noise and seed, the same for every patience",
        "seeds": f"0 to {seeds - 1}: of the noise",
    }
    fits = grid(noise=list(NOISES), patience=list(PATIENCES), rounds=[rounds], seed=seeds_of(seeds))
    return StoppingRule(run_fits(fit, fits, **how), settings)


def truth(epochs: Any) -> Any:
    """Return the simulated loss without its noise."""
    t = np.asarray(epochs, np.float64)
    return np.where(t < TURN, 1.0 - 0.03 * t, 0.4 + 0.02 * (t - TURN))


def fit(noise: Any, patience: Any, rounds: int, seed: Any) -> Any:
    """Stop each curve; return where that was and how much the kept epoch is truly worse."""
    rng, loss, lowest = np.random.default_rng(seed), truth(np.arange(EPOCHS)), truth(TURN)
    stopped, excess = [], []
    for _ in range(rounds):
        curve = loss + noise * rng.normal(size=EPOCHS)
        (replay,) = EarlyStopping.replay(curve, patience)
        stopped.append(replay.epochs_run)
        excess.append(float(loss[replay.best_epoch] - lowest))
    return {
        "stopped": float(np.mean(stopped)),
        "excess": float(np.mean(excess)),
        "early": float(np.mean(np.array(stopped) <= TURN)),
    }


class StoppingRule(Result):
    """Where each patience stops, and what that costs, by noise."""

    title = "Section 6: how patient must early stopping be?"
    question = (
        "On simulated losses the best epoch is known. How often does each patience stop before "
        "it, and how much worse than the best is what it keeps?"
    )

    def get(self, key: Any, noise: Any, patience: Any) -> Any:
        """Return a value per seed."""
        return self.outcomes.values(key, noise=noise, patience=patience)

    def table(self) -> Table:
        """Epochs run, stops before the best epoch, and what is lost."""
        header = ("noise, patience", "epochs run", "stopped before the best (%)",
                  "loss above the lowest")  # fmt: skip
        rows = [
            (f"{noise:g}, {patience}", mean_interval(self.get("stopped", noise, patience)).text(1),
             mean_interval(self.get("early", noise, patience)).percent(),
             mean_interval(self.get("excess", noise, patience)).text(4))
            for noise in NOISES for patience in PATIENCES
        ]  # fmt: skip
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """What the chapter's patience does, and which patience more noise needs."""
        short, chapter, long = PATIENCES[0], 5, PATIENCES[-1]
        low, high = NOISES[1], NOISES[-1]
        early = mean_interval(self.get("early", low, chapter)).percent()
        hasty = paired_difference(self.get("excess", high, short), self.get("excess", high, long))
        costs = [
            f"{mean_interval(self.get('excess', high, p)).text(3)} with {p}" for p in PATIENCES
        ]
        return [
            Finding(
                f"With the chapter's noise and patience {chapter}, training stops after "
                f"{mean_interval(self.get('stopped', low, chapter)).text(1)} epochs.",
                f"The best is epoch {TURN}; {early} % of the curves stop before it. What is kept "
                f"lies {mean_interval(self.get('excess', low, chapter)).text(4)} above the lowest "
                "loss.",
            ),
            Finding(
                f"The noisier the loss, the more patience it needs: at {high:g}, patience {short} "
                f"loses {hasty.text()} more than {long}."
                if hasty.low > 0
                else f"Within the noise patience {short} loses no more than {long}.",
                f"Loss above the lowest at a noise of {high:g}: {', '.join(costs)}. Without noise "
                f"every patience keeps the best epoch and runs its own length longer.",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw what is lost against the patience."""
        ax.set(xscale="log", xlabel="patience (epochs)", ylabel="loss above the lowest")
        for noise, colour in zip(NOISES, plots.COLOURS, strict=False):
            runs = [self.get("excess", noise, patience) for patience in PATIENCES]
            plots.intervals(ax, PATIENCES, runs, colour=colour, label=f"noise {noise:g}",
                            within=(0, np.inf))  # fmt: skip
        ax.set_xticks(PATIENCES, map(str, PATIENCES))
        ax.minorticks_off()
        ax.set_title(self.findings()[1].claim.removesuffix("."))
        ax.legend()

    def plot_curve(self, figure: Any) -> None:
        """Draw one curve of the chapter's noise, and where each patience stops it."""
        ax, seed = figure.subplots(), self.seeds()[0]
        curve = truth(np.arange(EPOCHS))
        curve = curve + NOISES[1] * np.random.default_rng(seed).normal(size=EPOCHS)
        ax.plot(curve, color=plots.BLUE, label="simulated validation loss")
        for place, replay in enumerate(EarlyStopping.replay(curve, list(PATIENCES))):
            epoch = replay.epochs_run - 1
            ax.axvline(epoch, color=plots.GREY, ls="--", lw=1)
            ax.annotate(f"patience {PATIENCES[place]}", (epoch, 0.95 - 0.07 * place), (4, 0),
                        xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
        ax.axvline(TURN, color=plots.ORANGE, lw=1.2)
        ax.annotate("the best epoch", (TURN, 0.03), (-4, 0), color=plots.ORANGE, ha="right",
                    xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
        ax.set(xlabel="epoch", ylabel="validation loss", title="One curve, and where it is stopped")
        ax.legend(loc="lower right")

    def pictures(self) -> list[Picture]:
        """One curve, and the loss by patience."""
        return [
            Picture("curve", self.plot_curve, (10.4, 3.4), "The chapter's simulation, one seed."),
            Picture("patience", lambda figure: self.plot(figure.subplots()), (10.4, 3.4),
                    "Means over the seeds; bars: 95 % intervals."),
        ]  # fmt: skip

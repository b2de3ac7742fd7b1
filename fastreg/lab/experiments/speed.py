"""Beyond the chapter: the same training on fastreg and on its NumPy reference, timed."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

import fastreg
import fastreg.nn
from fastreg.lab.data import load
from fastreg.lab.fits import grid
from fastreg.lab.fits import run as run_fits
from fastreg.lab.plots import BLUE, GREY
from fastreg.lab.result import Finding, Picture, Result, Table
from fastreg.nn import mlp
from fastreg.train import Trainer

TINY = {"epochs": 1}

__all__ = ["Speed", "fit", "run"]

VARIANTS = {  # name: (batch norm?, dropout rate)
    "plain": (False, 0.0),
    "dropout": (False, 0.2),
    "batch norm": (True, 0.0),
    "both": (True, 0.2),
}
BACKENDS = ("fast", "reference")


def run(
    data: Any = "digits",
    seeds: Any = 5,
    *,
    quick: bool = False,
    epochs: Any = None,
    jobs: Any = None,
    **how: Any,
) -> Any:
    """Train four networks on both backends; one after another, whatever ``jobs`` is."""
    epochs = epochs or (8 if quick else 40)
    problem = load(data)
    about = {
        "data": problem.describe(),
        "network": f"{problem.n_in}-64-32-{problem.n_out}, ReLU; dropout 0.2",
        "training": f"Adam at 0.003, batches of 64, {epochs} epochs, seed 0",
        "timing": "median step, one thread; both backends in turn, epoch by epoch, from the same "
        "weights, in the same order and with the same dropout masks",
    }
    settings = grid(data=[data], variant=list(VARIANTS), epochs=[epochs], seed=[0])
    return Speed(run_fits(fit, settings, jobs=1, **how), about)


def fit(data: Any, variant: Any, epochs: Any, seed: Any) -> Any:
    """Train one network on both backends in turn, so that what disturbs one disturbs both."""
    problem, (batch_norm, rate) = load(data, seed), VARIANTS[variant]
    trainers: dict[str, Any] = {}
    losses: dict[str, Any] = {}
    steps: dict[str, Any] = {}
    for backend in BACKENDS:
        classes = fastreg if backend == "fast" else fastreg.reference
        model = mlp(
            [problem.n_in, 64, 32, problem.n_out],
            batch_norm=batch_norm, dropout=rate, rng=seed, backend=backend,
        )  # fmt: skip
        home = fastreg.nn if backend == "fast" else fastreg.reference
        loss = getattr(home, problem.loss.__name__)
        trainers[backend] = Trainer(model, loss, classes.Adam(0.003), progress=False)
        losses[backend], steps[backend] = [], []
    for epoch in range(epochs):
        for backend, trainer in trainers.items():
            trainer.rng = np.random.default_rng([seed, epoch])
            history = trainer.fit(
                problem.X_train, problem.y_train, X_val=problem.X_val, y_val=problem.y_val, epochs=1
            )
            losses[backend] += history["val_loss"]
            steps[backend] += history["ms_per_step"]
    return {"val_loss": losses, "ms": {name: statistics.median(steps[name]) for name in BACKENDS}}


class Speed(Result):
    """Times of a training step, and how far the backends agree."""

    title = "Beyond the chapter: what do the kernels save?"
    question = (
        "Four networks are trained twice: on fastreg, and on the same classes in plain NumPy."
    )

    def __post_init__(self) -> None:
        """Form the ratios."""
        self.ms: Any = {outcome["variant"]: outcome["ms"] for outcome in self.outcomes}
        self.ratio: Any = {name: ms["reference"] / ms["fast"] for name, ms in self.ms.items()}
        self.apart: Any = max(
            np.abs(np.subtract(*(outcome["val_loss"][name] for name in BACKENDS))).max()
            for outcome in self.outcomes
        )

    @property
    def range(self) -> Any:
        """The smallest and the largest ratio, as text."""
        return f"{min(self.ratio.values()):.1f} to {max(self.ratio.values()):.1f}"

    def table(self) -> Table:
        """Times and ratio of each network."""
        header = ("network", "NumPy (ms per step)", "fastreg (ms per step)", "ratio")
        rows = [
            (name, f"{ms['reference']:.3f}", f"{ms['fast']:.3f}", f"{self.ratio[name]:.1f}×")
            for name, ms in self.ms.items()
        ]
        return Table(header, rows)

    def findings(self) -> list[Finding]:
        """How much faster, and that it is the same training."""
        least, *_, most = sorted(self.ratio, key=self.ratio.__getitem__)
        return [
            Finding(
                f"A training step is {self.range} times as fast as on NumPy.",
                f"Least for {least}, most for {most}. Matrix products count in both times: NumPy's "
                "are calls of its BLAS, fastreg's are its own.",
            ),
            Finding(
                f"Validation losses of the two backends differ by at most {self.apart:.1g}.",
                "Sums and exponentials round differently on the two sides, and training magnifies "
                "the last bit.",
            ),
        ]

    def plot(self, ax: Any) -> None:
        """Draw the times of a step on both backends."""
        ax.set_title(f"A training step is {self.range} times as fast")
        rows = np.arange(len(self.ms))
        for backend, label, colour, dy in (
            ("reference", "NumPy reference", GREY, -0.19), ("fast", "fastreg", BLUE, 0.19),
        ):  # fmt: skip
            times = [ms[backend] for ms in self.ms.values()]
            bars = ax.barh(rows + dy, times, 0.34, color=colour, label=label)
            ax.bar_label(bars, fmt="{:.2f}", padding=4, fontsize=8.5)
        ax.set_yticks(rows, list(self.ms))
        ax.set(xlabel="median time of a training step (ms)", ylim=(len(rows) - 0.5, -0.5))
        ax.grid(axis="y", visible=False)
        ax.legend(loc="upper right")

    def pictures(self) -> list[Picture]:
        """The times."""
        return [
            Picture("times", lambda figure: self.plot(figure.subplots()), (10.4, 3.4),
                    "Forward, loss, backward and update of one mini-batch."),
        ]  # fmt: skip

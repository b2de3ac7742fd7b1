"""Dropout, batch norm, both or neither: small networks learn to read handwritten digits.

A 64-64-32-10 network (ReLU, softmax cross-entropy, Adam) is trained four ways, and each way
twice: on fastreg's compiled classes and on their NumPy twins in `fastreg.reference`, from the
same weights, in the same order, with the same dropout masks.
"""

import itertools
import statistics
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import fastreg
from fastreg._checks import integer
from fastreg.lab import data, report
from fastreg.lab.report import BLUE, GREY, MUTED, ORANGE
from fastreg.nn import mlp, softmax_cross_entropy
from fastreg.train import evaluate, fit

__all__ = ["Result", "run"]

SIZES = (64, 64, 32, 10)
DROP_RATE = 0.2
VARIANTS = {  # name: (batch norm?, probability of dropping)
    "plain": (False, 0.0),
    "dropout": (False, DROP_RATE),
    "batch norm": (True, 0.0),
    "both": (True, DROP_RATE),
}


def run(*, epochs=60, batch_size=64, learning_rate=0.003, seed=0):
    """Train every variant on both backends and return the `Result`."""
    epochs = integer("digits.run", "epochs", epochs, low=1)
    dataset = data.digits(seed=seed)
    variants = [Variant(name, learning_rate, seed) for name in VARIANTS]
    progress = tqdm(total=epochs * len(variants), desc="digits", unit="epoch", disable=None)
    # One BLAS thread: products this small gain nothing from two, and idle BLAS threads spin on
    # the cores that the next step is timed on. All trainings advance together, epoch by epoch,
    # so that whatever else the machine does slows each of them alike.
    with progress, threadpool_limits(1, user_api="blas"):
        for _, variant in itertools.product(range(epochs), variants):
            variant.ours.epoch(dataset, batch_size)
            variant.theirs.epoch(dataset, batch_size)
            progress.update()
        for variant in variants:
            variant.judge(dataset)
    train, val, test = dataset.sizes
    settings = {
        "network": f"{'-'.join(map(str, SIZES))}, ReLU, He initialisation, float32",
        "loss": "softmax cross-entropy",
        "optimizer": f"Adam, learning rate {learning_rate}",
        "dropout rate": f"{DROP_RATE}",
        "epochs": f"{epochs}",
        "batch size": f"{batch_size}",
        "data": f"{dataset.name}: {train} training, {val} validation and {test} test images, "
        "split by class, standardised by the training images",
        "seed": f"{seed} (split, weights, order of the images, dropout masks)",
        "BLAS threads": "1",
    }
    return Result(variants, test, settings)


class Training:
    """One network on one backend, and what its training has shown so far."""

    def __init__(self, backend, batch_norm, drop_rate, learning_rate, seed):
        weights, self.order = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
        classes = fastreg if backend == "fast" else fastreg.reference
        self.model = mlp(
            SIZES, batch_norm=batch_norm, dropout=drop_rate, rng=weights, backend=backend
        )
        self.loss = softmax_cross_entropy if backend == "fast" else classes.softmax_cross_entropy
        self.optimizer = classes.Adam(learning_rate)
        self.history = {}

    def epoch(self, dataset, batch_size):
        """Train for one epoch more."""
        new = fit(
            self.model,
            self.loss,
            self.optimizer,
            dataset.X_train,
            dataset.y_train,
            X_val=dataset.X_val,
            y_val=dataset.y_val,
            epochs=1,
            batch_size=batch_size,
            rng=self.order,
        )
        for key, values in new.items():
            self.history.setdefault(key, []).extend(values)

    @property
    def ms_per_step(self):
        """Median over the epochs, in milliseconds."""
        return statistics.median(self.history["ms_per_step"])


class Variant:
    """A network trained on fastreg (`ours`) and on the reference (`theirs`)."""

    def __init__(self, name, learning_rate, seed):
        self.name = name
        self.ours = Training("fast", *VARIANTS[name], learning_rate, seed)
        self.theirs = Training("reference", *VARIANTS[name], learning_rate, seed)

    def judge(self, dataset):
        """Find the accuracy on test data and its 95 % interval (Wilson, 1927)."""
        X, y = dataset.X_test, dataset.y_test
        _, self.test = evaluate(self.ours.model, softmax_cross_entropy, X, y)
        hits = binomtest(round(self.test * len(y)), len(y))
        self.low, self.high = hits.proportion_ci(method="wilson")

    def last(self, key):
        """Return a history entry of ours after the last epoch."""
        return self.ours.history[key][-1]

    @property
    def lowest(self):
        """Our lowest validation loss, and its epoch from 1."""
        curve = self.ours.history["val_loss"]
        return min(curve), 1 + curve.index(min(curve))

    @property
    def speed_up(self):
        """How many of our steps fit into one of theirs."""
        return self.theirs.ms_per_step / self.ours.ms_per_step

    @property
    def divergence(self):
        """Largest difference between the two validation losses of an epoch."""
        ours, theirs = self.ours.history["val_loss"], self.theirs.history["val_loss"]
        return float(np.abs(np.subtract(ours, theirs)).max())


@dataclass(frozen=True)
class Result:
    """What the trainings showed: accuracies and losses on fastreg, times on both backends."""

    variants: list
    n_test: int
    settings: dict

    @property
    def best(self):
        """The variant of the lowest final validation loss; the test data has no say."""
        return min(self.variants, key=lambda variant: variant.last("val_loss"))

    @property
    def outside(self):
        """Names of the variants whose test accuracy lies outside the interval of the best."""
        low, high = self.best.low, self.best.high
        return names(variant for variant in self.variants if not low <= variant.test <= high)

    @property
    def speed(self):
        """The smallest and the largest speed-up, as text."""
        ratios = [variant.speed_up for variant in self.variants]
        return f"{min(ratios):.1f}", f"{max(ratios):.1f}"

    def table(self):
        """Return the numbers as a `report.Table`."""
        header = "variant, train %, val %, test %, gap (points), NumPy ms/step, fastreg ms/step"
        rows = []
        for variant in self.variants:
            train, val = variant.last("accuracy"), variant.last("val_accuracy")
            shares = (train, val, variant.test, train - val)
            times = (variant.theirs.ms_per_step, variant.ours.ms_per_step)
            row = [f"{100 * share:.1f}" for share in shares] + [f"{ms:.3f}" for ms in times]
            rows.append((variant.name, *row, f"{variant.speed_up:.1f}×"))
        return report.Table((*header.split(", "), "speed-up"), rows)

    def conclusions(self):
        """Return pairs of claim and evidence that follow from the numbers, whatever they are."""
        return [self._on_choice(), self._on_overfitting(), self._on_speed(), self._on_agreement()]

    def _on_choice(self):
        best = self.best
        others = "; ".join(
            f"{variant.name} {variant.last('val_loss'):.3f}"
            for variant in self.variants
            if variant is not best
        )
        verdict = (
            f"Outside that interval: {self.outside}."
            if self.outside
            else "Every variant lies inside that interval: one run on so few images does not "
            "separate them by accuracy."
        )
        evidence = (
            f"It ends at {best.last('val_loss'):.3f} nats a sample ({others}). Of the "
            f"{self.n_test} test images, used once, this network reads {100 * best.test:.1f} % "
            f"right (95 % interval {100 * best.low:.1f} to {100 * best.high:.1f} %). {verdict}"
        )
        return f"Validation loss chooses {best.name}.", evidence

    def _on_overfitting(self):
        plain = self.variants[0]
        train, val = plain.last("loss"), plain.last("val_loss")
        lowest = "; ".join("{} {:.3f} (epoch {})".format(v.name, *v.lowest) for v in self.variants)
        claim = f"Plain ends with {val / train:.3g} times its training loss on validation data."
        evidence = (
            f"That is {val:.2g} against {train:.2g} nats a sample. The lowest validation losses "
            f"on the way: {lowest}."
        )
        return claim, evidence

    def _on_speed(self):
        least, *_, most = sorted(self.variants, key=lambda variant: variant.speed_up)
        claim = "A training step is {} to {} times as fast as on NumPy.".format(*self.speed)
        evidence = (
            f"Least for {least.name}, most for {most.name}. Matrix products are the same BLAS "
            "calls on both sides and count in both times."
        )
        return claim, evidence

    def _on_agreement(self):
        claim = f"Validation losses of the two backends differ by at most {self.divergence:.1g}."
        evidence = (
            "Sums and exponentials round differently on the two sides, and training magnifies the "
            f"last bit: {'; '.join(f'{v.name} {v.divergence:.1g}' for v in self.variants)}."
        )
        return claim, evidence

    @property
    def divergence(self):
        """Largest difference between the backends' validation losses."""
        return max(variant.divergence for variant in self.variants)

    def section(self):
        """Return all of it as a `report.Section`."""
        chosen = f"{self.best.name}, chosen by validation loss"
        return report.Section(
            title="Dropout, batch norm, both or neither?",
            question="Four networks learn to read handwritten digits. Each is trained twice from "
            "the same weights, in the same order and with the same dropout masks: on fastreg, "
            "and on the same classes in plain NumPy.",
            highlights=[
                ("{}× to {}×".format(*self.speed), "speed of a training step over NumPy"),
                (f"{100 * self.best.test:.1f} %", f"of the test images read right: {chosen}"),
                (f"{self.divergence:.0e}", "largest difference from NumPy in validation loss"),
            ],
            conclusions=self.conclusions(),
            table=self.table(),
            plots=[
                report.Plot(
                    "losses",
                    self.plot_losses,
                    (10.4, 3.8),
                    "Lines: trained on fastreg. Circles: the same training on the NumPy "
                    "reference. Both losses are taken in evaluation mode after the epoch.",
                ),
                report.Plot(
                    "accuracy",
                    self.plot_accuracy,
                    (5.1, 3.3),
                    f"After the last epoch. Bars: Wilson interval of the accuracy on the "
                    f"{self.n_test} test images.",
                ),
                report.Plot(
                    "speed",
                    self.plot_speed,
                    (5.1, 3.3),
                    "Forward, loss, backward and update of one mini-batch. The trainings "
                    "alternate epoch by epoch.",
                ),
            ],
            settings=self.settings,
        )

    def plot_losses(self, figure):
        """Draw training and validation loss against the epoch, a panel a variant."""
        plain, best = self.variants[0], self.best
        ratio = plain.last("val_loss") / best.last("val_loss")
        tail = f", {ratio:.1f} times below plain" if best is not plain else ""
        report.headline(figure, f"Lowest final validation loss: {best.name}{tail}")
        panels = figure.subplots(1, len(self.variants), sharex=True, sharey=True)
        for axes, variant in zip(panels, self.variants, strict=True):
            for key, colour in (("val_loss", ORANGE), ("loss", BLUE)):
                ours, theirs = variant.ours.history[key], np.array(variant.theirs.history[key])
                epochs = np.arange(1, len(ours) + 1)
                some = np.unique(np.linspace(0, len(epochs) - 1, 8).astype(int))
                axes.plot(epochs, ours, color=colour)
                axes.plot(epochs[some], theirs[some], "o", color=colour, mfc="white", ms=4.5)
                third = len(epochs) // 3
                if variant is plain:
                    axes.annotate(
                        "training" if key == "loss" else "validation",
                        (epochs[third], ours[third]),
                        (6, 6),
                        textcoords="offset points",
                        color=colour,
                        fontweight="bold",
                    )
            axes.set_title(variant.name, fontweight="bold", pad=18)
            axes.annotate(
                "lowest validation {:.3f}, epoch {}".format(*variant.lowest),
                (0, 1),
                (0, 6),
                xycoords="axes fraction",
                textcoords="offset points",
                color=MUTED,
                fontsize=8.5,
            )
            axes.set(yscale="log", xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        panels[0].set_ylabel("loss (nats a sample)")

    def plot_accuracy(self, figure):
        """Draw the three accuracies of each variant, that on test data with its interval."""
        report.headline(
            figure,
            f"Outside the interval of {self.best.name}: {self.outside}"
            if self.outside
            else "One run cannot tell them apart by accuracy",
        )
        axes = figure.subplots()
        rows = np.arange(len(self.variants))
        low, high = 100 * np.array([(variant.low, variant.high) for variant in self.variants]).T
        axes.hlines(rows, low, high, color=ORANGE, alpha=0.3, lw=7, label="95 % interval")
        for label, marker, colour, shares in (
            ("test", "s", ORANGE, [variant.test for variant in self.variants]),
            ("validation", "D", GREY, [v.last("val_accuracy") for v in self.variants]),
            ("training", "o", BLUE, [v.last("accuracy") for v in self.variants]),
        ):
            axes.plot(100 * np.array(shares), rows, marker, color=colour, label=label)
        axes.set_yticks(rows, [variant.name for variant in self.variants])
        axes.set(xlabel="accuracy (%)", ylim=(len(rows) - 0.5, -0.5))
        figure.legend(loc="outside lower left", ncols=4, handletextpad=0.3, columnspacing=1.2)

    def plot_speed(self, figure):
        """Draw the median time of a training step on both backends."""
        report.headline(figure, "A training step is {} to {} times as fast".format(*self.speed))
        axes = figure.subplots()
        rows = np.arange(len(self.variants))
        theirs = [variant.theirs.ms_per_step for variant in self.variants]
        ours = [variant.ours.ms_per_step for variant in self.variants]
        notes = [f"{v.ours.ms_per_step:.2f}, {v.speed_up:.1f}×" for v in self.variants]
        slow = axes.barh(rows - 0.19, theirs, 0.34, color=GREY, label="NumPy reference")
        fast = axes.barh(rows + 0.19, ours, 0.34, color=BLUE, label="fastreg")
        axes.bar_label(slow, fmt="{:.2f}", padding=4, fontsize=8.5)
        axes.bar_label(fast, notes, padding=4, fontsize=8.5)
        axes.set_yticks(rows, [variant.name for variant in self.variants])
        axes.set(xlabel="median time of a training step (ms)", ylim=(len(rows) - 0.5, -0.5))
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower left", ncols=2)


def names(variants):
    """Join the names of variants for a sentence."""
    return ", ".join(variant.name for variant in variants)

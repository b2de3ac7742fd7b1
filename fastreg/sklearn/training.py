"""Training by mini-batches: scikit-learn's loop over epochs, its stopping rules, its messages."""

from __future__ import annotations

import copy
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, r2_score

from fastreg import checkpoint
from fastreg.sklearn.network import outputs
from fastreg.sklearn.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastreg._core.types import Array, Loss, PathLike
    from fastreg.nn import Sequential
    from fastreg.sklearn.rows import Rows

__all__ = ["Part", "Run", "lent", "train"]

SHORT = 64  # bytes of a sample's target that are copied for an epoch


class Part(NamedTuple):
    """Training or validation data: rows, targets of the loss, weights, and y as it was given."""

    rows: Rows
    targets: Array
    weights: Any
    y: Any = None


class Run:
    """What callbacks find as ``trainer``.

    Attributes
    ----------
    estimator : MLPClassifier or MLPRegressor
    model : Sequential
    optimizer : fastreg.Optimizer
    history : dict of list
        With callbacks: ``loss``, ``learning_rate`` and, with validation data, ``val_score`` (and
        ``val_loss`` if that is the score), one entry per epoch.
    epoch, step : int
        Complete epochs, and all steps so far.
    stop_training : bool
        A callback may set it to end training after the current step.
    """

    estimator: Any
    model: Sequential
    optimizer: Any
    history: dict[str, list[float]]
    epoch: int
    step: int
    stop_training: bool

    def __init__(self, estimator: Any, model: Sequential, optimizer: Any) -> None:
        self.estimator, self.model, self.optimizer = estimator, model, optimizer
        self.history: dict[str, list[float]] = {"loss": [], "learning_rate": []}
        self.epoch = self.step = 0
        self.stop_training = False

    def tell(self, hook: str, *arguments: Any) -> None:
        """Call a hook of every callback."""
        for callback in self.estimator.callbacks or ():
            callback.trainer = self
            getattr(callback, hook)(*arguments)

    def note(self, rate: float) -> None:
        """Enter an epoch in the history and tell the callbacks."""
        estimator = self.estimator
        self.history["loss"].append(estimator.loss_)
        self.history["learning_rate"].append(rate)
        if estimator.validation_scores_:
            score = estimator.validation_scores_[-1]
            self.history.setdefault("val_score", []).append(score)
            if estimator.scoring == "loss":
                self.history.setdefault("val_loss", []).append(-score)
        logs = {name: column[-1] for name, column in self.history.items()}
        self.tell("on_epoch_end", self.epoch - 1, logs)

    def save(self, path: PathLike) -> None:
        """Write network and optimizer to a file, as `fastreg.callbacks.Checkpoint` asks for."""
        parts = {"model": self.model, "optimizer": self.optimizer}
        state: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
        checkpoint.save(path, state | {"epoch": self.epoch, "step": self.step})


@contextmanager
def lent(callbacks: Any) -> Iterator[None]:
    """Give callbacks back the ``trainer`` they had, whatever happens inside the block."""
    kept = [(callback, getattr(callback, "trainer", None)) for callback in callbacks or ()]
    try:
        yield
    finally:
        for callback, before in kept:
            callback.trainer = before


def train(
    estimator: Any, model: Sequential, loss: Loss, data: Part, validation: Any, incremental: bool,
    random_state: Any,
) -> None:  # fmt: skip
    """Train an estimator's network for `max_iter` epochs at most, or for one if incremental."""
    n = len(data.rows)
    size = _batch_size(estimator, n)
    starts = list(range(0, n, size))
    if estimator.norm == "batch" and len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()  # one row has no spread: it joins the batch before
    batches = [slice(i, j) for i, j in zip(starts, [*starts[1:], n], strict=True)]
    if not incremental or getattr(estimator, "_optimizer", None) is None:
        estimator._optimizer = Steps(estimator, len(batches))
    else:
        estimator._optimizer.fit(model.params)
    steps = estimator._optimizer
    run = Run(estimator, model, steps.optimizer)
    watch = Watch(estimator, model, loss, validation)
    order = np.arange(n)
    estimator.n_iter_ = 0
    run.tell("on_train_begin", {})
    try:
        for _ in range(estimator.max_iter):
            if estimator.shuffle:
                random_state.shuffle(order)  # the orders of sklearn.utils.shuffle
            steps.show(model.params, averages=False)
            run.tell("on_epoch_begin", run.epoch, {})
            total = _epoch(estimator, run, steps, loss, data, batches, order)
            if total is None:
                break
            estimator.n_iter_ += 1
            estimator.loss_ = total / n
            estimator.t_ += n
            estimator.loss_curve_.append(estimator.loss_)
            if estimator.verbose:
                print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
            steps.show(model.params, averages=True)
            watch.see()
            steps.end_epoch(estimator.t_, watch.value())
            run.epoch += 1
            if estimator.callbacks:
                run.note(steps.learning_rate)
            if run.stop_training:
                break
            if estimator._no_improvement_count > estimator.n_iter_no_change:
                if steps.stops(watch.message(), estimator.verbose):
                    break
                estimator._no_improvement_count = 0
            if incremental:
                break
            if estimator.n_iter_ == estimator.max_iter and steps.schedule is None:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
                    "the optimization hasn't converged yet.", ConvergenceWarning, stacklevel=4,
                )  # fmt: skip
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=4)
    finally:
        steps.show(model.params, averages=True)
        watch.restore()
    run.tell("on_train_end", {})


def _batch_size(estimator, n):
    if estimator.batch_size == "auto":
        return min(200, n)
    if estimator.batch_size > n:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=5,
        )
    return min(max(1, int(estimator.batch_size)), n)


def _epoch(estimator, run, steps, loss, data, batches, order):
    """Take the steps of an epoch; return the sum of the losses, None if a callback ended it."""
    model, rows, targets, weights = run.model, data.rows, data.targets, data.weights
    params = model.params
    weight_matrices = [W for name, W in params.items() if name.endswith(".W")]
    in_order = estimator.shuffle and targets.nbytes <= SHORT * len(targets)
    if in_order:  # batches are then slices of them
        targets = targets[order]
    hooks, shuffled = bool(estimator.callbacks), estimator.shuffle
    total, weight, options = 0.0, 0.0, {}
    for k, batch in enumerate(batches):
        picked = order[batch] if shuffled else batch
        if hooks:
            run.tell("on_train_batch_begin", k, {})
            if run.stop_training:
                return None
        if hooks or k == 0:  # a callback may have evaluated
            model.train()
        length = batch.stop - batch.start
        weight = length
        if weights is not None:
            options = {"sample_weight": weights[picked]}
            weight = float(options["sample_weight"].sum())
        wanted = targets[batch if in_order else picked]
        value, gradient = loss(model.forward(rows.take(picked)), wanted, **options)
        value += steps.penalty(weight_matrices, weight)
        total += value * length
        model.backward(gradient, input_gradient=False)
        steps.take(params, model.grads, weight)
        estimator._steps += 1
        run.step += 1
        if hooks:
            run.tell("on_train_batch_end", k, {"loss": value})
            if run.stop_training and k < len(batches) - 1:
                return None
    return total


class Watch:
    """Follows the training loss or a validation score, and keeps the best weights."""

    estimator: Any
    model: Sequential
    loss: Loss
    part: Any
    early: bool
    best: Any

    def __init__(self, estimator: Any, model: Sequential, loss: Loss, part: Any) -> None:
        self.estimator, self.model, self.loss, self.part = estimator, model, loss, part
        self.early = estimator.early_stopping
        self.best = self._weights() if self.early else None

    def _weights(self):
        return {name: array.copy() for name, array in self.model.arrays.items()}

    def see(self) -> None:
        """Note the loss or the score of an epoch, and whether it is better than before."""
        estimator = self.estimator
        if self.part is not None:
            estimator.validation_scores_.append(self._score())
            if estimator.verbose:
                print(f"Validation score: {estimator.validation_scores_[-1]:f}")
        if self.early:
            score = estimator.validation_scores_[-1]
            worse = score < estimator.best_validation_score_ + estimator.tol
        else:
            worse = estimator.loss_curve_[-1] > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_curve_[-1])
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
        if self.part is not None and (
            estimator.validation_scores_[-1] > estimator.best_validation_score_
        ):
            estimator.best_validation_score_ = estimator.validation_scores_[-1]
            if self.early:
                self.best = self._weights()

    def value(self) -> float:
        """What a plateau schedule watches: the less, the better."""
        if self.part is None:
            return self.estimator.loss_
        return -self.estimator.validation_scores_[-1]

    def message(self) -> str:
        """Say why training ends."""
        what = "Validation score" if self.early else "Training loss"
        return (
            f"{what} did not improve more than tol={self.estimator.tol:f} for "
            f"{self.estimator.n_iter_no_change} consecutive epochs."
        )

    def restore(self) -> None:
        """Give the network its best weights, if training looked for them."""
        if self.early:
            for name, array in self.model.arrays.items():
                array[...] = self.best[name]

    def _score(self):
        """The score of the validation data, NaN if the outputs are not finite."""
        estimator, part, scoring = self.estimator, self.part, self.estimator.scoring
        if scoring not in (None, "loss"):
            scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
            options = {} if part.weights is None else {"sample_weight": part.weights}
            return float(scorer(_nameless(estimator), _matrix(part.rows), part.y, **options))
        Z = outputs(self.model, part.rows)
        if not np.isfinite(Z).all():
            return math.nan
        if scoring == "loss":
            return -self.loss(Z, part.targets, sample_weight=part.weights)[0]
        if not is_classifier(estimator):
            found = estimator._respond(Z)
            return float(r2_score(part.targets, found, sample_weight=part.weights))
        if estimator.out_activation_ == "softmax":
            right = Z.argmax(axis=1) == part.targets
        else:
            right = ((Z > 0) == (part.targets > 0)).all(axis=1)
        return float(np.average(right, weights=part.weights))


def _nameless(estimator):
    """The estimator for a scorer that has an array without names."""
    other = copy.copy(estimator)
    if hasattr(other, "feature_names_in_"):
        del other.feature_names_in_
    return other


def _matrix(rows):
    return rows.X if rows.picked is None else rows.X[rows.picked]

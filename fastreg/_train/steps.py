"""The steps of an epoch and its end: what a run does between its beginning and its last word."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from fastreg._core.functions import magnitudes
from fastreg._train.history import (
    add_step,
    begun,
    joined,
    of_epoch,
    of_weights,
    rate_of,
)
from fastreg._train.loop import marks, rewind
from fastreg._train.mean import MeanGradient
from fastreg._train.measure import check_watched, gathered, judge, measured
from fastreg._train.predict import loss_of, outputs_of, weightless
from fastreg._train.run import Run
from fastreg.nn.targets import NoWeightError, rows_right

__all__ = ["Steps"]

HALFWAY = "a step was interrupted halfway"


class Steps(Run):
    """A run that takes steps; a `fastreg.train.Trainer` says how many, and on which data."""

    _link: str | None
    _mean: MeanGradient | None = None  # of the batches of a step, if there are several

    def _train_epoch(self, feed):
        """Take the remaining steps of a pass over the data; return whether it is complete."""
        self._rng_state = self.rng.bit_generator.state
        groups = feed.epoch(self.rng, self.epoch, self.batch)
        self._so_far = self._so_far or begun(self._sees())
        if not self.batch:
            self._tell("on_epoch_begin", self.epoch)
        self.model.train()
        for group in groups:
            if self.callbacks:
                self._tell("on_train_batch_begin", self.batch)
                self.model.train()  # one may have evaluated
            value = self._train_step(group, feed, time.perf_counter())
            if self.callbacks:
                self._tell("on_train_batch_end", self.batch - 1, {"loss": value}, kept=False)
            if self._team.stops(self):
                break
        return feed.last

    def _train_step(self, group, feed, begin):
        """Take one step and count it, or do neither; return the loss with penalties.

        A step without weight is only counted, and its loss is NaN.
        """
        before, t, updating = marks(self.model), getattr(self.optimizer, "t", None), False
        seconds, seen = self._so_far["seconds"], self._so_far.get("seen", [])
        taken, had = len(seconds), len(seen)
        try:
            self._broken = HALFWAY
            value, found, params, grads = self._slopes(feed.batches(group), before)
            self._presses.busy = updating = True
            entries = add_step(self._so_far, found)
            if feed.last:
                entries["learning_rate"] = rate_of(self.optimizer, self.step)
                entries["gradient_norm"] = self._team.gradient_norm(self)
            after = entries, self.batch + 1, self.step + 1, None
            seconds.append(0.0)
            if grads is not None:
                self._team.update(self, params, grads)
            # The step is taken: its count allocates nothing, and cannot fail.
            self._so_far, self.batch, self.step, self._broken = after
            seconds[-1] = time.perf_counter() - begin
            if self.callbacks:
                self._tell("on_train_batch_end", self.batch - 1, {"loss": value}, kept=True)
            self._presses.release()
        except BaseException:
            untouched = t is not None and getattr(self.optimizer, "t", None) == t
            if self._broken is HALFWAY and (untouched or not updating):
                rewind(before)
                del seconds[taken:], seen[had:]
                self._broken = None
            raise
        return value

    def _slopes(self, batches, before):
        """Forward, loss and backward of a step's batches.

        Returns the loss with penalties, what `add_step` takes, parameters and gradients.
        """
        if self._mean is None:
            found = None
            for X, y, options in batches:  # one, and only valid until the next is asked for
                found = self._team.backward(self, X, y, options, before)
        else:
            found = self._mean_slopes(batches, before)
        if found is None:
            return math.nan, None, None, None
        value, (params, grads) = found[0], self._team.gradients(self)
        if self.penalties:
            matrices = {name: W for name, W in self.model.params.items() if name.endswith(".W")}
            for penalty in self.penalties:
                extra, slopes = penalty.value_and_gradient(matrices)
                value += extra
                for name, slope in slopes.items():
                    if name in grads:
                        grads[name] += self._team.part(name, slope)
        return value, found, params, grads

    def _mean_slopes(self, batches, before):
        """Leave the mean of several gradients in the model; return what `add_step` takes."""
        found: Any = None
        mean: Any = self._mean
        mean.begin()
        for X, y, options in batches:
            one = self._team.backward(self, X, y, options, before)
            if one is not None:
                weight = self._team.weight(self, y, options)
                mean.add(self._team.gradients(self)[1], weight)
                found = one if found is None else joined(found, one, weight / mean.weight)
        if found is not None:
            mean.put(self._team.gradients(self)[1])
        return found

    def _backward(self, X, y, options, before):
        """Fill the gradients of a batch; return its loss, weight, rows right and rows.

        None stands for a batch without weight, which leaves the model as it was.
        """
        if not len(X):  # all of its rows weigh 0
            return None
        model, here = self.model, before if self._mean is None else marks(self.model)
        outputs = model.forward(X)
        try:
            value, gradient = loss_of("Trainer.fit", self.loss, outputs, y, options)
        except NoWeightError:
            rewind(here)
            return None
        if not math.isfinite(value):
            rewind(before)
            self._give_up(f"the loss of step {self.step} is {value}")
        weights = options.get("sample_weight")
        weight = len(X) if weights is None else magnitudes(weights)
        found = value, weight, rows_right(outputs, y, self._link), len(X)
        if "seen" in self._so_far:  # copies: the next batch uses the memory of this one
            own = None if weights is None else np.array(weights)
            self._so_far["seen"].append([np.array(outputs), np.array(y), own])
        if self.schedule is not None:
            self.optimizer.lr = self._rate()
        model.backward(gradient, input_gradient=False)
        return found

    def _end_epoch(self, feed, validation):
        """Evaluate, extend the history, and give schedule and early stopping the loss."""
        begin = time.perf_counter()
        new = of_epoch(self._so_far)
        exact = self._cut["evaluate_training"] or not self._so_far["weight"]
        if exact and feed.once:  # and so it has been read
            raise weightless("Trainer.fit", "y")
        if exact:
            new |= self._measured("y", feed)
        else:
            new |= self._measured_of(self._so_far.get("seen"))
        self._refuse_ruin(new["loss"])
        if not exact:
            self._refuse_ruin(self._loss_of_some(*feed.some()))
        if validation is not None:
            found = self._measured("y_val", validation)
            new |= {f"val_{name}": value for name, value in found.items()}
        new |= of_weights(self.model.params.values())
        new["seconds"] += time.perf_counter() - begin
        new = {key: value for key, value in new.items() if value is not None}
        watched = new.get("val_loss", new["loss"]) if self.monitor is None else new[self.monitor]
        with self._presses:
            self._broken = "an epoch's end was interrupted halfway"
            self._keep_good(f"epoch {self.epoch + 1}")
            for key in {**self.history, **new}:
                column = self.history.setdefault(key, [math.nan] * self.epoch)
                column.append(new.get(key, math.nan))
            self.epoch, self.batch, self._so_far = self.epoch + 1, 0, {}
            self._rng_state = self.rng.bit_generator.state
            self._watch(watched)
            self._broken = None
            logs = {key: values[-1] for key, values in self.history.items()}
            self._tell("on_epoch_end", self.epoch - 1, logs, kept=True)
        self._tell("on_epoch_end", self.epoch - 1, logs, kept=False)

    def _settle(self, where, feed, validation):
        """Refuse what is watched and not recorded, and metrics that fail on the data."""
        watched = self.monitor
        check_watched(where, watched, validation is not None)
        tried, name = (feed, "y") if validation is None else (validation, "y_val")
        accuracy = watched in ("accuracy", "val_accuracy")
        if tried.once or not (self._measures or accuracy):
            return
        seen: list[Any] = []
        _, right = self._evaluate_all(where, name, tried, seen)
        outputs, y, _ = gathered(seen)
        weighted = "sample_weight" in feed.some()[2]  # then training's metrics are given weights
        weights = np.ones(len(y)) if weighted else None
        judge(where, name, self._measures, outputs, y, self._link, watched, weights)
        if accuracy and right is None:
            raise ValueError(
                f"{where}: monitor must be recorded, got {watched!r}, and {name} holds no classes"
            )

    def _sees(self):
        """Whether metrics are computed from the outputs of the epoch's own batches."""
        return bool(self._measures) and not self._cut["evaluate_training"]

    def _measured(self, name, feed):
        """Loss, accuracy and metrics of data, with the weights of now."""
        seen: Any = [] if self._measures else None
        value, right = self._evaluate_all("Trainer.fit", name, feed, seen)
        return {"loss": value, "accuracy": right, **self._measured_of(seen)}

    def _measured_of(self, seen):
        """Metrics of outputs: in an epoch's own batches each has the weights of then."""
        if not seen:
            return {}
        outputs, y, weights = gathered(seen)
        return measured(self._measures, outputs, y, self._link, weights)

    def _loss_of_some(self, X, y, options):
        """The loss of some rows, which tells whether the last step has ruined the weights."""
        if not len(X):  # none of them counts
            return 0.0
        outputs = outputs_of(self.model, X)
        try:
            return loss_of("Trainer.fit", self.loss, outputs, y, options)[0]
        except NoWeightError:
            return 0.0

"""The steps of an epoch and its end: what a run does between its beginning and its last word."""

from __future__ import annotations

import math
import time

import numpy as np

from fastreg._core.arrays import rows_at
from fastreg._train.history import add_step, begun, of_epoch, of_gradients, of_weights, rate_of
from fastreg._train.loop import marks, rewind
from fastreg._train.predict import loss_of, outputs_of
from fastreg._train.run import Run
from fastreg.nn.targets import NoWeightError, rows_right

__all__ = ["Steps"]

HALFWAY = "a step was interrupted halfway"


class Steps(Run):
    """A run that takes steps; a `fastreg.train.Trainer` says how many, and on which data."""

    _link: str | None

    def _train_epoch(self, X, y, weights):
        """Take the remaining steps of a pass over the data; return whether it is complete."""
        self._rng_state = self.rng.bit_generator.state
        order = np.ascontiguousarray(self.rng.permutation(len(X)), np.int64)
        y = np.ascontiguousarray(y, y.dtype.newbyteorder("="))
        size = self._cut["batch_size"]
        starts = range(0, len(X), size)
        self._so_far = self._so_far or begun()
        if not self.batch:
            self._tell("on_epoch_begin", self.epoch)
        rows = np.empty((min(size, len(X)), *X.shape[1:]), X.dtype)
        self.model.train()
        for start in starts[self.batch :]:
            if self.callbacks:
                self._tell("on_train_batch_begin", self.batch)
                self.model.train()  # one may have evaluated
            begin, stop = time.perf_counter(), min(start + size, len(X))
            X_batch, y_batch = rows_at(X, order, start, stop, rows), rows_at(y, order, start, stop)
            options = {}
            if weights is not None:
                options["sample_weight"] = rows_at(weights, order, start, stop)
            value = self._train_step(X_batch, y_batch, options, begin, stop == len(X))
            if self.callbacks:
                self._tell("on_train_batch_end", self.batch - 1, {"loss": value}, kept=False)
            if self.stop_training:
                break
        return self.batch == len(starts)

    def _train_step(self, X, y, options, begin, last):
        """Take one step and count it, or do neither; return the loss with penalties.

        A batch without weight is only counted, and its loss is NaN.
        """
        before, t, updating = marks(self.model), getattr(self.optimizer, "t", None), False
        seconds, n = self._so_far["seconds"], self.batch
        try:
            self._broken = HALFWAY
            try:
                value, found, params, grads = self._slopes(X, y, options, before)
            except NoWeightError:
                rewind(before)
                value, found, params, grads = math.nan, None, None, None
            with self._presses:
                updating = True
                entries = add_step(self._so_far, found)
                if last:
                    entries["learning_rate"] = rate_of(self.optimizer, self.step)
                    entries["gradient_norm"] = of_gradients(self.model)
                after = entries, self.batch + 1, self.step + 1, None
                seconds.append(0.0)
                if grads is not None:
                    self.optimizer.update(params, grads)
                # The step is taken: its count allocates nothing, and cannot fail.
                self._so_far, self.batch, self.step, self._broken = after
                seconds[-1] = time.perf_counter() - begin
                if self.callbacks:
                    self._tell("on_train_batch_end", self.batch - 1, {"loss": value}, kept=True)
        except BaseException:
            untouched = t is not None and getattr(self.optimizer, "t", None) == t
            if self._broken is HALFWAY and (untouched or not updating):
                rewind(before)
                del seconds[n:]
                self._broken = None
            raise
        return value

    def _slopes(self, X, y, options, before):
        """Forward, loss and backward.

        Returns the loss with penalties, what `add_step` takes, parameters and gradients.
        """
        model = self.model
        outputs = model.forward(X)
        value, gradient = loss_of("Trainer.fit", self.loss, outputs, y, options)
        if not math.isfinite(value):
            rewind(before)
            self._give_up(f"the loss of step {self.step} is {value}")
        weights = options.get("sample_weight")
        weight = len(X) if weights is None else float(weights.sum())
        found = value, weight, rows_right(outputs, y, self._link), len(X)
        if self.schedule is not None:
            self.optimizer.lr = self._rate()
        model.backward(gradient, input_gradient=False)
        params, grads = model.params, model.grads
        if self.penalties:
            matrices = {name: array for name, array in params.items() if name.endswith(".W")}
            for penalty in self.penalties:
                extra, slopes = penalty.value_and_gradient(matrices)
                value += extra
                for name, slope in slopes.items():
                    grads[name] += slope
        return value, found, params, grads

    def _end_epoch(self, X, y, weights, validation):
        """Evaluate, extend the history, and give schedule and early stopping the loss."""
        begin = time.perf_counter()
        new = of_epoch(self._so_far)
        options = {} if weights is None else {"sample_weight": weights}
        exact = self._cut["evaluate_training"] or not self._so_far["weight"]
        if exact:
            new["loss"], new["accuracy"] = self._evaluate("Trainer.fit", "y", X, y, options)
        self._refuse_ruin(new["loss"])
        if not exact:
            self._refuse_ruin(self._loss_of_some(X, y, options))
        if validation is not None:
            X_val, y_val = validation
            found = self._evaluate("Trainer.fit", "y_val", X_val, y_val, {})
            new |= dict(zip(("val_loss", "val_accuracy"), found, strict=True))
        new |= of_weights(self.model.params.values())
        new["seconds"] += time.perf_counter() - begin
        new = {key: value for key, value in new.items() if value is not None}
        watched = new.get("val_loss", new["loss"])
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

    def _loss_of_some(self, X, y, options):
        """The loss of some rows, which tells whether the last step has ruined the weights."""
        few = slice(self._cut["batch_size"])
        options = {name: values[few] for name, values in options.items()}
        outputs = outputs_of(self.model, X[few])
        try:
            return loss_of("Trainer.fit", self.loss, outputs, y[few], options)[0]
        except NoWeightError:
            return 0.0

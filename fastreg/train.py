"""The training loop: mini-batches from one seed, a history, and a state that can be saved."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg import checkpoint
from fastreg._core.checks import flag, integer, sequence
from fastreg._core.checks import path as path_of
from fastreg._core.seeds import generator
from fastreg._train.alone import Alone
from fastreg._train.loop import interruptible, progress_bar
from fastreg._train.mean import MeanGradient
from fastreg._train.measure import direct, directions, metrics_of
from fastreg._train.predict import check_model, check_part
from fastreg._train.predictor import evaluate
from fastreg._train.resume import check_cut, take
from fastreg._train.run import bound_to
from fastreg._train.source import feed_of, validation_of
from fastreg._train.steps import Steps
from fastreg.nn.losses import loss_named
from fastreg.nn.targets import link_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Data, LossLike, PathLike, ScheduleLike, Seed
    from fastreg.history import History

__all__ = ["Trainer", "evaluate", "fit"]


class Trainer(Steps):
    """Trains one model; a run can be interrupted, saved and resumed, bit for bit.

    Parameters
    ----------
    model : Sequential
        Changed in place; left in evaluation mode, even by an exception or Ctrl-C.
    loss : callable or str
        ``loss(outputs, targets) -> (value, gradient)``, such as
        `fastreg.nn.softmax_cross_entropy`, a `functools.partial` of it, or its name. It takes
        ``sample_weight=`` if `fit` does. Its attribute ``link`` says what the outputs are:
        classes ("softmax" or "sigmoid") or numbers ("identity" or "log"). Without a link, targets
        are not checked, there is no accuracy, and `predict` returns the outputs.
    optimizer : object
        Anything with ``update(params, grads)`` on name-keyed dicts of arrays; to save a run, also
        with ``state_dict()`` and ``load_state_dict(state)``.
    schedule : callable, keyword-only
        The learning rate as a function of the step; it is assigned to ``optimizer.lr`` before each
        step. Lengths such as ``cosine(1e-3, total="fit")`` or "10 epochs" become steps when `fit`
        begins. A schedule with ``update(val_loss)``, also inside a `fastreg.schedule.join` or
        ``warmup``, is given each epoch's validation loss (without validation data, the training
        loss).
    early_stopping : EarlyStopping, keyword-only
        It is given the same loss after each epoch. With ``restore_best`` the model has its best
        weights when `fit` ends, for whatever reason.
    penalties : sequence, keyword-only
        Objects with ``value_and_gradient(weights)``, such as `ElasticNet`, given the dict of all
        ``W``; biases, scales and shifts are exempt. The history's losses are without them.
    rng : anything `numpy.random.default_rng` takes, keyword-only
        Source of every epoch's order; left out, NumPy's global state.
    callbacks : sequence of Callback, keyword-only
        Objects whose hooks are called; see `fastreg.callbacks`.
    progress : bool, keyword-only
        Whether to show a progress bar, on a terminal and if tqdm is installed.
    metrics : sequence, keyword-only
        What else to record of each epoch: names ("accuracy", "balanced_accuracy", "f1", "auc" or
        "roc_auc", "log_loss", "r2", "mae"), functions ``f(y_true, y_pred)``, scorers of
        scikit-learn's, or `fastreg.metrics.Metric`. A bare function is given labels, as
        `predict` returns them, unless its second argument is called ``y_score``, ``y_prob`` or
        ``y_proba`` (probabilities) or ``logits``, ``y_logits`` or ``pred_decision`` (outputs), or
        it is scikit-learn's ``log_loss``; `Metric` says it outright.
    monitor : str, keyword-only
        What schedules, early stopping and `fastreg.callbacks.BestCheckpoint` watch instead of the
        validation loss: "val_loss", "train_loss", "val_auc" and so on; see `recorded`.
    mode : {"max", "min"}, keyword-only
        Whether more or less of it is better. Left out, the metric says so; a bare function does by
        its name, as scikit-learn's do: ``_score`` is better if higher, ``_loss`` and ``_error`` if
        lower. The ``mode`` of early stopping and of plateau schedules is set to it.
    comm : communicator, keyword-only
        ``MPI.COMM_WORLD`` of mpi4py: the ranks train one network together, each on its shards of
        every batch and with its part of the optimizer's state. The result has the same bits on
        any number of ranks. See `fastreg.dist`.
    shards : int, keyword-only
        Parts into which every batch is cut, 4 by default with ``comm``; at least as many as ranks.
        Without ``comm``, the same run in one process.

    Attributes
    ----------
    history : History
        One entry per epoch; see `fit`.
    recorded : dict
        The entries of an epoch that ``monitor`` may name, and whether "max" or "min" is better.
        `fit` without validation data takes those of validation data, ``val_``..., away.
    epoch, batch, step : int
        Complete epochs, steps of the current epoch, and all steps so far.
    stop_training : bool
        Set it to True to end training after the current step.
    stop_reason : str or None
        "interrupt", "callback", "not finite", or the reason of `early_stopping`; None if the
        last run was complete.

    Examples
    --------
    >>> from fastreg import Adam
    >>> from fastreg.nn import mlp, softmax_cross_entropy
    >>> X, y = np.array([[-1.0], [1.0]], np.float32), np.array([0, 1])
    >>> trainer = Trainer(mlp([1, 2], rng=0), softmax_cross_entropy, Adam(0.1), rng=0)
    >>> trainer.fit(X, y, epochs=50)["accuracy"][-1], trainer.predict(X).tolist()
    (1.0, [0, 1])
    """

    def __init__(
        self,
        model: Any,
        loss: LossLike,
        optimizer: Any,
        *,
        schedule: ScheduleLike | None = None,
        early_stopping: Any = None,
        penalties: Sequence[Any] = (),
        rng: Seed = None,
        callbacks: Sequence[Any] = (),
        progress: bool = True,
        metrics: Sequence[Any] = (),
        monitor: str | None = None,
        mode: str | None = None,
        comm: Any = None,
        shards: int | None = None,
    ) -> None:
        loss = loss_named("Trainer", loss)
        wanted = {
            "loss": (loss, "__call__"), "optimizer": (optimizer, "update"),
            "schedule": (schedule, "__call__"), "early_stopping": (early_stopping, "__call__"),
        }  # fmt: skip
        check_model("Trainer", model)
        for name, (part, method) in wanted.items():
            check_part(
                "Trainer", name, part, method, optional=name in ("schedule", "early_stopping")
            )
        penalties = sequence("Trainer", "penalties", penalties, "penalties")
        callbacks = sequence("Trainer", "callbacks", callbacks, "callbacks")
        for i, penalty in enumerate(penalties):
            check_part("Trainer", f"penalties[{i}]", penalty, "value_and_gradient")
        for i, callback in enumerate(callbacks):
            check_part("Trainer", f"callbacks[{i}]", callback, "on_train_batch_end")
        super().__init__(model, loss)
        self._team = Alone()
        if comm is not None or shards is not None:
            from fastreg.dist.comm import team_of

            self._team = team_of("Trainer", comm, shards, model, optimizer)
        self._link = link_of(loss)
        self.metrics = metrics_of("Trainer", metrics, self._link)
        self._measures = tuple(one for one in self.metrics if one.name != "accuracy")
        classes = self._link in ("softmax", "sigmoid")
        self._modes = self.recorded = directions(self._measures, classes)
        self.monitor, self.mode = direct("Trainer", monitor, mode, self.recorded)
        self.optimizer = optimizer
        self.schedule, self.early_stopping = schedule, early_stopping
        self.penalties, self.callbacks = penalties, callbacks
        self.progress = flag("Trainer", "progress", progress)
        self.rng = generator("Trainer", rng)
        if self.mode is not None:
            for part in (*self._schedules(), early_stopping):
                if getattr(part, "mode", None) in ("min", "max"):
                    part.mode = self.mode
        self._begin()

    def fit(
        self,
        X: Data,
        y: Data = None,
        *,
        X_val: Data = None,
        y_val: Data = None,
        epochs: int,
        batch_size: int = 64,
        accumulate: int = 1,
        steps_per_epoch: int | None = None,
        sample_weight: Data = None,
        evaluate_training: bool = False,
        resume_from: PathLike | None = None,
    ) -> History:
        """Train by mini-batches.

        Parameters
        ----------
        X, y : array of shape (N, n_features), array with N rows
            Training data; X is converted to the model's dtype, once. Without y, X is a source, from
            which a training on a file larger than memory reads a little at a time: see Notes.
        X_val, y_val : array, keyword-only
            Validation data, given together or not at all; or a source as ``X_val``.
        epochs : int, keyword-only
            Passes over the training data, at least 1, counting those of ``resume_from``.
        batch_size : int, keyword-only
            Samples per batch, at least 1; the last batch of an epoch holds the remaining ones.
        accumulate : int, keyword-only
            Batches per step, at least 1; the last step of an epoch has the remaining ones. A step
            takes the mean of their gradients, by the samples' weights: up to rounding, that of one
            batch so much larger, in the memory of the small one. Batch norm alone sees the small
            batches: it normalises each by its own statistics, and its running averages move with
            every batch. Steps are counted, and callbacks called, once for all of them.
        steps_per_epoch : int, keyword-only
            For a source of batches: an epoch is so many steps, and the next one goes on where it
            ended. By default an epoch ends with the batches. ``evaluate_training`` then reads as
            many batches, from the beginning of a pass.
        sample_weight : array of shape (N,), keyword-only
            Weight of each sample in the mean of its batch. Samples of weight 0 take no part, and
            a batch whose classes all weigh 0 is skipped. Training or validation data whose
            weights are all 0 have no loss and are refused.
        evaluate_training : bool, keyword-only
            Whether ``loss`` and ``accuracy`` of the history are those of all training data with
            the weights at the epoch's end, as `evaluate` finds them, which costs another pass over
            the data. By default they are the means over the epoch's batches during training: with
            dropout, and with weights that change from batch to batch.
        resume_from : path, keyword-only
            A file that `save` wrote: the run continues where that one was, on the same data.
            Everything must be constructed as it was for that run; see `load`.

        Returns
        -------
        history : History
            A dict of lists, which can be drawn with `fastreg.history.History.plot`. One entry per
            epoch: ``loss`` and ``accuracy``, means over its samples (the loss with their weights);
            ``val_loss`` and ``val_accuracy`` as `evaluate` finds them; ``learning_rate`` and
            ``gradient_norm`` of the epoch's last step; ``weight_norm``; ``near_zero``, the share of
            parameters below 0.001 in magnitude; ``ms_per_step``, the median step; ``seconds``, with
            the evaluation; these two are in no file, and NaN for the epochs before a
            `load`. There is no accuracy where outputs are not classes. Metrics are under
            their names: of training data, computed when the epoch ends from the outputs that its
            batches had, with ``sample_weight`` if they take it; with ``val_`` before the name, of
            the validation data. ``accuracy`` counts rows whatever their weights. A metric is NaN
            where outputs are not finite.

        Raises
        ------
        TypeError, ValueError
            If data or a count are bad; the message names the argument, and nothing is trained.
        CheckpointError
            If ``resume_from`` is damaged or belongs to another run; nothing has changed then.
        FloatingPointError
            If the loss is no longer finite. The model then has the best weights of
            `early_stopping`, or those of the last epoch's end whose loss was finite, and
            ``history`` the epochs until then.

        Notes
        -----
        A source is one of these; its pieces are ``(X, y)`` or ``(X, y, sample_weight)``:

        - rows by slices, as `fastreg.data.Rows` has them of data sets on disk: an object with
          ``len(source)`` and ``source[a:b]``. They are shuffled in blocks; see there.
        - batches of any sizes: an iterable, such as a list of them or a loader; or a function that
          returns one for each pass over the data. If it must have an argument, that is the number
          of the pass, from 0, to shuffle by. An iterator serves one epoch, or ``steps_per_epoch``.
          A resumed run reads again, and drops, the batches that it has had.

        A further call goes on with the model's weights and the optimizer's state; the history, the
        schedule and the early stopping begin anew, unless ``resume_from`` is given.

        Ctrl-C ends training after the current step, and the history is returned as usual. A second
        Ctrl-C does not wait: KeyboardInterrupt is raised at once, and the current step is undone.
        It waits only until callbacks with a ``state_dict`` have been told of a step or an epoch
        that is complete. A third does not wait for them either; the run is not saved then.
        """
        where = "Trainer.fit"
        with self._team.checking():
            epochs = integer(where, "epochs", epochs, low=1)
            batch_size = integer(where, "batch_size", batch_size, low=1)
            evaluate_training = flag(where, "evaluate_training", evaluate_training)
            accumulate = integer(where, "accumulate", accumulate, low=1)
            data = X, y, sample_weight
            feed = feed_of(where, self, data, batch_size, accumulate, steps_per_epoch, epochs)
            if evaluate_training and feed.once:
                raise ValueError(
                    f"{where}: evaluate_training must be False with an iterator, got True"
                )
            validation = validation_of(where, self, X_val, y_val, feed)
            cut = {
                **feed.cut,
                "validation rows": 0 if validation is None else validation.cut["rows"],
                "evaluate_training": evaluate_training,
            }
            if accumulate > 1:
                cut["accumulate"] = accumulate
            cut |= self._team.cut
            rates, lengths = bound_to(where, self, feed.steps, epochs)
            cut |= lengths
            state = None
            if resume_from is not None:
                resume_from = path_of(where, "resume_from", resume_from)
                state = checkpoint.load(resume_from)
                check_cut(resume_from, state, cut)
            self._settle(where, feed, validation)
        with self._team.working(self), interruptible(self) as presses:
            presses.busy = True  # until the run has begun
            self._set_out(resume_from, state, cut, rates, presses)
            self._team.begin(self)
            with progress_bar(self, epochs) as advance:
                try:
                    presses.release()
                    self._tell("on_train_begin")
                    while self.epoch < epochs and not self._team.stops(self):
                        if self._train_epoch(feed):
                            self._end_epoch(feed, validation)
                            advance()
                    presses.busy = True  # until the best weights are back
                finally:
                    with presses:
                        self.model.eval()
                        self._team.end(self, sys.exc_info()[1])
                        self._restore_best()
                        self._good = None
        if self.stop_training and self.stop_reason is None:
            self.stop_reason = "callback"
        self._tell("on_train_end")
        return self.history

    def _set_out(self, path, state, cut, rates, presses):
        """Begin anew, or continue from a saved state."""
        if state is None:
            self._begin()
            for part in (*self._schedules(), self.early_stopping):
                if hasattr(part, "reset"):
                    part.reset()
        else:
            take(self, path, state, going_on=True)
            ended = getattr(self.early_stopping, "stop_reason", None)
            if ended:  # the run was over when it was saved
                self.stop_training, self.stop_reason = True, ended
        if presses.count and not self.stop_training:
            self.stop_training, self.stop_reason = True, "interrupt"
        self._cut, self._rates, self._presses = cut, (self.schedule, rates), presses
        self._mean = MeanGradient() if "accumulate" in cut else None
        there = cut["validation rows"] != 0
        self.recorded = {
            key: mode for key, mode in self._modes.items() if there or not key.startswith("val_")
        }
        self._good = {key: np.empty_like(array) for key, array in self.model.arrays.items()}
        self._keep_good(f"step {self.step}" if self.batch else f"epoch {self.epoch}")
        for callback in self.callbacks:
            callback.trainer = self


def fit(
    model: Any,
    loss: LossLike,
    optimizer: Any,
    X: Data,
    y: Data = None,
    *,
    epochs: int,
    batch_size: int = 64,
    rng: Seed = None,
    **data: Any,
) -> History:
    """Train a model by mini-batches and return the history of the run.

    Shorthand for ``Trainer(model, loss, optimizer, rng=rng).fit(X, y, ...)``; see there. Two
    calls of one epoch each do the same as one call of two epochs, if both get the same Generator.

    Examples
    --------
    >>> from fastreg import Adam
    >>> from fastreg.nn import mlp, softmax_cross_entropy
    >>> X, y = np.array([[-1.0], [1.0]], np.float32), np.array([0, 1])
    >>> model = mlp([1, 2], rng=0)
    >>> fit(model, softmax_cross_entropy, Adam(0.1), X, y, epochs=50, rng=0)["accuracy"][-1]
    1.0
    """
    trainer = Trainer(model, loss, optimizer, rng=rng)
    return trainer.fit(X, y, epochs=epochs, batch_size=batch_size, **data)

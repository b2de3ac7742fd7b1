"""The state of a training run: its place, its last good and its best weights, saved and loaded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg import checkpoint
from fastreg._core.checks import path as path_of
from fastreg._train.alone import Alone
from fastreg._train.loop import Presses, interruptible, marks, rewind
from fastreg._train.predictor import Predictor
from fastreg._train.resume import has_state, state_of, take
from fastreg.history import History
from fastreg.schedule.family import members, needs
from fastreg.schedule.lengths import EPOCHS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import PathLike, ScheduleLike
    from fastreg.metrics import Metric

UNTOLD = "a callback that keeps a state was interrupted or failed"


class Run(Predictor):
    """What a `fastreg.train.Trainer` keeps from step to step."""

    optimizer: Any
    schedule: ScheduleLike | None
    early_stopping: Any
    penalties: Sequence[Any]
    callbacks: Sequence[Any]
    progress: bool
    rng: Any
    history: History
    metrics: tuple[Metric, ...]
    monitor: str | None
    mode: str | None
    recorded: dict[str, str | None]
    epoch: int
    batch: int
    step: int
    stop_training: bool
    stop_reason: str | None
    _good: Any
    _team: Alone  # what trains
    _cut: Any
    _rates: Any = None  # the schedule, and the same with all its lengths in steps of the last fit
    _measures: tuple[Metric, ...]  # those of the metrics that the loop itself does not record
    _modes: dict[str, str | None]

    def _begin(self):
        """Forget the last run."""
        self.history = History(monitor=self.monitor, mode=self.mode or "min")
        self.epoch = self.batch = self.step = 0
        self.stop_training, self.stop_reason = False, None
        self._rng_state = self.rng.bit_generator.state  # before the order of this epoch is drawn
        self._so_far = {}  # of this epoch: what goes into the history
        self._cut = None  # of the run: rows, batch size and the like
        self._best_batches = []  # counts of batch norm at the epoch of the best weights
        self._ahead = None  # where training was, once the best weights are back in the model
        self._broken = None  # why the state is no whole step, if it is none
        self._presses = Presses(self)

    def _watch(self, loss):
        """Give the schedules and early stopping an epoch's loss."""
        for part in self._schedules():
            if hasattr(part, "update"):
                part.update(loss)
        stopping = self.early_stopping
        if stopping is None:
            return
        best = getattr(stopping, "best_epoch", None)
        if stopping(loss, self.model.arrays):
            self.stop_training = True
            self.stop_reason = getattr(stopping, "stop_reason", "early stopping")
        if getattr(stopping, "best_epoch", None) != best:
            self._best_batches = [count for *_, count in _batches(self.model)]

    def _rate(self):
        """The rate of the next step; a callback may have replaced the schedule."""
        if self._rates[0] is not self.schedule:
            self._rates = self.schedule, self.schedule
        return self._rates[1](self.step)

    def _schedules(self):
        """The schedule and all that it is composed of."""
        return [] if self.schedule is None else [part for _, part in members(self.schedule)]

    def _keep_good(self, when):
        """Keep the weights, whose loss is finite, to restore them if a later loss is not."""
        for key, array in self.model.arrays.items():
            self._good[key][...] = array
        self._good_batches, self._good_when = _batches(self.model), when

    def _restore_best(self):
        """Give the model the best weights of early stopping, if it keeps any."""
        stopping = self.early_stopping
        if getattr(stopping, "restore_best", False) and stopping.best_weights is not None:
            self._ahead = self.model.state_dict()
            stopping.restore(self.model.arrays)
            now = _batches(self.model)
            then = zip(now, self._best_batches, strict=False)
            rewind([(layer, name, count) for (layer, name, _), count in then])

    def _refuse_ruin(self, loss):
        """Give up if the training loss at an epoch's end is not finite."""
        if not math.isfinite(loss):
            self._give_up(f"the training loss after epoch {self.epoch} is {loss}")

    def _give_up(self, reason):
        """Put the last good weights back and say so."""
        for key, array in self.model.arrays.items():
            np.copyto(array, self._good[key])
        rewind(self._good_batches)
        self.stop_training, self.stop_reason = True, "not finite"
        self._broken = "the loss was no longer finite"
        raise FloatingPointError(
            f"Trainer.fit: {reason}; the model has its weights of {self._good_when} again, the "
            "last whose loss was finite. Lower the learning rate or look for NaN in the data"
        )

    def _tell(self, hook, number=None, logs=None, kept=None):
        """Call a hook: of callbacks that keep a state, of those that do not, or of all."""
        for callback in self.callbacks:
            keeps = has_state(callback)
            if (kept is not None and kept is not keeps) or not self._team.hears(callback):
                continue
            arguments = () if number is None else (number,)
            try:
                getattr(callback, hook)(*arguments, dict(logs or {}))
            except BaseException:
                self._broken = UNTOLD if keeps and kept else self._broken
                raise

    def save(self, path: PathLike) -> None:
        """Write the whole state of the run to one file; see `fastreg.checkpoint.save`.

        Raises
        ------
        TypeError
            If the optimizer has no ``state_dict``.
        RuntimeError
            If the run ended within a step, within a callback that keeps a state, or with a loss
            that was not finite: a run cannot continue from such a state.
        OSError
            If the disk refuses.
        """
        path = path_of("Trainer.save", "path", path)
        self._team.save(path, state_of(self))

    def load(self, path: PathLike) -> None:
        """Take over a state that `save` wrote; nothing changes unless all of it fits.

        Network, loss, schedule, early stopping and penalties must have the settings that they had
        in the saved run, and callbacks with a ``state_dict`` must be in the same places. What an
        optimizer takes over, its ``load_state_dict`` says. To continue with other settings, give
        ``checkpoint.load(path)["model"]`` to ``model.load_state_dict`` and begin a new run.

        Raises
        ------
        CheckpointError
            If the file is damaged or of another kind, or was written for another network,
            optimizer, schedule or early stopping; the message lists the differences.
        OSError
            If it cannot be read.
        """
        path = path_of("Trainer.load", "path", path)
        state = checkpoint.load(path)
        with interruptible(self) as presses, presses, self._team.whole(self):
            take(self, path, state)
            presses.due |= presses.count > 0


def bound_to(
    where: str, run: Any, steps_per_epoch: int | None, epochs: int
) -> tuple[Any, dict[str, Any]]:
    """Return a run's schedule with the lengths of a fit, and what of them it depends on.

    An optimizer's own schedules count its steps over all fits, so that there is nothing to bind
    them to.
    """
    updater: Any = getattr(run.optimizer, "_updater", None)
    for name in ("learning_rate", "weight_decay"):
        if updater is not None and needs(updater.get_hyper(name)):
            raise ValueError(
                f"{where}: {name} of the optimizer must have lengths in steps; give it to "
                "Trainer(schedule=...), or call the bind(steps_per_epoch=..., epochs=...)"
            )
    needed = needs(run.schedule)
    if not needed:
        return run.schedule, {}
    if steps_per_epoch is None:
        raise ValueError(
            f"{where}: steps_per_epoch must be given for a schedule with lengths of the run, since "
            "the source does not say how many batches it has"
        )
    bound = run.schedule.bind(steps_per_epoch=steps_per_epoch, epochs=epochs)
    return bound, {"epochs": epochs} if needed == EPOCHS else {}


def _batches(model):
    """Batch norm's counts of batches, as `Sequential.marks` gives them."""
    return [mark for mark in marks(model) if mark[1] == "batches"]

"""Callbacks that save a run: every so often, or where it is best."""

from __future__ import annotations

import errno
import math
import os
from typing import TYPE_CHECKING, Any

from fastreg._core import checks
from fastreg._core.checks import integer
from fastreg.callbacks.base import Callback
from fastreg.callbacks.monitor import column, guessed, watched

if TYPE_CHECKING:
    from fastreg._core.types import PathLike

__all__ = ["BestCheckpoint", "Checkpoint"]


def _optional_integer(where, name, value, **bounds):
    return None if value is None else integer(where, name, value, **bounds)


class Checkpoint(Callback):
    """Save the run to one file, which always holds one complete save.

    Parameters
    ----------
    path : str or path
        The file to write; ``Trainer.fit(resume_from=path)`` reads it.
    every : int, keyword-only
        Epochs from one save to the next.
    every_steps : int, keyword-only
        Steps from one save to the next; replaces ``every``.

    Raises
    ------
    TypeError, ValueError
        If a count is not an integer of at least 1.

    Examples
    --------
    >>> Checkpoint("run.ckpt", every=5).every
    5
    """

    every: checks.Checked = checks.Checked(integer, low=1)
    every_steps: checks.Checked = checks.Checked(_optional_integer, low=1)

    def __init__(self, path: PathLike, *, every: int = 1, every_steps: int | None = None) -> None:
        self.path: Any = checks.path("Checkpoint", "path", path)
        self.every, self.every_steps = every, every_steps

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if it is time."""
        if self.every_steps is None and (epoch + 1) % self.every == 0:
            self.trainer.save(self.path)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if it is time."""
        if self.every_steps is not None and self.trainer.step % self.every_steps == 0:
            self.trainer.save(self.path)


class BestCheckpoint(Callback):
    """Save the run to one file after each epoch that is better than all before it.

    Parameters
    ----------
    path : str or path
        The file; it is replaced completely or not at all, as `fastreg.checkpoint.save` does.
        ``Trainer.load(path)`` takes the run back to its best epoch, and
        ``Trainer.fit(resume_from=path)`` continues from there.
    monitor : str, keyword-only
        The entry of the history that says so, such as "val_auc"; left out, what the Trainer
        monitors, which is the validation loss unless it was told otherwise.
    mode : {"max", "min"}, keyword-only
        Whether more or less of it is better; left out, the metric says so.

    Attributes
    ----------
    best_epoch, best_value : int, float or None
        The epoch of the file and its value, of this process's run.

    Raises
    ------
    TypeError, ValueError
        If the path is none, or mode none of the two. Before the first step of a run, if the
        Trainer does not record what is monitored, or which is better is not known.
    OSError
        Before the first step, if the folder is not there.

    Notes
    -----
    It compares an epoch with the history, which a resumed run takes over: the file is replaced
    only by what is better than all epochs before the interruption, too.

    Examples
    --------
    >>> BestCheckpoint("best.ckpt", monitor="val_accuracy").monitor
    'val_accuracy'
    """

    monitor: str | None
    mode: str | None

    def __init__(
        self, path: PathLike, *, monitor: str | None = None, mode: str | None = None
    ) -> None:
        where = "BestCheckpoint"
        self.path: Any = checks.path(where, "path", path)
        self.monitor = column(where, monitor)
        if mode is not None:
            checks.choice(where, "mode", mode, ("max", "min"))
        self.mode = mode
        self.best_epoch: int | None = None
        self.best_value: float | None = None
        self._watched: Any = None
        self._sign = 1

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuse a monitor that nobody records and a folder that is not there."""
        folder = os.path.dirname(self.path) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        self._watched = self.best_epoch = self.best_value = None
        recorded = getattr(self.trainer, "recorded", None)
        if recorded is not None:
            self._settle(recorded)

    def _settle(self, recorded):
        """Find what is watched among what is recorded, and which is better."""
        self._watched, mode = watched(
            "BestCheckpoint", self.monitor, self.mode, self.trainer, recorded
        )
        self._sign = 1 if mode == "min" else -1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if the epoch is the best so far."""
        history = self.trainer.history
        if self._watched is None:  # a run that does not say what it records
            self._settle(guessed(history))
        values = history[self._watched]
        *before, value = (self._sign * x for x in values)
        finite = [x for x in before if math.isfinite(x)]
        if math.isfinite(value) and (not finite or value < min(finite)):
            self.trainer.save(self.path)
            self.best_epoch, self.best_value = epoch, values[-1]

"""Callbacks: hooks that a training run calls, and callbacks that are ready to use."""

from __future__ import annotations

import csv
import errno
import importlib
import io
import math
import os
from typing import TYPE_CHECKING, Any

from fastreg._core import checks
from fastreg._core.checks import integer
from fastreg._core.replace import replace_file
from fastreg._train.measure import direct
from fastreg.study.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import PathLike

__all__ = [
    "BestCheckpoint",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "LiveDiagnosis",
    "OptunaPruning",
    "TensorBoard",
]

#: What writes events for TensorBoard; the first that is installed does.
WRITERS = (("tensorboard.summary", "Writer"), ("torch.utils.tensorboard", "SummaryWriter"))


class Callback:
    """Hooks of a training run, under Keras's names; override those you need.

    Attributes
    ----------
    trainer : Trainer
        Set before the first hook is called. A hook may set ``trainer.stop_training = True``, which
        ends training after the current step.

    Notes
    -----
    ``logs`` is a dict: after a batch it holds the ``loss``, after an epoch the last entry of every
    list in the history. Epochs and batches count from 0.

    A callback with ``state_dict()`` and ``load_state_dict(state)`` is part of what `Trainer.save`
    writes. All of these are told of the end of a batch or an epoch before the others, so that a
    `Checkpoint` finds them where the run is, and a second Ctrl-C waits for them. Of the beginning
    of a batch that was then interrupted they are told again when the run goes on.

    Examples
    --------
    >>> class Print(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, logs["loss"])
    """

    trainer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Before the first step."""

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """After the last step, unless an exception ended training."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before an epoch's first step."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After an epoch has been evaluated and entered in the history."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a step."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After a step."""


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
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"{where}: monitor must be a str, got {checks.shown(monitor)}")
        if mode is not None:
            checks.choice(where, "mode", mode, ("max", "min"))
        self.monitor, self.mode = monitor, mode
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
        self._watched, mode = _watched(
            "BestCheckpoint", self.monitor, self.mode, self.trainer, recorded
        )
        self._sign = 1 if mode == "min" else -1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save if the epoch is the best so far."""
        history = self.trainer.history
        if self._watched is None:  # a run that does not say what it records
            self._settle(_guessed(history))
        column = history[self._watched]
        *before, value = (self._sign * x for x in column)
        finite = [x for x in before if math.isfinite(x)]
        if math.isfinite(value) and (not finite or value < min(finite)):
            self.trainer.save(self.path)
            self.best_epoch, self.best_value = epoch, column[-1]


def _guessed(history):
    """The columns of a run that does not say what it records, and which is better."""
    return {name: "max" if name.endswith("score") else "min" for name in history}


def _watched(where, monitor, mode, trainer, recorded):
    """The column that is watched and its direction; left out, what the run goes by."""
    if monitor is None:
        monitor = getattr(trainer, "monitor", None)
        mode = mode or (monitor and trainer.mode)
    if monitor is None:
        names = "val_loss", "val_score", "loss"
        monitor = next((name for name in names if name in recorded), "loss")
    return direct(where, monitor, mode, recorded)


class CSVLogger(Callback):
    """Write the history to a CSV file, a line per epoch, so that others can follow the run.

    Parameters
    ----------
    path : str or path
        The file. A run that begins replaces it; a resumed run writes the epochs that it took over
        and goes on after them, so that no epoch is missing or there twice.

    Raises
    ------
    TypeError, ValueError
        If the path is none.
    OSError
        Before the first step of a run, if the file cannot be written.

    Notes
    -----
    The first column is the epoch, counted from 0; the others are those of the history, under one
    line of names. Numbers are written with all their digits. The file is closed after every epoch,
    so that others read what is there. If another callback adds a column to the
    history, the file is written anew with it.

    Examples
    --------
    >>> CSVLogger("run.csv").path
    'run.csv'
    """

    def __init__(self, path: PathLike) -> None:
        self.path: Any = checks.path("CSVLogger", "path", path)
        self._columns: list[str] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin the file, with the epochs of a resumed run."""
        self._write_all()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add a line."""
        history = self.trainer.history
        if list(history) != self._columns or not os.path.exists(self.path):
            self._write_all()
            return
        line = _lines([[epoch, *(float(column[-1]) for column in history.values())]])
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(line)

    def _write_all(self):
        history = self.trainer.history
        columns = list(history)
        rows = ([float(x) for x in row] for row in zip(*history.values(), strict=True))
        table = [["epoch", *columns], *([epoch, *row] for epoch, row in enumerate(rows))]
        replace_file(self.path, _lines(table if columns else []).encode())
        self._columns = columns


def _lines(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


class OptunaPruning(Callback):
    """Report every epoch to an Optuna trial, and end the run where Optuna would prune it.

    Parameters
    ----------
    trial : optuna.trial.Trial
        The trial that this run belongs to.
    monitor : str, keyword-only
        The entry of the history that is reported, such as "val_auc"; left out, what the Trainer
        monitors, or else the validation loss, the estimator's validation score, or the loss.

    Raises
    ------
    TypeError
        If ``trial`` has no ``report`` and ``should_prune``, or the monitor is no string.
    ValueError
        If nobody records what is monitored, if the study looks the other way than it gets
        better, or has several objectives, which Optuna cannot prune: before the first step, and
        with an estimator at the end of the first epoch.
    optuna.TrialPruned
        At the end of an epoch; ``study.optimize`` takes note of it and goes on.

    Notes
    -----
    A trial is told of the run of one ``fit``: cross-validation would report the same epochs once
    for every fold, of which Optuna takes the first. Copies of the callback share the trial.

    Examples
    --------
    >>> class Trial:  # in place of the one that study.optimize passes to the objective
    ...     report = staticmethod(print)
    ...     should_prune = bool
    >>> pruning = OptunaPruning(Trial(), monitor="loss")
    >>> run = fastreg.train.Trainer(
    ...     fastreg.nn.mlp([2, 1], rng=0), "mse", fastreg.SGD(0.0), callbacks=[pruning], rng=0)
    >>> _ = run.fit(np.zeros((4, 2)), np.ones(4), epochs=2)
    1.0 0
    1.0 1
    """

    trial: Any
    monitor: str | None

    def __init__(self, trial: Any, *, monitor: str | None = None) -> None:
        where = "OptunaPruning"
        if isinstance(trial, type) or not all(
            callable(getattr(trial, name, None)) for name in ("report", "should_prune")
        ):
            raise TypeError(
                f"{where}: trial must be an Optuna trial, with report and should_prune, got "
                f"{checks.shown(trial)}"
            )
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"{where}: monitor must be a str, got {checks.shown(monitor)}")
        self.trial, self.monitor = trial, monitor
        self._column: Any = None

    def __deepcopy__(self, memo: Any) -> OptunaPruning:
        """The same trial: it belongs to the study."""
        return OptunaPruning(self.trial, monitor=self.monitor)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuse a monitor that nobody records, and a study that looks the other way."""
        self._column = None
        recorded = getattr(self.trainer, "recorded", None)
        if recorded is not None:
            self._settle(recorded)

    def _settle(self, recorded):
        directions = getattr(getattr(self.trial, "study", None), "directions", None)
        wanted = [direction.name.lower() for direction in directions or ()]
        if len(wanted) > 1:
            raise ValueError(
                f"OptunaPruning: trial must be of a study with one objective, got {len(wanted)}; "
                "Optuna prunes no others"
            )
        asked = None
        if wanted and self.monitor is not None and recorded.get(self.monitor, "") is None:
            asked = wanted[0][:3]  # a metric that does not say which is better
        self._column, mode = _watched("OptunaPruning", self.monitor, asked, self.trainer, recorded)
        if wanted and wanted[0][:3] != mode:
            raise ValueError(
                f"OptunaPruning: monitor must get better the way the study looks, got "
                f"{self._column!r} ({mode}) in a study that is to {wanted[0]}; say "
                f"optuna.create_study(direction='{mode}imize') and return it from the objective"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch, and raise what ends the trial if Optuna says so."""
        history = self.trainer.history
        if self._column is None:  # a run that does not say what it records
            self._settle(_guessed(history))
        self.trial.report(float(history[self._column][-1]), epoch)
        if self.trial.should_prune():
            import optuna

            raise optuna.TrialPruned(f"pruned after epoch {epoch}")


class TensorBoard(Callback):
    """Write the history to a folder that TensorBoard shows: a scalar per column, a step per epoch.

    Parameters
    ----------
    logdir : str or path
        The folder, made if it is not there; one for each run, so that runs can be compared.

    Raises
    ------
    ImportError
        If neither ``tensorboard`` nor torch's writer can be imported.
    TypeError, ValueError
        If ``logdir`` is no path.

    Notes
    -----
    Every epoch is flushed. A resumed run adds a file to the folder; epochs that were trained again
    are in both.

    Examples
    --------
    >>> TensorBoard("runs/first")  # doctest: +SKIP
    """

    def __init__(self, logdir: PathLike) -> None:
        self.logdir: Any = checks.path("TensorBoard", "logdir", logdir)
        _writer()
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open a file in the folder."""
        self.on_train_end()  # one that an exception has left open
        self._writer = _writer()(self.logdir)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's entries."""
        for name, value in (logs or {}).items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        """The folder; an open file stays with this process."""
        return {**vars(self), "_writer": None}


def _writer():
    """The class of the first writer that is installed."""
    for module, name in WRITERS:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(
        "TensorBoard: its files need the package tensorboard, alone or with torch; "
        "pip install tensorboard"
    )


class LiveDiagnosis(Callback):
    """Diagnose the loss curves while they grow; needs validation data.

    Parameters
    ----------
    every : int, keyword-only
        Epochs from one diagnosis to the next.
    report : callable, keyword-only
        Called with each `fastreg.study.diagnosis.Diagnosis`; prints it by default.
    **settings
        Passed on to `fastreg.study.diagnosis.diagnose`.

    Attributes
    ----------
    last : Diagnosis or None
        The latest diagnosis.

    Examples
    --------
    >>> LiveDiagnosis(every=5, baseline=2.3).last is None
    True
    """

    every: checks.Checked = checks.Checked(integer, low=1)
    settings: Any
    report: Callable[[Any], Any]

    def __init__(
        self, *, every: int = 10, report: Callable[[Any], Any] = print, **settings: Any
    ) -> None:
        self.every = every
        if not callable(report):
            raise TypeError(f"LiveDiagnosis: report must be a function, got {checks.shown(report)}")
        self.report, self.settings = report, settings
        self.last: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Diagnose if it is time."""
        history = self.trainer.history
        if (epoch + 1) % self.every == 0 and "val_loss" in history:
            self.last = diagnose(history["loss"], history["val_loss"], **self.settings)
            self.report(self.last)

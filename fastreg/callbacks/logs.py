"""Callbacks that write the history where others can follow it: a CSV file, TensorBoard."""

from __future__ import annotations

import csv
import importlib
import io
import os
from typing import TYPE_CHECKING, Any

from fastreg._core import checks
from fastreg._core.replace import replace_file
from fastreg.callbacks.base import Callback

if TYPE_CHECKING:
    from fastreg._core.types import PathLike

__all__ = ["CSVLogger", "TensorBoard"]

#: What writes events for TensorBoard; the first that is installed does.
WRITERS = (("tensorboard.summary", "Writer"), ("torch.utils.tensorboard", "SummaryWriter"))


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

    first_rank_only = True

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

    first_rank_only = True

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

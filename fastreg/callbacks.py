"""Callbacks: hooks that a training run calls, and two callbacks that are ready to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core import checks
from fastreg._core.checks import integer
from fastreg.study.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastreg._core.types import PathLike

__all__ = ["Callback", "Checkpoint", "LiveDiagnosis"]


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

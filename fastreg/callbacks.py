"""What can be told of a training run while it happens: the hooks, and two that are ready to use."""

from fastreg._core import checks
from fastreg._core.checks import integer
from fastreg.study.diagnosis import diagnose

__all__ = ["Callback", "Checkpoint", "LiveDiagnosis"]


class Callback:
    """Hooks of a training run, under Keras's names; override those you need.

    Attributes
    ----------
    trainer : Trainer
        Set before the first hook. A hook may set ``trainer.stop_training = True``, and training
        ends after the step.

    Notes
    -----
    ``logs`` is a dict: after a batch its ``loss``, after an epoch the last entry of every list in
    the history. Epochs and batches count from 0.

    Examples
    --------
    >>> class Print(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, logs["loss"])
    """

    trainer = None

    def on_train_begin(self, logs=None):
        """Before the first step."""

    def on_train_end(self, logs=None):
        """After the last step, unless an exception ended training."""

    def on_epoch_begin(self, epoch, logs=None):
        """Before an epoch's first step."""

    def on_epoch_end(self, epoch, logs=None):
        """After an epoch has been evaluated and entered in the history."""

    def on_train_batch_begin(self, batch, logs=None):
        """Before a step."""

    def on_train_batch_end(self, batch, logs=None):
        """After a step."""


class Checkpoint(Callback):
    """Save the run to one file, which always holds the last save as a whole.

    Parameters
    ----------
    path : str or path
        Where to; for ``Trainer.fit(resume_from=path)``.
    every : int, keyword-only
        Epochs from one save to the next.
    every_steps : int, keyword-only
        Steps from one save to the next; replaces ``every``.

    Raises
    ------
    TypeError, ValueError
        A count that is no integer of at least 1.

    Examples
    --------
    >>> Checkpoint("run.ckpt", every=5).every
    5
    """

    def __init__(self, path, *, every=1, every_steps=None):
        self.path = checks.path("Checkpoint", "path", path)
        self.every = integer("Checkpoint", "every", every, low=1)
        self.every_steps = every_steps
        if every_steps is not None:
            self.every_steps = integer("Checkpoint", "every_steps", every_steps, low=1)

    def on_epoch_end(self, epoch, logs=None):
        """Save if it is time."""
        if self.every_steps is None and (epoch + 1) % self.every == 0:
            self.trainer.save(self.path)

    def on_train_batch_end(self, batch, logs=None):
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
        Given each `fastreg.study.diagnosis.Diagnosis`; prints by default.
    **settings
        For `fastreg.study.diagnosis.diagnose`.

    Attributes
    ----------
    last : Diagnosis or None
        The latest.

    Examples
    --------
    >>> LiveDiagnosis(every=5, baseline=2.3).last is None
    True
    """

    def __init__(self, *, every=10, report=print, **settings):
        self.every = integer("LiveDiagnosis", "every", every, low=1)
        if not callable(report):
            raise TypeError(f"LiveDiagnosis: report must be a function, got {checks.shown(report)}")
        self.report, self.settings, self.last = report, settings, None

    def on_epoch_end(self, epoch, logs=None):
        """Diagnose if it is time."""
        history = self.trainer.history
        if (epoch + 1) % self.every == 0 and "val_loss" in history:
            self.last = diagnose(history["loss"], history["val_loss"], **self.settings)
            self.report(self.last)

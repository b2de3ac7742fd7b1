"""The hooks that a training run calls."""

from __future__ import annotations

from typing import Any

__all__ = ["Callback"]


class Callback:
    """Hooks of a training run, under Keras's names; override those you need.

    Attributes
    ----------
    trainer : Trainer
        Set before the first hook is called. A hook may set ``trainer.stop_training = True``, which
        ends training after the current step.

    first_rank_only : bool
        True for what only writes or prints: of several ranks, the first calls it. What may call
        `Trainer.save`, or stop the training, must be called on all.

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
    first_rank_only: bool = False

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

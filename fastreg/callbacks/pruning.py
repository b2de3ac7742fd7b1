"""Optuna ends the runs that are not worth their time."""

from __future__ import annotations

from typing import Any

from fastreg._core import checks
from fastreg.callbacks.base import Callback
from fastreg.callbacks.monitor import column, guessed, watched

__all__ = ["OptunaPruning"]


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
        self.trial, self.monitor = trial, column(where, monitor)
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
        self._column, mode = watched("OptunaPruning", self.monitor, asked, self.trainer, recorded)
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
            self._settle(guessed(history))
        self.trial.report(float(history[self._column][-1]), epoch)
        if self.trial.should_prune():
            import optuna

            raise optuna.TrialPruned(f"pruned after epoch {epoch}")

"""The loss curves are diagnosed while they grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core import checks
from fastreg._core.checks import integer
from fastreg.callbacks.base import Callback
from fastreg.study.diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LiveDiagnosis"]


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

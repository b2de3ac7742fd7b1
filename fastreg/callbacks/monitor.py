"""Which column of the history a callback watches, and which way it gets better."""

from __future__ import annotations

from typing import Any

from fastreg._core import checks
from fastreg._train.measure import direct

__all__ = ["column", "guessed", "watched"]


def column(where: str, monitor: Any) -> str | None:
    """The name of a column, or None for what the run goes by."""
    if monitor is not None and not isinstance(monitor, str):
        raise TypeError(f"{where}: monitor must be a str, got {checks.shown(monitor)}")
    return monitor


def guessed(history: dict[str, Any]) -> dict[str, str | None]:
    """The columns of a run that does not say what it records, and which is better."""
    return {name: "max" if name.endswith("score") else "min" for name in history}


def watched(
    where: str,
    monitor: str | None,
    mode: str | None,
    trainer: Any,
    recorded: dict[str, str | None],
) -> tuple[str | None, str | None]:
    """The column that is watched and its direction; left out, what the run goes by."""
    if monitor is None:
        monitor = getattr(trainer, "monitor", None)
        mode = mode or (monitor and trainer.mode)
    if monitor is None:
        names = "val_loss", "val_score", "loss"
        monitor = next((name for name in names if name in recorded), "loss")
    return direct(where, monitor, mode, recorded)

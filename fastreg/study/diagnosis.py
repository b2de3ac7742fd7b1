"""Diagnosis: the chapter's table (underfitting, good fit, overfitting, diverging) as a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastreg._core.arrays import real
from fastreg._core.checks import integer, number

if TYPE_CHECKING:
    from fastreg._core.types import Data

__all__ = ["Diagnosis", "diagnose"]

BEYOND = 100.0  # errors of a model that has learnt nothing, by which a validation error explodes


class Diagnosis(NamedTuple):
    """A verdict, the reason and the numbers behind it, and the change to try next.

    ``verdict`` is "underfitting", "good fit", "overfitting" or "diverging"; ``evidence`` maps
    names to numbers. ``str()`` gives one line.
    """

    verdict: str
    reason: str
    suggestion: str
    evidence: dict[str, Any]

    def __str__(self) -> str:
        """Return verdict, reason and suggestion in one line."""
        return f"{self.verdict}: {self.reason}; {self.suggestion}"


def diagnose(
    train: Data,
    val: Data,
    *,
    baseline: float | None = None,
    high_error: float = 0.2,
    gap_ratio: float = 0.1,
    gap_floor: float = 0.03,
    divergence: float = 0.25,
    window: int | None = None,
) -> Diagnosis:
    """Tell underfitting, good fit, overfitting and divergence apart.

    The rows are tried in this order, with E the mean of the last ``window`` epochs:

    ============ ================================================================
    diverging    a NaN or infinity anywhere, or training E above its own lowest
                 by more than ``divergence * baseline``, or validation E above its
                 own by more than ``100 * baseline``, which is no memorising
    underfitting training E above ``high_error * baseline``
    overfitting  validation E above training E, or above its own lowest while
                 training is not, by more than
                 ``max(gap_ratio * validation E, gap_floor * baseline)``
    good fit     none of these
    ============ ================================================================

    Parameters
    ----------
    train, val : array_like of shape (n_epochs,), or float
        Errors or losses, at least 0 and lower is better: a curve, or a final value.
    baseline : float, optional
        The error of a model that has learnt nothing, such as log(n_classes) for cross-entropy.
        Left out, it is the first value of the training curve, or 1 if ``train`` is a single
        number, which suits error rates.
    high_error, gap_ratio, gap_floor, divergence : float
        The thresholds of the table, as fractions.
    window : int, optional
        Number of epochs to average; a tenth of the training curve by default.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError, ValueError
        If a curve is empty, not one-dimensional, not numeric or negative, or a threshold is out
        of range.

    Examples
    --------
    >>> print(diagnose(0.02, 0.30).verdict)
    overfitting
    """
    where = "diagnose"
    train, val = _curve("train", train), _curve("val", val)
    if baseline is None:
        baseline = float(train[0]) if len(train) > 1 else 1.0
    else:
        baseline = number(where, "baseline", baseline, low=0.0, open_low=True)
    high_error = number(where, "high_error", high_error, low=0.0)
    gap_ratio = number(where, "gap_ratio", gap_ratio, low=0.0)
    gap_floor = number(where, "gap_floor", gap_floor, low=0.0)
    divergence = number(where, "divergence", divergence, low=0.0)
    window = max(1, len(train) // 10) if window is None else window
    window = integer(where, "window", window, low=1)
    for name, curve in (("training", train), ("validation", val)):
        if not np.isfinite(curve).all():
            epoch = int(np.argmin(np.isfinite(curve)))
            return Diagnosis(
                "diverging",
                f"the {name} error is {curve[epoch]} at epoch {epoch}",
                "divide learning_rate by 10",
                {"first_nonfinite_epoch": epoch},
            )
    with np.errstate(under="ignore", over="ignore"):
        return _judged(train, val, baseline, high_error, gap_ratio, gap_floor, divergence, window)


def _judged(train, val, baseline, high_error, gap_ratio, gap_floor, divergence, window):
    """Work out the numbers and what they say."""
    train_mean, val_mean = _moving_mean(train, window), _moving_mean(val, window)
    train_error, val_error = float(train_mean[-1]), float(val_mean[-1])
    evidence = {
        "train_error": train_error,
        "val_error": val_error,
        "gap": val_error - train_error,
        "train_rise": train_error - float(train_mean.min()),
        "val_rise": val_error - float(val_mean.min()),
        "best_epoch": int(np.argmin(val)),
        "rise_limit": divergence * baseline,
        "val_rise_limit": BEYOND * baseline,
        "high_error_limit": high_error * baseline,
        "gap_limit": max(gap_ratio * val_error, gap_floor * baseline),
    }
    falling = train_error < 0.95 * train_mean[max(-1 - window, -len(train_mean))]
    return Diagnosis(*_verdict(evidence, falling), evidence)


def _verdict(e, falling) -> tuple[str, str, str]:
    if e["train_rise"] > e["rise_limit"]:
        verdict = "diverging"
        reason = "the training error is {train_rise:.3g} above its lowest (limit {rise_limit:.3g})"
        suggestion = "divide learning_rate by 3"
    elif e["val_rise"] > e["val_rise_limit"]:
        verdict = "diverging"
        reason = (
            "the validation error is {val_rise:.3g} above its lowest (limit {val_rise_limit:.3g})"
        )
        suggestion = "divide learning_rate by 3"
    elif e["train_error"] > e["high_error_limit"]:
        verdict = "underfitting"
        reason = "the training error is {train_error:.3g} (limit {high_error_limit:.3g})"
        suggestion = "halve drop_rate and weight_decay; with neither in use, widen the network"
        if falling:
            suggestion = "train for more epochs, the training error is still falling"
    elif e["val_rise"] - e["train_rise"] > e["gap_limit"]:
        verdict = "overfitting"
        reason = (
            "the validation error has risen by {val_rise:.3g} since epoch {best_epoch} "
            "(limit {gap_limit:.3g})"
        )
        suggestion = "stop early: EarlyStopping with restore_best=True"
    elif e["gap"] > e["gap_limit"]:
        verdict = "overfitting"
        reason = (
            "the validation error {val_error:.3g} is {gap:.3g} above the training error "
            "{train_error:.3g} (limit {gap_limit:.3g})"
        )
        suggestion = "raise drop_rate by 0.2, or double weight_decay"
    else:
        verdict = "good fit"
        reason = (
            "the training error is {train_error:.3g} (limit {high_error_limit:.3g}) and "
            "validation {gap:.3g} above it (limit {gap_limit:.3g})"
        )
        suggestion = "keep these settings"
    return verdict, reason.format(**e), suggestion


def _curve(name, value):
    curve = real("diagnose", name, value, "fiu", "numbers")
    if curve.ndim > 1 or curve.size == 0:
        raise ValueError(f"diagnose: {name} must be one number or a curve, got shape {curve.shape}")
    if (curve < 0).any():
        raise ValueError(f"diagnose: {name} must be errors of at least 0, got {curve.min()}")
    return np.atleast_1d(curve).astype(np.float64)


def _moving_mean(curve, window):
    window = min(window, len(curve))
    return np.convolve(curve, np.full(window, 1.0 / window), mode="valid")

"""The chapter's learning rates as functions of the epoch.

Each follows its formula at every epoch, also past the end, where a cosine rises again. Forms that
stay at their last value, more families and ways to combine them are in `fastreg.schedule`. Up to
the end they have the same bits: `fastreg.schedule.cosine` for `cosine_annealing`,
`fastreg.schedule.warmup` of a constant for `warmup_schedule` and of a cosine for `warmup_cosine`.

An array of epochs gives an array of rates. Wrong kinds of arguments raise TypeError; an epoch that
is negative, NaN or past 2**53, or another argument out of range, raises ValueError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastreg.schedule.steps import LAST_STEP, arc, at_each, climb, grow, nonnegative

if TYPE_CHECKING:
    from fastreg._core.types import Step

__all__ = ["cosine_annealing", "step_decay", "warmup_cosine", "warmup_schedule"]


def step_decay(
    epoch: Step, initial_lr: float = 0.1, drop_factor: float = 0.5, epochs_drop: float = 10
) -> Step:
    """Step decay: ``initial_lr * drop_factor ** floor(epoch / epochs_drop)``.

    Parameters
    ----------
    epoch : number or array
        Epochs done so far, at least 0; an array gives an array.
    initial_lr, drop_factor, epochs_drop : float, default 0.1, 0.5 and 10
        The rate at epoch 0, what a drop multiplies by, and the epochs between drops, above 0.

    Returns
    -------
    float or ndarray of float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> step_decay(25)
    0.025
    """
    where = "step_decay"
    lr = nonnegative(where, "initial_lr", initial_lr)
    factor = nonnegative(where, "drop_factor", drop_factor, open_low=True)
    every = _epochs(where, "epochs_drop", epochs_drop, open_low=True)
    return at_each(where, "epoch", epoch, lambda t: grow(lr, factor, t // every))


def cosine_annealing(
    epoch: Step, total_epochs: float, lr_max: float = 0.1, lr_min: float = 0.0001
) -> Step:
    """Cosine annealing from ``lr_max`` at epoch 0 to ``lr_min`` at ``total_epochs``.

    ``lr_min + 0.5 * (lr_max - lr_min) * (1 + cos(pi * epoch / total_epochs))``
    (Loshchilov & Hutter, 2017). It rises again after that; `fastreg.schedule.cosine` stays at
    ``lr_min``.

    Parameters
    ----------
    epoch : number or array
        Epochs done so far, at least 0; an array gives an array.
    total_epochs : float
        Epochs from the highest rate to the lowest, above 0.
    lr_max, lr_min : float, default 0.1 and 0.0001
        The highest and the lowest rate, at least 0.

    Returns
    -------
    float or ndarray of float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> cosine_annealing([0, 50, 100, 150], 100).round(5).tolist()
    [0.1, 0.05005, 0.0001, 0.05005]
    """
    where = "cosine_annealing"
    total = _epochs(where, "total_epochs", total_epochs, open_low=True)
    low = nonnegative(where, "lr_min", lr_min)
    top = nonnegative(where, "lr_max", lr_max)
    return at_each(where, "epoch", epoch, lambda t: arc(t, top, low, total))


def warmup_schedule(epoch: Step, warmup_epochs: float = 5, base_lr: float = 0.1) -> Step:
    """Linear warm-up: ``base_lr * (epoch + 1) / warmup_epochs``, then ``base_lr``.

    Parameters
    ----------
    epoch : number or array
        Epochs done so far, at least 0; an array gives an array.
    warmup_epochs : float, default 5
        Epochs of the warm-up, at least 0.
    base_lr : float, default 0.1
        The rate it leads to, at least 0.

    Returns
    -------
    float or ndarray of float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> warmup_schedule([0, 3, 4, 50]).tolist()
    [0.02, 0.08, 0.1, 0.1]
    """
    where = "warmup_schedule"
    warm = _epochs(where, "warmup_epochs", warmup_epochs)
    base = nonnegative(where, "base_lr", base_lr)
    return at_each(where, "epoch", epoch, lambda t: climb(t, base, warm) if t < warm else base)


def warmup_cosine(
    epoch: Step,
    total_epochs: float = 100,
    warmup_epochs: float = 10,
    lr_max: float = 0.1,
    lr_min: float = 0.0001,
) -> Step:
    """`warmup_schedule` up to ``lr_max``, then `cosine_annealing` over the epochs that remain.

    The cosine reaches ``lr_min`` at ``total_epochs`` and rises again after that;
    ``fastreg.schedule.warmup(fastreg.schedule.cosine(...))`` stays at ``lr_min``.

    Parameters
    ----------
    epoch : number or array
        Epochs done so far, at least 0; an array gives an array.
    total_epochs, warmup_epochs : float, default 100 and 10
        Epochs to the lowest rate, above 0, and those of the warm-up among them, at least 0.
    lr_max, lr_min : float, default 0.1 and 0.0001
        The highest and the lowest rate, at least 0.

    Returns
    -------
    float or ndarray of float64

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or no epoch remains for the cosine.

    Examples
    --------
    >>> warmup_cosine([0, 4, 5, 100], warmup_epochs=5).round(5).tolist()
    [0.02, 0.1, 0.1, 0.0001]
    """
    where = "warmup_cosine"
    total = _epochs(where, "total_epochs", total_epochs, open_low=True)
    warm = _epochs(where, "warmup_epochs", warmup_epochs)
    top = nonnegative(where, "lr_max", lr_max)
    low = nonnegative(where, "lr_min", lr_min)

    def formula(t):
        if t < warm:
            return climb(t, top, warm)
        if warm == total:
            raise ValueError(
                f"{where}: warmup_epochs must be below total_epochs {total_epochs} for epochs "
                f"after the warm-up, got {warmup_epochs}"
            )
        return arc(t - warm, top, low, total - warm)

    return at_each(where, "epoch", epoch, formula)


def _epochs(where, name, value, *, open_low=False):
    """A number of epochs; a whole number becomes an int, so that float64 rounds nothing."""
    value = nonnegative(where, name, value, open_low=open_low, high=LAST_STEP)
    return int(value) if value.is_integer() else value

"""The chapter's learning rates as functions of the epoch.

An array of epochs gives an array of rates. Wrong kinds of arguments raise TypeError; an epoch that
is negative, NaN or past 2**53, or another argument out of range, raises ValueError. More families,
and ways to combine them, are in `fastreg.schedule`.
"""

from fastreg._checks import integer
from fastreg._steps import LAST_STEP, at_each, half_cosine, nonnegative, ramp

__all__ = ["cosine_annealing", "step_decay", "warmup_cosine", "warmup_schedule"]


def step_decay(epoch, initial_lr=0.1, drop_factor=0.5, epochs_drop=10):
    """Step decay: ``initial_lr * drop_factor ** floor(epoch / epochs_drop)``.

    Parameters
    ----------
    epoch : number or array
        Epochs done so far, at least 0; an array gives an array.
    initial_lr, drop_factor, epochs_drop : float, float, int
        The rate at epoch 0, what a drop multiplies by, in (0, 1], and the epochs between drops.

    Examples
    --------
    >>> step_decay(25)
    0.025
    """
    where = "step_decay"
    lr = nonnegative(where, "initial_lr", initial_lr)
    factor = nonnegative(where, "drop_factor", drop_factor, open_low=True, high=1.0)
    every = integer(where, "epochs_drop", epochs_drop, low=1, high=LAST_STEP)
    return at_each(where, "epoch", epoch, lambda t: lr * factor ** (t // every))


def cosine_annealing(epoch, total_epochs, lr_max=0.1, lr_min=0.0):
    """Cosine annealing from ``lr_max`` at epoch 0 to ``lr_min`` at ``total_epochs``, then flat.

    ``lr_min + 0.5 * (lr_max - lr_min) * (1 + cos(pi * epoch / total_epochs))``.

    Examples
    --------
    >>> cosine_annealing([0, 50, 100, 999], 100).tolist()
    [0.1, 0.05, 0.0, 0.0]
    """
    where = "cosine_annealing"
    total = integer(where, "total_epochs", total_epochs, low=1, high=LAST_STEP)
    low = nonnegative(where, "lr_min", lr_min)
    span = nonnegative(where, "lr_max", lr_max) - low
    return at_each(where, "epoch", epoch, lambda t: low + span * half_cosine(t, total))


def warmup_schedule(epoch, warmup_epochs=5, target_lr=0.1):
    """Linear warm-up: ``target_lr * (epoch + 1) / warmup_epochs``, then ``target_lr``.

    Examples
    --------
    >>> warmup_schedule([0, 3, 4, 50]).tolist()
    [0.02, 0.08, 0.1, 0.1]
    """
    where = "warmup_schedule"
    warm = integer(where, "warmup_epochs", warmup_epochs, low=0, high=LAST_STEP)
    target = nonnegative(where, "target_lr", target_lr)
    return at_each(where, "epoch", epoch, lambda t: ramp(t, target, warm))


def warmup_cosine(epoch, warmup_epochs, total_epochs, lr_max=0.1, lr_min=0.0):
    """`warmup_schedule` up to ``lr_max``, then `cosine_annealing` over the epochs that remain.

    Examples
    --------
    >>> warmup_cosine([0, 4, 5, 100], warmup_epochs=5, total_epochs=100).tolist()
    [0.02, 0.1, 0.1, 0.0]
    """
    where = "warmup_cosine"
    total = integer(where, "total_epochs", total_epochs, low=1, high=LAST_STEP)
    warm = integer(where, "warmup_epochs", warmup_epochs, low=0, high=LAST_STEP)
    if warm >= total:
        raise ValueError(f"{where}: warmup_epochs must be below total_epochs {total}, got {warm}")
    top = nonnegative(where, "lr_max", lr_max)
    low = nonnegative(where, "lr_min", lr_min)

    def formula(t):
        if t < warm:
            return ramp(t, top, warm)
        return low + (top - low) * half_cosine(t - warm, total - warm)

    return at_each(where, "epoch", epoch, formula)

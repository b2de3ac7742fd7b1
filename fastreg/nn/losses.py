"""Losses: the value and the gradient with respect to the network's outputs, in one call.

The attribute ``link`` of a loss says what the outputs are: "softmax", "sigmoid", "log" or
"identity". Your own loss may have one, too (``loss.link = "softmax"``), and then gets accuracies
and classes. Arguments beside outputs, targets and ``sample_weight`` are given by a partial:
``functools.partial(huber, delta=0.5)``. A `fastreg.train.Trainer` takes these by name, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core.checks import shown
from fastreg.nn.classification import binary_cross_entropy, focal, softmax_cross_entropy
from fastreg.nn.regression import huber, mae, mse, poisson, quantile

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "binary_cross_entropy",
    "focal",
    "huber",
    "mae",
    "mse",
    "poisson",
    "quantile",
    "softmax_cross_entropy",
]


def loss_named(where: str, loss: Any) -> Callable[..., Any]:
    """Return the loss of this name, or anything else as it is.

    Examples
    --------
    >>> loss_named("Trainer", "mse") is mse
    True
    """
    if not isinstance(loss, str):
        return loss
    if loss not in __all__:
        raise ValueError(
            f"{where}: loss must be a function or one of {', '.join(__all__)}, got {shown(loss)}"
        )
    return globals()[loss]

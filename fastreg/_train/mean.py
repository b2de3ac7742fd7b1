"""Means over several batches: what each of them weighs, and their gradients' mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.functions import magnitudes
from fastreg.nn.targets import link_of, option_of

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["MeanGradient", "weight_of"]


class MeanGradient:
    """A weighted mean of gradients, kept in the same arrays from step to step.

    It becomes ``mean * old / total + gradient * weight / total``, which stays within the range of
    the gradients whatever the weights are.

    Examples
    --------
    >>> mean = MeanGradient()
    >>> for weight, gradient in (1.0, [4.0]), (3.0, [8.0]):
    ...     grads = {"w": np.array(gradient)}
    ...     mean.add(grads, weight)
    >>> mean.put(grads)
    >>> grads
    {'w': array([7.])}
    """

    weight: float
    _means: dict[str, Array]

    def __init__(self) -> None:
        self.weight, self._means = 0.0, {}

    def begin(self) -> None:
        """Forget the last step's; its arrays are used again."""
        self.weight = 0.0

    def add(self, grads: dict[str, Any], weight: float) -> None:
        """Add a batch's gradients, which are overwritten."""
        total = self.weight + weight
        old, new = self.weight / total, weight / total
        for name, grad in grads.items():
            mean = self._means.get(name)
            if mean is None or mean.shape != grad.shape or mean.dtype != grad.dtype:
                mean = self._means[name] = np.empty_like(grad)
            if old == 0.0:
                np.copyto(mean, grad)
            else:
                mean *= old
                grad *= new
                mean += grad
        self.weight = total

    def put(self, grads: dict[str, Any]) -> None:
        """Write the mean to where a single batch's gradients are."""
        for name, grad in grads.items():
            np.copyto(grad, self._means[name])


def weight_of(loss: Any, y: Any, options: dict[str, Any]) -> float:
    """Return what a batch weighs in a mean over several: rows, or their weights under the loss.

    Examples
    --------
    >>> from functools import partial
    >>> from fastreg.nn import softmax_cross_entropy
    >>> loss = partial(softmax_cross_entropy, class_weights=[0.5, 2.0])
    >>> weight_of(loss, np.array([0, 1, 1]), {"sample_weight": np.array([1.0, 1.0, 3.0])})
    8.5
    """
    weight, of_classes = options.get("sample_weight"), option_of(loss, "class_weights")
    if of_classes is None or link_of(loss) != "softmax":
        return float(len(y)) if weight is None else magnitudes(weight)
    by_class = np.asarray(of_classes, np.float64)
    each = by_class[y] if y.ndim == 1 else y * by_class  # all at least 0: their own magnitudes
    return magnitudes(each if weight is None else (each.T * weight).T)

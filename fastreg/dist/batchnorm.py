"""Batch norm over a batch of which every rank has some shards."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core._kernels import (
    batch_backward,
    batch_input,
    batch_normalize,
    batch_statistics,
)
from fastreg.dist.tree import tree_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastreg._core.types import Array
    from fastreg.norm import BatchNorm

__all__ = ["SyncBatchNorm", "merged"]


def merged(one: Any, other: Any) -> Any:
    """Return count, means and sums of squared deviations of two sets together (Chan's formula).

    Examples
    --------
    >>> merged((1, np.array([1.0]), np.array([0.0])), (1, np.array([3.0]), np.array([0.0])))
    (2, array([2.]), array([2.]))
    """
    count, (n, mean, squares), (k, means, more) = one[0] + other[0], one, other
    apart = means - mean
    return count, mean + apart * (k / count), squares + more + apart * apart * (n * k / count)


class SyncBatchNorm:
    """What the shards of a batch do where a network has a `BatchNorm`: statistics of all of them.

    Each shard's are merged in the order of a fixed tree, in float64, so that they depend neither
    on the ranks nor on their number. float64 values whose squares leave the range have none.

    Examples
    --------
    >>> from fastreg import BatchNorm
    >>> norm = SyncBatchNorm(BatchNorm(1), lambda own: own, 2)
    >>> norm.forward({0: np.array([[1.0]]), 1: np.array([[3.0]])})[1].round(3)
    array([[1.]])
    """

    layer: BatchNorm

    def __init__(self, layer: BatchNorm, gather: Any, shards: int) -> None:
        self.layer, self._gather, self._shards = layer, gather, shards
        self._last: Any = None

    def forward(self, parts: dict[int, Array]) -> dict[int, Array]:
        """Return the outputs of this rank's shards, and move the running statistics."""
        layer, where = self.layer, "BatchNorm.forward"
        last = layer.axis == -1
        parts = {j: batch_input(where, "X", X, layer.n_features, last) for j, X in parts.items()}
        own = {}
        for j, X in parts.items():
            count, (mean, var, _) = X.size // layer.n_features, batch_statistics(X, 1.0, last)
            own[j, j + 1] = count, mean, var * count
        count, mean, squares = tree_sum(0, self._shards, self._gather(own), merged)
        if count == 1 and layer.unbiased_running_var:
            raise ValueError(
                f"{where}: X must have two values per channel or more for an unbiased variance, "
                "got one; leave unbiased_running_var out"
            )
        var = squares / count
        statistics = np.vstack([mean, var, 1.0 / np.sqrt(var + layer.epsilon)])
        gamma, beta = layer._affine(where)
        outputs = {
            j: batch_normalize(where, X, None, False, statistics, gamma, beta, last)
            for j, X in parts.items()
        }
        if layer.training and layer.track_running_stats:
            vars(layer).update(layer._moved(where, statistics, count))
        self._last = parts, statistics, count
        return outputs

    def backward(self, slopes: dict[int, Array]) -> tuple[dict[int, Array], Any, Any]:
        """Return the gradients with respect to the inputs, and those of gamma and beta."""
        layer, where = self.layer, "BatchNorm.backward"
        parts, statistics, count = self._last
        last, shape = layer.axis == -1, (1, layer.n_features)
        gamma, _ = layer._affine(where)
        found, own = {}, {}
        for j, X in parts.items():
            sums = [np.empty(shape), np.empty(shape)]
            found[j] = batch_backward(
                where, slopes[j], None, X, False, statistics, gamma, last, sums
            )
            own[j, j + 1] = np.vstack(sums)
        dgamma, dbeta = tree_sum(0, self._shards, self._gather(own), lambda a, b: a + b)
        scale = -gamma.reshape(shape) * statistics[2] / count
        for j, X in parts.items():  # through the statistics: the mean of dY, and that of dY * Y
            found[j] += batch_normalize(
                where, X, None, False, statistics, scale * dgamma, scale * dbeta, last
            )
        return found, dgamma, dbeta


def flat(records: Sequence[dict[Any, Any]]) -> dict[Any, Any]:
    """Return what all ranks know of their shards as one dict, by shard.

    Examples
    --------
    >>> flat([{1: "b"}, {0: "a"}])
    {0: 'a', 1: 'b'}
    """
    return dict(sorted(itertools.chain(*(one.items() for one in records))))

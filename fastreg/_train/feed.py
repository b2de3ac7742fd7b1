"""What feeds a training with batches: arrays, or sources that are read meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.arrays import rows_at, shuffle
from fastreg._train.pieces import Part
from fastreg._train.predict import check_table, check_weight, check_weights, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastreg._core.types import Array

__all__ = ["ArrayFeed", "Feed"]

SHORT = 64  # bytes of a sample's target that are copied for an epoch


class Feed:
    """The batches of a training's epochs, in groups of ``accumulate``: one group is a step.

    Attributes
    ----------
    cut : dict
        What a run that goes on must have in common with this one.
    steps : int or None
        Steps per epoch, if that is known.
    last : bool
        Whether the group given last is the last of its epoch, once it has been gone through.
    whole : bool
        Whether all rows are one piece.
    once : bool
        Whether the rows can be read only once.
    own : callable or None
        ``own(n)`` says from which row to before which this process computes a batch of n: then a
        batch's X and y may be `Part`s. None stands for all of them.
    """

    cut: dict[str, Any]
    steps: Any
    last: bool = False
    whole: bool = True
    once: bool = False
    own: Any = None

    def epoch(self, rng: Any, epoch: int, first: int) -> Iterator[Any]:
        """Draw the order of an epoch; return its groups from one step on."""
        raise NotImplementedError

    def batches(self, group: Any) -> Iterable[Any]:
        """Return the batches of a group, (X, y, options of the loss), each valid until the next."""
        return group

    def pieces(self) -> Iterator[Any]:
        """Yield all rows in their order as (X, y, options)."""
        raise NotImplementedError

    def some(self) -> Any:
        """Return a few rows, always the same ones."""
        raise NotImplementedError


class ArrayFeed(Feed):
    """Arrays in memory, in an order drawn anew for every epoch."""

    X: Array
    y: Array
    weights: Any

    def __init__(
        self, where: str, run: Any, X: Any, y: Any, sample_weight: Any, size: int, accumulate: int
    ) -> None:
        X, y = check_table(where, "X", X, "y", y, run.model, run.loss)
        weights = check_weights(where, sample_weight, len(X))
        # a batch of what does not count would have no mean
        X, y, weights = counted(where, "y", X, y, weights, run.loss)
        check_weight(where, "y", y, run.model, run.loss, weights)
        self.X, self.weights = X, weights
        self.y = np.ascontiguousarray(y, y.dtype.newbyteorder("="))
        self._is_short = self.y.nbytes <= SHORT * len(y)
        self._size, self._group = size, size * accumulate
        self.steps = -(-len(X) // self._group)
        self.cut = {"rows": len(X), "batch_size": size, "sample": list(X.shape[1:]),
                    "weights": weights is not None}  # fmt: skip

    def epoch(self, rng: Any, epoch: int, first: int) -> Iterator[Any]:
        """Draw the order of an epoch; return where its groups begin, from one step on."""
        self._order = order = np.arange(len(self.X), dtype=np.int64)
        shuffle(rng, order)  # the orders of rng.permutation
        # What is short is put in order at once: a batch is a slice of it.
        self._y = rows_at(self.y, self._order, 0, len(order)) if self._is_short else None
        if self.weights is not None:
            self._weights = rows_at(self.weights, self._order, 0, len(order))
        starts = range(0, len(order), self._group)
        self.last = first >= len(starts)
        self._end = len(order) - self._group  # of what comes before the last group
        self._rows = np.empty((min(self._size, len(order)), *self.X.shape[1:]), self.X.dtype)
        return iter(starts[first:])

    def batches(self, group: Any) -> Iterable[Any]:
        """Return the batches of a group."""
        self.last = group >= self._end
        end = min(group + self._group, len(self._order))
        if self._group == self._size:
            return (self._batch(group, end),)
        return self._several(group, end)

    def _several(self, start, end):
        for begin in range(start, end, self._size):
            yield self._batch(begin, min(begin + self._size, end))

    def _batch(self, start, stop):
        n = stop - start
        low, high = (0, n) if self.own is None else self.own(n)
        here = self._order, start + low, start + high
        X = rows_at(self.X, *here, self._rows)
        y = rows_at(self.y, *here) if self._y is None else self._y[start:stop]
        options = {} if self.weights is None else {"sample_weight": self._weights[start:stop]}
        if self.own is not None:
            X, y = Part(X, low, n), Part(y, low, n) if self._y is None else y
        return X, y, options

    def pieces(self) -> Iterator[Any]:
        """Return the one piece that all rows are, as (X, y, options)."""
        options = {} if self.weights is None else {"sample_weight": self.weights}
        return iter([(self.X, self.y, options)])

    def some(self) -> Any:
        """Return the first rows."""
        few = slice(self._size)
        options = {} if self.weights is None else {"sample_weight": self.weights[few]}
        return self.X[few], self.y[few], options

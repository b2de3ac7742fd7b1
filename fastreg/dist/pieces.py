"""Which rank owns which part of the parameters: all of them in a row, cut into as many runs.

A tensor is cut only where the optimizers' kernels cut it, at multiples of 16,384 elements, so that
norms are sums over the same pieces on any number of ranks. A rule that looks at whole tensors is
given whole tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastreg._core.types import Array

__all__ = ["GROUP", "PIECE", "Layout", "Run", "runs_of"]

PIECE = 16384  # elements
GROUP = 64  # elements: what an optimizer draws for a tensor begins at a multiple


class Run(NamedTuple):
    """Elements ``start`` to ``stop`` of a tensor, and the rank that owns them."""

    owner: int
    start: int
    stop: int


class Layout:
    """A tensor as a row: its elements in the order in which they lie in memory.

    Examples
    --------
    >>> W = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    >>> layout = Layout("W", W)
    >>> layout.row(W)
    array([0., 3., 1., 4., 2., 5.])
    >>> layout.tensor(layout.row(W)).tolist() == W.tolist()
    True
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int

    def __init__(self, name: str, array: Array) -> None:
        self.shape, self.dtype, self.size = array.shape, array.dtype, array.size
        self._axes = sorted(range(array.ndim), key=lambda k: -abs(array.strides[k]))
        if not self._across(array).flags.c_contiguous:
            raise ValueError(
                f"Trainer.fit: {name} must be contiguous to be trained by several ranks, got "
                f"strides {array.strides} for shape {array.shape}"
            )

    def _across(self, array):
        return array.transpose(self._axes)

    def row(self, array: Array) -> Array:
        """Return an array of the tensor's shape as a row: the same memory if it lies like it."""
        return np.ascontiguousarray(self._across(array)).reshape(-1)

    def tensor(self, row: Array) -> Array:
        """Return a row as a tensor, which lies as the first one did."""
        shape = [self.shape[k] for k in self._axes]
        return row.reshape(shape).transpose(np.argsort(self._axes))


def runs_of(params: Mapping[str, Array], ranks: int, whole: bool) -> dict[str, list[Run]]:
    """Share parameters out among ranks by bytes, in their order.

    Examples
    --------
    >>> params = {"W": np.zeros((200, 200)), "b": np.zeros(200)}
    >>> runs_of(params, 2, whole=False)["W"]
    [Run(owner=0, start=0, stop=16384), Run(owner=1, start=16384, stop=40000)]
    """
    total: Any = sum(array.nbytes for array in params.values()) or 1
    done, found = 0, {}
    for name, array in params.items():
        runs: list[Run] = []
        step = max(1, array.size) if whole else PIECE
        for start in range(0, array.size, step):
            stop = min(start + step, array.size)
            nbytes = (stop - start) * array.itemsize
            owner = min((2 * done + nbytes) * ranks // (2 * total), ranks - 1)  # of its middle
            done += nbytes
            if runs and runs[-1].owner == owner:
                runs[-1] = runs[-1]._replace(stop=stop)
            else:
                runs.append(Run(owner, start, stop))
        found[name] = runs
    return found

"""Rows that are read while a network trains: from files larger than memory, a block at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fastreg._core.checks import flag, integer, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Batches", "Rows", "Source"]


class Source(Protocol):
    """What has rows that can be read by slices.

    ``source[a:b]`` is ``(X, y)`` or ``(X, y, sample_weight)`` of rows a to b - 1: always of the
    same kinds, shapes and dtypes. `Rows` makes one of arrays and data sets on disk.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> tuple[Any, ...]: ...


class Batches(Protocol):
    """What can be iterated over again: each time over the batches of an epoch.

    A batch is ``(X, y)`` or ``(X, y, sample_weight)``.
    """

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...


class Rows:
    """Rows of data sets on disk, read in blocks and mixed, for `fastreg.train.Trainer.fit`.

    Every epoch visits all blocks of consecutive rows in a new order. So many of them as ``window``
    says are held at once, and their rows are mixed before they are cut into batches: what is in
    memory is one window. Rows that all fit in one window are visited in the order in which an array
    would be, and a training on them has the same bits.

    Parameters
    ----------
    X : object with ``len`` and slices
        `numpy.memmap`, an h5py or zarr data set, an array; or a `Source`, without ``y``.
    y, sample_weight : objects with ``len`` and slices
        Targets and weights, as long as X.
    block : int, keyword-only
        Rows that are read together, such as a chunk of the file; by default about 1 MiB of them.
    window : int, keyword-only
        Blocks whose rows are mixed.
    shuffle : bool, keyword-only
        False reads all rows in their order.

    Raises
    ------
    TypeError, ValueError
        If something cannot be sliced, lengths differ, or an argument is bad.

    Examples
    --------
    >>> import numpy as np
    >>> from fastreg import Adam
    >>> from fastreg.nn import mlp, mse
    >>> from fastreg.train import Trainer
    >>> X = np.linspace(0, 1, 1000, dtype=np.float32).reshape(500, 2)  # or np.memmap(...)
    >>> rows = Rows(X, 3 * X[:, 0], block=50, window=2)
    >>> history = Trainer(mlp([2, 1], rng=0), mse, Adam(0.1), rng=0).fit(rows, epochs=20)
    >>> history["loss"][-1] < 0.01
    True
    """

    parts: tuple[Any, ...]
    block: int | None
    window: int
    shuffle: bool

    def __init__(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        block: int | None = None,
        window: int = 32,
        shuffle: bool = True,
    ) -> None:
        self.parts = tuple(one for one in (X, y, sample_weight) if one is not None)
        if X is None or (y is None and sample_weight is not None):
            raise ValueError("Rows: X and y must come together, got only one of them")
        for name, one in zip(("X", "y", "sample_weight"), (X, y, sample_weight), strict=True):
            if one is not None and not sliceable(one):
                raise TypeError(f"Rows: {name} must have len() and slices, got {shown(one)}")
            if one is not None and len(one) != len(X):
                raise ValueError(f"Rows: {name} must have {len(X)} rows, as X, got {len(one)}")
        self.block = None if block is None else integer("Rows", "block", block, low=1)
        self.window = integer("Rows", "window", window, low=1)
        self.shuffle = flag("Rows", "shuffle", shuffle)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: slice) -> Any:
        """Return ``(X, y)`` or ``(X, y, sample_weight)`` of some rows."""
        if len(self.parts) == 1:
            return self.parts[0][rows]
        return tuple(one[rows] for one in self.parts)


def sliceable(value: Any) -> bool:
    """Whether something has a length and can be sliced, as far as can be seen without trying.

    Examples
    --------
    >>> sliceable([1, 2]), sliceable({1: 2}), sliceable("text")
    (True, False, False)
    """
    if isinstance(value, (str, bytes, dict, set, type)):
        return False
    try:
        len(value)
    except Exception:  # foreign code, and arrays without axes
        return False
    return hasattr(value, "__getitem__")

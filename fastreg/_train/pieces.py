"""What a source gives: pieces that are checked one by one, or only some of their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import shown
from fastreg._train.predict import check_table
from fastreg.nn.targets import option_of, weights

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["Part", "Pieces"]


class Part:
    """Some rows of an array of n, from one on, at the places that they have in all of it.

    Examples
    --------
    >>> part = Part(np.array([2, 3, 4]), 2, 10)
    >>> len(part), part[3:5]
    (10, array([3, 4]))
    """

    def __init__(self, rows: Array, start: int, n: int) -> None:
        self._rows, self._start, self._n = rows, start, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: slice) -> Array:
        return self._rows[rows.start - self._start : rows.stop - self._start]


def _are_tables(found: Any) -> bool:
    """Whether all of a piece are arrays of as many rows, of which some can be looked at alone."""
    return (
        len(found) > 1
        and all(isinstance(one, np.ndarray) and one.ndim for one in found)
        and found[0].ndim > 1
        and len({len(one) for one in found}) == 1
    )


class Pieces:
    """Checks what a source gives: each piece by itself, and all against the first.

    ``names`` are those of the source, and what its shapes are called in messages.
    """

    def __init__(self, where: str, run: Any, name: str) -> None:
        self.where, self.run, self.name = where, run, name
        self._kind: Any = None
        self._ignored = option_of(run.loss, "ignore_index")

    def read(
        self, found: Any, place: str, n: int | None = None, rows: Any = None
    ) -> tuple[Array, Any, Any]:
        """Return X in the model's dtype, y, and weights or None; perhaps only of some rows.

        Of what is not an array, all rows are converted first.
        """
        name = f"{self.name}{place}"
        if not isinstance(found, (tuple, list)) or len(found) not in (2, 3):
            raise TypeError(
                f"{self.where}: {name} must be (X, y) or (X, y, sample_weight), got {shown(found)}"
            )
        names = f"X of {name}", f"y of {name}"
        for what, one in zip((*names, f"sample_weight of {name}"), found, strict=False):
            if n is not None and hasattr(one, "__len__") and len(one) != n:
                raise ValueError(f"{self.where}: {what} must have {n} rows, got {len(one)}")
        if rows is not None and _are_tables(found):
            found, rows = [one[rows] for one in found], None
        run = self.run
        X, y = check_table(self.where, names[0], found[0], names[1], found[1], run.model, run.loss)
        given = found[2] if len(found) == 3 else None
        by_row = weights(self.where, f"sample_weight of {name}", given, len(X))
        kind = {"X.shape[1:]": X.shape[1:], "y.shape[1:]": y.shape[1:], "y.dtype": str(y.dtype),
                "sample_weight": by_row is not None}  # fmt: skip
        self._kind = self._kind or kind
        for what, ours in kind.items():
            if ours != self._kind[what]:
                raise ValueError(
                    f"{self.where}: {name} must be like the first rows, whose {what} is "
                    f"{self._kind[what]}, got {ours}"
                )
        if rows is not None:
            return X[rows], y[rows], None if by_row is None else by_row[rows]
        return X, y, by_row

    def part(self, found: Any, place: str, own: Any) -> tuple[Any, Any, None]:
        """Return `Part`s of a batch without weights: the rows from ``own(n)``, converted alone."""
        n = len(found[0]) if isinstance(found, (tuple, list)) and _are_tables(found) else 0
        if not n:
            X, y, _ = self.read(found, place)
            low, high = own(len(X))
            return Part(X[low:high], low, len(X)), Part(y[low:high], low, len(X)), None
        low, high = own(n)
        X, y, _ = self.read(found, place, n, slice(low, max(high, low + 1)))  # a row is checked
        return Part(X, low, n), Part(y, low, n), None

    def counted(self, X: Any, y: Any, by_row: Any) -> Any:
        """Return X, y and the loss's options of the rows that take part, perhaps of none."""
        kept = None if by_row is None else by_row > 0
        if self._ignored is not None and y.ndim == 1:
            kept = (y != self._ignored) & (True if kept is None else kept)
        if kept is not None and not kept.all():
            X, y, by_row = X[kept], y[kept], None if by_row is None else by_row[kept]
        return X, y, {} if by_row is None else {"sample_weight": by_row}

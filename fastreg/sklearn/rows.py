"""The rows of X as batches in the network's dtype: of arrays, memory maps and sparse matrices.

Only batches are ever copied: a memory map of bytes, or a CSR matrix, may be far larger than memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from fastreg.sklearn.versions import validate_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastreg._core.types import Array

__all__ = ["Rows", "as_rows", "checked", "fits_float32"]

FLOATS = (np.float64, np.float32)
CHUNK = 512  # rows that are converted together: they stay in cache
WHOLE = 2048  # rows of an array that are evaluated together


def checked(estimator: Any, X: Any, *y: Any, reset: bool, **how: Any) -> Any:
    """Return X, and y if given, as scikit-learn checks them; a memory map stays where it is."""
    is_map = isinstance(X, np.memmap) and X.dtype.kind in "biuf"
    dtype = None if is_map else FLOATS
    return validate_data(
        estimator, X, *y, accept_sparse=["csr", "csc"], dtype=dtype, reset=reset, **how
    )


def as_rows(X: Any, dtype: Any) -> Rows:
    """Prepare checked data for `Rows.take`; what is not a memory map may be converted at once."""
    if scipy.sparse.issparse(X):
        return Rows(X.tocsr(), dtype)
    kept = isinstance(X, np.memmap) or isinstance(X.base, np.memmap)
    return Rows(X if kept else np.ascontiguousarray(X, dtype), dtype)


def fits_float32(X: Any) -> bool:
    """Whether float32 holds every value of a matrix exactly.

    Examples
    --------
    >>> fits_float32(np.array([[0.5, 255.0]])), fits_float32(np.array([[0.1]]))
    (True, False)
    """
    values = X.data[:, None] if scipy.sparse.issparse(X) else X
    if values.dtype == np.float32 or values.dtype.kind == "b":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return all(
            np.array_equal(values[i : i + CHUNK].astype(np.float32), values[i : i + CHUNK])
            for i in range(0, len(values), CHUNK)
        )


class Rows:
    """Rows of a matrix, some of which are taken at a time as a float matrix.

    Parameters
    ----------
    X : ndarray or CSR matrix
    dtype : float32 or float64
        Of the batches.
    picked : array of int, optional
        The rows that there are; left out, all of X.

    Examples
    --------
    >>> Rows(np.array([[1], [2], [3]]), np.float32, np.array([2, 0])).take(slice(0, 2)).tolist()
    [[3.0], [1.0]]
    """

    X: Any
    dtype: Any
    picked: Any

    def __init__(self, X: Any, dtype: Any, picked: Any = None) -> None:
        self.X, self.dtype, self.picked = X, np.dtype(dtype), picked
        self._room = np.empty((0, X.shape[1]), self.dtype)
        self._plain = isinstance(X, np.ndarray) and X.dtype == self.dtype
        if self._plain:
            self.X = X = np.asarray(X)
        self._quick = self._plain and X.flags.c_contiguous

    @property
    def is_array(self) -> bool:
        """Whether the rows are in memory as they are taken."""
        return self._quick and self.picked is None

    def __len__(self) -> int:
        return self.X.shape[0] if self.picked is None else len(self.picked)

    def only(self, picked: Array) -> Rows:
        """Return some of these rows, without copying them."""
        return Rows(self.X, self.dtype, picked if self.picked is None else self.picked[picked])

    def take(self, which: Any) -> Array:
        """Return rows by their numbers or a slice; the array is overwritten by the next call."""
        if self.picked is not None:
            which = self.picked[which]
        if isinstance(which, slice):
            found = self.X[which]
            if self._quick:
                return found
        elif self._quick:
            if len(which) > len(self._room):
                self._room = np.empty((len(which), self.X.shape[1]), self.dtype)
            # Checked by whoever made the numbers; "clip" lets NumPy write without a copy.
            return self.X.take(which, 0, self._room[: len(which)], "clip")
        else:
            found = self.X[which]
        if not isinstance(found, np.ndarray):
            found = found.toarray()
        return np.ascontiguousarray(found, self.dtype)

    def chunks(self) -> Iterator[Array]:
        """All rows in order, some hundred at a time."""
        size = WHOLE if self.is_array else CHUNK
        for i in range(0, len(self), size):
            yield self.take(slice(i, min(i + size, len(self))))

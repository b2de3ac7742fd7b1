"""What a network consists of, as a table: layers, output shapes, parameters, bytes."""

from __future__ import annotations

import copy
import html
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastreg._core.checks import shown, size
from fastreg._core.layer import Layer
from fastreg._core.spelling import spelled
from fastreg.nn.dense import Dense

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Row", "Summary", "name_of", "of_network"]

HEAD = ("", "layer", "output shape", "parameters", "bytes")
WIDEST = 60  # characters of a layer's name in the table


class Row(NamedTuple):
    """One layer: its place, its name, and what it holds.

    ``output_shape`` begins with None for the number of samples; it is None if nothing tells it.
    ``parameters`` are trained, ``statistics`` (running means and variances) are not; both count
    elements, and ``bytes`` are those of both.
    """

    place: int
    layer: str
    output_shape: tuple[int | None, ...] | None
    parameters: int
    statistics: int
    bytes: int


class Summary:
    """The table that ``model.summary()`` returns: text for `print`, HTML in a notebook.

    Attributes
    ----------
    rows : tuple of Row
        One per layer.
    parameters, statistics, bytes : int
        Sums over the layers.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> table = mlp([4, 8, 2], batch_norm=True, rng=0).summary()
    >>> table.parameters, table.rows[1].output_shape
    (66, (None, 8))
    """

    rows: tuple[Row, ...]
    title: str

    def __init__(self, title: str, rows: Iterable[Row]) -> None:
        self.title, self.rows = title, tuple(rows)

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return sum(row.parameters for row in self.rows)

    @property
    def statistics(self) -> int:
        """Number of values that a forward pass moves: running means and variances."""
        return sum(row.statistics for row in self.rows)

    @property
    def bytes(self) -> int:
        """Memory that parameters and statistics take."""
        return sum(row.bytes for row in self.rows)

    def __str__(self) -> str:
        table = [HEAD, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        left = (False, True, True, False, False)
        lines = [
            "  ".join(
                cell.ljust(width) if to_left else cell.rjust(width)
                for cell, width, to_left in zip(cells, widths, left, strict=True)
            ).rstrip()
            for cells in table
        ]
        rule = "-" * max(map(len, [*lines, self._total()]))
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:], rule, self._total()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in HEAD)
        rows = (
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
            for row in self.rows
        )
        return (
            f"<table><caption>{html.escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody>"
            f'<tfoot><tr><td colspan="{len(HEAD)}">{html.escape(self._total())}</td></tr></tfoot>'
            "</table>"
        )

    def _total(self):
        moved = f", {self.statistics:,} running statistics" if self.statistics else ""
        return f"{self.parameters:,} parameters{moved}, {_memory(self.bytes)}"


def _cells(row):
    shape = "?" if row.output_shape is None else _shape(row.output_shape)
    name = row.layer if len(row.layer) <= WIDEST else row.layer[: WIDEST - 1] + "…"
    return str(row.place), name, shape, f"{row.parameters:,}", f"{row.bytes:,}"


def _shape(shape):
    inner = ", ".join("N" if n is None else str(n) for n in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def _memory(count):
    amount, units = float(count), iter(("bytes", "KB", "MB", "GB"))
    unit = next(units)
    for larger in units:
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count:,} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def name_of(layer: Any) -> str:
    """Return a layer's own ``repr`` in one line, or the call that makes it if it has none."""
    if type(layer).__repr__ is object.__repr__:
        return spelled(layer)
    return " ".join(shown(layer).split())


def of_network(
    model: Any,
    input_shape: Sequence[int] | int | None,
    trained: Iterable[str],
    moved: Iterable[str],
) -> Summary:
    """Return the table of a network's layers.

    ``trained`` and ``moved`` are the names of arrays that are parameters or statistics.
    """
    shape = _input_shape(model, input_shape)
    rows = []
    for place, layer in enumerate(model.layers):
        shape, tried = _after(layer, shape, model.dtype)
        name, holder = name_of(layer), layer
        counts = _counts(holder, trained), _counts(holder, moved)
        if tried is not None and not any(itertools.chain(*counts)):
            counts = _counts(tried, trained), _counts(tried, moved)
            name += " (not built yet)" if any(itertools.chain(*counts)) else ""
        (parameters, one), (statistics, other) = counts
        rows.append(Row(place, name, shape, parameters, statistics, one + other))
    return Summary(type(model).__name__, rows)


def _input_shape(model, given):
    """The shape of the input with None for the samples, or None if nothing tells it."""
    if given is None:
        return None if model.n_in is None or not _keeps_shape_before(model) else (None, model.n_in)
    sizes = given if isinstance(given, (list, tuple)) else (given,)
    if not sizes:
        raise ValueError(f"Sequential.summary: input_shape must be one or more sizes, got {given}")
    return (None, *(size("Sequential.summary", "input_shape", n) for n in sizes))


def _keeps_shape_before(model):
    """Whether the first layer with a width sees the input as it is."""
    for layer in model.layers:
        if hasattr(layer, "W"):
            return True
        if not _keeps_shape(layer):
            return False
    return False


def _keeps_shape(layer):
    module = type(layer).__module__
    ours = isinstance(layer, Layer) and module.startswith("fastreg.")
    return (ours or module.startswith("fastreg.reference.")) and not hasattr(layer, "W")


def _after(layer, shape, dtype):
    """The shape behind a layer, and the copy of it that was tried, if one was.

    The library's layers are known; of others a copy is given one row of zeros in evaluation mode.
    """
    if type(layer) is Dense or (
        type(layer).__name__ == "Dense" and type(layer).__module__.startswith("fastreg.reference.")
    ):
        return (None, layer.W.shape[1]), None
    if _keeps_shape(layer):
        return shape, None
    if shape is None or math.prod(shape[1:]) > 2**24:
        return _by_width(layer), None
    try:
        tried = copy.deepcopy(layer)
        tried.eval()
        found = tried.forward(np.zeros((1, *shape[1:]), dtype or np.float32))
        return (None, *found.shape[1:]), tried
    except Exception:  # foreign code: what it needs is not known
        return _by_width(layer), None


def _by_width(layer):
    """The output's shape of a layer whose weights are a matrix."""
    width = getattr(getattr(layer, "W", None), "shape", ())
    return (None, width[1]) if len(width) == 2 else None


def _counts(layer, names):
    """Elements and bytes of those arrays of a layer that are there."""
    arrays = [np.asarray(array) for array in (getattr(layer, name, None) for name in names)
              if array is not None]  # fmt: skip
    return sum(array.size for array in arrays), sum(array.nbytes for array in arrays)

"""The history of a training run: a dict of columns that can be drawn."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

from fastreg._core.checks import choice, shown

__all__ = ["History"]

LOSSES = ("loss", "val_loss")
#: Columns that say how the run went, not how good the network is.
OF_THE_RUN = (
    "learning_rate",
    "gradient_norm",
    "weight_norm",
    "near_zero",
    "ms_per_step",
    "seconds",
)
COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9")


class History(dict[str, list[Any]]):
    """A dict of lists, one entry per epoch, which can also be drawn; a `Trainer` returns it.

    It is a dict in every way: what `json`, `pickle`, a comparison or ``pandas.DataFrame`` makes of
    a dict, it makes of this.

    Parameters
    ----------
    columns : dict of list, optional
        The columns, by name.
    monitor : str, optional
        The column that says which epoch is best; left out, ``val_loss`` or else ``loss``.
    mode : {"min", "max"}
        Whether less or more of it is better.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind.

    Examples
    --------
    >>> history = History({"loss": [0.9, 0.4, 0.3], "val_loss": [0.8, 0.5, 0.6]})
    >>> history["loss"][-1], history.best_epoch()
    (0.3, 1)
    """

    monitor: str | None
    mode: str

    def __init__(
        self, columns: Mapping[str, list[Any]] | None = None, *, monitor: str | None = None,
        mode: str = "min",
    ) -> None:  # fmt: skip
        if columns is not None and not isinstance(columns, Mapping):
            raise TypeError(f"History: columns must be a dict, got {shown(columns)}")
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"History: monitor must be a str, got {shown(monitor)}")
        self.monitor, self.mode = monitor, choice("History", "mode", mode, ("min", "max"))
        super().__init__(columns or {})

    def best_epoch(self, monitor: str | None = None, mode: str | None = None) -> int | None:
        """Return the first epoch, counted from 0, with the best entry of a column.

        Parameters
        ----------
        monitor : str, optional
            The column; left out, the one that the run watched.
        mode : {"min", "max"}, optional
            Whether less or more is better; left out, as the run saw it, and "min" for a column
            that it did not watch.

        Returns
        -------
        int or None
            None if no entry is finite.

        Raises
        ------
        TypeError, ValueError
            If there is no such column, or the mode is none of the two.
        """
        where = "History.best_epoch"
        name = self._watched(where, monitor)
        if mode is None:
            mode = self.mode if name == self._default() else "min"
        choice(where, "mode", mode, ("min", "max"))
        entries = [(x, epoch) for epoch, x in enumerate(self[name]) if math.isfinite(x)]
        sign = 1 if mode == "min" else -1
        return min(entries, key=lambda entry: sign * entry[0])[1] if entries else None

    def _default(self):
        if self.monitor is not None and self.monitor in self:
            return self.monitor
        return "val_loss" if "val_loss" in self else "loss"

    def _watched(self, where, monitor):
        """The name of the column that says which epoch is best."""
        name = self._default() if monitor is None else monitor
        if not isinstance(name, str) or name not in self:
            error = ValueError if isinstance(name, str) else TypeError
            raise error(f"{where}: monitor must be one of {list(self)}, got {shown(name)}")
        return name

    def plot(self, ax: Any = None, *, monitor: str | None = None, mode: str | None = None) -> Any:
        """Draw losses, metrics and the learning rate against the epochs; mark the best epoch.

        Losses are on the left axis, metrics on the right one, and the learning rate is on an axis
        of its own, logarithmic, at the far right. Solid lines are validation data, dashed ones
        training data.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; left out, a new figure of pyplot's.
        monitor, mode : optional, keyword-only
            What the best epoch is; see `best_epoch`.

        Returns
        -------
        matplotlib Axes
            The one with the losses.

        Raises
        ------
        ImportError
            If there is no ``ax`` and no matplotlib.
        TypeError, ValueError
            If the history has no epoch, ``ax`` is none, or there is no such column to monitor.
        """
        where = "History.plot"
        if not self or not len(next(iter(self.values()))):
            raise ValueError(f"{where}: the history must have an epoch, got none; call fit first")
        watched, best = self._watched(where, monitor), self.best_epoch(monitor, mode)
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError:
                raise ImportError(
                    f"{where}: drawing needs matplotlib, the extra plot; pip install matplotlib"
                ) from None
            ax = pyplot.subplots(layout="constrained")[1]
        elif isinstance(ax, type) or not (hasattr(ax, "plot") and hasattr(ax, "twinx")):
            raise TypeError(f"{where}: ax must be Axes of matplotlib, got {shown(ax)}")
        _draw(self, ax, watched, best)
        return ax

    def _repr_html_(self) -> str:
        """A line per column: its first, last and best entry."""
        head = "".join(f"<th>{cell}</th>" for cell in ("", "first", "last", "least", "most"))
        rows = []
        for name, column in self.items():
            finite = [x for x in column if math.isfinite(x)]
            cells = [*column[:1], *column[-1:], *([min(finite), max(finite)] if finite else [])]
            shown_cells = "".join(f"<td>{x:.5g}</td>" for x in cells)
            rows.append(f"<tr><th>{html.escape(str(name))}</th>{shown_cells}</tr>")
        epochs = max(map(len, self.values()), default=0)
        best = self.best_epoch() if self._default() in self else None
        told = "" if best is None else f"; best {html.escape(self._default())} in epoch {best}"
        return (
            f"<table><caption>{epochs} epochs{told}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>"
        )


def _draw(history, ax, watched, best):
    losses = [name for name in LOSSES if name in history]
    metrics = [name for name in history if name not in (*LOSSES, *OF_THE_RUN)]
    places = [(ax, "loss", losses)]
    if metrics:
        places.append((ax.twinx(), "metric", metrics))
    rate = [x for x in history.get("learning_rate", []) if math.isfinite(x)]
    if rate:
        axis = ax.twinx()
        axis.spines["right"].set_position(("outward", 48 if metrics else 0))
        if min(rate) > 0:
            axis.set_yscale("log")
        places.append((axis, "learning rate", ["learning_rate"]))
    kinds = list(dict.fromkeys(name.removeprefix("val_") for name in (*losses, *metrics)))
    lines = []
    for axis, label, names in places:
        axis.set_ylabel(label)
        for name in names:
            kind = name.removeprefix("val_")
            colour = COLOURS[kinds.index(kind) % len(COLOURS)] if kind in kinds else "0.6"
            style = "--" if f"val_{name}" in history else "-" if kind in kinds else ":"
            epochs = range(len(history[name]))
            lines += axis.plot(epochs, history[name], style, color=colour, label=name)
            if name == watched and best is not None:
                axis.plot([best], [history[name][best]], "o", color=colour)
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    if best is not None:
        told = f"best {watched}: epoch {best}"
        lines.append(ax.axvline(best, color="0.5", linewidth=1, label=told))
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}  # covers no line
    ax.legend(handles=lines, fontsize="small", ncols=math.ceil(len(lines) / 2), **above)

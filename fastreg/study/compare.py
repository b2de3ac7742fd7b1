"""The chapter's comparison of optimizers on Rosenbrock's valley."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastreg._core import checks
from fastreg.optim import SGD, Adam, Momentum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


__all__ = ["compare_optimizers"]


def rosenbrock(x: Any, y: Any) -> Any:
    """Return ``(1 - x)^2 + 100 (y - x^2)^2`` and its two partial derivatives."""
    valley = y - x * x
    return (1 - x) ** 2 + 100 * valley**2, -2 * (1 - x) - 400 * x * valley, 200 * valley


def compare_optimizers(
    *,
    optimizers: Mapping[str, Any] | None = None,
    start: Sequence[float] = (-1.0, 1.0),
    steps: int = 1000,
    verbose: bool = True,
) -> dict[str, list[tuple[float, float, float]]]:
    """Run optimizers on Rosenbrock's function, print where they end, return their paths.

    The minimum, 0, is at (1, 1), behind a long curved valley.

    Parameters
    ----------
    optimizers : dict, keyword-only
        New optimizers, by the name to print; left out, the chapter's: SGD and Momentum with rate
        0.0001 and Adam with rate 0.01.
    start : pair of float, default (-1, 1), keyword-only
        First point.
    steps : int, default 1000, keyword-only
        Updates of each optimizer, at least 0.
    verbose : bool, default True, keyword-only
        Whether to print one line per optimizer.

    Returns
    -------
    histories : dict
        For each name the list of the ``steps + 1`` points visited, ``start`` first, each as
        ``(x, y, loss)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    Rosenbrock, "An automatic method for finding the greatest or least value of a function",
    Computer Journal 3, 1960; the chapter's section on optimizers.

    Examples
    --------
    >>> paths = fastreg.compare_optimizers(optimizers={"Adam": fastreg.Adam(0.1)})
    Adam: Final (x, y) = (1.0000, 1.0000), loss = 0.000000
    >>> len(paths["Adam"]), paths["Adam"][0]
    (1001, (-1.0, 1.0, 4.0))
    """
    where = "compare_optimizers"
    steps = checks.integer(where, "steps", steps, low=0, high=2**53)
    verbose = checks.flag(where, "verbose", verbose)
    start = checks.sequence(where, "start", start, "two numbers")
    start = [checks.number(where, "start", coordinate) for coordinate in start]
    if len(start) != 2:
        raise ValueError(f"{where}: start must be a pair of numbers, got {checks.shown(start)}")
    x, y = start
    if optimizers is None:
        optimizers = {"SGD": SGD(0.0001), "Momentum": Momentum(0.0001), "Adam": Adam(0.01)}
    if not isinstance(optimizers, dict) or any(
        isinstance(rule, type) or not hasattr(rule, "update") for rule in optimizers.values()
    ):
        raise TypeError(
            f"{where}: optimizers must be a dict by name of what has update(), got "
            f"{checks.shown(optimizers)}"
        )
    histories: dict[str, list[tuple[float, float, float]]] = {}
    for name, optimizer in optimizers.items():
        histories[name] = path = list(_descend(optimizer, x, y, steps))
        if verbose:
            x_end, y_end, loss = path[-1]
            print(f"{name}: Final (x, y) = ({x_end:.4f}, {y_end:.4f}), loss = {loss:.6f}")
    return histories


def _descend(optimizer, x, y, steps):
    """Yield the start and the point after every step, each with its loss."""
    params = {"x": x, "y": y}
    loss, dx, dy = rosenbrock(x, y)
    yield x, y, loss
    for _ in range(steps):
        optimizer.update(params, {"x": dx, "y": dy})
        x, y = float(params["x"]), float(params["y"])
        loss, dx, dy = rosenbrock(x, y)
        yield x, y, loss

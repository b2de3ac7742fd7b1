"""The chapter's comparison of optimizers on Rosenbrock's valley."""

import numpy as np

from fastreg import _checks
from fastreg.optim import SGD, Adam, Momentum, RMSprop

__all__ = ["compare_optimizers"]


def rosenbrock(x, y):
    """Return ``(1 - x)^2 + 100 (y - x^2)^2`` and its two partial derivatives."""
    valley = y - x * x
    return (1 - x) ** 2 + 100 * valley**2, -2 * (1 - x) - 400 * x * valley, 200 * valley


def compare_optimizers(optimizers=None, *, start=(-1.0, 1.0), steps=1000, verbose=True):
    """Run optimizers on Rosenbrock's function, print where they end, return their paths.

    The minimum, 0, is at (1, 1), behind a long curved valley.

    Parameters
    ----------
    optimizers : dict, optional
        Fresh optimizers by the name to print; SGD, Momentum, RMSprop and Adam if left out.
    start : pair of float, default (-1, 1)
        First point.
    steps : int, default 1000
        Updates of each optimizer, at least 0.
    verbose : bool, default True
        Whether to print a line an optimizer.

    Returns
    -------
    histories : dict
        For each name an array of shape (steps + 1, 2): the points visited, ``start`` first.

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
    >>> paths = fastreg.compare_optimizers({"Adam": fastreg.Adam(0.1)})
    Adam      (1.0000, 1.0000)  loss 4.93e-12
    >>> paths["Adam"].shape
    (1001, 2)
    """
    where = "compare_optimizers"
    steps = _checks.integer(where, "steps", steps, low=0)
    verbose = _checks.flag(where, "verbose", verbose)
    start = _checks.sequence(where, "start", start, "two numbers")
    first = [_checks.number(where, "start", coordinate) for coordinate in start]
    if len(first) != 2:
        raise ValueError(f"{where}: start must be a pair of numbers, got {_checks.shown(start)}")
    if optimizers is None:
        optimizers = {
            "SGD": SGD(0.001),
            "Momentum": Momentum(0.0005),
            "RMSprop": RMSprop(0.01),
            "Adam": Adam(0.1),
        }
    if not isinstance(optimizers, dict) or any(
        isinstance(rule, type) or not hasattr(rule, "update") for rule in optimizers.values()
    ):
        raise TypeError(
            f"{where}: optimizers must be a dict by name of what has update(), got "
            f"{_checks.shown(optimizers)}"
        )
    histories = {}
    for name, optimizer in optimizers.items():
        params = {"x": first[0], "y": first[1]}
        path = np.empty((steps + 1, 2))
        path[0] = first
        for step in range(steps):
            _, dx, dy = rosenbrock(params["x"], params["y"])
            optimizer.update(params, {"x": dx, "y": dy})
            path[step + 1] = params["x"], params["y"]
        histories[name] = path
        if verbose:
            x, y = path[-1]
            print(f"{name:<9} ({x:.4f}, {y:.4f})  loss {rosenbrock(x, y)[0]:.3g}")
    return histories

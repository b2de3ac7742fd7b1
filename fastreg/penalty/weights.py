"""Weights as penalties take them: one array, or a dict, list or tuple of arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, ValuesView
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core import _kernels
from fastreg._core._kernels import pack, unpack

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = ["dense", "listed", "overwrites", "pack", "sweep", "times_total", "unpack"]


def listed(weights: Any) -> Any:
    """Return a dict's values and what a generator yields as a list, anything else as it is."""
    if isinstance(weights, (np.ndarray, dict, list, tuple)):  # the usual case, and quickly told
        return weights
    return list(weights) if isinstance(weights, (Iterator, ValuesView)) else weights


def dense(where: str, name: str, weights: Any) -> tuple[list[str], list[Array]]:
    """Return the names of the arrays and C-contiguous views or copies of them."""
    keys, arrays = unpack(weights)
    labels = [name if key is None else f"{name}[{key!r}]" for key in keys]
    return labels, _kernels.weights(where, name, keys, arrays)


def sweep(
    where: str,
    name: str,
    weights: Any,
    sums: tuple[str, ...] = (),
    result: str | None = None,
    out: Any = None,
    a: float = 0.0,
    b: float = 0.0,
    number: float = 1.0,
) -> tuple[list[float], Any]:
    """Sum over all arrays and, with ``result``, compute an array from each, in one read."""
    weights = listed(weights)
    if out is not None:
        out = _outputs(where, unpack(weights)[0], weights, out)
    return _kernels.sweep(where, name, weights, sums, result, out, a, b, number)


def _outputs(where, keys, weights, out):
    """Return the arrays of ``out`` in the order of the weights."""
    if not isinstance(weights, (dict, list, tuple)):
        return [out]
    kind = next(kind for kind in (dict, list, tuple) if isinstance(weights, kind))
    if not isinstance(out, kind):
        raise TypeError(
            f"{where}: out must be a {kind.__name__} as the weights are, got {type(out).__name__}"
        )
    names = out.keys() if isinstance(out, dict) else range(len(out))
    if set(names) != set(keys):
        raise ValueError(f"{where}: out must have the entries {keys}, got {list(names)}")
    return [out[key] for key in keys]


def overwrites(where: str, weights: Any, out: Any) -> bool:
    """Whether a result for ``out`` is written into the weights, or may be as they are copied."""
    if out is None:
        return False
    keys, arrays = unpack(weights)
    for array, target in zip(arrays, _outputs(where, keys, weights, out), strict=True):
        both = isinstance(array, np.ndarray) and isinstance(target, np.ndarray)
        if both and (not array.flags.c_contiguous or np.may_share_memory(array, target)):
            return True
    return False


def times_total(where: str, weights: Any, strength: float, total: float, kind: str) -> float:
    """Return ``strength * sum |w|`` or ``strength * sum w^2 / 2``, given the sum as it was found.

    Where the sum has left the range of float64 it is taken again in a unit, a power of two.
    """
    power = 0
    if not 1e-280 < total < math.inf:
        total, power = _in_units(where, weights, total, kind)
    if kind == "squares":
        total, power = 0.5 * total, 2 * power
    if not power:
        return strength * total
    mantissa, more = math.frexp(strength)
    return _scaled(mantissa * total, power + more)


def _in_units(where, weights, total, kind):
    """Return the sum over ``weights / 2^power``, and that power."""
    _, arrays = dense(where, "weights", weights)
    peak = max((float(np.abs(array).max()) for array in arrays if array.size), default=0.0)
    if not 0.0 < peak < math.inf:
        return total, 0
    power = math.frexp(peak)[1]
    with np.errstate(under="ignore"):
        shrunk = [np.ldexp(array.astype(np.float64), -power) for array in arrays]
    return sweep(where, "weights", shrunk, (kind,))[0][0], power


def _scaled(number, power):
    try:
        return math.ldexp(number, power)
    except OverflowError:
        return math.inf

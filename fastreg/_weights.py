"""Weights as they come: one array, or a dict, list or tuple of them."""

from collections.abc import Iterator, ValuesView

from fastreg import _kernels
from fastreg._kernels import pack, unpack

__all__ = ["dense", "listed", "pack", "sweep", "unpack"]


def listed(weights):
    """Return a dict's values and what a generator yields as a list, anything else as it is."""
    return list(weights) if isinstance(weights, (Iterator, ValuesView)) else weights


def dense(where, name, weights):
    """Return the names of the arrays and C-contiguous views or copies of them."""
    keys, arrays = unpack(weights)
    labels = [name if key is None else f"{name}[{key!r}]" for key in keys]
    return labels, _kernels.weights(where, name, keys, arrays)


def sweep(where, name, weights, sums=(), result=None, out=None, a=0.0, b=0.0, number=1.0):
    """Sum over all arrays and, with ``result``, compute one of each: both in one read."""
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
    names = out.keys() if kind is dict else range(len(out))
    if set(names) != set(keys):
        raise ValueError(f"{where}: out must have the entries {keys}, got {list(names)}")
    return [out[key] for key in keys]

"""Weights as they come: one array, or a dict, list or tuple of them."""

from fastreg import _kernels

__all__ = ["dense", "pack", "sweep", "unpack"]


def unpack(weights):
    """Return what errors call each array (None for a single one), and the arrays."""
    if isinstance(weights, dict):
        return list(weights), list(weights.values())
    if isinstance(weights, (list, tuple)):
        return list(range(len(weights))), list(weights)
    return [None], [weights]


def pack(weights, results):
    """Return one result an array in the structure of ``weights``."""
    if isinstance(weights, dict):
        return dict(zip(weights, results, strict=True))
    if isinstance(weights, (list, tuple)):
        return tuple(results) if isinstance(weights, tuple) else results
    return results[0]


def dense(where, name, weights):
    """Return the names of the arrays and C-contiguous views or copies of them."""
    keys, arrays = unpack(weights)
    labels = [name if key is None else f"{name}[{key!r}]" for key in keys]
    return labels, _kernels.weights(where, name, keys, arrays)


def sweep(where, name, weights, sums=(), *, result=None, out=None, **numbers):
    """Sum over all arrays and, with ``result``, compute one of each: both in one read."""
    keys, arrays = unpack(weights)
    outputs = None if out is None else _outputs(where, keys, weights, out)
    sums, results = _kernels.sweep(
        where, name, keys, arrays, sums, result=result, out=outputs, **numbers
    )
    return sums, pack(weights, results) if result else None


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

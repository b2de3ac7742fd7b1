"""The arrays of a network under the keys and in the shapes of torch's state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import shown
from fastreg.export.layers import check_network
from fastreg.export.to_torch import imported

if TYPE_CHECKING:
    from fastreg.nn import Sequential

__all__ = ["load_torch_state", "torch_state"]

NAMES = {
    "W": "weight", "b": "bias", "gamma": "weight", "beta": "bias", "running_mean": "running_mean",
    "running_var": "running_var", "batches": "num_batches_tracked",
}  # fmt: skip


def torch_state(model: Sequential) -> dict[str, Any]:
    """Return a network's arrays as `torch.nn.Sequential` of the same layers names them.

    Weights are transposed, scales and shifts are vectors: ``"0.W"`` of shape (n_in, n_out) is
    ``"0.weight"`` of shape (n_out, n_in). The tensors are copies.

    Parameters
    ----------
    model : Sequential
        It is not changed.

    Raises
    ------
    TypeError
        If it is no network.
    ImportError
        If torch is not installed.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> {key: tuple(value.shape) for key, value in torch_state(mlp([2, 3], rng=0)).items()}
    ... # doctest: +SKIP
    {'0.weight': (3, 2), '0.bias': (3,)}
    """
    check_network("torch_state", model)
    lib = imported("torch_state")
    dtype = model.dtype or np.dtype(np.float32)
    found = {}
    for key, value in _entries(model).items():
        place, _, name = key.rpartition(".")
        array = value if name == "batches" else _turned(name, np.asarray(value, dtype))
        found[f"{place}.{NAMES[name]}"] = lib.tensor(array)
    return found


def load_torch_state(model: Sequential, state: Mapping[str, Any]) -> None:
    """Give a network the parameters of a torch ``state_dict``; nothing changes unless all fit.

    Parameters
    ----------
    model : Sequential
        Of the same layers in the same places.
    state : dict of str to tensor
        What ``state_dict()`` of a `torch.nn.Sequential` returned; arrays in place of tensors will
        do.

    Raises
    ------
    TypeError
        If the model is no network, or the state no dict of tensors.
    ValueError
        If a name or a shape does not fit; the message lists all differences.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> model = mlp([2, 1], rng=0)
    >>> load_torch_state(model, {"0.weight": np.ones((1, 2)), "0.bias": np.zeros(1)})
    >>> model.params["0.W"].tolist()
    [[1.0], [1.0]]
    """
    where = "load_torch_state"
    check_network(where, model)
    if not isinstance(state, Mapping):
        raise TypeError(f"{where}: state must be a dict of tensors, got {shown(state)}")
    entries, lines = _entries(model), []
    taken: dict[str, Any] = {}
    keys = {f"{key.rpartition('.')[0]}.{NAMES[key.rpartition('.')[2]]}": key for key in entries}
    lines += [f"{name} is missing" for name in keys if name not in state]
    lines += [
        f"{name} is not in the network"
        for name in state
        if name not in keys and not str(name).endswith(".num_batches_tracked")
    ]
    for name, key in keys.items():
        if name not in state:
            continue
        value = _read(state[name])
        if value.dtype.kind not in "fiu":
            raise TypeError(f"{where}: state[{name!r}] must be numbers, got {shown(state[name])}")
        ours, last = entries[key], key.rpartition(".")[2]
        if last == "batches":
            if value.dtype.kind not in "iu" or value.size != 1 or value.min() < 0:
                lines.append(f"{name} must be one integer of at least 0, got {shown(state[name])}")
            else:
                taken[key] = int(value.item())
            continue
        wanted = _turned(last, ours).shape
        if value.shape != wanted:
            lines.append(f"{name} has shape {value.shape}, not {wanted}")
            continue
        value = value.T if last == "W" else value
        taken[key] = np.ascontiguousarray(value, ours.dtype).reshape(ours.shape)
    if lines:
        raise ValueError(f"{where}: state must fit the network; " + "; ".join(lines))
    model.load_state_dict({**model.state_dict(), **taken})


def _read(value):
    """A tensor as an array; those of dtypes that NumPy lacks in float32."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().to_dense().cpu()
    narrow = value.is_floating_point() and value.element_size() < 4
    return (value.float() if narrow else value).numpy()


def _entries(model):
    """What has a name in torch, by our key."""
    return {
        key: value for key, value in model.state_dict().items() if key.rpartition(".")[2] in NAMES
    }


def _turned(name, array):
    """An array in the shape in which torch has it."""
    if name == "W":
        return np.ascontiguousarray(array.T)
    return array.ravel() if array.ndim == 2 and len(array) == 1 else array

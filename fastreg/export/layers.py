"""What there is to know of a network and its layers before they become something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastreg._core.checks import shown
from fastreg.nn import Sequential

if TYPE_CHECKING:
    from fastreg._core.types import Array

__all__ = [
    "check_forward",
    "check_network",
    "dtype_of",
    "kind_of",
    "parameter",
    "quiet_scale",
]

#: Noise that inference does not have; `quiet_scale` says which one scales instead.
NOISE = ("Dropout", "SpatialDropout", "StochasticDepth", "AlphaDropout", "GaussianDropout")


def check_network(where: str, model: Any) -> None:
    """Refuse anything but a network.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> check_network("npz", mlp([2, 2], rng=0))
    """
    if not isinstance(model, Sequential):
        raise TypeError(
            f"{where}: model must be a fastreg.nn.Sequential, got {shown(model)}; a fitted "
            "estimator has its network as network_"
        )


def check_forward(where: str, model: Sequential) -> None:
    """Refuse a network that is not just its layers one after another.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> check_forward("onnx", mlp([2, 2], rng=0))
    """
    if type(model).forward is not Sequential.forward:
        raise TypeError(
            f"{where}: model must be its layers one after another, and {type(model).__name__} has "
            "a forward of its own"
        )


def kind_of(layer: Any) -> str | None:
    """Return the name of the layer's class if it is fastreg's or its twin, or None.

    Examples
    --------
    >>> from fastreg.nn import ReLU
    >>> kind_of(ReLU())
    'ReLU'
    """
    kind = type(layer)
    return kind.__name__ if kind.__module__.partition(".")[0] == "fastreg" else None


def quiet_scale(layer: Any) -> float | None:
    """Return what a layer of noise multiplies by in inference, or None if it is no such layer.

    Examples
    --------
    >>> from fastreg import Dropout
    >>> quiet_scale(Dropout(0.25)), quiet_scale(Dropout(0.25, inverted=False))
    (1.0, 0.75)
    """
    if kind_of(layer) not in NOISE:
        return None
    return 1.0 if getattr(layer, "_inverted", True) else 1.0 - layer.drop_rate


def dtype_of(model: Sequential) -> Any:
    """Return the dtype of a network's inputs, float32 if no layer says.

    Examples
    --------
    >>> from fastreg.nn import mlp
    >>> dtype_of(mlp([2, 2], dtype="float64", rng=0))
    dtype('float64')
    """
    return model.dtype or np.dtype(np.float32)


def parameter(layer: Any, name: str, default: float, n: int) -> Array:
    """Return a layer's vector in float64, or one of a default where the layer has none.

    Examples
    --------
    >>> from fastreg import LayerNorm
    >>> parameter(LayerNorm(2, affine=False), "gamma", 1.0, 2)
    array([1., 1.])
    """
    value = getattr(layer, name, None)
    return np.full(n, default) if value is None else np.asarray(value, np.float64).ravel()

"""Networks as torch's modules, and torch's modules as networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import fastreg
from fastreg import nn
from fastreg._core.checks import shown
from fastreg.export.layers import check_forward, check_network, dtype_of, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch as _torch

__all__ = ["from_torch", "torch"]

HINT = "fastreg.export.torch knows dense layers, activations, norms and plain dropout"


def imported(where: str) -> Any:
    """Return the module torch, or say what is missing.

    Examples
    --------
    >>> imported("torch").__name__  # doctest: +SKIP
    'torch'
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"fastreg.export.{where} needs torch; install fastreg[torch]") from error
    return torch


def torch(model: nn.Sequential) -> _torch.nn.Sequential:
    """Return the same network as a `torch.nn.Sequential`, one module for each layer.

    In evaluation mode its outputs are the network's up to rounding. Parameters are copies, in the
    network's dtype; modules are in the modes of their layers. In training, dropout draws other
    masks, and torch's batch norm averages unbiased variances (``unbiased_running_var``).

    Parameters
    ----------
    model : Sequential
        Of `Dense`, activations, `BatchNorm`, `LayerNorm`, `RMSNorm`, `GroupNorm`, `Dropout` and
        `AlphaDropout`. It is not changed.

    Returns
    -------
    torch.nn.Sequential
        With ``state_dict()`` keys such as ``"0.weight"``.

    Raises
    ------
    TypeError
        If it is no network, or a layer has no equal in torch; the message names it.
    ImportError
        If torch is not installed.

    Examples
    --------
    >>> import fastreg.export
    >>> fastreg.export.torch(nn.mlp([2, 3, 1], rng=0))  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=1, bias=True)
    )
    """
    check_network("torch", model)
    check_forward("torch", model)
    lib, dtype = imported("torch"), dtype_of(model)
    modules = []
    for name, layer in enumerate(model.layers):
        kind = kind_of(layer)
        if kind not in TO_TORCH:
            raise TypeError(f"torch: layer {name} has no equal in torch, {shown(layer)}; {HINT}")
        try:
            module = TO_TORCH[kind](lib, layer)
        except _NoEqualError as error:
            raise TypeError(
                f"torch: layer {name}, a {kind}, has no equal in torch: {error}"
            ) from None
        module.to(getattr(lib, dtype.name)).train(layer.training)
        modules.append(module)
    result = lib.nn.Sequential(*modules)
    result.training = model.training
    return result


class _NoEqualError(Exception):
    """Settings that torch's module does not have."""


def _linear(lib, layer):
    n_in, n_out = layer.W.shape
    module = lib.nn.utils.skip_init(lib.nn.Linear, n_in, n_out, bias=layer.b is not None,
                                    dtype=getattr(lib, layer.W.dtype.name))  # fmt: skip
    return _filled(lib, module, weight=layer.W.T, bias=layer.b)


def _filled(lib, module, **arrays):
    """The module, with copies of these arrays as its parameters and buffers."""
    module.double()  # until all modules get the network's dtype
    with lib.no_grad():
        for name, array in arrays.items():
            if array is not None:
                target = getattr(module, name)
                target.copy_(lib.tensor(np.ascontiguousarray(array)).reshape(target.shape))
    return module


def _width(layer):
    """The number of a norm's channels."""
    kept = layer.running_mean if getattr(layer, "running_mean", None) is not None else layer.gamma
    return layer.n_features if kept is None else kept.size


def _shape(layer):
    """The shape of a norm's rows."""
    if layer.gamma is not None:
        return layer.gamma.shape
    return layer.n_features if isinstance(layer.n_features, int) else tuple(layer.n_features)


def _batch_norm(lib, layer):
    module = lib.nn.BatchNorm1d(
        _width(layer), eps=layer.epsilon, affine=layer.affine,
        momentum=None if layer.momentum is None else 1.0 - layer.momentum,
        track_running_stats=layer.track_running_stats,
    )  # fmt: skip
    _filled(lib, module, weight=layer.gamma, bias=layer.beta,
            running_mean=layer.running_mean, running_var=layer.running_var)  # fmt: skip
    if layer.track_running_stats:
        module.num_batches_tracked.fill_(layer.batches)
    return module


def _row_norm(name):
    def make(lib, layer):
        kind = getattr(lib.nn, name)
        module = kind(_shape(layer), eps=layer.epsilon, elementwise_affine=layer.affine)
        return _filled(lib, module, weight=layer.gamma, bias=getattr(layer, "beta", None))

    return make


def _group_norm(lib, layer):
    module = lib.nn.GroupNorm(layer.n_groups, _width(layer), layer.epsilon, layer.affine)
    return _filled(lib, module, weight=layer.gamma, bias=layer.beta)


def _dropout(lib, layer):
    if not getattr(layer, "_inverted", True):
        raise _NoEqualError("inverted must be True")
    if getattr(layer, "_noise_shape", None) is not None:
        raise _NoEqualError("noise_shape must be None")
    return lib.nn.Dropout(layer.drop_rate)


TO_TORCH: dict[Any, Callable[..., Any]] = {
    "Dense": _linear,
    "BatchNorm": _batch_norm,
    "LayerNorm": _row_norm("LayerNorm"),
    "RMSNorm": _row_norm("RMSNorm"),
    "GroupNorm": _group_norm,
    "Dropout": _dropout,
    "AlphaDropout": lambda lib, layer: lib.nn.AlphaDropout(layer.drop_rate),
    "ReLU": lambda lib, layer: lib.nn.ReLU(),
    "LeakyReLU": lambda lib, layer: lib.nn.LeakyReLU(layer.slope),
    "Tanh": lambda lib, layer: lib.nn.Tanh(),
    "Sigmoid": lambda lib, layer: lib.nn.Sigmoid(),
    "GELU": lambda lib, layer: lib.nn.GELU("none" if layer.exact else "tanh"),
}


def from_torch(module: _torch.nn.Module) -> nn.Sequential:
    """Return a torch module as a network, one layer for each module.

    In evaluation mode its outputs are the module's up to rounding. Parameters are copies; layers
    are in the modes of their modules. `Sequential` modules inside are joined into one network, and
    `Identity` is left out.

    Parameters
    ----------
    module : torch.nn.Module
        A `torch.nn.Sequential` of ``Linear``, ``ReLU``, ``LeakyReLU``, ``Tanh``, ``Sigmoid``,
        ``GELU``, ``BatchNorm1d``, ``LayerNorm``, ``RMSNorm``, ``GroupNorm``, ``Dropout`` and
        ``AlphaDropout``, or one of these; `fastreg.torch.accelerate` may have been there. It is
        not changed.

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError
        If it is no module, or a module has no equal in fastreg, such as one with hooks on its
        forward pass; the message names it.
    ValueError
        Parameters that are not float32 or float64, or used twice.
    ImportError
        If torch is not installed.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU())  # doctest: +SKIP
    >>> from_torch(module).forward(np.zeros((2, 4), np.float32)).shape  # doctest: +SKIP
    (2, 3)
    """
    lib = imported("from_torch")
    if not isinstance(module, lib.nn.Module):
        raise TypeError(f"from_torch: module must be a torch.nn.Module, got {shown(module)}")
    for name, one in module.named_modules():
        if one._forward_pre_hooks or one._forward_hooks:
            raise TypeError(
                f"from_torch: {f'module {name}' if name else 'the module'} has no equal in "
                "fastreg, it has hooks that may change what it does; remove them first"
            )
    floats = lib.float32, lib.float64
    layers: list[Any] = []
    seen: set[int] = set()
    for name, one in _modules(lib, module, ""):
        kind = _known(one)
        if kind == "Identity":
            continue
        place = f"module {name}" if name else "the module"
        if kind not in FROM_TORCH:
            raise TypeError(
                f"from_torch: {place} has no equal in fastreg, a {type(one).__name__}; from_torch "
                f"knows Sequential, Identity, {', '.join(FROM_TORCH)}"
            )
        tensors = [*one.parameters(), *one.buffers()]
        for tensor in tensors:
            if tensor.is_meta or tensor.is_floating_point() and tensor.dtype not in floats:
                raise ValueError(
                    f"from_torch: {place} must be of float32 or float64, got "
                    f"{'no data' if tensor.is_meta else tensor.dtype}"
                )
        if any(id(tensor) in seen for tensor in tensors):
            raise ValueError(
                f"from_torch: {place} is used twice, or has parameters of another module, and a "
                "layer cannot share weights"
            )
        seen.update(map(id, tensors))
        try:
            layer = FROM_TORCH[kind](one)
        except (_NoEqualError, ValueError) as error:
            raise TypeError(
                f"from_torch: {place}, a {kind}, has no equal in fastreg: {error}"
            ) from None
        layers.append((layer, one.training))
    if not layers:
        raise TypeError(f"from_torch: module must have a layer, got {shown(module)}")
    network = nn.Sequential([layer for layer, _ in layers])
    if not module.training:
        network.eval()
    for layer, training in layers:
        layer.train() if training else layer.eval()
    return network


def _modules(lib, module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The modules in the order in which they are applied."""
    if type(module) is lib.nn.Sequential:
        for key, child in module._modules.items():  # also those that come twice
            yield from _modules(lib, child, f"{name}.{key}" if name else key)
    else:
        yield name, module


def _known(module):
    """The name of a class of torch's, or of what `fastreg.torch` made of it."""
    kind = type(module)
    ours = kind.__module__.startswith(("torch.nn.modules.", "fastreg.torch."))
    return kind.__name__ if ours else None


def _array(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().cpu().numpy().copy()


def _given(layer, **arrays):
    """The layer with these arrays in place of its own."""
    for name, tensor in arrays.items():
        if tensor is not None:
            like = getattr(layer, name)
            setattr(layer, name, _array(tensor).reshape(like.shape))
    return layer


def _dense(module):
    weight = _array(module.weight)
    layer = nn.Dense(1, 1, rng=0, dtype=weight.dtype, bias=module.bias is not None)
    layer.W, layer.b = np.ascontiguousarray(weight.T), _array(module.bias)
    return layer


def _from_batch_norm(module):
    layer = fastreg.BatchNorm(
        module.num_features,
        momentum=None if module.momentum is None else 1.0 - module.momentum,
        epsilon=module.eps,
        affine=module.affine,
        track_running_stats=module.track_running_stats,
        unbiased_running_var=True,
    )
    _given(layer, gamma=module.weight, beta=module.bias,
           running_mean=module.running_mean, running_var=module.running_var)  # fmt: skip
    if module.num_batches_tracked is not None:
        layer.batches = int(module.num_batches_tracked)
    return layer


def _from_layer_norm(module):
    affine = module.weight is not None
    layer = fastreg.LayerNorm(tuple(module.normalized_shape), module.eps, affine=affine)
    return _given(layer, gamma=module.weight, beta=module.bias)


def _from_rms_norm(module):
    affine = module.weight is not None
    epsilon = module.eps
    if epsilon is None:  # torch then takes that of the input's dtype
        dtype = np.float32 if module.weight is None else _array(module.weight).dtype
        epsilon = float(np.finfo(dtype).eps)
    layer = fastreg.RMSNorm(tuple(module.normalized_shape), epsilon, affine=affine)
    return _given(layer, gamma=module.weight)


def _from_group_norm(module):
    affine = module.weight is not None
    layer = fastreg.GroupNorm(module.num_groups, module.num_channels, module.eps, affine=affine)
    return _given(layer, gamma=module.weight, beta=module.bias)


FROM_TORCH: dict[Any, Callable[..., Any]] = {
    "Linear": _dense,
    "BatchNorm1d": _from_batch_norm,
    "LayerNorm": _from_layer_norm,
    "RMSNorm": _from_rms_norm,
    "GroupNorm": _from_group_norm,
    "Dropout": lambda module: fastreg.Dropout(module.p),
    "AlphaDropout": lambda module: fastreg.AlphaDropout(module.p),
    "ReLU": lambda module: nn.ReLU(),
    "LeakyReLU": lambda module: nn.LeakyReLU(module.negative_slope),
    "Tanh": lambda module: nn.Tanh(),
    "Sigmoid": lambda module: nn.Sigmoid(),
    "GELU": lambda module: nn.GELU(exact=module.approximate == "none"),
}

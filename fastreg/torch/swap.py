"""Exchange a model's modules in place for those of fastreg, and back."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from fastreg.torch import dropout, norm

__all__ = ["Accelerated", "accelerate", "restore"]

#: torch's class: ours, of the same state.
OURS: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    getattr(torch.nn, name): getattr(module, name)
    for module in (dropout, norm)
    for name in module.__all__
    if hasattr(torch.nn, name)
}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}
WORDS = ("Norm", "Dropout", "MultiheadAttention", "RNN", "LSTM", "GRU")


@dataclass(frozen=True)
class Accelerated:
    """What :func:`accelerate` did.

    Attributes
    ----------
    swapped : dict
        The class of each module that has been exchanged, by the module's name.
    left : dict
        Why a dropout or norm has been left as it was, by the module's name.
    """

    swapped: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{name or 'the model'}: {kind}, exchanged" for name, kind in self.swapped.items()]
        lines += [f"{name or 'the model'}: left, {why}" for name, why in self.left.items()]
        return "\n".join(lines) or "no dropout and no norm found"


def accelerate(model: torch.nn.Module) -> Accelerated:
    """Exchange a model's dropouts and norms for those of :mod:`fastreg.torch`, in place.

    Modules stay the objects they are, with their parameters, buffers, hooks and mode: only their
    class changes. So an optimizer made before still knows the parameters, and a ``state_dict``
    fits before and after.

    Parameters
    ----------
    model : torch.nn.Module
        May itself be a dropout or a norm.

    Returns
    -------
    Accelerated
        Which modules were exchanged, and which were left, and why.

    Raises
    ------
    TypeError
        If the model is not a module.

    Examples
    --------
    >>> import torch, fastreg.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    >>> print(fastreg.torch.accelerate(model))
    1: LayerNorm, exchanged
    >>> fastreg.torch.restore(model)
    >>> type(model[1]) is torch.nn.LayerNorm
    True
    """
    done = Accelerated()
    for name, module in _modules("accelerate", model):
        kind = type(module)
        if kind in THEIRS or kind.__module__.startswith("fastreg."):
            continue
        why = _obstacle(module)
        if why is None:
            done.swapped[name] = kind.__name__
            module.__class__ = OURS[kind]
        elif isinstance(module, tuple(OURS)) or any(word in kind.__name__ for word in WORDS):
            done.left[name] = why
    return done


def restore(model: torch.nn.Module) -> None:
    """Undo :func:`accelerate`: give every module its torch class again.

    Parameters
    ----------
    model : torch.nn.Module
        Modules that were made of this package's classes become torch's, too.

    Raises
    ------
    TypeError
        If the model is not a module.
    """
    for _, module in _modules("restore", model):
        if type(module) in THEIRS:
            module.__class__ = THEIRS[type(module)]


def _modules(where, model):
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"{where}: model must be a torch.nn.Module, got {type(model).__name__}")
    return list(model.named_modules())


def _obstacle(module):
    """Why a module cannot be exchanged; None if it can."""
    kind = type(module)
    if kind not in OURS:
        if isinstance(module, tuple(OURS)):
            return f"{kind.__name__} is a class of its own"
        if "Norm" in kind.__name__ or "Dropout" in kind.__name__:
            return f"fastreg has no {kind.__name__}"
        return f"{kind.__name__} does its own dropout"
    if getattr(module, "inplace", False):
        return "inplace=True needs torch's own computation"
    if getattr(module, "running_mean", None) is not None and "Instance" in kind.__name__:
        return "instance norm with running statistics is torch's own"
    for p in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        if p.is_floating_point() and (
            p.device.type != "cpu" or p.dtype not in (torch.float32, torch.float64)
        ):
            return f"its parameters are {p.dtype} on {p.device}"
    return None

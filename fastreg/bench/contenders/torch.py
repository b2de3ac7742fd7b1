"""What torch does: eager, its lists of tensors, its fused kernels, and what it compiles."""

from __future__ import annotations

import inspect
import itertools
import os
from typing import Any

import numpy as np
import torch

from fastreg.bench.contenders import MissingError
from fastreg.bench.problems import dropout as noise
from fastreg.bench.problems import layer as layers
from fastreg.bench.problems import step as steps
from fastreg.bench.problems import update as updates

__all__ = ["NAME", "dropout", "given", "layer", "loss", "penalty", "product", "step", "update"]

NAME = "torch"
torch.set_num_threads(int(os.environ.get("FASTREG_BENCH_THREADS", "1")))
functional = torch.nn.functional
RENAMED: dict[str, tuple[str, dict[str, float]]] = {
    "AdaGrad": ("Adagrad", {}), "Momentum": ("SGD", {"momentum": 0.9}),
    "RMSprop": ("RMSprop", {"alpha": 0.9}),
}  # fmt: skip


def given(form: str) -> dict[str, Any]:
    """Say what takes part."""
    return {
        "library": f"torch {torch.__version__}",
        "form": form,
        "threads": torch.get_num_threads(),
    }


def compiled(call: Any, form: str) -> Any:
    """Let torch compile a function where that is the form."""
    return torch.compile(call, mode="max-autotune-no-cudagraphs") if form == "compiled" else call


def tensors(params: Any, grads: Any) -> list[Any]:
    """Return torch parameters with gradients."""
    found = [torch.from_numpy(array).requires_grad_() for array in params.values()]
    for tensor, grad in zip(found, grads.values(), strict=True):
        tensor.grad = torch.from_numpy(grad)
    return found


def optimizer(name: str, form: str, params: Any, rate: float) -> Any:
    """Return the optimizer of this name in one of its forms."""
    name, options = RENAMED.get(name, (name, {}))
    cls = getattr(torch.optim, name, None)
    if cls is None:
        raise MissingError(f"torch has no {name}")
    if form == "fused":
        if "fused" not in inspect.signature(cls).parameters:
            raise MissingError(f"torch has no fused {name}")
        options = options | {"fused": True}
    else:
        options = options | {"foreach": form in ("foreach", "compiled") and len(params) > 1}
    return cls(params, lr=rate, **options)


def rate_of(rule: Any, p: Any) -> Any:
    """Return the rate of each element of an Adam, in whose metric a proximal step is taken."""
    state = rule.state[p]
    group = rule.param_groups[0]
    moment = state["exp_avg_sq"] / (1 - group["betas"][1] ** state["step"])
    return group["lr"] / (moment.sqrt_() + group["eps"])


def update(work: Any, arrays: Any, form: str) -> Any:
    """Step an optimizer; services are what one calls around it."""
    params = tensors(*arrays)
    served = work.form == "prox+decay+clip+EMA"
    rule = optimizer(work.name, form, params, updates.RATE)
    averages = [p.detach().clone() for p in params] if served else []

    @torch.no_grad()
    def step():
        if work.form == "clip_norm":
            torch.nn.utils.clip_grad_norm_(params, 1.0)
        elif served:
            torch.nn.utils.clip_grad_value_(params, 1.0)
        rule.step()
        for p, average in zip(params, averages, strict=False):
            p.copy_(p.sign() * (p.abs() - 1e-3 * rate_of(rule, p)).clamp_(min=0))
            average.lerp_(p, 0.01)

    call = compiled(step if work.form else rule.step, form)
    return call, lambda _: [p.detach().numpy() for p in params]


def passes(function: Any, inputs: Any, dy: Any, work: Any) -> Any:
    """Return the call of the forward pass, or of both, and the results as arrays."""
    x = inputs[0]
    if work.form != "forward+backward":
        return lambda: function(x), lambda y: [y.detach().numpy()]

    def call():
        for one in inputs:
            one.grad = None
        y = function(x)
        y.backward(dy)
        return y

    return call, lambda y: [y.detach().numpy(), x.grad.numpy()]


def layer(work: Any, arrays: Any, form: str) -> Any:
    """Go through a module, through autograd; forward alone keeps what a backward pass needs."""
    x, dy, *weights = (torch.from_numpy(array) for array in arrays)
    dtype, made = x.dtype, layers.arguments(work)
    x = x.requires_grad_(work.form == "forward+backward")
    name = work.name
    module: Any
    if name == "GELU":
        module = torch.nn.GELU(approximate="tanh")
    elif name == "Dense":
        module = torch.nn.Linear(*made, dtype=dtype)
        with torch.no_grad():
            module.weight.copy_(weights[0].T)
            module.bias.zero_()
    elif name in layers.NORMS:
        name = {"BatchNorm": "BatchNorm1d", "InstanceNorm": "InstanceNorm1d"}.get(name, name)
        if x.ndim == 4:
            name = name.replace("1d", "2d")
        module = getattr(torch.nn, name)(*made, eps=1e-5, dtype=dtype)
    else:
        module = getattr(torch.nn, name)()
    return passes(compiled(module, form), [x, *module.parameters()], dy, work)


def dropout(work: Any, arrays: Any, form: str) -> Any:
    """Drop in training."""
    (x,) = (torch.from_numpy(array) for array in arrays)
    names = {"SpatialDropout": "Dropout1d", "DropConnect": "Dropout"}
    name = names.get(work.name, work.name)
    if not hasattr(torch.nn, name):
        raise MissingError(f"torch has no {name}")
    return passes(compiled(getattr(torch.nn, name)(noise.RATE), form), [x], None, work)


LOSSES = {
    "softmax_cross_entropy": functional.cross_entropy,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
    "poisson": functional.poisson_nll_loss,
}


def loss(work: Any, arrays: Any, form: str) -> Any:
    """Compute a loss and its gradient through autograd."""
    if work.name not in LOSSES:
        raise MissingError(f"torch has no {work.name}")
    outputs, targets = (torch.from_numpy(array) for array in arrays)
    slopes: Any = outputs
    outputs.requires_grad_()
    function = compiled(LOSSES[work.name], form)

    def call():
        outputs.grad = None
        value = function(outputs, targets)
        value.backward()
        return value

    return call, lambda value: [value.item(), slopes.grad.numpy()]


PENALTIES: dict[str, Any] = {
    "l1_regularization_loss": lambda ws: 0.01 * sum(w.abs().sum() for w in ws),
    "l2_regularization_loss": lambda ws: 0.005 * sum(w.square().sum() for w in ws),
    "l1_gradient": lambda ws: [0.01 * w.sign() for w in ws],
    "l2_gradient": lambda ws: [0.01 * w for w in ws],
    "soft_threshold": lambda ws: [functional.softshrink(w, 0.01) for w in ws],
    "max_norm": lambda ws: [torch.renorm(w, 2, 1, 100.0) for w in ws],
    "unit_norm": lambda ws: [functional.normalize(w, dim=0) for w in ws],
}


def penalty(work: Any, arrays: Any, form: str) -> Any:
    """Compute a penalty as one writes it."""
    if work.name not in PENALTIES:
        raise MissingError(f"torch has no {work.name}")
    weights = [torch.from_numpy(array) for array in arrays]
    function = compiled(PENALTIES[work.name], form)

    def read(found):
        return [found.item()] if isinstance(found, torch.Tensor) else [w.numpy() for w in found]

    return lambda: function(weights), read


def product(work: Any, arrays: Any, form: str) -> Any:
    """Multiply into a tensor that is there."""
    a, b = (torch.from_numpy(np.asarray(side)) for side in arrays)
    out = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
    return lambda: torch.mm(a, b, out=out), lambda _: [out.numpy()]


def step(work: Any, arrays: Any, form: str) -> Any:
    """Take a step of the same network through autograd."""
    _, sizes, batch_norm, drop, rate = steps.plan(work)
    X, y, weights = arrays
    dtype, made = torch.from_numpy(X).dtype, []
    for W in weights:
        linear: Any = torch.nn.Linear(*W.shape, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W).T)
            linear.bias.zero_()
        made.append(linear)
    chain = []
    for linear, n in itertools.zip_longest(made[:-1], sizes[1:-1]):
        if batch_norm:
            linear.bias = None
        chain += [linear, *[torch.nn.BatchNorm1d(n, dtype=dtype)] * batch_norm, torch.nn.ReLU()]
        chain += [torch.nn.Dropout(drop)] if drop else []
    model = torch.nn.Sequential(*chain, made[-1])
    rule = optimizer("AdamW", "fused", list(model.parameters()), rate)
    criterion = torch.nn.CrossEntropyLoss()
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    forward = compiled(lambda: criterion(model(inputs), targets), form)

    def call():
        rule.zero_grad()
        forward().backward()
        rule.step()

    return call, lambda _: [linear.weight.detach().numpy().T for linear in made]

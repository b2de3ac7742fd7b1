"""The same work done by PyTorch where it is installed, as calls without arguments.

Each function returns ``{backend: call}``: "torch eager" is what one writes first, "torch fused"
and "torch out" are torch's best forms, and allocator.py makes "torch kept" of an eager one. A
form that torch lacks is left out, and so are all of them where there is no torch.
"""

import inspect
import itertools

import numpy as np

import fastreg

try:
    import torch
except ModuleNotFoundError:
    torch = None
else:
    torch.set_num_threads(fastreg.get_num_threads())

# Optimizers that torch has under another name, with the arguments that make them ours.
RENAMED = {"AdaGrad": ("Adagrad", {}), "Momentum": ("SGD", {"momentum": 0.9})}


def version():
    """Say which torch takes part."""
    return f"torch {torch.__version__}" if torch else "torch not installed"


def if_installed(backends):
    """Replace a function of this file where torch is missing."""
    return backends if torch else lambda *_: {}


@if_installed
def optimizer(rule, params, grads):
    """Step torch's optimizer of this name on copies of the parameters."""
    name, options = RENAMED.get(rule, (rule, {}))
    cls = getattr(torch.optim, name, None)
    if cls is None:
        return {}
    # The loop over tensors is the default on CPU; for many tensors the list form is faster.
    forms = {"torch eager": {"foreach": len(params) > 1}}
    if "fused" in inspect.signature(cls).parameters:
        forms["torch fused"] = {"fused": True}
    return {
        form: cls(copies(params, grads), **options, **chosen).step for form, chosen in forms.items()
    }


def copies(params, grads):
    """Make torch parameters that hold their gradients."""
    tensors = [torch.from_numpy(param.copy()).requires_grad_() for param in params]
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = torch.from_numpy(grad)
    return tensors


@if_installed
def served_adam(param, grad):
    """Do clipping, a fused AdamW step, soft thresholding and averaging one after another."""
    (tensor,) = copies([param], [grad])
    average = tensor.detach().clone()
    step = torch.optim.AdamW([tensor], fused=True).step

    @torch.no_grad()
    def served():
        torch.nn.utils.clip_grad_value_([tensor], 1.0)
        step()
        tensor.copy_(torch.nn.functional.softshrink(tensor, 1e-6))
        average.lerp_(tensor, 0.01)

    return {"torch eager": served}


@if_installed
def clipped_adam(param, grad):
    """Clip the norm, then step."""
    (tensor,) = copies([param], [grad.copy()])
    step = torch.optim.Adam([tensor], fused=True).step

    def clipped():
        torch.nn.utils.clip_grad_norm_([tensor], 1.0)
        step()

    return {"torch fused": clipped}


@if_installed
def dropout(rate, x):
    """Drop in training."""
    layer, tensor = torch.nn.Dropout(rate), torch.from_numpy(x)
    return {"torch eager": lambda: layer(tensor)}


def batch_norm(x):
    """Torch's batch norm for this many axes."""
    return (torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d)(x.shape[1])


@if_installed
def noise(name, rate, x):
    """Do the work of one of the dropout family, in training."""
    cls = {"SpatialDropout": "Dropout1d", "DropConnect": "Dropout"}.get(name, name)
    if not hasattr(torch.nn, cls):
        return {}
    layer, tensor = getattr(torch.nn, cls)(rate), torch.from_numpy(x)
    return {"torch eager": lambda: layer(tensor)}


@if_installed
def batch_norm_forward(x):
    """Normalise in training, nothing recorded for a backward pass."""
    layer, tensor = batch_norm(x), torch.from_numpy(x)

    @torch.no_grad()
    def forward():
        layer(tensor)

    return {"torch eager": forward}


@if_installed
def batch_norm_out(x):
    """Call the kernel of batch norm itself, which takes outputs; and the layer as above."""
    layer, tensor = batch_norm(x), torch.from_numpy(x)
    y, mean, inv_std = torch.empty_like(tensor), *torch.empty(2, x.shape[1])

    @torch.no_grad()
    def forward():
        torch.ops.aten.native_batch_norm.out(
            tensor, layer.weight, layer.bias, layer.running_mean, layer.running_var,
            True, layer.momentum, layer.eps, out=y, save_mean=mean, save_invstd=inv_std,
        )  # fmt: skip

    return {**batch_norm_forward(x), "torch out": forward}


@if_installed
def batch_norm_both(x, dy):
    """Go forward and backward through autograd."""
    layer = batch_norm(x)
    tensor, grad = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)

    def both():
        tensor.grad = layer.weight.grad = layer.bias.grad = None  # set, not added to
        layer(tensor).backward(grad)

    return {"torch eager": both}


@if_installed
def training_step(sizes, batch_norm, dropout, rule, rate, x, labels):
    """Take a step of the same network through autograd, on all threads and on one."""
    layers = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        layers.append(torch.nn.Linear(n_in, n_out, bias=not batch_norm))
        layers += [torch.nn.BatchNorm1d(n_out)] if batch_norm else []
        layers.append(torch.nn.ReLU())
        layers += [torch.nn.Dropout(dropout)] if dropout else []
    model = torch.nn.Sequential(*layers, torch.nn.Linear(*sizes[-2:]))
    optimizer = getattr(torch.optim, rule)(model.parameters(), rate)
    loss = torch.nn.CrossEntropyLoss()
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)

    def step(threads):
        torch.set_num_threads(threads)
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()
        torch.set_num_threads(fastreg.get_num_threads())

    return {
        "torch eager": lambda: step(fastreg.get_num_threads()),
        "torch 1 thread": lambda: step(1),
    }


def sklearn_step(sizes, rate, x, labels):
    """Take a step of scikit-learn's network, where it is installed."""
    try:
        from sklearn.neural_network import MLPClassifier
    except ModuleNotFoundError:
        return {}
    model = MLPClassifier(
        hidden_layer_sizes=sizes[1:-1],
        solver="adam",
        alpha=0.0,
        learning_rate_init=rate,
        batch_size=len(x),
    )
    classes = np.arange(sizes[-1])
    model.partial_fit(x, labels, classes=classes)
    return {"scikit-learn": lambda: model.partial_fit(x, labels)}


def penalty(name, weights):
    """Compute a penalty's value or gradient of every tensor, as one writes it first."""
    tensors = [torch.from_numpy(w) for w in weights]
    forms = {
        "l1_regularization_loss": lambda: 0.01 * float(sum(t.abs().sum() for t in tensors)),
        "l2_regularization_loss": lambda: 0.005 * float(sum(t.square().sum() for t in tensors)),
        "l1_gradient": lambda: [0.01 * t.sign() for t in tensors],
        "l2_gradient": lambda: [0.01 * t for t in tensors],
        "soft_threshold": lambda: [torch.nn.functional.softshrink(t, 0.01) for t in tensors],
    }
    return {"torch eager": forms[name]} if name in forms else {}


def row_norm(name, *arguments):
    """Torch's layer, with our epsilon."""
    named = {"InstanceNorm": "InstanceNorm2d"}.get(name, name)
    return getattr(torch.nn, named)(*arguments, eps=1e-5)


@if_installed
def row_norm_forward(name, arguments, x):
    """Normalise rows as called in training: what a backward pass needs is kept."""
    layer, tensor = row_norm(name, *arguments), torch.from_numpy(x)
    return {"torch eager": lambda: layer(tensor)}


@if_installed
def row_norm_both(name, arguments, x, dy):
    """Go forward and backward through autograd."""
    layer = row_norm(name, *arguments)
    tensor, grad = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)

    def both():
        tensor.grad = None  # set, not added to
        layer.zero_grad()
        layer(tensor).backward(grad)

    return {"torch eager": both}

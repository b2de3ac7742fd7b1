"""Print what the chapter's names print and return, and how they are called, for any module.

    PYTHONPATH=<where the chapter's code is> python tests/golden/chapter_output.py chapter_code \
        > tests/golden/chapter_output.txt

`tests/test_chapter.py` prints the same for fastreg and compares every character. What dropout's
mask is, and so what it keeps, is left out: fastreg draws it otherwise.
"""

import importlib
import inspect
import sys

import numpy as np

NAMES = (
    "l1_regularization_loss", "l1_gradient", "l2_regularization_loss", "l2_gradient", "Dropout",
    "BatchNorm", "Adam", "compare_optimizers", "step_decay", "cosine_annealing",
    "warmup_schedule", "warmup_cosine", "EarlyStopping",
)  # fmt: skip
METHODS = {
    "Dropout": ("forward", "backward", "train", "eval"),
    "BatchNorm": ("forward", "train", "eval"),
    "Adam": ("update",),
    "EarlyStopping": ("__call__",),
}
ATTRIBUTES = {
    "Dropout": ("drop_rate", "mask", "training"),
    "BatchNorm": ("gamma", "beta", "running_mean", "running_var", "momentum", "epsilon",
                  "training", "cache"),
    "Adam": ("lr", "beta1", "beta2", "epsilon", "m", "v", "t"),
    "EarlyStopping": ("patience", "min_delta", "restore_best", "best_loss", "counter",
                      "best_weights"),
}  # fmt: skip


def signature(name, function):
    """The arguments that may be given by position, and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return name + str([
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in parameters
        if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD) and p.name != "self"
    ])  # fmt: skip


def signatures(module):
    """How everything is called, and what its attributes are at first."""
    for name in NAMES:
        thing = getattr(module, name)
        print(signature(name, thing))
        for method in METHODS.get(name, ()):
            print(signature(f"{name}.{method}", getattr(thing, method)))
        if name in ATTRIBUTES:
            made = thing(3) if name == "BatchNorm" else thing()
            for attribute in ATTRIBUTES[name]:
                value = getattr(made, attribute)
                print(f"{name}.{attribute}", dict(value) if hasattr(value, "keys") else value)


def penalties(module):
    """Values and gradients on seeded weights, on whole numbers and on plain numbers."""
    np.random.seed(42)
    W = np.random.randn(10, 5)
    gradient = module.l1_gradient(W, lambda_l1=0.01)
    print(f"{module.l1_regularization_loss([W], lambda_l1=0.01):.4f}", f"{gradient.mean():.4f}")
    print(np.sum(gradient != 0), gradient.shape, gradient.dtype)
    np.random.seed(42)
    W = np.random.randn(100, 50) * 2
    print(*(f"{module.l2_regularization_loss([layer]):.4f}" for layer in (W, W * 0.5)))
    whole, truth = np.array([[1, -2], [0, 3]]), np.array([True, False])
    for kind in ("l1", "l2"):
        value, slope = (getattr(module, f"{kind}_{end}")
                        for end in ("regularization_loss", "gradient"))  # fmt: skip
        print(kind, value([]), f"{value([whole, W, truth]):.4f}", f"{value([2.0, -3]):.4f}")
        print(slope(whole), slope(whole).dtype, slope(-2.0), slope(3), slope(np.float64(0.5)))
    print(module.l2_gradient(truth))


def layers(module):
    """Dropout but for its mask, batch norm in both modes."""
    np.random.seed(42)
    X, layer = np.ones((3, 5)), module.Dropout(drop_rate=0.5)
    layer.train()
    Y = layer.forward(X)
    print(set(Y.ravel()) <= {0.0, 2.0}, np.array_equal(Y, layer.backward(X)))
    print(np.array_equal(Y, 2 * layer.mask), layer.mask.dtype, layer.mask.shape)
    print(layer.forward(np.ones((2, 2), int)).dtype)
    layer.drop_rate = 0.0
    print(layer.forward(X))
    layer.drop_rate = 0.25
    layer.eval()
    print(layer.forward(X), layer.training)
    np.random.seed(42)
    X, norm = np.random.randn(8, 4) * 5 + 10, module.BatchNorm(n_features=4)
    norm.train()
    Y = norm.forward(X)
    print(f"{Y.mean() + 0.0:.4f} {Y.std():.4f}".replace("-", ""))
    print({name: value.shape for name, value in norm.cache.items()}, norm.cache["X"] is X)
    print(np.allclose(norm.cache["X_norm"], Y), norm.cache["mean"].round(6))
    print(norm.cache["var"].round(6), norm.running_mean.round(6), norm.running_var.round(6))
    norm.momentum, norm.epsilon, norm.training = 0.5, 1e-3, True
    norm.gamma, norm.beta = 2 * norm.gamma, norm.beta + 1
    print(norm.forward(np.arange(8).reshape(2, 4)).round(6), norm.running_var.round(6))
    norm.eval()
    print(norm.forward(X).round(6), norm.cache["X"].shape, norm.training)


def rates(module):
    """Every epoch of every rate, past the end too."""
    print([f"{module.step_decay(epoch):.4f}" for epoch in range(0, 101, 5)])
    print([f"{module.cosine_annealing(epoch, total_epochs=50):.6f}" for epoch in range(130)])
    print([f"{module.warmup_cosine(epoch):.6f}" for epoch in range(250)])
    print([module.warmup_schedule(epoch) for epoch in range(7)])
    print([f"{module.cosine_annealing(epoch, 10):.12f}" for epoch in range(26)])
    print(module.step_decay(12.5), f"{module.cosine_annealing(np.int64(3), 10):.12f}")
    print(module.cosine_annealing(np.arange(30), 10).round(12), module.warmup_schedule(1.5))
    print(module.step_decay(np.arange(30)), module.step_decay(25, 0.1, 1.5, 7.5))
    print(f"{module.warmup_cosine(3, 5):.6f} {module.warmup_cosine(20, 50, 5, 0.3, 0.01):.6f}")


def optimizers(module):
    """Three lines, and the paths behind them."""
    paths = module.compare_optimizers()
    for name, path in paths.items():
        print(type(paths).__name__, type(path).__name__, type(path[0]).__name__, name, len(path))
        for point in (path[0], path[1], path[500], path[-1]):
            print([f"{float(value):.6f}" for value in point])


def stopping(module):
    """A loss that falls and rises again, and what is kept of the weights."""
    np.random.seed(42)
    watch = module.EarlyStopping(patience=5)
    for epoch in range(100):
        clean = 1.0 - epoch * 0.03 if epoch < 20 else 0.4 + (epoch - 20) * 0.02
        if watch(clean + np.random.normal(0, 0.02)):
            print(epoch, f"{watch.best_loss:.4f}", watch.counter)
            break
    watch = module.EarlyStopping(patience=1)
    print(watch(1.0, [np.ones(2)]), watch(2.0, [np.zeros(2)]), watch.best_weights)
    print(module.EarlyStopping(patience=0)(1.0))
    watch = module.EarlyStopping(2)
    print(watch(1.0), watch(float("nan")), watch(0.5))
    watch.patience, watch.min_delta = 1, 0.3
    print(watch(0.3), watch.counter, watch.best_loss)


def main(module):
    """Print all of it."""
    for part in (signatures, penalties, layers, rates, optimizers, stopping):
        print(f"# {part.__name__}")
        part(module)


if __name__ == "__main__":
    main(importlib.import_module(sys.argv[1]))
